//! Going on from a checkpoint, and writing one.

use std::collections::BTreeMap;
use std::time::Instant;

use tch::Tensor;

use super::coordinate::Decision;
use super::step::Stepper;
use super::{Plan, Trainer};
use crate::Error;
use crate::checkpoint::{
    self, DESCRIPTION_FILE, Description, FORMAT, MODEL_FILE, OPTIMIZER_FILE, Spool, TRAINER_FILE,
    TrainerState,
};
use crate::model::Model;
use crate::optim::Sgd;

impl<M: Model> Trainer<'_, M> {
    /// The state to start from: a checkpoint's, or that of a new run.
    pub(super) fn resume(&self, sgd: &Sgd) -> Result<TrainerState, Error> {
        let fresh = TrainerState {
            format: FORMAT,
            step: 0,
            world_size: self.runtime.env().world_size,
            batch_size: self.settings.batch_size,
            seed: self.settings.seed,
            samples: self.train.len(),
            evaluation: None,
            seconds: 0.0,
        };
        let folder = self.runtime.env().paths.resume.as_deref();
        let Some(folder) = folder.filter(|folder| {
            std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
        }) else {
            return Ok(fresh);
        };
        let state = checkpoint::read_state(folder, &fresh)?;
        checkpoint::load_tensors(folder, MODEL_FILE, self.model.weights().named())?;
        checkpoint::load_tensors(folder, OPTIMIZER_FILE, sgd.state())?;
        self.say(&format!("resumed from step {}", state.step));
        Ok(state)
    }

    /// One pass whose gradients are thrown away. After its first pass the reducer arranges its
    /// buckets anew, and with three ranks or more the arrangement decides the order in which
    /// gradients are added. An undisturbed run has that behind it at any checkpoint; a resumed one
    /// must have it too before its first real step, or its bits would drift.
    pub(super) fn rehearse(
        &self,
        stepper: &mut Stepper<'_, M>,
        sgd: &mut Sgd,
        step: u64,
        plan: Plan,
    ) -> Result<(), Error> {
        if self.runtime.group().is_none() || step >= plan.total_steps {
            return Ok(());
        }
        let buffers = self.model.weights().buffers();
        let before: Vec<Tensor> = buffers.iter().map(Tensor::copy).collect();
        let batch = self
            .train
            .batch(self.order(step / plan.steps_per_epoch).batch(0), self.runtime.device())?;
        drop(stepper.gradients(sgd, &batch)?);
        sgd.clear_gradients()?;
        tch::no_grad(|| {
            buffers
                .iter()
                .zip(&before)
                .try_for_each(|(buffer, value)| buffer.shallow_clone().f_copy_(value))
        })?;
        Ok(())
    }

    /// Writes a checkpoint on rank 0, whose weights are everyone's.
    pub(super) fn checkpoint(
        &self,
        spool: Option<&Spool>,
        sgd: &Sgd,
        state: &TrainerState,
        plan: Plan,
        why: Decision,
    ) -> Result<(), Error> {
        let Some(spool) = spool else { return Ok(()) };
        if why == Decision::Periodic && spool.is_full() {
            self.say(&format!("step {}: skipped a checkpoint, two await their upload", state.step));
            return Ok(());
        }
        let started = Instant::now();
        let mut metrics = BTreeMap::new();
        if let Some(evaluation) = state.evaluation {
            metrics.insert("val_loss".to_owned(), evaluation.loss);
            metrics.insert("val_accuracy".to_owned(), evaluation.accuracy);
        }
        let description = Description {
            format: FORMAT,
            step: state.step,
            epoch: state.step / plan.steps_per_epoch,
            world_size: state.world_size,
            parts: 1,
            metrics,
        };
        let content = [
            (MODEL_FILE, checkpoint::to_safetensors(self.model.weights().named())?),
            (OPTIMIZER_FILE, checkpoint::to_safetensors(sgd.state())?),
            (TRAINER_FILE, serde_json::to_vec_pretty(state)?),
            (DESCRIPTION_FILE, serde_json::to_vec_pretty(&description)?),
        ];
        spool.write(state.step, &content)?;
        self.say(&format!(
            "step {}: checkpoint in {:.0} ms",
            state.step,
            started.elapsed().as_secs_f64() * 1e3
        ));
        Ok(())
    }
}
