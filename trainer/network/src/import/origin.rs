//! Which file a network was imported from, as its weights remember it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Report;

/// Key of the origin in the metadata of weights, as JSON.
const KEY: &str = "imported_from";

/// The file, and how its input and output go with the network's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal; files with weights beside it are not in it.
    pub sha256: String,
    /// Name of its input.
    pub input: String,
    /// Axes of its input, one image.
    pub axes: Vec<usize>,
    /// Whether its input has channels behind height and width; the network's has them first.
    pub channels_last: bool,
    /// Name of its output.
    pub output: String,
}

impl Origin {
    /// The origin of what was made of the file `path`, which has these bytes.
    pub(super) fn new(path: &Path, bytes: &[u8], report: &Report) -> Origin {
        Origin {
            file: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            sha256: digest(bytes),
            input: report.input.clone(),
            axes: report.input_axes.clone(),
            channels_last: report.channels_last,
            output: report.output.clone(),
        }
    }

    /// What the metadata of weights say, where they say it.
    pub fn remembered(metadata: &BTreeMap<String, String>) -> Option<Origin> {
        serde_json::from_str(metadata.get(KEY)?).ok()
    }

    /// Notes it in the metadata of weights.
    pub(super) fn note(&self, metadata: &mut BTreeMap<String, String>) {
        let text = serde_json::to_string(self);
        metadata.extend(text.ok().map(|text| (KEY.to_owned(), text)));
    }

    /// Whether `bytes` are those of the file.
    pub fn is(&self, bytes: &[u8]) -> bool {
        self.sha256 == digest(bytes)
    }

    /// Values C×H×W of the network's input in the order of the file's.
    pub fn ordered(&self, values: &[f32], channels: usize) -> Vec<f32> {
        if !self.channels_last || channels == 0 {
            return values.to_vec();
        }
        let pixels = values.len() / channels;
        (0..values.len()).map(|at| values[at % channels * pixels + at / channels]).collect()
    }
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_remembered_and_orders_channels() {
        let origin = Origin {
            file: "a.onnx".into(),
            sha256: digest(b"a"),
            input: "x".to_owned(),
            axes: vec![1, 1, 3, 2],
            channels_last: true,
            output: "y".to_owned(),
        };
        let mut metadata = BTreeMap::new();
        assert_eq!(Origin::remembered(&metadata), None);
        origin.note(&mut metadata);
        assert_eq!(Origin::remembered(&metadata).as_ref(), Some(&origin));
        assert!(origin.is(b"a") && !origin.is(b"b"));
        assert_eq!(origin.ordered(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!(Origin { channels_last: false, ..origin }.ordered(&[1.0, 2.0], 2), [1.0, 2.0]);
    }
}
