//! A model file named on the command line.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lrpet_runtime::model::Model;
use lrpet_trainer::export::{Aligned, checked};

/// The bytes of a model file.
pub struct ModelFile {
    path: PathBuf,
    bytes: Aligned,
}

impl ModelFile {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<ModelFile> {
        let bytes =
            std::fs::read(path).with_context(|| format!("cannot read the model {}", path.display()))?;
        Ok(ModelFile { path: path.to_owned(), bytes: Aligned::copy(&bytes) })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.bytes()
    }

    /// The model, checked; the error names the file.
    pub fn model(&self) -> Result<Model<'_>> {
        Ok(checked(self.bytes(), &self.path.display().to_string())?)
    }
}

/// A key of the model's card, and the labels of its classes where the card has them.
pub fn labels(model: &Model<'_>) -> Vec<String> {
    let count = model.program().header().classes as usize;
    let listed = model.metadata().find(|(key, _)| key.to_string() == "classes");
    let names: Vec<String> = listed
        .map(|(_, names)| names.to_string().split(',').map(str::to_owned).collect())
        .unwrap_or_default();
    if names.len() == count { names } else { (0..count).map(|class| class.to_string()).collect() }
}
