//! Conversions to and from the domain types. What does not convert is an [`Invalid`] that names
//! the field, so that a bad peer is told what it sent.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use trainyard_jobs::{
    AttemptNo, AttemptRef, BitRate, Bytes, Device, DeviceKind, FileEntry, Generation, GpuPart,
    Inventory, OverMemory, RankExit, Revision, UnitId, check_parts,
};

use crate::v1;

/// A message carries something that is not what its field calls for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field `{field}`: {message}")]
pub struct Invalid {
    field: &'static str,
    message: String,
}

impl Invalid {
    /// Says what is wrong with `field`.
    pub fn new(field: &'static str, message: impl Display) -> Self {
        Self { field, message: message.to_string() }
    }
}

/// Parses a text field.
///
/// # Errors
/// When the text is not a `T`.
pub fn parse<T>(field: &'static str, text: &str) -> Result<T, Invalid>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse().map_err(|error| Invalid::new(field, error))
}

/// A message field that must be there.
///
/// # Errors
/// When it is not.
pub fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Invalid> {
    value.ok_or_else(|| Invalid::new(field, "is missing"))
}

impl From<Revision> for v1::Revision {
    fn from(r: Revision) -> Self {
        Self { epoch: r.epoch, index: r.index }
    }
}

impl From<v1::Revision> for Revision {
    fn from(r: v1::Revision) -> Self {
        Self { epoch: r.epoch, index: r.index }
    }
}

impl From<&AttemptRef> for v1::AttemptRef {
    fn from(a: &AttemptRef) -> Self {
        Self { job: a.job.to_string(), attempt: a.attempt.0, generation: a.generation.0 }
    }
}

impl TryFrom<v1::AttemptRef> for AttemptRef {
    type Error = Invalid;

    fn try_from(a: v1::AttemptRef) -> Result<Self, Invalid> {
        Ok(Self {
            job: parse("attempt.job", &a.job)?,
            attempt: AttemptNo(a.attempt),
            generation: Generation(a.generation),
        })
    }
}

impl From<&FileEntry> for v1::File {
    fn from(f: &FileEntry) -> Self {
        Self {
            path: f.path.clone(),
            key: f.key.clone(),
            size: f.size.0,
            digest: f.digest.to_string(),
        }
    }
}

impl TryFrom<v1::File> for FileEntry {
    type Error = Invalid;

    fn try_from(f: v1::File) -> Result<Self, Invalid> {
        Ok(Self {
            digest: parse("file.digest", &f.digest)?,
            path: f.path,
            key: f.key,
            size: Bytes(f.size),
        })
    }
}

/// Converts one rank's exit; the rank's number stands beside it.
#[must_use]
pub fn exit_message(rank: u32, exit: RankExit) -> v1::RankExit {
    use v1::rank_exit::How;
    let how = match exit {
        RankExit::Code { code } => How::Code(code),
        RankExit::Signal { signal } => How::Signal(signal),
        RankExit::Vanished => How::Vanished(true),
    };
    v1::RankExit { rank, how: Some(how) }
}

/// Reads one rank's exit, with the rank's number.
///
/// # Errors
/// When the message does not say how it ended.
pub fn exit_from(message: &v1::RankExit) -> Result<(u32, RankExit), Invalid> {
    use v1::rank_exit::How;
    let exit = match required("rank_exit.how", message.how.as_ref())? {
        How::Code(code) => RankExit::Code { code: *code },
        How::Signal(signal) => RankExit::Signal { signal: *signal },
        How::Vanished(_) => RankExit::Vanished,
    };
    Ok((message.rank, exit))
}

fn part_message(part: &GpuPart) -> Option<v1::GpuPart> {
    let (parent, empty) = (part.parent()?.to_string(), v1::GpuPart::default());
    Some(match part {
        GpuPart::Whole => return None,
        GpuPart::Slice { profile, slices, .. } => {
            v1::GpuPart { parent, profile: profile.clone(), slices: u32::from(*slices), ..empty }
        }
        GpuPart::Share { nth, of, .. } => {
            v1::GpuPart { parent, nth: u32::from(*nth), of: u32::from(*of), ..empty }
        }
    })
}

/// Reads how much of a GPU a unit is.
///
/// # Errors
/// When a number is no such part's.
pub fn part_from(part: Option<v1::GpuPart>) -> Result<GpuPart, Invalid> {
    let Some(part) = part else { return Ok(GpuPart::Whole) };
    let small = |number| u16::try_from(number).map_err(|e| Invalid::new("device.part", e));
    let parent = UnitId(part.parent);
    Ok(match part.profile {
        profile if profile.is_empty() => {
            GpuPart::Share { parent, nth: small(part.nth)?, of: small(part.of)? }
        }
        profile => GpuPart::Slice { parent, profile, slices: small(part.slices)? },
    })
}

impl From<v1::OverMemory> for OverMemory {
    fn from(over: v1::OverMemory) -> Self {
        Self { rank: over.rank, used: Bytes(over.used), share: Bytes(over.share) }
    }
}

impl From<OverMemory> for v1::OverMemory {
    fn from(over: OverMemory) -> Self {
        Self { rank: over.rank, used: over.used.0, share: over.share.0 }
    }
}

impl From<&Inventory> for v1::Inventory {
    fn from(i: &Inventory) -> Self {
        let device = |(unit, d): (&UnitId, &Device)| v1::Device {
            unit: unit.0.clone(),
            kind: d.kind.to_string(),
            index: d.index,
            model: d.model.clone(),
            memory: d.memory.0,
            part: part_message(&d.part),
        };
        Self {
            name: i.name.to_string(),
            address: i.address.clone(),
            devices: i.devices.iter().map(device).collect(),
            cpus: i.cpus,
            memory: i.memory.0,
            first_port: u32::from(i.ports.0),
            last_port: u32::from(i.ports.1),
            labels: i.labels.clone().into_iter().collect(),
            version: i.version.clone(),
            disk: i.disk.0,
            network: i.network.0,
        }
    }
}

impl TryFrom<v1::Inventory> for Inventory {
    type Error = Invalid;

    fn try_from(i: v1::Inventory) -> Result<Self, Invalid> {
        let port = |port| u16::try_from(port).map_err(|e| Invalid::new("inventory.ports", e));
        let mut devices = BTreeMap::new();
        for d in i.devices {
            let kind = match d.kind.as_str() {
                "gpu" => DeviceKind::Gpu,
                "cpu" => DeviceKind::Cpu,
                other => return Err(Invalid::new("device.kind", format!("unknown `{other}`"))),
            };
            let (memory, part) = (Bytes(d.memory), part_from(d.part)?);
            let device = Device { kind, index: d.index, model: d.model, memory, part };
            if devices.insert(UnitId(d.unit), device).is_some() {
                return Err(Invalid::new("inventory.devices", "names a unit twice"));
            }
        }
        check_parts(&devices).map_err(|error| Invalid::new("inventory.devices", error))?;
        Ok(Self {
            name: parse("inventory.name", &i.name)?,
            address: i.address,
            devices,
            cpus: i.cpus,
            memory: Bytes(i.memory),
            ports: (port(i.first_port)?, port(i.last_port)?),
            labels: i.labels.into_iter().collect(),
            version: i.version,
            disk: Bytes(i.disk),
            network: BitRate(i.network),
        })
    }
}
