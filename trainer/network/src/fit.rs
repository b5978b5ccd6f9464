//! What the same network would take at lower ranks: which uniform pruning ratio fits a board.

use std::collections::BTreeMap;

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::program::SELF_CHECK_TOLERANCE;
use lrpet_runtime::model::{Model, Program, cost};
use lrpet_runtime::plan::Plan;
use serde::Serialize;

use crate::Normalization;
use crate::export::file::{SelfCheck, serialize};
use crate::export::{ExportError, Folded, model_network};
use crate::lrpet::{RankPlan, Scope};
use crate::network::{Known, NETWORK_DIGEST, Network};

/// Pruning ratios that are tried: hundredths.
const STEPS: u32 = 100;

/// A network at a uniform pruning ratio, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AtRatio {
    /// Pruning ratio g.
    pub prune: f64,
    /// The model file.
    pub file_bytes: u64,
    /// The arena on the board.
    pub arena_bytes: u64,
}

/// What a board has left for a model, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// For the model file.
    pub file_bytes: u64,
    /// For the arena.
    pub arena_bytes: u64,
}

/// What would help.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Advice {
    /// The lowest ratio that fits.
    Fits(AtRatio),
    /// None does; this is the highest that was tried.
    None(AtRatio),
    /// That cannot be said, and why.
    Unknown(String),
}

/// The lowest uniform pruning ratio at which the network of `model` fits `room`, planned for `isa`. File and arena are those of the
/// exporter and the planner; only the weights are zeros.
///
/// # Errors
/// [`ExportError`], where the network cannot be written or planned.
pub fn advice(model: &Model<'_>, isa: Isa, room: Room) -> Result<Advice, ExportError> {
    let network = match Rebuilt::of(model) {
        Ok(network) => network,
        Err(reason) => return Ok(Advice::Unknown(reason)),
    };
    for step in 1..STEPS {
        let prune = f64::from(step) / f64::from(STEPS);
        let plan = network.plan(prune)?;
        // Cheaper than writing the file, which is never smaller than its weights.
        if plan.cost().weight_bytes > room.file_bytes && step + 1 < STEPS {
            continue;
        }
        let found = network.at(prune, &plan, isa)?;
        if found.file_bytes <= room.file_bytes && found.arena_bytes <= room.arena_bytes {
            return Ok(Advice::Fits(found));
        }
        if step + 1 == STEPS {
            return Ok(Advice::None(found));
        }
    }
    Ok(Advice::Unknown("no ratio was tried".to_owned()))
}

/// The network of a model file, from what its card says.
struct Rebuilt {
    network: Network,
    card: BTreeMap<String, String>,
    normalization: Normalization,
    scope: Scope,
    /// Samples of the self-check.
    samples: usize,
    /// Whether it states tolerances.
    tolerances: bool,
}

impl Rebuilt {
    /// Why not, in words, where the file does not say enough.
    fn of(model: &Model<'_>) -> Result<Rebuilt, String> {
        let card: BTreeMap<String, String> =
            model.metadata().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        let header = model.program().header();
        let name = card.get("network").ok_or("the model's card names no network")?;
        // A network of a file is what the model holds; a known one is checked against it.
        let network = if card.contains_key(NETWORK_DIGEST) {
            let (network, _) = model_network(model).map_err(|error| error.to_string())?;
            network
        } else {
            Known::named(name)
                .and_then(|known| known.network(header.input, header.classes))
                .map_err(|error| format!("the model's card names `{name}`: {error}"))?
        };
        let dense: u64 = model.program().layers().map(|layer| cost::dense(&layer.op, layer.input).macs).sum();
        if network.cost().macs != dense {
            return Err(format!("the model is another network than the `{name}` that is known here"));
        }
        let channels = 0..header.input.channels as usize;
        let (mean, std) = channels.map(|channel| header.normalisation(channel)).unzip();
        let normalization = Normalization { mean, std };
        let linear = card.get("prune").is_some_and(|rule| rule.contains("linear layers too"));
        let scope = if linear { Scope::All } else { Scope::Convolutions };
        let samples = model.self_check().map_or(0, |check| check.samples());
        let tolerances = model.container().tensor(SELF_CHECK_TOLERANCE).is_some();
        Ok(Rebuilt { network, card, normalization, scope, samples, tolerances })
    }

    fn plan(&self, prune: f64) -> Result<RankPlan, ExportError> {
        Ok(RankPlan::uniform_in(&self.network, prune, self.scope)?)
    }

    /// Bytes of the file and of the arena at the ranks of `plan`.
    fn at(&self, prune: f64, plan: &RankPlan, isa: Isa) -> Result<AtRatio, ExportError> {
        let folded = Folded::zeros(&self.network, plan, self.normalization.clone());
        let mut card = self.card.clone();
        let cost = plan.cost();
        let changed = [
            ("prune", prune.to_string()),
            ("ranks", plan.to_string()),
            ("macs", cost.macs.to_string()),
            ("params", cost.params.to_string()),
            ("weight_bytes", cost.weight_bytes.to_string()),
        ];
        card.extend(changed.map(|(key, value)| (key.to_owned(), value)));
        let check = (self.samples > 0).then(|| {
            let classes = folded.classes as usize;
            let zeros = SelfCheck::zeros(folded.input_kind, self.samples, folded.input, classes);
            SelfCheck { tolerances: zeros.tolerances.filter(|_| self.tolerances), ..zeros }
        });
        let file_bytes = serialize(&folded, &card, check.as_ref())?.len() as u64;
        let broken = |reason: String| ExportError::Model { what: self.network.name.clone(), reason };
        let program = folded.program()?;
        let program = Program::new_checked(&program).map_err(|error| broken(error.to_string()))?;
        let planned = Plan::new(&program, isa).map_err(|error| broken(error.to_string()))?;
        Ok(AtRatio { prune, file_bytes, arena_bytes: planned.arena_bytes as u64 })
    }
}

