//! Trained weights: read from a file, given the network's names, and held against the network.
//!
//! A file is safetensors or what PyTorch's `torch.save` writes of a state_dict ([`Checkpoint::read`]). Names and tensors that say the
//! same in another way are understood, and [`Checkpoint::notes`] says what was assumed ([`Checkpoint::named_for`],
//! [`Checkpoint::fit`]); what could change the function is refused ([`Checkpoint::check`]). `docs/checkpoints.md` lists it all.

mod check;
pub mod epsilon;
mod error;
mod fit;
#[cfg(test)]
mod mutation_tests;
mod names;
mod pickle;
mod safe;
mod settings;
#[cfg(test)]
mod tests;
mod torch;
#[cfg(test)]
mod torch_tests;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::network::Network;

pub use error::CheckpointError;
pub use fit::{Fitted, Purpose};

/// Name of a counter that PyTorch saves beside each batch normalisation; it says nothing about the function.
const COUNTER_SUFFIX: &str = ".num_batches_tracked";
/// What a training checkpoint holds beside the weights: velocities, means of squares, and averages of the weights.
const OPTIMIZER_PREFIXES: [&str; 3] = ["momentum.", "optimizer.square.", "optimizer.average."];

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub values: Vec<f32>,
}

/// Tensors by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors of floating-point numbers.
    pub tensors: BTreeMap<String, Array>,
    /// What the file says of itself, such as the command that trained it.
    pub metadata: BTreeMap<String, String>,
    /// What cannot be weights, by name: a type such as `I64`, in words where it is none of safetensors'.
    pub others: BTreeMap<String, String>,
    /// Names of tensors that the file holds under another name, which is the value: PyTorch's tied tensors.
    pub tied: BTreeMap<String, String>,
    /// What was assumed of the file, in words, for the user.
    pub notes: Vec<String>,
}

impl Checkpoint {
    /// Reads a safetensors file or a state_dict of PyTorch; values of f16, bf16, f32 and f64 become f32. A prefix in front of all
    /// names, as wrappers put it there, is left out.
    ///
    /// # Errors
    /// [`CheckpointError::Io`], [`CheckpointError::Unreadable`].
    pub fn read(path: &Path) -> Result<Checkpoint, CheckpointError> {
        let bytes = crate::bounded::read_whole(path)
            .map_err(|source| CheckpointError::Io { path: path.to_owned(), source })?;
        Checkpoint::from_bytes(&bytes)
            .map_err(|reason| CheckpointError::Unreadable { path: path.to_owned(), reason })
    }

    /// Parses the bytes of a file, whatever its name; the error says what is wrong with them.
    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let mut checkpoint = if torch::is_archive(bytes) { torch::read(bytes)? } else { safe::read(bytes)? };
        let of_optimizer = |name: &str| OPTIMIZER_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        let is_weight = |name: &str| !name.ends_with(COUNTER_SUFFIX) && !of_optimizer(name);
        checkpoint.tensors.retain(|name, _| is_weight(name));
        checkpoint.others.retain(|name, _| is_weight(name));
        checkpoint.leave_out_prefixes();
        checkpoint.take_settings();
        Ok(checkpoint)
    }

    /// Weights of plausible size for `network`, drawn by `seed`, running variances positive: to try things with.
    pub fn random(network: &Network, seed: u64) -> Checkpoint {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut shapes = BTreeMap::new();
        for layer in check::layers(network) {
            for (at, name) in layer.names().enumerate() {
                let required = layer.requires(&name, false);
                let shape = if at == 0 { layer.weight.clone() } else { vec![layer.weight[0]] };
                shapes.insert(name, (shape, required));
            }
        }
        let mut tensors = BTreeMap::new();
        for (name, (shape, required)) in shapes {
            let count: usize = shape.iter().product();
            let fan: usize = shape[1..].iter().product();
            let mut draw = |low: f32, high: f32| (0..count).map(|_| rng.random_range(low..high)).collect();
            let values: Vec<f32> = match name.rsplit('.').next() {
                Some("running_var") => draw(0.3, 2.0),
                Some("weight") if shape.len() == 1 => draw(0.4, 1.2),
                Some("weight") => draw(-(3.0 / fan as f32).sqrt(), (3.0 / fan as f32).sqrt()),
                _ => draw(-0.3, 0.3),
            };
            if required {
                tensors.insert(name, Array { shape, values });
            }
        }
        Checkpoint { tensors, ..Checkpoint::default() }
    }

    /// Values of a tensor, where there is one.
    pub fn values(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(|array| array.values.as_slice())
    }
}

/// A type of number that weights are read from, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Float {
    F16,
    BF16,
    F32,
    F64,
}

impl Float {
    /// Bytes of one number.
    fn size(self) -> usize {
        match self {
            Float::F16 | Float::BF16 => 2,
            Float::F32 => 4,
            Float::F64 => 8,
        }
    }

    /// The numbers of `data`; a rest that is no whole number is left out.
    fn values(self, data: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            data.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
        }
        match self {
            Float::F16 => each(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
            Float::BF16 => each(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
            Float::F32 => each(data, f32::from_le_bytes),
            Float::F64 => each(data, |bytes| f64::from_le_bytes(bytes) as f32),
        }
    }
}

/// The first names, and how many more there are.
fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
