//! Where the programs under test lie: beside the test's own executable, as cargo builds them.
//!
//! The harness never builds them; `make build` does.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};

/// The `yard` binary; `YARD_BIN` names another.
pub fn yard() -> anyhow::Result<PathBuf> {
    program("yard", "YARD_BIN")
}

/// The native trainer; `YARD_TRAIN_BIN` names another.
pub fn trainer() -> anyhow::Result<PathBuf> {
    program("yard-train", "YARD_TRAIN_BIN")
}

/// A Python with PyTorch: `YARD_PYTHON`, or the one that `make setup` made.
pub fn python() -> anyhow::Result<PathBuf> {
    let folder = |name| env::var_os(name).map(PathBuf::from);
    let cache = || {
        folder("YARD_CACHE")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("trainyard")))
            .or_else(|| Some(folder("HOME")?.join(".cache/trainyard")))
    };
    let python = folder("YARD_PYTHON")
        .or_else(|| Some(cache()?.join("venv/bin/python")))
        .context("neither YARD_PYTHON nor HOME is set")?;
    ensure!(python.exists(), "no Python at {}; run `make setup`", python.display());
    Ok(python)
}

/// `PATH` with that Python first, so that a job's `python` is the one with PyTorch.
#[must_use]
pub fn search_path() -> OsString {
    let own = python().ok().and_then(|python| Some(python.parent()?.to_owned()));
    let inherited = env::var_os("PATH").unwrap_or_default();
    env::join_paths(own.into_iter().chain(env::split_paths(&inherited))).unwrap_or(inherited)
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_root.ancestors().nth(2).unwrap_or(crate_root).to_owned()
}

fn program(name: &str, variable: &str) -> anyhow::Result<PathBuf> {
    let path = match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => {
            // target/<profile>/deps/<test> → target/<profile>/<program>
            let test = env::current_exe().context("where is this test?")?;
            test.ancestors().nth(2).context("the test lies in target/<profile>/deps")?.join(name)
        }
    };
    ensure!(path.exists(), "{} is not built; run `make build`", path.display());
    Ok(path)
}
