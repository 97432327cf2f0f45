//! etcd under the same faults, with the same client.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tonic::Status;

use super::{
    Peer,
    client::{CONNECT, Client, Member},
};
use crate::{
    process::wait_for,
    submit::etcd::{Etcd, Member as Connection},
};

const SOON: Duration = Duration::from_secs(30);
const VALUE: [u8; 1024] = [b'x'; 1024];

/// Heartbeats and elections as Trainyard's schedulers have them, in milliseconds.
pub(super) const TUNED: [&str; 4] = ["--heartbeat-interval", "100", "--election-timeout", "500"];

impl Member for Connection {
    async fn write(&mut self, key: &str) -> Result<String, Status> {
        self.put(key, &VALUE).await.map(|()| String::new())
    }
}

/// A cluster of etcd with its client.
pub(super) struct Keeper {
    etcd: Etcd,
    client: Client<Connection>,
}

impl Keeper {
    pub(super) async fn start(data: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let etcd = Etcd::start_with(data, arguments).await?;
        let (leader, _) = etcd.leader().await?;
        let members = etcd.urls().iter().map(|url| Connection::new(url, CONNECT));
        let client = Client::new(members.collect::<anyhow::Result<_>>()?);
        let mut keeper = Self { etcd, client };
        keeper.follow(&leader);
        Ok(keeper)
    }

    /// Points the client at the leader: a follower would forward its writes.
    fn follow(&mut self, leader: &str) {
        if let Some(at) = self.etcd.urls().iter().position(|url| url == leader) {
            self.client.ask_first(at);
        }
    }
}

impl Peer for Keeper {
    async fn write(&mut self) -> anyhow::Result<()> {
        self.client.write().await.map(drop)
    }

    fn leader(&self) -> usize {
        self.client.at()
    }

    fn kill(&mut self, member: usize) -> anyhow::Result<()> {
        self.etcd.member(member)?.kill()
    }

    async fn restart(&mut self, member: usize) -> anyhow::Result<()> {
        self.etcd.restart(member)?;
        // Any member answers writes, so who leads must be asked.
        let leader = wait_for("etcd's leader", SOON, async || {
            Ok(self.etcd.leader().await.ok().map(|(url, _)| url))
        })
        .await?;
        self.follow(&leader);
        let due = self.etcd.applied(self.client.at()).await?;
        wait_for("a member of etcd to catch up", SOON, async || {
            let applied = self.etcd.applied(member).await.ok();
            Ok(applied.filter(|applied| *applied >= due).map(drop))
        })
        .await
    }

    async fn transfer(&mut self, member: usize, rest: Duration) -> anyhow::Result<Duration> {
        self.client.write().await?;
        let leading = self.etcd.member(member)?;
        let mut asked = None;
        let begun = Instant::now();
        let over = || match asked {
            None if begun.elapsed() > super::BEFORE => {
                let _ = leading.terminate();
                asked = Some(Instant::now());
                false
            }
            None => false,
            Some(at) => at.elapsed() > super::AFTER,
        };
        let (gap, _) = self.client.longest_gap(rest, over).await?;
        wait_for("the member of etcd to end", SOON, async || {
            Ok(leading.has_ended()?.then_some(()))
        })
        .await?;
        Ok(gap)
    }

    fn version(&self) -> String {
        format!("version {}", self.etcd.version())
    }
}
