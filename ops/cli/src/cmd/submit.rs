//! `yard submit`: reads and checks a spec, sends its work directory if the store lacks it, and
//! hands the job over under a key that makes repeating safe.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;
use tokio_stream::wrappers::ReceiverStream;
use trainyard_jobs::{Digest, JobSpec};
use trainyard_proto::{CHUNK_BYTES, v1};
use trainyard_store::bundle::{self, Packed};
use uuid::Uuid;

use super::wait;
use crate::{
    app::App,
    client::{Cluster, JobWatch},
    error::CliError,
    exit::Exit,
    output::{Format, human},
    view::job::phase_of,
};

mod commit;
mod spec;

/// What to submit, and how.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Return when the job has ended, with its exit code
    #[arg(long)]
    wait: bool,
}

/// What `submit` and `run` share.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Job spec: TOML, YAML or JSON
    spec: PathBuf,
    /// Idempotency key, any text: submitted twice under it is one job
    #[arg(long)]
    key: Option<String>,
    /// Change the spec, such as limits.time=2h; repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Check and pack, and submit nothing
    #[arg(long)]
    dry_run: bool,
}

/// What was submitted.
#[derive(Debug)]
pub(crate) struct Submitted {
    /// The job's id.
    pub(crate) job: String,
    /// The key had been used before.
    existed: bool,
}

#[derive(Serialize)]
struct Submission<'a> {
    id: &'a str,
    existed: bool,
}

#[derive(Serialize)]
struct DryRun<'a> {
    spec: &'a JobSpec,
    spec_digest: Digest,
    bundle: Option<String>,
    bundle_files: usize,
    bundle_bytes: u64,
    commit: Option<String>,
}

/// Submits a job and prints its id.
pub(crate) async fn run(app: &App, args: SubmitArgs) -> Result<Exit, CliError> {
    let Some(cluster) = cluster_unless_dry(app, &args.job)? else { return dry_run(app, &args.job) };
    let submitted = submit(app, &cluster, &args.job).await?;
    match app.out.format {
        Format::Table | Format::Wide => app.out.result(&format!("{}\n", submitted.job))?,
        Format::Json | Format::Jsonl | Format::Yaml | Format::Csv if app.out.quiet => {
            app.out.result(&format!("{}\n", submitted.job))?;
        }
        Format::Json | Format::Jsonl | Format::Yaml | Format::Csv => {
            let body = Submission { id: &submitted.job, existed: submitted.existed };
            app.out.result(&app.out.document("Submission", &body)?)?;
        }
    }
    if !args.wait {
        return Ok(Exit::Done);
    }
    let cluster = cluster.patient(wait::PATIENCE);
    let job = JobWatch::new(&cluster, submitted.job).last().await?;
    let reason = if job.reason.is_empty() { String::new() } else { format!(": {}", job.reason) };
    app.out.note(&format!("{} {}{reason}", job.name, job.phase));
    Ok(phase_of(&job.phase).map_or(Exit::Internal, Exit::of_phase))
}

/// The cluster, or nothing for a dry run, which asks nobody.
pub(crate) fn cluster_unless_dry(app: &App, args: &JobArgs) -> Result<Option<Cluster>, CliError> {
    if args.dry_run { Ok(None) } else { app.cluster().map(Some) }
}

/// Checks and packs, and says what would be sent.
pub(crate) fn dry_run(app: &App, args: &JobArgs) -> Result<Exit, CliError> {
    let spec = spec::read(&args.spec, &args.set, app.global.project.as_deref())?;
    let workdir = workdir(&args.spec, &spec);
    let packed = workdir.as_deref().map(pack).transpose()?;
    let body = DryRun {
        spec_digest: spec.digest(),
        spec: &spec,
        bundle: packed.as_ref().map(|packed| packed.digest.to_string()),
        bundle_files: packed.as_ref().map_or(0, |packed| packed.files),
        bundle_bytes: packed.as_ref().map_or(0, |packed| packed.bytes),
        commit: workdir.as_deref().and_then(commit::of),
    };
    app.out.result(&app.out.document("DryRun", &body)?)?;
    app.out.note("the spec is right; nothing was submitted: this was a dry run");
    Ok(Exit::Done)
}

