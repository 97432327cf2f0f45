//! Bytes that clients send and fetch: work directories, and the files of model versions.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;
use tonic::{Status, Streaming};
use trainyard_core::State;
use trainyard_jobs::{Digest, ModelName, ModelVersion};
use trainyard_proto::{CHUNK_BYTES, convert::parse, v1};

use super::Answers;
use crate::{access::Caller, error::Failure, replica::Replica, views};

/// The largest bundle that is taken, packed.
const MAX_BUNDLE: usize = 2 << 30;

pub(super) async fn has_bundle(
    replica: &Replica,
    request: &v1::HasBundleRequest,
) -> Result<v1::HasBundleAnswer, Failure> {
    let digest = parse::<Digest>("digest", &request.digest)?;
    Ok(v1::HasBundleAnswer { present: replica.store.has_bundle(&digest).await? })
}

/// Takes a bundle in: to a file first, into the store once its digest is right.
pub(super) async fn upload(
    replica: &Replica,
    caller: &Caller,
    mut chunks: Streaming<v1::BundleChunk>,
) -> Result<v1::HasBundleAnswer, Status> {
    let first = chunks.message().await?;
    let first = first.ok_or_else(|| Status::invalid_argument("the bundle has no chunks"))?;
    let digest = parse::<Digest>("digest", &first.digest).map_err(Failure::from)?;
    caller.about(digest);
    let failed = |e: std::io::Error| Status::unavailable(format!("cannot keep the bundle: {e}"));
    let file = tempfile::NamedTempFile::new_in(&replica.config.data_dir).map_err(failed)?;
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(failed)?);
    let mut size = 0usize;
    let mut next = Some(first);
    while let Some(chunk) = next {
        size = size.saturating_add(chunk.data.len());
        if size > MAX_BUNDLE {
            return Err(Status::resource_exhausted(
                "the work directory packs to more than 2 GiB: list data in .gitignore",
            ));
        }
        out.write_all(&chunk.data).await.map_err(failed)?;
        next = chunks.message().await?;
    }
    out.flush().await.map_err(failed)?;
    replica.store.put_bundle(&digest, file.path()).await.map_err(Failure::from)?;
    Ok(v1::HasBundleAnswer { present: true })
}

pub(super) async fn list_models(
    replica: &Replica,
    caller: &Caller,
    request: &v1::ListModelsRequest,
) -> Result<v1::ListModelsAnswer, Failure> {
    let look = |state: &State| {
        let models = state.models().iter().map(|(name, versions)| {
            let seen: Vec<&ModelVersion> =
                versions.values().filter(|version| caller.sees(&version.project)).collect();
            let project = seen.first().map(|version| version.project.to_string())?;
            let versions = seen.into_iter().rev().map(views::version).collect();
            Some(v1::Model { name: name.to_string(), project, versions })
        });
        models.flatten().collect()
    };
    Ok(v1::ListModelsAnswer { models: replica.read(request.stale, look).await? })
}

pub(super) async fn get_model(
    replica: &Replica,
    caller: &Caller,
    request: &v1::GetModelRequest,
) -> Result<v1::ModelAnswer, Failure> {
    let found = replica.read(false, |s| find(s, caller, &request.model, request.version)).await??;
    Ok(v1::ModelAnswer { version: Some(views::version(&found)) })
}

/// A version of a model; 0 names the newest. Those of projects that the caller does not see do
/// not exist.
fn find(
    state: &State,
    caller: &Caller,
    model: &str,
    version: u32,
) -> Result<ModelVersion, Failure> {
    caller.about(format!("model {model}"));
    let name = model.parse::<ModelName>().ok();
    let known = name.and_then(|name| state.models().get(&name));
    let seen = |(number, version): (&u32, &ModelVersion)| {
        caller.sees(&version.project).then(|| (*number, version.clone()))
    };
    let versions: BTreeMap<u32, ModelVersion> =
        known.into_iter().flatten().filter_map(seen).collect();
    if known.is_some() && versions.is_empty() {
        caller.hid(format!("model {model}"));
    }
    let versions = Some(versions).filter(|versions| !versions.is_empty());
    let versions = versions.ok_or_else(|| {
        Failure::NotFound(format!("there is no model `{model}`: `yard model list` lists them"))
    })?;
    let found = match version {
        0 => versions.values().next_back(),
        number => versions.get(&number),
    };
    found.cloned().ok_or_else(|| {
        Failure::NotFound(format!(
            "model `{model}` has no version {version}: it has {}",
            versions.len()
        ))
    })
}

/// Streams a file of a version. Its digest is checked on the way: a damaged file ends in an
/// error, never in an end.
pub(super) async fn read_model_file(
    replica: &Replica,
    caller: &Caller,
    request: &v1::ReadModelFileRequest,
) -> Result<Answers<v1::DataChunk>, Failure> {
    let version =
        replica.read(false, |s| find(s, caller, &request.model, request.version)).await??;
    let file = version.files.iter().find(|file| file.path == request.path).ok_or_else(|| {
        let name = format!("{}:{}", version.model, version.version);
        Failure::NotFound(format!("{name} has no file `{}`", request.path))
    })?;
    let pieces = replica.store.read(file).map_err(Failure::from).map_err(Status::from);
    let cut = pieces.map_ok(|bytes| {
        let cut: Vec<Result<v1::DataChunk, Status>> =
            bytes.chunks(CHUNK_BYTES).map(|c| Ok(v1::DataChunk { data: c.to_vec() })).collect();
        futures::stream::iter(cut)
    });
    Ok(cut.try_flatten().boxed())
}
