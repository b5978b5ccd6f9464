//! Pixels of any kind as one or three bytes.

use image::DynamicImage;

/// The brightness of a colour: ITU-R BT.601's weights in 16 bits, rounded, which is Pillow's mode `L`, OpenCV's grey and
/// the Y of a camera's picture.
pub(super) fn grey(red: u8, green: u8, blue: u8) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

/// The pixels of `picture`, H×W×C bytes of 1 (grey) or 3 (red, green, blue) `channels`, and whether it has transparent
/// ones: their transparency is dropped, and the colour that lies beneath it counts. Values of 16 bits lose their low byte.
///
/// # Errors
/// Pixels of floating-point numbers, whose range nothing tells.
pub(super) fn bytes(picture: DynamicImage, channels: u32) -> Result<(Vec<u8>, bool), String> {
    let high = |value: u16| (value >> 8) as u8;
    Ok(match picture {
        DynamicImage::ImageLuma8(pixels) if channels == 1 => (pixels.into_raw(), false),
        DynamicImage::ImageRgb8(pixels) if channels == 3 => (pixels.into_raw(), false),
        DynamicImage::ImageLuma8(pixels) => convert::<u8, 1>(&pixels, channels, |value| value),
        DynamicImage::ImageLumaA8(pixels) => convert::<u8, 2>(&pixels, channels, |value| value),
        DynamicImage::ImageRgb8(pixels) => convert::<u8, 3>(&pixels, channels, |value| value),
        DynamicImage::ImageRgba8(pixels) => convert::<u8, 4>(&pixels, channels, |value| value),
        DynamicImage::ImageLuma16(pixels) => convert::<u16, 1>(&pixels, channels, high),
        DynamicImage::ImageLumaA16(pixels) => convert::<u16, 2>(&pixels, channels, high),
        DynamicImage::ImageRgb16(pixels) => convert::<u16, 3>(&pixels, channels, high),
        DynamicImage::ImageRgba16(pixels) => convert::<u16, 4>(&pixels, channels, high),
        _ => return Err("its pixels are floating-point numbers: save it as PNG of 8 bits".into()),
    })
}

/// [`bytes`] of pixels of N values: grey or colour, and transparency where N is even.
fn convert<T: Copy, const N: usize>(values: &[T], channels: u32, byte: impl Fn(T) -> u8) -> (Vec<u8>, bool) {
    let (pixels, _) = values.as_chunks::<N>();
    let mut found = Vec::with_capacity(pixels.len() * channels as usize);
    let mut transparent = false;
    for pixel in pixels {
        if N.is_multiple_of(2) {
            transparent |= byte(pixel[N - 1]) != u8::MAX;
        }
        let colour = if N < 3 { [byte(pixel[0]); 3] } else { [0, 1, 2].map(|at| byte(pixel[at])) };
        match channels {
            1 if N < 3 => found.push(colour[0]),
            1 => found.push(grey(colour[0], colour[1], colour[2])),
            _ => found.extend(colour),
        }
    }
    (found, transparent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma, LumaA, Rgb, Rgba};

    /// What `Image.new("RGB", (1, 1), colour).convert("L")` of Pillow 13 gives.
    #[test]
    fn grey_is_that_of_pillow() {
        for (colour, expected) in [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([255, 255, 255], 255),
            ([10, 200, 30], 124),
            ([1, 1, 1], 1),
            ([200, 10, 99], 77),
        ] {
            let picture = DynamicImage::ImageRgb8(ImageBuffer::from_pixel(1, 1, Rgb(colour)));
            assert_eq!(bytes(picture, 1).unwrap().0, [expected], "{colour:?}");
        }
        assert!((0..=255).all(|value| grey(value, value, value) == value));
    }

    #[test]
    fn every_kind_of_pixel_becomes_bytes() {
        let of = |picture: DynamicImage| [bytes(picture.clone(), 1), bytes(picture, 3)].map(Result::unwrap);
        let grey = of(DynamicImage::ImageLuma8(ImageBuffer::from_pixel(1, 1, Luma([77]))));
        assert_eq!(grey, [(vec![77], false), (vec![77; 3], false)]);
        let clear = of(DynamicImage::ImageRgba8(ImageBuffer::from_pixel(1, 1, Rgba([255, 0, 0, 254]))));
        assert_eq!(clear, [(vec![76], true), (vec![255, 0, 0], true)]);
        let opaque = of(DynamicImage::ImageLumaA8(ImageBuffer::from_pixel(1, 1, LumaA([9, 255]))));
        assert_eq!(opaque, [(vec![9], false), (vec![9; 3], false)]);
        // The high byte alone, as libpng and OpenCV have it: 0x12ff is not rounded up.
        let deep = of(DynamicImage::ImageRgb16(ImageBuffer::from_pixel(1, 1, Rgb([0x12ff, 0x8000, 0xffff]))));
        assert_eq!(deep[1], (vec![0x12, 0x80, 0xff], false));
        let deep = of(DynamicImage::ImageLumaA16(ImageBuffer::from_pixel(1, 1, LumaA([0x0100, 0x0100]))));
        assert_eq!(deep, [(vec![1], true), (vec![1; 3], true)]);
        let deep = of(DynamicImage::ImageRgba16(ImageBuffer::from_pixel(1, 1, Rgba([0x0200, 0, 0, 0xffff]))));
        assert_eq!(deep[1], (vec![2, 0, 0], false));
        let deep = of(DynamicImage::ImageLuma16(ImageBuffer::from_pixel(1, 1, Luma([0xfe01]))));
        assert_eq!(deep[0], (vec![0xfe], false));
        let float = DynamicImage::ImageRgb32F(ImageBuffer::from_pixel(1, 1, Rgb([0.5; 3])));
        assert!(bytes(float, 3).unwrap_err().contains("floating-point"));
    }
}
