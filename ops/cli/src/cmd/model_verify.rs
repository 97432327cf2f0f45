//! `yard model verify`: compares every byte of a version with its digests: in a pulled folder,
//! without a cluster; or in the cluster's store.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use trainyard_jobs::Digest;
use trainyard_proto::v1;

use super::model::{self, ModelRef, PulledFile, Receipt};
use crate::{
    app::App,
    client::Cluster,
    error::CliError,
    exit::Exit,
    output::{Cell, List, Look, Row, Tone, human::size},
};

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct ModelVerifyArgs {
    /// A pulled folder; or MODEL, MODEL:N, MODEL@N in the registry
    what: String,
    /// With MODEL: compare this folder with the registry
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// One file, and whether its bytes are right.
#[derive(Debug, Serialize)]
struct Verified {
    path: String,
    size_bytes: u64,
    digest: Digest,
    /// `ok`, `damaged` or `missing`.
    state: &'static str,
    problem: Option<String>,
}

impl Row for Verified {
    const KIND: &'static str = "VerifiedFile";
    const LIST: &'static str = "VerifiedFileList";

    fn key(&self) -> String {
        format!("{} {}", self.state, self.path)
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &["FILE", "SIZE", "STATE", "DIGEST", "PROBLEM"]
        } else {
            &["FILE", "SIZE", "STATE"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let mut cells = vec![
            Cell::cut(&self.path, if look.wide { 200 } else { 50 }),
            Cell::number(size(self.size_bytes)),
            Cell::state(self.state),
        ];
        if look.wide {
            cells.push(Cell::new(self.digest.to_string()).tone(Tone::Meta));
            cells.push(Cell::new(self.problem.as_deref().unwrap_or_default()));
        }
        cells
    }
}

/// Verifies; exit code 1 if any byte is wrong.
pub(crate) async fn run(app: &App, args: &ModelVerifyArgs) -> Result<Exit, CliError> {
    let folder = Path::new(&args.what);
    if args.dir.is_none() && folder.is_dir() {
        let receipt = Receipt::read(folder)?.ok_or_else(|| {
            CliError::usage(format!("`{}` was not made by `yard model pull`", folder.display()))
                .help("name the version and the folder: yard model verify MODEL:N --dir DIR")
        })?;
        return report(app, &receipt, in_folder(folder, &receipt.files));
    }
    let name: ModelRef = args.what.parse().map_err(|error| {
        CliError::usage(format!("there is no folder `{}`, and as a model: {error}", args.what))
    })?;
    let cluster = app.cluster()?;
    let version = model::fetch(&cluster, &name).await?;
    let receipt = Receipt::of(&version)?;
    let files = match &args.dir {
        Some(dir) => in_folder(dir, &receipt.files),
        None => in_store(app, &cluster, &version, &receipt.files).await?,
    };
    report(app, &receipt, files)
}

fn in_folder(dir: &Path, files: &[PulledFile]) -> Vec<Verified> {
    let verify = |file: &PulledFile| match model::measure(&dir.join(&file.path)) {
        Ok((size, digest)) => compared(file, size, digest),
        Err(error) => {
            Verified { state: "missing", problem: Some(error.to_string()), ..right(file) }
        }
    };
    files.iter().map(verify).collect()
}

async fn in_store(
    app: &App,
    cluster: &Cluster,
    version: &v1::Version,
    files: &[PulledFile],
) -> Result<Vec<Verified>, CliError> {
    let bar = app.out.bytes_bar(files.iter().map(|file| file.size_bytes).sum(), "verifying");
    let mut verified = Vec::new();
    for file in files {
        let mut stream = model::open(cluster, version, &file.path).await?;
        let mut hasher = Sha256::new();
        let mut size = 0u64;
        verified.push(loop {
            match stream.message().await {
                Ok(Some(chunk)) => {
                    hasher.update(&chunk.data);
                    let read = u64::try_from(chunk.data.len()).unwrap_or(u64::MAX);
                    size = size.saturating_add(read);
                    bar.inc(read);
                }
                Ok(None) => break compared(file, size, Digest::from_hasher(hasher)),
                Err(status) => {
                    let problem = Some(status.message().to_owned());
                    break Verified { state: "damaged", problem, ..right(file) };
                }
            }
        });
    }
    bar.finish_and_clear();
    Ok(verified)
}

fn right(file: &PulledFile) -> Verified {
    let PulledFile { path, size_bytes, digest } = file.clone();
    Verified { path, size_bytes, digest, state: "ok", problem: None }
}

fn compared(file: &PulledFile, size: u64, digest: Digest) -> Verified {
    if (size, digest) == (file.size_bytes, file.digest) {
        return right(file);
    }
    let problem = Some(format!("has {size} bytes and {digest}"));
    Verified { state: "damaged", problem, ..right(file) }
}

fn report(app: &App, receipt: &Receipt, items: Vec<Verified>) -> Result<Exit, CliError> {
    let wrong = items.iter().filter(|file| file.state != "ok").count();
    let empty = format!("{} has no files", receipt.name());
    let page = app.out.list(&List { items, more: false, stale: false, empty }, app.out.look())?;
    app.out.print(&page)?;
    if wrong > 0 {
        return Err(model::damaged(&format!(
            "{wrong} of {} files of {} are not what was registered",
            receipt.files.len(),
            receipt.name()
        )));
    }
    app.out.note(&format!("{}: every byte is right, {}", receipt.name(), receipt.digest));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_is_compared_byte_by_byte() {
        let dir = tempfile::tempdir().unwrap();
        let file = |path: &str, text: &str| PulledFile {
            path: path.into(),
            size_bytes: u64::try_from(text.len()).unwrap(),
            digest: Digest::of(text.as_bytes()),
        };
        let files = [file("a", "one"), file("b", "two"), file("c", "three")];
        fs::write(dir.path().join("a"), "one").unwrap();
        fs::write(dir.path().join("b"), "owt").unwrap();
        let states: Vec<_> = in_folder(dir.path(), &files).iter().map(|v| v.state).collect();
        assert_eq!(states, ["ok", "damaged", "missing"]);
    }
}
