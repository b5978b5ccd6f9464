//! Data: labelled images as bytes, from files to shuffled, augmented, normalised batches.
//!
//! [`registry`] knows the data sets by name, [`source`] finds their files, one file per [`Layout`] of the files
//! reads them ([`idx`], [`cifar_binary`], [`cifar_png`]), [`Dataset`] holds them. A user's own images lie in a
//! [`folder`] per class and stay in their [`files`], from which [`picture`], [`crop`] and [`Preparation`] make images. [`loader`]
//! makes batches of either ([`Images`]) beside the training with [`augment`]. [`values`] are samples that are no pictures, and go into
//! batches as they are. [`input`] reads what a single model runs on.

pub mod augment;
pub mod balance;
pub mod check;
pub mod cifar_binary;
pub mod cifar_png;
pub mod copies;
pub mod crop;
mod error;
pub mod files;
pub mod folder;
pub mod get;
mod header;
pub mod idx;
mod images;
pub mod input;
mod jpeg;
mod labels;
mod layout;
mod listed;
pub mod loader;
mod npy;
pub mod picture;
mod preparation;
mod readers;
pub mod registry;
pub mod source;
pub mod values;

pub use augment::Augmentation;
pub use crop::RandomCrop;
pub use error::{Bad, DataError};
pub use files::{BadImages, Files};
pub use folder::Folder;
pub use header::Header;
pub use images::{Images, InMemory};
pub use input::{Input, InputError};
pub use layout::Layout;
pub use loader::{Batch, Batches, Loader, LoaderOptions};
pub use preparation::Preparation;
pub use registry::Entry;
pub use source::{Loaded, load};
pub use values::Values;

pub use lrpet_network::{Dataset, Normalization};
