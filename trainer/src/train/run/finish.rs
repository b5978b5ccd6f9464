//! What follows the batches: validation of an epoch, and the final weights of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use super::Run;
use super::checkpoint;
use super::metrics::{EpochRecord, Evaluation, Observer};
use super::passes::{evaluate, project, reestimate};
use super::records::Finished;
use super::sampled::Held;
use crate::data::Loader;
use crate::lrpet;
use crate::train::TrainError;

/// File of the final weights in the run directory.
pub const FINAL: &str = "final.safetensors";

/// Most training batches whose statistics are averaged for the validation of projected weights.
const VALIDATION_BATCHES: usize = 20;

/// What a run that trained for several pruning ratios leaves of each.
#[derive(Clone, Debug, Serialize)]
pub struct Variant {
    /// Pruning ratio g.
    pub prune: f64,
    /// The weights' file: projected to the ratio's ranks, with BN statistics of their own.
    pub weights: PathBuf,
    /// They on the validation set.
    pub validation: Option<Evaluation>,
    /// They on the test set.
    pub test: Option<Evaluation>,
}

/// What a finished run leaves.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The final weights' file.
    pub weights: PathBuf,
    /// Records of all epochs.
    pub history: Vec<EpochRecord>,
    /// The final weights on the validation set.
    pub validation: Option<Evaluation>,
    /// The final weights on the test set.
    pub test: Option<Evaluation>,
    /// Of a run that trained for several pruning ratios, each of these.
    pub variants: Vec<Variant>,
}

/// A file of weights, and what they are worth.
struct Written {
    weights: PathBuf,
    validation: Option<Evaluation>,
    test: Option<Evaluation>,
}

impl<'a> Run<'a> {
    /// The most pruned of several ratios that are trained for, and how it is projected.
    fn smallest(&self) -> Option<(lrpet::Options, &'a BTreeMap<String, u64>)> {
        let projection = self.config.settings.projection.as_ref()?;
        let of = projection.sampled.iter().max_by(|a, b| a.prune.total_cmp(&b.prune))?;
        Some((projection.options(), &of.ranks))
    }

    /// Evaluates the validation set, where there is one. Running statistics do not fit weights that were `projected` a moment
    /// ago, so these are judged as they would be exported: with statistics averaged over a few training batches,
    /// which are then put back.
    ///
    /// A run for several pruning ratios has one figure an epoch: of the most pruned network, which is the hardest to reach.
    pub(super) fn validate(&mut self, projected: bool) -> Result<Option<Evaluation>, TrainError> {
        if self.data.validation.is_none() {
            return Ok(None);
        }
        let Some((options, ranks)) = self.smallest() else { return self.validate_weights(projected) };
        let held = Held::of(&self.model)?;
        project(&self.model, ranks, &options)?;
        let found = self.validate_weights(true)?;
        held.put_back(&self.model)?;
        Ok(found)
    }

    fn validate_weights(&mut self, projected: bool) -> Result<Option<Evaluation>, TrainError> {
        let Some(loader) = &self.data.validation else { return Ok(None) };
        let batches = self.config.settings.reestimate_batches.min(VALIDATION_BATCHES);
        if !projected || batches == 0 {
            return evaluate(&mut self.model, loader).map(Some);
        }
        let held: Vec<(String, Vec<f32>)> = (self.model.parameters().statistics().keys())
            .map(|name| Ok((name.clone(), self.model.parameters().values(name)?)))
            .collect::<Result<_, TrainError>>()?;
        let epoch = self.data.train.epoch(self.config.settings.epochs as u64, 0);
        reestimate(&mut self.model, epoch.take(batches))?;
        let found = evaluate(&mut self.model, loader)?;
        for (name, values) in held {
            self.model.parameters().set(&name, values)?;
        }
        Ok(Some(found))
    }

    /// Writes the final weights, and those of every ratio that was trained for.
    pub(super) fn finish(mut self, observer: &mut dyn Observer) -> Result<Outcome, TrainError> {
        let projection = self.config.settings.projection.as_ref();
        let mut variants = Vec::new();
        for sampled in projection.map_or(&[][..], |projection| &projection.sampled) {
            observer.stage(&format!("ranks of g = {}", sampled.prune));
            let held = Held::of(&self.model)?;
            let options = projection.expect("it has ratios").options();
            project(&self.model, &sampled.ranks, &options)?;
            let name = format!("final-g{}.safetensors", sampled.prune);
            let ranks = Some((&sampled.ranks, sampled.prune.to_string()));
            let Written { weights, validation, test } = self.write_final(&name, ranks, observer)?;
            variants.push(Variant { prune: sampled.prune, weights, validation, test });
            held.put_back(&self.model)?;
        }
        let ranks = self.ranks.take();
        let rule = projection.map_or(String::new(), |of| of.rule.clone());
        let ranks = ranks.as_ref().map(|ranks| (ranks, rule));
        let Written { weights, validation, test } = self.write_final(FINAL, ranks, observer)?;
        Ok(Outcome { weights, history: self.history, validation, test, variants })
    }

    /// Averages the statistics afresh, evaluates the weights and writes them, which are of `ranks` by the rule named with them.
    fn write_final(
        &mut self,
        name: &str,
        ranks: Option<(&BTreeMap<String, u64>, String)>,
        observer: &mut dyn Observer,
    ) -> Result<Written, TrainError> {
        let settings = &self.config.settings;
        if settings.reestimate_batches > 0 {
            observer.stage("averaging the statistics of the batch normalisations over training batches");
            // An epoch that no training epoch used: its own order and augmentation.
            let loader = self.data.train.epoch(settings.epochs as u64, 0);
            reestimate(&mut self.model, loader.take(settings.reestimate_batches))?;
        }
        let mut evaluated = |loader: &Option<Loader>| {
            loader.as_ref().map(|loader| evaluate(&mut self.model, loader)).transpose()
        };
        let (validation, test) = (evaluated(&self.data.validation)?, evaluated(&self.data.test)?);
        let finished = Finished {
            config: self.config,
            identity: &self.identity,
            train: &self.data.train,
            ranks: ranks.as_ref().map(|(ranks, rule)| (*ranks, rule.as_str())),
            validation: validation.as_ref(),
            test: test.as_ref(),
        };
        let metadata = finished.metadata(self.model.network())?;
        let weights = self.config.run_dir.join(name);
        if self.leads() {
            checkpoint::write_safetensors(&weights, &self.model.tensors(), metadata)?;
        }
        Ok(Written { weights, validation, test })
    }
}
