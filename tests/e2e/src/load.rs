//! A stream of short jobs, submitted by `yard` from a thread of its own while faults happen, and
//! what of them was acknowledged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

use crate::{Cluster, specs};

/// More than this many jobs say no more than so many.
const MOST: usize = 60;

/// A running stream of submits.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<String>>>,
}

impl Load {
    /// Submits one short job after another, each until it is acknowledged.
    pub fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        cluster.write("load.toml", &specs::single("true"))?;
        let (yard, stop) = (cluster.yard().clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut acknowledged = Vec::new();
            while !stopped.load(Ordering::Relaxed) && acknowledged.len() < MOST {
                let answer = yard.run(&["submit", "load.toml", "-q"])?.ok()?;
                acknowledged.push(answer.stdout.trim().to_owned());
            }
            Ok(acknowledged)
        });
        Ok(Self { stop, thread })
    }

    /// Ends the stream; the jobs that were acknowledged, at least one.
    pub fn stop(self) -> anyhow::Result<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the submitter panicked")?
    }
}
