//! One input for a model: a picture, or a file of values.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use lrpet_runtime::model::Shape;

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

/// Reads a PNG or JPEG of the model's size (grey for one channel, colour for three), or an `.npy` of f32 `[N, c, h, w]`
/// or `[c, h, w]` that is normalised already.
///
/// # Errors
/// [`InputError`] names the file.
pub fn read_input(path: &Path, shape: Shape) -> Result<Input, InputError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        read_npy(path, shape).map(Input::Values)
    } else {
        read_picture(path, shape).map(Input::Image)
    }
}

fn read_picture(path: &Path, shape: Shape) -> Result<Vec<u8>, InputError> {
    let unreadable = |reason: String| InputError::Read { path: path.to_owned(), reason };
    let reader = image::ImageReader::open(path).map_err(|error| unreadable(error.to_string()))?;
    let reader = reader.with_guessed_format().map_err(|error| unreadable(error.to_string()))?;
    let picture = reader.decode().map_err(|error| unreadable(error.to_string()))?;
    let wrong = |found: String| InputError::Shape { path: path.to_owned(), found, needed: shape };
    if (picture.height(), picture.width()) != (shape.height, shape.width) {
        return Err(wrong(format!(
            "a picture of {}×{} pixels (height × width)",
            picture.height(),
            picture.width()
        )));
    }
    match shape.channels {
        1 => Ok(picture.into_luma8().into_raw()),
        3 => Ok(picture.into_rgb8().into_raw()),
        _ => Err(wrong("a picture, which has 1 or 3 channels".into())),
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
