//! Data parallelism over one process group, in the order of Python's `DistributedDataParallel`.

use std::ptr;

use tch::Tensor;

use super::{CommError, ProcessGroup, ffi};

/// How gradients are gathered. The defaults are Python's, but for the views, which save a copy.
#[derive(Debug, Clone, Copy)]
pub struct DdpOptions {
    /// The size at which a bucket of gradients is sent while the backward pass goes on.
    pub bucket_bytes: usize,
    /// Gradients live in the buckets themselves; they must then be cleared, never detached.
    pub gradient_as_bucket_view: bool,
}

impl Default for DdpOptions {
    fn default() -> Self {
        Self { bucket_bytes: 25 << 20, gradient_as_bucket_view: true }
    }
}

/// Keeps one model equal on all ranks: gradients are averaged during the backward pass, and buffers
/// follow rank 0's before each forward pass.
///
/// One step is [`before_forward`](Self::before_forward), forward,
/// [`before_backward`](Self::before_backward), backward.
#[derive(Debug)]
pub struct Ddp {
    raw: *mut ffi::RawDdp,
}

impl Ddp {
    /// Checks that all ranks have the same shapes, gives them rank 0's values, and hooks `params`.
    ///
    /// # Errors
    /// When shapes differ between ranks, or a peer is lost.
    pub fn new(
        group: &ProcessGroup,
        params: &[Tensor],
        buffers: &[Tensor],
        options: DdpOptions,
    ) -> Result<Self, CommError> {
        let (params, buffers) = (ffi::raws(params), ffi::raws(buffers));
        let mut raw = ptr::null_mut();
        // SAFETY: the lists hold live tensors for the length of the call, which takes references of
        // its own; `raw` is written only on success.
        let code = unsafe {
            ffi::yard_ddp_new(
                group.raw(),
                params.as_ptr(),
                params.len(),
                buffers.as_ptr(),
                buffers.len(),
                options.bucket_bytes,
                i32::from(options.gradient_as_bucket_view),
                &raw mut raw,
            )
        };
        ffi::check(code, "spreading rank 0's weights")?;
        Ok(Self { raw })
    }

    /// Call before each forward pass.
    ///
    /// # Errors
    /// When the last backward pass was left unfinished, or a peer is lost.
    pub fn before_forward(&mut self) -> Result<(), CommError> {
        // SAFETY: `self.raw` is live and used from one thread.
        ffi::check(unsafe { ffi::yard_ddp_before_forward(self.raw) }, "the forward pass")
    }

    /// Call between the forward and the backward pass.
    ///
    /// # Errors
    /// When gradients of the last step have not been reduced.
    pub fn before_backward(&mut self) -> Result<(), CommError> {
        // SAFETY: as above.
        ffi::check(unsafe { ffi::yard_ddp_before_backward(self.raw) }, "the backward pass")
    }
}

impl Drop for Ddp {
    fn drop(&mut self) {
        // SAFETY: made by `yard_ddp_new`, freed once; it takes its hooks off the parameters.
        unsafe { ffi::yard_ddp_free(self.raw) }
    }
}
