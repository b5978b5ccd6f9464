//! The file side, for machines with the standard library: a memory-mapped model, memory for sessions, and what one does
//! with logits.

pub mod npy;

use std::format;
use std::fs::File;
use std::path::Path;
use std::string::String;
use std::vec::Vec;

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;

use crate::model::{Model, OutputKind};

/// A model file in a memory map: weights are read in place and paged in as they are needed.
#[derive(Debug)]
pub struct MappedModel(Mmap);

impl MappedModel {
    /// Maps the file at `path`. The bytes are not looked at yet: [`crate::model::Model::new_checked`] does that.
    ///
    /// The file must not be changed while it is mapped; a trainer that replaces it by renaming does not.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> std::io::Result<MappedModel> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            let kind = std::io::ErrorKind::IsADirectory;
            return Err(std::io::Error::new(kind, "it is a folder; name a model file"));
        }
        // SAFETY: the map is read-only and private to this process; that nobody changes the file is the caller's part,
        // as for every memory map. Whatever bytes are seen, kernels stay in their buffers.
        unsafe { Mmap::map(&file) }.map(MappedModel)
    }

    /// The whole file. Maps begin at a page, so every tensor is aligned as it is in the file.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One cache line, so that an arena shares none with its neighbours.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Memory on the heap at an address that the runtime takes, for an arena as for a model file that is not mapped.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    bytes: usize,
}

impl AlignedBytes {
    /// `bytes` bytes, zero, at a multiple of 64.
    pub fn zeroed(bytes: usize) -> AlignedBytes {
        AlignedBytes { lines: vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())], bytes }
    }

    /// A copy of `bytes`, at a multiple of 64.
    pub fn copy_of(bytes: &[u8]) -> AlignedBytes {
        let mut copy = AlignedBytes::zeroed(bytes.len());
        copy.as_mut_slice().copy_from_slice(bytes);
        copy
    }

    /// The memory.
    pub fn as_slice(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines).get(..self.bytes).unwrap_or_default()
    }

    /// The memory, to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines).get_mut(..self.bytes).unwrap_or_default()
    }
}

/// The names of a model's classes, where its card has one for each; else their numbers.
pub fn labels(model: &Model<'_>) -> Vec<String> {
    let classes = model.program().header().classes as usize;
    let card = model.container().metadata_value("classes").map(|value| value.to_string()).unwrap_or_default();
    let labels = split_labels(&card);
    if labels.len() == classes { labels } else { (0..classes).map(|class| class.to_string()).collect() }
}

/// The names of a model's outputs, in order: of one, `logits` or `result`; of several those in its card, where that has one for each,
/// else their numbers.
pub fn output_names(model: &Model<'_>) -> Vec<String> {
    let count = model.program().outputs().count();
    if count == 1 {
        let kind = model.program().header().result;
        return vec![if kind == OutputKind::Classes { "logits" } else { "result" }.into()];
    }
    let card = model.container().metadata_value("outputs").map(|value| value.to_string()).unwrap_or_default();
    let names = split_labels(&card);
    if names.len() == count { names } else { (0..count).map(|output| output.to_string()).collect() }
}

/// Names of classes as a card holds them: between commas; a comma in a name, and a backslash, has a backslash before it.
pub fn join_labels(labels: &[String]) -> String {
    let escaped = labels.iter().map(|label| label.replace('\\', "\\\\").replace(',', "\\,"));
    escaped.collect::<Vec<_>>().join(",")
}

/// The names in a card's `classes`: the inverse of [`join_labels`].
fn split_labels(text: &str) -> Vec<String> {
    let mut labels = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, labels.last_mut()) {
            (',', _) => labels.push(String::new()),
            ('\\', Some(label)) => label.extend(letters.next()),
            (letter, Some(label)) => label.push(letter),
            (_, None) => {}
        }
    }
    labels
}

/// Probabilities of logits: exp(x) / Σ exp.
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

/// The `k` classes with the largest logits, best first; of equal ones the lower class first.
pub fn top_k(logits: &[f32], k: usize) -> Vec<usize> {
    let mut classes: Vec<usize> = (0..logits.len()).collect();
    classes.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    classes.truncate(k);
    classes
}

/// Names with commas between them, of which the first twelve and their number where there are more: a network may tell a
/// thousand classes apart.
pub fn abridged(names: &str) -> String {
    const SHOWN: usize = 12;
    let count = names.split(',').count();
    if count <= SHOWN {
        return names.into();
    }
    let first: Vec<&str> = names.split(',').take(SHOWN).collect();
    format!("{},… ({count} in all; --json has them)", first.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_names_are_abridged_and_a_few_are_not() {
        let names = |count: usize| (0..count).map(|class| format!("{class}")).collect::<Vec<_>>().join(",");
        assert_eq!(abridged(&names(12)), names(12));
        assert_eq!(abridged(&names(1000)), format!("{},… (1000 in all; --json has them)", names(12)));
    }

    #[test]
    fn probabilities_add_up_and_keep_the_order() {
        let probabilities = softmax(&[1000.0, 999.0, -1000.0]);
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!((probabilities[0] / probabilities[1] - 1f32.exp()).abs() < 1e-5);
        assert_eq!(top_k(&[1.0, 3.0, 2.0, 3.0], 3), [1, 3, 2]);
        assert_eq!(top_k(&[1.0], 5), [0]);
    }

    #[test]
    fn labels_keep_their_commas() {
        let labels = ["a,b", "a;b", "a\\", ",", " spaced ", ""].map(String::from);
        let text = join_labels(&labels);
        assert_eq!(text, "a\\,b,a;b,a\\\\,\\,, spaced ,");
        assert_eq!(split_labels(&text), labels);
        assert_eq!(split_labels("T-shirt/top,Ankle boot"), ["T-shirt/top", "Ankle boot"]);
    }

    #[test]
    fn memory_is_aligned_and_of_the_size_asked_for() {
        assert_eq!(AlignedBytes::copy_of(&[7; 65]).as_slice(), [7; 65]);
        for bytes in [0, 1, 64, 100] {
            let mut arena = AlignedBytes::zeroed(bytes);
            assert_eq!(arena.as_mut_slice().len(), bytes);
            assert!(bytes == 0 || arena.as_mut_slice().as_ptr().addr().is_multiple_of(64));
        }
    }

    #[test]
    fn a_mapped_file_has_its_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bytes");
        std::fs::write(&path, [1, 2, 3]).unwrap();
        assert_eq!(MappedModel::open(&path).unwrap().bytes(), [1, 2, 3]);
        assert!(MappedModel::open(&directory.path().join("none")).is_err());
    }
}
