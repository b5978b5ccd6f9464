//! Pictures of every format and kind; those in `samples` are Pillow's (`samples/make.py`), all of the same pixels.

use image::Rgb;
use image::codecs::jpeg::JpegEncoder;

use super::*;

macro_rules! samples {
    ($($name:literal),* $(,)?) => { [$(($name, &include_bytes!(concat!("samples/", $name))[..])),*] };
}

/// The samples' colour at column `x` and row `y`.
fn colour(x: u32, y: u32) -> [u8; 3] {
    [(10 * x) as u8, (15 * y) as u8, 128]
}

fn grey(x: u32, y: u32) -> u8 {
    let [red, green, blue] = colour(x, y);
    pixels::grey(red, green, blue)
}

/// The largest differences of a picture, read in colour and in grey, from what `expected` says of column and row.
fn off(name: &str, bytes: &[u8], expected: impl Fn(u32, u32) -> [u8; 3]) -> [u8; 2] {
    [3, 1].map(|channels| {
        let found = decode(bytes, channels).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((found.channels, found.pixels.len() as u32), (channels, 24 * 16 * channels), "{name}");
        let places = (0..found.height).flat_map(|y| (0..found.width).map(move |x| (x, y)));
        let expected = places.flat_map(|(x, y)| {
            let [red, green, blue] = expected(x, y);
            if channels == 3 { vec![red, green, blue] } else { vec![pixels::grey(red, green, blue)] }
        });
        found.pixels.iter().zip(expected).map(|(&found, expected)| found.abs_diff(expected)).max().unwrap()
    })
}

#[test]
fn every_format_gives_the_same_pixels() {
    for (name, bytes) in samples![
        "lossless.webp",
        "clear.webp",
        "animated.webp",
        "animated.png",
        "rgb.bmp",
        "rgb.tiff",
        "clear.tiff",
        "cmyk.tiff",
        "tiff_lzw.tiff",
        "tiff_adobe_deflate.tiff",
        "packbits.tiff",
        "pages.tiff",
    ] {
        assert_eq!(off(name, bytes, colour), [0, 0], "{name}");
        assert_eq!(decode(bytes, 3).unwrap().transparent, name.starts_with("clear"), "{name}");
    }
    // Colours at half the size lose most at the edges.
    for (name, bytes) in samples![
        "progressive.jpg",
        "progressive-420.jpg",
        "optimised.jpg",
        "restart.jpg",
        "cmyk.jpg",
        "jpeg.tiff",
        "lossy.webp",
    ] {
        let found = off(name, bytes, colour);
        assert!(found[0] <= 12 && found[1] <= 6, "{name}: {found:?}");
    }
}

#[test]
fn every_kind_of_grey_is_read() {
    for (name, bytes) in samples!["grey.tiff", "deep.png", "deep.tiff", "palette.png", "palette.bmp"] {
        assert_eq!(off(name, bytes, |x, y| [grey(x, y); 3]), [0, 0], "{name}");
    }
    for (name, bytes) in samples!["bits.png", "bits.bmp", "bits.tiff", "group4.tiff"] {
        let expected = |x, y| if grey(x, y) >= 128 { [255; 3] } else { [0; 3] };
        assert_eq!(off(name, bytes, expected), [0, 0], "{name}");
    }
    let [(name, bytes)] = samples!["white-is-zero.tiff"];
    assert_eq!(off(name, bytes, |x, y| [255 - grey(x, y); 3]), [0, 0], "{name}");
    let [(_, bytes)] = samples!["palette.tiff"];
    let error = decode(bytes, 3).unwrap_err();
    assert!(
        error.contains("RGBPalette")
            && error.contains("TIFF that is not read")
            && error.contains("save it as PNG"),
        "{error}"
    );
    let [(name, bytes)] = samples!["progressive-grey.jpg"];
    assert!(off(name, bytes, |x, y| [grey(x, y); 3]).iter().all(|&off| off <= 3), "{name}");
}

#[test]
fn pictures_are_turned_as_exif_says_and_so_are_their_headers() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in samples!["turned.jpg", "turned.png", "turned.webp", "turned.tiff"] {
        // 6: to be turned a quarter to the right, so that the left column comes to the top.
        let found = off(name, bytes, |x, y| colour(y, 15 - x));
        assert!(found[0] <= 3 && found[1] <= 3, "{name}: {found:?}");
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let picture = read(&path, 3).unwrap();
        assert_eq!((picture.width, picture.height), (16, 24), "{name}");
        assert_eq!(header(&path), Ok(Header { width: 16, height: 24, grey: false }), "{name}");
    }
}

fn png(picture: &DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
    bytes.into_inner()
}

#[test]
fn headers_are_those_of_the_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jpg");
    let found = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        header(&path)
    };
    let of_grey = png(&DynamicImage::new_luma_a8(5, 3));
    assert_eq!(found(&of_grey), Ok(Header { width: 5, height: 3, grey: true }));
    for (name, bytes) in samples!["progressive.jpg", "lossy.webp", "rgb.bmp", "rgb.tiff", "animated.png"] {
        assert_eq!(found(bytes), Ok(Header { width: 24, height: 16, grey: false }), "{name}");
    }
    for (name, bytes) in samples!["progressive-grey.jpg", "grey.tiff", "bits.png", "deep.png"] {
        assert_eq!(found(bytes), Ok(Header { width: 24, height: 16, grey: true }), "{name}");
    }
    assert!(found(b"GIF89a").unwrap_err().contains("Gif"));
    assert!(found(&[]).unwrap_err().contains("empty"));
    assert!(found(b"text").unwrap_err().contains("not a picture"));
    assert!(header(&dir.path().join("absent.png")).unwrap_err().contains("cannot be read"));
}

