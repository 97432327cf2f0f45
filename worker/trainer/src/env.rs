//! What a rank is told by its environment: torchrun's variables, and the `YARD_*` ones of the agent.
//! Read once at the start; the rest of the crate never looks at the environment.

use std::path::PathBuf;
use std::time::Duration;

use crate::Error;

/// One rank's place in its attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct RankEnv {
    /// `RANK`
    pub rank: u32,
    /// `LOCAL_RANK`
    pub local_rank: u32,
    /// `WORLD_SIZE`
    pub world_size: u32,
    /// `MASTER_ADDR`
    pub master_addr: String,
    /// `MASTER_PORT`
    pub master_port: u16,
    /// `TORCHELASTIC_USE_AGENT_STORE`: the launcher serves the store, so rank 0 only connects.
    pub agent_store: bool,
    /// `YARD_JOB`, else `TORCHELASTIC_RUN_ID`.
    pub job: String,
    /// `YARD_ATTEMPT`, else `TORCHELASTIC_RESTART_COUNT`.
    pub attempt: String,
    /// `YARD_GENERATION`
    pub generation: String,
    /// `YARD_COLLECTIVE_TIMEOUT` in seconds.
    pub collective_timeout: Duration,
    /// `GLOO_SOCKET_IFNAME`: interfaces for Gloo, comma-separated; empty for the one that leads to
    /// the master.
    pub gloo_interfaces: String,
    /// `CUDA_VISIBLE_DEVICES` is set and names no device.
    pub cuda_hidden: bool,
    /// `OMP_NUM_THREADS`
    pub threads: Option<i32>,
    /// Where files go and come from.
    pub paths: Paths,
}

/// The folders and files shared with the agent. Each may be absent, and is then not used.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Paths {
    /// `YARD_CHECKPOINT_DIR`: the spool of finished checkpoints.
    pub checkpoints: Option<PathBuf>,
    /// `YARD_RESUME_DIR`: the files of the checkpoint to go on from.
    pub resume: Option<PathBuf>,
    /// `YARD_ARTIFACT_DIR`
    pub artifacts: Option<PathBuf>,
    /// `YARD_METRICS`: this rank's own file.
    pub metrics: Option<PathBuf>,
    /// `YARD_CONTROL`
    pub control: Option<PathBuf>,
    /// `YARD_CHECKPOINT_EVERY` in seconds.
    pub checkpoint_every: Option<Duration>,
}

impl RankEnv {
    /// Reads the process's environment.
    ///
    /// # Errors
    /// [`Error::Env`] for a value that is no number or does not fit the others.
    pub fn from_process() -> Result<Self, Error> {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Reads an environment given as a function. A variable that is set and empty counts as unset.
    ///
    /// # Errors
    /// As [`from_process`](Self::from_process).
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let get = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let path = |name: &str| get(name).map(PathBuf::from);
        let world_size = number(&get, "WORLD_SIZE", 1)?;
        let rank = number(&get, "RANK", 0)?;
        if world_size == 0 {
            return Err(Error::Env {
                name: "WORLD_SIZE",
                why: "is 0; it counts the ranks, so it is at least 1".to_owned(),
            });
        }
        if rank >= world_size {
            return Err(Error::Env {
                name: "RANK",
                why: format!("is {rank}, but WORLD_SIZE is {world_size}"),
            });
        }
        let alone = world_size == 1;
        let master_addr = match get("MASTER_ADDR") {
            Some(address) => address,
            None if alone => "127.0.0.1".to_owned(),
            None => {
                return Err(Error::Env {
                    name: "MASTER_ADDR",
                    why: format!("is not set, but WORLD_SIZE is {world_size}"),
                });
            }
        };
        let master_port = number(&get, "MASTER_PORT", 0)?;
        if master_port == 0 && !alone {
            return Err(Error::Env {
                name: "MASTER_PORT",
                why: format!("is not set, but WORLD_SIZE is {world_size}"),
            });
        }
        Ok(Self {
            rank,
            local_rank: number(&get, "LOCAL_RANK", 0)?,
            world_size,
            master_addr,
            master_port,
            agent_store: get("TORCHELASTIC_USE_AGENT_STORE")
                .is_some_and(|value| value.eq_ignore_ascii_case("true")),
            job: get("YARD_JOB")
                .or_else(|| get("TORCHELASTIC_RUN_ID"))
                .unwrap_or_else(|| "local".to_owned()),
            attempt: get("YARD_ATTEMPT")
                .or_else(|| get("TORCHELASTIC_RESTART_COUNT"))
                .unwrap_or_else(|| "0".to_owned()),
            generation: get("YARD_GENERATION").unwrap_or_else(|| "0".to_owned()),
            collective_timeout: seconds(&get, "YARD_COLLECTIVE_TIMEOUT")?
                .unwrap_or(Duration::from_secs(120)),
            gloo_interfaces: get("GLOO_SOCKET_IFNAME").unwrap_or_default(),
            cuda_hidden: lookup("CUDA_VISIBLE_DEVICES")
                .is_some_and(|value| value.is_empty() || value == "-1"),
            threads: get("OMP_NUM_THREADS")
                .and_then(|value| value.parse().ok())
                .filter(|count| *count > 0),
            paths: Paths {
                checkpoints: path("YARD_CHECKPOINT_DIR"),
                resume: path("YARD_RESUME_DIR"),
                artifacts: path("YARD_ARTIFACT_DIR"),
                metrics: path("YARD_METRICS"),
                control: path("YARD_CONTROL"),
                checkpoint_every: seconds(&get, "YARD_CHECKPOINT_EVERY")?,
            },
        })
    }

