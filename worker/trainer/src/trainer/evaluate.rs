//! Judging the model on the test set, each rank on its share.

use super::Trainer;
use crate::Error;
use crate::checkpoint::Evaluation;
use crate::model::{Mode, Model};

/// Samples a forward pass; it bounds memory, and changes no result that is shown.
const BATCH: usize = 250;

impl<M: Model> Trainer<'_, M> {
    /// Loss and accuracy over the whole test set, the same on every rank.
    pub(super) fn evaluate(&self, step: u64) -> Result<Evaluation, Error> {
        self.spread_buffers()?;
        let env = self.runtime.env();
        let (rank, world) =
            (usize::try_from(env.rank).unwrap_or(0), usize::try_from(env.world_size).unwrap_or(1));
        let mine: Vec<i64> = (0..self.test.len())
            .skip(rank)
            .step_by(world)
            .filter_map(|i| i64::try_from(i).ok())
            .collect();
        let mut sums = [0.0; 3];
        for indices in mine.chunks(BATCH) {
            let found = tch::no_grad(|| self.judge(indices))?;
            for (sum, value) in sums.iter_mut().zip(found) {
                *sum += value;
            }
        }
        let [loss, right, count] = match self.runtime.group() {
            Some(group) => group.sum(sums)?,
            None => sums,
        };
        Ok(Evaluation { step, loss: loss / count.max(1.0), accuracy: right / count.max(1.0) })
    }

    /// The sum of losses, the number of right answers, and of samples.
    fn judge(&self, indices: &[i64]) -> Result<[f64; 3], Error> {
        let batch = self.test.batch(indices, self.runtime.device())?;
        let outputs = self.model.forward(&batch.inputs, Mode::Evaluate)?;
        let count = u32::try_from(indices.len()).map_or(0.0, f64::from);
        let loss = self.model.loss(&outputs, &batch.targets)?.f_double_value(&[])?;
        let right = outputs
            .f_argmax(1, false)?
            .f_eq_tensor(&batch.targets)?
            .f_sum(tch::Kind::Int64)?
            .f_double_value(&[])?;
        Ok([loss * count, right, count])
    }

    /// Batch statistics differ between ranks after a step; rank 0's are the model's.
    fn spread_buffers(&self) -> Result<(), Error> {
        if let Some(group) = self.runtime.group() {
            for buffer in self.model.weights().buffers() {
                group.broadcast(&mut buffer.shallow_clone(), 0)?;
            }
        }
        Ok(())
    }
}
