//! What happens to an image on its way into a batch: random crop, horizontal flip, normalisation.

use lrpet_runtime::model::Shape;
use rand::Rng;

/// Mean and standard deviation of each channel, of pixels scaled to 0..1; a pixel p becomes (p/255 − mean)/std.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalization {
    /// For each channel the normalised value of each of the 256 bytes.
    pub(super) fn table(&self) -> Vec<[f32; 256]> {
        let row = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|byte| ((byte as f64 / 255.0 - f64::from(mean)) / f64::from(std)) as f32)
        };
        self.mean.iter().zip(&self.std).map(row).collect()
    }
}

/// Random changes to training images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Pixels of padding on each side from which a crop of the image's own size is taken; 0 crops nothing. The
    /// raw image is padded with zero bytes, which is black, before it is normalised (the order of torchvision's
    /// usual chain: crop, to tensor, normalise).
    pub crop_padding: u32,
    /// Mirror half of the images left to right.
    pub flip: bool,
}

impl std::fmt::Display for Augmentation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.crop_padding, self.flip) {
            (0, false) => f.write_str("none"),
            (0, true) => f.write_str("horizontal flip"),
            (padding, false) => write!(f, "random crop of the image padded by {padding}"),
            (padding, true) => write!(f, "random crop of the image padded by {padding}, horizontal flip"),
        }
    }
}

/// One image's draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    /// Shift of the crop against the image: row and column of the image that land at row 0, column 0.
    pub offset: [i64; 2],
    /// Mirrored left to right, after the crop.
    pub flip: bool,
}

impl Augmentation {
    /// Draws what happens to one image.
    pub(super) fn draw(&self, rng: &mut impl Rng) -> Draw {
        let padding = i64::from(self.crop_padding);
        let mut axis = || if padding == 0 { 0 } else { rng.random_range(-padding..=padding) };
        let offset = [axis(), axis()];
        Draw { offset, flip: self.flip && rng.random() }
    }
}

/// Writes an image (H×W×C bytes) as normalised C×H×W values, changed by `draw`.
pub(super) fn write(image: &[u8], shape: Shape, draw: Draw, table: &[[f32; 256]], out: &mut [f32]) {
    let [height, width, channels] = [shape.height, shape.width, shape.channels].map(|size| size as usize);
    let columns = |x: usize| {
        let across = if draw.flip { width - 1 - x } else { x };
        inside(across, draw.offset[1], width)
    };
    for (channel, plane) in out.chunks_exact_mut(height * width).enumerate() {
        let values = &table[channel];
        for (y, row) in plane.chunks_exact_mut(width).enumerate() {
            let Some(from) = inside(y, draw.offset[0], height) else {
                row.fill(values[0]);
                continue;
            };
            let source = &image[from * width * channels..(from + 1) * width * channels];
            for (x, value) in row.iter_mut().enumerate() {
                let byte = columns(x).map_or(0, |x| source[x * channels + channel]);
                *value = values[usize::from(byte)];
            }
        }
    }
}

/// `position + offset` where it is below `size`.
fn inside(position: usize, offset: i64, size: usize) -> Option<usize> {
    usize::try_from(position as i64 + offset).ok().filter(|&position| position < size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const NOTHING: Draw = Draw { offset: [0, 0], flip: false };

    fn identity() -> Vec<[f32; 256]> {
        vec![std::array::from_fn(|byte| byte as f32); 2]
    }

    #[test]
    fn crop_pads_with_black_and_flip_mirrors_the_crop() {
        // 2×3 pixels of 2 channels: channel 0 holds 1..6, channel 1 holds 11..16.
        let image = [1, 11, 2, 12, 3, 13, 4, 14, 5, 15, 6, 16];
        let shape = Shape::new(2, 2, 3);
        let mut out = [0.0; 12];
        write(&image, shape, NOTHING, &identity(), &mut out);
        assert_eq!(out, [1., 2., 3., 4., 5., 6., 11., 12., 13., 14., 15., 16.]);
        write(&image, shape, Draw { offset: [1, -1], flip: false }, &identity(), &mut out);
        assert_eq!(out, [0., 4., 5., 0., 0., 0., 0., 14., 15., 0., 0., 0.]);
        write(&image, shape, Draw { offset: [1, -1], flip: true }, &identity(), &mut out);
        assert_eq!(out, [5., 4., 0., 0., 0., 0., 15., 14., 0., 0., 0., 0.]);
    }

    #[test]
    fn draws_cover_every_offset_and_both_sides() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let augmentation = Augmentation { crop_padding: 2, flip: true };
        let draws: Vec<Draw> = (0..2000).map(|_| augmentation.draw(&mut rng)).collect();
        let distinct: std::collections::HashSet<_> = draws.iter().map(|d| (d.offset, d.flip)).collect();
        assert_eq!(distinct.len(), 50);
        assert!((0..100).all(|_| Augmentation::default().draw(&mut rng) == NOTHING));
    }

    #[test]
    fn normalisation_is_the_cards() {
        let table = Normalization { mean: vec![0.25], std: vec![0.5] }.table();
        assert_eq!((table[0][0], table[0][255]), (-0.5, 1.5));
    }
}
