//! GPUs, by NVML. Without its library there are none; a library that cannot be used says why;
//! a GPU that fails (fallen off the bus) is reported as such and hides no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use nvml_wrapper::{
    Device as NvmlDevice, Nvml,
    enum_wrappers::device::{Clock, TemperatureSensor},
    error::NvmlError,
};
use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, UnitId};
use trainyard_proto::v1::DeviceSample;

use self::{
    links::{Linked, islands},
    parts::Offer,
};
use crate::{network::Place, pinning::machine::Machine, shares::GpuMemory};

mod links;
mod parts;

/// The names under which the driver installs the library; the second is for development.
const LIBRARIES: [&str; 2] = ["libnvidia-ml.so.1", "libnvidia-ml.so"];

/// The node's GPUs.
pub(crate) struct Gpus {
    nvml: Option<Nvml>,
    state: String,
    /// By NVML's index; the UUID is kept for when the GPU no longer tells it.
    units: BTreeMap<u32, (UnitId, Offer)>,
}

/// The figures of all units, and who has how much of the memory of the GPUs that have shares.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) devices: Vec<DeviceSample>,
    pub(crate) memory: Vec<GpuMemory>,
}

impl Gpus {
    /// Opens NVML: `library` if given, else by its usual names. GPUs that are not in MIG mode are
    /// split into so many `shares`, if any.
    pub(crate) fn open(library: Option<&Path>, shares: Option<u16>) -> Self {
        let load = |path: &Path| Nvml::builder().lib_path(path.as_os_str()).init();
        let opened = match library {
            Some(path) => load(path),
            None => load(Path::new(LIBRARIES[0])).or_else(|error| match error {
                NvmlError::LibloadingError(_) => load(Path::new(LIBRARIES[1])),
                error => Err(error),
            }),
        };
        match opened {
            Ok(nvml) => Self::with(nvml, shares),
            Err(error) => {
                let state = unusable(&error, library);
                Self { nvml: None, state, units: BTreeMap::new() }
            }
        }
    }

    fn with(nvml: Nvml, shares: Option<u16>) -> Self {
        let count = nvml.device_count().unwrap_or_default();
        let unit = |index| {
            let found = nvml.device_by_index(index);
            match found.and_then(|gpu| Ok((UnitId(gpu.uuid()?), Offer::of(&gpu, shares)))) {
                Ok(offered) => Some((index, offered)),
                Err(error) => {
                    tracing::warn!(index, %error, "a GPU does not answer and is not offered");
                    None
                }
            }
        };
        let units = (0..count).filter_map(unit).collect();
        Self { nvml: Some(nvml), state: "nvml".into(), units }
    }

    /// `nvml`, `none`, or why NVML cannot be used.
    pub(crate) fn state(&self) -> &str {
        &self.state
    }

    /// The GPUs that can be offered.
    pub(crate) fn devices(&self) -> BTreeMap<UnitId, Device> {
        let Some(nvml) = &self.nvml else { return BTreeMap::new() };
        let devices = |(index, (unit, offer)): (&u32, &(UnitId, Offer))| {
            let gpu = nvml.device_by_index(*index).ok()?;
            let model = short_model(&gpu.name().ok()?);
            let memory = Bytes(gpu.memory_info().map_or(0, |memory| memory.total));
            let (kind, index, part) = (DeviceKind::Gpu, *index, GpuPart::Whole);
            let whole = Device { kind, index, model, memory, part };
            Some(offer.devices(&gpu, unit, whole))
        };
        self.units.iter().filter_map(devices).flatten().collect()
    }

    /// Where the GPUs stand on the machine's buses, as far as it tells.
    pub(crate) fn places(&self, machine: &Machine) -> BTreeMap<UnitId, Place> {
        let Some(nvml) = &self.nvml else { return BTreeMap::new() };
        let place = |(index, (unit, _)): (&u32, &(UnitId, Offer))| {
            let bus_id = nvml.device_by_index(*index).ok()?.pci_info().ok()?.bus_id;
            Some((unit.clone(), machine.place_of(&bus_id)?))
        };
        self.units.iter().filter_map(place).collect()
    }

    /// The numbers of the GPUs that have direct links to each other; nothing if NVML does not tell. One
    /// that has fallen off the bus is in no island.
    pub(crate) fn islands(&self) -> Option<Vec<BTreeSet<u32>>> {
        let nvml = self.nvml.as_ref()?;
        let mut all = Vec::new();
        for index in self.units.keys() {
            match nvml.device_by_index(*index).and_then(|gpu| Linked::of(*index, &gpu)) {
                Ok(linked) => all.push(linked),
                Err(NvmlError::GpuLost) => {}
                Err(error) => {
                    tracing::debug!(index, %error, "no word of NVLink");
                    return None;
                }
            }
        }
        Some(islands(&all))
    }

