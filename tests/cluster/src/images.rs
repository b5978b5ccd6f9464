//! The first images of Fashion-MNIST at a quarter of their height and width, as a folder of PNGs: small enough that a
//! training takes seconds.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

/// Height and width of the images of the set, and of those written.
const FROM: usize = 28;
const TO: usize = 7;

/// Writes the first `train` and `test` images of the installed set to `folder`, for `--data`.
///
/// # Errors
/// Where Fashion-MNIST is not installed.
pub fn first(folder: &Path, train: usize, test: usize) -> Result<()> {
    for (part, set, count) in [("train", "train", train), ("test", "t10k", test)] {
        let images = entries(&format!("{set}-images-idx3-ubyte.gz"), 16, count * FROM * FROM)?;
        let labels = entries(&format!("{set}-labels-idx1-ubyte.gz"), 8, count)?;
        for (index, (image, label)) in images.chunks_exact(FROM * FROM).zip(labels).enumerate() {
            let class = folder.join(part).join(label.to_string());
            std::fs::create_dir_all(&class)?;
            std::fs::write(class.join(format!("{index}.png")), png(&smaller(image))?)?;
        }
    }
    Ok(())
}

/// The first `length` bytes behind the header of a file of the set.
fn entries(name: &str, header: usize, length: usize) -> Result<Vec<u8>> {
    let store = std::env::var_os("LRPET_DATA").map(|folder| PathBuf::from(folder).join("fashion-mnist"));
    let folders = store.into_iter().chain([PathBuf::from("/usr/share/datasets/fashion-mnist")]);
    let found = folders.map(|folder| folder.join(name)).find(|file| file.is_file());
    let path = found.with_context(|| format!("no {name}: cargo xtask setup --only data"))?;
    let mut bytes = vec![0; header + length];
    let read = MultiGzDecoder::new(File::open(&path)?).read_exact(&mut bytes);
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes.split_off(header))
}

/// The means of blocks of pixels.
fn smaller(image: &[u8]) -> Vec<u8> {
    const BLOCK: usize = FROM / TO;
    let mean = |at: usize| {
        let (row, col) = (at / TO * BLOCK, at % TO * BLOCK);
        let rows = (row..row + BLOCK).map(|row| &image[row * FROM + col..][..BLOCK]);
        (rows.flatten().map(|value| usize::from(*value)).sum::<usize>() / (BLOCK * BLOCK)) as u8
    };
    (0..TO * TO).map(mean).collect()
}

/// A grey PNG (ISO/IEC 15948) of 8 bits, each row unfiltered.
fn png(pixels: &[u8]) -> Result<Vec<u8>> {
    let mut rows = ZlibEncoder::new(Vec::new(), Compression::fast());
    for row in pixels.chunks_exact(TO) {
        rows.write_all(&[0])?;
        rows.write_all(row)?;
    }
    let size = (TO as u32).to_be_bytes();
    let header = [&size[..], &size[..], &[8, 0, 0, 0, 0]].concat();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, data) in [(b"IHDR", header), (b"IDAT", rows.finish()?), (b"IEND", Vec::new())] {
        let body = [&kind[..], &data[..]].concat();
        let mut sum = Crc::new();
        sum.update(&body);
        file.extend((data.len() as u32).to_be_bytes());
        file.extend(&body);
        file.extend(sum.sum().to_be_bytes());
    }
    Ok(file)
}
