//! Errors of checkpoints; each names the file or the tensor and says what to do.

use std::path::PathBuf;

/// Why weights cannot be read or are not those of a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
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
    /// The network of an ONNX file cannot be imported.
    #[error("{}: {reason}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The weights cannot be written as safetensors.
    #[error("these weights cannot be written: {reason}")]
    Unwritable {
        /// Why.
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
}
