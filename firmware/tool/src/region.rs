//! A model in a region of flash of its own: the bytes to write, checked as the firmware will check them.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use lrpet_firmware::region::{self, HEADER_BYTES};
use lrpet_runtime::host::{AlignedBytes, MappedModel};
use lrpet_runtime::model::Model;
use serde::Serialize;

use crate::boards::{Board, Chip};
use crate::memory::ModelMemory;
use crate::uf2;

/// A region with a model.
#[derive(Clone, Debug, Serialize)]
pub struct Region {
    /// Name of the board.
    pub board: &'static str,
    /// Name of the chip for probe-rs.
    pub chip: &'static str,
    /// First address.
    pub at: u32,
    /// Bytes of the model file.
    pub model_bytes: u64,
    /// Bytes that are written: a header and the model file.
    pub needed_bytes: u64,
    /// Bytes that the region has.
    pub available_bytes: u64,
    /// Memory that the firmware must have for this model: arena, logits, and image or counts of layers.
    pub memory_bytes: u64,
    /// The bytes to write.
    #[serde(skip)]
    pub bytes: Vec<u8>,
}

impl Region {
    /// The region of `board` with the model in `file`.
    ///
    /// # Errors
    /// Where the board is emulated, the file is no model, or region or RAM are too small, with the bytes that are missing.
    pub fn new(board: &'static Board, chip: &'static Chip, file: &Path) -> Result<Region> {
        let map =
            MappedModel::open(file).with_context(|| format!("cannot read the model {}", file.display()))?;
        let named = |error: &dyn std::fmt::Display| anyhow!("{}: {error}", file.display());
        let model = Model::new_checked(map.bytes()).map_err(|error| named(&error))?;
        let memory = ModelMemory::of(board, &model).with_context(|| file.display().to_string())?;
        memory.ensure_fits(board, file)?;
        let (at, available) = chip.region(board);
        let head = region::header(map.bytes()).with_context(|| named(&"more than 4 GiB"))?;
        let bytes = [&head[..], map.bytes()].concat();
        if bytes.len() > available as usize {
            bail!(
                "{} does not fit the model region of {}: {} bytes needed ({HEADER_BYTES} of them a header), {available} \
                 available, {} missing (lower ranks take less)",
                file.display(),
                board.name,
                bytes.len(),
                bytes.len() - available as usize
            );
        }
        // As the firmware will.
        let written = AlignedBytes::copy_of(&bytes);
        let read = region::open(written.as_slice()).map_err(|error| named(&error))?;
        ensure!(read == map.bytes(), "{}: the region holds other bytes than the model", file.display());
        Ok(Region {
            board: board.name,
            chip: chip.name,
            at,
            model_bytes: map.bytes().len() as u64,
            needed_bytes: bytes.len() as u64,
            available_bytes: available.into(),
            memory_bytes: memory.all,
            bytes,
        })
    }

    /// The UF2 file that writes it.
    pub fn uf2(&self, family: u32) -> Result<Vec<u8>> {
        uf2::encode(&[(self.at, &self.bytes)], family)
    }

    /// What is written where, for a terminal.
    pub fn text(&self) -> String {
        format!(
            "region of {} at {:#010x}: {} of {} bytes, {HEADER_BYTES} of them a header; the firmware needs {} bytes of \
             memory for this model\n",
            self.board, self.at, self.needed_bytes, self.available_bytes, self.memory_bytes
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards;
    use crate::memory::tests::model_of_an_image;
    use crate::sources::root;

    fn model(name: &str) -> std::path::PathBuf {
        root().join("models").join(name)
    }

    #[test]
    fn a_region_is_what_the_firmware_opens() {
        let file = model("fashion-mnist-resnet8-g0.6.safetensors");
        let bytes = std::fs::read(&file).unwrap();
        for (board, chip) in boards::real() {
            let region = Region::new(board, chip, &file).unwrap();
            assert_eq!(u64::from(region.at - chip.flash_at) * 2, board.flash);
            assert_eq!(region::open(&region.bytes).unwrap(), bytes);
            assert_eq!(region.memory_bytes, 54_896 + 48 + 784);
            if let Some(family) = chip.uf2_family {
                let (at, flash) = uf2::decode(&region.uf2(family).unwrap(), family).unwrap();
                assert_eq!(at, region.at);
                assert_eq!(region::open(&flash).unwrap(), bytes);
            }
        }
    }

    #[test]
    fn a_model_that_is_larger_than_the_region_is_refused() {
        let (board, chip) = boards::real().find(|(board, _)| board.name == "nucleo-f446re").unwrap();
        let file = model("cifar10-resnet20-dense.safetensors");
        let length = std::fs::metadata(&file).unwrap().len();
        let error = Region::new(board, chip, &file).unwrap_err().to_string();
        assert!(error.contains(&format!("{} missing", length + 16 - (256 << 10))), "{error}");
        assert!(Region::new(board, chip, &root().join("Cargo.toml")).is_err());
    }

    #[test]
    fn a_model_whose_memory_exceeds_the_ram_is_not_written() {
        let file = std::env::temp_dir().join(format!("lrpet-{}-wide.safetensors", std::process::id()));
        std::fs::write(&file, model_of_an_image(20).as_slice()).unwrap();
        for (board, chip) in boards::real() {
            let region = Region::new(board, chip, &file);
            // 120 KB of activations and 60 KB of an image: too much for the smallest board.
            if board.name == "nucleo-f446re" {
                let error = region.unwrap_err().to_string();
                assert!(error.contains("RAM: ") && error.contains("131072 available"), "{error}");
            } else {
                assert!(region.is_ok(), "{}", board.name);
            }
        }
        std::fs::remove_file(&file).unwrap();
    }

    /// The firmware takes the region's place from `memory.x`.
    #[test]
    fn memory_maps_have_the_region_in_the_second_half_of_flash() {
        for (board, chip) in boards::real() {
            let folder = root().join("firmware/boards").join(board.package);
            let maps = ["memory.x", "axi/memory.x", "dtcm/memory.x"].map(|map| folder.join(map));
            let mut seen = 0;
            for map in maps.iter().filter_map(|map| std::fs::read_to_string(map).ok()) {
                let start = map.split("_model_region_start = ORIGIN(FLASH) + ").nth(1).unwrap();
                let (number, unit) =
                    start.split(';').next().unwrap().split_at(start.find(['K', 'M']).unwrap());
                let bytes = number.parse::<u32>().unwrap() << if unit == "K" { 10 } else { 20 };
                assert_eq!((chip.flash_at + bytes, board.flash as u32 - bytes), chip.region(board));
                assert!(map.contains("_model_region_end = ORIGIN(FLASH) + LENGTH(FLASH);"));
                seen += 1;
            }
            assert!(seen > 0, "{}", folder.display());
        }
    }
}
