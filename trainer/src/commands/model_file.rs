//! A model file named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::Model;
use lrpet_trainer::export::checked;

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

/// Names of the classes: those of the model's card, or their numbers.
pub fn labels(model: &Model<'_>) -> Vec<String> {
    let count = model.program().header().classes as usize;
    let listed = model.container().metadata_value("classes").map(|names| names.to_string());
    let names: Vec<String> = listed.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if names.len() == count { names } else { (0..count).map(|class| class.to_string()).collect() }
}
