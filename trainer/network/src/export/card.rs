//! The model card: what a model is and how it was made, as the strings of `__metadata__`.

use std::collections::BTreeMap;

use lrpet_runtime::host::join_labels;
use lrpet_runtime::model::FORMAT_VERSION;
use lrpet_runtime::model::cost::Cost;

use super::Folded;
use crate::lrpet::RankPlan;
use crate::network::{InputKind, NETWORK_DIGEST, Network, OutputKind};

/// What only the maker of a model knows; the rest of the card follows from network and ranks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Card {
    /// Name of the data set.
    pub dataset: String,
    /// Names of the classes, in order of label.
    pub classes: Vec<String>,
    /// How ranks were chosen: a pruning ratio as `0.6`, or in words.
    pub prune: String,
    /// Accuracy of the dense network on the test set, 0 to 1, where it is known.
    pub accuracy_dense: Option<f64>,
    /// Accuracy of this model on the test set, 0 to 1, where it was measured.
    pub accuracy: Option<f64>,
    /// Command that trained the weights, where the checkpoint says so.
    pub training: Option<String>,
    /// Command that made the model.
    pub command: String,
}

impl Card {
    /// Keys and values of the card of `network` at the ranks of `plan`.
    pub fn metadata(&self, network: &Network, plan: &RankPlan, folded: &Folded) -> BTreeMap<String, String> {
        let join = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let (low, dense): (Cost, Cost) = (plan.cost(), network.cost());
        let mut card = BTreeMap::new();
        let mut set = |key: &str, value: String| {
            card.insert(key.to_owned(), value);
        };
        set("format", folded.header().map_or(FORMAT_VERSION, |header| header.version).to_string());
        set("network", network.name.clone());
        if !network.is_known() {
            set(NETWORK_DIGEST, network.digest());
        }
        set("dataset", self.dataset.clone());
        if network.output_kind == OutputKind::Classes {
            set("classes", join_labels(&self.classes));
        }
        if network.output_values().is_some() {
            let names: Vec<String> = network.outputs().into_iter().map(|(name, _)| name).collect();
            set("outputs", join_labels(&names));
        }
        set("input", format!("{}x{}x{}", network.input.channels, network.input.height, network.input.width));
        if network.input_kind == InputKind::Picture {
            set("mean", join(&folded.normalization.mean));
            set("std", join(&folded.normalization.std));
        }
        set("prune", self.prune.clone());
        set("ranks", plan.to_string());
        for (key, accuracy) in [("accuracy_dense", self.accuracy_dense), ("accuracy", self.accuracy)] {
            if let Some(accuracy) = accuracy {
                set(key, format!("{accuracy:.4}"));
            }
        }
        set("macs", low.macs.to_string());
        set("macs_dense", dense.macs.to_string());
        set("params", low.params.to_string());
        set("params_dense", dense.params.to_string());
        set("weight_bytes", low.weight_bytes.saturating_sub(folded.bytes_saved()).to_string());
        set("weight_bytes_dense", dense.weight_bytes.to_string());
        if let Some(training) = &self.training {
            set("training", training.clone());
        }
        set("command", self.command.clone());
        set("version", env!("CARGO_PKG_VERSION").to_owned());
        card
    }
}
