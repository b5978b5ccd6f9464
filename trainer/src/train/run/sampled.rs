//! One training for several pruning ratios: batches train in stretches, each at the ranks of one ratio, drawn by chance.
//!
//! What a stretch's projection drops is put aside and added back behind it. So the leading singular directions of a layer
//! learn to do without the others (nested dropout orders directions the same way: Rippel et al., ICML 2014), and each
//! ratio is trained as the network that it will be.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::config::{Period, ProjectionSettings, Sampled};
use super::projections::Projections;
use crate::lrpet;
use crate::train::{TrainError, Trainable};

/// The stretches of one epoch. None lasts beyond it, so that checkpoints hold whole weights.
pub(super) struct Stretches<'a> {
    settings: &'a ProjectionSettings,
    seed: u64,
    dropped: Dropped,
}

/// Names of the run's sources of chance: this one is none of the layers'.
const STREAM: u64 = 1 << 32;

impl<'a> Stretches<'a> {
    /// None where the run has ranks of its own.
    pub(super) fn of(settings: Option<&'a ProjectionSettings>, seed: u64) -> Option<Self> {
        let settings = settings.filter(|of| !of.sampled.is_empty())?;
        Some(Self { settings, seed, dropped: Dropped::default() })
    }

    /// Before batch `number` of an epoch, which is batch `done` of the run (both from 0): begins the next stretch where it is time.
    pub(super) fn before(
        &mut self,
        model: &Trainable,
        number: usize,
        done: u64,
        projections: &mut Projections,
    ) -> Result<(), TrainError> {
        let due = match self.settings.period {
            Period::Iterations(every) => done.is_multiple_of(every),
            Period::Epochs(_) => false,
        };
        if number > 0 && !due {
            return Ok(());
        }
        self.end(model)?;
        let ranks = &draw(&self.settings.sampled, self.seed, done).ranks;
        // A gain would stay with what is kept and grow with every stretch.
        let options = lrpet::Options { energy_transfer: false, residual: 0.0, ..self.settings.options() };
        self.dropped = Dropped::by(model, ranks, || projections.add(model, &options, ranks))?;
        Ok(())
    }

    /// Ends the stretch: its weights get back what was dropped.
    pub(super) fn end(&mut self, model: &Trainable) -> Result<(), TrainError> {
        std::mem::take(&mut self.dropped).put_back(model)
    }
}

/// The ratio of the stretch that begins with batch `done`: a function of the seed, so that a resumed run draws the same.
fn draw(sampled: &[Sampled], seed: u64, done: u64) -> &Sampled {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(STREAM + done);
    &sampled[rng.random_range(0..sampled.len())]
}

/// What a projection dropped from each weight, by the tensor's name.
#[derive(Default)]
struct Dropped(BTreeMap<String, Vec<f32>>);

impl Dropped {
    fn by(
        model: &Trainable,
        ranks: &BTreeMap<String, u64>,
        project: impl FnOnce() -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let parameters = model.parameters();
        let names = ranks.keys().map(|layer| format!("{layer}.weight"));
        let mut weights: BTreeMap<String, Vec<f32>> = names
            .map(|name| Ok((name.clone(), parameters.values(&name)?)))
            .collect::<Result<_, TrainError>>()?;
        project()?;
        for (name, values) in &mut weights {
            values.iter_mut().zip(parameters.values(name)?).for_each(|(whole, kept)| *whole -= kept);
        }
        Ok(Self(weights))
    }

    fn put_back(self, model: &Trainable) -> Result<(), TrainError> {
        for (name, mut values) in self.0 {
            let kept = model.parameters().values(&name)?;
            values.iter_mut().zip(kept).for_each(|(value, kept)| *value += kept);
            model.parameters().set(&name, values)?;
        }
        Ok(())
    }
}

/// All values of a model, to be put back.
pub(super) struct Held(Vec<(String, Vec<f32>)>);

impl Held {
    pub(super) fn of(model: &Trainable) -> Result<Self, TrainError> {
        let parameters = model.parameters();
        let names = parameters.trained().keys().chain(parameters.statistics().keys());
        let values = names.map(|name| Ok((name.clone(), parameters.values(name)?)));
        Ok(Self(values.collect::<Result<_, TrainError>>()?))
    }

