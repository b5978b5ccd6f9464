//! The batch normalisations of a network, and how many values a batch must give them.

use lrpet_kernels::Moments;
use lrpet_network::network::Network;

use crate::parameters::{LayerNames, NormNames};
use crate::{Parameters, TrainError};

/// A batch normalisation.
pub(super) struct Norm {
    /// Name of the convolution before it.
    pub layer: String,
    names: NormNames,
    /// Values of a channel in one image.
    pub pixels: usize,
}

/// Those of `network`, in order of execution.
pub(super) fn norms(network: &Network) -> Vec<Norm> {
    let shapes = network.value_shapes().unwrap_or_default();
    let norm = |(layer, output): (&lrpet_network::network::Layer, &lrpet_runtime::model::Shape)| {
        let names = LayerNames::of(layer)?.norm?;
        Some(Norm { layer: layer.op.name().to_owned(), names, pixels: output.pixels() })
    };
    network.layers.iter().zip(shapes.iter().skip(1)).filter_map(norm).collect()
}

impl Norm {
    /// The running statistics as those of a batch with `count` values of each channel.
    pub fn moments(&self, parameters: &Parameters, count: usize) -> Result<Moments, TrainError> {
        let values = |name: &str| Ok::<_, TrainError>(parameters.values(name)?.into_iter().map(f64::from));
        let biased = (count as f64 - 1.0) / count as f64;
        Ok(Moments {
            mean: values(&self.names.mean)?.collect(),
            variance: values(&self.names.variance)?.map(|variance| variance * biased).collect(),
            count,
        })
    }

    /// Makes `moments` the running statistics.
    pub fn set(&self, parameters: &Parameters, moments: &Moments) -> Result<(), TrainError> {
        let unbiased = moments.count as f64 / (moments.count as f64 - 1.0).max(1.0);
        let mean = moments.mean.iter().map(|mean| *mean as f32).collect();
        let variance = moments.variance.iter().map(|variance| (variance * unbiased) as f32).collect();
        parameters.set(&self.names.mean, mean)?;
        parameters.set(&self.names.variance, variance)
    }
}

/// Whether a batch of `images` has at least two values of each channel in every normalisation. One value has no variance: it
/// would be normalised to zero, and would pull the running variance to zero.
pub(super) fn enough_values(norms: &[Norm], images: usize) -> bool {
    norms.iter().all(|norm| images * norm.pixels >= 2)
}

/// Refuses to train `network` where the smallest batch, of `images` images, is too small for a normalisation.
pub(super) fn check_values(network: &Network, images: usize) -> Result<(), TrainError> {
    match norms(network).iter().find(|norm| images * norm.pixels < 2) {
        None => Ok(()),
        Some(norm) => Err(TrainError::Setting(format!(
            "--batch {images}: the batch normalisation behind {} would see one value of each channel, which has no \
             variance; give a --batch of at least 2 (better 16 or more), or larger images",
            norm.layer
        ))),
    }
}
