//! Who a member is once that is no longer what its configuration file says: after a restore, a
//! recovery, or when it came back under a new id. Kept beside its log, so that the file an
//! operator wrote never has to be written by a machine.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::config::Config;

const FILE: &str = "member.json";

/// What stands in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The member's id.
    pub(crate) id: u64,
    /// Whether it waits for a leader's snapshot.
    pub(crate) join: bool,
    /// Members that it can ask.
    pub(crate) peers: BTreeMap<u64, String>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {}: {source}; it says which member this directory is: bring it back as it was", path.display())]
pub struct IdentityError {
    path: PathBuf,
    source: io::Error,
}

impl Identity {
    /// Writes it into a data directory, durably.
    pub(crate) fn save(&self, dir: &Path) -> Result<(), IdentityError> {
        let (path, draft) = (dir.join(FILE), dir.join("member.json.new"));
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&draft, &path)?;
            File::open(dir)?.sync_all()
        };
        write().map_err(|source| IdentityError { path: path.clone(), source })
    }

    fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError { path, source }),
        };
        let identity = serde_json::from_slice(&bytes);
        identity.map(Some).map_err(|error| IdentityError { path, source: error.into() })
    }
}

/// The configuration with what the data directory says of the member.
pub(crate) fn resolve(mut config: Config) -> Result<Config, IdentityError> {
    if let Some(identity) = Identity::load(&config.data_dir)? {
        if identity.id != config.id {
            tracing::info!(
                configured = config.id,
                id = identity.id,
                "the data directory is of another member than the configuration says: that counts"
            );
        }
        config.id = identity.id;
        config.join = identity.join;
        config.peers = identity.peers;
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_outweighs_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let peers = BTreeMap::from([(1, "a:1".to_owned())]);
        let config = Config { id: 1, peers, data_dir: dir.path().into(), ..Config::default() };
        assert_eq!(resolve(config.clone()).unwrap(), config);
        let peers = BTreeMap::from([(1001, "b:1".to_owned())]);
        let identity = Identity { id: 1001, join: false, peers: peers.clone() };
        identity.save(dir.path()).unwrap();
        let resolved = resolve(config.clone()).unwrap();
        assert_eq!((resolved.id, resolved.peers), (1001, peers));
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(resolve(config).unwrap_err().to_string().contains("member.json"));
    }
}
