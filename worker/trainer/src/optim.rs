//! Stochastic gradient descent with momentum, its state, and its learning-rate schedule. The state
//! is ours to save: tch's optimizers cannot give theirs.

use tch::{Kind, Tensor};

use crate::Error;
use crate::c10d::{clear_gradients, sgd_step};
use crate::model::Weights;

/// What does not change during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdOptions {
    /// How much of the last step goes into the next one.
    pub momentum: f64,
    /// L2 penalty.
    pub weight_decay: f64,
    /// Nesterov's look-ahead.
    pub nesterov: bool,
}

/// `torch.optim.SGD`, to the bit.
#[derive(Debug)]
pub struct Sgd {
    options: SgdOptions,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    momenta: Vec<Tensor>,
}

impl Sgd {
    /// With zero momenta.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(weights: &Weights, options: SgdOptions) -> Result<Self, Error> {
        let parameters: Vec<Tensor> =
            weights.parameters().iter().map(Tensor::shallow_clone).collect();
        let momenta = parameters
            .iter()
            .map(|p| Tensor::f_zeros(p.size().as_slice(), (Kind::Float, p.device())))
            .collect::<Result<_, _>>()?;
        Ok(Self { options, names: weights.parameter_names().to_vec(), parameters, momenta })
    }

    /// Moves the parameters along their gradients.
    ///
    /// # Errors
    /// When a parameter has no gradient.
    pub fn step(&mut self, lr: f64) -> Result<(), Error> {
        let SgdOptions { momentum, weight_decay, nesterov } = self.options;
        Ok(sgd_step(&self.parameters, &self.momenta, lr, momentum, weight_decay, nesterov)?)
    }

    /// Forgets the gradients of the last step.
    ///
    /// # Errors
    /// When a parameter is not a leaf.
    pub fn clear_gradients(&mut self) -> Result<(), Error> {
        Ok(clear_gradients(&self.parameters)?)
    }

    /// The state by name, for a checkpoint.
    pub fn state(&self) -> impl Iterator<Item = (String, &Tensor)> {
        self.names
            .iter()
            .zip(&self.momenta)
            .map(|(name, tensor)| (format!("{name}.momentum"), tensor))
    }
}

/// A linear rise over the first steps, then half a cosine down to zero (Loshchilov and Hutter 2017,
/// arXiv:1608.03983). A function of the step alone, so a resumed run goes on exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest learning rate.
    pub peak: f64,
    /// How many steps it rises.
    pub warmup_steps: u64,
    /// Where it reaches zero.
    pub total_steps: u64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    pub fn at(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * float(step + 1) / float(self.warmup_steps);
        }
        let span = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let done = (float(step - self.warmup_steps) / float(span)).min(1.0);
        self.peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
    }
}

fn float(value: u64) -> f64 {
    u32::try_from(value).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::Schedule;

    #[test]
    fn rises_then_falls_to_zero() {
        let schedule = Schedule { peak: 0.1, warmup_steps: 10, total_steps: 110 };
        assert!((schedule.at(0) - 0.01).abs() < 1e-12);
        assert!((schedule.at(9) - 0.1).abs() < 1e-12);
        assert!((schedule.at(10) - 0.1).abs() < 1e-12);
        assert!((schedule.at(60) - 0.05).abs() < 1e-12);
        assert!(schedule.at(110).abs() < 1e-12);
    }
}
