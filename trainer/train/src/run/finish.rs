//! What follows the batches: validation of an epoch, and the final weights of a run.

use candle_core::Tensor;
use lrpet_data::Loader;

use super::Run;
use super::checkpoint;
use super::metrics::{Evaluation, Observer, Outcome};
use super::passes::{evaluate, project, reestimate};
use super::records::Finished;
use crate::TrainError;

/// File of the final weights in the run directory.
pub const FINAL: &str = "final.safetensors";

/// Most training batches whose statistics are averaged for the validation of projected weights.
const VALIDATION_BATCHES: usize = 20;

impl Run<'_> {
    /// Puts the average of the weights in their place, where one is kept, and takes its statistics afresh over so many training
    /// batches; at known ranks it is projected with them. For an average of weights of low rank has no low rank itself, and
    /// running statistics are those of the weights that were trained. Whether there is one.
    fn take_average(&mut self, batches: usize) -> Result<bool, TrainError> {
        let Some(averages) = self.optimizer.averages() else { return Ok(false) };
        for (name, average) in averages {
            self.model.parameters().get(&name)?.set(&average)?;
        }
        if let Some((options, ranks)) = self.projection().map(|(of, ranks)| (of.options(), ranks.clone())) {
            // α of the rectification is of the average, too.
            self.measure_afresh(batches)?;
            project(&self.model, &ranks, &options)?;
        }
        Ok(true)
    }

    /// Averages the statistics over an epoch's first batches that no training epoch used: its own order and augmentation.
    fn measure_afresh(&mut self, batches: usize) -> Result<(), TrainError> {
        let epoch = self.data.train.epoch(self.settings.epochs_in_all() as u64, 0);
        reestimate(&mut self.model, epoch.take(batches))
    }

    /// Evaluates the validation set, where there is one. Running statistics do not fit weights that were `projected` a moment
    /// ago, so these are judged as they would be exported: with statistics averaged over a few training batches,
    /// which are then put back. Where an average of the weights is kept, it is what is judged.
    pub(super) fn validate(&mut self, projected: bool) -> Result<Option<Evaluation>, TrainError> {
        let Some(loader) = &self.data.validation else { return Ok(None) };
        let batches = self.settings.reestimate_batches.min(VALIDATION_BATCHES);
        let averaged = self.settings.recipe.ema.is_some();
        if !averaged && (!projected || batches == 0) {
            return evaluate(&mut self.model, loader).map(Some);
        }
        let loader = loader.clone();
        let parameters = self.model.parameters();
        let held: Vec<(String, Tensor)> = (parameters.statistics().iter())
            .chain(parameters.trained().iter().filter(|_| averaged))
            .map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().copy()?)))
            .collect::<Result<_, TrainError>>()?;
        self.take_average(batches)?;
        self.measure_afresh(batches)?;
        let found = evaluate(&mut self.model, &loader)?;
        for (name, values) in held {
            self.model.parameters().get(&name)?.set(&values)?;
        }
        Ok(Some(found))
    }

    /// Averages the statistics afresh, evaluates the weights and writes them.
    pub(super) fn finish(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let batches = self.settings.reestimate_batches;
        if batches > 0 {
            observer.stage("averaging the statistics of the batch normalisations over training batches");
            self.take_average(batches)?;
            self.measure_afresh(batches)?;
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
