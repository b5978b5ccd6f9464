//! What `--data` names: a data set known by name, or a folder of images per class, and which folder serves as what.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use lrpet_data::folder::{Ask, Part, by_ending, names, places};
use lrpet_data::picture::ENDINGS;
use lrpet_data::{BadImages, Values, registry, source, values};
use lrpet_study::report::units;

/// Which folder serves as what: the same options in every command that reads a folder of images.
#[derive(clap::Args)]
pub struct PlaceArgs {
    /// The folders in DIR are the classes, also those called train, test or val
    #[arg(long)]
    pub flat: bool,
    /// Folder with the test images, a folder per class
    #[arg(long, value_name = "DIR")]
    pub test_data: Option<PathBuf>,
}

/// What is done about images that cannot be read.
#[derive(Clone, Copy, ValueEnum)]
pub enum Policy {
    /// Name them and stop.
    Refuse,
    /// Name them in a warning and go on without them.
    Skip,
}

impl From<Policy> for BadImages {
    fn from(policy: Policy) -> BadImages {
        match policy {
            Policy::Refuse => BadImages::Refuse,
            Policy::Skip => BadImages::Skip,
        }
    }
}

impl PlaceArgs {
    /// What is asked of `folder`.
    pub fn ask<'a>(&'a self, folder: &'a Path, test_share: Option<f64>) -> Ask<'a> {
        Ask { folder, flat: self.flat, test_folder: self.test_data.as_deref(), test_share }
    }

    /// The first option that is given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [("--flat", self.flat), ("--test-data", self.test_data.is_some())];
        given.iter().find(|(_, given)| *given).map(|(option, _)| *option)
    }

    /// The options as they were given, and `policy`, for another command.
    pub fn words(&self, policy: Policy) -> Vec<String> {
        let mut words = Vec::new();
        words.extend(self.flat.then(|| "--flat".to_owned()));
        let test = self.test_data.iter().map(|folder| folder.display().to_string());
        words.extend(test.flat_map(|folder| ["--test-data".to_owned(), folder]));
        if matches!(policy, Policy::Skip) {
            words.extend(["--bad-images", "skip"].map(str::to_owned));
        }
        words
    }
}

/// The folder of images that `data` names, below `data_dir` or here; none where it is a data set known by name.
///
/// # Errors
/// Where it is neither, or both.
pub fn folder(data: &str, data_dir: Option<&Path>) -> Result<Option<PathBuf>> {
    let below = data_dir.map(|dir| dir.join(data));
    let known = registry::entry(data);
    if let Ok(entry) = known {
        let here = below.unwrap_or_else(|| PathBuf::from(data));
        if !source::holds_some(entry, &here) && places::holds_class_folders(&here) {
            let path = if here.is_absolute() { here } else { Path::new(".").join(here) };
            bail!(
                "{data} is a data set known by name, and {path} a folder of images: say --data {path} for the folder; for the data set, rename the folder or name another with --data-dir",
                path = path.display()
            );
        }
        return Ok(None);
    }
    let Some(folder) = below.into_iter().chain([PathBuf::from(data)]).find(|folder| folder.is_dir()) else {
        return known.map(|_| None).map_err(Into::into);
    };
    if let [first, ..] = source::held(&folder)[..] {
        let (path, names) = (folder.display(), source::held(&folder).join(" or "));
        bail!("{path} holds files of the data set {names}, not images: say --data {first} --data-dir {path}");
    }
    Ok(Some(folder))
}

/// The folder of values that `data` names, below `data_dir` or here; none where it is anything else.
///
/// # Errors
/// Those of [`folder`].
pub fn values_folder(data: &str, data_dir: Option<&Path>) -> Result<Option<PathBuf>> {
    Ok(folder(data, data_dir)?.filter(|folder| values::is_folder(folder)))
}

/// Says on the terminal which samples of a folder are for testing.
pub fn say_test(folder: &Path, test: &Values) {
    let (folder, samples) = (folder.display(), units::things(test.len() as u64, "sample"));
    match test.test_share {
        None => eprintln!("test: {folder}/test_x.npy: {samples}"),
        Some(1.0) => eprintln!(
            "test: {folder}/train_x.npy: all {samples}, for nothing says which of them a training held back"
        ),
        Some(share) => eprintln!(
            "test: {folder}/train_x.npy: {samples}, {share} of each class, the same ones every time"
        ),
    }
}

/// Says on the terminal which folder serves as what, and warns of what is left out.
pub fn say<'p>(parts: impl Iterator<Item = (&'static str, &'p Part)>) {
    for (what, part) in parts {
        eprintln!("{}", part.line(what));
        part.doubts.iter().for_each(|doubt| tracing::warn!("{}: {doubt}", part.folder.display()));
        warn_of_ignored(part);
    }
}

/// Says which files are no images, how many each class has of them, and which folders are left out.
fn warn_of_ignored(part: &Part) {
    let folder = part.folder.display();
    if let Some(first) = part.ignored.first() {
        let mut by_class: Vec<String> = Vec::new();
        for (label, name) in part.classes.iter().enumerate() {
            let inside = part.ignored.iter().filter(|file| file.class == Some(label as u32)).count();
            by_class.extend((inside > 0).then(|| format!("{inside} in {}", names::shown(name))));
        }
        let outside = part.ignored.iter().filter(|file| file.class.is_none()).count();
        by_class.extend((outside > 0).then(|| format!("{outside} outside class folders")));
        let (pictures, _) = by_ending(part.ignored.iter());
        let pictures: Vec<String> =
            pictures.iter().map(|(ending, count)| format!("{count} .{ending}")).collect();
        let not_read = match &pictures[..] {
            [] => String::new(),
            some => {
                format!("; pictures of a format that is not read, to be converted first: {}", some.join(", "))
            }
        };
        tracing::warn!(
            "{folder}: {} no {} ({} in a class folder), ignored: {}, such as {}{not_read}",
            match part.ignored.len() {
                1 => "1 file is".to_owned(),
                many => format!("{many} files are"),
            },
            if part.ignored.len() == 1 { "image" } else { "images" },
            ENDINGS.join(", "),
            by_class.join(", "),
            first.file.display(),
        );
    }
    if let Some(first) = part.left_out.first() {
        tracing::warn!(
            "{folder}: left out (hidden, of a system or program, or beside the parts): {}, such as {}",
            units::things(part.left_out.len() as u64, "folder"),
            first.display()
        );
    }
}