    pub(super) fn put_back(self, model: &Trainable) -> Result<(), TrainError> {
        self.0.into_iter().try_for_each(|(name, values)| model.parameters().set(&name, values))
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use super::super::config::TrainConfig;
    use super::super::finish::FINAL;
    use super::super::metrics::Silent;
    use super::super::tests::{self, Killer, network, result, start};
    use super::*;
    use crate::export::Checkpoint;
    use crate::lrpet::Spectrum;
    use candle_core::Device;

    fn sampled(ranks: [u64; 2]) -> Vec<Sampled> {
        let of = |rank| [("layer2.0.conv2".to_owned(), rank), ("layer3.0.conv1".to_owned(), rank)].into();
        ranks.map(|rank| Sampled { prune: 1.0 / rank as f64, ranks: of(rank) }).into()
    }

    #[test]
    fn a_stretch_drops_and_gives_back() {
        let model = Trainable::new(&network(), 1, &Device::Cpu).unwrap();
        let settings = ProjectionSettings {
            ranks: BTreeMap::new(),
            rule: String::new(),
            choose: None,
            sampled: sampled([3, 8]),
            period: Period::Iterations(4),
            energy_transfer: true,
            rectification: true,
            residual: 0.0,
        };
        let weight = || model.parameters().values("layer2.0.conv2.weight").unwrap();
        let whole = weight();
        let mut projections = Projections::default();
        let mut stretches = Stretches::of(Some(&settings), 5).unwrap();
        for number in 0..8 {
            stretches.before(&model, number, 100 + number as u64, &mut projections).unwrap();
            assert_ne!(weight(), whole);
        }
        // The first, and before batches 100, 104 of the run.
        assert_eq!(projections.record().unwrap().count, 2);
        stretches.end(&model).unwrap();
        stretches.end(&model).unwrap();
        for (back, whole) in weight().iter().zip(&whole) {
            assert!((back - whole).abs() < 1e-6, "{back} {whole}");
        }
    }

    #[test]
    fn draws_follow_seed_and_batch_and_reach_every_ratio() {
        let sampled = sampled([3, 8]);
        let drawn = |seed| (0..200).map(|done| draw(&sampled, seed, done).prune).collect::<Vec<_>>();
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let first = drawn(1).iter().filter(|prune| **prune == sampled[0].prune).count();
        assert!((70..130).contains(&first), "{first} of 200");
    }

    fn config(folder: &Path, epochs: usize) -> TrainConfig {
        let mut config = tests::config(folder, epochs);
        let projection = config.settings.projection.as_mut().unwrap();
        projection.ranks.clear();
        projection.sampled = sampled([3, 8]);
        config
    }

    #[test]
    fn a_run_leaves_weights_of_every_ratio() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), 12);
        let outcome = start(&config, &mut Silent).unwrap();
        let values_of = |path: &Path| {
            let tensors = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
            let weight = &tensors["layer3.0.conv1.weight"];
            let values: Vec<f32> = weight.flatten_all().unwrap().to_vec1().unwrap();
            Spectrum::new("", &values, weight.dim(0).unwrap(), None).unwrap().singular_values().to_vec()
        };
        assert_eq!(outcome.variants.len(), 2);
        for (variant, sampled) in outcome.variants.iter().zip(&config.settings.projection.unwrap().sampled) {
            assert_eq!(variant.prune, sampled.prune);
            assert!(variant.test.unwrap().accuracy >= 0.8, "{variant:?}");
            let ranks = &Checkpoint::read(&variant.weights).unwrap().metadata["ranks"];
            assert_eq!(serde_json::from_str::<BTreeMap<String, u64>>(ranks).unwrap(), sampled.ranks);
            let (rank, values) = (sampled.ranks["layer3.0.conv1"] as usize, values_of(&variant.weights));
            assert!(values[rank] < 1e-5 * values[0] && values[rank - 1] > 1e-4 * values[0], "{values:?}");
        }
        let whole = values_of(&folder.path().join(FINAL));
        assert!(whole[8] > 1e-3 * whole[0], "{whole:?}");
        assert!(!Checkpoint::read(&outcome.weights).unwrap().metadata.contains_key("ranks"));
    }

    #[test]
    fn a_killed_run_goes_on_to_the_same_bits() {
        let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        start(&config(whole.path(), 3), &mut Silent).unwrap();
        let mut config = config(killed.path(), 3);
        assert!(catch_unwind(AssertUnwindSafe(|| start(&config, &mut Killer { epoch: 2 }))).is_err());
        config.resume = true;
        start(&config, &mut Silent).unwrap();
        assert!(result(killed.path()) == result(whole.path()));
    }
}
