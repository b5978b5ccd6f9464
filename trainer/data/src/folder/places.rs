//! Which folder serves as what.
//!
//! Below DIR, folders called train, test or val (and a few like them, in any case) are parts of the data set, which hold a
//! folder a class; without any of them the folders of DIR are the classes. Where both could be meant, nothing is guessed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use lrpet_report::{units, visible_path};
use walkdir::WalkDir;

use super::paths::{is_left_out, is_same};
use super::{Ask, Part, names};
use crate::DataError;
use crate::listed::Listed;
use crate::picture::is_picture;

/// What a part is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Train,
    Validation,
    Test,
}

/// Names of the folders with the parts, in lower case.
const KINDS: [(Kind, &str, &[&str]); 3] = [
    (Kind::Train, "training", &["train", "training"]),
    (Kind::Validation, "validation", &["val", "valid", "validation"]),
    (Kind::Test, "test", &["test", "testing"]),
];

/// The folders of a data set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// The folders in DIR are the classes.
    pub flat: bool,
    /// Folder with the training images; DIR itself where it is flat.
    pub train: Option<PathBuf>,
    /// Folder with the validation images.
    pub validation: Option<PathBuf>,
    /// Folder with the test images.
    pub test: Option<PathBuf>,
    /// The test images are those for validation, for there are no others.
    pub validation_tests: bool,
    /// Folders beside the parts that hold no images.
    pub aside: Vec<PathBuf>,
}

impl Places {
    /// What there is to say where images of `test` lie in the folder with the training images, by whatever way. `named` is the folder
    /// that was named for them: right below the training's it is none of its classes.
    pub fn training_images_in(&self, test: &Part, named: Option<&Path>) -> Option<String> {
        let train = self.train.as_ref()?.canonicalize().ok()?;
        let set_apart = named.and_then(|named| named.canonicalize().ok());
        let set_apart = set_apart.filter(|named| named.parent() == Some(&train));
        let mut folders: HashMap<PathBuf, bool> = HashMap::new();
        let mut inside = |listed: &&Listed| {
            let folder = listed.path.parent().unwrap_or(Path::new(""));
            *folders.entry(folder.to_owned()).or_insert_with(|| {
                let real = folder.canonicalize();
                real.is_ok_and(|real| {
                    real.starts_with(&train)
                        && set_apart.as_ref().is_none_or(|apart| !real.starts_with(apart))
                })
            })
        };
        let found = test.files.iter().filter(&mut inside).count();
        (found > 0).then(|| {
            format!(
                "{found} of {} {} in {}, the folder with the training images: the accuracy on them says nothing of new pictures",
                units::things(test.files.len() as u64, "test image"),
                if test.files.len() == 1 { "lies" } else { "lie" },
                visible_path(self.train.as_deref().unwrap_or(Path::new("")))
            )
        })
    }

    /// The test images, where they have a folder.
    ///
    /// # Errors
    /// Those of [`listing::list`](super::listing::list); where there are no class folders, what can be done about it.
    pub fn test_part(&self) -> Result<Option<Part>, DataError> {
        let Some(folder) = &self.test else { return Ok(None) };
        let mut part = Part::list(folder, None)?;
        if self.validation_tests {
            part.source += " (there is no folder test)";
        }
        Ok(Some(part))
    }
}

/// Finds the folders that `ask` asks for.
///
/// # Errors
/// [`DataError::Format`] where two folders could be meant, or a folder could be a part and a class; [`DataError::Io`].
pub(super) fn find(ask: &Ask<'_>) -> Result<Places, DataError> {
    let folder = ask.folder;
    let refuse = |reason: String| Err(DataError::Format { path: folder.to_owned(), reason });
    let classes = || Places { flat: true, train: Some(folder.to_owned()), ..Places::default() };
    if ask.flat {
        return Ok(classes());
    }
    let folders = subfolders(folder, ask.test_folder)?;
    let (parts, others): (Vec<PathBuf>, Vec<PathBuf>) =
        folders.into_iter().partition(|folder| kind(folder).is_some());
    if parts.is_empty() {
        if let [only] = &others[..]
            && let Some(parts) = parts_below(only)
        {
            let path = visible_path(only);
            return refuse(format!(
                "it holds nothing but {}, which is a data set itself, with {parts}: name {path}",
                name(only)
            ));
        }
        return Ok(classes());
    }
    let of = |wanted: Kind| parts.iter().filter(move |part| kind(part) == Some(wanted));
    for (wanted, what, _) in KINDS {
        let several: Vec<String> = of(wanted).map(|part| name(part)).collect();
        if several.len() > 1 {
            return refuse(format!(
                "both {} could hold the {what} images: rename one or move it away (where all folders here are classes, say --flat)",
                several.join(" and ")
            ));
        }
    }
    let one = |wanted: Kind| of(wanted).next().cloned();
    let classes: Vec<String> =
        others.iter().filter(|other| holds_images(other)).map(|other| name(other)).collect();
    if !classes.is_empty() {
        let parts: Vec<String> = parts.iter().map(|part| name(part)).collect();
        let way = match one(Kind::Train) {
            Some(_) => format!("move {} away", names::some(&classes)),
            None => format!(
                "move {} into a folder train beside it, or move {} away and name test images with --test-data",
                names::some(&classes),
                parts.join(", ")
            ),
        };
        return refuse(format!(
            "{} beside {}: part of the data set or class? Where all folders here are classes, say --flat; else {way}",
            parts.join(", "),
            names::some(&classes)
        ));
    }
    let (train, mut validation, mut test) = (one(Kind::Train), one(Kind::Validation), one(Kind::Test));
    let validation_tests = test.is_none() && validation.is_some() && ask.test_folder.is_none();
    if validation_tests {
        test = validation.take();
    }
    Ok(Places { flat: false, train, validation, test, validation_tests, aside: others })
}

