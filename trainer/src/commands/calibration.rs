//! Inputs of the training set on which weights of 8 bits are fitted.

use std::sync::Arc;

use anyhow::Result;
use lrpet_data::files::Cache;
use lrpet_data::{BadImages, DataError, Files, Folder, InMemory, Preparation, registry, values};

use super::folder_args::folder;
use super::images::Images;
use super::test_images::{SourceArgs, TEST_RESIZE, TEST_SHARE};

/// Most inputs.
const MOST: usize = 512;
/// Fewest, of large images.
const FEWEST: usize = 64;
/// Bytes of all inputs, as f32, that are aimed at.
const BYTES: usize = 64 << 20;

/// Inputs of the training part of `data`, a few of each class, normalised (C×H×W) as those of `found`; without a training part of its test
/// part. None where a data set's files are not here.
///
/// # Errors
/// Where a folder's files cannot be read.
pub fn inputs(data: &str, args: &SourceArgs, found: &Images) -> Result<Option<Vec<Vec<f32>>>> {
    let Some(images) = training(data, args, found)? else { return Ok(None) };
    let count = (BYTES / (size_of::<f32>() * found.shape.len())).clamp(FEWEST, MOST);
    let inputs: Vec<Vec<f32>> = match images.read(&images.spread(count))? {
        InMemory::Pictures(pictures) => {
            let one = |image| found.normalization.values(pictures.image(image), found.shape);
            (0..pictures.len()).map(one).collect()
        }
        InMemory::Values(values) => {
            let samples = &values.samples;
            (0..samples.len()).map(|sample| samples.image(sample).to_vec()).collect()
        }
    };
    Ok(Some(inputs).filter(|inputs| !inputs.is_empty()))
}

/// The images of the training, prepared as for testing.
fn training(data: &str, args: &SourceArgs, found: &Images) -> Result<Option<lrpet_data::Images>> {
    let said = |key: &str| found.preparation.iter().find(|(name, _)| *name == key);
    let number = |key: &str| said(key).and_then(|(_, value)| value.parse::<f64>().ok());
    let test_share = number(TEST_SHARE);
    let without = |reason: String| {
        tracing::warn!("{reason}; weights of 8 bits are fitted to test images, without their labels");
        Ok(found.test.clone())
    };
    let Some(folder) = folder(data, args.data_dir.as_deref())? else {
        registry::entry(data)?;
        return match lrpet_data::load(data, args.data_dir.as_deref(), args.allow_partial) {
            Ok(loaded) => Ok(Some(loaded.train.into())),
            Err(DataError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    if values::is_folder(&folder) {
        let test_share = test_share.unwrap_or(values::TEST_SHARE);
        let ask = values::Ask { folder: &folder, classes: Some(found.classes.len()), test_share };
        return match values::find(&ask)?.train {
            Some(train) => Ok(Some(train.into())),
            None => without(format!("{}: no training samples", folder.display())),
        };
    }
    match Folder::find(&args.places.ask(&folder, test_share)) {
        Ok(Folder { train, .. }) => {
            let test_resize = number(TEST_RESIZE).unwrap_or(1.0);
            let preparation = Preparation { shape: found.shape, test_resize, test_share };
            let policy = BadImages::from(args.bad_images);
            let cache = Cache::new(0);
            Ok(Some(Files::new(train.files, Arc::clone(&train.classes), preparation, policy, cache).into()))
        }
        Err(error) => without(error.to_string()),
    }
}
