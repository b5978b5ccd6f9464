//! Firmware without a model, and models that an emulator loads to its region: see `lrpet_firmware::region`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lrpet_firmware::region;

use crate::build::{Image, model_file};
use crate::elf;
use crate::memory::ModelMemory;

/// Where an image has its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first address.
    pub start: u32,
    /// Its bytes, 16 of which come before the model file.
    pub bytes: u64,
}

impl Place {
    /// An error where a model file of `bytes` exceeds it, with the bytes that are missing.
    pub fn ensure_room(&self, bytes: u64) -> Result<()> {
        let room = self.bytes.saturating_sub(region::HEADER_BYTES as u64);
        ensure!(
            bytes <= room,
            "the model region has room for {room} bytes and the model has {bytes}, {} missing (lower ranks take less)",
            bytes - room
        );
        Ok(())
    }
}

/// The bytes to write to a region for a model file.
pub fn contents(model: &Path) -> Result<Vec<u8>> {
    let file = std::fs::read(model).with_context(|| format!("cannot read the model {}", model.display()))?;
    let header =
        region::header(&file).with_context(|| format!("the model {} exceeds 4 GiB", model.display()))?;
    Ok([&header[..], &file].concat())
}

impl Image<'_> {
    /// The region of this board, as the firmware has it.
    pub fn region(&self) -> Result<Place> {
        let file = self.file();
        let [start, end] = ["_model_region_start", "_model_region_end"].map(|name| elf::address(&file, name));
        let (start, end) = (start?, end?);
        Ok(Place { start, bytes: u64::from(end.saturating_sub(start)) })
    }

    /// Firmware that was built for a region, as one with `model`, which must fit the region.
    pub fn with_model<T>(&self, model: &Path, then: impl FnOnce(&Image<'_>) -> Result<T>) -> Result<T> {
        let (path, model_bytes) = model_file(model)?;
        self.region()?
            .ensure_room(model_bytes)
            .with_context(|| format!("{} does not fit {}", model.display(), self.board.name))?;
        let memory = ModelMemory::of_file(self.board, model)?;
        if let Some(given) = self.region_memory {
            memory.ensure_region_memory(given, model)?;
        }
        then(&Image { model, path: &path, model_bytes, arena_bytes: memory.arena, ..*self })
    }

    /// Writes what the region is to hold to a file, and gives the options with which the emulator loads it.
    pub fn load_region(&self, contents: &[u8]) -> Result<Vec<String>> {
        let file = self.region_file();
        std::fs::write(&file, contents).with_context(|| format!("cannot write {}", file.display()))?;
        // QEMU doubles commas in a value.
        let path = file.display().to_string().replace(',', ",,");
        let at = self.region()?.start;
        Ok(vec!["-device".into(), format!("loader,file={path},addr={at:#x},force-raw=on")])
    }

    fn region_file(&self) -> PathBuf {
        self.target_folder().join(format!("{}.region", self.board.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_exceeds_the_region_is_refused_with_the_bytes_that_are_missing() {
        let region = Place { start: 0x20_0000, bytes: 1024 };
        assert!(region.ensure_room(1008).is_ok());
        let error = region.ensure_room(1010).unwrap_err().to_string();
        assert!(error.contains("room for 1008 bytes") && error.contains("1010, 2 missing"), "{error}");
    }
}
