//! The agent: takes its data directory, adopts what runs there, and from then on carries out
//! what the leader's sets say. Ending it leaves the ranks to their shims.

use std::{collections::BTreeMap, path::Path, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    time::interval,
};
use tonic::{Code, Status};
use trainyard_jobs::{Inventory, Revision, SessionId, UnitId};
use trainyard_pki::{Connector, Credentials, Expected, PkiError, Subject};
use trainyard_proto::v1::DesiredSet;
use trainyard_store::Store;

use crate::{
    attempt::{Attempts, Context, Mps, Network, Pins, Registry, ShimProgram, Trainer},
    config::Config,
    error::WorkerError,
    grant,
    identity::Identity,
    metrics::{Counters, Metrics, Snapshot, serve},
    network::{Cards, Place, addressed, interface_of},
    node::Node,
    pinning::machine::Machine,
    renewal,
    report::{Leader, Reporter},
    session::{Invitation, News, Own, Search, Session},
    standing::Standing,
    telemetry::{Gpus, Sampler, inventory},
};

/// How often decisions are made anew without any news.
const RETRY: Duration = Duration::from_secs(5);

/// Runs the agent until `shutdown` is ready; the ranks run on.
///
/// # Errors
/// What keeps it from starting, or a scheduler's final refusal while no ranks run.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), WorkerError> {
    config.validate()?;
    let mut agent = Agent::start(&config).await?;
    let mut shutdown = pin!(shutdown);
    let mut ticks = interval(RETRY);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            news = agent.news.recv() => match news {
                Some(news) => agent.take(news)?,
                None => return Err(WorkerError::stopped("session", "it gave up")),
            },
            () = agent.registry.changed() => {}
            _ = ticks.tick() => agent.retry(),
            Some(ended) = agent.node.tasks.join_next() => {
                if let Err(error) = ended {
                    return Err(WorkerError::stopped("attempt task", error));
                }
            }
        }
        agent.node.decide().await?;
    }
}

struct Agent {
    node: Node,
    registry: Arc<Registry>,
    counters: Counters,
    standing: watch::Sender<Standing>,
    news: mpsc::Receiver<News>,
    credentials: Credentials,
    /// Given up last: the data directory is ours as long as anything of us runs.
    identity: Identity,
}

impl Agent {
    async fn start(config: &Config) -> Result<Self, WorkerError> {
        let dir = &config.data_dir;
        let credentials = Credentials::node(&config.pki_dir())?;
        let identity = own_identity(config, &credentials)?;
        let store = Store::open(&config.store)?;
        let gpus = Gpus::open(config.nvml_library.as_deref(), config.gpu_shares);
        tracing::info!(node = %identity.node(), telemetry = gpus.state(), "agent starts");
        let machine = Machine::new(&config.sysfs);
        let places = gpus.places(&machine);
        let near = places.iter().filter_map(|(unit, place)| Some((unit.clone(), place.numa?)));
        let near = near.collect();
        let mut inventory = inventory(config, (&gpus, &near), dir);
        let processors = if config.pin_cpus { machine.processors() } else { Vec::new() };
        let reached = interface_of(&inventory.address);
        let cards = Cards::new(&config.sysfs, places_of_units(&places, &inventory), addressed());
        inventory.network = config.network.unwrap_or_else(|| {
            let gpus: Vec<&UnitId> = places.keys().collect();
            cards.bandwidth(reached.as_deref(), &gpus)
        });
        let (registry, counters) = (Arc::new(Registry::default()), Counters::default());
        let sampler = start_sampler(gpus, dir, &registry)?;
        let (leader, leaders) = watch::channel(None);
        let session = SessionId(uuid::Uuid::now_v7());
        let context = Arc::new(Context {
            store,
            reporter: Reporter::new(leaders.clone(), identity.node().clone(), session),
            registry: Arc::clone(&registry),
            trainer: Trainer::new(config.trainer.clone()),
            shim: ShimProgram::new(config.shim_program.clone()),
            cgroup: config.cgroup,
            mps: config.mps.then(|| Mps::new(&inventory)),
            pins: Pins::new(processors, &near, &inventory),
            network: Network::new(config, reached, cards),
            counters: counters.clone(),
        });
        let mut node = Node::new(dir.clone(), context);
        if let Some(address) = config.metrics_listen {
            let metrics = Metrics::new(inventory.clone(), &counters);
            let source = source(&sampler, &registry, leaders);
            let tls = (!config.metrics_plaintext).then_some(&credentials);
            node.tasks.spawn(serve(address, tls, metrics, source).await?);
        }
        let standing = watch::Sender::new(identity.standing());
        let (sender, news) = mpsc::channel(16);
        let connector = Connector::to(&credentials, Expected::AnyScheduler)?;
        let (known, schedulers) = watch::channel(config.endpoints.clone());
        let own = Own {
            node: identity.node().to_string(),
            session,
            inventory,
            registry: Arc::clone(&registry),
            standing: standing.subscribe(),
        };
        let session = Session {
            own: Arc::new(own),
            search: Search::new(connector.clone(), config.endpoints.iter().cloned().collect()),
            sampler,
            counters: counters.clone(),
            leader,
            news: sender,
            known,
        };
        node.adopt()?;
        node.tasks.spawn(renewal::run(credentials.clone(), connector, schedulers));
        node.tasks.spawn(session.run());
        Ok(Self { node, registry, counters, standing, news, credentials, identity })
    }

