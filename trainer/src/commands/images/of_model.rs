//! What a model file takes, with the test set of its data.

use std::path::Path;

use anyhow::Result;
use lrpet_data::{Normalization, registry};
use lrpet_runtime::host::labels;
use lrpet_runtime::model::Model;

use super::super::folder_args::values_folder;
use super::super::test_images::{self, TEST_RESIZE, TEST_SHARE, Trained};
use super::{ImageArgs, Images};

impl ImageArgs {
    /// The first option that says how the pictures of a checkpoint are taken, which a model's card does.
    pub fn of_checkpoint(&self) -> Option<&'static str> {
        let given = [
            ("--size", self.size.is_some()),
            ("--mean", !self.mean.is_empty()),
            ("--std", !self.std.is_empty()),
        ];
        given.iter().find(|(_, given)| *given).map(|(option, _)| *option)
    }

    /// What `model`, which is the file `file`, takes, with the test set of `--data`, or else of the data set that its card names.
    ///
    /// # Errors
    /// Where the test set is named and cannot be read.
    pub fn of_model(&self, model: &Model<'_>, file: &Path) -> Result<Images> {
        let header = model.program().header();
        let card = Trained::of_model(model, file);
        let test_resize = self.test_resize.or(card.test_resize);
        let trained = Trained { test_resize, other_classes: self.test.other_classes, ..card };
        let dataset = trained.dataset.clone().unwrap_or_default();
        let named = self.data.as_ref().or(Some(&dataset).filter(|name| registry::entry(name).is_ok()));
        let values =
            named.map(|name| values_folder(name, self.test.data_dir.as_deref())).transpose()?.flatten();
        let test = match (named, values) {
            (None, _) => None,
            (Some(_), Some(folder)) => {
                let (classes, share) = (header.classes as usize, trained.test_share);
                Some(test_images::values(&folder, &self.test, classes, share)?.into())
            }
            (Some(name), None) => match test_images::load(name, &self.test, &trained) {
                Ok(images) => Some(images),
                Err(error) if self.data.is_none() => {
                    tracing::warn!(
                        "{error}; the accuracy is not measured and the self-check's images are noise"
                    );
                    None
                }
                Err(error) => return Err(error),
            },
        };
        let channels = 0..header.input.channels as usize;
        let (mean, std) = channels.map(|channel| header.normalisation(channel)).unzip();
        let said = |key: &'static str, value: Option<String>| value.map(|value| (key, value));
        let preparation = [
            said(TEST_RESIZE, test_resize.map(|resize| resize.to_string())),
            said(TEST_SHARE, trained.test_share.map(|share| share.to_string())),
        ];
        Ok(Images {
            dataset,
            kind: header.kind,
            shape: header.input,
            classes: labels(model),
            normalization: Normalization { mean, std },
            preparation: preparation.into_iter().flatten().collect(),
            test,
        })
    }
}
