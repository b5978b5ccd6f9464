//! Makes what a file holds into exactly what a network needs, where that leaves its function as it is.

use super::check::{LayerTensors, head, layers};
use super::{Array, Checkpoint, CheckpointError, abridged};
use crate::network::Network;

/// First parts of names of heads that only training uses, as GoogLeNet and Inception have them in torchvision.
const AUXILIARY: [&str; 4] = ["aux", "aux1", "aux2", "AuxLogits"];

/// What the weights are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A model file: the function as it is.
    Model,
    /// The start of a training, with every batch normalisation in its place.
    Training {
        /// The last linear layer starts afresh, whatever the file has for it.
        new_head: bool,
    },
}

/// Weights that fit a network.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The tensors, [`Checkpoint::notes`] complete.
    pub checkpoint: Checkpoint,
    /// Name of the last linear layer where it starts afresh: it has no tensors.
    pub fresh: Option<String>,
    /// Batch normalisations, all or some, have no running statistics: theirs stand at mean 0 and variance 1 and have to be measured.
    pub no_statistics: bool,
}

impl Checkpoint {
    /// These tensors for `network`:
    ///
    /// - with its names ([`Checkpoint::named_for`]), without what cannot matter: numbers that are no tensors, heads that only
    ///   training uses;
    /// - a batch normalisation without γ and β (`affine=False`) gets 1 and 0;
    /// - a bias in front of a batch normalisation is, for training, taken off the running mean;
    /// - batch normalisations without running statistics (`track_running_stats=False`) are refused for a model, and marked for
    ///   training, whether all are or some;
    /// - one that is merged already is taken for a model, and refused for training.
    ///
    /// # Errors
    /// Those of [`Checkpoint::named_for`] and [`Checkpoint::check`]; [`CheckpointError::Mismatch`].
    pub fn fit(mut self, network: &Network, purpose: Purpose) -> Result<Fitted, CheckpointError> {
        let mut layers = layers(network);
        let new_head = purpose == Purpose::Training { new_head: true };
        let fresh = head(network).filter(|_| new_head).map(str::to_owned);
        if let Some(head) = &fresh {
            layers.retain(|layer| layer.name != *head);
            self.leave_out_head(head, |name| layers.iter().any(|layer| layer.names().any(|of| of == name)));
        }
        let mut fitted = self.named_for(network, fresh.as_deref())?;
        fitted.pass_over();
        fitted.affine(&layers);
        let without = fitted.without_statistics(&layers);
        let training = purpose != Purpose::Model;
        let fails =
            |problems: String| Err(CheckpointError::Mismatch { network: network.name.clone(), problems });
        if !without.is_empty() && !training {
            return fails(format!(
                "no running statistics (track_running_stats=False) of {}; `lrpet train --init` measures them on its training \
                 images first (over --reestimate batches), and its checkpoints have them",
                abridged(&without)
            ));
        }
        fitted.stand_in_statistics(&layers, &without);
        fitted.check_layers(network, &layers)?;
        let norms = layers.iter().filter(|layer| layer.norm.is_some()).count();
        if !without.is_empty() && without.len() < norms {
            // Measured over the same batches, they belong together.
            fitted.notes.push(format!(
                "no running statistics of {}, while others have them: those of all are measured anew",
                abridged(&without)
            ));
        }
        let merged: Vec<String> = layers
            .iter()
            .filter(|layer| layer.is_merged(&fitted.tensors))
            .map(|layer| layer.name.clone())
            .collect();
        if !merged.is_empty() && training {
            return fails(format!(
                "batch normalisation is merged into {} already, and training needs it: give the checkpoint from before that, or \
                 make a model of this one by `lrpet factorize`",
                abridged(&merged)
            ));
        }
        if !merged.is_empty() {
            fitted.notes.push(format!("batch normalisation is merged already in {}", abridged(&merged)));
        }
        if training {
            fitted.biases_into_means(&layers);
        }
        Ok(Fitted { checkpoint: fitted, fresh, no_statistics: !without.is_empty() })
    }

