//! What `lrpet factorize` says of the model that it made.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use lrpet_network::export::{self, LayerRange, range};
use lrpet_network::quantise::QuantisedLayer;
use lrpet_study::report::columns;
use serde::Serialize;

/// What a weight takes.
#[derive(Clone, Copy, PartialEq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Width {
    F16,
    I8,
    Fit,
}

#[derive(Serialize)]
pub(super) struct Document {
    pub out: PathBuf,
    pub bytes: usize,
    /// The arena on a Cortex-M, where --ram chose a schedule for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena: Option<Arena>,
    /// Shape of the images, C×H×W.
    pub input: [u32; 3],
    /// How pictures are prepared for it: key and value in the card.
    pub preparation: BTreeMap<&'static str, String>,
    pub macs: u64,
    pub macs_dense: u64,
    pub accuracy: Option<f64>,
    /// Why the accuracy was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_measured: Option<&'static str>,
    /// What was assumed of the checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Inputs of normal random values on which each layer was held against sums in f64, of a network that takes values; its
    /// self-check is made of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_on_values: Option<usize>,
    /// What roundings may move a logit of each self-check sample.
    pub tolerances: Vec<f32>,
    /// The largest of them as a share of its sample's largest logit (at least 1).
    pub blur: f32,
    /// What a weight takes.
    pub weights: Width,
    /// Inputs of the training set that weights of 8 bits were fitted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<usize>,
    /// The layers with weights of 8 bits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quantised: Vec<QuantisedLayer>,
    /// The factored layers.
    pub layers: Vec<export::folded::FactoredLayer>,
    /// How far the values of each layer go, on the self-check's images and on the test set where it was read.
    pub ranges: Vec<LayerRange>,
}

/// What the chosen schedule takes.
#[derive(Serialize)]
pub(super) struct Arena {
    pub arena_bytes: usize,
    /// Estimated instructions, as a share of layer by layer.
    pub cost: f64,
}

/// Share of the largest logit from which on a self-check says little.
const MUCH: f32 = 0.25;

pub(super) fn text(done: &Document) -> String {
    let row = |layer: &export::folded::FactoredLayer| {
        let kept = format!("{:.2} % of the energy", 100.0 * layer.energy_kept);
        vec![layer.name.clone(), format!("rank {}", layer.rank), kept]
    };
    let mut text = columns(&done.layers.iter().map(row).collect::<Vec<_>>(), 1);
    let _ = writeln!(
        text,
        "{}: {} bytes, takes {}×{}×{}, {} MACs of {} dense",
        done.out.display(),
        done.bytes,
        done.input[0],
        done.input[1],
        done.input[2],
        done.macs,
        done.macs_dense
    );
    if let Some(Arena { arena_bytes, cost }) = done.arena {
        let _ = writeln!(
            text,
            "runs in an arena of {arena_bytes} bytes on a Cortex-M, with {cost:.2} of the instructions of layer by layer by estimate"
        );
    }
    if done.weights == Width::Fit && done.quantised.is_empty() {
        text.push_str("weights of f16 in every layer: they fit\n");
    } else if done.weights != Width::F16 && done.quantised.is_empty() {
        text.push_str(
            "weights of f16 in every layer: none is a convolution or linear layer that may have 8 bits\n",
        );
    } else if done.weights != Width::F16 {
        let sum = |bytes: fn(&QuantisedLayer) -> u64| done.quantised.iter().map(bytes).sum::<u64>();
        let [bytes, half] = [sum(|layer| layer.bytes), sum(|layer| layer.bytes_f16)];
        let worst = done.quantised.iter().max_by(|a, b| a.error.total_cmp(&b.error));
        let (name, error) = worst.map_or(("", 0.0), |layer| (&layer.name, 100.0 * layer.error));
        let fitted = match done.calibration {
            Some(inputs) => format!(
                "fitted to {inputs} training inputs, on which outputs change by at most {error:.2} % of their deviation"
            ),
            None => {
                format!("each rounded by itself, which changes them by at most {error:.2} % of their size")
            }
        };
        let _ = writeln!(
            text,
            "weights of 8 bits in {} layers: {bytes} bytes in place of {half}; {fitted} ({name})",
            done.quantised.len()
        );
    }
    if let Some(accuracy) = done.accuracy {
        let _ = writeln!(text, "{:.2} % on the test set (runtime)", 100.0 * accuracy);
    }
    if let Some(why) = done.not_measured {
        let _ = writeln!(text, "accuracy not measured ({why})");
    }
    if let Some(inputs) = done.held_on_values {
        let _ = writeln!(
            text,
            "each layer held against sums in f64 on {inputs} inputs of normal random values, of which the self-check is made"
        );
    }
    let tolerance = done.tolerances.iter().copied().fold(0.0, f32::max);
    let _ = writeln!(text, "self-check: roundings may move a logit by {tolerance:.4}");
    if done.blur > MUCH {
        let _ = writeln!(
            text,
            "warning: that is {:.0} % of the largest logit, so a self-check finds only coarse faults of a device (the weights may be \
             untrained)",
            100.0 * done.blur
        );
    }
    text + &range::warnings(&done.ranges)
}