/// Headers that ask for more memory than any picture has, or than the file can fill.
#[test]
fn bombs_are_refused_before_they_take_memory() {
    let mut huge = Vec::new();
    JpegEncoder::new(&mut huge).encode_image(&DynamicImage::new_rgb8(16, 8)).unwrap();
    let at = huge.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
    huge[at..at + 4].fill(0xff);
    let error = decode(&huge, 1).unwrap_err();
    assert!(error.contains("JPEG"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.jpg"), &huge).unwrap();
    assert!(header(&dir.path().join("a.jpg")).unwrap_err().contains("too large"));
    // The header alone of a PNG: 16 000 × 16 000 pixels of four times 16 bits, or of one byte.
    let mut small = png(&DynamicImage::new_luma8(8, 8));
    small[16..24].copy_from_slice(&[0, 0, 0x3e, 0x80, 0, 0, 0x3e, 0x80]);
    for (deep, kind, words) in [(8, 0, "cannot hold"), (16, 6, "cannot hold")] {
        (small[24], small[25]) = (deep, kind);
        let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&small[12..29]);
        small[29..33].copy_from_slice(&sum.to_be_bytes());
        let error = decode(&small, 3).unwrap_err();
        assert!(error.contains(words), "{error}");
        // As many bytes behind it as could hold such a picture.
        let padded = [&small[..], &vec![0; 100_000]].concat();
        let error = decode(&padded, 3).unwrap_err();
        assert!(error.contains(if deep == 16 { "too large" } else { "cannot be decoded" }), "{error}");
    }
}

/// The last chunk of a PNG only says that it ends.
#[test]
fn a_png_without_its_last_chunk_is_whole_and_a_shorter_one_is_not() {
    let picture = image::RgbImage::from_fn(40, 30, |x, y| Rgb([(x * y) as u8, (x * 11) as u8, y as u8]));
    let whole = png(&DynamicImage::ImageRgb8(picture));
    let pixels = decode(&whole, 3).unwrap();
    for missing in 0..=12 {
        let cut = &whole[..whole.len() - missing];
        for (what, more) in [("nothing", &b""[..]), ("zeros", &[0; 100]), ("a text", b"more")] {
            let found = decode(&[cut, more].concat(), 3);
            assert!(found.as_ref() == Ok(&pixels), "{missing} less, {what} behind: {:?}", found.err());
        }
    }
    for length in (1..whole.len() - 40).step_by(7) {
        assert!(decode(&whole[..length], 3).is_err(), "{length} of {}", whole.len());
    }
}

/// Any damage is an error or another picture, never a panic.
#[test]
fn damaged_files_do_not_panic() {
    for (_, whole) in samples![
        "restart.jpg",
        "progressive-420.jpg",
        "cmyk.jpg",
        "lossless.webp",
        "lossy.webp",
        "animated.webp",
        "clear.webp",
        "palette.png",
        "animated.png",
        "bits.bmp",
        "palette.bmp",
        "tiff_lzw.tiff",
        "packbits.tiff",
        "group4.tiff",
        "jpeg.tiff",
        "cmyk.tiff",
    ] {
        for at in 0..whole.len() {
            for wrong in [0x5a, 0x80, 0xff] {
                let mut damaged = whole.to_vec();
                damaged[at] ^= wrong;
                let _ = decode(&damaged, 3);
            }
            let _ = decode(&whole[..at], 1);
        }
    }
}

#[test]
fn the_transparent_are_told_and_keep_their_colours() {
    let clear = DynamicImage::ImageRgba8(image::ImageBuffer::from_pixel(1, 1, image::Rgba([9, 8, 7, 0])));
    let found = decode(&png(&clear), 3).unwrap();
    assert_eq!((&found.pixels[..], found.transparent), (&[9, 8, 7][..], true));
    let opaque = DynamicImage::ImageLumaA8(image::ImageBuffer::from_pixel(1, 1, image::LumaA([77, 255])));
    assert!(!decode(&png(&opaque), 1).unwrap().transparent);
}

#[test]
fn what_cannot_be_decoded_says_what_to_do() {
    let [(_, webp)] = samples!["lossy.webp"];
    let error = decode(&webp[..webp.len() / 2], 3).unwrap_err();
    assert!(
        error.contains("WEBP") && error.contains("save it as PNG") || error.contains("truncated"),
        "{error}"
    );
    let mut wide = png(&DynamicImage::new_luma8(8, 8));
    wide[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1]);
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&wide[12..29]);
    wide[29..33].copy_from_slice(&sum.to_be_bytes());
    let error = decode(&wide, 3).unwrap_err();
    assert!(error.contains("too large") || error.contains("1 GiB"), "{error}");
}

/// What never ends is not read.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
        assert!(read(path, 3).unwrap_err().contains("not a file"), "{}", path.display());
        assert!(header(path).unwrap_err().contains("not a file"), "{}", path.display());
    }
}
