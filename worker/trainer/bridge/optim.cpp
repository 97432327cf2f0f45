// Optimizer steps that tch does not reach: each call updates a whole list of parameters in place, with
// the operations of Python's torch.optim in their order, so that weights agree to the bit.

#include "bridge.hpp"

#include <vector>

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

using yard::guarded;

namespace {

std::vector<at::Tensor> list(at::Tensor* const* from, size_t count) {
  std::vector<at::Tensor> out;
  out.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    out.push_back(*from[i]);
  }
  return out;
}

// The gradients of `params`; a missing one is an error, since every rank must step alike.
std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& params) {
  std::vector<at::Tensor> out;
  out.reserve(params.size());
  for (size_t i = 0; i < params.size(); ++i) {
    TORCH_CHECK(params[i].grad().defined(), "parameter ", i, " has no gradient: it took no part in the loss");
    out.push_back(params[i].grad());
  }
  return out;
}

} // namespace

extern "C" {

// What `zero_grad(set_to_none=True)` does.
int32_t yard_clear_gradients(at::Tensor* const* params, size_t count) {
  return guarded([&] {
    for (size_t i = 0; i < count; ++i) {
      params[i]->mutable_grad().reset();
    }
  });
}

// torch.optim.SGD without dampening; `momenta` start at zero.
int32_t yard_sgd(
    at::Tensor* const* params,
    at::Tensor* const* momenta,
    size_t count,
    double lr,
    double momentum,
    double weight_decay,
    int32_t nesterov) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto weights = list(params, count);
    auto updates = gradients(weights);
    for (size_t i = 0; i < count; ++i) {
      at::Tensor update = updates[i];
      if (weight_decay != 0) {
        update = update.add(weights[i], weight_decay);
      }
      if (momentum != 0) {
        at::Tensor& velocity = *momenta[i];
        velocity.mul_(momentum).add_(update);
        update = nesterov != 0 ? update.add(velocity, momentum) : velocity;
      }
      weights[i].add_(update, -lr);
    }
  });
}

// torch.optim.AdamW(fused=True). `steps` are one float32 scalar a parameter, advanced here.
int32_t yard_fused_adamw(
    at::Tensor* const* params,
    at::Tensor* const* means,
    at::Tensor* const* squares,
    at::Tensor* const* steps,
    size_t count,
    double lr,
    double beta1,
    double beta2,
    double weight_decay,
    double eps) {
  return guarded([&] {
    at::NoGradGuard no_grad;
    const auto weights = list(params, count);
    const auto grads = gradients(weights);
    const auto m = list(means, count);
    const auto v = list(squares, count);
    const auto s = list(steps, count);
    at::_foreach_add_(s, 1);
    at::_fused_adamw_(weights, grads, m, v, {}, s, lr, beta1, beta2, weight_decay, eps, /*amsgrad=*/false, /*maximize=*/false);
  });
}

} // extern "C"
