//! How commands, replies and snapshots become bytes: `MessagePack` with field names, so that a
//! field can be added; a snapshot starts with its format number.

use std::io::{self, Write as _};

use serde::{Serialize, de::DeserializeOwned};
use trainyard_jobs::Digest;

use crate::{
    State,
    archive::ArchiveHead,
    command::{Envelope, FEATURE_LEVEL},
};

/// The newest snapshot format that this code reads, and the one that it writes.
pub const SNAPSHOT_FORMAT: u32 = 1;

/// Bytes of a snapshot that are written at once.
const GATHERED: usize = 64 << 10;

/// Bytes that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not what was expected.
    #[error("cannot read {what}: {source}")]
    Decode {
        /// What was read.
        what: &'static str,
        /// Why not.
        source: rmp_serde::decode::Error,
    },
    /// Written by a newer version.
    #[error(
        "the log carries a command of feature level {found}, this binary applies up to {FEATURE_LEVEL}: run a newer yard"
    )]
    NewerCommand {
        /// Its level.
        found: u16,
    },
    /// Written by a newer version.
    #[error(
        "the snapshot has format {found}, this binary reads up to {SNAPSHOT_FORMAT}: run a newer yard"
    )]
    NewerSnapshot {
        /// Its format.
        found: u32,
    },
    /// Too short to be a snapshot.
    #[error("the snapshot is cut off")]
    CutOff,
}

/// Encodes a value with field names.
///
/// # Panics
/// Never for the types of this crate: they hold nothing that `MessagePack` cannot.
#[expect(
    clippy::expect_used,
    reason = "our own types: no maps with odd keys, no unsized sequences"
)]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("own types encode")
}

/// Decodes a value.
///
/// # Errors
/// When the bytes are something else.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    rmp_serde::from_slice(bytes).map_err(|source| CodecError::Decode { what, source })
}

/// Decodes a committed command. A replica that cannot must halt, not skip: it would diverge.
///
/// # Errors
/// When the command is unknown or of a higher feature level.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, CodecError> {
    /// The level alone, so that an unknown command still says that it is newer.
    #[derive(serde::Deserialize)]
    struct Level {
        level: u16,
    }
    // The level is looked at by itself only if the rest cannot be read: this is the hot path.
    let envelope = decode("a command", bytes);
    let level = match &envelope {
        Ok(Envelope { level, .. }) => *level,
        Err(_) => decode::<Level>("a command", bytes)?.level,
    };
    if level > FEATURE_LEVEL {
        return Err(CodecError::NewerCommand { found: level });
    }
    envelope
}

/// The whole state as bytes.
#[must_use]
pub fn snapshot(state: &State) -> Vec<u8> {
    let mut bytes = SNAPSHOT_FORMAT.to_be_bytes().to_vec();
    bytes.extend(encode(state));
    bytes
}

/// Writes what [`snapshot`] gives, piece by piece.
///
/// # Errors
/// Those of `out`.
pub fn write_snapshot(state: &State, out: &mut dyn io::Write) -> io::Result<()> {
    // Most pieces are a few bytes: gathered here, they cost no call of `out` each.
    let mut out = io::BufWriter::with_capacity(GATHERED, out);
    out.write_all(&SNAPSHOT_FORMAT.to_be_bytes())?;
    rmp_serde::encode::write_named(&mut out, state).map_err(io::Error::other)?;
    out.flush()
}

/// Reads a snapshot back.
///
/// # Errors
/// When it is cut off, of a newer format, or not a snapshot.
pub fn restore(bytes: &[u8]) -> Result<State, CodecError> {
    let mut state: State = decode("a snapshot", body(bytes)?)?;
    state.rebuild();
    Ok(state)
}

fn body(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let (format, body) = bytes.split_first_chunk().ok_or(CodecError::CutOff)?;
    let found = u32::from_be_bytes(*format);
    if found > SNAPSHOT_FORMAT {
        return Err(CodecError::NewerSnapshot { found });
    }
    Ok(body)
}

/// What a snapshot says of the archive that it relies on, without reading the rest of it.
///
/// # Errors
/// As [`restore`].
pub fn snapshot_archive(bytes: &[u8]) -> Result<ArchiveHead, CodecError> {
    /// The one field; the others are passed over.
    #[derive(serde::Deserialize)]
    struct Head {
        #[serde(default)]
        archive: ArchiveHead,
    }
    let Head { archive } = decode("a snapshot", body(bytes)?)?;
    Ok(archive)
}

/// The hash of the state: equal on every replica at equal log index. Level 1 hashes the whole
/// encoded state; from level 2 on it is a hash of digests, of which a job's is computed again only
/// after the job has changed.
#[must_use]
pub fn state_hash(state: &State) -> Digest {
    if state.feature_level < 2 {
        return Digest::of(&encode(state));
    }
    let (rest, jobs) = state.digests();
    rest.chain(jobs.as_bytes())
}
