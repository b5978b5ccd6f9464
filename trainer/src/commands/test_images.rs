//! The images on which a trained network is tested.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, anyhow, ensure};
use lrpet_data::Header;
use lrpet_data::check::headers;
use lrpet_data::files::{Cache, Listed};
use lrpet_data::folder::{Part, Rule, find_test, names};
use lrpet_data::{BadImages, Files, Images, Preparation, Values, registry, values};
use lrpet_runtime::host::labels;
use lrpet_runtime::model::{Model, Shape};

use super::bar::bar;
use super::folder_args::{PlaceArgs, Policy, folder, say, say_test};

/// Key of [`Preparation::test_resize`] in a checkpoint's metadata and in a model's card.
pub const TEST_RESIZE: &str = "test_resize";
/// Key of [`Preparation::test_share`].
pub const TEST_SHARE: &str = "test_share";
/// Key of the [`Rule`] by which the training read its folder.
pub const FOLDER_RULE: &str = "folder_rule";

/// Where images are looked for.
#[derive(clap::Args)]
pub struct SourceArgs {
    /// Folder that holds data sets [default: $LRPET_DATA, the user's cache, then the system's packages]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Take a data set known by name that has fewer images than it should
    #[arg(long)]
    pub allow_partial: bool,
    #[command(flatten)]
    pub places: PlaceArgs,
    /// What to do about test images of a folder that cannot be read
    #[arg(long, value_enum, default_value = "refuse")]
    pub bad_images: Policy,
    /// Take images with other classes than those of the training all the same: classes are compared by their numbers
    #[arg(long)]
    pub other_classes: bool,
}

impl SourceArgs {
    /// The first option that is given and says how a folder of images is read.
    pub fn of_folder(&self) -> Option<&'static str> {
        let skip = matches!(self.bad_images, Policy::Skip).then_some("--bad-images skip");
        self.places.given().or(skip)
    }

    /// The options as they were given, for another command.
    pub fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> =
            self.data_dir.iter().flat_map(|folder| ["--data-dir".into(), folder.into()]).collect();
        words.extend(self.allow_partial.then(|| "--allow-partial".into()));
        words.extend(self.places.words(self.bad_images).into_iter().map(OsString::from));
        words
    }
}

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
    /// How the training read its folder, where it is known.
    pub rule: Option<Rule>,
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
        // Mere numbers stand for names that nobody knew, but in the model of a folder.
        let names = labels(model);
        let numbered = value(FOLDER_RULE).is_none()
            && names.iter().enumerate().all(|(class, name)| *name == class.to_string());
        Trained {
            shape: model.program().header().input,
            classes: (!numbered).then_some(names),
            test_resize: card_number(model, TEST_RESIZE),
            test_share: card_number(model, TEST_SHARE),
            rule: value(FOLDER_RULE).and_then(|text| text.parse().ok()),
            dataset: value("dataset").filter(|name| !name.is_empty()),
            file: file.display().to_string(),
            other_classes: false,
        }
    }

    /// The classes of the training, for images with `classes`: by the names that the file says, or else by those of the data set
    /// that it names. None where neither is known, or other classes are wanted.
    fn known(&self, classes: &[String]) -> Option<Arc<Vec<String>>> {
        let of_dataset = || registry::entry(self.dataset.as_deref()?).ok().map(|entry| entry.classes);
        let known = match &self.classes {
            Some(names) => Some(names.clone()),
            None => of_dataset().map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        };
        // Names that are numbers are those of a data set whose classes are called so.
        let numbered = || classes.iter().enumerate().all(|(class, name)| *name == class.to_string());
        known.filter(|_| !self.other_classes && (self.classes.is_some() || !numbered())).map(Arc::new)
    }

    /// The file, and the data set that it names.
    fn owner(&self) -> String {
        let trained = self.dataset.iter().map(|dataset| format!(" (trained on {dataset})")).next();
        format!("{}{}", self.file, trained.unwrap_or_default())
    }

    /// Refuses images of the data set `name` with these classes where the training had others.
    ///
    /// # Errors
    /// Names the classes that differ and says what to do.
    pub fn check_classes(&self, name: &str, classes: &[String]) -> Result<()> {
        let Some(known) = self.known(classes).filter(|known| known[..] != *classes) else { return Ok(()) };
        let difference = names::places(&known, classes).err();
        let difference = difference.unwrap_or_else(|| "; only some of them, or in another order".to_owned());
        Err(other_classes(format!("{name}: other classes than {}{difference}", self.owner())))
    }
}

