//! How the bytes of a picture become a network's input.

use lrpet_runtime::model::Shape;

/// Mean and standard deviation of each channel, of pixels scaled to 0..1; a pixel p becomes (p/255 − mean)/std.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalization {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel.
    pub std: Vec<f32>,
}

impl Normalization {
    /// That of ImageNet's training set, as published networks for colour images use it (torchvision's).
    pub fn imagenet() -> Self {
        Normalization { mean: vec![0.485, 0.456, 0.406], std: vec![0.229, 0.224, 0.225] }
    }

    /// The values of an image of shape `input` (H×W×C bytes), C×H×W.
    pub fn values(&self, image: &[u8], input: Shape) -> Vec<f32> {
        let (channels, pixels) = (input.channels as usize, input.pixels());
        let value = |at: usize| {
            let (channel, pixel) = (at / pixels, at % pixels);
            (f32::from(image[pixel * channels + channel]) / 255.0 - self.mean[channel]) / self.std[channel]
        };
        (0..channels * pixels).map(value).collect()
    }

    /// For each channel the normalised value of each of the 256 bytes.
    pub fn table(&self) -> Vec<[f32; 256]> {
        let row = |(&mean, &std): (&f32, &f32)| {
            std::array::from_fn(|byte| ((byte as f64 / 255.0 - f64::from(mean)) / f64::from(std)) as f32)
        };
        self.mean.iter().zip(&self.std).map(row).collect()
    }
}
