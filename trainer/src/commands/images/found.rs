//! What a network takes and tells apart, and what a model of it is tried on.

use std::sync::Arc;

use anyhow::Result;
use lrpet_data::{Dataset, InMemory, Normalization, Values};
use lrpet_network::export::{SELF_CHECK_SAMPLES, Samples};
use lrpet_network::network::InputKind;
use lrpet_runtime::model::Shape;
use lrpet_train::folded::Candle;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Images of a self-check where no data set is at hand.
const NOISE_IMAGES: usize = 4;

/// What the network takes and tells apart.
pub struct Images {
    /// Name of the data set; empty where there is none.
    pub dataset: String,
    /// Whether they are pictures.
    pub kind: InputKind,
    /// Shape of one image.
    pub shape: Shape,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// How pixels become the input.
    pub normalization: Normalization,
    /// How pictures are prepared for testing: keys and values for the model's card.
    pub preparation: Vec<(&'static str, String)>,
    /// The test set, where its files are here.
    pub test: Option<lrpet_data::Images>,
}

/// What a model is tried on, and its self-check made of.
pub enum Tried {
    /// Some pictures of the test set, or noise, which serves as well to compare two machines.
    Pictures(Arc<Dataset>),
    /// Some samples of the test set, or none: normal random values are taken then.
    Values(Option<Values>),
}

impl Tried {
    /// The same, for an export.
    pub fn samples(&self) -> Samples<'_> {
        match self {
            Tried::Pictures(data) => Samples::Images { data, machine: &Candle },
            Tried::Values(values) => Samples::Values {
                data: values.as_ref().map(|values| &*values.samples),
                machine: Some(&Candle),
            },
        }
    }
}

impl Images {
    /// What a model of them is tried on.
    pub fn tried(&self) -> Result<Tried> {
        if let Some(test) = &self.test {
            return Ok(match test.read(&test.spread(SELF_CHECK_SAMPLES))? {
                InMemory::Pictures(data) => Tried::Pictures(data),
                InMemory::Values(values) => Tried::Values(Some(values)),
            });
        }
        if self.kind == InputKind::Values {
            return Ok(Tried::Values(None));
        }
        let mut images = vec![0; NOISE_IMAGES * self.shape.len()];
        ChaCha8Rng::seed_from_u64(0).fill(&mut images[..]);
        let labels = vec![0; NOISE_IMAGES];
        let noise = Dataset { images, labels, shape: self.shape, classes: self.classes.clone() };
        Ok(Tried::Pictures(Arc::new(noise)))
    }
}