/// What to do about images with other classes.
fn other_classes(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!(
        "{error}; name images of the classes that it was trained on, or compare classes by their numbers with --other-classes"
    )
}

/// The test images of the data set or folder `data`, prepared as in the training.
///
/// # Errors
/// Where they are not found, cannot be read, have other classes, or the preparation of their sizes is not known.
pub fn load(data: &str, args: &SourceArgs, trained: &Trained) -> Result<Images> {
    if let Some(folder) = folder(data, args.data_dir.as_deref())? {
        return find(&folder, args, trained)?.prepare(trained);
    }
    if let Some(option) = args.of_folder() {
        anyhow::bail!("{option} is for a folder of images; {data} has its own way");
    }
    let classes: Vec<String> = registry::entry(data)?.classes.iter().map(|&name| name.to_owned()).collect();
    trained.check_classes(data, &classes)?;
    Ok(lrpet_data::load(data, args.data_dir.as_deref(), args.allow_partial)?.test.into())
}

/// The test samples of a folder of values, in so many classes; `test_share` is what the training held back of each class.
///
/// # Errors
/// Those of [`values::find`], and where an option is given that is about pictures.
pub fn values(folder: &Path, args: &SourceArgs, classes: usize, test_share: Option<f64>) -> Result<Values> {
    let others = [("--other-classes", args.other_classes), ("--allow-partial", args.allow_partial)];
    let other = others.iter().find(|(_, given)| *given).map(|(option, _)| *option);
    if let Some(option) = args.of_folder().or(other) {
        anyhow::bail!("{option} is about pictures, and {} holds values", folder.display());
    }
    let ask = values::Ask { folder, classes: Some(classes), test_share: test_share.unwrap_or(1.0) };
    let test = values::find(&ask)?.test;
    say_test(folder, &test);
    Ok(test)
}

/// The test images of a folder, before they are prepared.
pub struct Found {
    part: Part,
    good: Vec<(Listed, Header)>,
    policy: BadImages,
}

/// Finds the test images of a folder, labelled by the names of the training's classes, and reads their headers. The shape of
/// `trained` does not matter yet.
///
/// # Errors
/// Where they are not found, cannot be read, or have other classes.
pub fn find(folder: &Path, args: &SourceArgs, trained: &Trained) -> Result<Found> {
    let mut part = find_test(&args.places.ask(folder, trained.test_share), trained.rule)?;
    match trained.known(&part.classes) {
        Some(known) => part = part.with_classes(&known, &trained.owner()).map_err(other_classes)?,
        None => eprintln!(
            "classes are compared by their numbers, not by names: the folder's, in order, are {}",
            names::some(&part.classes)
        ),
    }
    say([("test", &part)].into_iter());
    let counts = part.by_class();
    let missing = part.classes.iter().zip(counts).filter(|(_, count)| *count == 0);
    let missing: Vec<String> = missing.map(|(class, _)| class.clone()).collect();
    if !missing.is_empty() {
        eprintln!("no test image of class {}: the accuracy says nothing of it", names::some(&missing));
    }
    let policy = BadImages::from(args.bad_images);
    let bar = bar(part.files.len(), "images looked at");
    let total = part.files.len() + part.bad.len();
    let (good, unreadable) = headers(std::mem::take(&mut part.files), || bar.inc(1));
    bar.finish_and_clear();
    let bad = std::mem::take(&mut part.bad).into_iter().chain(unreadable).collect();
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
