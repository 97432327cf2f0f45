//! The native trainer `yard-train`: found beside this program or on `PATH`, and tried once
//! before the first recipe runs, because a missing libtorch would otherwise show as a loader's
//! error in each rank.

use std::{
    env,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, sync::OnceCell, time::timeout};

use super::environment::inherited;

const PROGRAM: &str = "yard-train";
/// Loading libtorch from a cold disk takes its time.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of what a failing probe says, how much is passed on.
const MAX_WORDS: usize = 2000;

/// Finds the trainer and remembers once it has answered.
#[derive(Debug)]
pub(crate) struct Trainer {
    configured: Option<PathBuf>,
    probed: OnceCell<PathBuf>,
}

impl Trainer {
    pub(crate) fn new(configured: Option<PathBuf>) -> Self {
        Self { configured, probed: OnceCell::new() }
    }

    /// The trainer's program, once it has shown that it runs here.
    ///
    /// # Errors
    /// Why it does not, in words for the researcher.
    pub(super) async fn program(&self) -> Result<&Path, String> {
        let probe = || async {
            let program = self.find()?;
            probe(&program).await?;
            Ok(program)
        };
        self.probed.get_or_try_init(probe).await.map(PathBuf::as_path)
    }

    fn find(&self) -> Result<PathBuf, String> {
        if let Some(path) = &self.configured {
            let missing = || format!("there is no trainer `{}`: check `trainer`", path.display());
            return if path.is_file() { Ok(path.clone()) } else { Err(missing()) };
        }
        let own = env::current_exe().ok();
        let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
        let on_path: Vec<PathBuf> =
            env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
        let candidates = beside.into_iter().chain(on_path).map(|dir| dir.join(PROGRAM));
        candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            format!(
                "this node has no `{PROGRAM}`: put it beside `yard` or on PATH, or set `trainer` in the worker's configuration"
            )
        })
    }
}

async fn probe(program: &Path) -> Result<(), String> {
    let shown = program.display();
    let output = Command::new(program)
        .arg("--probe")
        .env_clear()
        .envs(inherited())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match timeout(PATIENCE, output).await {
        Err(_) => return Err(format!("`{shown} --probe` did not answer within {PATIENCE:?}")),
        Ok(Err(error)) => return Err(format!("cannot run `{shown}`: {error}")),
        Ok(Ok(output)) if output.status.success() => return Ok(()),
        Ok(Ok(output)) => output,
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(MAX_WORDS).collect();
    let hint = if said.contains("error while loading shared libraries") || said.contains("libtorch")
    {
        "; install the libtorch that it was built with, or name its folder in LD_LIBRARY_PATH of the worker"
    } else {
        ""
    };
    Err(format!(
        "the trainer does not run on this node: `{shown} --probe` ended with {}: {said}{hint}",
        output.status
    ))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn script(dir: &Path, text: &str) -> Trainer {
        let path = dir.join("yard-train");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Trainer::new(Some(path))
    }

    #[tokio::test]
    async fn a_loaders_error_is_explained_and_a_success_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let line =
            "yard-train: error while loading shared libraries: libtorch_cpu.so: no such file";
        let error = script(dir.path(), &format!("echo '{line}' >&2; exit 127"));
        let error = error.program().await.unwrap_err();
        assert!(error.contains(line) && error.contains("LD_LIBRARY_PATH"), "{error}");
        let works = script(dir.path(), "exit 0");
        works.program().await.unwrap();
        fs::remove_file(dir.path().join("yard-train")).unwrap();
        works.program().await.unwrap();
        let missing = Trainer::new(Some(dir.path().join("none"))).program().await.unwrap_err();
        assert!(missing.contains("check `trainer`"), "{missing}");
    }
}
