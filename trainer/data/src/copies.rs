//! Files with the same bytes: one picture on both sides of a test, or in two classes.
//!
//! Only files of one length are read at all, and first of each a piece of its start: photographs are seldom of one length,
//! so this costs little beside decoding them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use lrpet_report::{units, visible};
use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::files::Listed;
use super::folder::Folder;

/// Bytes of a file's start that are compared first.
const START: u64 = 1 << 14;
/// Pairs that are named.
const NAMED: usize = 3;

/// Copies among the images of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Copies {
    /// Images of one part that are in another too.
    pub shared: Vec<Shared>,
    /// Images that are in two classes, of whatever parts.
    pub contradicting: Found,
    /// Images of the training part that are copies of others of it, with the first of each.
    pub training: Found,
}

/// Images of two parts with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shared {
    /// The two parts.
    pub parts: [&'static str; 2],
    /// How many of the second part's images are in the first too, and some of them.
    #[serde(flatten)]
    pub found: Found,
}

/// A number of copies, and some of them by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// How many.
    pub count: usize,
    /// The first few.
    pub pairs: Vec<[String; 2]>,
}

impl Found {
    fn add(&mut self, a: &Path, b: &Path) {
        self.count += 1;
        if self.pairs.len() < NAMED {
            self.pairs.push([a, b].map(|path| path.display().to_string()));
        }
    }

    fn named(&self) -> String {
        let mut named: Vec<String> = self.pairs.iter().map(|pair| visible(&pair.join(" and "))).collect();
        if self.count > self.pairs.len() {
            named.push(format!("and {} more", self.count - self.pairs.len()));
        }
        named.join(", ")
    }
}

impl Copies {
    /// What is to be warned of, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let shared = self.shared.iter().map(|Shared { parts: [a, b], found }| {
            format!(
                "{} of {b} {} in {a} too, byte for byte, so the accuracy on them says little: {}",
                units::things(found.count as u64, "image"),
                if found.count == 1 { "is" } else { "are" },
                found.named()
            )
        });
        let contradicting = Some(&self.contradicting).filter(|found| found.count > 0).map(|found| {
            let images = units::things(found.count as u64, "image");
            let are = if found.count == 1 { "is" } else { "are" };
            format!("{images} {are} in two classes, byte for byte: {}", found.named())
        });
        shared.chain(contradicting).collect()
    }
}

/// Finds the copies in `folder`. Files that cannot be read are passed over.
pub fn find(folder: &Folder) -> Copies {
    let parts: Vec<(&'static str, &[Listed])> =
        folder.parts().map(|(name, part)| (name, &part.files[..])).collect();
    let all: Vec<(usize, &Listed)> = (parts.iter().enumerate())
        .flat_map(|(part, (_, files))| files.iter().map(move |listed| (part, listed)))
        .collect();
    let mut copies = Copies::default();
    let mut shared: BTreeMap<(usize, usize), Found> = BTreeMap::new();
    for group in groups(&all) {
        let first = |part: usize| group.iter().find(|(of, _)| *of == part);
        let held: BTreeSet<usize> = group.iter().map(|(part, _)| *part).collect();
        for (a, b) in held.iter().flat_map(|&a| held.range(a + 1..).map(move |&b| (a, b))) {
            let Some((_, known)) = first(a) else { continue };
            for (_, copy) in group.iter().filter(|(part, _)| *part == b) {
                shared.entry((a, b)).or_default().add(&known.path, &copy.path);
            }
        }
        let (_, known) = group[0];
        for (part, copy) in &group[1..] {
            if copy.label != known.label {
                copies.contradicting.add(&known.path, &copy.path);
            }
            if *part == 0 {
                copies.training.add(&known.path, &copy.path);
            }
        }
    }
    let name = |part: usize| parts[part].0;
    copies.shared =
        shared.into_iter().map(|((a, b), found)| Shared { parts: [name(a), name(b)], found }).collect();
    copies
}

/// The files with the same bytes, in their order, two or more in each group.
fn groups<'f>(files: &[(usize, &'f Listed)]) -> Vec<Vec<(usize, &'f Listed)>> {
    let length =
        |path: &Path| std::fs::metadata(path).ok().map(|found| found.len()).filter(|length| *length > 0);
    let lengths = parted(vec![files.to_vec()], |path| length(path));
    let starts = parted(lengths, |path| digest(path, START));
    parted(starts, |path| digest(path, u64::MAX))
}

