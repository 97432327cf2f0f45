//! What a desired set orders for this node: kept in the attempt's directory, so that the next
//! agent knows it without asking.

use serde::{Deserialize, Serialize};
use trainyard_jobs::{
    AttemptRef, DeviceKind, Digest, FileEntry, JobSpec, Millis, Revision, UnitId,
};
use trainyard_proto::{
    convert::{Invalid, parse, required},
    v1::DesiredAttempt,
};

/// The newest format of `attempt.json` that this version reads.
const FORMAT: u32 = 1;

/// An attempt that this node is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    format: u32,
    /// Which attempt.
    pub attempt: AttemptRef,
    /// The revision at which it was started.
    pub started: Revision,
    /// What to run, or why this agent cannot tell.
    pub work: Result<Work, String>,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The job's spec.
    pub spec: JobSpec,
    /// The ranks of this node and their device units, in order of their local rank.
    pub ranks: Vec<(u32, UnitId)>,
    /// Ranks on all nodes.
    pub world_size: u32,
    /// This node among the attempt's nodes.
    pub group_rank: u32,
    /// The attempt's nodes.
    pub group_world_size: u32,
    /// Where rank 0's node is reached.
    pub master_addr: String,
    /// The port on which the ranks meet.
    pub master_port: u16,
    /// The work directory's bundle.
    pub bundle: Option<Digest>,
    /// Manifests of the parts of the checkpoint to resume from.
    pub resume: Vec<FileEntry>,
    /// How long the ranks may run.
    pub time_allowance: Option<Millis>,
    /// Attempts before this one.
    pub restarts: u32,
}

impl Work {
    /// Whether rank 0 runs on this node.
    pub fn has_rank_0(&self) -> bool {
        self.ranks.iter().any(|(rank, _)| *rank == 0)
    }

    /// Whether ranks hold GPUs.
    pub fn on_gpus(&self) -> bool {
        self.spec.resources.device == DeviceKind::Gpu
    }
}

impl Order {
    /// Reads an order. One whose attempt can be told but whose work cannot is an order too: its
    /// failure to start is reported.
    ///
    /// # Errors
    /// When not even its attempt can be told.
    pub fn from_wire(desired: DesiredAttempt) -> Result<Self, Invalid> {
        let attempt = required("desired.attempt", desired.attempt.clone())?.try_into()?;
        let started = required("desired.started", desired.started)?.into();
        let work = Work::from_wire(desired).map_err(|error| {
            format!("this worker cannot read the order ({error}): is it older than the scheduler?")
        });
        Ok(Self { format: FORMAT, attempt, started, work })
    }

    /// Whether this version can read the order.
    pub const fn is_known_format(&self) -> bool {
        self.format <= FORMAT
    }
}

impl Work {
    fn from_wire(desired: DesiredAttempt) -> Result<Self, Invalid> {
        let spec: JobSpec = serde_json::from_slice(&desired.spec_json)
            .map_err(|error| Invalid::new("desired.spec_json", error))?;
        if desired.ranks.is_empty() {
            return Err(Invalid::new("desired.ranks", "names no rank"));
        }
        let master_port = u16::try_from(desired.master_port)
            .map_err(|error| Invalid::new("desired.master_port", error))?;
        let bundle = match desired.bundle.as_str() {
            "" => None,
            text => Some(parse("desired.bundle", text)?),
        };
        let resume = desired.resume.into_iter().map(FileEntry::try_from);
        Ok(Self {
            spec,
            ranks: desired.ranks.into_iter().map(|s| (s.rank, UnitId(s.unit))).collect(),
            world_size: desired.world_size,
            group_rank: desired.group_rank,
            group_world_size: desired.group_world_size,
            master_addr: desired.master_addr,
            master_port,
            bundle,
            resume: resume.collect::<Result<_, _>>()?,
            time_allowance: (desired.time_allowance_ms > 0)
                .then_some(Millis(desired.time_allowance_ms)),
            restarts: desired.restarts,
        })
    }
}

#[cfg(test)]
mod tests {
    use trainyard_jobs::{AttemptNo, Generation, JobId};
    use trainyard_proto::v1;

    use super::*;

    fn desired() -> DesiredAttempt {
        let attempt = AttemptRef {
            job: JobId::from_random(1),
            attempt: AttemptNo(1),
            generation: Generation(1),
        };
        DesiredAttempt {
            attempt: Some((&attempt).into()),
            started: Some(v1::Revision { epoch: 1, index: 5 }),
            spec_json: br#"{"name":"x","run":{"command":["true"]}}"#.into(),
            ranks: vec![v1::RankSlot { rank: 0, unit: "cpu-0".into() }],
            master_port: 20_000,
            ..DesiredAttempt::default()
        }
    }

    #[test]
    fn an_order_reads_back_from_its_file() {
        let order = Order::from_wire(desired()).unwrap();
        assert!(order.work.as_ref().unwrap().has_rank_0());
        let text = serde_json::to_string(&order).unwrap();
        assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
    }

    #[test]
    fn a_spec_from_the_future_is_an_order_that_fails_to_start() {
        let desired = DesiredAttempt { spec_json: br#"{"name":"x","warp":9}"#.into(), ..desired() };
        let error = Order::from_wire(desired).unwrap().work.unwrap_err();
        assert!(error.contains("unknown field `warp`"), "{error}");
        let nameless = DesiredAttempt { attempt: None, ..DesiredAttempt::default() };
        assert!(Order::from_wire(nameless).is_err());
    }
}
