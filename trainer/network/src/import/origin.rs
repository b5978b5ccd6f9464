//! Which file a network was imported from, as its weights remember it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lrpet_runtime::model::Shape;
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
    /// Name of its output, the first of several.
    pub output: String,
    /// Names of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_outputs: Vec<String>,
    /// Of each output whether its channels are behind height and width; empty where they are in none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs_channels_last: Vec<bool>,
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
            output: report.outputs.first().cloned().unwrap_or_default(),
            more_outputs: report.outputs.get(1..).unwrap_or_default().to_vec(),
            outputs_channels_last: match report.outputs_channels_last.contains(&true) {
                true => report.outputs_channels_last.clone(),
                false => Vec::new(),
            },
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

    /// Names of its outputs, in order.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.output).chain(&self.more_outputs).map(String::as_str)
    }

    /// Values of all outputs, of which the network's have these shapes, in the order of the network's; `values` are in the file's.
    pub fn results(&self, values: &[f32], shapes: &[Shape]) -> Vec<f32> {
        let mut rest = values;
        let mut ordered = Vec::with_capacity(values.len());
        for (index, shape) in shapes.iter().enumerate() {
            let (own, behind) = rest.split_at(shape.len().min(rest.len()));
            rest = behind;
            let (channels, pixels) = (shape.channels as usize, own.len() / (shape.channels as usize).max(1));
            match self.outputs_channels_last.get(index) {
                Some(true) => {
                    ordered.extend((0..channels * pixels).map(|at| own[at % pixels * channels + at / pixels]))
                }
                _ => ordered.extend(own),
            }
        }
        ordered.extend(rest);
        ordered
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
            more_outputs: vec!["z".to_owned()],
            outputs_channels_last: vec![false, true],
        };
        let mut metadata = BTreeMap::new();
        assert_eq!(Origin::remembered(&metadata), None);
        origin.note(&mut metadata);
        assert_eq!(Origin::remembered(&metadata).as_ref(), Some(&origin));
        assert!(origin.is(b"a") && !origin.is(b"b"));
        assert_eq!(origin.ordered(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        // One value, and two channels of three pixels.
        let values = [7.0, 1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        let shapes = [Shape::vector(1), Shape::new(2, 1, 3)];
        assert_eq!(origin.results(&values, &shapes), [7.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(Origin { channels_last: false, ..origin }.ordered(&[1.0, 2.0], 2), [1.0, 2.0]);
    }
}