/// What a folder is for, by its name.
fn kind(folder: &Path) -> Option<Kind> {
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default().to_lowercase();
    KINDS.iter().find(|(.., names)| names.contains(&&*name)).map(|(kind, ..)| *kind)
}

/// The parts of a data set that `folder` holds, in words; none where it is no data set in parts.
fn parts_below(folder: &Path) -> Option<String> {
    let folders = subfolders(folder, None).ok()?;
    let parts: Vec<String> = folders
        .iter()
        .filter(|folder| kind(folder).is_some() && holds_class_folders(folder))
        .map(|folder| name(folder))
        .collect();
    (!parts.is_empty()).then(|| format!("{} in it", parts.join(" and ")))
}

/// What there is to say of a folder that is tested as a whole and is called as training images are.
pub(super) fn called_for_training(folder: &Path) -> Option<String> {
    let real = folder.canonicalize().ok()?;
    let above = real.parent().filter(|_| kind(&real) == Some(Kind::Train))?;
    let others = find(&Ask { folder: above, flat: false, test_folder: None, test_share: None }).ok();
    let instead = match others.and_then(|places| places.test) {
        Some(test) => format!("; test images are in {}", visible_path(&test)),
        None => String::new(),
    };
    Some(format!(
        "a folder called {} holds the images of a training as a rule, and the accuracy on those says nothing of new pictures{instead}",
        name(&real)
    ))
}

/// What is to be done where `folder`, which the user named, holds `images` images and no class folder.
pub(super) fn way_out(folder: &Path) -> String {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty()).map(Path::to_owned);
    let above = above.or_else(|| real.parent().map(Path::to_owned));
    // Beside other folders with images right in them it is a class of the folder above.
    let beside = |above: &PathBuf| {
        subfolders(above, Some(folder)).is_ok_and(|all| all.iter().any(|other| bare(other)))
    };
    match above.filter(beside) {
        Some(above) => {
            let path = visible_path(&above);
            let flat =
                subfolders(&above, None).is_ok_and(|all| all.iter().any(|folder| kind(folder).is_some()));
            let flat = if flat { ", with --flat" } else { "" };
            format!("if it is one class of {path}, name {path}{flat}")
        }
        None if kind(&real).is_some() => {
            "put them into a folder for each class, or move the folder out of the data set".to_owned()
        }
        None => "put them into a folder for each class".to_owned(),
    }
}

/// Whether images lie right in `folder`, and no folder with images.
fn bare(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| path.is_file() && is_picture(&path))
        && !holds_class_folders(folder)
}

fn name(folder: &Path) -> String {
    names::shown(&folder.file_name().unwrap_or_default().to_string_lossy())
}

/// The folders in `folder`, by name, but for those that are left out and `apart`.
fn subfolders(folder: &Path, apart: Option<&Path>) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_dir() && !is_left_out(&path) && !is_same(&path, apart) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a file below `folder` is called as an image is.
fn holds_images(folder: &Path) -> bool {
    let walk = WalkDir::new(folder).follow_links(true).into_iter();
    let mut files = walk.filter_entry(|entry| !is_left_out(entry.path())).filter_map(Result::ok);
    files.any(|entry| entry.file_type().is_file() && is_picture(entry.path()))
}

/// Whether `folder` holds folders with images, so that it could be a data set.
pub fn holds_class_folders(folder: &Path) -> bool {
    subfolders(folder, None).is_ok_and(|folders| folders.iter().any(|folder| holds_images(folder)))
}
