//! What a run is about to do, before its first batch: for the terminal, the summary and the document of the command.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use lrpet_data::folder::names::shown;
use lrpet_network::network::Network;
use lrpet_report::units;
use lrpet_runtime::model::cost::Cost;
use lrpet_train::{Choose, Origin, Period, Settings, Start};
use serde::Serialize;

use super::{About, Host, Images};

/// Batches of an epoch below which a smaller batch is advised.
const FEW_BATCHES: usize = 10;
/// Smallest batch that is advised.
const SMALL_BATCH: usize = 8;

/// What a run is about to do.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    /// Name of the network.
    pub network: String,
    /// Channels, height and width of its input.
    pub input: [u32; 3],
    /// Name of the data set.
    pub dataset: String,
    /// Number of classes.
    pub classes: u32,
    /// Numbers of images.
    pub images: Images,
    /// What happens to training images, in words.
    pub augmentation: String,
    /// Most images of a batch.
    pub batch: usize,
    /// Batches, and so steps, of an epoch.
    pub batches: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Epochs that were done before.
    pub epochs_done: usize,
    /// Ranks, or how and when they will be chosen, in words.
    pub ranks: String,
    /// Layers that have a rank, where it is known.
    pub low_rank_layers: Option<usize>,
    /// Multiply-adds of the dense network.
    pub macs_dense: u64,
    /// The same at the ranks, where they are known.
    pub macs: Option<u64>,
    /// Optimiser, loss and average, in words, where they are not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recipe: Option<String>,
    /// Where the weights come from, in words.
    pub weights: String,
    /// What computes, in words.
    pub device: String,
    /// Threads of this process.
    pub threads: usize,
    /// Folder of the run.
    pub out: PathBuf,
    /// What the user may want to change.
    pub hints: Vec<String>,
}

impl Setup {
    /// That of the run `about` that starts as `start`.
    pub fn new(about: &About, start: &Start) -> Setup {
        let (settings, network) = (start.settings, about.network);
        let ranks = start.ranks;
        let done = start.history.len();
        Setup {
            network: network.name.clone(),
            input: [network.input.channels, network.input.height, network.input.width],
            dataset: settings.dataset.clone(),
            classes: network.classes,
            images: about.images,
            augmentation: about.augmentation.clone(),
            batch: settings.batch,
            batches: start.batches,
            epochs: settings.epochs_in_all(),
            epochs_done: done,
            ranks: ranks_in_words(settings, ranks),
            low_rank_layers: ranks.map(BTreeMap::len),
            macs_dense: network.cost().macs,
            macs: ranks.map(|ranks| cost_at(network, ranks).macs),
            recipe: (!settings.recipe.is_plain()).then(|| settings.recipe.to_string()),
            weights: match done {
                1.. => format!("from the checkpoint after epoch {done}"),
                0 => match Origin::of(settings, network) {
                    Some(origin) => origin.to_string(),
                    None => format!("fresh, seed {}", settings.seed),
                },
            },
            device: about.device.clone(),
            threads: Host::here().threads,
            out: start.run_dir.to_owned(),
            hints: hints(about, settings, start.batches),
        }
    }

    /// Takes ranks that were chosen in the course of the run.
    pub fn know(&mut self, network: &Network, ranks: Option<&BTreeMap<String, u64>>) {
        if let Some(ranks) = ranks {
            self.low_rank_layers = Some(ranks.len());
            self.macs = Some(cost_at(network, ranks).macs);
        }
    }

    /// Names with their values, for people.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let count = |count: usize| units::grouped(count as f64);
        let [channels, height, width] = self.input;
        let Images { train, validation, test } = self.images;
        let macs = match self.macs {
            Some(macs) => {
                let ratio = units::times(macs as f64 / self.macs_dense as f64);
                let [dense, low] = [self.macs_dense, macs].map(|macs| units::count(macs as f64));
                format!("{dense} dense → {low} at these ranks ({ratio})")
            }
            None => format!("{} dense", units::count(self.macs_dense as f64)),
        };
        let size = match (train / self.batches.max(1), train % self.batches.max(1)) {
            (size, 0) => size.to_string(),
            (size, _) => format!("{size} or {}", size + 1),
        };
        let done = match self.epochs_done {
            0 => String::new(),
            done => format!("; {} done", units::things(done as u64, "epoch")),
        };
        let mut facts = vec![
            (
                "network",
                format!(
                    "{}, input {channels}×{height}×{width}, {}",
                    self.network,
                    units::things(self.classes.into(), "class")
                ),
            ),
            (
                "images",
                format!(
                    "{}: {} training, {} validation, {} test; {}",
                    self.dataset,
                    count(train),
                    count(validation),
                    count(test),
                    self.augmentation
                ),
            ),
            (
                "steps",
                format!(
                    "{} of {} of {size} images{done}",
                    units::things(self.epochs as u64, "epoch"),
                    units::things(self.batches as u64, "batch")
                ),
            ),
            ("ranks", self.ranks.clone()),
            ("multiply-adds", macs),
            ("weights", self.weights.clone()),
            ("device", format!("{}, {}", self.device, units::things(self.threads as u64, "thread"))),
            ("output", self.out.display().to_string()),
        ];
        if let Some(recipe) = &self.recipe {
            facts.insert(3, ("recipe", recipe.clone()));
        }
        facts
    }

    /// The block that is shown before the training.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.facts() {
            let _ = writeln!(text, "{name:<14} {value}");
        }
        for hint in &self.hints {
            let _ = writeln!(text, "hint: {hint}");
        }
        text.trim_end().to_owned()
    }
}

