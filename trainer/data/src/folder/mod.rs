//! A data set as a folder of images per class.
//!
//! `DIR/train/CLASS/*` and `DIR/test/CLASS/*` (or `val`; where both are there, `val` is the validation set), or
//! `DIR/CLASS/*` alone, of which a share of each class is held back for testing: [`places`] has the rules, which every
//! command keeps to. Classes are numbered in the order of their folders' [`names`]. Below a class folder, files that end as
//! pictures do are images, in deeper folders too (`listing`); whether they are is told by their content.

mod listing;
pub mod names;
mod paths;
pub mod places;
mod rule;
mod share;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lrpet_network::dataset;
use lrpet_report::{units, visible_path};

pub use listing::{Ignored, by_ending};
pub use rule::Rule;

use self::listing::Listing;
use super::error::Bad;
use super::listed::Listed;
use super::picture::ENDINGS;
use super::{DataError, registry};

/// Share of each class held back for testing where there is no folder for it.
pub const TEST_SHARE: f64 = 0.2;

/// Which images are asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The folder.
    pub folder: &'a Path,
    /// The folders in it are the classes, whatever they are called.
    pub flat: bool,
    /// Folder with the test images.
    pub test_folder: Option<&'a Path>,
    /// Share of each class that is held back for testing, where there is no folder for it.
    pub test_share: Option<f64>,
}

/// The images of one part of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The folder with its class folders.
    pub folder: PathBuf,
    /// From where the images are, in words.
    pub source: String,
    /// Names of the classes, by label.
    pub classes: Arc<Vec<String>>,
    /// Images, class by class, in each in order of their paths.
    pub files: Vec<Listed>,
    /// Images that the system does not let one read, and links that lead nowhere.
    pub bad: Vec<Bad>,
    /// Files that are no images by their names or lie outside class folders.
    pub ignored: Vec<Ignored>,
    /// Folders that are no data: hidden ones, and those of systems and programs.
    pub left_out: Vec<PathBuf>,
    /// What makes figures on these images doubtful, in sentences.
    pub doubts: Vec<String>,
}

/// The parts of a data set in a folder; all have the same classes, of which those for testing may lack some.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Name of the folder.
    pub name: String,
    /// Training images, of every class.
    pub train: Part,
    /// Validation images, where they have a folder beside that of the test images.
    pub validation: Option<Part>,
    /// Test images.
    pub test: Part,
    /// Share of each class that was held back for testing, where there is no folder for it.
    pub test_share: Option<f64>,
    /// How the folder was read.
    pub rule: Rule,
}

impl Folder {
    /// Finds the images that `ask` asks for.
    ///
    /// `test_share` of each class ([`TEST_SHARE`] where none is given) is held back for testing where there is no
    /// folder for it: the same files at every call, whatever the seed of a training.
    ///
    /// # Errors
    /// [`DataError::Format`] where it is not clear what serves as what, there are no class folders or only one, some
    /// have no training image, or another part has a class more; [`DataError::Io`].
    pub fn find(ask: &Ask<'_>) -> Result<Folder, DataError> {
        let places = places::find(ask)?;
        if (ask.test_folder.is_some() || places.test.is_some()) && ask.test_share.is_some() {
            let reason = "it has test images of its own, so no share of it is held back for testing";
            return Err(refuse(ask.folder, reason));
        }
        let Some(folder) = &places.train else {
            let reason = "no folder train in it: put the training images into DIR/train/CLASS (where all folders here are classes, say --flat)";
            return Err(refuse(ask.folder, reason));
        };
        let mut train = Part::list(folder, ask.test_folder)?;
        train.check_training(places.flat)?;
        train.left_out.extend_from_slice(&places.aside);
        let owner = visible_path(&train.folder);
        let known = train.classes.clone();
        let validation = places.validation.as_deref().map(|folder| Part::list(folder, None)).transpose()?;
        let validation = validation.map(|part| part.with_classes(&known, &owner)).transpose()?;
        let (test, test_share) = match places.test_part()? {
            _ if ask.test_folder.is_some() => (find_test(ask, None)?.with_classes(&known, &owner)?, None),
            Some(test) => (test.with_classes(&known, &owner)?, None),
            None => {
                let share = ask.test_share.unwrap_or(TEST_SHARE);
                (share::hold_back(&mut train, share)?, Some(share))
            }
        };
        let rule = Rule { flat: ask.flat, elsewhere: ask.test_folder.is_some() };
        Ok(Folder { name: name(ask.folder), train, validation, test, test_share, rule })
    }

    /// All parts, with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let validation = self.validation.iter().map(|part| ("validation", part));
        std::iter::once(("train", &self.train)).chain(validation).chain([("test", &self.test)])
    }
}

