//! A model file named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lrpet_network::export::checked;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::Model;

/// A model file in a memory map.
pub struct ModelFile {
    path: PathBuf,
    map: MappedModel,
}

impl ModelFile {
    /// Maps the file.
    pub fn open(path: &Path) -> Result<ModelFile> {
        let map =
            MappedModel::open(path).with_context(|| format!("cannot read the model {}", path.display()))?;
        Ok(ModelFile { path: path.to_owned(), map })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.map.bytes()
    }

    /// The model, checked; the error names the file.
    pub fn model(&self) -> Result<Model<'_>> {
        Ok(checked(self.bytes(), &self.path.display().to_string())?)
    }
}
