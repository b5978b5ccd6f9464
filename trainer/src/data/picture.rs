//! One picture file, PNG or JPEG, as pixels of one or three bytes.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::jpeg;

/// Ends of names of files that hold pictures, in lower case; what a file holds is told by its content.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg"];
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

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ImageBuffer, Luma, Rgb, Rgba};

    fn png(picture: &DynamicImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// A JPEG of 16×8 pixels, its left half black, its right half white, turned by `orientation`.
    fn turned(orientation: u8) -> Vec<u8> {
        let picture = image::GrayImage::from_fn(16, 8, |x, _| Luma([if x < 8 { 0 } else { 255 }]));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(&picture).unwrap();
        // APP1 with a big-endian TIFF directory of one entry: tag 0x0112, a SHORT.
        let exif = [b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", &[orientation][..], &[0; 6]]
            .concat();
        let length = ((exif.len() + 2) as u16).to_be_bytes();
        bytes.splice(2..2, [&[0xff, 0xe1], &length[..], &exif].concat());
        bytes
    }

    #[test]
    fn every_kind_of_pixel_becomes_bytes() {
        let deep = ImageBuffer::from_pixel(2, 1, Rgb([0x1234_u16, 0x8000, 0xffff]));
        let deep = png(&DynamicImage::ImageRgb16(deep));
        let found = decode(&deep, 3).unwrap();
        assert_eq!((found.height, found.width, &found.pixels[..3]), (1, 2, &[0x12, 0x80, 0xff][..]));
        let clear = png(&DynamicImage::ImageRgba8(ImageBuffer::from_pixel(1, 1, Rgba([9, 8, 7, 0]))));
        assert_eq!(decode(&clear, 3).unwrap().pixels, [9, 8, 7]);
        let grey = png(&DynamicImage::ImageLuma8(ImageBuffer::from_pixel(1, 1, Luma([77]))));
        assert_eq!(decode(&grey, 3).unwrap().pixels, [77; 3]);
        assert_eq!(decode(&grey, 1).unwrap().pixels, [77]);
        assert_eq!(decode(&clear, 1).unwrap().pixels.len(), 1);
    }

    #[test]
    fn pictures_are_turned_as_exif_says() {
        let plain = decode(&turned(1), 1).unwrap();
        assert_eq!((plain.height, plain.width), (8, 16));
        assert!(plain.pixels[0] < 10 && plain.pixels[15] > 245);
        // 6: to be turned a quarter to the right, so that the left half comes to the top.
        let right = decode(&turned(6), 1).unwrap();
        assert_eq!((right.height, right.width), (16, 8));
        assert!(right.pixels[..8].iter().all(|&value| value < 10));
        assert!(right.pixels[15 * 8..].iter().all(|&value| value > 245));
    }

    #[test]
    fn headers_are_those_of_the_pictures() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.jpg");
        let found = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            header(&path)
        };
        let grey = png(&DynamicImage::new_luma_a8(5, 3));
        assert_eq!(found(&grey), Ok(Header { width: 5, height: 3, grey: true }));
        let colour = png(&DynamicImage::new_rgb8(5, 3));
        assert_eq!(found(&colour), Ok(Header { width: 5, height: 3, grey: false }));
        assert_eq!(found(&turned(1)), Ok(Header { width: 16, height: 8, grey: true }));
        assert!(found(b"GIF89a").unwrap_err().contains("Gif"));
        assert!(found(&[]).unwrap_err().contains("empty"));
        assert!(found(b"text").unwrap_err().contains("not a picture"));
        assert!(header(&dir.path().join("absent.png")).unwrap_err().contains("cannot be read"));
        let mut huge = turned(1);
        let at = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
        huge[at..at + 4].fill(0xff);
        assert!(found(&huge).unwrap_err().contains("too large"));
        assert!(decode(&huge, 1).unwrap_err().contains("too large"));
    }

    /// Any damage is an error or another picture, never a panic.
    #[test]
    fn damaged_files_do_not_panic() {
        let picture = image::RgbImage::from_fn(20, 20, |x, y| Rgb([(x * y) as u8, (x * 11) as u8, y as u8]));
        let picture = DynamicImage::ImageRgb8(picture);
        let mut jpeg = Vec::new();
        JpegEncoder::new(&mut jpeg).encode_image(&picture).unwrap();
        for whole in [png(&picture), jpeg] {
            assert!((0..whole.len() - 12).all(|length| decode(&whole[..length], 3).is_err()));
            for at in 0..whole.len() {
                let mut damaged = whole.clone();
                damaged[at] ^= 0x5a;
                let _ = decode(&damaged, 3);
            }
        }
    }
}
