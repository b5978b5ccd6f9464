//! Trained weights: read from a file, given the network's names, and held against the network.
//!
//! A file is safetensors or what PyTorch's `torch.save` writes of a state_dict ([`Checkpoint::read`]). Names and tensors that say the
//! same in another way are understood, and [`Checkpoint::notes`] says what was assumed ([`Checkpoint::named_for`],
//! [`Checkpoint::fit`]); what could change the function is refused ([`Checkpoint::check`]). `docs/checkpoints.md` lists it all.

mod check;
mod fit;
#[cfg(test)]
mod mutation_tests;
mod names;
mod pickle;
mod safe;
#[cfg(test)]
pub(super) mod tests;
mod torch;
#[cfg(test)]
mod torch_tests;

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};

use super::ExportError;

pub use fit::{Fitted, Purpose};

/// Name of a counter that PyTorch saves beside each batch normalisation; it says nothing about the function.
const COUNTER_SUFFIX: &str = ".num_batches_tracked";
/// Velocities of the optimiser, which a training checkpoint holds beside the weights.
const VELOCITY_PREFIX: &str = "momentum.";

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
    /// [`ExportError::Io`], [`ExportError::Unreadable`].
    pub fn read(path: &Path) -> Result<Checkpoint, ExportError> {
        let bytes =
            std::fs::read(path).map_err(|source| ExportError::Io { path: path.to_owned(), source })?;
        Checkpoint::from_bytes(&bytes)
            .map_err(|reason| ExportError::Unreadable { path: path.to_owned(), reason })
    }

    /// Parses the bytes of a file, whatever its name; the error says what is wrong with them.
    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let mut checkpoint = if torch::is_archive(bytes) { torch::read(bytes)? } else { safe::read(bytes)? };
        let is_weight = |name: &str| !name.ends_with(COUNTER_SUFFIX) && !name.starts_with(VELOCITY_PREFIX);
        checkpoint.tensors.retain(|name, _| is_weight(name));
        checkpoint.others.retain(|name, _| is_weight(name));
        checkpoint.leave_out_prefixes();
        checkpoint.take_settings();
        Ok(checkpoint)
    }

    /// Takes what the checkpoint of a run that goes on says among its settings for what the final weights say of themselves.
    fn take_settings(&mut self) {
        use serde_json::Value;
        let Some(settings) = self.metadata.get("settings").filter(|_| self.of_unfinished_run()) else {
            return;
        };
        let Ok(settings) = serde_json::from_str::<Value>(settings) else { return };
        let text = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            Value::Array(values) => Some(values.iter().map(Value::to_string).collect::<Vec<_>>().join(",")),
            value => Some(value.to_string()),
        };
        let (images, projection) = (&settings["images"], &settings["projection"]);
        let listed = |ranks: &&Value| ranks.as_object().is_some_and(|ranks| !ranks.is_empty());
        let said = [
            ("network", text(&settings["network"])),
            ("dataset", text(&settings["dataset"])),
            ("input", text(&settings["input"]).map(|input| input.replace('×', "x"))),
            ("classes", text(&settings["classes"])),
            ("mean", text(&images["mean"])),
            ("std", text(&images["std"])),
            ("test_resize", text(&images["test_resize"])),
            ("test_share", text(&images["test_share"])),
            ("ranks", Some(&projection["ranks"]).filter(listed).and_then(text)),
            ("rule", text(&projection["rule"])),
        ];
        for (key, value) in said {
            let Some(value) = value else { continue };
            self.metadata.entry(key.to_owned()).or_insert(value);
        }
    }

    /// Whether these are the weights of a run between two epochs, which `lrpet train --resume` goes on from.
    pub fn of_unfinished_run(&self) -> bool {
        ["history", "epoch"].iter().all(|key| self.metadata.contains_key(*key))
    }

    /// Copies tensors out of candle.
    ///
    /// # Errors
    /// [`ExportError::Candle`].
    pub fn from_candle<'t>(
        tensors: impl IntoIterator<Item = (&'t String, &'t candle_core::Tensor)>,
    ) -> Result<Checkpoint, ExportError> {
        let mut copied = BTreeMap::new();
        for (name, tensor) in tensors {
            let values = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
            copied.insert(name.clone(), Array { shape: tensor.dims().to_vec(), values });
        }
        Ok(Checkpoint { tensors: copied, ..Checkpoint::default() })
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

#[cfg(test)]
mod settings_tests {
    use super::*;

    #[test]
    fn the_checkpoint_of_a_run_says_what_its_settings_do() {
        let settings = r#"{"network":"resnet8","input":"3×96×64","classes":3,"dataset":"photos","images":{"mean":[0.5,0.25,0.1],"std":null,
        "test_resize":1.5},"projection":{"ranks":{"conv1":4},"rule":"0.5"}}"#;
        let mut checkpoint = Checkpoint::default();
        let entry = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        checkpoint.metadata.extend([entry("settings", settings), entry("dataset", "kept")]);
        checkpoint.take_settings();
        // The settings of other files are their own affair.
        assert!(!checkpoint.of_unfinished_run() && checkpoint.metadata.len() == 2);
        checkpoint.metadata.extend([entry("history", "[]"), entry("epoch", "1")]);
        checkpoint.take_settings();
        let said = |key: &str| checkpoint.metadata.get(key).map(String::as_str);
        let keys = [
            "network",
            "input",
            "classes",
            "dataset",
            "mean",
            "test_resize",
            "ranks",
            "rule",
            "std",
            "test_share",
        ];
        let wanted =
            ["resnet8", "3x96x64", "3", "kept", "0.5,0.25,0.1", "1.5", r#"{"conv1":4}"#, "0.5"].map(Some);
        assert_eq!(keys.map(said), [&wanted[..], &[None, None]].concat()[..]);
    }
}
