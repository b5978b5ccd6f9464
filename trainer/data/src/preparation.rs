//! How a picture becomes an image of the network's size: one way for training's tests, for models and for single pictures.

use lrpet_runtime::model::Shape;

use super::crop::{Cutter, centre};
use super::picture::Picture;

/// How pictures become images of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preparation {
    /// Shape of an image; 1 channel (grey) or 3 (RGB).
    pub shape: Shape,
    /// For testing the picture is resized to cover this many times the image's size, and its centre is taken.
    pub test_resize: f64,
    /// Share of each class held back for testing, where the folder has no part for it.
    pub test_share: Option<f64>,
}

impl Preparation {
    /// Resize before the centre crop of usual ImageNet testing: 256 for an image of 224.
    pub const TEST_RESIZE: f64 = 256.0 / 224.0;

    /// The preparation of pictures of `size` (height, width) for a model of which `test_resize` is known or not. Where it
    /// is not, only pictures that have the image's size already can be prepared: whole.
    ///
    /// # Errors
    /// What to do about pictures of another size.
    pub fn for_model(shape: Shape, test_resize: Option<f64>, size: [u32; 2]) -> Result<Preparation, String> {
        let Shape { height, width, .. } = shape;
        if test_resize.is_none() && size != [height, width] {
            return Err(format!(
                "a picture of {}×{} pixels (height × width), but the model takes {shape}, and its card does not say how other \
                 sizes are prepared: say it with --test-resize (1 takes the largest centre, {:.3} a smaller one, as is usual \
                 for 224×224)",
                size[0],
                size[1],
                Self::TEST_RESIZE
            ));
        }
        Ok(Preparation { shape, test_resize: test_resize.unwrap_or(1.0), test_share: None })
    }

    /// Checks a [`Preparation::test_resize`].
    ///
    /// # Errors
    /// Its bounds.
    pub fn check_resize(test_resize: f64) -> Result<f64, String> {
        if (1.0..=16.0).contains(&test_resize) {
            Ok(test_resize)
        } else {
            Err("it is at least 1 and at most 16".into())
        }
    }

    /// The image for testing, H×W×C bytes, of a picture with as many channels.
    ///
    /// # Errors
    /// Where it cannot be resized.
    pub(super) fn centre<'w>(&self, picture: &Picture, cutter: &'w mut Cutter) -> Result<&'w [u8], String> {
        let target = [self.shape.height, self.shape.width];
        cutter.cut(picture, centre([picture.height, picture.width], target, self.test_resize), target)
    }

    /// The image for testing, H×W×C bytes, of a picture with as many channels.
    ///
    /// # Errors
    /// Where it cannot be resized.
    pub fn image(&self, picture: &Picture) -> Result<Vec<u8>, String> {
        Ok(self.centre(picture, &mut Cutter::default())?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape::new(1, 4, 4);

    #[test]
    fn pictures_of_the_images_size_are_taken_whole_only_where_the_resize_is_1() {
        let picture =
            Picture { width: 4, height: 4, channels: 1, pixels: (0..16).collect(), transparent: false };
        let image = |test_resize| {
            Preparation::for_model(SHAPE, test_resize, [4, 4]).unwrap().image(&picture).unwrap()
        };
        assert_eq!(image(None), picture.pixels);
        assert_eq!(image(Some(1.0)), picture.pixels);
        // The centre of half the size, doubled.
        assert_ne!(image(Some(2.0)), picture.pixels);
        assert!(image(Some(2.0)).iter().all(|value| (4..=11).contains(value)));
    }

    #[test]
    fn other_sizes_need_a_resize() {
        let error = Preparation::for_model(SHAPE, None, [5, 4]).unwrap_err();
        assert!(error.contains("5×4") && error.contains("4×4") && error.contains("--test-resize"), "{error}");
        assert_eq!(Preparation::for_model(SHAPE, Some(1.5), [5, 4]).unwrap().test_resize, 1.5);
        assert!(Preparation::check_resize(0.9).is_err() && Preparation::check_resize(f64::NAN).is_err());
    }
}
