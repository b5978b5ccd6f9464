//! The first images of Fashion-MNIST, as a data set of their own.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// File, bytes of its header, bytes of an entry.
const FILES: [(&str, usize, usize); 4] = [
    ("train-images-idx3-ubyte", 16, 28 * 28),
    ("train-labels-idx1-ubyte", 8, 1),
    ("t10k-images-idx3-ubyte", 16, 28 * 28),
    ("t10k-labels-idx1-ubyte", 8, 1),
];

/// Writes the first `train` and `test` images of the installed set to `folder`, for `--data-dir`.
///
/// # Errors
/// Where Fashion-MNIST is not installed.
pub fn first(folder: &Path, train: u32, test: u32) -> Result<()> {
    let to = folder.join("fashion-mnist");
    std::fs::create_dir_all(&to)?;
    for (at, (name, header, entry)) in FILES.into_iter().enumerate() {
        let count = if at < 2 { train } else { test };
        let from = installed(name).with_context(|| format!("no {name}: cargo xtask setup --only data"))?;
        let mut bytes = vec![0; header + count as usize * entry];
        flate2::read::MultiGzDecoder::new(File::open(&from)?)
            .read_exact(&mut bytes)
            .with_context(|| format!("cannot read {}", from.display()))?;
        bytes[4..8].copy_from_slice(&count.to_be_bytes());
        File::create(to.join(name))?.write_all(&bytes)?;
    }
    Ok(())
}

fn installed(name: &str) -> Option<PathBuf> {
    let store = std::env::var_os("LRPET_DATA").map(|folder| PathBuf::from(folder).join("fashion-mnist"));
    let system = PathBuf::from("/usr/share/datasets/fashion-mnist");
    store
        .into_iter()
        .chain([system])
        .map(|folder| folder.join(format!("{name}.gz")))
        .find(|file| file.is_file())
}