    /// What this attempt puts before its keys on the store: a restart never reads an older one's.
    pub fn store_prefix(&self) -> String {
        format!("yard/{}/{}/{}", self.job, self.attempt, self.generation)
    }
}

fn number<T: std::str::FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
    default: T,
) -> Result<T, Error> {
    match get(name) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| Error::Env {
            name,
            why: format!("is {text:?}, which is not a number in range"),
        }),
    }
}

fn seconds(
    get: &impl Fn(&str) -> Option<String>,
    name: &'static str,
) -> Result<Option<Duration>, Error> {
    let Some(text) = get(name) else { return Ok(None) };
    let parsed = text
        .parse::<f64>()
        .ok()
        .filter(|value| *value > 0.0)
        .and_then(|value| Duration::try_from_secs_f64(value).ok());
    parsed.map(Some).ok_or_else(|| Error::Env {
        name,
        why: format!("is {text:?}, which is not a positive number of seconds"),
    })
}

#[cfg(test)]
mod tests {
    use super::RankEnv;

    fn read(pairs: &[(&str, &str)]) -> Result<RankEnv, String> {
        let lookup = |name: &str| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        RankEnv::from_lookup(lookup).map_err(|e| e.to_string())
    }

    #[test]
    fn nothing_set_is_a_world_of_one() {
        let env = read(&[]).unwrap();
        assert_eq!(
            (env.rank, env.world_size, env.store_prefix().as_str()),
            (0, 1, "yard/local/0/0")
        );
    }

    #[test]
    fn each_attempt_and_generation_has_keys_of_its_own() {
        let base = [
            ("WORLD_SIZE", "2"),
            ("RANK", "1"),
            ("MASTER_ADDR", "10.0.0.1"),
            ("MASTER_PORT", "4000"),
            ("YARD_JOB", "j"),
            ("YARD_ATTEMPT", "3"),
        ];
        let mut with_generation = base.to_vec();
        with_generation.push(("YARD_GENERATION", "2"));
        assert_eq!(read(&base).unwrap().store_prefix(), "yard/j/3/0");
        assert_eq!(read(&with_generation).unwrap().store_prefix(), "yard/j/3/2");
    }

    #[test]
    fn what_does_not_add_up_is_named() {
        assert_eq!(
            read(&[("RANK", "x")]).unwrap_err(),
            "RANK: is \"x\", which is not a number in range"
        );
        assert_eq!(
            read(&[("RANK", "2"), ("WORLD_SIZE", "2")]).unwrap_err(),
            "RANK: is 2, but WORLD_SIZE is 2"
        );
        assert_eq!(
            read(&[("WORLD_SIZE", "2")]).unwrap_err(),
            "MASTER_ADDR: is not set, but WORLD_SIZE is 2"
        );
        assert_eq!(
            read(&[("YARD_CHECKPOINT_EVERY", "-1")]).unwrap_err(),
            "YARD_CHECKPOINT_EVERY: is \"-1\", which is not a positive number of seconds"
        );
    }
}