/// Parts each group by the `key` of its files, those without one left out, and drops groups of one.
fn parted<K: Ord + Send>(
    groups: Vec<Vec<(usize, &Listed)>>,
    key: impl Fn(&Path) -> Option<K> + Sync,
) -> Vec<Vec<(usize, &Listed)>> {
    let files: Vec<(usize, (usize, &Listed))> = (groups.into_iter().enumerate())
        .flat_map(|(group, files)| files.into_iter().map(move |file| (group, file)))
        .collect();
    let keys: Vec<Option<K>> = files.par_iter().map(|(_, (_, listed))| key(&listed.path)).collect();
    let mut found: BTreeMap<(usize, K), Vec<(usize, &Listed)>> = BTreeMap::new();
    for ((group, file), key) in files.into_iter().zip(keys) {
        if let Some(key) = key {
            found.entry((group, key)).or_default().push(file);
        }
    }
    found.into_values().filter(|files| files.len() > 1).collect()
}

/// SHA-256 of the first `length` bytes of a file.
fn digest(path: &Path, length: u64) -> Option<[u8; 32]> {
    let mut hasher = Sha256::new();
    std::io::copy(&mut File::open(path).ok()?.take(length), &mut hasher).ok()?;
    Some(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::super::folder::Ask;
    use super::*;

    fn write(folder: &Path, files: &[(&str, &[u8])]) {
        for (file, bytes) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    fn found(folder: &Path) -> Copies {
        find(&Folder::find(&Ask { folder, flat: false, test_folder: None, test_share: None }).unwrap())
    }

    #[test]
    fn copies_are_told_from_files_of_one_length_and_one_start() {
        let dir = tempfile::tempdir().unwrap();
        let (mut long, mut other) = (vec![7; 40_000], vec![7; 40_000]);
        (long[39_999], other[39_999]) = (1, 2);
        let files: [(&str, &[u8]); 9] = [
            ("train/a/1.png", &long),
            ("train/a/2.png", &other),
            ("train/a/3.png", b"abc"),
            ("train/a/4.png", b"abc"),
            ("train/b/1.png", b"abd"),
            ("test/a/renamed.png", &long),
            ("test/a/own.png", b"abe"),
            ("test/b/1.png", b"abc"),
            ("test/b/2.png", b""),
        ];
        write(dir.path(), &files);
        write(dir.path(), &[("train/b/2.png", b"")]);
        let copies = found(dir.path());
        let [shared] = &copies.shared[..] else { panic!("{copies:?}") };
        assert_eq!((shared.parts, shared.found.count), (["train", "test"], 2));
        assert_eq!((copies.training.count, copies.contradicting.count), (1, 1));
        let warnings = copies.warnings().join("\n");
        for words in [
            "2 images of test are in train too",
            "test/a/renamed.png",
            "1 image is in two classes",
            "test/b/1.png",
        ] {
            assert!(warnings.contains(words), "{words}: {warnings}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_test_folder_that_is_a_link_to_the_training_images_is_told() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &[("train/a/1.png", b"a"), ("train/a/2.png", b"bb"), ("train/b/1.png", b"ccc")]);
        std::os::unix::fs::symlink("train", dir.path().join("test")).unwrap();
        assert_eq!(found(dir.path()).shared[0].found.count, 3);
        // A held-back share is told too.
        let flat = dir.path().join("train");
        write(&flat, &[("b/2.png", b"ccc")]);
        assert_eq!(found(&flat).shared[0].found.count, 1);
    }
}
