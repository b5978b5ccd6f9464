//! The inputs for a model: pictures, and files of values.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use lrpet_runtime::model::Shape;
use npyz::{DType, NpyFile, Order, TypeChar};
use walkdir::WalkDir;

use crate::{Preparation, picture};

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
    #[error("{}: {reason}", lrpet_report::visible_path(path))]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The array has another shape than the model takes, or the model takes no pictures.
    #[error(
        "{}: {found}, but the model takes {needed} (channels × height × width)",
        lrpet_report::visible_path(path)
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// What the file holds.
        found: String,
        /// What the model takes.
        needed: Shape,
    },
}

impl InputError {
    /// What is wrong, without the file's name.
    pub fn reason(&self) -> String {
        match self {
            InputError::Read { reason, .. } => reason.clone(),
            InputError::Shape { found, needed, .. } => {
                format!("{found}, but the model takes {needed} (channels × height × width)")
            }
        }
    }
}

/// The files that `path` names: itself, or where it is a folder all pictures in it and in the folders below, by name.
///
/// # Errors
/// [`InputError::Read`] where the folder cannot be read or has no picture.
pub fn input_files(path: &Path) -> Result<Vec<PathBuf>, InputError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let hidden = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with('.');
    let walk = WalkDir::new(path).follow_links(true).sort_by_file_name().into_iter();
    let mut files = Vec::new();
    for entry in walk.filter_entry(|entry| entry.depth() == 0 || !hidden(entry.file_name())) {
        let entry = entry.map_err(|error| InputError::Read {
            path: error.path().unwrap_or(path).to_owned(),
            reason: error.to_string(),
        })?;
        if entry.file_type().is_file() && picture::is_picture(entry.path()) {
            files.push(entry.into_path());
        }
    }
    if files.is_empty() {
        let reason = format!("no picture in this folder (files that end in {})", picture::ENDINGS.join(", "));
        return Err(InputError::Read { path: path.to_owned(), reason });
    }
    Ok(files)
}

/// Reads a picture (grey for one channel, colour for three), or an `.npy` of f32 `[N, c, h, w]` or `[c, h, w]` that is
/// normalised already. A picture is prepared as in testing where `test_resize` says how ([`Preparation::test_resize`]);
/// else it must have the model's size.
///
/// # Errors
/// [`InputError`] names the file.
pub fn read_input(path: &Path, shape: Shape, test_resize: Option<f64>) -> Result<Input, InputError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return read_npy(path, shape).map(Input::Values);
    }
    if !matches!(shape.channels, 1 | 3) {
        let found = "a picture, which has 1 or 3 channels".to_owned();
        return Err(InputError::Shape { path: path.to_owned(), found, needed: shape });
    }
    let picture = picture::read(path, shape.channels);
    let image = picture.and_then(|picture| {
        Preparation::for_model(shape, test_resize, [picture.height, picture.width])?.image(&picture)
    });
    image.map(Input::Image).map_err(|reason| InputError::Read { path: path.to_owned(), reason })
}

fn read_npy(path: &Path, shape: Shape) -> Result<Vec<Vec<f32>>, InputError> {
    let unreadable = |reason: String| InputError::Read { path: path.to_owned(), reason };
    let failed = |error: std::io::Error| unreadable(error.to_string());
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let array = NpyFile::new(BufReader::new(file)).map_err(failed)?;
    match array.dtype() {
        DType::Plain(kind) if kind.type_char() == TypeChar::Float && kind.size_field() == 4 => {}
        kind => return Err(unreadable(format!("an array of {}, not of f32", kind.descr()))),
    }
    let axes = [shape.channels, shape.height, shape.width].map(u64::from);
    let found = array.shape();
    let (images, one) = found.split_at(found.len().saturating_sub(3));
    if one != axes || images.len() > 1 {
        let found = format!("an array of shape {found:?}");
        return Err(InputError::Shape { path: path.to_owned(), found, needed: shape });
    }
    if images == [0] {
        return Err(unreadable("it holds no image".into()));
    }
    // Before memory is taken for what a header claims.
    if images.iter().any(|count| count.saturating_mul(shape.len() as u64) > size) {
        return Err(unreadable("the file is cut off".into()));
    }
    if array.order() != Order::C {
        return Err(unreadable("it must be in C order".into()));
    }
    let values = array.into_vec::<f32>().map_err(failed)?;
    Ok(values.chunks_exact(shape.len()).map(<[f32]>::to_vec).collect())
}
