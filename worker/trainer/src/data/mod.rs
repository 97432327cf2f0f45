//! Data: reading, the order of samples, and batches. The order depends on seed and epoch alone,
//! never on what was drawn before, so a run resumed at any step sees the same batches.

mod idx;
mod order;

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::Error;
pub use order::Order;

/// Labelled images as stored: bytes, on the CPU.
#[derive(Debug)]
pub struct Dataset {
    images: Tensor,
    labels: Tensor,
    classes: i64,
    scaling: Scaling,
}

/// How bytes become network inputs: `(byte / 255 - mean) / std`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// Subtracted after scaling to 0…1.
    pub mean: f64,
    /// Divided by.
    pub std: f64,
}

/// One step's inputs (`[n, 1, rows, columns]`, f32) and labels (`[n]`, i64).
#[derive(Debug)]
pub struct Batch {
    /// Scaled images.
    pub inputs: Tensor,
    /// Class numbers.
    pub targets: Tensor,
}

/// Fashion-MNIST's pixel statistics over its training set (Xiao et al. 2017, arXiv:1708.07747).
pub const FASHION_MNIST: Scaling = Scaling { mean: 0.2860, std: 0.3530 };

/// Which half of a dataset folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// `train-*`
    Train,
    /// `t10k-*`
    Test,
}

impl Dataset {
    /// Reads `{train,t10k}-images-idx3-ubyte.gz` and `…-labels-idx1-ubyte.gz` from `folder`.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Data`] with file and offset.
    pub fn load(folder: &Path, split: Split, scaling: Scaling) -> Result<Self, Error> {
        let prefix = match split {
            Split::Train => "train",
            Split::Test => "t10k",
        };
        let images_path = folder.join(format!("{prefix}-images-idx3-ubyte.gz"));
        let labels_path = folder.join(format!("{prefix}-labels-idx1-ubyte.gz"));
        let images = idx::read(&images_path, 3)?;
        let labels = idx::read(&labels_path, 1)?;
        let [count, rows, columns] = images.shape.as_slice() else {
            return Err(images.bad_shape(&images_path));
        };
        if labels.shape.first() != Some(count) {
            return Err(Error::Data {
                path: labels_path,
                offset: 4,
                why: format!(
                    "{} labels for {count} images",
                    labels.shape.first().copied().unwrap_or(0)
                ),
            });
        }
        let classes = i64::from(labels.bytes.iter().max().copied().unwrap_or(0)) + 1;
        let images =
            Tensor::f_from_data_size(&images.bytes, &[*count, 1, *rows, *columns], Kind::Uint8)?;
        let labels = Tensor::f_from_data_size(&labels.bytes, &[*count], Kind::Uint8)?
            .f_to_kind(Kind::Int64)?;
        Ok(Self { images, labels, classes, scaling })
    }

    /// How many samples.
    pub fn len(&self) -> usize {
        self.labels.size().first().and_then(|n| usize::try_from(*n).ok()).unwrap_or(0)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many classes the labels name.
    pub fn classes(&self) -> i64 {
        self.classes
    }

    /// Rows and columns of each image.
    pub fn image_size(&self) -> (i64, i64) {
        match self.images.size().as_slice() {
            [_, _, rows, columns] => (*rows, *columns),
            _ => (0, 0),
        }
    }

    /// How bytes are scaled.
    pub fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// The named samples, scaled, on `device`.
    ///
    /// # Errors
    /// When an index is out of range or the device has no memory left.
    pub fn batch(&self, indices: &[i64], device: Device) -> Result<Batch, Error> {
        let indices = Tensor::f_from_slice(indices)?;
        let bytes = self.images.f_index_select(0, &indices)?.f_to_device(device)?;
        let inputs = bytes
            .f_to_kind(Kind::Float)?
            .f_div_scalar(255.0)?
            .f_sub_scalar(self.scaling.mean)?
            .f_div_scalar(self.scaling.std)?;
        let targets = self.labels.f_index_select(0, &indices)?.f_to_device(device)?;
        Ok(Batch { inputs, targets })
    }
}
