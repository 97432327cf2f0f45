//! Prometheus metrics. GPU series carry dcgm-exporter's names, so that existing dashboards
//! work; the agent's own begin with `trainyard_worker_`. Served over TLS to who shows a certificate of
//! the cluster; in plaintext only to this machine, if the configuration says so.

use std::{net::SocketAddr, sync::Arc, sync::atomic::AtomicU64};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::net::TcpListener;
use trainyard_jobs::Inventory;
use trainyard_pki::{Clients, Credentials, Protocol, TlsPort};
use trainyard_proto::v1::{DeviceSample, NodeSample};

use crate::error::WorkerError;

type Figure = Gauge<f64, AtomicU64>;

/// Labels as dcgm-exporter has them.
type GpuLabels = Vec<(&'static str, String)>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

/// What the agent counts itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counters {
    /// Sessions with a leader that were opened.
    pub sessions: Counter,
    /// Desired sets that were refused because a higher one was accepted before.
    pub refused_sets: Counter,
    /// Bytes of ranks' output that are in the store.
    pub log_bytes: Counter,
    /// Checkpoint parts that were uploaded.
    pub checkpoints: Counter,
    /// Checkpoint parts that were dropped: refused, unreadable, or too many waited.
    pub dropped_checkpoints: Counter,
}

/// Everything that `/metrics` shows.
pub(crate) struct Metrics {
    registry: Registry,
    inventory: Inventory,
    gpus: [Family<GpuLabels, Figure>; 5],
    host: [Figure; 3],
    connected: Gauge,
    attempts: Family<StateLabel, Gauge>,
}

/// What a scrape reads.
pub(crate) struct Snapshot {
    pub sample: NodeSample,
    pub connected: bool,
    /// How many attempts are in each state.
    pub attempts: Vec<(&'static str, usize)>,
}

const GPU_SERIES: [(&str, &str); 5] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)"),
    ("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)"),
    ("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)"),
    ("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C)"),
    ("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz)"),
];

const HOST_SERIES: [(&str, &str); 3] = [
    ("trainyard_worker_cpu_percent", "Load of all processors together"),
    ("trainyard_worker_memory_used_bytes", "Memory in use"),
    ("trainyard_worker_disk_free_bytes", "Space left for the data directory"),
];

impl Metrics {
    pub(crate) fn new(inventory: Inventory, counters: &Counters) -> Self {
        let mut registry = Registry::default();
        let gpus = GPU_SERIES.map(|(name, help)| {
            let family = Family::<GpuLabels, Figure>::default();
            registry.register(name, help, family.clone());
            family
        });
        let host = HOST_SERIES.map(|(name, help)| {
            let figure = Figure::default();
            registry.register(name, help, figure.clone());
            figure
        });
        for (name, help, counter) in [
            ("sessions", "Sessions opened with a leader", &counters.sessions),
            ("refused_sets", "Desired sets refused as outdated", &counters.refused_sets),
            ("log_bytes", "Bytes of output stored", &counters.log_bytes),
            ("checkpoints", "Checkpoint parts uploaded", &counters.checkpoints),
            ("dropped_checkpoints", "Checkpoint parts dropped", &counters.dropped_checkpoints),
        ] {
            registry.register(format!("trainyard_worker_{name}"), help, counter.clone());
        }
        let (connected, attempts) = (Gauge::default(), Family::default());
        registry.register(
            "trainyard_worker_connected",
            "Whether a leader is connected",
            connected.clone(),
        );
        registry.register("trainyard_worker_attempts", "Attempts by state", attempts.clone());
        Self { registry, inventory, gpus, host, connected, attempts }
    }

