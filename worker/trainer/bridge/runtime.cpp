// Process-wide switches of libtorch, and the fused AdamW step that tch does not reach.

#include "bridge.hpp"

#include <vector>

#include <ATen/Context.h>
#include <ATen/ops/_fused_adamw.h>

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
    auto& context = at::globalContext();
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicCuDNN(true);
    context.setDeterministicMkldnn(true);
    context.setBenchmarkCuDNN(false);
  });
}

int32_t yard_fused_adamw(
    at::Tensor* const* params,
    at::Tensor* const* grads,
    at::Tensor* const* means,
    at::Tensor* const* squares,
    at::Tensor* const* steps,
    size_t count,
    double lr,
    double beta1,
    double beta2,
    double weight_decay,
    double eps) {
  return yard::guarded([&] {
    const auto list = [count](at::Tensor* const* from) {
      std::vector<at::Tensor> out;
      out.reserve(count);
      for (size_t i = 0; i < count; ++i) {
        out.push_back(*from[i]);
      }
      return out;
    };
    const auto p = list(params);
    const auto g = list(grads);
    const auto m = list(means);
    const auto v = list(squares);
    const auto s = list(steps);
    at::_fused_adamw_(p, g, m, v, {}, s, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

} // extern "C"
