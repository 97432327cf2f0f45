//! The training loop: batches, data-parallel steps, evaluations, checkpoints. Each step is a function
//! of the seed, the step's number and the weights, so a run that goes on from a checkpoint with the
//! same world size ends with the same bits as one that was never disturbed.

mod coordinate;
mod evaluate;
mod report;
mod resume;
mod step;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::Error;
use crate::checkpoint::{Evaluation, Spool};
use crate::data::{Dataset, Order};
use crate::model::Model;
use crate::optim::{Schedule, Sgd, SgdOptions};
use crate::output::say;
use crate::runtime::Runtime;
use coordinate::{Coordinator, Decision};
use report::Report;
pub use step::Stepper;

/// How to train.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Passes over the training set.
    pub epochs: u64,
    /// Samples a rank and step.
    pub batch_size: usize,
    /// Of the order of samples.
    pub seed: u64,
    /// The highest learning rate.
    pub lr: f64,
    /// The share of all steps over which the learning rate rises.
    pub warmup: f64,
    /// The optimizer's constants.
    pub sgd: SgdOptions,
    /// End after this many steps, if that is earlier.
    pub max_steps: Option<u64>,
    /// Seconds between checkpoints, where the environment does not say.
    pub checkpoint_every: Duration,
    /// Write the initial weights and every loss into this folder.
    pub trace: Option<PathBuf>,
}

/// A model, its data, and the rank that trains it.
#[derive(Debug)]
pub struct Trainer<'a, M> {
    /// This rank.
    pub runtime: &'a Runtime,
    /// What is trained.
    pub model: &'a M,
    /// What it learns from.
    pub train: &'a Dataset,
    /// What it is judged by.
    pub test: &'a Dataset,
    /// How.
    pub settings: Settings,
}

/// How a run ended, other than by an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// All steps are done.
    Finished(Summary),
    /// Stopped on request, after a checkpoint of this step.
    Stopped {
        /// Steps done.
        step: u64,
    },
}

/// A finished run in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Steps done, over all attempts.
    pub steps: u64,
    /// The final evaluation.
    pub evaluation: Evaluation,
    /// Seconds trained, over all attempts; what was lost with a rank is not counted.
    pub seconds: f64,
    /// Samples trained on by this attempt, a second.
    pub samples_per_s: f64,
}

/// What a step's number means in epochs.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Plan {
    steps_per_epoch: u64,
    total_steps: u64,
}

impl<M: Model> Trainer<'_, M> {
    /// Trains to the end, or to a stop.
    ///
    /// # Errors
    /// Lost peers, a loss that is no number, a checkpoint that does not fit; lost ranks are named.
    pub fn run(&self) -> Result<Outcome, Error> {
        self.train_all().map_err(|error| self.runtime.explain(error))
    }

    fn train_all(&self) -> Result<Outcome, Error> {
        let plan = self.plan()?;
        let mut sgd = Sgd::new(self.model.weights(), self.settings.sgd)?;
        let mut progress = self.resume(&sgd)?;
        let resumed = progress.step > 0;
        let mut stepper = Stepper::new(self.runtime, self.model)?;
        if resumed {
            self.rehearse(&mut stepper, &mut sgd, progress.step, plan)?;
        }
        let mut report = Report::new(self.runtime, &self.settings, plan.total_steps)?;
        report.initial_weights(self.model.weights())?;
        let mut coordinator = Coordinator::new(self.runtime, &self.settings, progress.step);
        let spool = self
            .runtime
            .env()
            .paths
            .checkpoints
            .as_deref()
            .filter(|_| self.runtime.is_first())
            .map(Spool::open)
            .transpose()?;
        let schedule = self.schedule(plan);
        let (started, first_step, earlier) = (Instant::now(), progress.step, progress.seconds);
        let mut order: Option<(u64, Order)> = None;
        while progress.step < plan.total_steps {
            let (epoch, index) =
                (progress.step / plan.steps_per_epoch, progress.step % plan.steps_per_epoch);
            if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                order = Some((epoch, self.order(epoch)));
            }
            let indices = order.as_ref().map_or(&[][..], |(_, order)| {
                order.batch(usize::try_from(index).unwrap_or(usize::MAX))
            });
            let batch = self.train.batch(indices, self.runtime.device())?;
            let loss = stepper.step(&mut sgd, &batch, schedule.at(progress.step))?;
            progress.step += 1;
            progress.seconds = earlier + started.elapsed().as_secs_f64();
            report.after_step(progress.step, epoch, &loss)?;
            if index + 1 == plan.steps_per_epoch || progress.step == plan.total_steps {
                progress.evaluation = Some(self.evaluate(progress.step)?);
                report.evaluation(epoch, progress.evaluation)?;
            }
            if progress.step == plan.total_steps {
                break;
            }
            let decision = coordinator.after_step(progress.step)?;
            if decision != Decision::GoOn {
                self.checkpoint(spool.as_ref(), &sgd, &progress, plan, decision)?;
            }
            if decision == Decision::CheckpointAndStop {
                self.runtime.barrier()?;
                return Ok(Outcome::Stopped { step: progress.step });
            }
        }
        let evaluation = match progress.evaluation {
            Some(evaluation) if evaluation.step == progress.step => evaluation,
            _ => self.evaluate(progress.step)?,
        };
        let elapsed = started.elapsed().as_secs_f64();
        let samples_per_s = self.samples(progress.step - first_step) / elapsed.max(f64::EPSILON);
        Ok(Outcome::Finished(Summary {
            steps: progress.step,
            evaluation,
            seconds: earlier + elapsed,
            samples_per_s,
        }))
    }

    fn plan(&self) -> Result<Plan, Error> {
        let steps = self.order(0).steps();
        let steps_per_epoch = u64::try_from(steps).unwrap_or(u64::MAX);
        if steps_per_epoch == 0 {
            let (samples, batch, world) =
                (self.train.len(), self.settings.batch_size, self.runtime.env().world_size);
            return Err(Error::Params(format!(
                "batch_size {batch} on {world} ranks needs more than the {samples} samples that there are"
            )));
        }
        let all = self.settings.epochs.saturating_mul(steps_per_epoch);
        Ok(Plan {
            steps_per_epoch,
            total_steps: self.settings.max_steps.map_or(all, |max| max.min(all)),
        })
    }

    fn order(&self, epoch: u64) -> Order {
        let env = self.runtime.env();
        Order::new(
            self.train.len(),
            self.settings.batch_size,
            self.settings.seed,
            epoch,
            env.rank,
            env.world_size,
        )
    }

    fn schedule(&self, plan: Plan) -> Schedule {
        let total = self.float(plan.total_steps);
        let warmup_steps = (0..plan.total_steps)
            .take_while(|step| self.float(*step) < self.settings.warmup * total)
            .count();
        Schedule {
            peak: self.settings.lr,
            warmup_steps: u64::try_from(warmup_steps).unwrap_or(0),
            total_steps: plan.total_steps,
        }
    }

    /// Samples that all ranks together train on in so many steps.
    fn samples(&self, steps: u64) -> f64 {
        let batch = u64::try_from(self.settings.batch_size).unwrap_or(u64::MAX);
        self.float(steps.saturating_mul(batch)) * f64::from(self.runtime.env().world_size)
    }

    fn float(&self, value: u64) -> f64 {
        u32::try_from(value).map_or(f64::MAX, f64::from)
    }

    fn say(&self, line: &str) {
        if self.runtime.is_first() {
            say(line);
        }
    }
}
