// Data parallelism: c10d::Reducer, driven in the order of Python's DistributedDataParallel.

#include "bridge.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <unordered_map>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

using yard::GroupHandle;
using yard::guarded;

namespace {

// What Python passes to _sync_params_and_buffers and to the buffer broadcast.
constexpr size_t kBroadcastBytes = 250UL * 1024 * 1024;

} // namespace

namespace yard {

struct Ddp {
  GroupHandle group;
  std::vector<at::Tensor> buffers;
  std::unique_ptr<c10d::Reducer> reducer;
};

} // namespace yard

extern "C" {

// Checks that all ranks hold the same shapes, gives everyone rank 0's values, and builds the reducer.
// `params` are leaves that require a gradient, in the order of registration; `buffers` do not.
int32_t yard_ddp_new(
    GroupHandle* group,
    at::Tensor* const* params,
    size_t param_count,
    at::Tensor* const* buffers,
    size_t buffer_count,
    size_t bucket_bytes,
    int32_t gradient_as_bucket_view,
    yard::Ddp** out) {
  return guarded([&] {
    auto ddp = std::make_unique<yard::Ddp>();
    ddp->group = *group;
    std::vector<at::Tensor> parameters;
    std::vector<at::Tensor> state;
    for (size_t i = 0; i < param_count; ++i) {
      parameters.push_back(*params[i]);
      state.push_back(params[i]->detach());
    }
    for (size_t i = 0; i < buffer_count; ++i) {
      ddp->buffers.push_back(buffers[i]->detach());
      state.push_back(ddp->buffers.back());
    }
    c10d::verify_params_across_processes(*group, parameters, std::nullopt);
    c10d::broadcast_coalesced(*group, state, kBroadcastBytes, 0);

    // Without unused parameters Python starts with one bucket; the reducer splits it by
    // `bucket_bytes` once it has seen the order in which gradients arrive.
    const std::vector<bool> sparse(parameters.size(), false);
    auto [buckets, limits] =
        c10d::compute_bucket_assignment_by_size(parameters, {std::numeric_limits<int64_t>::max()}, sparse);
    std::reverse(buckets.begin(), buckets.end());
    ddp->reducer = std::make_unique<c10d::Reducer>(
        std::move(parameters),
        std::move(buckets),
        *group,
        sparse,
        static_cast<int64_t>(bucket_bytes),
        /*find_unused_parameters=*/false,
        gradient_as_bucket_view != 0,
        std::unordered_map<size_t, std::string>{},
        std::min<int64_t>(c10d::kDefaultFirstBucketBytes, static_cast<int64_t>(bucket_bytes)),
        /*skip_all_reduce_unused_params=*/false,
        /*use_python_reducer=*/false,
        std::vector<int64_t>{});
    *out = ddp.release();
  });
}

// Before a forward pass whose gradients are to be reduced.
int32_t yard_ddp_before_forward(yard::Ddp* ddp) {
  return guarded([&] {
    ddp->reducer->prepare_for_forward();
    ddp->reducer->rebuild_buckets();
    if (!ddp->buffers.empty()) {
      c10d::broadcast_coalesced(ddp->group, ddp->buffers, kBroadcastBytes, 0);
    }
  });
}

// Between the forward and the backward pass.
int32_t yard_ddp_before_backward(yard::Ddp* ddp) {
  return guarded([&] { ddp->reducer->prepare_for_backward({}); });
}

void yard_ddp_free(yard::Ddp* ddp) {
  (void)guarded([&] { delete ddp; });
}

} // extern "C"
