//! A small residual network for small grey images (He et al. 2016, arXiv:1512.03385): a stem that
//! halves the image, then three blocks, of which the last two halve it again and double the channels.

use tch::{Device, Kind, Tensor};

use super::{Linear, Mode, Model, Weights};
use crate::Error;

/// Images in, class scores (logits) out.
#[derive(Debug)]
pub struct ResidualNet {
    weights: Weights,
    stem: Convolution,
    blocks: [Block; 3],
    head: Linear,
}

impl ResidualNet {
    /// A network with random initial weights, drawn from libtorch's generator. `width` is the
    /// number of channels after the stem.
    ///
    /// # Errors
    /// When the device has no memory left.
    pub fn new(width: i64, classes: i64, device: Device) -> Result<Self, Error> {
        let mut weights = Weights::new(device);
        let w = &mut weights;
        let stem = Convolution::new(w, "stem", (1, width), 3, 2)?;
        let blocks = [
            Block::new(w, "block1", (width, width), 1)?,
            Block::new(w, "block2", (width, 2 * width), 2)?,
            Block::new(w, "block3", (2 * width, 4 * width), 2)?,
        ];
        let head = Linear::new(w, "head", 4 * width, classes)?;
        Ok(Self { weights, stem, blocks, head })
    }
}

impl Model for ResidualNet {
    fn weights(&self) -> &Weights {
        &self.weights
    }

    fn forward(&self, inputs: &Tensor, mode: Mode) -> Result<Tensor, Error> {
        let mut x = self.stem.forward(inputs, mode)?.f_relu()?;
        for block in &self.blocks {
            x = block.forward(&x, mode)?;
        }
        let pooled = x.f_mean_dim([2_i64, 3].as_slice(), false, None::<Kind>)?;
        self.head.forward(&pooled)
    }
}

/// Two convolutions beside a shortcut.
#[derive(Debug)]
struct Block {
    first: Convolution,
    second: Convolution,
    shortcut: Option<Convolution>,
}

impl Block {
    fn new(
        weights: &mut Weights,
        name: &str,
        channels: (i64, i64),
        stride: i64,
    ) -> Result<Self, Error> {
        let (inputs, outputs) = channels;
        let same = inputs == outputs && stride == 1;
        Ok(Self {
            first: Convolution::new(weights, &format!("{name}.first"), channels, 3, stride)?,
            second: Convolution::new(weights, &format!("{name}.second"), (outputs, outputs), 3, 1)?,
            shortcut: if same {
                None
            } else {
                Some(Convolution::new(weights, &format!("{name}.shortcut"), channels, 1, stride)?)
            },
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, Error> {
        let y = self.first.forward(x, mode)?.f_relu()?;
        let y = self.second.forward(&y, mode)?;
        let sum = match &self.shortcut {
            Some(shortcut) => y.f_add(&shortcut.forward(x, mode)?)?,
            None => y.f_add(x)?,
        };
        Ok(sum.f_relu()?)
    }
}

/// A convolution without bias, and batch normalisation (Ioffe and Szegedy 2015, arXiv:1502.03167).
#[derive(Debug)]
struct Convolution {
    kernel: Tensor,
    stride: i64,
    padding: i64,
    scale: Tensor,
    shift: Tensor,
    mean: Tensor,
    variance: Tensor,
}

impl Convolution {
    fn new(
        weights: &mut Weights,
        name: &str,
        channels: (i64, i64),
        size: i64,
        stride: i64,
    ) -> Result<Self, Error> {
        let (inputs, outputs) = channels;
        let zeros = Tensor::f_zeros([outputs], (Kind::Float, Device::Cpu))?;
        let ones = Tensor::f_ones([outputs], (Kind::Float, Device::Cpu))?;
        Ok(Self {
            kernel: weights.he_normal(
                format!("{name}.conv.weight"),
                &[outputs, inputs, size, size],
                outputs * size * size,
            )?,
            stride,
            padding: size / 2,
            scale: weights.parameter(format!("{name}.norm.weight"), &ones.copy())?,
            shift: weights.parameter(format!("{name}.norm.bias"), &zeros.copy())?,
            mean: weights.buffer(format!("{name}.norm.running_mean"), &zeros.copy())?,
            variance: weights.buffer(format!("{name}.norm.running_var"), &ones.copy())?,
        })
    }

    fn forward(&self, x: &Tensor, mode: Mode) -> Result<Tensor, Error> {
        let (stride, padding) = ([self.stride; 2], [self.padding; 2]);
        let y = x.f_conv2d::<&Tensor>(&self.kernel, None, stride, padding, [1, 1], 1)?;
        let train = mode == Mode::Train;
        let (scale, shift, mean, variance) =
            (Some(&self.scale), Some(&self.shift), Some(&self.mean), Some(&self.variance));
        Ok(y.f_batch_norm(scale, shift, mean, variance, train, 0.1, 1e-5, true)?)
    }
}
