//! A data set as a folder of images per class.
//!
//! `DIR/train/CLASS/*` and `DIR/test/CLASS/*` (or `val`; where both are there, `val` is the validation set), or
//! `DIR/CLASS/*` alone, of which a share of each class is held back for testing. Classes are numbered in the order of
//! their folders' names. Below a class folder, files that end in png, jpg or jpeg are images, in deeper folders too;
//! whether they are is told by their content.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walkdir::WalkDir;

use super::DataError;
use super::files::Listed;
use super::picture::ENDINGS;

/// Names of the folder with the training images.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of the folder with the test images.
const TEST: [&str; 2] = ["test", "testing"];
/// Names of the folder with the validation images.
const VALIDATION: [&str; 3] = ["val", "validation", "valid"];
/// Share of each class held back for testing where there is no folder for it.
pub const TEST_SHARE: f64 = 0.2;
/// Names that an error lists.
const LISTED: usize = 10;

/// The images of one part of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The folder with its class folders.
    pub folder: PathBuf,
    /// Names of the classes, by label.
    pub classes: Arc<Vec<String>>,
    /// Images, class by class, in each in order of their paths.
    pub files: Vec<Listed>,
    /// Files that are no images by their names or lie outside class folders.
    pub ignored: Vec<PathBuf>,
}

/// The parts of a data set in a folder; all have the same classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Name of the folder.
    pub name: String,
    /// Training images.
    pub train: Part,
    /// Validation images, where they have a folder beside that of the test images.
    pub validation: Option<Part>,
    /// Test images.
    pub test: Part,
    /// Share of each class that was held back for testing, where there is no folder for it.
    pub test_share: Option<f64>,
}

impl Folder {
    /// Finds the images below `folder`; those for testing in `test_folder` where it is given.
    ///
    /// `test_share` of each class ([`TEST_SHARE`] where none is given) is held back for testing where there is no
    /// folder for it: the same files at every call, whatever the seed of a training.
    ///
    /// # Errors
    /// [`DataError::Format`] where there are no class folders or only one, some are empty, or the parts' classes
    /// differ; [`DataError::Io`].
    pub fn find(
        folder: &Path,
        test_folder: Option<&Path>,
        test_share: Option<f64>,
    ) -> Result<Folder, DataError> {
        let train_folder = part_folder(folder, &TRAIN);
        let found = |names: &[&str]| part_folder(folder, names);
        let (test_folder, validation_folder) = match (test_folder, &train_folder) {
            (Some(test), _) => {
                (Some(test.to_owned()), train_folder.as_ref().and_then(|_| found(&VALIDATION)))
            }
            (None, None) => (None, None),
            (None, Some(_)) => match (found(&TEST), found(&VALIDATION)) {
                (None, validation) => (validation, None),
                both => both,
            },
        };
        if test_folder.is_some() && test_share.is_some() {
            return Err(refuse(
                folder,
                "it has test images of its own, so no share of it is held back for testing",
            ));
        }
        let mut train = list(train_folder.as_deref().unwrap_or(folder))?;
        if train.classes.len() < 2 {
            let reason =
                format!("one class folder only ({}): there is nothing to tell apart", train.classes[0]);
            return Err(refuse(&train.folder, &reason));
        }
        let (test, test_share) = match test_folder {
            Some(test) => (list(&test)?, None),
            None => {
                let share = test_share.unwrap_or(TEST_SHARE);
                (hold_back(&mut train, share)?, Some(share))
            }
        };
        let validation = validation_folder.map(|folder| list(&folder)).transpose()?;
        for part in std::iter::once(&test).chain(&validation) {
            let owner = train.folder.display().to_string();
            check_classes(&train.classes, &owner, &part.folder, &part.classes)?;
        }
        Ok(Folder { name: name(folder), train, validation, test, test_share })
    }

    /// All parts, with their names.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &Part)> {
        let validation = self.validation.iter().map(|part| ("validation", part));
        std::iter::once(("train", &self.train)).chain(validation).chain([("test", &self.test)])
    }
}

/// The test images below `folder`: its folder for them, or else the share of each class that [`Folder::find`] with
/// `test_share` holds back; where that is not given, all images in its class folders.
///
/// # Errors
/// Those of [`Folder::find`], but for the number of classes.
pub fn find_test(folder: &Path, test_share: Option<f64>) -> Result<Part, DataError> {
    let found = |names: &[&str]| part_folder(folder, names);
    match (found(&TEST).or_else(|| found(&VALIDATION)), test_share) {
        (Some(test), _) => list(&test),
        (None, None) => list(folder),
        (None, Some(share)) => hold_back(&mut list(&found(&TRAIN).unwrap_or(folder.to_owned()))?, share),
    }
}

