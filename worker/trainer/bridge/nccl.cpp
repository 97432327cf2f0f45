// NCCL, in a library of its own: it needs libtorch_cuda, which a machine without a GPU should never
// have to load. The trainer opens it only when a CUDA driver is present.

#include "bridge.hpp"

#include <chrono>

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

namespace yard {
std::string& last_error() {
  thread_local std::string text;
  return text;
}
} // namespace yard

extern "C" {

const char* yard_nccl_last_error() {
  return yard::last_error().c_str();
}

int32_t yard_nccl_backend(
    yard::StoreHandle* store,
    int32_t rank,
    int32_t size,
    int64_t timeout_ms,
    yard::BackendHandle** out) {
  return yard::guarded([&] {
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = std::chrono::milliseconds(timeout_ms);
    *out = new yard::BackendHandle(c10::make_intrusive<c10d::ProcessGroupNCCL>(*store, rank, size, options));
  });
}

} // extern "C"
