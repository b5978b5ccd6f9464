//! One picture file, PNG or JPEG, as pixels of one or three bytes.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::jpeg;

/// Most pixels of a picture that is decoded: more is a damaged header rather than a photograph.
const MAX_PIXELS: u64 = 1 << 28;

/// A decoded picture, turned as its EXIF orientation says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes a pixel: 1 (grey) or 3 (red, green, blue).
    pub channels: u32,
    /// The pixels, H×W×C.
    pub pixels: Vec<u8>,
}

/// What a file says of its picture before it is decoded; width and height without EXIF orientation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Grey, without colours.
    pub grey: bool,
}

/// Reads the header of a PNG or JPEG, told by content and not by name.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn header(path: &Path) -> Result<Header, String> {
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let header = match format(file.fill_buf().map_err(unreadable)?)? {
        ImageFormat::Jpeg => jpeg::header(&mut file)?,
        _ => {
            let decoder = PngDecoder::new(file).map_err(|error| format!("not a whole PNG ({error})"))?;
            let (width, height) = decoder.dimensions();
            Header { width, height, grey: !decoder.color_type().has_color() }
        }
    };
    check_size(header.width, header.height)?;
    Ok(header)
}

/// Decodes a PNG or JPEG to 1 (grey) or 3 (RGB) bytes a pixel: 16-bit values lose their low bytes, CMYK becomes RGB,
/// transparency is dropped.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn read(path: &Path, channels: u32) -> Result<Picture, String> {
    decode(&std::fs::read(path).map_err(unreadable)?, channels)
}

/// [`read`] of the bytes of a file.
pub(super) fn decode(bytes: &[u8], channels: u32) -> Result<Picture, String> {
    let format = format(bytes)?;
    if format == ImageFormat::Jpeg && !jpeg::is_whole(bytes) {
        return Err("truncated JPEG (it does not reach its end marker)".into());
    }
    let failed = |error: image::ImageError| format!("cannot be decoded ({error})");
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let orientation = decoder.orientation().map_err(failed)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let pixels = if channels == 1 { picture.into_luma8().into_raw() } else { picture.into_rgb8().into_raw() };
    Ok(Picture { width, height, channels, pixels })
}

/// The format that the first bytes of a file tell.
fn format(start: &[u8]) -> Result<ImageFormat, String> {
    if start.is_empty() {
        return Err("the file is empty".into());
    }
    match image::guess_format(start) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok(format),
        Ok(other) => Err(format!("a picture of format {other:?}; PNG and JPEG are read")),
        Err(_) => Err("not a picture (it starts neither as PNG nor as JPEG)".into()),
    }
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err(format!("a picture of {width}×{height} pixels")),
        pixels if pixels > MAX_PIXELS => Err(format!("a picture of {width}×{height} pixels is too large")),
        _ => Ok(()),
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read ({error})")
}