    /// Leaves out what cannot matter.
    fn pass_over(&mut self) {
        let mut passed: Vec<String> = Vec::new();
        let auxiliary =
            |name: &str| name.split_once('.').is_some_and(|(first, _)| AUXILIARY.contains(&first));
        self.tensors.retain(|name, array| {
            // A number alone or none at all is no layer's weight.
            let stays = !array.shape.is_empty() && !array.values.is_empty() && !auxiliary(name);
            if !stays {
                passed.push(name.clone());
            }
            stays
        });
        passed.extend(
            std::mem::take(&mut self.others).into_iter().map(|(name, what)| format!("{name} ({what})")),
        );
        if !passed.is_empty() {
            self.notes.push(format!("passed over, not of the network's function: {}", abridged(&passed)));
        }
    }

    /// γ = 1 and β = 0 where a batch normalisation has statistics alone.
    fn affine(&mut self, layers: &[LayerTensors]) {
        let mut without = Vec::new();
        for layer in layers {
            let Some(norm) = &layer.norm else { continue };
            let has = |name: &String| self.tensors.contains_key(name);
            let affine: Vec<_> = norm.gamma().map(|name| (name, 1.0)).into_iter().collect();
            let affine: Vec<_> = affine.into_iter().chain(norm.beta().map(|name| (name, 0.0))).collect();
            if affine.iter().any(|(name, _)| has(name)) || !has(&norm.mean()) || !has(&norm.variance()) {
                continue;
            }
            let rows = layer.weight[0];
            without.extend((!affine.is_empty()).then(|| norm.name.clone()));
            let filled = affine.into_iter();
            self.tensors.extend(
                filled.map(|(name, value)| (name, Array { shape: vec![rows], values: vec![value; rows] })),
            );
        }
        if !without.is_empty() {
            self.notes.push(format!("scale 1 and shift 0 (affine=False) of {}", abridged(&without)));
        }
    }

    /// Names of the batch normalisations that have γ and β, if any, and no statistics.
    fn without_statistics(&self, layers: &[LayerTensors]) -> Vec<String> {
        let has = |name: &String| self.tensors.contains_key(name);
        let without = layers.iter().filter(|layer| !layer.is_merged(&self.tensors));
        let norms = without.filter_map(|layer| layer.norm.as_ref());
        let without = norms.filter(|norm| {
            let affine = norm.gamma().into_iter().chain(norm.beta()).all(|name| has(&name));
            affine && !has(&norm.mean()) && !has(&norm.variance())
        });
        without.map(|norm| norm.name.clone()).collect()
    }

    /// Mean 0 and variance 1 of the batch normalisations `without` statistics.
    fn stand_in_statistics(&mut self, layers: &[LayerTensors], without: &[String]) {
        for layer in layers {
            let Some(norm) = layer.norm.as_ref().filter(|norm| without.contains(&norm.name)) else {
                continue;
            };
            for (name, value) in [(norm.mean(), 0.0), (norm.variance(), 1.0)] {
                let rows = layer.weight[0];
                let array = Array { shape: vec![rows], values: vec![value; rows] };
                self.tensors.insert(name, array);
            }
        }
    }

    /// α·(x + b − μ) + β = α·(x − (μ − b)) + β: what is trained has no such bias, as the statistics of each batch would take it
    /// off again.
    fn biases_into_means(&mut self, layers: &[LayerTensors]) {
        let mut taken = Vec::new();
        for layer in layers {
            let Some(norm) = &layer.norm else { continue };
            let Some(bias) = self.tensors.remove(&layer.bias()) else { continue };
            if let Some(mean) = self.tensors.get_mut(&norm.mean()) {
                mean.values.iter_mut().zip(&bias.values).for_each(|(mean, bias)| *mean -= bias);
            }
            taken.push(layer.bias());
        }
        if !taken.is_empty() {
            self.notes.push(format!("taken off the running mean behind it: {}", abridged(&taken)));
        }
    }
}
