//! Errors of export; each names the file or layer and says what to do.

use std::path::PathBuf;

use crate::lrpet::LrpetError;

/// Why a model could not be exported or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no checkpoint that can be read.
    #[error("{}: not a checkpoint that can be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint is not of this network.
    #[error("the checkpoint does not fit network {network}: {problems}")]
    Mismatch {
        /// The network.
        network: String,
        /// Missing, unexpected and misshapen tensors.
        problems: String,
    },
    /// The checkpoint's last layer is for another number of classes; all else fits.
    #[error(
        "{tensor} of the checkpoint is {found:?}: {} classes where {network} has {} for these images; \
         `lrpet train --init CHECKPOINT --new-head` trains the other layers' weights with a fresh last layer",
        found[0],
        expected[0]
    )]
    Head {
        /// The network.
        network: String,
        /// The tensor, by the network's name.
        tensor: String,
        /// Its shape in the file, two axes.
        found: Vec<usize>,
        /// Its shape in the network, two axes.
        expected: Vec<usize>,
    },
    /// A tensor that the network needs is of a type that holds no weights.
    #[error("tensor {tensor} is {what}; weights are F16, BF16, F32 or F64")]
    Unusable {
        /// The tensor.
        tensor: String,
        /// What it is.
        what: String,
    },
    /// A running variance that is none.
    #[error(
        "tensor {tensor} holds {value} (element {element}), which is no variance: it has to be finite and at least 0; \
         go back to the last good checkpoint"
    )]
    Variance {
        /// The tensor.
        tensor: String,
        /// Index of the first such element.
        element: usize,
        /// The element.
        value: f32,
    },
    /// A tensor holds NaN or infinity.
    #[error("tensor {tensor} holds NaN or infinity (element {element}); go back to the last good checkpoint")]
    NotFinite {
        /// The tensor.
        tensor: String,
        /// Index of the first such element.
        element: usize,
    },
    /// A weight is too large for f16.
    #[error(
        "tensor {tensor}: {value} does not fit f16 (largest 65504) after batch normalisation is merged; \
         its scale has run away, train with weight decay or a lower learning rate"
    )]
    Overflow {
        /// The tensor.
        tensor: String,
        /// The weight.
        value: f32,
    },
    /// A rank or a decomposition is wrong.
    #[error(transparent)]
    Lrpet(#[from] LrpetError),
    /// The network or the card cannot be written in this format.
    #[error("model file: {0}")]
    Format(String),
    /// A model file is refused.
    #[error("{what}: {reason}")]
    Model {
        /// The file, or what the model was made from.
        what: String,
        /// What the runtime found.
        reason: String,
    },
    /// Data of another shape or with other classes than the model.
    #[error("the model takes images of {model} in {classes} classes, the data has {data} in {data_classes}")]
    Data {
        /// The model's input.
        model: lrpet_runtime::model::Shape,
        /// The model's classes.
        classes: usize,
        /// The data's images.
        data: lrpet_runtime::model::Shape,
        /// The data's classes.
        data_classes: usize,
    },
    /// A layer of the runtime computes something else than it should.
    #[error(
        "layer {layer}: of self-check sample {sample} the runtime makes {found} at element {element}, which should be {} to {}, whatever the order of \
         its sums; this is a defect of the runtime, the model was not written",
        expected[0],
        expected[1]
    )]
    Disagreement {
        /// The layer.
        layer: String,
        /// The sample.
        sample: usize,
        /// Index of the value, in C×H×W.
        element: usize,
        /// The runtime's value.
        found: f64,
        /// Lower and upper bound.
        expected: [f64; 2],
    },
    /// A layer of the runtime makes another number of values than it should.
    #[error(
        "layer {layer}: the runtime makes {found} values, not {expected}; this is a defect of the runtime, the model was not written"
    )]
    Values {
        /// The layer.
        layer: String,
        /// Values that it has.
        expected: usize,
        /// Values that the runtime made.
        found: usize,
    },
    /// A stored activation is too large for f16.
    #[error(
        "layer {layer}: self-check sample {sample} makes a value beyond f16 (largest 65504); the network's scale has run away, train with \
         weight decay or a lower learning rate"
    )]
    Activation {
        /// The layer.
        layer: String,
        /// The sample.
        sample: usize,
    },
    /// candle refused.
    #[error("candle: {0}")]
    Candle(#[from] candle_core::Error),
}
