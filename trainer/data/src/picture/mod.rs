//! One picture file as pixels of one or three bytes: PNG, JPEG, WebP, BMP or TIFF.
//!
//! What is done to it is written in `docs/pictures.md`.

mod format;
mod pixels;
mod png;

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::header::Header;
use super::jpeg;

pub use format::{ENDINGS, is_picture, unread};

/// Most pixels of a picture that is decoded: more is a damaged header rather than a photograph.
const MAX_PIXELS: u64 = 1 << 28;
/// Most bytes that one picture may take while it is decoded.
const MAX_BYTES: u64 = 1 << 30;
/// Pictures of more pixels are decoded one at a time, so that the memory of several threads does not add up.
const LARGE: u64 = 1 << 25;
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// Most pixels that a byte of a PNG's data can hold: deflate makes 1032 bytes of one, and a byte of a picture in black and
/// white has 8 pixels.
const PNG_PIXELS: u64 = 1032 * 8;
/// Bytes of a file that tell its format.
const START: usize = 64;

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
    /// Whether the file has transparent pixels. Their transparency is dropped; the colours beneath it are here.
    pub transparent: bool,
}

/// Reads the header of a picture, told by content and not by name.
///
/// # Errors
/// What is wrong with the file, without its name.
pub fn header(path: &Path) -> Result<Header, String> {
    regular(path)?;
    let mut start = Vec::with_capacity(START);
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    file.by_ref().take(START as u64).read_to_end(&mut start).map_err(unreadable)?;
    file.rewind().map_err(unreadable)?;
    let header = match format::told_by(&start)? {
        ImageFormat::Jpeg => jpeg::header(&mut file)?,
        format => {
            let (decoder, orientation) = open(file, format)?;
            let (width, height) = decoder.dimensions();
            Header { width, height, grey: !decoder.color_type().has_color() }.turned(orientation)
        }
    };
    check_size(header.width, header.height)?;
    Ok(header)
}

/// Decodes a picture to 1 (grey) or 3 (RGB) bytes a pixel: colours become grey by ITU-R BT.601, 16-bit values lose their
/// low bytes, CMYK becomes RGB, transparency is dropped (which is said once), of several pictures the first is taken.
///
/// # Errors
/// What is wrong with the file, without its name; a picture of which a part is missing or damaged is an error too.
pub fn read(path: &Path, channels: u32) -> Result<Picture, String> {
    static SAID: AtomicBool = AtomicBool::new(false);
    regular(path)?;
    let picture = decode(&std::fs::read(path).map_err(unreadable)?, channels)?;
    if picture.transparent && !SAID.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "{}: it has transparent pixels; the colours beneath count, as in Pillow and OpenCV. Where those are not meant, lay the \
             picture on a background first (this is said for the first such picture alone)",
            path.display()
        );
    }
    Ok(picture)
}

/// [`read`] of the bytes of a file.
pub(super) fn decode(bytes: &[u8], channels: u32) -> Result<Picture, String> {
    let format = format::told_by(bytes.get(..START).unwrap_or(bytes))?;
    let whole = match format {
        ImageFormat::Jpeg => jpeg::whole(bytes)?,
        ImageFormat::Png => png::whole(bytes),
        _ => bytes.into(),
    };
    let (decoder, orientation) = open(Cursor::new(&*whole), format)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let count = u64::from(width) * u64::from(height);
    if format == ImageFormat::Png && count / PNG_PIXELS > bytes.len() as u64 {
        return Err(format!("a PNG of {} bytes cannot hold {width}×{height} pixels", bytes.len()));
    }
    if decoder.total_bytes() > MAX_BYTES {
        return Err(format!("a picture of {width}×{height} pixels is too large for its kind of pixels"));
    }
    // A lock that a panic left behind guards nothing that could be wrong.
    let _alone = (count > LARGE).then(|| ONE_AT_A_TIME.lock());
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| failed(format, error))?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let (pixels, transparent) = pixels::bytes(picture, channels)?;
    Ok(Picture { width, height, channels, pixels, transparent })
}

/// A decoder, and how its picture is to be turned.
fn open<'r>(
    reader: impl BufRead + Seek + 'r,
    format: ImageFormat,
) -> Result<(impl ImageDecoder + 'r, Orientation), String> {
    let mut reader = ImageReader::with_format(reader, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|error| failed(format, error))?;
    // Broken EXIF is no reason to refuse a picture.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((decoder, orientation))
}

/// Refuses pipes and devices, which might never end.
fn regular(path: &Path) -> Result<(), String> {
    let is_file = std::fs::metadata(path).map_err(unreadable)?.is_file();
    if is_file { Ok(()) } else { Err("not a file (a folder, a pipe or a device)".into()) }
}

fn check_size(width: u32, height: u32) -> Result<(), String> {
    match u64::from(width) * u64::from(height) {
        0 => Err(format!("a picture of {width}×{height} pixels")),
        pixels if pixels > MAX_PIXELS => Err(format!("a picture of {width}×{height} pixels is too large")),
        _ => Ok(()),
    }
}

fn failed(format: ImageFormat, error: ImageError) -> String {
    let format = format!("{format:?}").to_uppercase();
    match error {
        ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            "truncated: the file ends before its picture does".into()
        }
        ImageError::Unsupported(error) => {
            format!("a kind of {format} that is not read ({error}): save it as PNG")
        }
        ImageError::Limits(_) => {
            format!("this {format} takes more than 1 GiB while it is decoded: save it as a smaller PNG")
        }
        error => format!(
            "{format} that cannot be decoded ({error}): where another program opens it, save it as PNG"
        ),
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("cannot be read ({error})")
}

#[cfg(test)]
mod tests;