/// Name of a data set in `folder`.
pub fn name(folder: &Path) -> String {
    let whole = folder.canonicalize();
    let name = whole.as_deref().unwrap_or(folder).file_name();
    name.map_or_else(|| folder.display().to_string(), |name| name.to_string_lossy().into_owned())
}

/// The folder in `folder` that has one of `names`.
fn part_folder(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| folder.join(name)).find(|folder| folder.is_dir())
}

fn refuse(folder: &Path, reason: &str) -> DataError {
    DataError::Format { path: folder.to_owned(), reason: reason.to_owned() }
}

/// Lists the images in the class folders of `folder`.
fn list(folder: &Path) -> Result<Part, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(io)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(io)?;
    entries.retain(|path| !is_hidden(path));
    entries.sort();
    let (folders, mut ignored): (Vec<_>, Vec<_>) = entries.into_iter().partition(|path| path.is_dir());
    if folders.is_empty() {
        let layout = "images lie in a folder for each class: DIR/CLASS/image.jpg, or DIR/train/CLASS and DIR/test/CLASS";
        return Err(refuse(folder, &format!("no class folders; {layout}")));
    }
    let mut files = Vec::new();
    let mut empty = Vec::new();
    for (label, class) in folders.iter().enumerate() {
        let before = files.len();
        let seen = |path: &Path| path == class || !is_hidden(path);
        let walk = WalkDir::new(class).follow_links(true).sort_by_file_name().into_iter();
        for entry in walk.filter_entry(|entry| seen(entry.path())) {
            let entry = entry.map_err(|error| {
                let path = error.path().unwrap_or(class).to_owned();
                DataError::Io { path, source: error.into() }
            })?;
            if entry.file_type().is_dir() {
                continue;
            }
            let path = entry.into_path();
            if is_image(&path) {
                files.push(Listed { path, label: label as u32 });
            } else {
                ignored.push(path);
            }
        }
        if files.len() == before {
            empty.push(file_name(class));
        }
    }
    if !empty.is_empty() {
        let reason = format!(
            "no image (png, jpg, jpeg) in class folder {}; add some or remove the folder",
            name_some(&empty)
        );
        return Err(refuse(folder, &reason));
    }
    let classes = Arc::new(folders.iter().map(|class| file_name(class)).collect());
    Ok(Part { folder: folder.to_owned(), classes, files, ignored })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn is_hidden(path: &Path) -> bool {
    file_name(path).starts_with('.')
}

fn is_image(path: &Path) -> bool {
    let end = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    ENDINGS.contains(&&*end)
}

/// Takes `share` of each class out of `part`, at least one file and not all: those whose paths below the folder have
/// the smallest hashes, so that the same files are taken every time, and a file more changes little.
fn hold_back(part: &mut Part, share: f64) -> Result<Part, DataError> {
    if !(share > 0.0 && share < 1.0) {
        return Err(refuse(
            &part.folder,
            &format!("a share of {share} for testing; it is above 0 and below 1"),
        ));
    }
    let hash = |listed: &Listed| {
        let path = listed.path.strip_prefix(&part.folder).unwrap_or(&listed.path);
        let path = path.to_string_lossy().replace(std::path::MAIN_SEPARATOR, "/");
        crc::Crc::<u64>::new(&crc::CRC_64_XZ).checksum(path.as_bytes())
    };
    let mut held = vec![false; part.files.len()];
    for label in 0..part.classes.len() as u32 {
        let mut class: Vec<usize> =
            (0..part.files.len()).filter(|&index| part.files[index].label == label).collect();
        if class.len() < 2 {
            let reason = format!(
                "class {} has one image only, so none can be held back for testing; name other test images with --test-data",
                part.classes[label as usize]
            );
            return Err(refuse(&part.folder, &reason));
        }
        class.sort_by_cached_key(|&index| hash(&part.files[index]));
        let count = ((share * class.len() as f64).round() as usize).clamp(1, class.len() - 1);
        class[..count].iter().for_each(|&index| held[index] = true);
    }
    let take = |wanted: bool| {
        let pairs = part.files.iter().zip(&held).filter(|(_, held)| **held == wanted);
        pairs.map(|(listed, _)| listed.clone()).collect::<Vec<_>>()
    };
    let (train, test) = (take(false), take(true));
    part.files = train;
    Ok(Part { files: test, ignored: Vec::new(), ..part.clone() })
}

