//! Tensors to and from safetensors bytes.

use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use tch::{Device, Kind, Tensor};

use crate::Error;

/// Serialises f32 tensors by name. Equal tensors give equal bytes.
///
/// # Errors
/// When a tensor is not f32.
pub fn to_safetensors<'a, N: AsRef<str>>(
    named: impl Iterator<Item = (N, &'a Tensor)>,
) -> Result<Vec<u8>, Error> {
    let mut raw = Vec::new();
    for (name, tensor) in named {
        let host = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        if host.f_kind()? != Kind::Float {
            return Err(tch::TchError::Kind(format!("{} is not f32", name.as_ref())).into());
        }
        let shape: Vec<usize> =
            host.size().iter().filter_map(|n| usize::try_from(*n).ok()).collect();
        let count = host.numel();
        let mut bytes = vec![0; count * 4];
        host.f_copy_data_u8(&mut bytes, count)?;
        raw.push((name.as_ref().to_owned(), shape, bytes));
    }
    let refuse =
        |e: safetensors::SafeTensorError| Error::from(tch::TchError::FileFormat(e.to_string()));
    let views = raw
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(refuse)?))
        })
        .collect::<Result<Vec<_>, Error>>()?;
    safetensors::serialize(views, None).map_err(refuse)
}

/// Copies the tensors in `bytes` into those of `named`, which must all be there with their shapes.
///
/// # Errors
/// [`Error::Checkpoint`] naming the file and the tensor.
pub fn from_safetensors<'a, N: AsRef<str>>(
    path: &Path,
    bytes: &[u8],
    named: impl Iterator<Item = (N, &'a Tensor)>,
) -> Result<(), Error> {
    let refuse = |why: String| Error::Checkpoint { path: path.to_owned(), why };
    let stored = SafeTensors::deserialize(bytes)
        .map_err(|e| refuse(format!("not a safetensors file: {e}")))?;
    let mut count = 0;
    for (name, target) in named {
        let name = name.as_ref();
        let view = stored.tensor(name).map_err(|_| refuse(format!("has no tensor {name}")))?;
        let shape: Vec<i64> = view.shape().iter().filter_map(|n| i64::try_from(*n).ok()).collect();
        if view.dtype() != Dtype::F32 || shape != target.size() {
            return Err(refuse(format!(
                "{name} is {:?} {shape:?}, but this model needs F32 {:?}: was `width` changed?",
                view.dtype(),
                target.size()
            )));
        }
        let source = Tensor::f_from_data_size(view.data(), &shape, Kind::Float)?;
        tch::no_grad(|| target.shallow_clone().f_copy_(&source))?;
        count += 1;
    }
    if stored.len() != count {
        return Err(refuse(format!("holds {} tensors where this model has {count}", stored.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_wrong_shape_is_named() {
        let tensor = Tensor::from_slice(&[1.5f32, -2.0, 3.25]);
        let bytes = to_safetensors([("a", &tensor)].into_iter()).unwrap();
        let target = Tensor::zeros([3], (Kind::Float, Device::Cpu));
        let path = Path::new("m.safetensors");
        from_safetensors(path, &bytes, [("a", &target)].into_iter()).unwrap();
        assert_eq!(target, tensor);
        let small = Tensor::zeros([2], (Kind::Float, Device::Cpu));
        let error = from_safetensors(path, &bytes, [("a", &small)].into_iter()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "checkpoint m.safetensors: a is F32 [3], but this model needs F32 [2]: was `width` changed?"
        );
        assert!(from_safetensors(path, b"junk", [("a", &small)].into_iter()).is_err());
    }
}
