//! How jobs look to a person.

use super::{JobDetail, JobSummary};
use crate::output::{
    Card, Cell, Look, Row, Tone,
    human::{ago, figure, instant, phase_words, plural, short, size, span},
    table::{grid, labelled},
};

impl JobSummary {
    /// The order of listings.
    pub(crate) fn newest_first(&self, other: &Self) -> std::cmp::Ordering {
        (other.submitted_unix_ms, &self.id).cmp(&(self.submitted_unix_ms, &other.id))
    }

    /// How far it has come: `1200/5000`, or the step alone.
    fn steps(&self) -> String {
        let metric = |name| self.progress.as_ref()?.metrics.get(name).copied().map(figure);
        match (metric("step"), metric("total_steps")) {
            (Some(step), Some(total)) => format!("{step}/{total}"),
            (Some(step), None) => step,
            (None, _) => String::new(),
        }
    }

    /// When it is expected to start, if it waits, or when it was started first.
    fn start(&self, look: Look) -> String {
        if self.phase == "queued" {
            return self.expected.map(|expected| expected.short(look.now_ms)).unwrap_or_default();
        }
        ago(look.now_ms, self.started_unix_ms.unwrap_or_default())
    }

    fn size(&self) -> String {
        format!("{} {}", self.ranks, self.device)
    }
}

impl Row for JobSummary {
    const KIND: &'static str = "Job";
    const LIST: &'static str = "JobList";

    fn key(&self) -> String {
        self.id.clone()
    }

    fn titles(wide: bool) -> &'static [&'static str] {
        if wide {
            &[
                "ID",
                "NAME",
                "PROJECT",
                "PHASE",
                "PRIORITY",
                "RANKS",
                "STEP",
                "RESTARTS",
                "RUN",
                "SUBMITTED",
                "START",
                "MODEL",
                "REASON",
            ]
        } else {
            &["ID", "NAME", "PHASE", "RANKS", "STEP", "RUN", "START"]
        }
    }

    fn cells(&self, look: Look) -> Vec<Cell> {
        let phase = Cell::state(&self.phase);
        let submitted = Cell::new(ago(look.now_ms, self.submitted_unix_ms)).tone(Tone::Meta);
        let start = Cell::new(self.start(look)).tone(Tone::Meta);
        if look.wide {
            return vec![
                Cell::new(self.id.as_str()),
                Cell::new(self.name.as_str()),
                Cell::new(self.project.as_str()),
                phase,
                Cell::number(self.priority),
                Cell::number(self.size()),
                Cell::number(self.steps()),
                Cell::number(self.restarts),
                Cell::number(span(self.run_ms)),
                submitted,
                start,
                Cell::new(self.model.as_deref().unwrap_or_default()),
                Cell::cut(self.reason.as_deref().unwrap_or_default(), 80),
            ];
        }
        vec![
            Cell::new(short(&self.id, look.id_chars)),
            Cell::cut(&self.name, 20),
            phase,
            Cell::number(self.size()),
            Cell::number(self.steps()),
            Cell::number(span(self.run_ms)),
            start,
        ]
    }
}

impl Card for JobDetail {
    const KIND: &'static str = "Job";

    fn key(&self) -> String {
        self.summary.id.clone()
    }

    fn draw(&self, look: Look) -> String {
        let job = &self.summary;
        let phase = phase_words(&job.phase, job.reason.as_deref().unwrap_or_default());
        let phase = Tone::of_state(&job.phase).paint(&phase, look.colour);
        let submitted = format!(
            "{}, {}",
            ago(look.now_ms, job.submitted_unix_ms),
            instant(job.submitted_unix_ms)
        );
        let head = [
            ("job", format!("{}  {}", job.id, job.name)),
            ("phase", phase),
            ("project", format!("{}, priority {}", job.project, job.priority)),
            ("ranks", format!("{}, {}", job.size(), plural(job.restarts, "restart"))),
            ("submitted", submitted),
            ("ran", span(job.run_ms)),
            ("figures", self.figures()),
            ("model", job.model.clone().unwrap_or_default()),
            ("commit", self.commit.clone().unwrap_or_default()),
        ];
        [labelled(&head, look), self.attempts(look), self.checkpoints(look)]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl JobDetail {
    fn figures(&self) -> String {
        let Some(progress) = &self.summary.progress else { return String::new() };
        let each =
            progress.metrics.iter().map(|(name, value)| format!("{name} {}", figure(*value)));
        each.collect::<Vec<_>>().join(", ")
    }

    fn attempts(&self, look: Look) -> String {
        let rows = self.attempts.iter().map(|attempt| {
            let nodes: Vec<&str> = attempt.placements.iter().map(|p| p.node.as_str()).collect();
            let step = attempt.resumed_from.map(|id| {
                let known = self.checkpoints.iter().find(|checkpoint| checkpoint.id == id);
                known.map_or_else(|| format!("ckpt-{id}"), |known| format!("step {}", known.step))
            });
            vec![
                Cell::number(attempt.attempt),
                Cell::state(&attempt.phase),
                Cell::cut(&nodes.join(","), 24),
                Cell::new(step.unwrap_or_default()),
                Cell::new(ago(look.now_ms, attempt.started_unix_ms.unwrap_or_default()))
                    .tone(Tone::Meta),
                Cell::cut(
                    attempt.end.as_deref().unwrap_or_default(),
                    if look.wide { 120 } else { 24 },
                ),
            ]
        });
        grid(&["ATTEMPT", "PHASE", "NODES", "FROM", "STARTED", "END"], rows, look)
    }

    fn checkpoints(&self, look: Look) -> String {
        let rows = self.checkpoints.iter().map(|checkpoint| {
            vec![
                Cell::new(format!("ckpt-{}", checkpoint.id)),
                Cell::number(checkpoint.step),
                Cell::number(checkpoint.attempt),
                Cell::number(size(checkpoint.size_bytes)),
                Cell::new(ago(look.now_ms, checkpoint.created_unix_ms)).tone(Tone::Meta),
            ]
        });
        grid(&["CHECKPOINT", "STEP", "ATTEMPT", "SIZE", "CREATED"], rows, look)
    }
}
