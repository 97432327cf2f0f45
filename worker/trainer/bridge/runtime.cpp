// Process-wide switches of libtorch and the text of the last error.

#include "bridge.hpp"

#include <cstdlib>

#include <ATen/Context.h>

namespace yard {
std::string& last_error() {
  thread_local std::string text;
  return text;
}
} // namespace yard

extern "C" {

const char* yard_last_error() {
  return yard::last_error().c_str();
}

// Kernels that give the same bits for the same input, and no autotuning between runs.
int32_t yard_set_deterministic() {
  return yard::guarded([] {
    // cuBLAS reads this when its first handle is made; without it libtorch refuses to multiply.
    setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setDeterministicMkldnn(true);
    context.setBenchmarkCuDNN(false);
  });
}

} // extern "C"