#[cfg(test)]
mod tests {
    use lrpet_runtime::host::AlignedBytes;

    use lrpet_runtime::model::Shape;

    use super::*;
    use crate::Checkpoint;
    use crate::export::{Card, Precision, Request, checked, export};

    fn bytes(name: &str) -> AlignedBytes {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
        AlignedBytes::copy_of(&std::fs::read(file).unwrap())
    }

    /// From the file of either model, the other one's sizes.
    #[test]
    fn sizes_are_those_of_the_files() {
        let low = bytes("fashion-mnist-resnet8-g0.6.safetensors");
        let dense = bytes("fashion-mnist-resnet8-dense.safetensors");
        let (low_model, dense_model) =
            (checked(low.as_slice(), "low").unwrap(), checked(dense.as_slice(), "dense").unwrap());
        let arena = Plan::new(low_model.program(), Isa::CortexM).unwrap().arena_bytes as u64;
        let at = |model: &Model<'_>| {
            let network = Rebuilt::of(model).unwrap();
            network.at(0.6, &network.plan(0.6).unwrap(), Isa::CortexM).unwrap()
        };
        let own = at(&low_model);
        assert_eq!((own.file_bytes, own.arena_bytes), (low.as_slice().len() as u64, arena));
        // The cards differ in the commands that made them.
        let other = at(&dense_model);
        assert_eq!(other.arena_bytes, arena);
        assert!(other.file_bytes.abs_diff(own.file_bytes) < 512, "{other:?} {own:?}");
    }

    #[test]
    fn the_lowest_ratio_that_fits_is_found() {
        let file = bytes("cifar10-resnet20-dense.safetensors");
        let model = checked(file.as_slice(), "model").unwrap();
        let find =
            |file_bytes, arena_bytes| advice(&model, Isa::CortexM, Room { file_bytes, arena_bytes }).unwrap();
        let Advice::Fits(found) = find(300_000, 1 << 20) else { panic!("nothing fits") };
        assert!(found.file_bytes <= 300_000 && found.prune > 0.1, "{found:?}");
        let network = Rebuilt::of(&model).unwrap();
        let below = ((found.prune * 100.0).round() - 1.0) / 100.0;
        let below = network.at(below, &network.plan(below).unwrap(), Isa::CortexM).unwrap();
        assert!(below.file_bytes > 300_000, "{below:?}");
        let Advice::None(last) = find(10_000, 1 << 20) else { panic!("10 KB hold this network") };
        assert!(last.prune == 0.99 && last.file_bytes > 10_000, "{last:?}");
        assert!(matches!(find(1 << 20, 100), Advice::None(_)));
    }

    /// Pictures of more channels than the header has means for have one for all.
    #[test]
    fn a_picture_may_have_many_channels() {
        let network = Network::by_name("resnet8", Shape::new(6, 8, 8), 3).unwrap();
        let request = Request {
            network: &network,
            checkpoint: &Checkpoint::random(&network, 1),
            plan: &RankPlan::uniform(&network, 0.0).unwrap(),
            energy_transfer: false,
            normalization: &Normalization { mean: vec![0.5; 6], std: vec![0.25; 6] },
            card: &Card::default(),
            precision: Precision::Half,
            samples: None,
        };
        let file = AlignedBytes::copy_of(&export(&request).unwrap().to_bytes().unwrap());
        let model = checked(file.as_slice(), "model").unwrap();
        assert_eq!(Rebuilt::of(&model).unwrap().normalization.std, [0.25; 6]);
        let room = Room { file_bytes: 100_000, arena_bytes: 1 << 20 };
        assert!(matches!(advice(&model, Isa::CortexM, room).unwrap(), Advice::Fits(_)));
    }

    #[test]
    fn a_model_of_an_unknown_network_is_told_apart() {
        let file = bytes("fashion-mnist-resnet8-dense.safetensors");
        let renamed = |name: &str| {
            let at = file.as_slice().windows(9).position(|word| word == b"\"resnet8\"").unwrap();
            let mut bytes = file.clone();
            bytes.as_mut_slice()[at + 1..at + 8].copy_from_slice(name.as_bytes());
            bytes
        };
        for (name, expected) in [("resnetX", "no network is called"), ("ds_cnn8", "did you mean `ds_cnn`")] {
            let bytes = renamed(name);
            let model = checked(bytes.as_slice(), "model").unwrap();
            let room = Room { file_bytes: 1, arena_bytes: 1 };
            let found = advice(&model, Isa::CortexM, room).unwrap();
            assert!(matches!(&found, Advice::Unknown(reason) if reason.contains(expected)), "{found:?}");
        }
    }
}