/// Refuses `folder` where its `classes` are not `known`, which are those of `owner`.
///
/// # Errors
/// [`DataError::Format`] names the difference.
pub fn check_classes(
    known: &[String],
    owner: &str,
    folder: &Path,
    classes: &[String],
) -> Result<(), DataError> {
    if known == classes {
        return Ok(());
    }
    let without = |of: &[String], others: &[String]| -> Vec<String> {
        of.iter().filter(|class| !others.contains(class)).cloned().collect()
    };
    let mut reason = format!("other classes than {owner}");
    let (missing, more) = (without(known, classes), without(classes, known));
    for (what, names) in [("missing here", missing), ("only here", more)] {
        if !names.is_empty() {
            let _ = write!(reason, "; {what}: {}", name_some(&names));
        }
    }
    Err(refuse(folder, &reason))
}

/// The first names, and how many more there are.
fn name_some(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let first = names[..names.len() - more].join(", ");
    if more == 0 { first } else { format!("{first} and {more} more") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes empty files.
    fn touch(folder: &Path, files: &[&str]) {
        for file in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, []).unwrap();
        }
    }

    fn names(part: &Part) -> Vec<(String, u32)> {
        let name = |listed: &Listed| listed.path.strip_prefix(&part.folder).unwrap().display().to_string();
        part.files.iter().map(|listed| (name(listed), listed.label)).collect()
    }

    #[test]
    fn classes_are_numbered_by_name_and_images_found_below_them() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            "train/b/2.JPG",
            "train/b/1.png",
            "train/a/x/9.jpeg",
            "train/a/.hidden.png",
            "train/a/.x/1.png",
            "train/a/n.txt",
        ];
        touch(dir.path(), &files);
        touch(dir.path(), &["train/stray.png", "train/.git/x.png", "val/a/1.png", "val/b/1.png"]);
        let found = Folder::find(dir.path(), None, None).unwrap();
        assert_eq!(*found.train.classes, ["a", "b"]);
        let expected = [("a/x/9.jpeg", 0), ("b/1.png", 1), ("b/2.JPG", 1)];
        assert_eq!(names(&found.train), expected.map(|(name, label)| (name.to_owned(), label)));
        assert_eq!(
            found.train.ignored,
            ["stray.png", "a/n.txt"].map(|name| dir.path().join("train").join(name))
        );
        assert_eq!(
            (found.test.folder, found.validation, found.test_share),
            (dir.path().join("val"), None, None)
        );
        // Beside a test part, `val` is for validation.
        touch(dir.path(), &["test/a/1.png", "test/b/1.png"]);
        let found = Folder::find(dir.path(), None, None).unwrap();
        assert_eq!(found.test.folder, dir.path().join("test"));
        assert_eq!(found.validation.unwrap().folder, dir.path().join("val"));
        assert_eq!(find_test(dir.path(), None).unwrap().folder, dir.path().join("test"));
        let elsewhere = Folder::find(&dir.path().join("train"), Some(&dir.path().join("val")), None).unwrap();
        assert_eq!(elsewhere.test.files.len(), 2);
    }

    #[test]
    fn a_share_of_each_class_is_held_back_the_same_every_time() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..10 {
            touch(dir.path(), &[&format!("a/{number}.png"), &format!("b/{number}.png")]);
        }
        let found = Folder::find(dir.path(), None, Some(0.3)).unwrap();
        assert_eq!((found.train.files.len(), found.test.files.len(), found.test_share), (14, 6, Some(0.3)));
        assert_eq!(found.test.files.iter().filter(|listed| listed.label == 0).count(), 3);
        let mut all = [names(&found.train), names(&found.test)].concat();
        all.sort();
        assert_eq!(all, names(&find_test(dir.path(), None).unwrap()));
        assert_eq!(find_test(dir.path(), Some(0.3)).unwrap(), found.test);
        // The same files at another place, and with a file more all but one at most.
        let moved = dir.path().join("moved");
        for number in 0..11 {
            touch(&moved, &[&format!("a/{number}.png"), &format!("b/{number}.png")]);
        }
        let more = names(&find_test(&moved, Some(0.3)).unwrap());
        assert!(names(&found.test).iter().filter(|name| !more.contains(name)).count() <= 2);
        for share in [0.0, 1.0, f64::NAN] {
            let error = find_test(dir.path(), Some(share)).unwrap_err().to_string();
            assert!(error.contains("above 0 and below 1"), "{error}");
        }
        touch(dir.path(), &["c/only.png"]);
        let error = Folder::find(dir.path(), None, None).unwrap_err().to_string();
        assert!(error.contains("class c has one image only") && error.contains("--test-data"), "{error}");
    }
}