/// The test images that `ask` asks for: those of its test folder, of the part of its folder for them, or of the share of
/// each class that [`Folder::find`] with `test_share` holds back; where that is not given, all in its class folders.
/// `rule` is how the training read its folder, where that is known.
///
/// # Errors
/// Those of [`Folder::find`] that do not concern training images; [`DataError::Format`] where only training images are
/// there, or the training had test images in a folder of their own that `ask` does not name.
pub fn find_test(ask: &Ask<'_>, rule: Option<Rule>) -> Result<Part, DataError> {
    let Rule { flat, elsewhere } = rule.unwrap_or_default();
    let flat = flat || ask.flat;
    if let Some(folder) = ask.test_folder {
        let own = Ask { folder, flat, test_folder: None, test_share: None };
        let mut test = find_test(&own, None)?;
        // What else lies in the folder need not be clear. The training images themselves may be what is named for testing.
        let without = Ask { flat, test_folder: None, ..*ask };
        let places = [Ask { flat, ..*ask }, without]
            .iter()
            .filter_map(|ask| places::find(ask).ok())
            .collect::<Vec<_>>();
        let doubt = places.iter().find_map(|places| places.training_images_in(&test, ask.test_folder));
        test.doubts.extend(doubt);
        return Ok(test);
    }
    let places = places::find(&Ask { flat, ..*ask })?;
    match (places.test_part()?, &places.train, ask.test_share) {
        (Some(mut test), ..) => {
            test.doubts.extend(places.training_images_in(&test, None));
            Ok(test)
        }
        (None, Some(folder), Some(share)) => share::hold_back(&mut Part::list(folder, None)?, share),
        (None, Some(_), None) if elsewhere => {
            let reason = "the training's test images were in a folder of their own: name it with --test-data";
            Err(refuse(ask.folder, reason))
        }
        (None, Some(folder), None) if places.flat => {
            let mut all = Part::list(folder, None)?;
            all.doubts.extend(places::called_for_training(folder));
            Ok(all)
        }
        _ => Err(refuse(
            ask.folder,
            "no test images: there is neither a folder test nor one called val; name one with --test-data",
        )),
    }
}

impl Part {
    /// Lists the images in the class folders of `folder`, without the folder `apart`.
    fn list(folder: &Path, apart: Option<&Path>) -> Result<Part, DataError> {
        let Listing { classes, files, bad, ignored, left_out } = listing::list(folder, apart)?;
        let (folder, classes) = (folder.to_owned(), Arc::new(classes));
        Ok(Part {
            source: visible_path(&folder),
            folder,
            classes,
            files,
            bad,
            ignored,
            left_out,
            doubts: Vec::new(),
        })
    }

    /// What serves as `what`, for the user.
    pub fn line(&self, what: &str) -> String {
        let classes = self.by_class().iter().filter(|count| **count > 0).count();
        let many =
            if self.classes.len() > classes { format!(" of {}", self.classes.len()) } else { String::new() };
        let images = units::things(self.files.len() as u64, "image");
        let classes = match classes {
            1 if many.is_empty() => "1 class".to_owned(),
            _ => format!("{classes}{many} classes"),
        };
        format!("{what}: {}: {images} in {classes}", self.source)
    }

    /// Images of each class.
    pub fn by_class(&self) -> Vec<usize> {
        dataset::by_class(self.files.iter().map(|listed| listed.label), self.classes.len())
    }

    /// The same images, labelled by the names of `known` classes, which are those of `owner`. The folder may lack some;
    /// those that it has besides must be empty.
    ///
    /// # Errors
    /// [`DataError::Format`] names the difference.
    pub fn with_classes(mut self, known: &Arc<Vec<String>>, owner: &str) -> Result<Part, DataError> {
        let counts = self.by_class();
        let found =
            self.classes.iter().zip(counts).filter(|(name, count)| *count > 0 || known.contains(name));
        let found: Vec<String> = found.map(|(name, _)| name.clone()).collect();
        let places = names::places(known, &found)
            .map_err(|difference| refuse(&self.folder, &format!("other classes than {owner}{difference}")))?;
        let place = |label: u32| {
            let name = &self.classes[label as usize];
            found.iter().position(|other| other == name).map(|at| places[at])
        };
        let labels: Vec<Option<u32>> = (0..self.classes.len() as u32).map(place).collect();
        self.files.iter_mut().for_each(|listed| listed.label = labels[listed.label as usize].unwrap_or(0));
        self.files.sort_by_key(|listed| listed.label);
        for file in &mut self.ignored {
            file.class = file.class.and_then(|label| labels[label as usize]);
        }
        self.classes = known.clone();
        Ok(self)
    }

    /// Refuses classes that cannot be trained; the part is the whole folder of the user where it is `flat`.
    fn check_training(&self, flat: bool) -> Result<(), DataError> {
        let counts = self.by_class();
        let empty = |label: &usize| counts[*label] == 0;
        let empty: Vec<usize> = (0..self.classes.len()).filter(empty).collect();
        if !empty.is_empty() {
            let called: Vec<String> = empty.iter().map(|&label| self.classes[label].clone()).collect();
            let inside = |file: &&Ignored| file.class.is_some_and(|label| empty.contains(&(label as usize)));
            let (pictures, _) = by_ending(self.ignored.iter().filter(inside));
            let pictures: Vec<String> = pictures
                .iter()
                .map(|(ending, count)| format!("; {count} .{ending} in it, which is not read"))
                .collect();
            let also = if flat { "" } else { ", and those of its name for testing and validation" };
            let reason = format!(
                "no image ({}) for training in class folder {}{}; add some, or remove the folder{also}",
                ENDINGS.join(", "),
                names::some(&called),
                pictures.concat(),
            );
            return Err(refuse(&self.folder, &reason));
        }
        if let [class] = &self.classes[..] {
            let inner = self.folder.join(class);
            let below = listing::list(&inner, None).map_or(0, |listing| listing.classes.len());
            let hint = match below {
                0 | 1 => String::new(),
                many => format!("; are the classes the {many} folders in {}?", inner.display()),
            };
            let reason = format!(
                "one class folder only ({}): there is nothing to tell apart{hint}",
                names::shown(class)
            );
            return Err(refuse(&self.folder, &reason));
        }
        Ok(())
    }
}

/// Name of a data set in `folder`.
pub fn name(folder: &Path) -> String {
    let whole = folder.canonicalize();
    let name = whole.as_deref().unwrap_or(folder).file_name();
    let name = name.map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned());
    called(name)
}

/// What a data set in a folder called `name` is called: never as one of those known by name.
pub fn called(name: String) -> String {
    if registry::entry(&name).is_ok() { format!("{name} (folder)") } else { name }
}

fn refuse(folder: &Path, reason: &str) -> DataError {
    DataError::Format { path: folder.to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
