//! libtorch's distributed engine (c10d) from Rust: the store where ranks meet, process groups over
//! Gloo and NCCL, collectives, and data parallelism by the C++ `Reducer` that Python's
//! `DistributedDataParallel` drives. The only module of this crate with `unsafe`: every C++ exception
//! ends at the bridge and comes out as a [`CommError`]; no raw handle leaves this module.

#![expect(unsafe_code, reason = "calls into the C++ bridge; each block says why it is sound")]

mod ddp;
mod error;
mod ffi;
mod group;
mod kernels;
mod nccl;
mod store;

pub use ddp::{Ddp, DdpOptions};
pub use error::CommError;
pub use group::{Backend, ProcessGroup, Seat};
pub use kernels::{AdamW, clear_gradients, fused_adamw_step, set_deterministic, sgd_step};
pub use nccl::{cuda_driver_present, load_cuda, nccl_built};
pub use store::{Store, StoreOptions};
