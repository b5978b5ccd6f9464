//! The images on which a trained network is tested.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use lrpet_runtime::model::{Model, Shape};
use lrpet_trainer::data::check::headers;
use lrpet_trainer::data::files::{Cache, Listed};
use lrpet_trainer::data::folder::{Part, find_test};
use lrpet_trainer::data::picture::Header;
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
        // Mere numbers stand for names that nobody knew.
        let names = labels(model);
        let numbered = names.iter().enumerate().all(|(class, name)| *name == class.to_string());
        Trained {
            shape: model.program().header().input,
            classes: (!numbered).then_some(names),
            test_resize: card_number(model, TEST_RESIZE),
            test_share: card_number(model, TEST_SHARE),
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
/// Where they are not found, cannot be read, have other classes, or the preparation of their sizes is not known.
pub fn load(data: &str, data_dir: Option<&Path>, trained: &Trained, policy: BadImages) -> Result<Images> {
    if let Some(folder) = folder(data, data_dir)? {
        return find(&folder, trained, policy)?.prepare(trained);
    }
    let classes: Vec<String> = registry::entry(data)?.classes.iter().map(|&name| name.to_owned()).collect();
    trained.check_classes(Path::new(data), &classes)?;
    Ok(data::load(data, data_dir)?.test.into())
}

/// The test images of a folder, before they are prepared.
pub struct Found {
    part: Part,
    good: Vec<(Listed, Header)>,
    policy: BadImages,
}

/// Finds the test images of a folder and reads their headers. The shape of `trained` does not matter yet.
///
/// # Errors
/// Where they are not found, cannot be read, or have other classes.
pub fn find(folder: &Path, trained: &Trained, policy: BadImages) -> Result<Found> {
    let mut part = find_test(folder, trained.test_share)?;
    trained.check_classes(&part.folder, &part.classes)?;
    warn_of_ignored(&part);
    let bar = bar(part.files.len(), "images looked at");
    let total = part.files.len();
    let (good, bad) = headers(std::mem::take(&mut part.files), || bar.inc(1));
    bar.finish_and_clear();
    policy.settle(bad, total, &part.folder)?;
    Ok(Found { part, good, policy })
}

impl Found {
    /// Names of the classes.
    pub fn classes(&self) -> &[String] {
        &self.part.classes
    }

    /// Height and width of all pictures, where all have the same.
    pub fn size(&self) -> Option<[u32; 2]> {
        let mut sizes = self.good.iter().map(|(_, header)| [header.height, header.width]);
        let first = sizes.next()?;
        sizes.all(|size| size == first).then_some(first)
    }

    /// The images, prepared as `trained` says.
    ///
    /// # Errors
    /// Where it does not say how pictures of their sizes are prepared.
    pub fn prepare(self, trained: &Trained) -> Result<Images> {
        let shape = trained.shape;
        ensure!(
            matches!(shape.channels, 1 | 3),
            "{}: pictures have 1 or 3 channels, but {} takes {shape}",
            self.part.folder.display(),
            trained.file
        );
        let mut preparation = Preparation { shape, test_resize: 1.0, test_share: trained.test_share };
        for (Listed { path, .. }, Header { height, width, .. }) in &self.good {
            let found = Preparation::for_model(shape, trained.test_resize, [*height, *width]);
            let found = found.map_err(|reason| anyhow::anyhow!("{}: {reason}", path.display()))?;
            preparation.test_resize = found.test_resize;
        }
        let listed = self.good.into_iter().map(|(listed, _)| listed).collect();
        // Each image is read once, so none is kept.
        Ok(Files::new(listed, Arc::clone(&self.part.classes), preparation, self.policy, Cache::new(0)).into())
    }
}

/// The number that a model's card has for `key`, where it has one.
pub fn card_number(model: &Model<'_>, key: &str) -> Option<f64> {
    model.container().metadata_value(key).and_then(|value| value.to_string().parse().ok())
}

/// [`Preparation::test_resize`] on the command line.
pub fn parse_resize(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "a number such as 1.143".to_owned()).and_then(Preparation::check_resize)
}
