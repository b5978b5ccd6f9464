//! The images in the class folders of one folder, and all that lies there and is none.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lrpet_report::units;
use serde::Serialize;
use walkdir::{DirEntry, WalkDir};

use super::paths::{is_left_out, is_same};
use super::{names, places};
use crate::DataError;
use crate::error::{Bad, lossy};
use crate::listed::Listed;
use crate::picture::{is_picture, unread};

/// A file that is no image by its name, or lies outside class folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// The file.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// Class number, where it lies in a class folder.
    pub class: Option<u32>,
}

/// What lies in one folder.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Names of the classes, in order; each is another.
    pub classes: Vec<String>,
    /// Images, class by class, in each in order of their paths.
    pub files: Vec<Listed>,
    /// Images that cannot be opened by what the system says of them.
    pub bad: Vec<Bad>,
    pub ignored: Vec<Ignored>,
    /// Folders that are no data.
    pub left_out: Vec<PathBuf>,
}

/// Lists the images in the class folders of `folder`, without the folder `apart`. A class may have none.
///
/// # Errors
/// [`DataError::Format`] where there is no class folder, or the names of two are one; [`DataError::Io`].
pub(super) fn list(folder: &Path, apart: Option<&Path>) -> Result<Listing, DataError> {
    let io = |source| DataError::Io { path: folder.to_owned(), source };
    let refuse = |reason: String| DataError::Format { path: folder.to_owned(), reason };
    let mut listing = Listing::default();
    let mut classes: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut entries: Vec<PathBuf> = (std::fs::read_dir(folder).map_err(io)?)
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(io)?;
    entries.sort();
    for path in entries {
        match std::fs::metadata(&path) {
            Ok(found) if found.is_dir() => {
                if is_left_out(&path) {
                    listing.left_out.push(path);
                } else if !is_same(&path, apart) {
                    let name = names::class_name(&path)?;
                    if let Some(other) = classes.insert(name, path.clone()) {
                        let spelt = |path: &Path| {
                            let name = path.file_name().unwrap_or_default().to_string_lossy();
                            name.escape_default().to_string()
                        };
                        let reason = format!(
                            "two class folders of one name, which Unicode writes in two ways: {} and {}; rename one, or put their images together",
                            spelt(&other),
                            spelt(&path)
                        );
                        return Err(refuse(reason));
                    }
                }
            }
            _ if is_left_out(&path) => {}
            Ok(_) => listing.ignored.push(Ignored { file: path, class: None }),
            Err(error) => listing.bad.push(Bad { reason: reason_of(&path, &error), file: path }),
        }
    }
    if classes.is_empty() {
        let layout = "images lie in a folder for each class: DIR/CLASS/image.jpg, or DIR/train/CLASS and DIR/test/CLASS";
        let images = listing.ignored.iter().filter(|file| is_picture(&file.file)).count();
        let unlabelled = match images {
            0 => String::new(),
            _ => format!(
                ", so nothing says what its {} show ({})",
                units::things(images as u64, "image"),
                places::way_out(folder)
            ),
        };
        return Err(refuse(format!("no class folders{unlabelled}; {layout}")));
    }
    for (label, path) in classes.values().enumerate() {
        list_class(path, label as u32, &mut listing);
    }
    listing.classes = classes.into_keys().collect();
    Ok(listing)
}

/// Lists what lies below the class folder `class`.
fn list_class(class: &Path, label: u32, listing: &mut Listing) {
    let whole = class.canonicalize().unwrap_or_else(|_| class.to_owned());
    let left_out = RefCell::new(Vec::new());
    let looped = RefCell::new(Vec::new());
    let enters = |entry: &DirEntry| {
        let path = entry.path();
        if entry.depth() == 0 || !entry.file_type().is_dir() {
            return entry.depth() == 0 || !is_left_out(path);
        }
        if is_left_out(path) {
            left_out.borrow_mut().push(path.to_owned());
            return false;
        }
        // Seen from within the class alone, the walker does not know a folder above it.
        let above =
            entry.path_is_symlink() && path.canonicalize().is_ok_and(|target| whole.starts_with(target));
        if above {
            looped.borrow_mut().push(path.to_owned());
        }
        !above
    };
    for entry in WalkDir::new(class).follow_links(true).sort_by_file_name().into_iter().filter_entry(enters) {
        match entry {
            Ok(entry) if entry.file_type().is_dir() => {}
            Ok(entry) if !is_picture(entry.path()) => {
                listing.ignored.push(Ignored { file: entry.into_path(), class: Some(label) });
            }
            Ok(entry) if entry.file_type().is_file() => {
                listing.files.push(Listed { path: entry.into_path(), label })
            }
            Ok(entry) => {
                let reason = "no file but a pipe, a socket or a device".to_owned();
                listing.bad.push(Bad { file: entry.into_path(), reason });
            }
            Err(error) => {
                let path = error.path().unwrap_or(class).to_owned();
                if is_left_out(&path) {
                    continue;
                }
                let reason = match error.loop_ancestor() {
                    Some(_) => LOOP.to_owned(),
                    None => reason_of(&path, &error.into()),
                };
                listing.bad.push(Bad { file: path, reason });
            }
        }
    }
    listing.left_out.extend(left_out.into_inner());
    let loops = looped.into_inner().into_iter();
    listing.bad.extend(loops.map(|file| Bad { file, reason: LOOP.to_owned() }));
}

/// What is wrong with a link to a folder in which it lies itself.
const LOOP: &str = "a link back to a folder above it";

/// Why the file or folder at `path` cannot be looked at.
fn reason_of(path: &Path, error: &std::io::Error) -> String {
    match std::fs::read_link(path) {
        Ok(target) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("a link to {}, which is not there", lrpet_report::visible_path(&target))
        }
        _ => format!("cannot be read ({error})"),
    }
}

/// How many of `ignored` are pictures in formats that are not read, by the ends of their names, and how many something else.
pub fn by_ending<'a>(ignored: impl Iterator<Item = &'a Ignored>) -> (BTreeMap<String, usize>, usize) {
    let (mut pictures, mut others) = (BTreeMap::new(), 0);
    for file in ignored {
        if unread(&file.file).is_some() {
            let ending = file.file.extension().unwrap_or_default().to_string_lossy().to_lowercase();
            *pictures.entry(ending).or_insert(0) += 1;
        } else {
            others += 1;
        }
    }
    (pictures, others)
}
