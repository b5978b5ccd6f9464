//! Errors of ranks and of projections; each names the layer.

use std::path::PathBuf;

/// Why a plan of ranks, a projection or a factorisation could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LrpetError {
    /// A weight, or the scale of its batch normalisation, is NaN or infinite.
    #[error("layer {layer}: the {what} holds NaN or infinity; go back to the last good checkpoint")]
    NotFinite {
        /// The layer.
        layer: String,
        /// Weight or scale.
        what: &'static str,
    },
    /// The eigendecomposition did not converge.
    #[error("layer {layer}: the eigendecomposition of its Gram matrix did not converge")]
    NoConvergence {
        /// The layer.
        layer: String,
    },
    /// The pruning ratio is outside 0..1.
    #[error("pruning ratio {0}: it must be at least 0 (dense) and below 1")]
    Ratio(f64),
    /// The energy threshold is outside 0..=1.
    #[error("energy threshold {0}: it must be above 0 and at most 1")]
    Threshold(f64),
    /// A budget cannot be read.
    #[error(
        "budget `{0}`: write macs=0.45x (of the dense network) or macs=18M, params=0.4x or params=100K, \
         flash=0.5x or flash=64KB"
    )]
    BudgetText(String),
    /// No ranks meet a budget.
    #[error(
        "budget {budget}: the lowest ranks still take {least} (dense: {dense}){}; {}choose a smaller network",
        besides(*.fixed), also(*.linear)
    )]
    Budget {
        /// The budget.
        budget: String,
        /// What the cheapest ranks take.
        least: u64,
        /// What the dense network takes.
        dense: u64,
        /// What of both is no weight, and the same at any rank.
        fixed: u64,
        /// Whether linear layers stay dense by the rule that pairs would make smaller.
        linear: bool,
    },
    /// A rule needs the spectra of trained weights.
    #[error("{rule}: ranks by energy need trained weights")]
    NoSpectra {
        /// The rule.
        rule: String,
    },
    /// A rank list names no layer of the network.
    #[error("rank list: `{name}` is no layer with weights of {network}; its layers are {known}")]
    UnknownLayer {
        /// The name in the list.
        name: String,
        /// The network.
        network: String,
        /// The layers that can be named.
        known: String,
    },
    /// A listed rank exceeds the number of singular values.
    #[error("rank list: rank {rank} of layer {layer} exceeds its {largest} singular values")]
    RankTooLarge {
        /// The layer.
        layer: String,
        /// The rank asked for.
        rank: u64,
        /// min(n, c·kh·kw).
        largest: u64,
    },
    /// A depthwise convolution cannot be factored.
    #[error("rank list: layer {0} is a depthwise convolution, which has no pair; leave it out")]
    Depthwise(String),
    /// An item of a rank list cannot be read.
    #[error("rank list: {0}")]
    List(String),
    /// A rank list's file cannot be read.
    #[error("rank list {}: {reason}", path.display())]
    ListFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn besides(fixed: u64) -> String {
    if fixed > 0 { format!(", {fixed} of it header, program and self-check") } else { String::new() }
}

fn also(linear: bool) -> &'static str {
    if linear { "factor linear layers too, or " } else { "" }
}
