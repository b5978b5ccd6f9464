//! Which part of a picture becomes an image of the network's size, and resampling it.
//!
//! Training takes a part of random area and shape (random resized crop, Szegedy et al. 2015, section 6, with the
//! settings of usual ImageNet training); testing takes the centre.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3};
use fast_image_resize::{FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};
use rand::Rng;
use serde::Serialize;

use super::picture::Picture;

/// Draws before a picture is too narrow for its random shapes, and its centre is taken.
const ATTEMPTS: usize = 10;

/// A part of random area and shape, resized to the network's size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RandomCrop {
    /// Smallest share of the picture's area, above 0 and up to 1; the largest is 1.
    pub scale: f64,
    /// Largest stretch of one side against the other, from 1; the smallest is its inverse.
    pub stretch: f64,
}

impl Default for RandomCrop {
    fn default() -> Self {
        RandomCrop { scale: 0.08, stretch: 4.0 / 3.0 }
    }
}

/// A part of a picture, in pixels, not always whole ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// Top and left edge.
    pub start: [f64; 2],
    /// Height and width.
    pub size: [f64; 2],
}

/// Height and width.
pub(super) type Size = [u32; 2];

impl RandomCrop {
    /// Draws a part of `picture` for an image of size `target`.
    pub(super) fn draw(&self, picture: Size, target: Size, rng: &mut impl Rng) -> Window {
        let [height, width] = picture.map(f64::from);
        let aspect = f64::from(target[1]) / f64::from(target[0]);
        for _ in 0..ATTEMPTS {
            let area = height * width * rng.random_range(self.scale..=1.0);
            let stretch = self.stretch.ln();
            let ratio = aspect * rng.random_range(-stretch..=stretch).exp();
            let size = [(area / ratio).sqrt().round(), (area * ratio).sqrt().round()];
            if (1.0..=height).contains(&size[0]) && (1.0..=width).contains(&size[1]) {
                let mut edge = |most: f64| f64::from(rng.random_range(0..=most as u32));
                return Window { start: [edge(height - size[0]), edge(width - size[1])], size };
            }
        }
        centre(picture, target, 1.0)
    }
}

/// The centre of `picture` that is left for an image of size `target` where the picture is resized to cover
/// `resize` (from 1) times the image's size.
pub(super) fn centre(picture: Size, target: Size, resize: f64) -> Window {
    let [picture, target] = [picture, target].map(|size| size.map(f64::from));
    let scale = resize * (target[0] / picture[0]).max(target[1] / picture[1]);
    let size = [0, 1].map(|axis| (target[axis] / scale).min(picture[axis]));
    Window { start: [0, 1].map(|axis| (picture[axis] - size[axis]) / 2.0), size }
}

/// Cuts parts out of pictures; keeps its memory from one to the next.
#[derive(Default)]
pub(super) struct Cutter {
    resizer: Resizer,
    pixels: Vec<u8>,
}

impl Cutter {
    /// The part `window` of `picture` at size `target`, H×W×C: each pixel is the mean of those that it covers,
    /// weighted by distance (a triangle), so that a smaller image has no aliasing.
    pub(super) fn cut(&mut self, picture: &Picture, window: Window, target: Size) -> Result<&[u8], String> {
        self.pixels.resize(target[0] as usize * target[1] as usize * picture.channels as usize, 0);
        // By type: the untyped way would compile the resampling of every kind of pixel.
        if picture.channels == 1 {
            self.resample::<U8>(picture, window, target)
        } else {
            self.resample::<U8x3>(picture, window, target)
        }
        .map_err(|error| format!("cannot be resized ({error})"))?;
        Ok(&self.pixels)
    }

    fn resample<P: PixelTrait>(
        &mut self,
        picture: &Picture,
        window: Window,
        target: Size,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let source = TypedImageRef::<P>::from_buffer(picture.width, picture.height, &picture.pixels)?;
        let mut result = TypedImage::<P>::from_buffer(target[1], target[0], &mut self.pixels)?;
        let Window { start: [top, left], size: [height, width] } = window;
        let options = ResizeOptions::new()
            .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear))
            .crop(left, top, width, height);
        Ok(self.resizer.resize_typed(&source, &mut result, &options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Grey picture whose pixel at row y, column x is `value(y, x)`.
    fn picture(height: u32, width: u32, value: impl Fn(u32, u32) -> u8) -> Picture {
        let pixels = (0..height * width).map(|at| value(at / width, at % width)).collect();
        Picture { width, height, channels: 1, pixels, transparent: false }
    }

    #[test]
    fn random_parts_keep_inside_their_bounds() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let crop = RandomCrop { scale: 0.25, stretch: 4.0 / 3.0 };
        let (mut areas, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            let Window { start, size } = crop.draw([300, 400], [10, 20], &mut rng);
            assert!(start[0] >= 0.0 && start[0] + size[0] <= 300.0, "{start:?} {size:?}");
            assert!(start[1] >= 0.0 && start[1] + size[1] <= 400.0, "{start:?} {size:?}");
            areas.push(size[0] * size[1] / 120_000.0);
            ratios.push(size[1] / size[0]);
        }
        let span = |of: &[f64]| of.iter().fold((f64::MAX, 0_f64), |(a, b), &x| (a.min(x), b.max(x)));
        // At twice the width the area is at most 2/3 of 4:3, or 1 at the squarest stretch.
        let ((least, most), (flat, wide)) = (span(&areas), span(&ratios));
        assert!((0.245..0.27).contains(&least) && (0.85..=1.0).contains(&most), "{least} {most}");
        assert!((1.49..1.53).contains(&flat) && (2.6..2.7).contains(&wide), "{flat} {wide}");
    }

    #[test]
    fn a_picture_too_narrow_for_its_shapes_gives_its_centre() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let crop = RandomCrop { scale: 0.9, stretch: 4.0 / 3.0 };
        let window = crop.draw([10, 1000], [8, 8], &mut rng);
        assert_eq!(window, Window { start: [0.0, 495.0], size: [10.0, 10.0] });
    }

    #[test]
    fn testing_takes_the_centre_at_the_short_sides_scale() {
        // 256/224 of a 224×224 image is cut from 256×512: the short side is taken as it is.
        let window = centre([256, 512], [224, 224], 256.0 / 224.0);
        assert_eq!(window, Window { start: [16.0, 144.0], size: [224.0, 224.0] });
        let window = centre([100, 100], [20, 40], 1.0);
        assert_eq!(window, Window { start: [25.0, 0.0], size: [50.0, 100.0] });
    }

    #[test]
    fn cutting_copies_whole_pixels_and_averages_smaller_ones() {
        let mut cutter = Cutter::default();
        let steps = picture(6, 8, |y, x| (10 * y + x) as u8);
        let window = Window { start: [2.0, 3.0], size: [2.0, 3.0] };
        assert_eq!(cutter.cut(&steps, window, [2, 3]).unwrap(), [23, 24, 25, 33, 34, 35]);
        // Fine stripes become grey: with nearest pixels they would stay black or white.
        let stripes = picture(64, 64, |_, x| if x % 2 == 0 { 0 } else { 200 });
        let whole = centre([64, 64], [8, 8], 1.0);
        let grey = cutter.cut(&stripes, whole, [8, 8]).unwrap();
        assert!(grey.iter().all(|value| (95..=105).contains(value)), "{grey:?}");
    }
}
