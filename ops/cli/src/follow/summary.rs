//! How a run ended and what it left, in a few lines.

use trainyard_proto::v1;

use crate::{
    output::{
        Look, Tone,
        human::{phase_words, plural, short, span},
        table::labelled,
    },
    view::model,
};

/// How wide the metrics may be beside their label, on a terminal of 80 columns.
const METRICS_WIDTH: usize = 70;

/// A job that has ended, and the model version that it registered.
pub(crate) struct Summary<'a> {
    /// The job.
    pub(crate) job: &'a v1::Job,
    /// The version, if it is known.
    pub(crate) version: Option<&'a v1::Version>,
}

impl Summary<'_> {
    /// The text for standard output.
    pub(crate) fn draw(&self, look: Look) -> String {
        let job = self.job;
        let id = short(&job.id, look.id_chars);
        let ran = match span(job.run_ms).as_str() {
            "" => String::new(),
            span => format!(" after {span}"),
        };
        let reason = if job.phase == "succeeded" { "" } else { &job.reason };
        let words =
            phase_words(&job.phase, reason).replacen(&job.phase, &format!("{}{ran}", job.phase), 1);
        let words = Tone::of_state(&job.phase).paint(&words, look.colour);
        let counts = [(job.restarts, "restart"), (count(&job.checkpoints), "checkpoint kept")]
            .into_iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| plural(n, what))
            .collect::<Vec<_>>();
        let reference = job.model.rsplit_once('/').map(|(m, v)| format!("{m}:{v}"));
        let pull = reference.as_ref().map(|model| format!("yard model pull {model}"));
        let logs = format!("yard logs {id}");
        labelled(
            &[
                ("job", format!("{} {words}", job.name)),
                ("history", counts.join(", ")),
                ("model", reference.unwrap_or_default()),
                ("metrics", self.metrics()),
                ("get it", pull.unwrap_or_default()),
                ("logs", if job.phase == "failed" { logs } else { String::new() }),
            ],
            look,
        )
    }

    /// On one line: the metric that counts, and as many others as fit.
    fn metrics(&self) -> String {
        let Some(version) = self.version else { return String::new() };
        let all = model::metrics(&version.metrics, &version.metric);
        let fits = |text: &&str| text.chars().count() <= METRICS_WIDTH;
        let ends = all.match_indices(", ").map(|(at, _)| at).chain([all.len()]);
        let longest = ends.filter_map(|at| all.get(..at)).take_while(fits).last();
        longest.map_or(all.clone(), str::to_owned)
    }
}

fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Look = Look { now_ms: 0, colour: false, wide: false, id_chars: 8 };

    #[test]
    fn a_success_says_how_to_get_the_model() {
        let job = v1::Job {
            id: "3k9v2m7q1d0a".into(),
            name: "fashion-mnist".into(),
            phase: "succeeded".into(),
            run_ms: 134_250,
            restarts: 1,
            model: "fashion-mnist/1".into(),
            checkpoints: vec![v1::Checkpoint::default(); 3],
            ..v1::Job::default()
        };
        let metrics = [("test_accuracy".to_owned(), "0.8912345".to_owned())].into();
        let version = v1::Version { metrics, ..v1::Version::default() };
        insta::assert_snapshot!(Summary { job: &job, version: Some(&version) }.draw(LOOK), @"
        job      fashion-mnist succeeded after 2m14s
        history  1 restart, 3 checkpoints kept
        model    fashion-mnist:1
        metrics  test_accuracy 0.8912
        get it   yard model pull fashion-mnist:1
        ");
    }

    #[test]
    fn a_failure_says_why_and_where_to_look() {
        let job = v1::Job {
            id: "3k9v2m7q1d0a".into(),
            name: "broken".into(),
            phase: "failed".into(),
            reason: "rank 1 failed: exit code 3".into(),
            ..v1::Job::default()
        };
        insta::assert_snapshot!(Summary { job: &job, version: None }.draw(LOOK), @"
        job      broken failed: rank 1 failed: exit code 3
        logs     yard logs 3k9v2m7q
        ");
    }
}
