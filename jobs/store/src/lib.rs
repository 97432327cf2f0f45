//! What lies in object storage, and how it gets there and back: checkpoints, artifacts, logs
//! and code bundles over `object_store`, on a local folder or S3.
//!
//! Objects are written once, under keys of their attempt alone, and every read verifies size
//! and digest. This crate never decides what is kept, resumed from or registered.

mod audit;
pub mod bundle;
mod error;
pub mod keys;
pub mod log;
mod manifest;
mod open;
mod segments;
mod store;
mod transfer;

pub use audit::AuditSegment;
pub use error::StoreError;
pub use segments::LogSegment;
pub use store::Store;
