//! One input for a model: a picture, or a file of values.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use lrpet_runtime::model::Shape;

use crate::data::{Preparation, files, picture};

/// What a model runs on.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Pixels, h·w·c bytes, to be normalised by the model's own mean and standard deviation.
    Image(Vec<u8>),
    /// Images of c·h·w values each, normalised already.
    Values(Vec<Vec<f32>>),
}

/// Why an input cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The file cannot be read or decoded.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The picture or the array has another shape than the model takes.
    #[error("{}: {found}, but the model takes {needed} (channels × height × width)", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What the model takes.
        needed: Shape,
    },
}

/// Reads a PNG or JPEG (grey for one channel, colour for three), or an `.npy` of f32 `[N, c, h, w]` or `[c, h, w]` that
/// is normalised already. A picture has the model's size, or is prepared as in testing where `test_resize` says how
/// ([`Preparation::test_resize`]).
///
/// # Errors
/// [`InputError`] names the file.
pub fn read_input(path: &Path, shape: Shape, test_resize: Option<f64>) -> Result<Input, InputError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        read_npy(path, shape).map(Input::Values)
    } else {
        read_picture(path, shape, test_resize).map(Input::Image)
    }
}

fn read_picture(path: &Path, shape: Shape, test_resize: Option<f64>) -> Result<Vec<u8>, InputError> {
    let unreadable = |reason: String| InputError::Read { path: path.to_owned(), reason };
    let wrong = |found: String| InputError::Shape { path: path.to_owned(), found, needed: shape };
    if !matches!(shape.channels, 1 | 3) {
        return Err(wrong("a picture, which has 1 or 3 channels".into()));
    }
    let read = picture::read(path, shape.channels).map_err(unreadable)?;
    if (read.height, read.width) == (shape.height, shape.width) {
        return Ok(read.pixels);
    }
    match test_resize {
        Some(test_resize) => {
            files::prepare(&read, &Preparation { shape, test_resize, test_share: None }).map_err(unreadable)
        }
        None => Err(wrong(format!("a picture of {}×{} pixels (height × width)", read.height, read.width))),
    }
}

fn read_npy(path: &Path, shape: Shape) -> Result<Vec<Vec<f32>>, InputError> {
    let unreadable = |reason: String| InputError::Read { path: path.to_owned(), reason };
    let array = Tensor::read_npy(path).map_err(|error| unreadable(error.to_string()))?;
    if array.dtype() != DType::F32 {
        return Err(unreadable(format!("an array of {:?}, not of f32", array.dtype())));
    }
    let axes = [shape.channels, shape.height, shape.width].map(|axis| axis as usize);
    let fits = match array.dims() {
        [_, rest @ ..] if rest.len() == 3 => rest == axes,
        dims => dims == axes,
    };
    if !fits {
        let found = format!("an array of shape {:?}", array.dims());
        return Err(InputError::Shape { path: path.to_owned(), found, needed: shape });
    }
    let values = array.flatten_all().and_then(|flat| flat.to_vec1::<f32>());
    let values = values.map_err(|error| unreadable(error.to_string()))?;
    Ok(values.chunks_exact(shape.len()).map(<[f32]>::to_vec).collect())
}
