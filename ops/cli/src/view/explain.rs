//! Why a job waits, or what holds it, and what would start it.

mod change;

use serde::Serialize;
use trainyard_proto::v1;

use self::change::{Change, Cost};
use super::{expected::Expected, job::JobSummary};
use crate::output::{Card, Look, Tone, table::labelled};

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
    /// The suggestions with their numbers.
    changes: Vec<Change>,
    /// What its run would take and cost as it is, if anything is known of that.
    asked: Option<Cost>,
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
            expected: Expected::of(answer.expected_from_ms, answer.expected_to_ms),
            blockers: answer.blockers.into_iter().map(blocker).collect(),
            suggestions: answer.suggestions,
            changes: answer.changes.into_iter().map(Change::from).collect(),
            asked: answer.asked.and_then(Cost::of),
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
            ("cost", self.asked.as_ref().map(Cost::text).unwrap_or_default()),
        ];
        let mut drawn = labelled(&head, look);
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                drawn += &format!("\n{}\n", Tone::Meta.paint(title, look.colour));
                drawn.extend(lines.into_iter().map(|line| format!("  {line}\n")));
            }
        };
        section("in its way", self.blockers.iter().map(Blocker::line).collect());
        section("what would start it", self.offers());
        drawn
    }
}

impl Explanation {
    /// Each change in a line, with what there is to say of it below.
    fn offers(&self) -> Vec<String> {
        // An older scheduler tells no numbers.
        if self.changes.is_empty() {
            return self.suggestions.clone();
        }
        let lines = |change: &Change| {
            let notes = change.notes.iter().map(|note| format!("  {note}"));
            std::iter::once(change.text.clone()).chain(notes).collect::<Vec<_>>()
        };
        self.changes.iter().flat_map(lines).collect()
    }
}

impl Blocker {
    fn line(&self) -> String {
        format!("{}: {}", self.kind, self.message)
    }
}
