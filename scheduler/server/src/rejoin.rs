//! A member whose data is damaged comes back by itself, if it is configured to: it sets the
//! damaged directory aside, asks the others for a new id in its old one's place, and joins under
//! that as a learner. What it had promised under the old id nobody counts on any more.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tonic::Status;
use trainyard_pki::{Credentials, Expected};
use trainyard_proto::{
    LEADER_METADATA,
    v1::{AddMemberAnswer, RejoinRequest, cluster_client::ClusterClient},
};

use crate::{
    config::Config,
    error::SchedulerError,
    identity::{Identity, IdentityError},
    transport,
};

/// How long one scheduler may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The pause between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(1);

/// Gets a new id and sets the old data aside. Gives the configuration to go on with.
pub(crate) async fn rejoin(config: &Config) -> Result<Config, SchedulerError> {
    let own = config.peers.get(&config.id).cloned();
    let address = own.unwrap_or_else(|| config.listen.to_string());
    let credentials = Credentials::node(&config.pki_dir())?;
    let answer = ask(config, &credentials, &address).await;
    let aside = set_aside(&config.data_dir, config.id)?;
    tracing::warn!(
        old = config.id, new = answer.id, aside = %aside.display(),
        "the damaged data is set aside; coming back under a new id"
    );
    let mut peers: std::collections::BTreeMap<u64, String> = answer.peers.into_iter().collect();
    peers.insert(answer.id, address);
    let identity = Identity { id: answer.id, join: true, peers: peers.clone() };
    identity.save(&config.data_dir)?;
    Ok(Config { id: answer.id, join: true, peers, ..config.clone() })
}

/// Asks the others until their leader has given out an id. Asking twice gives the same one.
async fn ask(config: &Config, credentials: &Credentials, address: &str) -> AddMemberAnswer {
    let request = RejoinRequest {
        cluster: config.cluster.to_string(),
        id: config.id,
        address: address.to_owned(),
    };
    loop {
        let others = config.peers.iter().filter(|(id, _)| **id != config.id);
        let mut to_ask: Vec<String> = others.map(|(_, address)| address.clone()).collect();
        let mut asked = 0;
        while let Some(address) = to_ask.get(asked).cloned() {
            asked += 1;
            match ask_one(credentials, &address, request.clone()).await {
                Ok(answer) => return answer,
                Err(status) => {
                    let leader = status.metadata().get(LEADER_METADATA);
                    let leader = leader.and_then(|value| value.to_str().ok());
                    if let Some(leader) = leader.filter(|at| !to_ask.iter().any(|to| to == at)) {
                        to_ask.push(leader.to_owned());
                    }
                    tracing::info!(address, error = %status.message(), "no new id from there");
                }
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask_one(
    credentials: &Credentials,
    address: &str,
    request: RejoinRequest,
) -> Result<AddMemberAnswer, Status> {
    let channel = transport::channel(credentials, Expected::AnyScheduler, address);
    let channel = channel.map_err(|e| Status::internal(e.to_string()))?;
    let mut client = ClusterClient::new(channel);
    let answer = timeout(PATIENCE, client.rejoin(request)).await;
    answer.map_err(|_| Status::deadline_exceeded("no answer in time"))?.map(|a| a.into_inner())
}

/// Moves the directory out of the way and makes an empty one in its place.
pub(crate) fn set_aside(dir: &Path, id: u64) -> Result<PathBuf, SchedulerError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| SchedulerError::Aside { action, path, source }
    };
    let name = dir.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let free = |n: &u32| {
        let aside = dir.with_file_name(format!("{name}.member-{id}.{n}"));
        (!aside.exists()).then_some(aside)
    };
    let aside = (1..).find_map(|n| free(&n)).unwrap_or_else(|| dir.with_extension("aside"));
    std::fs::rename(dir, &aside).map_err(failed("set aside", dir))?;
    std::fs::create_dir_all(dir).map_err(failed("make", dir))?;
    // Who it is to the others, and its part of the audit trail, are not what is damaged.
    for kept in ["pki", "audit"] {
        let (from, to) = (aside.join(kept), dir.join(kept));
        if from.exists() {
            std::fs::rename(&from, &to).map_err(failed("keep", &from))?;
        }
    }
    if let Some(parent) = dir.parent() {
        let sync = std::fs::File::open(parent).and_then(|folder| folder.sync_all());
        sync.map_err(failed("sync", parent))?;
    }
    Ok(aside)
}

impl From<IdentityError> for SchedulerError {
    fn from(error: IdentityError) -> Self {
        Self::Identity(error)
    }
}
