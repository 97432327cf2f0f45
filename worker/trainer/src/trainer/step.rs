//! One optimisation step on all ranks, in the order of Python's `DistributedDataParallel`.

use tch::Tensor;

use crate::Error;
use crate::c10d::{CommError, Ddp, DdpOptions};
use crate::data::Batch;
use crate::model::{Mode, Model};
use crate::optim::Sgd;
use crate::runtime::Runtime;

/// Takes steps. Building it gives every rank rank 0's weights.
#[derive(Debug)]
pub struct Stepper<'a, M> {
    model: &'a M,
    ddp: Option<Ddp>,
}

impl<'a, M: Model> Stepper<'a, M> {
    /// Hooks the model's parameters.
    ///
    /// # Errors
    /// When ranks hold different shapes, or one is lost.
    pub fn new(runtime: &Runtime, model: &'a M) -> Result<Self, Error> {
        let weights = model.weights();
        let ddp = runtime
            .group()
            .map(|group| {
                Ddp::new(group, weights.parameters(), weights.buffers(), DdpOptions::default())
            })
            .transpose()?;
        Ok(Self { model, ddp })
    }

    /// Clears gradients, runs forward and backward (gradients averaged over all ranks), and moves
    /// the weights. Gives this rank's loss, still on its device.
    ///
    /// # Errors
    /// When a peer is lost or libtorch refuses.
    pub fn step(&mut self, sgd: &mut Sgd, batch: &Batch, lr: f64) -> Result<Tensor, Error> {
        let loss = self.gradients(sgd, batch)?;
        sgd.step(lr)?;
        Ok(loss)
    }

    /// All of a step but its effect on the weights.
    pub(super) fn gradients(&mut self, sgd: &mut Sgd, batch: &Batch) -> Result<Tensor, Error> {
        sgd.clear_gradients()?;
        if let Some(ddp) = &mut self.ddp {
            ddp.before_forward()?;
        }
        let outputs = self.model.forward(&batch.inputs, Mode::Train)?;
        if let Some(ddp) = &mut self.ddp {
            ddp.before_backward()?;
        }
        let loss = self.model.loss(&outputs, &batch.targets)?;
        loss.f_backward().map_err(|e| CommError::from_text("the backward pass", &e.to_string()))?;
        Ok(loss.f_detach()?)
    }
}
