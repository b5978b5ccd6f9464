//! What happens to an image on its way into a batch: random crop, horizontal flip, cutout, normalisation.

use std::ops::Range;

use lrpet_runtime::model::Shape;
use rand::Rng;

use super::crop::RandomCrop;

/// Random changes to training images.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Augmentation {
    /// Pixels of padding on each side from which a crop of the image's own size is taken; 0 crops nothing. The
    /// raw image is padded with zero bytes, which is black, before it is normalised (the order of torchvision's
    /// usual chain: crop, to tensor, normalise).
    pub crop_padding: u32,
    /// Mirror half of the images left to right.
    pub flip: bool,
    /// Part of a picture in a file that becomes the image; none is the centre, as for testing.
    pub part: Option<RandomCrop>,
    /// Side of the square that is cut out, in pixels; 0 cuts nothing. Its centre is any pixel of the image, and what is
    /// beyond the border is not made up for; its values are those of the mean (DeVries and Taylor, "Improved regularization of
    /// convolutional neural networks with cutout", 2017).
    pub cutout: u32,
}

impl std::fmt::Display for Augmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if let Some(RandomCrop { scale, stretch }) = self.part {
            parts.push(format!(
                "random resized crop of {scale} to 1 of the area, stretched by up to {stretch:.2}"
            ));
        }
        if self.crop_padding > 0 {
            parts.push(format!("random crop of the image padded by {}", self.crop_padding));
        }
        if self.flip {
            parts.push("horizontal flip".to_owned());
        }
        if self.cutout > 0 {
            parts.push(format!("cutout of {0}×{0} pixels", self.cutout));
        }
        f.write_str(if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }.as_str())
    }
}

/// One image's draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draw {
    /// Shift of the crop against the image: row and column of the image that land at row 0, column 0.
    pub offset: [i64; 2],
    /// Mirrored left to right, after the crop.
    pub flip: bool,
    /// Part of the picture, and the seed that draws it.
    pub part: Option<(RandomCrop, u64)>,
    /// Where the centre of what is cut out lies: share of the height and of the width, and the side in pixels.
    pub cutout: Option<([f32; 2], u32)>,
}

impl Augmentation {
    /// Draws what happens to one image.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Draw {
        let padding = i64::from(self.crop_padding);
        let mut axis = || if padding == 0 { 0 } else { rng.random_range(-padding..=padding) };
        let offset = [axis(), axis()];
        let flip = self.flip && rng.random();
        let part = self.part.map(|part| (part, rng.random()));
        let cutout = (self.cutout > 0).then(|| (rng.random(), self.cutout));
        Draw { offset, flip, part, cutout }
    }
}

/// Writes an image (H×W×C bytes) as normalised C×H×W values, shifted, mirrored and cut out by `draw`.
pub(super) fn write(image: &[u8], shape: Shape, draw: &Draw, table: &[[f32; 256]], out: &mut [f32]) {
    write_whole(image, shape, draw, table, out);
    if let Some((centre, side)) = draw.cutout {
        let [rows, columns] = square(shape, centre, side);
        for plane in out.chunks_exact_mut(shape.pixels().max(1)) {
            for row in plane.chunks_exact_mut(shape.width as usize).take(rows.end).skip(rows.start) {
                row[columns.clone()].fill(0.0);
            }
        }
    }
}

/// Rows and columns of a square of this side about the pixel at these shares of height and width.
fn square(shape: Shape, centre: [f32; 2], side: u32) -> [Range<usize>; 2] {
    let span = |size: u32, share: f32| {
        let at = i64::from(((share * size as f32) as u32).min(size.saturating_sub(1)));
        let from = at - i64::from(side / 2);
        let inside = |at: i64| at.clamp(0, size.into()) as usize;
        inside(from)..inside(from + i64::from(side))
    };
    [span(shape.height, centre[0]), span(shape.width, centre[1])]
}

/// [`write`] without the cutout.
fn write_whole(image: &[u8], shape: Shape, draw: &Draw, table: &[[f32; 256]], out: &mut [f32]) {
    match table {
        [grey] => write_planes::<1>(image, shape, draw, [grey], out),
        [red, green, blue] => write_planes::<3>(image, shape, draw, [red, green, blue], out),
        // Any other number of channels, one plane at a time.
        _ => {
            let channels = table.len();
            let planes = out.chunks_exact_mut(shape.pixels()).zip(table).enumerate();
            for (channel, (plane, values)) in planes {
                let bytes: Vec<u8> = image[channel..].iter().step_by(channels).copied().collect();
                write_planes::<1>(&bytes, shape, draw, [values], plane);
            }
        }
    }
}

