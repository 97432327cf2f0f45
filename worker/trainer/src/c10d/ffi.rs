//! The bridge's C functions (`bridge/*.cpp`) and the turning of their codes into errors.

use std::ffi::{CStr, c_char, c_void};

use tch::Tensor;

use super::CommError;

/// A tensor as the bridge sees it: the heap-allocated `at::Tensor` that tch owns.
pub(super) type RawTensor = *mut c_void;

/// Opaque C++ objects.
#[repr(C)]
pub(super) struct RawStore([u8; 0]);
#[repr(C)]
pub(super) struct RawGroup([u8; 0]);
#[repr(C)]
pub(super) struct RawBackend([u8; 0]);
#[repr(C)]
pub(super) struct RawDdp([u8; 0]);

unsafe extern "C" {
    fn yard_last_error() -> *const c_char;
    pub(super) fn yard_set_deterministic() -> i32;
    pub(super) fn yard_store_open(
        host: *const c_char,
        port: u16,
        is_host: i32,
        world: usize,
        timeout_ms: i64,
        prefix: *const c_char,
        out: *mut *mut RawStore,
    ) -> i32;
    pub(super) fn yard_store_free(store: *mut RawStore);
    pub(super) fn yard_store_set(
        store: *mut RawStore,
        key: *const c_char,
        value: *const u8,
        len: usize,
    ) -> i32;
    pub(super) fn yard_store_check(
        store: *mut RawStore,
        key: *const c_char,
        present: *mut i32,
    ) -> i32;
    pub(super) fn yard_group_gloo(
        store: *mut RawStore,
        rank: i32,
        size: i32,
        timeout_ms: i64,
        interfaces: *const c_char,
        address: *const c_char,
        with_cuda: i32,
        out: *mut *mut RawGroup,
    ) -> i32;
    pub(super) fn yard_group_nccl(
        store: *mut RawStore,
        rank: i32,
        size: i32,
        backend: *mut RawBackend,
        out: *mut *mut RawGroup,
    ) -> i32;
    pub(super) fn yard_group_free(group: *mut RawGroup);
    pub(super) fn yard_group_all_reduce_sum(group: *mut RawGroup, tensor: RawTensor) -> i32;
    pub(super) fn yard_group_broadcast(group: *mut RawGroup, tensor: RawTensor, root: i32) -> i32;
    pub(super) fn yard_group_barrier(group: *mut RawGroup) -> i32;
    pub(super) fn yard_group_abort(group: *mut RawGroup) -> i32;
    pub(super) fn yard_ddp_new(
        group: *mut RawGroup,
        params: *const RawTensor,
        param_count: usize,
        buffers: *const RawTensor,
        buffer_count: usize,
        bucket_bytes: usize,
        gradient_as_bucket_view: i32,
        out: *mut *mut RawDdp,
    ) -> i32;
    pub(super) fn yard_ddp_before_forward(ddp: *mut RawDdp) -> i32;
    pub(super) fn yard_ddp_before_backward(ddp: *mut RawDdp) -> i32;
    pub(super) fn yard_ddp_free(ddp: *mut RawDdp);
    pub(super) fn yard_clear_gradients(params: *const RawTensor, count: usize) -> i32;
    pub(super) fn yard_sgd(
        params: *const RawTensor,
        momenta: *const RawTensor,
        count: usize,
        lr: f64,
        momentum: f64,
        weight_decay: f64,
        nesterov: i32,
    ) -> i32;
    pub(super) fn yard_fused_adamw(
        params: *const RawTensor,
        means: *const RawTensor,
        squares: *const RawTensor,
        steps: *const RawTensor,
        count: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> i32;
}

/// The bridge's view of a tensor. It lives as long as `tensor` does, and the bridge only copies it.
pub(super) fn raw(tensor: &Tensor) -> RawTensor {
    tensor.as_ptr().cast_mut().cast()
}

/// The bridge's view of a list of tensors.
pub(super) fn raws(tensors: &[Tensor]) -> Vec<RawTensor> {
    tensors.iter().map(raw).collect()
}

/// Turns the code of a bridge call into a result.
pub(super) fn check(code: i32, during: &'static str) -> Result<(), CommError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the bridge returns the thread-local text of the call that just failed on this thread;
    // it is null-terminated and valid until the next call, and is copied here.
    let text = unsafe { CStr::from_ptr(yard_last_error()) }.to_string_lossy().into_owned();
    Err(CommError::from_text(during, &text))
}
