//! The images on which a trained network is tested.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use lrpet_runtime::model::Shape;
use lrpet_trainer::data::check::headers;
use lrpet_trainer::data::files::Cache;
use lrpet_trainer::data::folder::{check_classes, find_test};
use lrpet_trainer::data::{self, BadImages, Files, Images, Preparation};

use super::data_args::{bar, folder, warn_of_ignored};

/// Key of [`Preparation::test_resize`] in a checkpoint's metadata and in a model's card.
pub const TEST_RESIZE: &str = "test_resize";
/// Key of [`Preparation::test_share`].
pub const TEST_SHARE: &str = "test_share";

/// What is known of the images that a network was trained on.
#[derive(Debug)]
pub struct Trained {
    /// Shape of an image.
    pub shape: Shape,
    /// Names of the classes, where they are known.
    pub classes: Option<Vec<String>>,
    /// [`Preparation::test_resize`], where it is known.
    pub test_resize: Option<f64>,
    /// Share of each class that was held back for testing.
    pub test_share: Option<f64>,
    /// The file that says so.
    pub file: String,
}

/// The test images of the data set or folder `data`, prepared as in the training.
///
/// # Errors
/// Where they are not found, cannot be read, or have other classes.
pub fn load(data: &str, data_dir: Option<&Path>, trained: &Trained, policy: BadImages) -> Result<Images> {
    let Some(folder) = folder(data, data_dir)? else {
        return Ok(data::load(data, data_dir)?.test.into());
    };
    let part = find_test(&folder, trained.test_share)?;
    if let Some(classes) = &trained.classes {
        // A model's card parts names by commas, and has semicolons in them instead.
        let [known, found] = [classes, &*part.classes]
            .map(|names| names.iter().map(|name| name.replace(',', ";")).collect::<Vec<_>>());
        check_classes(&known, &trained.file, &part.folder, &found)?;
    }
    warn_of_ignored(&part);
    let bar = bar(part.files.len(), "images looked at");
    let total = part.files.len();
    let (good, bad) = headers(part.files, || bar.inc(1));
    bar.finish_and_clear();
    policy.settle(bad, total, &part.folder)?;
    let Shape { height, width, .. } = trained.shape;
    let same = good.iter().all(|(_, header)| (header.height, header.width) == (height, width));
    let usual = if same { 1.0 } else { Preparation::TEST_RESIZE };
    let preparation = Preparation {
        shape: trained.shape,
        test_resize: trained.test_resize.unwrap_or(usual),
        test_share: trained.test_share,
    };
    let listed = good.into_iter().map(|(listed, _)| listed).collect();
    // Each image is read once, so none is kept.
    Ok(Files::new(listed, Arc::clone(&part.classes), preparation, policy, Cache::new(0)).into())
}
