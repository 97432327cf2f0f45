//! Ports for a cluster: a block of its own, held by a lock for as long as the cluster lives.
//!
//! Daemons that are killed and started again need ports that stay theirs meanwhile, so the system's
//! own choice (`:0`) does not do: it may give a freed one to somebody's outgoing connection. The
//! blocks lie below the range that the system gives out.

use std::{
    env,
    fs::{self, File},
    net::TcpListener,
};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};

const FIRST: u16 = 11_000;
const SIZE: u16 = 100;
const BLOCKS: u16 = 80;

/// A hundred ports that no other test uses.
#[derive(Debug)]
pub struct Block {
    first: u16,
    _lock: Flock<File>,
}

impl Block {
    /// Takes the first block that nobody holds and where nobody else listens.
    pub fn take() -> anyhow::Result<Self> {
        let folder = env::temp_dir().join("trainyard-test-ports");
        fs::create_dir_all(&folder).context("could not make a folder for port locks")?;
        for first in (FIRST..).step_by(usize::from(SIZE)).take(usize::from(BLOCKS)) {
            let file = File::create(folder.join(first.to_string()))?;
            let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { continue };
            let block = Self { first, _lock: lock };
            if block.is_free() {
                return Ok(block);
            }
        }
        bail!("all {BLOCKS} blocks of ports are taken; see {}", folder.display())
    }

    /// The port at `offset` within the block.
    #[must_use]
    pub fn port(&self, offset: u16) -> u16 {
        self.first + offset.min(SIZE - 1)
    }

    fn is_free(&self) -> bool {
        (0..SIZE).all(|offset| TcpListener::bind(("127.0.0.1", self.port(offset))).is_ok())
    }
}
