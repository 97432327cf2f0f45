// Stores, process groups and collectives.

#include "bridge.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

using yard::BackendHandle;
using yard::GroupHandle;
using yard::guarded;
using yard::StoreHandle;
using Millis = std::chrono::milliseconds;

namespace {

GroupHandle make_group(const StoreHandle& store, int rank, int size) {
  return c10::make_intrusive<c10d::ProcessGroup>(store, rank, size);
}

} // namespace

extern "C" {

// Opens the TCP store that every rank meets at, seen through `prefix`. The host waits for `world`
// clients; the timeout bounds that wait and every later one.
int32_t yard_store_open(
    const char* host,
    uint16_t port,
    int32_t is_host,
    size_t world,
    int64_t timeout_ms,
    const char* prefix,
    StoreHandle** out) {
  return guarded([&] {
    c10d::TCPStoreOptions options;
    options.port = port;
    options.isServer = is_host != 0;
    options.numWorkers = world;
    options.timeout = Millis(timeout_ms);
    auto tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    *out = new StoreHandle(c10::make_intrusive<c10d::PrefixStore>(prefix, std::move(tcp)));
  });
}

void yard_store_free(StoreHandle* store) {
  (void)guarded([&] { delete store; });
}

int32_t yard_store_set(StoreHandle* store, const char* key, const uint8_t* value, size_t len) {
  return guarded([&] { (*store)->set(key, std::vector<uint8_t>(value, value + len)); });
}

// 1 in `present` when the key is there now; never waits for it.
int32_t yard_store_check(StoreHandle* store, const char* key, int32_t* present) {
  return guarded([&] { *present = (*store)->check({key}) ? 1 : 0; });
}

// A Gloo group for CPU tensors, and for CUDA tensors by way of the host when `with_cuda` is set.
// `interfaces` (comma-separated names, may be empty) wins over `address`.
int32_t yard_group_gloo(
    StoreHandle* store,
    int32_t rank,
    int32_t size,
    int64_t timeout_ms,
    const char* interfaces,
    const char* address,
    int32_t with_cuda,
    GroupHandle** out) {
  return guarded([&] {
    auto options = c10d::ProcessGroupGloo::Options::create(Millis(timeout_ms));
    std::string names = interfaces;
    for (size_t at = 0; at < names.size();) {
      const size_t comma = std::min(names.find(',', at), names.size());
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(names.substr(at, comma - at)));
      at = comma + 1;
    }
    if (options->devices.empty()) {
      options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(address));
    }
    options->threads = static_cast<int>(options->devices.size()) * 2;
    auto backend = c10::make_intrusive<c10d::ProcessGroupGloo>(*store, rank, size, options);
    auto group = make_group(*store, rank, size);
    group->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::GLOO, BackendHandle(backend));
    if (with_cuda != 0) {
      group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::GLOO, BackendHandle(backend));
    }
    group->setDefaultBackend(c10d::ProcessGroup::GLOO);
    *out = new GroupHandle(std::move(group));
  });
}

// Wraps a backend that the NCCL library made (and gives it up to the group).
int32_t yard_group_nccl(StoreHandle* store, int32_t rank, int32_t size, BackendHandle* backend, GroupHandle** out) {
  return guarded([&] {
    auto group = make_group(*store, rank, size);
    group->setBackend(c10::DeviceType::CUDA, c10d::ProcessGroup::NCCL, std::move(*backend));
    delete backend;
    group->setDefaultBackend(c10d::ProcessGroup::NCCL);
    *out = new GroupHandle(std::move(group));
  });
}

void yard_group_free(GroupHandle* group) {
  (void)guarded([&] { delete group; });
}

int32_t yard_group_all_reduce_sum(GroupHandle* group, at::Tensor* tensor) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    (*group)->allreduce(tensors)->wait();
  });
}

int32_t yard_group_broadcast(GroupHandle* group, at::Tensor* tensor, int32_t root) {
  return guarded([&] {
    std::vector<at::Tensor> tensors{*tensor};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    (*group)->broadcast(tensors, options)->wait();
  });
}

int32_t yard_group_barrier(GroupHandle* group) {
  return guarded([&] { (*group)->barrier()->wait(); });
}

int32_t yard_group_abort(GroupHandle* group) {
  return guarded([&] { (*group)->abort(); });
}

} // extern "C"
