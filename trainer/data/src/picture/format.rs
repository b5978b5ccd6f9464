//! Which files are pictures: by the ends of their names, and by their first bytes.

use std::path::Path;

use image::ImageFormat;

/// Ends of the names of pictures that are read, in lower case. What a file holds is told by its content.
pub const ENDINGS: &[&str] = &["png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "tif", "tiff"];

/// Ends of the names of pictures that are not read, in lower case, and what they are.
const UNREAD: &[(&str, &str)] = &[
    ("heic", "HEIC"),
    ("heif", "HEIC"),
    ("hif", "HEIC"),
    ("avif", "AVIF"),
    ("gif", "GIF"),
    ("jxl", "JPEG XL"),
    ("jp2", "JPEG 2000"),
    ("dng", "a camera's raw format"),
    ("cr2", "a camera's raw format"),
    ("nef", "a camera's raw format"),
    ("arw", "a camera's raw format"),
];

/// The formats that are read, in words.
const READ: &str = "PNG, JPEG, WebP, BMP and TIFF are read";

/// Whether the name of `path` ends as those of pictures that are read ([`ENDINGS`]).
pub fn is_picture(path: &Path) -> bool {
    ENDINGS.contains(&&*ending(path))
}

/// Why the picture `path` is not read and what to do, where its name ends as those of a format that is known and not
/// read.
pub fn unread(path: &Path) -> Option<String> {
    let ending = ending(path);
    UNREAD.iter().find(|(end, _)| *end == ending).map(|(_, name)| convert(name))
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn convert(name: &str) -> String {
    format!("{name} is not read: convert it to JPEG or PNG")
}

/// The format that the first bytes of a file (from 32 on, where it has so many) tell.
pub(super) fn told_by(start: &[u8]) -> Result<ImageFormat, String> {
    if start.is_empty() {
        return Err("the file is empty".into());
    }
    if let Some(name) = of_boxes(start) {
        return Err(convert(name));
    }
    match image::guess_format(start) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::WebP
            | ImageFormat::Bmp
            | ImageFormat::Tiff),
        ) => Ok(format),
        Ok(other) => Err(format!("a picture of format {other:?}, which is not read: convert it; {READ}")),
        Err(_) if start.iter().all(|&byte| byte == 0) => {
            Err("not a picture (it starts with zeros, as a copy that was interrupted)".into())
        }
        Err(_) if start.trim_ascii_start().starts_with(b"<") => {
            Err(format!("not a picture (it holds a text such as a web page or SVG); {READ}"))
        }
        Err(_) => Err(format!("not a picture; {READ}")),
    }
}

/// The formats of boxes (ISO/IEC 14496-12, section 4.3, and JPEG's newer ones): the first box says which.
fn of_boxes(start: &[u8]) -> Option<&'static str> {
    let is = |at: usize, word: &[u8]| start.get(at..at + word.len()) == Some(word);
    if start.starts_with(b"\xff\x0a") || is(4, b"JXL ") {
        return Some("JPEG XL");
    }
    if is(4, b"jP  ") {
        return Some("JPEG 2000");
    }
    if !is(4, b"ftyp") {
        return None;
    }
    match start.get(8..12)? {
        b"avif" | b"avis" => Some("AVIF"),
        // The general brands say what is inside by the ones that follow.
        b"mif1" | b"msf1" if start[12..].windows(4).any(|brand| brand == b"avif") => Some("AVIF"),
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => Some("HEIC"),
        _ => Some("a video or another file of boxes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_pictures_in_any_case() {
        for name in ["a.png", "a.JPG", "x/a.b.Jfif", "a.jpe", "a.webp", "a.bmp", "a.TIFF"] {
            assert!(is_picture(Path::new(name)) && unread(Path::new(name)).is_none(), "{name}");
        }
        for name in ["png", "a.png.txt", "a", ".png", "a.heic"] {
            assert!(!is_picture(Path::new(name)), "{name}");
        }
        assert!(unread(Path::new("IMG_1.HEIC")).unwrap().contains("HEIC is not read: convert it"));
        assert_eq!(unread(Path::new("notes.txt")), None);
    }

    #[test]
    fn what_is_not_read_is_told_by_its_content_with_what_to_do() {
        for (start, words) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "HEIC is not read: convert"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1miafheic", "HEIC is not read: convert"),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF is not read: convert"),
            (b"\0\0\0\x20ftypavif\0\0\0\0avifmif1", "AVIF is not read: convert"),
            (b"\0\0\0\x20ftypmp42\0\0\0\0", "video"),
            (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL is not read"),
            (b"\xff\x0a\xfa\x7f", "JPEG XL is not read"),
            (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000 is not read"),
            (b"GIF89a", "format Gif, which is not read: convert it; PNG, JPEG"),
            (b"\n <!DOCTYPE html>", "web page"),
            (b"\0\0\0\0\0\0\0\0\0\0\0\0", "zeros"),
            (b"text", "not a picture"),
            (b"", "empty"),
        ] {
            let error = told_by(start).unwrap_err();
            assert!(error.contains(words), "{start:?}: {error}");
        }
        for (start, format) in [
            (&b"\xff\xd8\xff\xe0"[..], ImageFormat::Jpeg),
            (b"RIFF\x10\0\0\0WEBPVP8 ", ImageFormat::WebP),
            (b"BM\0\0", ImageFormat::Bmp),
            (b"II*\0", ImageFormat::Tiff),
            (b"MM\0*", ImageFormat::Tiff),
        ] {
            assert_eq!(told_by(start), Ok(format));
        }
    }
}