    /// The metrics as text.
    pub(crate) fn render(&self, snapshot: &Snapshot) -> String {
        let sample = &snapshot.sample;
        self.gpus.iter().for_each(Family::clear);
        for device in &sample.devices {
            self.set_gpu(device);
        }
        let host =
            [sample.cpu_percent, sample.memory_used.map(to_f64), sample.disk_free.map(to_f64)];
        for (figure, value) in self.host.iter().zip(host) {
            figure.set(value.unwrap_or(f64::NAN));
        }
        self.connected.set(i64::from(snapshot.connected));
        self.attempts.clear();
        for (state, count) in &snapshot.attempts {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            self.attempts.get_or_create(&StateLabel { state }).set(count);
        }
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn set_gpu(&self, sample: &DeviceSample) {
        let unit = trainyard_jobs::UnitId(sample.unit.clone());
        let Some(device) = self.inventory.devices.get(&unit) else { return };
        let labels = vec![
            ("gpu", device.index.to_string()),
            ("UUID", sample.unit.clone()),
            ("modelName", device.model.clone()),
            ("Hostname", self.inventory.name.to_string()),
        ];
        let values = [
            sample.utilisation_percent,
            sample.memory_used.map(|bytes| to_f64(bytes >> 20)),
            sample.power_watts,
            sample.temperature_celsius,
            sample.sm_clock_mhz.map(f64::from),
        ];
        for (family, value) in self.gpus.iter().zip(values) {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
    }
}

#[expect(clippy::as_conversions, reason = "a figure to show; exact to 2^53")]
fn to_f64(value: u64) -> f64 {
    value as f64
}

type Source = Arc<dyn Fn() -> Snapshot + Send + Sync>;

/// Listens for scrapes; the future that is returned serves them until it is dropped.
pub(crate) async fn serve(
    address: SocketAddr,
    tls: Option<&Credentials>,
    metrics: Metrics,
    source: Source,
) -> Result<impl Future<Output = ()> + Send + use<>, WorkerError> {
    let failed = |source| WorkerError::Metrics { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let app = Router::new().route("/metrics", get(scrape)).with_state((Arc::new(metrics), source));
    let tls = tls.map(|own| own.server(Clients::Known, Protocol::Http1)).transpose()?;
    Ok(async move {
        let served = match tls {
            Some(tls) => axum::serve(TlsPort::metrics(listener, tls, Arc::default()), app).await,
            None => axum::serve(listener, app).await,
        };
        if let Err(error) = served {
            tracing::error!(%error, "metrics are no longer served");
        }
    })
}

async fn scrape(State((metrics, source)): State<(Arc<Metrics>, Source)>) -> impl IntoResponse {
    let content = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content)], metrics.render(&source()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use trainyard_jobs::{Bytes, Device, DeviceKind, GpuPart, UnitId};

    use super::*;
    use crate::{config::Config, telemetry};

    #[test]
    fn gpu_series_have_the_names_that_dashboards_know() {
        let gpus = telemetry::Gpus::open(Some(Path::new("/nonexistent")), None);
        let config = Config { name: "w1".parse().unwrap(), ..Config::default() };
        let mut inventory =
            telemetry::inventory(&config, (&gpus, &BTreeMap::new()), Path::new("/"));
        let device = Device {
            kind: DeviceKind::Gpu,
            index: 0,
            model: "h100".into(),
            memory: Bytes(80 << 30),
            part: GpuPart::Whole,
        };
        inventory.devices = BTreeMap::from([(UnitId("GPU-1".into()), device)]);
        let metrics = Metrics::new(inventory, &Counters::default());
        let sample = DeviceSample {
            unit: "GPU-1".into(),
            utilisation_percent: Some(97.0),
            memory_used: Some(3 << 30),
            ..DeviceSample::default()
        };
        let sample = NodeSample { devices: vec![sample], ..NodeSample::default() };
        let text =
            metrics.render(&Snapshot { sample, connected: true, attempts: vec![("running", 2)] });
        let labels = "gpu=\"0\",UUID=\"GPU-1\",modelName=\"h100\",Hostname=\"w1\"";
        assert!(text.contains(&format!("DCGM_FI_DEV_GPU_UTIL{{{labels}}} 97.0")), "{text}");
        assert!(text.contains(&format!("DCGM_FI_DEV_FB_USED{{{labels}}} 3072.0")), "{text}");
        assert!(!text.contains("DCGM_FI_DEV_POWER_USAGE{"), "what is not known is absent");
        assert!(text.contains("trainyard_worker_attempts{state=\"running\"} 2"), "{text}");
    }
}
