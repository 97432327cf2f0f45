//! The device units of a replay's nodes: whole GPUs, equal shares of them, or MIG slices.

use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, UnitId, WHOLE_GPU, check_parts};

use super::NodeGroup;

/// A MIG profile such as `3g.20gb`: compute slices, and memory.
fn profile(text: &str) -> Option<(u16, Bytes)> {
    let (slices, memory) = text.strip_suffix("gb")?.split_once("g.")?;
    let (slices, memory): (u16, u64) = (slices.parse().ok()?, memory.parse().ok()?);
    Some((slices, Bytes(memory.checked_mul(1 << 30)?))).filter(|(slices, _)| *slices > 0)
}

impl NodeGroup {
    /// The units of a node's GPU.
    pub(crate) fn units(&self, index: u32) -> Vec<(UnitId, Device)> {
        let gpu = UnitId(format!("gpu-{index:03}"));
        let device = |memory, part| Device {
            kind: DeviceKind::Gpu,
            index,
            model: self.gpu_type.to_ascii_lowercase(),
            memory,
            part,
        };
        if let Some(of) = self.shares {
            let memory = Bytes(self.gpu_memory.0 / u64::from(of.max(1)));
            let part = |nth| GpuPart::Share { parent: gpu.clone(), nth, of };
            return (0..of).map(|nth| (gpu.share(nth, of), device(memory, part(nth)))).collect();
        }
        if self.mig.is_empty() {
            return vec![(gpu, device(self.gpu_memory, GpuPart::Whole))];
        }
        let known = self.mig.iter().filter_map(|text| Some((text, profile(text)?)));
        let unit = |(nth, (text, (slices, memory))): (usize, (&String, (u16, Bytes)))| {
            let part = GpuPart::Slice { parent: gpu.clone(), profile: text.clone(), slices };
            (UnitId(format!("mig-{index:03}-{nth}")), device(memory, part))
        };
        known.enumerate().map(unit).collect()
    }

    /// The parts of one of its GPUs, in thousandths.
    pub(crate) fn parts(&self) -> impl Iterator<Item = u16> + use<> {
        let units = if self.gpus > 0 { self.units(0) } else { Vec::new() };
        units.into_iter().map(|(_, device)| device.part.milli())
    }

    /// Thousandths of a GPU that its units add up to at the most: seven slices of a seventh each
    /// are rounded up.
    pub(crate) fn milli_per_gpu(&self) -> u32 {
        self.parts().map(u32::from).sum::<u32>().max(u32::from(WHOLE_GPU))
    }

    /// What is wrong with how its GPUs are split, if anything.
    pub(super) fn parts_problem(&self) -> Option<String> {
        if self.shares.is_some() && !self.mig.is_empty() {
            return Some("shares and MIG slices of one GPU; give one of the two".into());
        }
        if self.shares.is_some_and(|of| of < 2) {
            return Some("one share is a whole GPU; give `shares` from 2 on".into());
        }
        if let Some(odd) = self.mig.iter().find(|text| profile(text).is_none()) {
            return Some(format!("`{odd}` is no MIG profile; write one such as `3g.20gb`"));
        }
        check_parts(&self.units(0).into_iter().collect()).err().map(|error| error.to_string())
    }
}
