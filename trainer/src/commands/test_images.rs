//! The images on which a trained network is tested.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use lrpet_runtime::model::{Model, Shape};
use lrpet_trainer::data::check::headers;
use lrpet_trainer::data::files::Cache;
use lrpet_trainer::data::folder::find_test;
use lrpet_trainer::data::{self, BadImages, Files, Images, Preparation, registry};

use super::data_args::{bar, folder, warn_of_ignored};
use super::model_file::labels;

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
    /// Name of the data set, where it is known.
    pub dataset: Option<String>,
    /// The file that says so.
    pub file: String,
    /// Images with other classes are wanted all the same.
    pub other_classes: bool,
}

impl Trained {
    /// What the card of `model`, which is the file `file`, says.
    pub fn of_model(model: &Model<'_>, file: &Path) -> Trained {
        let value = |key: &str| model.container().metadata_value(key).map(|value| value.to_string());
        let number = |key: &str| value(key).and_then(|text| text.parse().ok());
        // Mere numbers stand for names that nobody knew.
        let names = labels(model);
        let numbered = names.iter().enumerate().all(|(class, name)| *name == class.to_string());
        Trained {
            shape: model.program().header().input,
            classes: (!numbered).then_some(names),
            test_resize: number(TEST_RESIZE),
            test_share: number(TEST_SHARE),
            dataset: value("dataset").filter(|name| !name.is_empty()),
            file: file.display().to_string(),
            other_classes: false,
        }
    }

    /// Refuses images of `place` with these classes where the training had others: by the names that the file says, or else by
    /// those of the data set that it names. Nothing is refused where neither is known, or other classes are wanted.
    ///
    /// # Errors
    /// Names the classes that differ and says what to do.
    pub fn check_classes(&self, place: &Path, classes: &[String]) -> Result<()> {
        let of_dataset = || registry::entry(self.dataset.as_deref()?).ok().map(|entry| entry.classes);
        let known = match &self.classes {
            Some(names) => Some(names.clone()),
            None => of_dataset().map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        };
        // Names that are numbers are those of a data set whose classes are called so.
        let numbered = || classes.iter().enumerate().all(|(class, name)| *name == class.to_string());
        let Some(known) = known.filter(|_| !self.other_classes && (self.classes.is_some() || !numbered()))
        else {
            return Ok(());
        };
        // A model's card parts names by commas, and has semicolons in them instead.
        let [known, found] = [&known[..], classes]
            .map(|names| names.iter().map(|name| name.replace(',', ";")).collect::<Vec<_>>());
        let trained = self.dataset.iter().map(|dataset| format!(" (trained on {dataset})")).next();
        let owner = format!("{}{}", self.file, trained.unwrap_or_default());
        data::folder::check_classes(&known, &owner, place, &found).map_err(|error| {
            anyhow!("{error}; name images of the classes that it was trained on, or compare classes by their numbers with --other-classes")
        })
    }
}

/// The test images of the data set or folder `data`, prepared as in the training.
///
/// # Errors
/// Where they are not found, cannot be read, or have other classes.
pub fn load(data: &str, data_dir: Option<&Path>, trained: &Trained, policy: BadImages) -> Result<Images> {
    let Some(folder) = folder(data, data_dir)? else {
        let classes: Vec<String> =
            registry::entry(data)?.classes.iter().map(|&name| name.to_owned()).collect();
        trained.check_classes(Path::new(data), &classes)?;
        return Ok(data::load(data, data_dir)?.test.into());
    };
    let part = find_test(&folder, trained.test_share)?;
    trained.check_classes(&part.folder, &part.classes)?;
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
