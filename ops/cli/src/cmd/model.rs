//! What the model commands share: how a version is named, asked for, read and compared.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tonic::Streaming;
use trainyard_jobs::{Bytes, Digest, FileEntry, ModelName, model::files_digest};
use trainyard_proto::v1;

use crate::{client::Cluster, error::CliError};

/// The file in a pulled folder that says which version it is.
pub(crate) const RECEIPT: &str = "yard-version.json";

/// A version on the command line: `MODEL`, `MODEL:3` or `MODEL@3`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelRef {
    /// The model.
    pub(crate) model: ModelName,
    /// From 1; 0 for the newest.
    pub(crate) number: u32,
}

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (model, number) = match text.split_once([':', '@']) {
            None => (text, 0),
            Some((model, number)) => {
                let number = number.parse().ok().filter(|number| *number > 0);
                (model, number.ok_or("a version is a number from 1, as in `char-gpt:3`")?)
            }
        };
        let model =
            model.parse().map_err(|error: trainyard_jobs::name::InvalidName| error.to_string())?;
        Ok(Self { model, number })
    }
}

/// Asks for a version.
pub(crate) async fn fetch(cluster: &Cluster, name: &ModelRef) -> Result<v1::Version, CliError> {
    let request = v1::GetModelRequest { model: name.model.to_string(), version: name.number };
    let answer = cluster
        .call("show the model", async |mut service| service.get_model(request.clone()).await)
        .await?;
    answer.version.ok_or_else(|| CliError::internal("the scheduler's answer holds no version"))
}

/// Opens a stream of a file's bytes.
pub(crate) async fn open(
    cluster: &Cluster,
    version: &v1::Version,
    path: &str,
) -> Result<Streaming<v1::DataChunk>, CliError> {
    let request = v1::ReadModelFileRequest {
        model: version.model.clone(),
        version: version.version,
        path: path.to_owned(),
    };
    cluster
        .call("read the model", async |mut service| service.read_model_file(request.clone()).await)
        .await
}

/// What a pulled folder holds, so that it can be verified without a cluster.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Receipt {
    version: u32,
    kind: String,
    /// The model.
    pub(crate) model: String,
    /// Its version.
    pub(crate) model_version: u32,
    /// What the version is known by.
    pub(crate) digest: Digest,
    /// Its files.
    pub(crate) files: Vec<PulledFile>,
}

/// One file of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PulledFile {
    /// Relative to the folder, with `/`.
    pub(crate) path: String,
    /// Its size.
    pub(crate) size_bytes: u64,
    /// The SHA-256 of its bytes.
    pub(crate) digest: Digest,
}

const KIND: &str = "PulledVersion";

impl Receipt {
    /// What is to be pulled. Fails on a version whose files do not add up to its digest, or
    /// would lie outside of the folder.
    pub(crate) fn of(version: &v1::Version) -> Result<Self, CliError> {
        let digest = |text: &str| text.parse::<Digest>().map_err(|e| damaged(&e.to_string()));
        let file = |file: &v1::File| {
            Ok(PulledFile {
                path: file.path.clone(),
                size_bytes: file.size,
                digest: digest(&file.digest)?,
            })
        };
        let receipt = Self {
            version: 1,
            kind: KIND.to_owned(),
            model: version.model.clone(),
            model_version: version.version,
            digest: digest(&version.digest)?,
            files: version.files.iter().map(file).collect::<Result<_, CliError>>()?,
        };
        receipt.check()?;
        Ok(receipt)
    }

    /// Reads a pulled folder's receipt; nothing if there is none.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, CliError> {
        let path = dir.join(RECEIPT);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::io("read", &path, &error)),
        };
        let receipt: Self = serde_json::from_slice(&text)
            .map_err(|error| damaged(&format!("`{}`: {error}", path.display())))?;
        if receipt.version != 1 || receipt.kind != KIND {
            return Err(CliError::internal(format!(
                "`{}` is of a newer format than this `yard` reads",
                path.display()
            ))
            .help("update yard"));
        }
        receipt.check()?;
        Ok(Some(receipt))
    }

    /// `MODEL:VERSION`.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.model, self.model_version)
    }

    fn check(&self) -> Result<(), CliError> {
        let entry = |file: &PulledFile| FileEntry {
            path: file.path.clone(),
            key: String::new(),
            size: Bytes(file.size_bytes),
            digest: file.digest,
        };
        let files: Vec<FileEntry> = self.files.iter().map(entry).collect();
        if files_digest(&files) != self.digest {
            return Err(damaged(&format!("the files of {} do not make its digest", self.name())));
        }
        self.files.iter().try_for_each(|file| place(Path::new(""), &file.path).map(drop))
    }
}

/// Where a file of a version lies; never outside of `dir`.
pub(crate) fn place(dir: &Path, path: &str) -> Result<PathBuf, CliError> {
    let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !plain || path == RECEIPT {
        return Err(damaged(&format!("`{path}` is no name for a model's file")));
    }
    Ok(dir.join(path))
}

/// The size and digest of a file.
pub(crate) fn measure(path: &Path) -> io::Result<(u64, Digest)> {
    let mut hasher = Sha256::new();
    let size = io::copy(&mut fs::File::open(path)?, &mut HashWriter(&mut hasher))?;
    Ok((size, Digest::from_hasher(hasher)))
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes are not what their digest says.
pub(crate) fn damaged(what: &str) -> CliError {
    CliError::internal(format!("the model is damaged: {what}"))
        .help("do not use these bytes; `yard model pull` fetches what is wrong again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_named_in_three_ways() {
        for (text, model, number) in [("a", "a", 0), ("a:2", "a", 2), ("a.b@31", "a.b", 31)] {
            let expected = ModelRef { model: model.parse().unwrap(), number };
            assert_eq!(text.parse(), Ok(expected));
        }
        for text in ["", "a:", "a:0", "a:x", "A", "a/b"] {
            assert!(text.parse::<ModelRef>().is_err(), "{text}");
        }
    }

    #[test]
    fn no_file_leaves_its_folder() {
        let dir = Path::new("/to");
        assert_eq!(place(dir, "a/b.pt").unwrap(), Path::new("/to/a/b.pt"));
        for path in ["", "/etc/passwd", "../a", "a/../../b", RECEIPT] {
            assert!(place(dir, path).is_err(), "{path}");
        }
    }
}
