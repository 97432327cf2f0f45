//! What a GPU is offered as: whole, as the MIG devices that the driver made of it, or as equal
//! shares. Found out once, when the agent starts: who changes it starts the agent again.

use std::{collections::BTreeMap, fs};

use nvml_wrapper::{Device as NvmlDevice, enums::device::UsedGpuMemory, error::NvmlError};
use trainyard_jobs::{Bytes, Device, GpuPart, UnitId};
use trainyard_proto::v1::DeviceSample;

use super::sample;
use crate::shares::GpuMemory;

/// NVML's number for a mode that is on.
const ENABLED: u32 = 1;

/// The programs of CUDA's multi-process service, which are nobody's own.
const MPS: &str = "nvidia-cuda-mps";

/// What one GPU is offered as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Offer {
    Whole,
    /// MIG devices by their index on the GPU.
    Slices(BTreeMap<u32, UnitId>),
    Shares(u16),
}

impl Offer {
    /// As the GPU is now. One in MIG mode is never whole, also while it has no devices.
    pub(super) fn of(gpu: &NvmlDevice<'_>, shares: Option<u16>) -> Self {
        if gpu.mig_mode().is_ok_and(|mode| mode.current == ENABLED) {
            return Self::Slices(slices(gpu));
        }
        shares.map_or(Self::Whole, Self::Shares)
    }

    /// Its units, made of the device that the whole would be.
    pub(super) fn devices(
        &self,
        gpu: &NvmlDevice<'_>,
        unit: &UnitId,
        whole: Device,
    ) -> Vec<(UnitId, Device)> {
        match self {
            Self::Whole => vec![(unit.clone(), whole)],
            Self::Slices(slices) => {
                let device = |(at, id): (&u32, &UnitId)| {
                    Some((id.clone(), slice(&gpu.mig_device_by_index(*at).ok()?, unit, &whole)?))
                };
                slices.iter().filter_map(device).collect()
            }
            Self::Shares(of) => {
                let share = |nth| {
                    let part = GpuPart::Share { parent: unit.clone(), nth, of: *of };
                    let memory = Bytes(whole.memory.0 / u64::from(*of).max(1));
                    (unit.share(nth, *of), Device { memory, part, ..whole.clone() })
                };
                (0..*of).map(share).collect()
            }
        }
    }

    /// The figures of its units, made of those of the whole. Power is that of the GPU and belongs
    /// to no part of it.
    pub(super) fn samples(
        &self,
        gpu: Option<&NvmlDevice<'_>>,
        unit: &UnitId,
        whole: DeviceSample,
    ) -> Vec<DeviceSample> {
        match self {
            Self::Whole => vec![whole],
            Self::Slices(slices) => {
                let figures = |(at, id): (&u32, &UnitId)| match gpu {
                    Some(gpu) if whole.problem.is_none() => match gpu.mig_device_by_index(*at) {
                        Ok(slice) => slice_sample(id, &slice, &whole),
                        Err(error) => gone(id, &error),
                    },
                    _ => DeviceSample { unit: id.to_string(), ..whole.clone() },
                };
                slices.iter().map(figures).collect()
            }
            Self::Shares(of) => {
                let used = whole.memory_used.map(|_| 0);
                let figures = |nth| DeviceSample {
                    unit: unit.share(nth, *of).to_string(),
                    memory_used: used,
                    power_watts: None,
                    ..whole.clone()
                };
                (0..*of).map(figures).collect()
            }
        }
    }

    /// Who has how much of its memory, if it has shares or may have had some.
    pub(super) fn memory(&self, unit: &UnitId, gpu: &NvmlDevice<'_>) -> Option<GpuMemory> {
        if matches!(self, Self::Slices(_)) {
            return None;
        }
        let total = Bytes(gpu.memory_info().ok()?.total);
        let mut by_pid = BTreeMap::new();
        // With MPS its clients stand in a list of their own; a driver without it has none.
        let clients = gpu.mps_running_compute_processes().unwrap_or_default();
        for process in gpu.running_compute_processes().ok()?.into_iter().chain(clients) {
            let UsedGpuMemory::Used(bytes) = process.used_gpu_memory else { continue };
            let Ok(pid) = i32::try_from(process.pid) else { continue };
            let known = by_pid.entry(pid).or_insert(Bytes(0));
            *known = (*known).max(Bytes(bytes));
        }
        Some(GpuMemory { gpu: unit.clone(), total, by_pid })
    }
}

/// The MIG devices that there are: their indexes have gaps.
fn slices(gpu: &NvmlDevice<'_>) -> BTreeMap<u32, UnitId> {
    let count = gpu.mig_device_count().unwrap_or_default();
    let uuid = |at| match gpu.mig_device_by_index(at).and_then(|slice| slice.uuid()) {
        Ok(uuid) => Some((at, UnitId(uuid))),
        Err(NvmlError::NotFound) => None,
        Err(error) => {
            tracing::warn!(slice = at, %error, "a MIG device does not answer and is not offered");
            None
        }
    };
    (0..count).filter_map(uuid).collect()
}

fn slice(slice: &NvmlDevice<'_>, parent: &UnitId, whole: &Device) -> Option<Device> {
    let attributes = slice.attributes().ok()?;
    let memory = attributes.memory_size_mb.saturating_mul(1 << 20);
    let memory = Bytes(slice.memory_info().map_or(memory, |memory| memory.total));
    let named = slice.name().ok().and_then(|name| profile(&name));
    let profile = named.unwrap_or_else(|| {
        format!("{}g.{}gb", attributes.gpu_instance_slice_count, memory.0.div_ceil(1 << 30))
    });
    let slices = u16::try_from(attributes.compute_instance_slice_count).ok()?;
    let part = GpuPart::Slice { parent: parent.clone(), profile, slices };
    Some(Device { memory, part, ..whole.clone() })
}

/// The profile in a MIG device's name, such as `NVIDIA H100 80GB HBM3 MIG 2g.20gb`.
fn profile(name: &str) -> Option<String> {
    let (_, profile) = name.rsplit_once("MIG ")?;
    Some(profile.trim().to_owned()).filter(|profile| !profile.is_empty())
}

/// In MIG mode NVML tells no utilisation; heat and clock are the GPU's.
fn slice_sample(id: &UnitId, slice: &NvmlDevice<'_>, whole: &DeviceSample) -> DeviceSample {
    DeviceSample {
        power_watts: None,
        temperature_celsius: whole.temperature_celsius,
        sm_clock_mhz: whole.sm_clock_mhz,
        ..sample(id, slice)
    }
}

fn gone(id: &UnitId, error: &NvmlError) -> DeviceSample {
    let problem = match error {
        NvmlError::NotFound => "the MIG slice is gone: start the worker again".into(),
        error => format!("the MIG slice does not answer: {error}"),
    };
    DeviceSample { unit: id.to_string(), problem: Some(problem), ..DeviceSample::default() }
}

/// Whether a process is the multi-process service itself: its clients are who uses the GPU.
pub(super) fn is_mps(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with(MPS))
}
