//! Limits of ranks on shares through CUDA's multi-process service (MPS), where an operator runs its
//! daemon and says so. The agent starts no daemon: whose processes may share one is not its to say.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use trainyard_jobs::{Bytes, GpuPart, Inventory, UnitId};

use super::order::Work;

/// Where the daemon listens, if the agent's environment does not say.
const PIPES: (&str, &str) = ("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps");

/// The shares that the node offers, and where the daemon listens.
#[derive(Debug, Clone)]
pub(crate) struct Mps {
    pipes: PathBuf,
    /// Thousandths of the GPU and memory.
    shares: BTreeMap<UnitId, (u16, Bytes)>,
}

impl Mps {
    /// For the shares that the node offers.
    pub(crate) fn new(inventory: &Inventory) -> Self {
        let pipes = env::var_os(PIPES.0).map_or_else(|| Path::new(PIPES.1).to_owned(), Into::into);
        Self::at(pipes, inventory)
    }

    fn at(pipes: PathBuf, inventory: &Inventory) -> Self {
        let share = |(unit, device): (&UnitId, &trainyard_jobs::Device)| {
            matches!(device.part, GpuPart::Share { .. })
                .then(|| (unit.clone(), (device.part.milli(), device.memory)))
        };
        Self { pipes, shares: inventory.devices.iter().filter_map(share).collect() }
    }

    /// What each rank's environment says beside the rest: nothing where no daemon is, or where a
    /// rank is not on a share. Memory is limited by the device's number as the rank sees it.
    pub(super) fn variables(&self, work: &Work) -> BTreeMap<String, String> {
        let shares: Option<Vec<_>> =
            work.ranks.iter().map(|(_, unit)| self.shares.get(unit)).collect();
        let Some(shares) = shares else { return BTreeMap::new() };
        let Some(least) = shares.iter().map(|(milli, _)| milli / 10).min() else {
            return BTreeMap::new();
        };
        if !self.pipes.join("control").exists() {
            tracing::warn!(pipes = %self.pipes.display(), "no MPS daemon: shares are watched only");
            return BTreeMap::new();
        }
        let memory =
            |(at, (_, memory)): (usize, &&(u16, Bytes))| format!("{at}={}M", memory.0 >> 20);
        let memory: Vec<String> = shares.iter().enumerate().map(memory).collect();
        BTreeMap::from([
            (PIPES.0.to_owned(), self.pipes.display().to_string()),
            ("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE".to_owned(), least.max(1).to_string()),
            ("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT".to_owned(), memory.join(",")),
        ])
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use trainyard_jobs::{Device, DeviceKind};

    use super::*;
    use crate::{config::Config, telemetry};

    fn work(units: &[&str]) -> Work {
        let spec = r#"{"name":"x","run":{"command":["true"]}}"#;
        let ranks = (0..).zip(units).map(|(rank, unit)| (rank, UnitId((*unit).into())));
        Work {
            spec: serde_json::from_str(spec).unwrap(),
            ranks: ranks.collect(),
            world_size: 2,
            group_rank: 0,
            group_world_size: 1,
            master_addr: "n".into(),
            master_port: 20_000,
            bundle: None,
            resume: Vec::new(),
            time_allowance: None,
            restarts: 0,
        }
    }

    #[test]
    fn limits_are_set_where_a_daemon_is() {
        let dir = tempfile::tempdir().unwrap();
        let gpus = telemetry::Gpus::open(Some(Path::new("/nonexistent")), None);
        let mut inventory =
            telemetry::inventory(&Config::default(), (&gpus, &BTreeMap::new()), dir.path());
        for gpu in ["GPU-a", "GPU-b"].map(|name| UnitId(name.into())) {
            let unit = gpu.share(0, 4);
            let part = GpuPart::Share { parent: gpu, nth: 0, of: 4 };
            let (kind, memory) = (DeviceKind::Gpu, Bytes(20 << 30));
            let device = Device { kind, index: 0, model: "h100".into(), memory, part };
            inventory.devices.insert(unit, device);
        }
        let mps = Mps::at(dir.path().to_owned(), &inventory);
        let both = work(&["GPU-a/0-of-4", "GPU-b/0-of-4"]);
        assert!(mps.variables(&both).is_empty(), "no daemon");
        fs::write(dir.path().join("control"), b"").unwrap();
        let set = mps.variables(&both);
        assert_eq!(set["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"], "25");
        assert_eq!(set["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"], "0=20480M,1=20480M");
        assert_eq!(set["CUDA_MPS_PIPE_DIRECTORY"], dir.path().display().to_string());
        assert!(mps.variables(&work(&["GPU-c"])).is_empty(), "a whole GPU");
        assert!(mps.variables(&work(&["cpu-0"])).is_empty());
    }
}
