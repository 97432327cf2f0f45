//! Parts of GPUs as device units of their own: MIG slices, as the driver made them, and equal
//! shares, as an operator declared them. A GPU is offered whole or in parts, never both.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{Device, DeviceKind, UnitId};

/// Thousandths of a whole GPU.
pub const WHOLE_GPU: u16 = 1000;

/// The most that a slice counts as: MIG keeps some processors and memory back, and a job that asks
/// for a whole GPU means all of it.
const LARGEST_PART: u16 = WHOLE_GPU - 1;

/// Compute slices of a GPU in MIG mode.
const SLICES: u16 = 7;

/// The most shares of one GPU.
pub const MAX_SHARES: u16 = 64;

/// How much of a GPU a unit is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuPart {
    /// All of it; a CPU slot too.
    #[default]
    Whole,
    /// A MIG device, which the hardware keeps apart from the others.
    Slice {
        /// The GPU's UUID.
        parent: UnitId,
        /// Its profile, such as `2g.20gb`.
        profile: String,
        /// Compute slices, of seven.
        slices: u16,
    },
    /// One of several equal shares, which the agent alone keeps apart.
    Share {
        /// The GPU's UUID.
        parent: UnitId,
        /// Which one, from 0.
        nth: u16,
        /// Of how many.
        of: u16,
    },
}

impl GpuPart {
    /// Whether it is all of a GPU.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self, Self::Whole)
    }

    /// The GPU that it is a part of.
    #[must_use]
    pub const fn parent(&self) -> Option<&UnitId> {
        match self {
            Self::Whole => None,
            Self::Slice { parent, .. } | Self::Share { parent, .. } => Some(parent),
        }
    }

    /// Thousandths of a GPU, to the nearest: [`WHOLE_GPU`] for a whole one, less for any part.
    #[must_use]
    pub fn milli(&self) -> u16 {
        let rounded = |part: u16, of: u16| {
            let (part, of) = (u32::from(part), u32::from(of.max(1)));
            let milli = (u32::from(WHOLE_GPU) * part + of / 2) / of;
            u16::try_from(milli).unwrap_or(u16::MAX).clamp(1, LARGEST_PART)
        };
        match self {
            Self::Whole => WHOLE_GPU,
            Self::Slice { slices, .. } => rounded(*slices, SLICES),
            Self::Share { of, .. } => rounded(1, *of),
        }
    }
}

impl fmt::Display for GpuPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole => f.pad("whole"),
            Self::Slice { profile, .. } => f.pad(profile),
            Self::Share { nth, of, .. } => f.pad(&format!("{}/{of}", nth + 1)),
        }
    }
}

impl UnitId {
    /// The unit that is the `nth` of `of` shares of this GPU.
    #[must_use]
    pub fn share(&self, nth: u16, of: u16) -> Self {
        Self(format!("{self}/{nth}-of-{of}"))
    }

    /// If it is a share of a GPU: the GPU, and of how many shares it is one.
    #[must_use]
    pub fn as_share(&self) -> Option<(&str, u16)> {
        let (gpu, place) = self.0.split_once('/')?;
        let (nth, of) = place.split_once("-of-")?;
        let (nth, of): (u16, u16) = (nth.parse().ok()?, of.parse().ok()?);
        (nth < of).then_some((gpu, of))
    }

    /// The GPU that the unit is, or is a share of: also of a unit that the node does not offer any
    /// more, because it is now split in another way. A MIG slice's name does not tell its GPU.
    #[must_use]
    pub fn gpu(&self) -> &str {
        self.0.split_once('/').map_or(self.0.as_str(), |(gpu, _)| gpu)
    }
}

/// The units of a node contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParts {
    /// The same GPU twice.
    #[error("GPU {0} is offered whole and in parts")]
    WholeAndParts(UnitId),
    /// More than there is of it.
    #[error("the parts of GPU {0} are more than a GPU")]
    TooMuch(UnitId),
    /// A share that is none.
    #[error("unit {0} is not one of its GPU's shares")]
    Share(UnitId),
    /// CPU slots have no parts.
    #[error("unit {0} is a part of something that is no GPU")]
    NoGpu(UnitId),
}