/// Submits a job and remembers it as `@last`.
pub(crate) async fn submit(
    app: &App,
    cluster: &Cluster,
    args: &JobArgs,
) -> Result<Submitted, CliError> {
    let spec = spec::read(&args.spec, &args.set, app.global.project.as_deref())?;
    let workdir = workdir(&args.spec, &spec);
    let bundle = match &workdir {
        Some(dir) => send_bundle(app, cluster, pack(dir)?).await?,
        None => String::new(),
    };
    let request = v1::SubmitRequest {
        key: args.key.as_deref().map_or_else(Uuid::now_v7, named_key).to_string(),
        spec_json: spec.canonical_json().into_bytes(),
        bundle,
        commit: workdir.as_deref().and_then(commit::of).unwrap_or_default(),
    };
    let answer = cluster
        .call("submit the job", async |mut service| service.submit(request.clone()).await)
        .await?;
    app.places.remember_job(&answer.job);
    if answer.existed {
        app.out.note("a job was submitted under this key before; this is that one");
    }
    Ok(Submitted { job: answer.job, existed: answer.existed })
}

/// The key that a text names. A key drawn by time, a `UUIDv7`, is remembered for a day; every
/// other text stands for a key of its own, which lives as long as its job.
fn named_key(text: &str) -> Uuid {
    let drawn = Uuid::parse_str(text).ok().filter(|key| key.get_version_num() == 7);
    drawn.unwrap_or_else(|| {
        let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let half = digest.first_chunk().copied().unwrap_or_default();
        uuid::Builder::from_custom_bytes(half).into_uuid()
    })
}

/// The work directory, relative to the spec.
fn workdir(spec_file: &Path, spec: &JobSpec) -> Option<PathBuf> {
    let base = spec_file.parent().unwrap_or_else(|| Path::new(""));
    let dir = base.join(spec.run.workdir.as_ref()?);
    Some(if dir.as_os_str().is_empty() { PathBuf::from(".") } else { dir })
}

fn pack(dir: &Path) -> Result<Packed, CliError> {
    if !dir.is_dir() {
        return Err(CliError::usage(format!("there is no work directory `{}`", dir.display()))
            .help("`[run] workdir` is relative to the spec; leave it out if the command needs no files"));
    }
    bundle::pack(dir).map_err(|error| {
        CliError::usage(format!("cannot pack the work directory `{}`: {error}", dir.display()))
            .help("what .gitignore names is left out")
    })
}

/// Uploads a bundle, unless the store has it.
async fn send_bundle(app: &App, cluster: &Cluster, packed: Packed) -> Result<String, CliError> {
    let digest = packed.digest.to_string();
    let request = v1::HasBundleRequest { digest: digest.clone() };
    let known = cluster
        .call("ask for the bundle", async |mut service| service.has_bundle(request.clone()).await)
        .await?;
    if known.present {
        return Ok(digest);
    }
    let size = human::size(packed.bytes);
    let title = format!("sending {} files, {size}", packed.files);
    let bar = app.out.bytes_bar(packed.bytes, &title);
    cluster
        .call("send the work directory", async |mut service| {
            bar.set_position(0);
            let file = tokio::fs::File::open(packed.file.path()).await?;
            service.upload_bundle(chunks(file, digest.clone(), bar.clone())).await
        })
        .await?;
    bar.finish_and_clear();
    Ok(digest)
}

/// The file in chunks; the first carries the digest. A file that cannot be read ends the stream
/// early, and the scheduler refuses what does not have the digest.
fn chunks(
    mut file: tokio::fs::File,
    mut digest: String,
    bar: indicatif::ProgressBar,
) -> ReceiverStream<v1::BundleChunk> {
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    tokio::spawn(async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = file.read(&mut buffer).await.unwrap_or_default();
            let data = buffer.get(..read).unwrap_or_default().to_vec();
            let first = !digest.is_empty();
            if data.is_empty() && !first {
                break;
            }
            let chunk = v1::BundleChunk { digest: std::mem::take(&mut digest), data };
            if sender.send(chunk).await.is_err() {
                break;
            }
            bar.inc(u64::try_from(read).unwrap_or_default());
        }
    });
    ReceiverStream::new(receiver)
}

/// Reads a file that a person wrote.
fn read_text(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path).map_err(|error| {
        let what = format!("cannot read the job spec `{}`: {error}", path.display());
        CliError::usage(what).help("`yard schema job` describes what a spec holds")
    })
}
