//! What follows the batches: validation of an epoch, and the final weights of a run.

use lrpet_data::Loader;

use super::Run;
use super::checkpoint;
use super::metrics::{Evaluation, Observer, Outcome};
use super::passes::{evaluate, reestimate};
use super::records::Finished;
use crate::TrainError;

/// File of the final weights in the run directory.
pub const FINAL: &str = "final.safetensors";

/// Most training batches whose statistics are averaged for the validation of projected weights.
const VALIDATION_BATCHES: usize = 20;

impl Run<'_> {
    /// Evaluates the validation set, where there is one. Running statistics do not fit weights that were `projected` a moment
    /// ago, so these are judged as they would be exported: with statistics averaged over a few training batches,
    /// which are then put back.
    pub(super) fn validate(&mut self, projected: bool) -> Result<Option<Evaluation>, TrainError> {
        let Some(loader) = &self.data.validation else { return Ok(None) };
        let batches = self.settings.reestimate_batches.min(VALIDATION_BATCHES);
        if !projected || batches == 0 {
            return evaluate(&mut self.model, loader).map(Some);
        }
        let held: Vec<(String, Vec<f32>)> = (self.model.parameters().statistics().keys())
            .map(|name| Ok((name.clone(), self.model.parameters().values(name)?)))
            .collect::<Result<_, TrainError>>()?;
        let epoch = self.data.train.epoch(self.settings.epochs_in_all() as u64, 0);
        reestimate(&mut self.model, epoch.take(batches))?;
        let found = evaluate(&mut self.model, loader)?;
        for (name, values) in held {
            self.model.parameters().set(&name, values)?;
        }
        Ok(Some(found))
    }

    /// Averages the statistics afresh, evaluates the weights and writes them.
    pub(super) fn finish(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let settings = &self.settings;
        if settings.reestimate_batches > 0 {
            observer.stage("averaging the statistics of the batch normalisations over training batches");
            // An epoch that no training epoch used: its own order and augmentation.
            let loader = self.data.train.epoch(settings.epochs_in_all() as u64, 0);
            reestimate(&mut self.model, loader.take(settings.reestimate_batches))?;
        }
        observer.stage("evaluating the final weights");
        let mut evaluated = |loader: &Option<Loader>| {
            loader.as_ref().map(|loader| evaluate(&mut self.model, loader)).transpose()
        };
        let (validation, test) = (evaluated(&self.data.validation)?, evaluated(&self.data.test)?);
        let finished = Finished {
            settings: &self.settings,
            command: &self.config.command,
            identity: &self.identity,
            train: &self.data.train,
            ranks: self.ranks.as_ref(),
            validation: validation.as_ref(),
            test: test.as_ref(),
        };
        let metadata = finished.metadata(self.model.network())?;
        let weights = self.config.run_dir.join(FINAL);
        if self.leads() {
            checkpoint::write_safetensors(&weights, &self.model.tensors(), metadata)?;
        }
        Ok(Outcome { weights, ranks: self.ranks, history: self.history, validation, test })
    }
}