/// Checks that no GPU is offered twice.
///
/// # Errors
/// The first contradiction.
pub fn check_parts(devices: &BTreeMap<UnitId, Device>) -> Result<(), InvalidParts> {
    let mut sums: BTreeMap<&UnitId, u32> = BTreeMap::new();
    for (unit, device) in devices {
        let Some(parent) = device.part.parent() else { continue };
        if device.kind != DeviceKind::Gpu {
            return Err(InvalidParts::NoGpu(unit.clone()));
        }
        if devices.contains_key(parent) {
            return Err(InvalidParts::WholeAndParts(parent.clone()));
        }
        // Finer than thousandths: what was rounded up must not add up to more than a GPU.
        let of_whole = match device.part {
            GpuPart::Whole => continue,
            GpuPart::Slice { slices, .. } => u32::from(slices) * (WHOLE / u32::from(SLICES)),
            GpuPart::Share { nth, of, .. } => {
                if nth >= of || of > MAX_SHARES || *unit != parent.share(nth, of) {
                    return Err(InvalidParts::Share(unit.clone()));
                }
                WHOLE / u32::from(of)
            }
        };
        let sum = sums.entry(parent).or_default();
        *sum = sum.saturating_add(of_whole);
        if *sum > WHOLE {
            return Err(InvalidParts::TooMuch(parent.clone()));
        }
    }
    Ok(())
}

/// A GPU in units of which a seventh is a whole number; shares are rounded down.
const WHOLE: u32 = 7 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Bytes;

    fn device(part: GpuPart) -> Device {
        let memory = Bytes(10 << 30);
        Device { kind: DeviceKind::Gpu, index: 0, model: "h100".into(), memory, part }
    }

    fn gpu() -> UnitId {
        UnitId("GPU-a".into())
    }

    fn slice(slices: u16) -> GpuPart {
        GpuPart::Slice { parent: gpu(), profile: format!("{slices}g"), slices }
    }

    fn share(nth: u16, of: u16) -> (UnitId, Device) {
        (gpu().share(nth, of), device(GpuPart::Share { parent: gpu(), nth, of }))
    }

    #[test]
    fn parts_are_counted_in_thousandths() {
        let milli = [1, 2, 3, 4, 7].map(|slices| slice(slices).milli());
        assert_eq!(milli, [143, 286, 429, 571, 999], "seven slices are not quite a GPU");
        let milli = [2, 3, 4, 64].map(|of| share(0, of).1.part.milli());
        assert_eq!(milli, [500, 333, 250, 16]);
        assert_eq!(GpuPart::Whole.milli(), WHOLE_GPU);
    }

    #[test]
    fn a_share_tells_its_gpu_and_its_place() {
        let (unit, device) = share(1, 4);
        assert_eq!((unit.0.as_str(), unit.gpu()), ("GPU-a/1-of-4", "GPU-a"));
        assert_eq!((unit.as_share(), gpu().as_share()), (Some(("GPU-a", 4)), None));
        assert_eq!(UnitId("GPU-a/4-of-4".into()).as_share(), None);
        assert_eq!(gpu().gpu(), "GPU-a");
        assert_eq!((device.part.to_string(), slice(2).to_string()), ("2/4".into(), "2g".into()));
    }

    #[test]
    fn what_is_offered_twice_is_refused() {
        let mig = |n: u16, slices| (UnitId(format!("MIG-{n}")), device(slice(slices)));
        let check = |units: &[(UnitId, Device)]| check_parts(&units.iter().cloned().collect());
        assert_eq!(check(&(0..7).map(|n| mig(n, 1)).collect::<Vec<_>>()), Ok(()));
        assert_eq!(check(&(0..3).map(|n| share(n, 3)).collect::<Vec<_>>()), Ok(()));
        assert_eq!(check(&[mig(0, 4), mig(1, 4)]), Err(InvalidParts::TooMuch(gpu())));
        assert_eq!(
            check(&[share(0, 2), share(1, 2), share(0, 4)]),
            Err(InvalidParts::TooMuch(gpu()))
        );
        let whole = (gpu(), device(GpuPart::Whole));
        assert_eq!(check(&[whole, share(0, 2)]), Err(InvalidParts::WholeAndParts(gpu())));
        let odd = (UnitId("x".into()), share(0, 2).1);
        assert!(matches!(check(&[odd]), Err(InvalidParts::Share(_))));
        assert!(matches!(check(&[share(4, 4)]), Err(InvalidParts::Share(_))));
    }

    #[test]
    fn a_device_of_an_older_version_is_whole() {
        let whole = device(GpuPart::Whole);
        let old = serde_json::to_string(&whole).unwrap();
        assert!(!old.contains("part"), "it is written as it was: {old}");
        assert_eq!(serde_json::from_str::<Device>(&old).unwrap(), whole);
        let part = share(1, 4).1;
        let text = serde_json::to_string(&part).unwrap();
        assert_eq!(serde_json::from_str::<Device>(&text).unwrap(), part);
    }
}
