//! Where `yard` keeps what it remembers between calls, by the XDG rules: the contexts that a
//! user wrote, the last job submitted, the last `yard dev` directory. Read from the environment
//! once, then passed on, so that tests need not touch the process's environment.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use crate::error::CliError;

/// The user's directories and what the environment says of endpoints.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places {
    /// `~/.config/yard`, or XDG's.
    pub(crate) config: Option<PathBuf>,
    /// `~/.local/state/yard`, or XDG's.
    pub(crate) state: Option<PathBuf>,
    /// The working directory.
    pub(crate) here: PathBuf,
    /// `YARD_ENDPOINT`.
    pub(crate) endpoint: Option<String>,
    /// `YARD_TOKEN`.
    pub(crate) token: Option<Secretive>,
    /// `YARD_PKI`.
    pub(crate) pki: Option<PathBuf>,
    /// `YARD_JOIN`, which is not shown in the list of processes as a flag is.
    pub(crate) join: Option<String>,
}

/// Text that no debug output shows.
#[derive(Clone)]
pub(crate) struct Secretive(pub(crate) String);

impl std::fmt::Debug for Secretive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

impl Places {
    /// What this process's environment says.
    pub(crate) fn from_env() -> Self {
        let set = |key: &str| env::var_os(key).filter(|value| !value.is_empty());
        let home = set("HOME").map(PathBuf::from);
        let base = |key: &str, below: &str| {
            set(key)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
                .or_else(|| home.as_ref().map(|home| home.join(below)))
                .map(|path| path.join("yard"))
        };
        Self {
            config: base("XDG_CONFIG_HOME", ".config"),
            state: base("XDG_STATE_HOME", ".local/state"),
            here: env::current_dir().unwrap_or_default(),
            endpoint: set("YARD_ENDPOINT").and_then(|value| value.into_string().ok()),
            token: set("YARD_TOKEN").and_then(|value| value.into_string().ok()).map(Secretive),
            join: set("YARD_JOIN").and_then(|value| value.into_string().ok()),
            pki: set("YARD_PKI").map(PathBuf::from),
        }
    }

    /// The job that was last submitted from this machine.
    pub(crate) fn last_job(&self) -> Option<String> {
        self.recall("last")
    }

    /// Remembers the job that was submitted. A directory that cannot be written costs `@last`,
    /// never the submission.
    pub(crate) fn remember_job(&self, job: &str) {
        if let Err(error) = self.remember("last", job) {
            tracing::warn!(%error, "the job is submitted, but `@last` cannot be remembered");
        }
    }

    /// The directory of the `yard dev` that was started last.
    pub(crate) fn dev_directory(&self) -> Option<PathBuf> {
        self.recall("dev").map(PathBuf::from)
    }

    /// Makes a `yard dev` directory the one that other terminals find.
    pub(crate) fn remember_dev(&self, directory: &Path) -> io::Result<()> {
        self.remember("dev", &directory.to_string_lossy())
    }

    /// Forgets a `yard dev` directory, unless a later one has taken its place.
    pub(crate) fn forget_dev(&self, directory: &Path) {
        if self.dev_directory().as_deref() == Some(directory) {
            let _ = self.state.as_ref().map(|state| fs::remove_file(state.join("dev")));
        }
    }

    /// Resolves a job's name on the command line: `@last`, an id or the beginning of one.
    pub(crate) fn job(&self, name: &str) -> Result<String, CliError> {
        match name {
            "@last" => self.last_job().ok_or_else(|| {
                CliError::not_found("no job has been submitted from this machine yet")
                    .help("`yard ps --all` lists the cluster's jobs")
            }),
            "" => Err(CliError::usage("a job's name is empty")),
            name => Ok(name.to_owned()),
        }
    }

    fn recall(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.state.as_ref()?.join(name)).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn remember(&self, name: &str, text: &str) -> io::Result<()> {
        let Some(state) = &self.state else { return Ok(()) };
        fs::create_dir_all(state)?;
        let mut file = tempfile::NamedTempFile::new_in(state)?;
        io::Write::write_all(&mut file, format!("{text}\n").as_bytes())?;
        file.persist(state.join(name)).map_err(|error| error.error)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_is_what_was_remembered_last() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { state: Some(dir.path().join("yard")), ..Places::default() };
        assert!(places.job("@last").is_err());
        places.remember_job("a1");
        places.remember_job("b2");
        assert_eq!(places.job("@last").unwrap(), "b2");
        assert_eq!(places.job("c3").unwrap(), "c3");
    }

    #[test]
    fn only_the_dev_that_is_remembered_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let places = Places { state: Some(dir.path().to_owned()), ..Places::default() };
        places.remember_dev(Path::new("/one")).unwrap();
        places.remember_dev(Path::new("/two")).unwrap();
        places.forget_dev(Path::new("/one"));
        assert_eq!(places.dev_directory(), Some(PathBuf::from("/two")));
        places.forget_dev(Path::new("/two"));
        assert_eq!(places.dev_directory(), None);
    }
}
