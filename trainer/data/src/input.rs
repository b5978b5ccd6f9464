//! The inputs for a model: pictures, and files of values.

use std::path::{Path, PathBuf};

use lrpet_runtime::model::{InputKind, Shape};
use walkdir::WalkDir;

use crate::npy::{self, Array};
use crate::{DataError, Preparation, picture};

/// What a model runs on.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Images of h·w·c bytes each, to be normalised by the model's own mean and standard deviation.
    Images(Vec<Vec<u8>>),
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
    fn of(path: &Path, error: DataError) -> InputError {
        let reason = match error {
            DataError::Io { source, .. } => source.to_string(),
            DataError::Format { reason, .. } => reason,
            other => other.to_string(),
        };
        InputError::Read { path: path.to_owned(), reason }
    }

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

/// Reads a picture (grey for one channel, colour for three), or an `.npy`. One of f32, or for a model of values of f16 or u8, is
/// normalised already: `[N, c, h, w]`, `[c, h, w]` or, of height 1, `[N, c, w]`, and of one channel too `[N, w]`. One of u8 for a model of
/// pictures (`kind`) is pixels, `[N, h, w, c]` or `[h, w, c]`, whose last axis one channel does not need. A picture is prepared as in testing where `test_resize` says how ([`Preparation::test_resize`]);
/// else it must have the model's size.
///
/// # Errors
/// [`InputError`] names the file.
pub fn read_input(
    path: &Path,
    kind: InputKind,
    shape: Shape,
    test_resize: Option<f64>,
) -> Result<Input, InputError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
        return read_npy(path, kind, shape);
    }
    if !matches!(shape.channels, 1 | 3) {
        let found = "a picture, which has 1 or 3 channels".to_owned();
        return Err(InputError::Shape { path: path.to_owned(), found, needed: shape });
    }
    let picture = picture::read(path, shape.channels);
    let image = picture.and_then(|picture| {
        Preparation::for_model(shape, test_resize, [picture.height, picture.width])?.image(&picture)
    });
    image
        .map(|image| Input::Images(vec![image]))
        .map_err(|reason| InputError::Read { path: path.to_owned(), reason })
}

fn read_npy(path: &Path, kind: InputKind, shape: Shape) -> Result<Input, InputError> {
    let failed = |error| InputError::of(path, error);
    let refuse = |reason: String| InputError::Read { path: path.to_owned(), reason };
    let array = Array::open(path).map_err(failed)?;
    let axes = array.shape();
    if kind == InputKind::Picture && array.is_bytes() {
        let Some(images) = pixels(&axes, shape) else {
            let Shape { channels, height, width } = shape;
            return Err(refuse(format!(
                "bytes of shape {axes:?} are no pixels of this model, whose arrays of u8 are [N, {height}, {width}, {channels}]; an \
                 array [N, C, H, W] becomes one by transpose(0, 2, 3, 1), and values that are normalised are f32"
            )));
        };
        if images == 0 {
            return Err(refuse("it holds no image".to_owned()));
        }
        let bytes = array.bytes().map_err(failed)?;
        return Ok(Input::Images(bytes.chunks_exact(shape.len()).map(<[u8]>::to_vec).collect()));
    }
    let one = shape.axes().iter().map(|&side| side as usize).eq(axes.iter().copied());
    let (images, found) = match one {
        true => (1, Some(shape)),
        false => npy::samples(&axes).map_or((0, None), |(images, found)| (images, Some(found))),
    };
    if found != Some(shape) {
        let found = format!("an array of shape {axes:?}");
        return Err(InputError::Shape { path: path.to_owned(), found, needed: shape });
    }
    if images == 0 {
        return Err(refuse("it holds no image".to_owned()));
    }
    let values = array.numbers().map_err(failed)?;
    if let Some(reason) = npy::beyond(&values, shape) {
        return Err(refuse(reason));
    }
    Ok(Input::Values(values.chunks_exact(shape.len()).map(<[f32]>::to_vec).collect()))
}

