//! What the log and the snapshots carry.

use trainyard_core::{Envelope, Reply, State, archive::NoArchive, codec, refusal::Refusal};
use trainyard_jobs::ClusterId;
use uuid::Uuid;

/// Commands and replies, and a command's effect on an empty cluster.
pub(super) fn command(input: &[u8]) {
    let _ = codec::decode::<Result<Reply, Refusal>>("a reply", input);
    let Ok(envelope) = codec::decode_envelope(input) else { return };
    let encoded = codec::encode(&envelope);
    let read = codec::decode_envelope(&encoded);
    assert!(read.is_ok_and(|read| read == envelope), "a command is not what it was");
    apply(&mut empty(), [envelope]);
}

/// A log: commands with their lengths before them, applied one after another.
pub(super) fn history(input: &[u8]) {
    let commands = split(input).filter_map(|piece| codec::decode_envelope(piece).ok());
    let (mut one, mut other) = (empty(), empty());
    let commands: Vec<Envelope> = commands.collect();
    apply(&mut one, commands.clone());
    apply(&mut other, commands);
    assert_eq!(codec::state_hash(&one), codec::state_hash(&other), "two replicas differ");
    let restored = codec::restore(&codec::snapshot(&one));
    let hash = restored.map(|state| codec::state_hash(&state)).ok();
    assert_eq!(hash, Some(codec::state_hash(&one)), "a snapshot is not the state");
}

pub(super) fn snapshot(input: &[u8]) {
    let Ok(state) = codec::restore(input) else { return };
    let again = codec::restore(&codec::snapshot(&state));
    let hash = again.map(|state| codec::state_hash(&state)).ok();
    assert_eq!(hash, Some(codec::state_hash(&state)));
}

fn empty() -> State {
    State::new(ClusterId(Uuid::from_u128(7)))
}

fn apply(state: &mut State, commands: impl IntoIterator<Item = Envelope>) {
    for (index, command) in (2..).zip(commands) {
        // A refusal is an answer.
        let _ = state.apply(index, command, &NoArchive, &mut Vec::new());
    }
}

/// Pieces with their lengths before them, in four bytes; the last may be cut off.
pub(super) fn split(mut input: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = input.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        Some(piece)
    })
}

/// The inverse of [`split`].
pub(crate) fn join<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut joined = Vec::new();
    for piece in pieces {
        let length = u32::try_from(piece.len()).unwrap_or(u32::MAX);
        joined.extend(length.to_le_bytes());
        joined.extend(piece);
    }
    joined
}
