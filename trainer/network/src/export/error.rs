//! Errors of export; each names the file or layer and says what to do.

use crate::checkpoint::CheckpointError;
use crate::lrpet::LrpetError;

/// Why a model could not be exported or evaluated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The weights are not those of the network.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
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
    /// Pictures for a model that takes values, or values for one of pictures.
    #[error("{}", match model {
        lrpet_runtime::model::InputKind::Values => "the model takes values as they are, and the data are pictures",
        _ => "the model takes pictures, and the data are values (train_x.npy, test_x.npy)",
    })]
    Kind {
        /// What the model takes.
        model: lrpet_runtime::model::InputKind,
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
    /// What computes the network failed; its words.
    #[error("{0}")]
    Machine(String),
}
