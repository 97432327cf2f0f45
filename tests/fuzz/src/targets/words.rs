//! Ids, names, digests and quantities as text: what is read prints so that it is read again.

use std::{fmt::Display, str::FromStr};

use trainyard_jobs::{
    Bytes, ClusterId, Digest, IdempotencyKey, JobId, JobName, Millis, ModelName, NodeId, NodeName,
    ProjectName, Role, SessionId,
};

pub(super) fn words(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    again::<JobId>(text);
    again::<NodeId>(text);
    again::<ClusterId>(text);
    again::<SessionId>(text);
    again::<IdempotencyKey>(text);
    again::<Digest>(text);
    again::<JobName>(text);
    again::<ModelName>(text);
    again::<NodeName>(text);
    again::<ProjectName>(text);
    again::<Role>(text);
    // Printed for people, rounded: only that it can be read is promised.
    let _ = text.parse::<Bytes>();
    let _ = text.parse::<Millis>();
}

fn again<T: FromStr + Display + PartialEq>(text: &str) {
    let Ok(word) = text.parse::<T>() else { return };
    let printed = word.to_string();
    assert!(printed.parse::<T>().is_ok_and(|read| read == word), "{text:?} prints {printed:?}");
}