    fn take(&mut self, news: News) -> Result<(), WorkerError> {
        match news {
            News::Welcome(invitation, answer) => {
                let stay = self.welcome(&invitation)?;
                // A session that no longer waits asks again.
                let _ = answer.send(stay);
                Ok(())
            }
            News::Desired(set) => {
                self.accept(set);
                Ok(())
            }
            News::Refused { endpoint, status } => self.refused(endpoint, &status),
        }
    }

    /// Ranks that run are worth more than a clear end: with them the agent stays and retries.
    fn unless_ranks_run(&self, error: WorkerError) -> Result<(), WorkerError> {
        if self.registry.has_live_attempts() {
            tracing::error!(%error, "attempts run here, so the agent goes on trying");
            return Ok(());
        }
        Err(error)
    }

    fn welcome(&mut self, invitation: &Invitation) -> Result<bool, WorkerError> {
        let Invitation { cluster, epoch, grant: proof } = invitation;
        let seen = self.identity.standing().revision.epoch;
        if *epoch > seen
            && seen > 0
            && let Err(error) = grant::check(&self.credentials, *cluster, *epoch, proof)
        {
            tracing::error!(epoch, seen, %error, "a scheduler claims a higher epoch without a valid grant");
            return Ok(false);
        }
        match self.identity.join(*cluster) {
            Ok(()) => {
                self.identity.grant(*epoch);
                self.stand();
                Ok(true)
            }
            Err(error @ WorkerError::OtherCluster { .. }) => {
                self.unless_ranks_run(error).map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    fn refused(&self, endpoint: String, status: &Status) -> Result<(), WorkerError> {
        let message = status.message().to_owned();
        self.unless_ranks_run(match status.code() {
            Code::AlreadyExists => WorkerError::DuplicateName { endpoint, message },
            Code::Unauthenticated => WorkerError::Untrusted { endpoint, message },
            _ => WorkerError::Refused { endpoint, message },
        })
    }

    fn stand(&self) {
        self.standing.send_replace(self.identity.standing());
    }

    /// What the disk refused is tried again.
    fn retry(&mut self) {
        if let Some(set) = self.node.decisions.unrecorded() {
            self.accept(set);
        }
    }

    /// Takes a desired set, unless a higher one was accepted before. One that cannot be put on
    /// record is not acted upon until it can.
    fn accept(&mut self, set: DesiredSet) {
        let revision = Revision::from(set.revision.unwrap_or_default());
        match self.identity.accept(revision) {
            Ok(true) => {}
            Ok(false) => {
                self.counters.refused_sets.inc();
                let highest = self.identity.standing().revision;
                tracing::warn!(%revision, %highest, "outdated desired set refused");
                return;
            }
            Err(error) => {
                tracing::error!(%revision, %error, "desired set not acted upon yet");
                self.node.decisions.keep_unrecorded(set);
                return;
            }
        }
        self.stand();
        if let Err(error) = self.node.want(revision, set) {
            tracing::error!(%revision, %error, "desired set cannot be read: ignored");
        }
    }
}

/// Takes the data directory, which must be of the node that the certificate names.
fn own_identity(config: &Config, credentials: &Credentials) -> Result<Identity, WorkerError> {
    let path = config.pki_dir();
    let node = match credentials.identity().map(|identity| identity.subject) {
        Some(Subject::Worker(node)) => node,
        other => {
            let found = other.map_or_else(|| "nobody".to_owned(), |other| other.to_string());
            return Err(WorkerError::NotWorker { path, found });
        }
    };
    let identity = Identity::open(&config.data_dir, &node)?;
    let theirs = credentials.cluster();
    if let Some(own) = identity.standing().cluster.filter(|own| *own != theirs) {
        return Err(PkiError::OtherCluster { own, theirs }.into());
    }
    if *identity.node() != node {
        let own = identity.node().clone();
        return Err(WorkerError::OtherNode { path, certificate: node, own });
    }
    Ok(identity)
}

/// Where each unit stands: a part of a GPU where that does.
fn places_of_units(
    gpus: &BTreeMap<UnitId, Place>,
    inventory: &Inventory,
) -> BTreeMap<UnitId, Place> {
    let units = inventory.devices.iter().filter_map(|(unit, device)| {
        let gpu = device.part.parent().unwrap_or(unit);
        Some((unit.clone(), gpus.get(gpu)?.clone()))
    });
    units.collect()
}

fn start_sampler(
    gpus: Gpus,
    dir: &Path,
    registry: &Arc<Registry>,
) -> Result<Arc<Sampler>, WorkerError> {
    let registry = Arc::clone(registry);
    Sampler::start(gpus, dir, Attempts(registry)).map(Arc::new).map_err(WorkerError::data(dir))
}

fn source(
    sampler: &Arc<Sampler>,
    registry: &Arc<Registry>,
    leader: watch::Receiver<Option<Leader>>,
) -> Arc<dyn Fn() -> Snapshot + Send + Sync> {
    let (sampler, registry) = (Arc::clone(sampler), Arc::clone(registry));
    Arc::new(move || Snapshot {
        sample: sampler.newest(),
        connected: leader.borrow().is_some(),
        attempts: registry.counts(),
    })
}
