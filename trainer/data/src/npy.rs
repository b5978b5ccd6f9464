//! Arrays of NumPy's, checked before memory is taken for them.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use half::f16;
use lrpet_runtime::host::npy as header;
use lrpet_runtime::model::Shape;
use npyz::{DType, Deserialize, NpyFile, Order, TypeChar};

use crate::DataError;

/// Axes of an array of samples.
pub(crate) const SAMPLES: &str = "samples are [N, C, H, W], [N, C, W] or [N, W], and no axis is empty";

/// Largest value of f16, in which models take their input.
const LARGEST: f32 = 65_504.0;

/// How many samples an array of these axes holds, and the shape of each: `[N, C, H, W]`, `[N, C, W]` (of height 1) or `[N, W]` (of one
/// channel too); none of other axes, and where a sample has no value.
pub(crate) fn samples(axes: &[usize]) -> Option<(usize, Shape)> {
    let (samples, sides) = match *axes {
        [samples, width] => (samples, [1, 1, width]),
        [samples, channels, width] => (samples, [channels, 1, width]),
        [samples, channels, height, width] => (samples, [channels, height, width]),
        _ => return None,
    };
    let [channels, height, width] = sides.map(|side| u32::try_from(side).ok().filter(|side| *side > 0));
    Some((samples, Shape::new(channels?, height?, width?)))
}

/// Why samples of `shape` cannot be the input of a model, of the first value that is at fault.
pub(crate) fn beyond(values: &[f32], shape: Shape) -> Option<String> {
    let at = values.iter().position(|value| !(-LARGEST..=LARGEST).contains(value))?;
    let (sample, value) = (at / shape.len(), values[at]);
    Some(match value.is_finite() {
        true => format!(
            "{value} in sample {sample} is beyond f16 (65504), in which models take their input: scale the values"
        ),
        false => format!("{value} in sample {sample}: leave such samples out, or say what stands for it"),
    })
}

/// The array of a file, whose numbers are not read yet.
pub(crate) struct Array {
    path: PathBuf,
    file: NpyFile<BufReader<File>>,
    /// Kind of number, and its bytes.
    kind: (TypeChar, u64),
}

impl Array {
    /// Opens an array of numbers or strings in C order, as long as its header claims.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Format`].
    pub fn open(path: &Path) -> Result<Array, DataError> {
        let io = |source| DataError::Io { path: path.to_owned(), source };
        let refuse = |reason: String| DataError::Format { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut file = BufReader::with_capacity(header::START, file);
        header::check_header(file.fill_buf().map_err(io)?).map_err(refuse)?;
        let file = NpyFile::new(file).map_err(|error| {
            let error = header::reason(&error);
            refuse(format!(
                "no array that can be read ({error}); save one of numbers: array.astype(\"float32\")"
            ))
        })?;
        let DType::Plain(plain) = file.dtype() else {
            return Err(refuse(format!("an array of records ({}), not of numbers", file.dtype().descr())));
        };
        let bytes = file.shape().iter().try_fold(plain.size_field(), |bytes, &axis| bytes.checked_mul(axis));
        if bytes.is_none_or(|bytes| bytes > size) {
            return Err(refuse(format!("the file is cut off: shape {:?} needs more bytes", file.shape())));
        }
        if file.order() != Order::C {
            return Err(refuse("it is in Fortran order: save numpy.ascontiguousarray(array)".to_owned()));
        }
        Ok(Array { path: path.to_owned(), kind: (plain.type_char(), plain.size_field()), file })
    }

    /// Its axes.
    pub fn shape(&self) -> Vec<usize> {
        // Each is at most the file's size, or the array is empty.
        self.file.shape().iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect()
    }

    /// Whether its numbers are bytes.
    pub fn is_bytes(&self) -> bool {
        self.kind == (TypeChar::Uint, 1)
    }

    /// Its numbers, of u8.
    ///
    /// # Errors
    /// [`DataError::Format`] where it has others.
    pub fn bytes(self) -> Result<Vec<u8>, DataError> {
        self.read(|value| value)
    }

    /// Its numbers, of f32, f16 or u8.
    ///
    /// # Errors
    /// [`DataError::Format`] where it has others.
    pub fn numbers(self) -> Result<Vec<f32>, DataError> {
        match self.kind {
            (TypeChar::Float, 4) => self.read::<f32, _>(|value| value),
            (TypeChar::Float, 2) => self.read(f16::to_f32),
            (TypeChar::Uint, 1) => self.read::<u8, _>(f32::from),
            _ => Err(self.of_others("values are f32, f16 or u8: array.astype(\"float32\")")),
        }
    }

    /// Its numbers as classes below `most`.
    ///
    /// # Errors
    /// [`DataError::Format`] where they are no whole numbers, or out of range.
    pub fn labels(self, most: usize) -> Result<Vec<u32>, DataError> {
        let path = self.path.clone();
        let found: Vec<i128> = match self.kind {
            (TypeChar::Int, 1) => self.read::<i8, _>(i128::from),
            (TypeChar::Int, 2) => self.read::<i16, _>(i128::from),
            (TypeChar::Int, 4) => self.read::<i32, _>(i128::from),
            (TypeChar::Int, 8) => self.read::<i64, _>(i128::from),
            (TypeChar::Uint, 1) => self.read::<u8, _>(i128::from),
            (TypeChar::Uint, 2) => self.read::<u16, _>(i128::from),
            (TypeChar::Uint, 4) => self.read::<u32, _>(i128::from),
            (TypeChar::Uint, 8) => self.read::<u64, _>(i128::from),
            _ => Err(self.of_others("classes are whole numbers from 0: array.astype(\"int64\")")),
        }?;
        let label = |(sample, &label): (usize, &i128)| {
            u32::try_from(label).ok().filter(|label| (*label as usize) < most).ok_or_else(|| {
                DataError::Format {
                    path: path.clone(),
                    reason: format!(
                        "label {label} of sample {sample}: classes are numbered from 0, and below {most}"
                    ),
                }
            })
        };
        found.iter().enumerate().map(label).collect()
    }

    fn read<T: Deserialize, V>(self, value: impl Fn(T) -> V) -> Result<Vec<V>, DataError> {
        let failed = |error: std::io::Error| {
            let reason = match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "the file is cut off".to_owned(),
                _ => format!("it cannot be read: {error}"),
            };
            DataError::Format { path: self.path.clone(), reason }
        };
        let numbers = self.file.data::<T>().map_err(|error| failed(std::io::Error::other(error)))?;
        numbers.map(|number| number.map(&value).map_err(failed)).collect()
    }

    fn of_others(&self, wanted: &str) -> DataError {
        let reason = format!("an array of {}; {wanted}", self.file.dtype().descr());
        DataError::Format { path: self.path.clone(), reason }
    }
}