/// Costs at these ranks; layers without one are dense.
pub(super) fn cost_at(network: &Network, ranks: &BTreeMap<String, u64>) -> Cost {
    let rank = |name: &str| ranks.get(name).copied().unwrap_or(0);
    network.matrices().iter().fold(Cost::default(), |sum, (_, name, matrix)| sum + matrix.cost(rank(name)))
}

fn ranks_in_words(settings: &Settings, ranks: Option<&BTreeMap<String, u64>>) -> String {
    let Some(projection) = &settings.projection else { return "dense".to_owned() };
    let often = match projection.period {
        Period::Epochs(1) => "every epoch".to_owned(),
        Period::Epochs(every) => format!("every {every} epochs"),
        Period::Iterations(1) => "after every batch".to_owned(),
        Period::Iterations(every) => format!("every {every} batches"),
    };
    let which = match (&projection.choose, ranks) {
        (Some(Choose { rule, after: 0 }), None) => format!("by {rule}, chosen from the weights at the start"),
        (Some(Choose { rule, after: 1 }), None) => {
            format!("by {rule}, chosen from the weights after epoch 1")
        }
        (Some(Choose { rule, after }), None) => {
            format!("by {rule}, chosen from the weights after {after} epochs")
        }
        (Some(Choose { rule, .. }), Some(ranks)) => {
            format!("by {rule}, in {}", units::things(ranks.len() as u64, "layer"))
        }
        (None, ranks) => {
            let rule = match projection.rule.parse::<f64>() {
                Ok(_) => format!("pruning ratio {}", projection.rule),
                Err(_) => projection.rule.clone(),
            };
            format!("{rule}, in {}", units::things(ranks.map_or(0, BTreeMap::len) as u64, "layer"))
        }
    };
    format!("{which}; projected {often}")
}

fn hints(about: &About, settings: &Settings, batches: usize) -> Vec<String> {
    let mut hints = Vec::new();
    let train = about.images.train;
    let advised = (train / FEW_BATCHES).max(SMALL_BATCH);
    let advised = 1 << advised.ilog2();
    if batches < FEW_BATCHES && advised < settings.batch {
        hints.push(format!(
            "an epoch of {} has {} only: --batch {advised} gives {}",
            units::things(train as u64, "image"),
            units::things(batches as u64, "step"),
            train.div_ceil(advised)
        ));
    }
    if settings.batch < 4 {
        hints.push(format!(
            "batch normalisation sees {} at a time, and its statistics are noisy: a --batch of {SMALL_BATCH} or more is usual",
            units::things(settings.batch as u64, "image")
        ));
    }
    if let Some(projection) = &settings.projection {
        let (all, batches) = ((settings.epochs_in_all() * batches) as u64, batches as u64);
        let (every, more) = match projection.period {
            Period::Epochs(every) => (every as u64 * batches, "give more --epochs or --project-iterations"),
            Period::Iterations(every) => (every, "give a smaller --project-iterations"),
        };
        let first = projection.choose.as_ref().map_or(0, |choose| choose.after as u64 * batches);
        // The projection that ends the run comes too late to train with.
        if all.saturating_sub(1) / every.max(1) * every <= first {
            hints.push(format!(
                "the weights are projected at the end alone, and never trained after it: {more}"
            ));
        }
    }
    if let Some((first, others)) = about.without_images.split_first() {
        let others = match others.len() {
            0 => String::new(),
            count => format!(" (and {})", units::things(count as u64, "other class")),
        };
        hints.push(format!(
            "no training image shows {}{others}: the network cannot learn to name it",
            shown(first)
        ));
    }
    hints
}

#[cfg(test)]
mod tests {
    use super::super::tests::small::{config, network};
    use super::*;

    /// Hints for so many training images in batches of this size, with no image of these classes.
    fn hinted(train: usize, batch: usize, without: &[&str]) -> Vec<String> {
        let network = network();
        let mut settings = config(std::path::Path::new("run"), 4).settings;
        settings.batch = batch;
        settings.projection = None;
        let about = About {
            command: String::new(),
            network: &network,
            settings: settings.clone(),
            images: super::super::Images { train, validation: 0, test: 0 },
            without_images: without.iter().map(|class| (*class).to_owned()).collect(),
            augmentation: String::new(),
            device: String::new(),
        };
        hints(&about, &settings, train.div_ceil(batch))
    }

    #[test]
    fn tiny_batches_few_steps_and_classes_without_images_are_told() {
        assert_eq!(hinted(10_000, 64, &[]), Vec::<String>::new());
        for (batch, words) in [(1, "sees 1 image at a time"), (3, "sees 3 images at a time")] {
            let hints = hinted(10_000, batch, &[]);
            assert!(hints.len() == 1 && hints[0].contains(words), "{hints:?}");
        }
        assert_eq!(hinted(10_000, 4, &[]), Vec::<String>::new());
        let few = hinted(60, 128, &[]);
        assert!(
            few.len() == 1 && few[0].starts_with("an epoch of 60 images has 1 step only: --batch "),
            "{few:?}"
        );
        let one = hinted(10_000, 64, &["cat"]);
        assert!(one.len() == 1 && one[0].starts_with("no training image shows cat: "), "{one:?}");
        let three = hinted(10_000, 64, &["cat", "dog", "eel"]);
        assert!(three[0].contains("cat (and 2 other classes)"), "{three:?}");
    }
}