/// How many images of `shape` an array of pixels with these axes holds; none of other axes. Of one channel the order of the axes is one.
fn pixels(axes: &[usize], shape: Shape) -> Option<usize> {
    let Shape { channels, height, width } = shape;
    let [channels, height, width] = [channels, height, width].map(|side| side as usize);
    let image = |axes: &[usize]| {
        axes == [height, width, channels]
            || channels == 1 && (axes == [height, width] || axes == [1, height, width])
    };
    match axes {
        whole if image(whole) => Some(1),
        [images, one @ ..] if image(one) => Some(*images),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use half::f16;
    use npyz::WriterBuilder;

    use super::*;

    #[test]
    fn arrays_are_what_a_training_reads() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.npy");
        fn write<T: npyz::AutoSerialize + Copy>(path: &Path, axes: &[u64], values: &[T]) {
            let mut bytes = Vec::new();
            let mut writer =
                npyz::WriteOptions::new().default_dtype().shape(axes).writer(&mut bytes).begin_nd().unwrap();
            writer.extend(values.iter().copied()).unwrap();
            writer.finish().unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let read = |shape: Shape| read_input(&path, InputKind::Values, shape, None);
        let wide = Shape::new(1, 1, 3);
        let two = Input::Values(vec![vec![0.0, 1.0, 2.0], vec![3.0, 4.0, 5.0]]);
        for axes in [&[2, 3][..], &[2, 1, 3], &[2, 1, 1, 3]] {
            write(&path, axes, &[0_u8, 1, 2, 3, 4, 5]);
            assert_eq!(read(wide).unwrap(), two, "{axes:?}");
            write(&path, axes, &[0, 1, 2, 3, 4, 5].map(|value| f16::from_f32(value as f32)));
            assert_eq!(read(wide).unwrap(), two, "{axes:?}");
        }
        // One image, whose axes are not taken for those of signals.
        write(&path, &[2, 1, 3], &[0.0_f32; 6]);
        assert_eq!(read(Shape::new(2, 1, 3)).unwrap(), Input::Values(vec![vec![0.0; 6]]));
        for (axes, values, said) in [
            (&[2, 1, 3][..], 6, "2, 1, 3"),
            (&[3], 3, "[3]"),
            (&[0, 4], 0, "no image"),
            (&[1, 1, 1, 1, 4], 4, "1, 1, 1, 1, 4"),
        ] {
            write(&path, axes, &vec![0.0_f32; values]);
            let error = read(Shape::new(1, 1, 4)).unwrap_err().to_string();
            assert!(error.contains("x.npy") && error.contains(said), "{error}");
        }
        write(&path, &[2, 4], &[0.0, 0.0, 0.0, 0.0, 0.0, 1e30, 0.0, 0.0_f32]);
        let error = read(Shape::new(1, 1, 4)).unwrap_err().to_string();
        assert!(error.contains("in sample 1 is beyond f16"), "{error}");
        write(&path, &[1, 4], &[0.0_f64; 4]);
        let error = read(Shape::new(1, 1, 4)).unwrap_err().to_string();
        assert!(error.contains("x.npy: an array of '<f8'; values are f32, f16 or u8"), "{error}");

        // Bytes are pixels where the model takes pictures, in the order of pixels.
        let read = |shape: Shape| read_input(&path, InputKind::Picture, shape, None);
        let bytes: Vec<u8> = (0..12).collect();
        for (axes, shape, images) in [
            (&[2, 3, 2, 1][..], Shape::new(1, 3, 2), 2),
            (&[2, 3, 2], Shape::new(1, 3, 2), 2),
            (&[2, 1, 3, 2], Shape::new(1, 3, 2), 2),
            (&[4, 3], Shape::new(1, 4, 3), 1),
            (&[2, 2, 3], Shape::new(3, 2, 2), 1),
            (&[1, 2, 2, 3], Shape::new(3, 2, 2), 1),
        ] {
            write(&path, axes, &bytes);
            let expected = bytes.chunks_exact(12 / images).map(<[u8]>::to_vec).collect();
            assert_eq!(read(shape).unwrap(), Input::Images(expected), "{axes:?}");
        }
        write(&path, &[1, 3, 2, 2], &bytes);
        let error = read(Shape::new(3, 2, 2)).unwrap_err().to_string();
        assert!(error.contains("[N, 2, 2, 3]") && error.contains("transpose"), "{error}");
        write(&path, &[1, 3, 2, 2], &[0.5_f32; 12]);
        assert_eq!(read(Shape::new(3, 2, 2)).unwrap(), Input::Values(vec![vec![0.5; 12]]));
    }
}
