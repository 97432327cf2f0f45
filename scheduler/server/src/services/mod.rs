//! The gRPC services: each turns requests into reads and proposals, and answers into messages.

mod access;
mod archive;
mod bundles;
mod client;
mod cluster;
mod find;
mod jobs;
mod join;
mod listing;
mod logs;
mod members;
mod nodes;
mod queues;
mod raft;
mod reservations;
mod session;
mod worker;

pub(crate) use access::AccessService;
pub(crate) use client::ClientService;
pub(crate) use cluster::ClusterService;
pub(crate) use join::JoinService;
pub(crate) use queues::QueuesService;
pub(crate) use raft::RaftService;
pub(crate) use reservations::ReservationsService;
pub(crate) use worker::WorkerService;

use std::pin::Pin;

use futures::Stream;
use tonic::Status;

/// A server's stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
