//! Calls into libtorch that tch does not offer: deterministic kernels, clearing of gradients, and
//! optimizer steps with the operations of `torch.optim`, in their order.

use tch::Tensor;

use super::{CommError, ffi};

/// From now on the same input gives the same bits, in this whole process.
///
/// # Errors
/// When libtorch refuses.
pub fn set_deterministic() -> Result<(), CommError> {
    // SAFETY: sets switches of libtorch's global context.
    ffi::check(unsafe { ffi::yard_set_deterministic() }, "choosing deterministic kernels")
}

/// Drops the gradients of `params`, as `zero_grad(set_to_none=True)` does.
///
/// # Errors
/// When a tensor is not a leaf.
pub fn clear_gradients(params: &[Tensor]) -> Result<(), CommError> {
    let params = ffi::raws(params);
    // SAFETY: the list holds live tensors for the length of the call.
    ffi::check(
        unsafe { ffi::yard_clear_gradients(params.as_ptr(), params.len()) },
        "clearing gradients",
    )
}

/// One step of `torch.optim.SGD` without dampening; `momenta` match `params` and start at zero.
///
/// # Errors
/// When a parameter has no gradient.
pub fn sgd_step(
    params: &[Tensor],
    momenta: &[Tensor],
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    nesterov: bool,
) -> Result<(), CommError> {
    let during = "the SGD step";
    same_length(during, params, &[momenta])?;
    let (params, momenta) = (ffi::raws(params), ffi::raws(momenta));
    // SAFETY: both lists have `params.len()` live tensors for the length of the call.
    let code = unsafe {
        ffi::yard_sgd(
            params.as_ptr(),
            momenta.as_ptr(),
            params.len(),
            lr,
            momentum,
            weight_decay,
            i32::from(nesterov),
        )
    };
    ffi::check(code, during)
}

/// The settings of one AdamW step.
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Added to the denominator.
    pub eps: f64,
}

/// One step of `torch.optim.AdamW(fused=True)`; `steps` holds one float32 scalar a parameter.
///
/// # Errors
/// When a parameter has no gradient.
pub fn fused_adamw_step(
    params: &[Tensor],
    means: &[Tensor],
    squares: &[Tensor],
    steps: &[Tensor],
    with: AdamW,
) -> Result<(), CommError> {
    let during = "the AdamW step";
    same_length(during, params, &[means, squares, steps])?;
    let [params, means, squares, steps] = [params, means, squares, steps].map(ffi::raws);
    // SAFETY: the four lists have `params.len()` live tensors each for the length of the call.
    let code = unsafe {
        ffi::yard_fused_adamw(
            params.as_ptr(),
            means.as_ptr(),
            squares.as_ptr(),
            steps.as_ptr(),
            params.len(),
            with.lr,
            with.beta1,
            with.beta2,
            with.weight_decay,
            with.eps,
        )
    };
    ffi::check(code, during)
}

/// The bridge reads as many tensors from every list as there are parameters.
fn same_length(
    during: &'static str,
    params: &[Tensor],
    others: &[&[Tensor]],
) -> Result<(), CommError> {
    if others.iter().all(|list| list.len() == params.len()) {
        return Ok(());
    }
    Err(CommError::Torch {
        during,
        text: format!("the optimizer's state does not match {} parameters", params.len()),
    })
}