/// [`write`] of C channels.
fn write_planes<const C: usize>(
    image: &[u8],
    shape: Shape,
    draw: &Draw,
    table: [&[f32; 256]; C],
    out: &mut [f32],
) {
    let [height, width] = [shape.height, shape.width].map(|size| size as usize);
    let [down, across] = draw.offset;
    // Columns of the image that stay, and where the first of them lands; the rest is black.
    let first = (across.max(0) as usize).min(width);
    let count = width.saturating_sub(across.unsigned_abs() as usize);
    let before = ((-across).max(0) as usize).min(width);
    let start = if draw.flip { width - before - count } else { before };
    let mut planes = out.chunks_exact_mut(height * width);
    let mut planes: [&mut [f32]; C] = std::array::from_fn(|_| planes.next().unwrap_or_default());
    for y in 0..height {
        let mut rows: [&mut [f32]; C] = planes.each_mut().map(|plane| &mut plane[y * width..][..width]);
        let from = usize::try_from(y as i64 + down).ok().filter(|&from| from < height);
        let Some(from) = from.filter(|_| count > 0) else {
            rows.iter_mut().zip(table).for_each(|(row, values)| row.fill(values[0]));
            continue;
        };
        for (row, values) in rows.iter_mut().zip(table) {
            row[..start].fill(values[0]);
            row[start + count..].fill(values[0]);
        }
        let (pixels, _) = image[(from * width + first) * C..][..count * C].as_chunks::<C>();
        let mut rows = rows.map(|row| &mut row[start..start + count]);
        let mut write = |x: usize, pixel: &[u8; C]| {
            for ((row, values), &byte) in rows.iter_mut().zip(table).zip(pixel) {
                row[x] = values[usize::from(byte)];
            }
        };
        if draw.flip {
            pixels.iter().rev().enumerate().for_each(|(x, pixel)| write(x, pixel));
        } else {
            pixels.iter().enumerate().for_each(|(x, pixel)| write(x, pixel));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Normalization;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const NOTHING: Draw = Draw { offset: [0, 0], flip: false, part: None, cutout: None };

    fn identity() -> Vec<[f32; 256]> {
        vec![std::array::from_fn(|byte| byte as f32); 2]
    }

    #[test]
    fn crop_pads_with_black_and_flip_mirrors_the_crop() {
        // 2×3 pixels of 2 channels: channel 0 holds 1..6, channel 1 holds 11..16.
        let image = [1, 11, 2, 12, 3, 13, 4, 14, 5, 15, 6, 16];
        let shape = Shape::new(2, 2, 3);
        let mut out = [0.0; 12];
        write(&image, shape, &NOTHING, &identity(), &mut out);
        assert_eq!(out, [1., 2., 3., 4., 5., 6., 11., 12., 13., 14., 15., 16.]);
        write(&image, shape, &Draw { offset: [1, -1], ..NOTHING }, &identity(), &mut out);
        assert_eq!(out, [0., 4., 5., 0., 0., 0., 0., 14., 15., 0., 0., 0.]);
        write(&image, shape, &Draw { offset: [1, -1], flip: true, ..NOTHING }, &identity(), &mut out);
        assert_eq!(out, [5., 4., 0., 0., 0., 0., 15., 14., 0., 0., 0., 0.]);
    }

    /// [`write`] by its definition, pixel by pixel.
    fn defined(image: &[u8], shape: Shape, draw: &Draw) -> Vec<f32> {
        let [c, h, w] = [shape.channels, shape.height, shape.width].map(i64::from);
        let mut out = Vec::new();
        for at in 0..c * h * w {
            let (channel, y, x) = (at / (h * w), at / w % h, at % w);
            let (y, x) = (y + draw.offset[0], if draw.flip { w - 1 - x } else { x } + draw.offset[1]);
            let inside = (0..h).contains(&y) && (0..w).contains(&x);
            out.push(if inside { image[((y * w + x) * c + channel) as usize].into() } else { 0.0 });
        }
        out
    }

    #[test]
    fn every_shift_of_every_number_of_channels_is_as_defined() {
        let table = identity()[0];
        for channels in 1..=4 {
            let shape = Shape::new(channels, 3, 4);
            let image: Vec<u8> = (1..=shape.len() as u8).collect();
            for (down, across, flip) in
                (-4..=4).flat_map(|y| (-5..=5).flat_map(move |x| [(y, x, false), (y, x, true)]))
            {
                let draw = Draw { offset: [down, across], flip, ..NOTHING };
                let mut out = vec![f32::NAN; shape.len()];
                write(&image, shape, &draw, &vec![table; channels as usize], &mut out);
                assert_eq!(out, defined(&image, shape, &draw), "{channels} channels, {draw:?}");
            }
        }
    }

    #[test]
    fn draws_cover_every_offset_and_both_sides() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let augmentation = Augmentation { crop_padding: 2, flip: true, ..Augmentation::default() };
        let draws: Vec<Draw> = (0..2000).map(|_| augmentation.draw(&mut rng)).collect();
        let distinct: std::collections::HashSet<_> = draws.iter().map(|d| (d.offset, d.flip)).collect();
        assert_eq!(distinct.len(), 50);
        assert!((0..100).all(|_| Augmentation::default().draw(&mut rng) == NOTHING));
    }

    /// Every centre is drawn, and what is cut out is the square about it, as far as the image goes: no more and no less.
    #[test]
    fn a_square_about_any_pixel_is_cut_out() {
        let (shape, image) = (Shape::new(2, 5, 7), [9; 70]);
        let augmentation = Augmentation { cutout: 3, ..Augmentation::default() };
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            let draw = augmentation.draw(&mut rng);
            let ([down, across], side) = draw.cutout.unwrap();
            assert_eq!(side, 3);
            let (y, x) = ((down * 5.0) as i64, (across * 7.0) as i64);
            seen.insert((y, x));
            let mut out = [f32::NAN; 70];
            write(&image, shape, &draw, &identity(), &mut out);
            for (at, value) in out.iter().enumerate() {
                let (row, column) = (at as i64 / 7 % 5, at as i64 % 7);
                let cut = (row - y).abs() <= 1 && (column - x).abs() <= 1;
                assert_eq!(*value, if cut { 0.0 } else { 9.0 }, "{y}, {x}: {row}, {column}");
            }
        }
        assert_eq!(seen.len(), 35);
        // Larger than the image: all of it. An even side lies to the left of and above its centre.
        assert_eq!(square(shape, [0.5, 0.5], 100), [0..5, 0..7]);
        assert_eq!(square(shape, [0.5, 0.5], 2), [1..3, 2..4]);
    }

    #[test]
    fn normalisation_is_the_cards() {
        let table = Normalization { mean: vec![0.25], std: vec![0.5] }.table();
        assert_eq!((table[0][0], table[0][255]), (-0.5, 1.5));
    }
}
