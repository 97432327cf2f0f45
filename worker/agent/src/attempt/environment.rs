//! The environment of a rank: torchrun's variables, so that a script written for it runs
//! unchanged, and Trainyard's own. Of the agent's environment only what programs need to be
//! found and to speak is passed on: its secrets are not the ranks'.

use std::collections::BTreeMap;

use trainyard_jobs::AttemptRef;

use super::{dir::AttemptDir, order::Work};

/// How the names of MIG slices begin.
const SLICE: &str = "MIG-";

/// What ranks inherit of the agent's environment.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "LD_LIBRARY_PATH"];

/// What ranks, trainers and shims inherit of the agent's environment.
pub(super) fn inherited() -> BTreeMap<String, String> {
    let variable = |name: &str| Some((name.to_owned(), std::env::var(name).ok()?));
    INHERITED.into_iter().filter_map(variable).collect()
}

/// The whole environment of the rank with number `local` on this node. Of the same name, the
/// spec's wins over what is inherited, and what places the rank in its job wins over the spec's.
pub(super) fn environment(
    attempt: &AttemptRef,
    work: &Work,
    (local, network): (usize, &BTreeMap<&'static str, String>),
    dir: &AttemptDir,
    mut inherited: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    inherited.insert("PYTHONUNBUFFERED".into(), "1".into());
    match (work.spec.resources.cpus_per_rank, work.on_gpus()) {
        (Some(cpus), _) => drop(inherited.insert("OMP_NUM_THREADS".into(), cpus.to_string())),
        (None, false) => drop(inherited.insert("OMP_NUM_THREADS".into(), "1".into())),
        (None, true) => {}
    }
    inherited.extend(network.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    inherited.extend(work.spec.run.env.clone());
    let rank = work.ranks.get(local).map_or(0, |(rank, _)| *rank);
    let mut set = |name: &str, value: String| drop(inherited.insert(name.to_owned(), value));
    let local_world = work.ranks.len();
    set("RANK", rank.to_string());
    set("LOCAL_RANK", local.to_string());
    set("GROUP_RANK", work.group_rank.to_string());
    set("ROLE_RANK", rank.to_string());
    set("ROLE_NAME", "default".into());
    set("WORLD_SIZE", work.world_size.to_string());
    set("LOCAL_WORLD_SIZE", local_world.to_string());
    set("GROUP_WORLD_SIZE", work.group_world_size.to_string());
    set("ROLE_WORLD_SIZE", work.world_size.to_string());
    set("MASTER_ADDR", work.master_addr.clone());
    set("MASTER_PORT", work.master_port.to_string());
    set("TORCHELASTIC_RUN_ID", attempt.job.to_string());
    set("TORCHELASTIC_RESTART_COUNT", work.restarts.to_string());
    set("TORCHELASTIC_MAX_RESTARTS", work.spec.limits.max_restarts.to_string());
    set("TORCHELASTIC_USE_AGENT_STORE", "False".into());
    set("CUDA_VISIBLE_DEVICES", visible_devices(work, local));
    set("YARD_JOB", attempt.job.to_string());
    set("YARD_ATTEMPT", attempt.attempt.to_string());
    set("YARD_GENERATION", attempt.generation.to_string());
    set("YARD_CHECKPOINT_DIR", dir.checkpoints().display().to_string());
    set("YARD_CHECKPOINT_EVERY", (work.spec.checkpoint.every.0 / 1000).max(1).to_string());
    set("YARD_ARTIFACT_DIR", dir.artifacts().display().to_string());
    set("YARD_METRICS", dir.rank_metrics(rank).display().to_string());
    set("YARD_CONTROL", dir.shim().control().display().to_string());
    if work.resume.is_empty() {
        inherited.remove("YARD_RESUME_DIR");
    } else {
        set("YARD_RESUME_DIR", dir.resume().display().to_string());
    }
    inherited
}

/// The GPUs of all ranks on the node, in order, so that the local rank is the index; none for
/// ranks on CPU slots, even where the node has GPUs. Of a share the GPU. A rank on a MIG slice sees
/// its own alone, as its device 0: CUDA shows a process the first slice that is named and no other.
fn visible_devices(work: &Work, local: usize) -> String {
    if !work.on_gpus() {
        return String::new();
    }
    match work.ranks.get(local) {
        Some((_, own)) if own.0.starts_with(SLICE) => own.to_string(),
        _ => work.ranks.iter().map(|(_, unit)| unit.gpu()).collect::<Vec<_>>().join(","),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use trainyard_jobs::{AttemptNo, Bytes, Digest, FileEntry, Generation, JobId, UnitId};

    use super::*;
    use crate::{attempt::Network, config::Config, network::Cards};

    fn work(device: &str) -> Work {
        let spec = format!(
            r#"{{"name":"x","resources":{{"gpus":4,"device":"{device}"}},"run":{{"command":["true"],
            "env":{{"RANK":"99","LANG":"de","SEED":"7"}}}}}}"#
        );
        Work {
            spec: serde_json::from_str(&spec).unwrap(),
            ranks: vec![(2, UnitId("GPU-a".into())), (3, UnitId("GPU-b".into()))],
            world_size: 4,
            group_rank: 1,
            group_world_size: 2,
            master_addr: "node-1".into(),
            master_port: 20_001,
            bundle: None,
            resume: Vec::new(),
            time_allowance: None,
            restarts: 2,
        }
    }

    fn rank_environment(work: &Work) -> BTreeMap<String, String> {
        let attempt = AttemptRef {
            job: JobId::from_random(1),
            attempt: AttemptNo(3),
            generation: Generation(1),
        };
        let dir = AttemptDir::new(Path::new("/data"), &attempt);
        let inherited =
            BTreeMap::from([("LANG".into(), "C".into()), ("PATH".into(), "/bin".into())]);
        let network = Network::new(&Config::default(), Some("eth1".into()), Cards::default());
        let network = network.variables(work);
        environment(&attempt, work, (1, &network), &dir, inherited)
    }

    #[test]
    fn the_environment_is_torchruns() {
        let environment = rank_environment(&work("gpu"));
        let lines: Vec<String> = environment.iter().map(|(k, v)| format!("{k}={v}")).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn ranks_see_the_gpus_of_their_shares_and_their_own_slice() {
        let mut work = work("gpu");
        let on = |work: &mut Work, units: [&str; 2]| {
            work.ranks = vec![(2, UnitId(units[0].into())), (3, UnitId(units[1].into()))];
            rank_environment(work)["CUDA_VISIBLE_DEVICES"].clone()
        };
        assert_eq!(on(&mut work, ["GPU-a/3-of-4", "GPU-b/0-of-4"]), "GPU-a,GPU-b");
        assert_eq!(on(&mut work, ["MIG-a", "MIG-b"]), "MIG-b", "rank 3's own");
    }

    #[test]
    fn cpu_ranks_see_no_gpu_and_use_one_thread() {
        let mut work = work("cpu");
        work.master_addr = "127.0.0.1".into();
        work.resume.push(FileEntry {
            path: "manifest.json".into(),
            key: "k".into(),
            size: Bytes(1),
            digest: Digest::of(b""),
        });
        let environment = rank_environment(&work);
        assert_eq!(environment["CUDA_VISIBLE_DEVICES"], "");
        assert_eq!(environment["OMP_NUM_THREADS"], "1");
        assert_eq!(environment["GLOO_SOCKET_IFNAME"], "lo");
        assert!(environment["YARD_RESUME_DIR"].ends_with("/resume"));
    }

    #[test]
    fn the_specs_word_on_the_network_is_last() {
        let mut work = work("gpu");
        let own = ("NCCL_SOCKET_IFNAME".to_owned(), "=ib7".to_owned());
        assert_eq!(rank_environment(&work)["NCCL_SOCKET_IFNAME"], "=eth1");
        work.spec.run.env.extend([own]);
        assert_eq!(rank_environment(&work)["NCCL_SOCKET_IFNAME"], "=ib7");
    }

    #[test]
    fn a_rank_uses_as_many_threads_as_it_has_cpus() {
        for device in ["cpu", "gpu"] {
            let mut work = work(device);
            work.spec.resources.cpus_per_rank = Some(12);
            assert_eq!(rank_environment(&work)["OMP_NUM_THREADS"], "12");
            work.spec.run.env.insert("OMP_NUM_THREADS".into(), "3".into());
            assert_eq!(rank_environment(&work)["OMP_NUM_THREADS"], "3", "the spec's word is last");
        }
    }
}
