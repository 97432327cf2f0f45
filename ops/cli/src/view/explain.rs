//! Why a job waits, or what holds it, and what would start it.

use serde::Serialize;
use trainyard_proto::v1;

use super::job::JobSummary;
use crate::output::{Card, Look, Tone, human::span, table::labelled};

/// An explanation.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    job: Option<JobSummary>,
    summary: String,
    /// In the queue, from 1; nothing when it does not wait.
    position: Option<u32>,
    /// Between when it is expected to start, if anything is expected.
    expected: Option<Expected>,
    blockers: Vec<Blocker>,
    suggestions: Vec<String>,
}

/// Two ends of an estimate, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, Serialize)]
struct Expected {
    from_unix_ms: u64,
    to_unix_ms: u64,
}

impl Expected {
    /// Such as `in 5m to 1h20m`.
    fn text(self, now_ms: u64) -> String {
        let from = self.from_unix_ms.saturating_sub(now_ms);
        let to = self.to_unix_ms.saturating_sub(now_ms);
        match (from / 1000, to / 1000) {
            (0, 0) => "soon".to_owned(),
            (0, _) => format!("within {}", span(to)),
            _ => format!("in {} to {}", span(from), span(to)),
        }
    }
}

#[derive(Debug, Serialize)]
struct Blocker {
    kind: String,
    message: String,
}

impl From<v1::ExplainAnswer> for Explanation {
    fn from(answer: v1::ExplainAnswer) -> Self {
        let blocker = |b: v1::Blocker| Blocker { kind: b.kind, message: b.message };
        Self {
            job: answer.job.map(JobSummary::from),
            summary: answer.summary,
            position: Some(answer.position).filter(|position| *position > 0),
            expected: Some(answer.expected_to_ms)
                .filter(|to| *to > 0)
                .map(|to_unix_ms| Expected { from_unix_ms: answer.expected_from_ms, to_unix_ms }),
            blockers: answer.blockers.into_iter().map(blocker).collect(),
            suggestions: answer.suggestions,
        }
    }
}

impl Card for Explanation {
    const KIND: &'static str = "Explanation";

    fn key(&self) -> String {
        self.summary.clone()
    }

    fn draw(&self, look: Look) -> String {
        let job = self.job.as_ref();
        let phase = job.map(|job| job.phase.as_str()).unwrap_or_default();
        let position = self.position.map(|n| format!(", number {n} in the queue"));
        let head = [
            ("job", job.map(|job| format!("{}  {}", job.id, job.name)).unwrap_or_default()),
            (
                "phase",
                Tone::of_state(phase).paint(phase, look.colour) + &position.unwrap_or_default(),
            ),
            ("why", self.summary.clone()),
            ("start", self.expected.map(|e| e.text(look.now_ms)).unwrap_or_default()),
        ];
        let mut text = labelled(&head, look);
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                text += &format!("\n{}\n", Tone::Meta.paint(title, look.colour));
                text.extend(lines.into_iter().map(|line| format!("  {line}\n")));
            }
        };
        section("in its way", self.blockers.iter().map(Blocker::line).collect());
        section("what would start it", self.suggestions.clone());
        text
    }
}

impl Blocker {
    fn line(&self) -> String {
        format!("{}: {}", self.kind, self.message)
    }
}
