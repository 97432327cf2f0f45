//! Says what happens in a run, on standard error: a bar on a terminal, else lines, at most one
//! of figures every two seconds.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{Figures, Happening};
use crate::output::{
    Output, Tone,
    human::{figure, largest, phase_words, size},
    stderr_is_terminal,
};

/// The least time between two lines of figures.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// Where a run's happenings are said.
#[derive(Debug)]
pub(crate) struct Reporter {
    out: Output,
    bar: Option<ProgressBar>,
    said: Option<Instant>,
    checkpoint: Option<u64>,
}

impl Reporter {
    /// Looks whether a person watches.
    pub(crate) fn new(out: Output) -> Self {
        let watched = stderr_is_terminal() && !out.quiet;
        let bar = watched.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
            bar.set_style(spinner());
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { out, bar, said: None, checkpoint: None }
    }

    /// Says one thing.
    pub(crate) fn report(&mut self, happening: &Happening) {
        if let Happening::Checkpoint { step, .. } = happening {
            self.checkpoint = Some(*step);
        }
        match happening {
            Happening::Figures(figures) => self.figures(figures),
            other => {
                if let (Some(bar), Happening::Phase { phase, reason }) = (&self.bar, other) {
                    bar.set_message(phase_words(phase, reason));
                }
                self.say(&words(other, self.out.colour_err));
            }
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.out.note(line),
        }
    }

    fn figures(&mut self, figures: &Figures) {
        let text = figure_words(figures, self.checkpoint);
        if let Some(bar) = &self.bar {
            if let Some(total) = figures.total {
                bar.set_style(gauge());
                bar.set_length(whole(total));
                bar.set_position(whole(figures.step));
            }
            bar.set_message(text);
        } else if self.said.is_none_or(|said| said.elapsed() >= LINE_EVERY) {
            self.said = Some(Instant::now());
            let total = figures.total.map(|total| format!("/{}", figure(total)));
            let step = figure(figures.step) + &total.unwrap_or_default();
            self.out.note(&format!("step {step}  {text}"));
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.finish();
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("{spinner} {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn gauge() -> ProgressStyle {
    ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸ ")
}

/// A line for anything but figures.
fn words(happening: &Happening, colour: bool) -> String {
    match happening {
        Happening::Phase { phase, reason } => {
            Tone::of_state(phase).paint(&phase_words(phase, reason), colour)
        }
        Happening::Started { attempt, nodes, from_step } => {
            let from = from_step.map(|step| format!(", from the checkpoint at step {step}"));
            format!("attempt {attempt} on {}{}", nodes.join(", "), from.unwrap_or_default())
        }
        Happening::Ended { attempt, end } if end.is_empty() => format!("attempt {attempt} ended"),
        Happening::Ended { attempt, end } => format!("attempt {attempt} ended: {end}"),
        Happening::Checkpoint { step, size: bytes } => {
            let size = size(*bytes);
            let size = if size.is_empty() { size } else { format!(", {size}") };
            format!("checkpoint at step {step}{size}")
        }
        Happening::Figures(figures) => figure_words(figures, None),
    }
}

fn figure_words(figures: &Figures, checkpoint: Option<u64>) -> String {
    let parts = [
        figures.loss.map(|loss| format!("loss {}", figure(loss))),
        figures.samples_per_s.map(|pace| format!("{} samples/s", figure(pace.round()))),
        figures.left_s.map(|left| format!("{} left", largest(whole(left * 1000.0)))),
        checkpoint.map(|step| format!("checkpoint {step}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is only shown"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn happenings_read_as_lines() {
        let figures = Figures {
            step: 1200.0,
            total: Some(5000.0),
            loss: Some(0.345_678),
            samples_per_s: Some(9120.4),
            left_s: Some(75.0),
        };
        assert_eq!(
            figure_words(&figures, Some(1000)),
            "loss 0.3457  9120 samples/s  1m left  checkpoint 1000"
        );
        let lines = [
            Happening::Phase { phase: "queued".into(), reason: "waits for 2 CPU slots".into() },
            Happening::Started { attempt: 1, nodes: vec!["a".into(), "b".into()], from_step: None },
            Happening::Checkpoint { step: 500, size: 3 << 20 },
            Happening::Ended { attempt: 1, end: "node b was lost".into() },
            Happening::Started { attempt: 2, nodes: vec!["a".into()], from_step: Some(500) },
        ]
        .map(|happening| words(&happening, false));
        insta::assert_snapshot!(lines.join("\n"), @"
        queued: waits for 2 CPU slots
        attempt 1 on a, b
        checkpoint at step 500, 3.0 MiB
        attempt 1 ended: node b was lost
        attempt 2 on a, from the checkpoint at step 500
        ");
    }
}
