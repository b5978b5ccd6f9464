//! What a checkpoint says of the images of its training.

use std::path::Path;

use anyhow::Result;
use lrpet_network::Checkpoint;
use lrpet_runtime::model::Shape;

use crate::commands::data_args::parse_size;
use crate::commands::test_images::{FOLDER_RULE, TEST_RESIZE};

/// The size of images on the command line.
#[derive(Clone, Copy)]
pub struct Size {
    pub channels: Option<u32>,
    pub sides: [u32; 2],
}

/// Whether the checkpoint's network was trained on a folder of images.
pub fn of_folder(checkpoint: &Checkpoint) -> bool {
    [TEST_RESIZE, FOLDER_RULE].iter().any(|key| checkpoint.metadata.contains_key(*key))
}

/// Name of the data set that the checkpoint says; a folder's is never that of a data set known by name.
pub fn dataset(checkpoint: &Checkpoint) -> String {
    let name = checkpoint.metadata.get("dataset").cloned().unwrap_or_default();
    if of_folder(checkpoint) { lrpet_data::folder::called(name) } else { name }
}

/// Names of the classes, where the checkpoint says them.
pub fn class_names(checkpoint: &Checkpoint) -> Option<Vec<String>> {
    serde_json::from_str(checkpoint.metadata.get("class_names")?).ok()
}

/// A number in the checkpoint's metadata.
pub fn number(checkpoint: &Checkpoint, key: &str) -> Option<f64> {
    checkpoint.metadata.get(key).and_then(|text| text.parse().ok())
}

/// The shape of its images that the checkpoint says.
pub fn said_input(checkpoint: &Checkpoint, file: &Path) -> Result<Option<Shape>> {
    let Some(text) = checkpoint.metadata.get("input") else { return Ok(None) };
    match parse_input(text) {
        Ok(Size { channels: Some(channels), sides: [height, width] }) => {
            Ok(Some(Shape::new(channels, height, width)))
        }
        _ => anyhow::bail!("{}: its metadata says the input `{text}`, which is no CxHxW", file.display()),
    }
}

pub fn parse_input(text: &str) -> Result<Size, String> {
    let axes: Option<Vec<u32>> = text.split('x').map(|axis| axis.parse().ok()).collect();
    match axes.as_deref() {
        Some(&[channels, height, width]) if !Shape::new(channels, height, width).is_empty() => {
            Ok(Size { channels: Some(channels), sides: [height, width] })
        }
        Some(&[_, _, _]) => Err("the shape of an image is CxHxW, such as 3x32x32".into()),
        _ => Ok(Size { channels: None, sides: parse_size(text)? }),
    }
}