    /// Live figures. `own` gives the processes of our attempts, asked for only if any process
    /// is on a GPU.
    pub(crate) fn sample(&self, own: impl Fn() -> BTreeSet<i32>) -> Reading {
        let Some(nvml) = &self.nvml else { return Reading::default() };
        let mut samples = Vec::new();
        let mut memory = Vec::new();
        for (index, (unit, offer)) in &self.units {
            let gpu = nvml.device_by_index(*index);
            let whole = match &gpu {
                Ok(gpu) => sample(unit, gpu),
                Err(error) => broken(unit, error),
            };
            memory.extend(gpu.as_ref().ok().and_then(|gpu| offer.memory(unit, gpu)));
            samples.extend(offer.samples(gpu.ok().as_ref(), unit, whole));
        }
        if samples.iter().any(|sample| !sample.foreign_pids.is_empty()) {
            let own = own();
            let foreign = |pid: &u32| !i32::try_from(*pid).is_ok_and(|pid| own.contains(&pid));
            samples.iter_mut().for_each(|sample| sample.foreign_pids.retain(foreign));
        }
        Reading { devices: samples, memory }
    }
}

/// One GPU's figures; `foreign_pids` holds all processes, the caller leaves out our own.
fn sample(unit: &UnitId, gpu: &NvmlDevice<'_>) -> DeviceSample {
    let memory = match gpu.memory_info() {
        Err(error @ (NvmlError::GpuLost | NvmlError::Unknown)) => return broken(unit, &error),
        memory => memory.ok(),
    };
    let processes = gpu.running_compute_processes().unwrap_or_default();
    let foreign = processes.iter().map(|process| process.pid).filter(|pid| !parts::is_mps(*pid));
    DeviceSample {
        unit: unit.to_string(),
        utilisation_percent: gpu.utilization_rates().ok().map(|u| f64::from(u.gpu)),
        memory_used: memory.map(|memory| memory.used),
        power_watts: gpu.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        temperature_celsius: gpu.temperature(TemperatureSensor::Gpu).ok().map(f64::from),
        foreign_pids: foreign.collect(),
        problem: None,
        sm_clock_mhz: gpu.clock_info(Clock::SM).ok(),
    }
}

fn broken(unit: &UnitId, error: &NvmlError) -> DeviceSample {
    let problem = match error {
        NvmlError::GpuLost => "the GPU has fallen off the bus: the machine needs a reset".into(),
        error => format!("the GPU does not answer: {error}"),
    };
    DeviceSample { unit: unit.to_string(), problem: Some(problem), ..DeviceSample::default() }
}

fn unusable(error: &NvmlError, library: Option<&Path>) -> String {
    match (error, library) {
        (NvmlError::LibloadingError(_), None) => "none".into(),
        (NvmlError::LibloadingError(error), Some(path)) => {
            format!("cannot load the NVML library {}: {error}", path.display())
        }
        (NvmlError::DriverNotLoaded, _) => "the NVIDIA driver is not loaded".into(),
        (NvmlError::LibRmVersionMismatch, _) => {
            "the NVIDIA driver and its library differ in version: reboot or reload the driver"
                .into()
        }
        (NvmlError::FailedToLoadSymbol(symbol), _) => {
            format!("the NVML library is too old: it lacks {symbol}")
        }
        (NvmlError::NoPermission, _) => "NVML may not be used by this user".into(),
        (error, _) => format!("NVML cannot be used: {error}"),
    }
}

/// The type of a GPU in lower case without its vendor: `h100` for `NVIDIA H100 80GB HBM3`.
fn short_model(name: &str) -> String {
    const NOISE: [&str; 6] = ["nvidia", "tesla", "quadro", "geforce", "graphics", "device"];
    let lower = name.to_ascii_lowercase();
    let mut words = lower
        .split(|c: char| c.is_whitespace() || c == '-')
        .filter(|word| !word.is_empty() && !NOISE.contains(word));
    let first = words.next().unwrap_or("gpu");
    let series = ["rtx", "gtx", "titan"].contains(&first);
    match words.next() {
        // `RTX 4090` is one name, `RTX A6000` has a prefix.
        Some(next) if series && next.starts_with(|c: char| c.is_ascii_digit()) => {
            format!("{first}{next}")
        }
        Some(next) if series => next.to_owned(),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests;
