//! A plain perceptron with two hidden layers: what the step-rate benchmark trains.

use tch::{Device, Tensor};

use super::{Linear, Mode, Model, Weights};
use crate::Error;

/// `width → width → width → classes`, with ReLU between.
#[derive(Debug)]
pub struct Mlp {
    weights: Weights,
    layers: [Linear; 3],
}

impl Mlp {
    /// A network with random initial weights, drawn from libtorch's generator.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(width: i64, classes: i64, device: Device) -> Result<Self, Error> {
        let mut weights = Weights::new(device);
        let layers = [
            Linear::new(&mut weights, "0", width, width)?,
            Linear::new(&mut weights, "2", width, width)?,
            Linear::new(&mut weights, "4", width, classes)?,
        ];
        Ok(Self { weights, layers })
    }
}

impl Model for Mlp {
    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn forward(&self, inputs: &Tensor, _mode: Mode) -> Result<Tensor, Error> {
        let [first, second, last] = &self.layers;
        last.forward(&second.forward(&first.forward(inputs)?.f_relu()?)?.f_relu()?)
    }
}
