//! Registered models and their versions.

use std::collections::BTreeMap;

use serde::Serialize;
use trainyard_proto::v1;

use super::{present, text};
use crate::output::{
    Card, Cell, Look, Row, Tone,
    human::{ago, instant, short, size},
    table::{grid, labelled},
};

/// One version of a model, with its lineage.
#[derive(Debug, Serialize)]
pub(crate) struct VersionView {
    model: String,
    model_version: u32,
    project: String,
    created_unix_ms: u64,
    size_bytes: u64,
    digest: String,
    metrics: BTreeMap<String, String>,
    /// By which versions of the model compare.
    metric: Option<String>,
    goal: String,
    files: Vec<FileView>,
    lineage: Lineage,
}

/// One file of a version.
#[derive(Debug, Serialize)]
struct FileView {
    path: String,
    size_bytes: u64,
    digest: String,
}

/// Where a version came from.
#[derive(Debug, Serialize)]
struct Lineage {
    job: String,
    attempt: u32,
    spec_digest: String,
    bundle: Option<String>,
    commit: Option<String>,
    resumed_from: Option<u64>,
    last_checkpoint: Option<u64>,
    nodes: Vec<String>,
}

impl From<v1::Version> for VersionView {
    fn from(version: v1::Version) -> Self {
        let file = |f: v1::File| FileView { path: f.path, size_bytes: f.size, digest: f.digest };
        Self {
            model: version.model,
            model_version: version.version,
            project: version.project,
            created_unix_ms: version.created_ms,
            size_bytes: version.size,
            digest: version.digest,
            metrics: version.metrics.into_iter().collect(),
            metric: text(version.metric),
            goal: version.goal,
            files: version.files.into_iter().map(file).collect(),
            lineage: Lineage {
                job: version.job,
                attempt: version.attempt,
                spec_digest: version.spec_digest,
                bundle: text(version.bundle),
                commit: text(version.commit),
                resumed_from: present(version.resumed_from),
                last_checkpoint: present(version.last_checkpoint),
                nodes: version.nodes,
            },
        }
    }
}

impl VersionView {
    /// The order of listings.
    pub(crate) fn newest_first(&self, other: &Self) -> std::cmp::Ordering {
        (other.created_unix_ms, &self.model, other.model_version).cmp(&(
            self.created_unix_ms,
            &other.model,
            self.model_version,
        ))
    }

    /// The run that made it.
    pub(crate) fn job(&self) -> &str {
        &self.lineage.job
    }

    fn name(&self) -> String {
        format!("{}:{}", self.model, self.model_version)
    }

    fn metrics(&self) -> String {
        metrics(self.metrics.iter(), self.metric.as_deref().unwrap_or_default())
    }
}

/// The metric that versions compare by first, then the others by name.
pub(crate) fn metrics<'a>(
    metrics: impl IntoIterator<Item = (&'a String, &'a String)>,
    first: &str,
) -> String {
    let mut each: Vec<_> = metrics.into_iter().collect();
    each.sort_by_key(|(name, _)| (name.as_str() != first, *name));
    let texts = each.into_iter().map(|(name, value)| format!("{name} {}", trim(value)));
    texts.collect::<Vec<_>>().join(", ")
}

/// A metric's decimal text as people read it.
fn trim(value: &str) -> String {
    value.parse().map_or_else(|_| value.to_owned(), crate::output::human::figure)
}

impl Row for VersionView {
    const KIND: &'static str = "ModelVersion";
    const LIST: &'static str = "ModelVersionList";

    fn key(&self) -> String {
        self.name()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &["MODEL", "PROJECT", "SIZE", "FILES", "JOB", "CREATED", "DIGEST", "METRICS"]
        } else {
            &["MODEL", "SIZE", "JOB", "CREATED", "METRICS"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let created = Cell::new(ago(look.now_ms, self.created_unix_ms)).tone(Tone::Meta);
        if look.wide {
            return vec![
                Cell::new(self.name()),
                Cell::new(self.project.as_str()),
                Cell::number(size(self.size_bytes)),
                Cell::number(self.files.len()),
                Cell::new(self.lineage.job.as_str()),
                created,
                Cell::new(self.digest.as_str()),
                Cell::new(self.metrics()),
            ];
        }
        vec![
            Cell::cut(&self.name(), 24),
            Cell::number(size(self.size_bytes)),
            Cell::new(short(&self.lineage.job, look.id_chars)),
            created,
            Cell::cut(&self.metrics(), 24),
        ]
    }
}

impl Card for VersionView {
    const KIND: &'static str = "ModelVersion";

    fn key(&self) -> String {
        self.name()
    }

    fn draw(&self, look: Look) -> String {
        let lineage = &self.lineage;
        let checkpoint = |id: Option<u64>| id.map(|id| format!("ckpt-{id}")).unwrap_or_default();
        let created = format!(
            "{}, {}",
            ago(look.now_ms, self.created_unix_ms),
            instant(self.created_unix_ms)
        );
        let head = [
            ("model", self.name()),
            ("project", self.project.clone()),
            ("created", created),
            ("metrics", self.metrics()),
            ("digest", self.digest.clone()),
            ("job", format!("{}, attempt {}", lineage.job, lineage.attempt)),
            ("nodes", lineage.nodes.join(", ")),
            ("resumed", checkpoint(lineage.resumed_from)),
            ("checkpoint", checkpoint(lineage.last_checkpoint)),
            ("spec", lineage.spec_digest.clone()),
            ("bundle", lineage.bundle.clone().unwrap_or_default()),
            ("commit", lineage.commit.clone().unwrap_or_default()),
        ];
        let rows = self.files.iter().map(|file| {
            vec![
                Cell::cut(&file.path, if look.wide { 200 } else { 40 }),
                Cell::number(size(file.size_bytes)),
                Cell::new(if look.wide { file.digest.clone() } else { short(&file.digest, 19) })
                    .tone(Tone::Meta),
            ]
        });
        labelled(&head, look) + "\n" + &grid(&["FILE", "SIZE", "DIGEST"], rows, look)
    }
}
