//! Models: named parameters and buffers in the order of their making, and a forward pass.

mod mlp;
mod residual;

use tch::{Device, Kind, Tensor};

use crate::Error;
pub use mlp::Mlp;
pub use residual::ResidualNet;

/// Whether a forward pass learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Statistics are those of the batch, and running ones are updated.
    Train,
    /// Statistics are the running ones; nothing changes.
    Evaluate,
}

/// Something that can be trained.
pub trait Model {
    /// All that is trained and saved.
    fn weights(&self) -> &Weights;

    /// Outputs for a batch of inputs.
    ///
    /// # Errors
    /// When shapes do not fit or memory is out.
    fn forward(&self, inputs: &Tensor, mode: Mode) -> Result<Tensor, Error>;

    /// What is minimised: cross entropy over the classes, unless a model says otherwise.
    ///
    /// # Errors
    /// When shapes do not fit.
    fn loss(&self, outputs: &Tensor, targets: &Tensor) -> Result<Tensor, Error> {
        Ok(outputs.f_cross_entropy_loss::<&Tensor>(
            targets,
            None,
            tch::Reduction::Mean,
            -100,
            0.0,
        )?)
    }
}

/// A model's tensors by name. Order is that of registration, on every rank the same.
#[derive(Debug)]
pub struct Weights {
    device: Device,
    names: Vec<String>,
    parameters: Vec<Tensor>,
    buffer_names: Vec<String>,
    buffers: Vec<Tensor>,
}

impl Weights {
    /// None yet. Random initial values come from libtorch's CPU generator, so that they do not
    /// depend on the device.
    pub fn new(device: Device) -> Self {
        Self {
            device,
            names: Vec::new(),
            parameters: Vec::new(),
            buffer_names: Vec::new(),
            buffers: Vec::new(),
        }
    }

    /// Where they live.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Registers a parameter: a leaf that requires a gradient.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn parameter(&mut self, name: String, initial: &Tensor) -> Result<Tensor, Error> {
        let tensor = initial.f_to_device(self.device)?.f_detach()?.f_set_requires_grad(true)?;
        self.names.push(name);
        self.parameters.push(tensor.shallow_clone());
        Ok(tensor)
    }

    /// Registers a tensor that is saved, not trained.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn buffer(&mut self, name: String, initial: &Tensor) -> Result<Tensor, Error> {
        let tensor = initial.f_to_device(self.device)?.f_detach()?;
        self.buffer_names.push(name);
        self.buffers.push(tensor.shallow_clone());
        Ok(tensor)
    }

    /// Normal values for layers that a ReLU follows, by their number of outputs.
    ///
    /// He et al. 2015, arXiv:1502.01852, section 2.2.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn he_normal(
        &mut self,
        name: String,
        shape: &[i64],
        fan_out: i64,
    ) -> Result<Tensor, Error> {
        let values = Tensor::f_randn(shape, (Kind::Float, Device::Cpu))?
            .f_mul_scalar((2.0 / float(fan_out)).sqrt())?;
        self.parameter(name, &values)
    }

    /// Uniform values within ±1/√`fan_in`.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn uniform(&mut self, name: String, shape: &[i64], fan_in: i64) -> Result<Tensor, Error> {
        let bound = 1.0 / float(fan_in).sqrt();
        let mut values = Tensor::f_zeros(shape, (Kind::Float, Device::Cpu))?;
        let values = values.f_uniform_(-bound, bound)?;
        self.parameter(name, &values)
    }

    /// The trained tensors.
    pub fn parameters(&self) -> &[Tensor] {
        &self.parameters
    }

    /// The names of [`parameters`](Self::parameters).
    pub fn parameter_names(&self) -> &[String] {
        &self.names
    }

    /// The tensors that are saved but not trained.
    pub fn buffers(&self) -> &[Tensor] {
        &self.buffers
    }

    /// All tensors with their names.
    pub fn named(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        let parameters = self.names.iter().zip(&self.parameters);
        let buffers = self.buffer_names.iter().zip(&self.buffers);
        parameters.chain(buffers).map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Lets gradients be recorded, or not: a traced graph can hold only weights without.
    ///
    /// # Errors
    /// When a parameter is not a leaf.
    pub fn record_gradients(&self, yes: bool) -> Result<(), Error> {
        for parameter in &self.parameters {
            drop(parameter.f_set_requires_grad(yes)?);
        }
        Ok(())
    }

    /// How many numbers are trained.
    pub fn count(&self) -> usize {
        self.parameters.iter().map(Tensor::numel).sum()
    }
}

fn float(value: i64) -> f64 {
    i32::try_from(value).map_or(f64::MAX, f64::from)
}

/// A fully connected layer.
#[derive(Debug)]
struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    fn new(weights: &mut Weights, name: &str, inputs: i64, outputs: i64) -> Result<Self, Error> {
        Ok(Self {
            weight: weights.uniform(format!("{name}.weight"), &[outputs, inputs], inputs)?,
            bias: weights.uniform(format!("{name}.bias"), &[outputs], inputs)?,
        })
    }

    fn forward(&self, inputs: &Tensor) -> Result<Tensor, Error> {
        Ok(inputs.f_linear(&self.weight, Some(&self.bias))?)
    }
}
