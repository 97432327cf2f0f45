//! What a run tells the world while it goes on: metrics, lines for people, and, when asked, a trace
//! of every loss.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tch::Tensor;

use super::Settings;
use crate::checkpoint::{Evaluation, to_safetensors};
use crate::metrics::{EvaluationLine, MetricsFile, TrainLine, unix_seconds};
use crate::model::Weights;
use crate::output::say;
use crate::runtime::Runtime;
use crate::{Error, files};

/// A line of metrics this often; reading a loss from a GPU waits for it.
const METRICS: Duration = Duration::from_millis(500);
/// A line for people this often.
const PEOPLE: Duration = Duration::from_secs(2);

/// One rank's reports.
#[derive(Debug)]
pub(super) struct Report {
    metrics: MetricsFile,
    trace: Option<Trace>,
    first: bool,
    total_steps: u64,
    samples_a_step: f64,
    last: (Instant, u64),
    last_for_people: Option<Instant>,
}

#[derive(Debug)]
struct Trace {
    folder: PathBuf,
    losses: BufWriter<File>,
}

impl Report {
    pub(super) fn new(
        runtime: &Runtime,
        settings: &Settings,
        total_steps: u64,
    ) -> Result<Self, Error> {
        let env = runtime.env();
        let trace =
            settings.trace.as_ref().map(|folder| Trace::create(folder, env.rank)).transpose()?;
        let batch = u32::try_from(settings.batch_size).map_or(0.0, f64::from);
        Ok(Self {
            metrics: MetricsFile::append(env.paths.metrics.as_deref())?,
            trace,
            first: runtime.is_first(),
            total_steps,
            samples_a_step: batch * f64::from(env.world_size),
            last: (Instant::now(), 0),
            last_for_people: None,
        })
    }

    /// For a trace: the weights that the run started from, as all ranks hold them.
    pub(super) fn initial_weights(&self, weights: &Weights) -> Result<(), Error> {
        match &self.trace {
            Some(trace) if self.first => files::replace(
                &trace.folder.join("initial.safetensors"),
                &to_safetensors(weights.named())?,
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn after_step(&mut self, step: u64, epoch: u64, loss: &Tensor) -> Result<(), Error> {
        if let Some(trace) = &mut self.trace {
            trace.add(loss, step == self.total_steps)?;
        }
        let (since, from) = self.last;
        if from == 0 {
            // The pace is counted from here; what came before was building and connecting.
            self.last = (since, step - 1);
        }
        let elapsed = since.elapsed();
        if elapsed < METRICS && step != self.total_steps {
            return Ok(());
        }
        let value = loss.f_double_value(&[])?;
        if !value.is_finite() {
            return Err(Error::Diverged { loss: value, step });
        }
        let steps = u32::try_from(step.saturating_sub(self.last.1)).map_or(0.0, f64::from);
        let samples_per_s = steps * self.samples_a_step / elapsed.as_secs_f64().max(f64::EPSILON);
        self.last = (Instant::now(), step);
        self.metrics.write(&TrainLine {
            t: unix_seconds(),
            step,
            total_steps: self.total_steps,
            epoch,
            loss: value,
            samples_per_s,
        })?;
        if self.first && self.last_for_people.is_none_or(|last| last.elapsed() >= PEOPLE) {
            self.last_for_people = Some(Instant::now());
            say(&format!(
                "step {step}/{}  epoch {epoch}  loss {value:.4}  {samples_per_s:.0} samples/s",
                self.total_steps
            ));
        }
        Ok(())
    }

    pub(super) fn evaluation(
        &mut self,
        epoch: u64,
        evaluation: Option<Evaluation>,
    ) -> Result<(), Error> {
        let Some(Evaluation { step, loss, accuracy }) = evaluation else { return Ok(()) };
        if !loss.is_finite() {
            return Err(Error::Diverged { loss, step });
        }
        self.metrics.write(&EvaluationLine {
            t: unix_seconds(),
            step,
            epoch,
            val_loss: loss,
            val_accuracy: accuracy,
        })?;
        // The test pass is no training time.
        self.last = (Instant::now(), step);
        if self.first {
            say(&format!(
                "step {step}/{}  epoch {epoch} done  val_loss {loss:.4}  val_accuracy {:.2} %",
                self.total_steps,
                accuracy * 100.0
            ));
        }
        Ok(())
    }
}

impl Trace {
    fn create(folder: &PathBuf, rank: u32) -> Result<Self, Error> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(format!("losses-{rank}.txt"));
        let losses = BufWriter::new(File::create(&path).map_err(Error::io("create", &path))?);
        Ok(Self { folder: folder.clone(), losses })
    }

    fn add(&mut self, loss: &Tensor, last: bool) -> Result<(), Error> {
        writeln!(self.losses, "{}", loss.f_double_value(&[])?)
            .map_err(Error::io("write losses to", &self.folder))?;
        if last {
            self.losses.flush().map_err(Error::io("write losses to", &self.folder))
        } else {
            Ok(())
        }
    }
}
