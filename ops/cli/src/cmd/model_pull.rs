//! `yard model pull`: brings a version's files here. A file appears under its name only when its
//! size and digest are right; what lies there already and is right is not fetched again.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::ProgressBar;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use trainyard_jobs::Digest;
use trainyard_proto::v1;

use super::model::{self, ModelRef, PulledFile, RECEIPT, Receipt};
use crate::{
    app::App,
    client::{self, Cluster},
    error::CliError,
    exit::Exit,
};

/// How often a file is asked for again when its stream breaks.
const TRIES: u32 = 5;

/// Which version, and where to.
#[derive(Debug, Args)]
pub(crate) struct ModelPullArgs {
    /// MODEL for the newest version, MODEL:N or MODEL@N
    model: ModelRef,
    /// Folder to put the files in [default: MODEL-N]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Say what would be fetched, and fetch nothing
    #[arg(long)]
    dry_run: bool,
}

/// Pulls a version and prints the folder.
pub(crate) async fn run(app: &App, args: &ModelPullArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let version = model::fetch(&cluster, &args.model).await?;
    let receipt = Receipt::of(&version)?;
    let default = || PathBuf::from(format!("{}-{}", receipt.model, receipt.model_version));
    let dir = args.to.clone().unwrap_or_else(default);
    check_folder(&dir, &receipt)?;
    if args.dry_run {
        app.out.note(&format!(
            "would put {} files of {} in `{}`",
            receipt.files.len(),
            receipt.name(),
            dir.display()
        ));
        return Ok(Exit::Done);
    }
    fs::create_dir_all(&dir).map_err(|error| CliError::io("make the folder", &dir, &error))?;
    let bytes = receipt.files.iter().map(|file| file.size_bytes).sum();
    let bar = app.out.bytes_bar(bytes, &receipt.name());
    for file in &receipt.files {
        let path = model::place(&dir, &file.path)?;
        if model::measure(&path).is_ok_and(|found| found == (file.size_bytes, file.digest)) {
            bar.inc(file.size_bytes);
            continue;
        }
        pull(&cluster, &version, file, &path, &bar).await?;
    }
    bar.finish_and_clear();
    write_receipt(&dir, &receipt)?;
    app.out.note(&format!(
        "{}: {} files, each with the right digest; `yard model verify {}` compares them again",
        receipt.name(),
        receipt.files.len(),
        dir.display()
    ));
    app.out.result(&format!("{}\n", dir.display()))?;
    Ok(Exit::Done)
}

/// A folder of something else is left alone.
fn check_folder(dir: &Path, receipt: &Receipt) -> Result<(), CliError> {
    if let Some(found) = Receipt::read(dir)? {
        if found.digest == receipt.digest {
            return Ok(());
        }
        let what = format!("`{}` holds {}", dir.display(), found.name());
        return Err(CliError::usage(what).help("name another folder with --to"));
    }
    let known = |name: &std::ffi::OsStr| {
        receipt.files.iter().any(|file| Path::new(&file.path).iter().next() == Some(name))
    };
    let strange = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok).find(|entry| {
        !known(&entry.file_name()) && !entry.file_name().to_string_lossy().starts_with(PARTIAL)
    });
    match strange {
        None => Ok(()),
        Some(entry) => Err(CliError::usage(format!(
            "`{}` is not empty: it holds `{}`",
            dir.display(),
            entry.file_name().display()
        ))
        .help("name another folder with --to")),
    }
}

const PARTIAL: &str = ".yard-";

async fn pull(
    cluster: &Cluster,
    version: &v1::Version,
    file: &PulledFile,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let before = bar.position();
    for _ in 1..TRIES {
        bar.set_position(before);
        match attempt(cluster, version, file, path, bar).await {
            Err(Fetch::Broken(status)) => {
                tracing::debug!(error = %status.message(), file = file.path, "the stream broke");
            }
            Err(Fetch::Final(error)) => return Err(error),
            Ok(()) => return Ok(()),
        }
    }
    bar.set_position(before);
    attempt(cluster, version, file, path, bar).await.map_err(|error| match error {
        Fetch::Broken(status) => CliError::refused("read the model", &status),
        Fetch::Final(error) => error,
    })
}

enum Fetch {
    /// Worth another try.
    Broken(tonic::Status),
    /// Not.
    Final(CliError),
}

impl From<CliError> for Fetch {
    fn from(error: CliError) -> Self {
        Self::Final(error)
    }
}

async fn attempt(
    cluster: &Cluster,
    version: &v1::Version,
    file: &PulledFile,
    path: &Path,
    bar: &ProgressBar,
) -> Result<(), Fetch> {
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let broken = |error: std::io::Error| CliError::io("write", path, &error);
    fs::create_dir_all(dir).map_err(broken)?;
    let mut partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(dir).map_err(broken)?;
    let mut hasher = Sha256::new();
    let mut size = 0u64;
    let mut stream = model::open(cluster, version, &file.path).await?;
    loop {
        let chunk = match stream.message().await {
            Ok(Some(chunk)) => chunk.data,
            Ok(None) => break,
            Err(status) if client::may_repeat(&status) => return Err(Fetch::Broken(status)),
            Err(status) => return Err(CliError::refused("read the model", &status).into()),
        };
        hasher.update(&chunk);
        partial.write_all(&chunk).map_err(broken)?;
        let read = u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        size = size.saturating_add(read);
        bar.inc(read);
    }
    if (size, Digest::from_hasher(hasher)) != (file.size_bytes, file.digest) {
        return Err(model::damaged(&format!("`{}` has other bytes", file.path)).into());
    }
    Ok(keep(partial, path).map_err(broken)?)
}

/// Gives a file its name once its bytes are on disk.
fn keep(partial: NamedTempFile, path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    partial.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    partial.as_file().sync_all()?;
    partial.persist(path).map(drop).map_err(|error| error.error)
}

fn write_receipt(dir: &Path, receipt: &Receipt) -> Result<(), CliError> {
    let path = dir.join(RECEIPT);
    let broken = |error: std::io::Error| CliError::io("write", &path, &error);
    let text = serde_json::to_string_pretty(receipt)
        .map_err(|error| CliError::internal(format!("cannot write the receipt: {error}")))?;
    let mut partial = tempfile::Builder::new().prefix(PARTIAL).tempfile_in(dir).map_err(broken)?;
    partial.write_all(text.as_bytes()).and_then(|()| partial.write_all(b"\n")).map_err(broken)?;
    keep(partial, &path).map_err(broken)
}
