//! Whether the images of a folder can be read, before a training depends on it, and what else is to be known of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;

use super::Header;
use super::balance;
use super::copies::{self, Copies};
use super::error::{Bad, lossy};
use super::files::Listed;
use super::folder::{Folder, Ignored, Part, by_ending, names};
use super::picture;

/// What a folder of images holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Name of the folder.
    pub name: String,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Share of each class that is held back for testing, where there is no folder for it.
    pub test_share: Option<f64>,
    /// Its parts.
    pub parts: Vec<PartReport>,
    /// Pairs of classes whose names look alike, with what one does not see written out.
    pub alike: Vec<[String; 2]>,
    /// How many times as many training images the largest class has as the smallest.
    pub unequal: f64,
    /// Files with the same bytes.
    pub copies: Copies,
}

/// What one part of it holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartReport {
    /// `train`, `validation` or `test`.
    pub part: &'static str,
    /// Its folder.
    #[serde(serialize_with = "lossy")]
    pub folder: PathBuf,
    /// From where its images are, in words.
    pub source: String,
    /// Images that can be read.
    pub images: usize,
    /// Images of each class that can be read.
    pub by_class: Vec<usize>,
    /// Of these, images without colours.
    pub grey: usize,
    /// Smallest height and width, each by itself.
    pub smallest: [u32; 2],
    /// Largest height and width, each by itself.
    pub largest: [u32; 2],
    /// Different sizes.
    pub sizes: usize,
    /// Files that cannot be read.
    pub bad: Vec<Bad>,
    /// Files that are no images by their names, or lie outside class folders.
    pub ignored: Vec<Ignored>,
    /// How many of them each class has.
    pub ignored_by_class: Vec<usize>,
    /// How many of them are pictures in formats that are not read, by the ends of their names.
    pub not_read: BTreeMap<String, usize>,
    /// Folders that are left out: hidden ones, and those of systems and programs.
    pub left_out: Vec<String>,
}

impl Report {
    /// Files that cannot be read, in all parts.
    pub fn bad(&self) -> usize {
        self.parts.iter().map(|part| part.bad.len()).sum()
    }
}

/// Decodes every image of `folder`, and looks for copies. `progress` is called after each image.
pub fn check(folder: &Folder, progress: impl Fn() + Sync) -> Report {
    let parts: Vec<PartReport> =
        folder.parts().map(|(name, part)| check_part(name, part, &progress)).collect();
    Report {
        name: folder.name.clone(),
        classes: folder.train.classes.to_vec(),
        test_share: folder.test_share,
        alike: names::alike(&folder.train.classes),
        unequal: balance::ratio(&parts[0].by_class),
        copies: copies::find(folder),
        parts,
    }
}

fn check_part(name: &'static str, part: &Part, progress: &(impl Fn() + Sync)) -> PartReport {
    let look = |listed: &Listed| {
        let grey = picture::header(&listed.path)?.grey;
        let picture = picture::read(&listed.path, if grey { 1 } else { 3 })?;
        // The size as it is seen, turned by EXIF.
        Ok(Header { width: picture.width, height: picture.height, grey })
    };
    let (good, unreadable) = sort(part.files.clone(), look, progress);
    let bad = part.bad.iter().cloned().chain(unreadable).collect();
    let mut ignored_by_class = vec![0; part.classes.len()];
    for class in part.ignored.iter().filter_map(|file| file.class) {
        ignored_by_class[class as usize] += 1;
    }
    let mut by_class = vec![0; part.classes.len()];
    let mut sizes = BTreeMap::new();
    for (listed, header) in &good {
        by_class[listed.label as usize] += 1;
        *sizes.entry([header.height, header.width]).or_insert(0) += 1;
    }
    let extreme = |of: fn(u32, u32) -> u32| {
        let found = sizes.keys().copied().reduce(|a, b| [of(a[0], b[0]), of(a[1], b[1])]);
        found.unwrap_or_default()
    };
    PartReport {
        part: name,
        folder: part.folder.clone(),
        source: part.source.clone(),
        images: good.len(),
        by_class,
        grey: good.iter().filter(|(_, header)| header.grey).count(),
        smallest: extreme(u32::min),
        largest: extreme(u32::max),
        sizes: sizes.len(),
        bad,
        ignored: part.ignored.clone(),
        ignored_by_class,
        not_read: by_ending(part.ignored.iter()).0,
        left_out: part.left_out.iter().map(|folder| folder.display().to_string()).collect(),
    }
}

/// Reads the headers of all files, on all cores; the bad ones apart. `progress` is called after each.
pub fn headers(files: Vec<Listed>, progress: impl Fn() + Sync) -> (Vec<(Listed, Header)>, Vec<Bad>) {
    sort(files, |listed| picture::header(&listed.path), &progress)
}

/// What `look` finds in each file; those in which it finds a fault apart.
fn sort(
    files: Vec<Listed>,
    look: impl Fn(&Listed) -> Result<Header, String> + Sync,
    progress: &(impl Fn() + Sync),
) -> (Vec<(Listed, Header)>, Vec<Bad>) {
    let found: Vec<_> = (files.into_par_iter())
        .map(|listed| {
            let header = look(&listed);
            progress();
            (listed, header)
        })
        .collect();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (listed, header) in found {
        match header {
            Ok(header) => good.push((listed, header)),
            Err(reason) => bad.push(Bad { file: listed.path, reason }),
        }
    }
    (good, bad)
}
