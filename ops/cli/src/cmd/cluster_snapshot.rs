//! `yard cluster snapshot`: a backup while everything runs. The file appears under its name when
//! it is whole, on disk, and every byte of it was checked.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tokio::time::timeout;
use trainyard_proto::v1;
use trainyard_scheduler::BackupHeader;

use crate::{
    app::App,
    client::{Cluster, Members},
    error::CliError,
    exit::Exit,
    output::human::size,
};

/// How long the next piece may take.
const PIECE: Duration = Duration::from_secs(30);

/// How often a transfer that broke is begun anew.
const TRIES: u32 = 3;

/// Where to.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    /// The file to write; one that exists is replaced
    file: PathBuf,
}

/// Writes a backup.
pub(crate) async fn run(app: &App, args: &SnapshotArgs) -> Result<Exit, CliError> {
    let cluster = app.cluster()?;
    let folder = match args.file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let broken = |error: std::io::Error| CliError::io("write", &args.file, &error);
    let mut tries = 0;
    let (draft, bytes) = loop {
        tries += 1;
        let draft = tempfile::NamedTempFile::new_in(folder).map_err(broken)?;
        match fetch(&cluster, draft.as_file()).await {
            Ok(bytes) => break (draft, bytes),
            Err(error) if tries >= TRIES => return Err(error),
            // A leader that went away in the middle: from the start, from the next one.
            Err(_) => {}
        }
    };
    draft.as_file().sync_all().map_err(broken)?;
    let header = trainyard_scheduler::verify_backup(draft.path())
        .map_err(|error| CliError::internal(error.to_string()))?;
    draft.persist(&args.file).map_err(|error| broken(error.error))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(broken)?;
    show(app, &args.file, bytes, &header)?;
    Ok(Exit::Done)
}

async fn fetch(cluster: &Cluster, mut file: &File) -> Result<u64, CliError> {
    let ask = async |mut service: Members| service.snapshot(v1::SnapshotRequest {}).await;
    let mut pieces = cluster.call_members("take a backup", ask).await?;
    let mut bytes = 0u64;
    loop {
        let piece = timeout(PIECE, pieces.message()).await;
        let piece = piece.unwrap_or_else(|_| Err(tonic::Status::unavailable("no more came")));
        let piece = piece.map_err(|status| CliError::refused("take a backup", &status))?;
        let Some(v1::SnapshotChunk { data }) = piece else { return Ok(bytes) };
        file.write_all(&data)
            .map_err(|error| CliError::internal(format!("cannot write the backup: {error}")))?;
        bytes = bytes.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
    }
}

fn show(app: &App, file: &Path, bytes: u64, header: &BackupHeader) -> Result<(), CliError> {
    if app.out.quiet {
        return app.out.result(&format!("{}\n", file.display()));
    }
    if !app.out.is_human() {
        let document = serde_json::json!({
            "file": file,
            "bytes": bytes,
            "cluster": header.cluster,
            "epoch": header.epoch,
            "index": header.index,
            "unix_ms": header.unix_ms,
        });
        return app.out.result(&app.out.document("Backup", &document)?);
    }
    app.out.result(&format!(
        "{}  {}, cluster {}, epoch {}, index {}\n",
        file.display(),
        size(bytes),
        header.cluster,
        header.epoch,
        header.index
    ))
}
