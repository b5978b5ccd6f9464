//! Data: labelled images as bytes, from files to shuffled, augmented, normalised batches.
//!
//! [`registry`] knows the data sets by name, [`source`] finds their files, one file per [`Layout`] of the files
//! reads them ([`idx`], [`cifar_binary`], [`cifar_png`]), [`Dataset`] holds them, [`loader`] makes batches beside
//! the training with [`augment`].

pub mod augment;
pub mod cifar_binary;
pub mod cifar_png;
pub mod dataset;
mod error;
pub mod get;
pub mod idx;
mod layout;
pub mod loader;
pub mod registry;
pub mod source;

pub use augment::{Augmentation, Normalization};
pub use dataset::Dataset;
pub use error::DataError;
pub use layout::Layout;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use registry::Entry;
pub use source::{Loaded, load};
