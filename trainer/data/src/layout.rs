//! The forms in which the files of a data set lie in a folder.

/// A form in which the files of a data set lie in a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Four IDX files with MNIST's names ([`idx`](super::idx)).
    Idx,
    /// CIFAR-10's official binary files ([`cifar_binary`](super::cifar_binary)).
    CifarBinary,
    /// CIFAR-10 as PNG sheets ([`cifar_png`](super::cifar_png)).
    CifarPng,
}
