//! Reads safetensors.

use lrpet_runtime::model::program::PROGRAM_TENSOR;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::{Array, Checkpoint, CheckpointError, Float, torch};

/// First bytes of an HDF5 file.
const HDF5: &[u8] = b"\x89HDF";

impl Checkpoint {
    /// The tensors and the metadata as a safetensors file.
    ///
    /// # Errors
    /// [`CheckpointError::Unwritable`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, CheckpointError> {
        let fails =
            |error: safetensors::SafeTensorError| CheckpointError::Unwritable { reason: error.to_string() };
        let bytes: Vec<(&String, &Array, Vec<u8>)> = (self.tensors.iter())
            .map(|(name, array)| {
                (name, array, array.values.iter().flat_map(|value| value.to_le_bytes()).collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, array, data)| {
            Ok((name.as_str(), TensorView::new(Dtype::F32, array.shape.clone(), data)?))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(fails)?;
        let metadata = (!self.metadata.is_empty()).then(|| self.metadata.clone().into_iter().collect());
        safetensors::serialize(views, metadata).map_err(fails)
    }
}

/// The tensors of a safetensors file.
///
/// # Errors
/// What is wrong with the bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Checkpoint, String> {
    if torch::is_legacy(bytes) {
        return Err(torch::LEGACY.to_owned());
    }
    if bytes.starts_with(HDF5) {
        return Err("it is an HDF5 file, as Keras writes it; save its tensors as safetensors".to_owned());
    }
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    // A safetensors file begins with the length of its header, which is JSON.
    if bytes.get(8) != Some(&b'{') {
        return Err(
            "it is neither safetensors nor a PyTorch file; save the network's state_dict as one of these"
                .to_owned(),
        );
    }
    let fails = |error: safetensors::SafeTensorError| format!("as safetensors: {error}");
    let file = SafeTensors::deserialize(bytes).map_err(fails)?;
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(fails)?;
    let mut checkpoint = Checkpoint::default();
    for (name, view) in file.iter() {
        if name == PROGRAM_TENSOR {
            return Err("it is a model file already; give the checkpoint that it was made from".to_owned());
        }
        let float = match view.dtype() {
            Dtype::F16 => Float::F16,
            Dtype::BF16 => Float::BF16,
            Dtype::F32 => Float::F32,
            Dtype::F64 => Float::F64,
            other => {
                checkpoint.others.insert(name.to_owned(), format!("{other:?}"));
                continue;
            }
        };
        let array = Array { shape: view.shape().to_vec(), values: float.values(view.data()) };
        checkpoint.tensors.insert(name.to_owned(), array);
    }
    for (key, value) in header.metadata().iter().flatten() {
        // PyTorch's `save_model` keeps one of several names of a tensor, and notes the others so.
        let known = |name: &String| file.tensor(name).is_ok();
        if known(value) && !known(key) {
            checkpoint.tied.insert(key.clone(), value.clone());
        }
        checkpoint.metadata.insert(key.clone(), value.clone());
    }
    Ok(checkpoint)
}
