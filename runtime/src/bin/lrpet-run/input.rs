//! Images from files: `.npy`, or raw bytes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use lrpet_runtime::host::npy;
use lrpet_runtime::model::Shape;
use lrpet_runtime::session::{RunError, Session};
use npyz::{DType, NpyFile, Order, TypeChar};

/// One or more images of the model's input shape.
pub enum Images {
    /// Bytes, h·w·c each; the session normalises them.
    Bytes(Vec<u8>),
    /// Values that are normalised already, c·h·w each.
    Values(Vec<f32>),
}

impl Images {
    /// Reads the file at `path`: a `.npy` of f32 `[N,] C, H, W` or of u8 `[N,] H, W, C`, or else raw bytes, h·w·c for
    /// each image.
    pub fn read(path: &Path, input: Shape) -> Result<Images> {
        let images = if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy")) {
            Self::read_npy(path, input)
        } else {
            Self::read_raw(path, input)
        };
        images.with_context(|| format!("cannot read images from {}", path.display()))
    }

    fn read_raw(path: &Path, input: Shape) -> Result<Images> {
        let bytes = std::fs::read(path)?;
        let Shape { channels, height, width } = input;
        ensure!(
            !bytes.is_empty() && bytes.len().is_multiple_of(input.len()),
            "{} bytes are no whole number of images of {height}×{width}×{channels} bytes",
            bytes.len()
        );
        Ok(Images::Bytes(bytes))
    }

    fn read_npy(path: &Path, input: Shape) -> Result<Images> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let mut file = BufReader::with_capacity(npy::START, file);
        npy::check_header(file.fill_buf()?).map_err(Error::msg)?;
        let npy = NpyFile::new(file)
            .map_err(|error| anyhow!("no array that can be read ({})", npy::reason(&error)))?;
        let DType::Plain(dtype) = npy.dtype() else { bail!("its dtype must be f32 or u8") };
        let Shape { channels, height, width } = input;
        let floats = dtype.type_char() == TypeChar::Float && dtype.size_field() == 4;
        let bytes = dtype.type_char() == TypeChar::Uint && dtype.size_field() == 1;
        ensure!(floats || bytes, "its dtype must be f32 or u8");
        let image = if floats { [channels, height, width] } else { [height, width, channels] }.map(u64::from);
        let shape = npy.shape();
        let (batch, one) = shape.split_at(shape.len().saturating_sub(3));
        ensure!(
            one == image && batch.len() <= 1,
            "its shape is {shape:?} and must be {image:?}, or N of these"
        );
        ensure!(batch.iter().all(|n| n.saturating_mul(input.len() as u64) <= size), "the file is cut off");
        ensure!(batch != [0], "it holds no image");
        ensure!(npy.order() == Order::C, "it must be in C order");
        if !floats {
            return Ok(Images::Bytes(npy.into_vec()?));
        }
        let values: Vec<f32> = npy.into_vec()?;
        let far = values.iter().find(|value| value.is_finite() && value.abs() > 65_504.0);
        ensure!(
            far.is_none(),
            "{} is beyond f16 (65504), in which models take their input",
            far.unwrap_or(&0.0)
        );
        Ok(Images::Values(values))
    }

    /// Number of images of `input`.
    pub fn count(&self, input: Shape) -> usize {
        match self {
            Images::Bytes(bytes) => bytes.len() / input.len(),
            Images::Values(values) => values.len() / input.len(),
        }
    }

    /// Runs `session` on image `i`.
    pub fn infer(
        &self,
        i: usize,
        session: &mut Session<'_>,
        logits: &mut [f32],
        input: Shape,
    ) -> Result<(), RunError> {
        let range = i * input.len()..(i + 1) * input.len();
        match self {
            Images::Bytes(bytes) => session.run_image(&bytes[range], logits, &mut ()),
            Images::Values(values) => session.run_values(&values[range], logits, &mut ()),
        }
    }
}
