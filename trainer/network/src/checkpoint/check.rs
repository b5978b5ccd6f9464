//! Holds tensors against a network.

use std::collections::{BTreeMap, BTreeSet};

use lrpet_runtime::model::{Op, Weights};

use super::{Array, Checkpoint, CheckpointError, abridged};
use crate::network::{KNOWN, Known, Network, Norm};

/// What the tensors of one layer with weights are called, and their shapes.
pub(super) struct LayerTensors {
    pub name: String,
    /// The batch normalisation behind it.
    pub norm: Option<Norm>,
    /// Whether the layer has a bias of its own; one in front of a normalisation is taken either way.
    pub has_bias: bool,
    /// What follows the layer's name in that of its first tensor: `.weight`, or `.scale` or `.slope` of numbers for each channel.
    pub suffix: &'static str,
    /// Shape of the weight; the first axis is that of all other tensors.
    pub weight: Vec<usize>,
}

impl LayerTensors {
    /// Name of the first tensor.
    pub fn first(&self) -> String {
        format!("{}{}", self.name, self.suffix)
    }

    pub fn bias(&self) -> String {
        format!("{}.bias", self.name)
    }

    /// Names of the normalisation's tensors: those of γ and β that it has, mean, variance; none where there is no normalisation.
    pub fn norm_names(&self) -> impl Iterator<Item = String> {
        self.norm.iter().flat_map(|norm| norm.tensors())
    }

    /// Whether the layer may have a bias: its own, or what is left of a normalisation.
    pub fn may_have_bias(&self) -> bool {
        self.has_bias || self.norm.is_some()
    }

    /// Names of all tensors that the layer may have; the weight's first.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let bias = self.may_have_bias().then(|| self.bias());
        [self.first()].into_iter().chain(bias).chain(self.norm_names())
    }

    /// Whether the function needs the tensor called `name` of [`LayerTensors::names`].
    pub fn requires(&self, name: &str, merged: bool) -> bool {
        if name == self.bias() { self.norm.is_none() } else { !merged || name == self.first() }
    }

    /// Whether the normalisation has none of its tensors, while the layer has the bias that is left of one.
    pub fn is_merged(&self, tensors: &BTreeMap<String, Array>) -> bool {
        // Without γ and β the bias may be the layer's own, and only the statistics be missing.
        let own = self.has_bias && self.norm.as_ref().is_some_and(|norm| !norm.scale && !norm.shift);
        self.norm.is_some()
            && !own
            && tensors.contains_key(&self.bias())
            && !self.norm_names().any(|name| tensors.contains_key(&name))
    }
}

/// The layers with weights, in order.
pub(super) fn layers(network: &Network) -> Vec<LayerTensors> {
    let shapes = network.value_shapes().expect("a network built by the network module chains");
    let tensors = network.layers.iter().enumerate().filter_map(|(index, layer)| {
        let channels = shapes[usize::from(layer.op.inputs().first())].channels as usize;
        let rows = shapes[index + 1].channels as usize;
        let (mut suffix, mut has_bias) = (".weight", layer.bias);
        let (name, weight) = match &layer.op {
            Op::Conv(conv) => {
                let columns = if conv.weights == Weights::Depthwise { 1 } else { channels };
                let [height, width] = conv.window.kernel.map(usize::from);
                (&conv.name, vec![rows, columns, height, width])
            }
            Op::Linear(linear) => {
                let features = shapes[usize::from(linear.input)].len();
                (&linear.name, vec![rows, features])
            }
            Op::GeneralConv(conv) => {
                let [height, width] = conv.window.kernel.map(usize::from);
                (&conv.name, vec![rows, channels / conv.groups as usize, height, width])
            }
            Op::Activate(activate) => {
                (suffix, has_bias) = (".slope", false);
                (activate.slope.as_ref()?, vec![channels])
            }
            Op::Affine(_) | Op::Normalise(_) => {
                (suffix, has_bias) = (".scale", true);
                (layer.op.layer()?, vec![channels])
            }
            _ => return None,
        };
        Some(LayerTensors { name: name.clone(), norm: layer.norm.clone(), has_bias, suffix, weight })
    });
    tensors.collect()
}

/// Name of the last linear layer, which makes the logits.
pub(super) fn head(network: &Network) -> Option<&str> {
    network.layers.last().filter(|layer| matches!(layer.op, Op::Linear(_))).map(|layer| layer.op.name())
}

impl Checkpoint {
    /// Checks that the tensors are those of `network`: none missing, none more, each of the right shape, all finite, no variance
    /// negative. A convolution before a batch normalisation may have a bias; where it has one, its normalisation may be missing,
    /// as merged into weight and bias.
    ///
    /// # Errors
    /// [`CheckpointError::Mismatch`] with everything that is wrong at once, [`CheckpointError::Head`], [`CheckpointError::NotFinite`],
    /// [`CheckpointError::Variance`].
    pub fn check(&self, network: &Network) -> Result<(), CheckpointError> {
        self.check_layers(network, &layers(network))
    }

    /// [`Checkpoint::check`] of some of the network's layers: there are no tensors of others.
    pub(super) fn check_layers(
        &self,
        network: &Network,
        layers: &[LayerTensors],
    ) -> Result<(), CheckpointError> {
        let (mut known, mut missing) = (BTreeMap::new(), Vec::new());
        for layer in layers {
            let merged = layer.is_merged(&self.tensors);
            for (at, name) in layer.names().enumerate() {
                if layer.requires(&name, merged) && !self.tensors.contains_key(&name) {
                    missing.push(name.clone());
                }
                known.insert(name, if at == 0 { &layer.weight[..] } else { &layer.weight[..1] });
            }
        }
        missing.sort();
        let unexpected: Vec<String> =
            self.tensors.keys().filter(|name| !known.contains_key(*name)).cloned().collect();
        let misshapen: Vec<(&String, &Array)> = self
            .tensors
            .iter()
            .filter(|(name, array)| known.get(*name).is_some_and(|of| array.shape != *of))
            .collect();
        self.refuse_head(network, &known, &misshapen, missing.is_empty() && unexpected.is_empty())?;
        let misshapen = misshapen
            .iter()
            .map(|(name, array)| format!("{name} is {:?}, not {:?}", array.shape, known[*name]));
        let mut problems = Vec::new();
        for (what, names) in
            [("missing", &missing), ("unexpected", &unexpected), ("wrong shape", &misshapen.collect())]
        {
            if !names.is_empty() {
                problems.push(format!("{what}: {}", abridged(names)));
            }
        }
        if !problems.is_empty() {
            problems.extend(self.part_of_affine(layers));
            problems.extend(self.uneven_prefix());
            problems.extend(self.looks_like(&network.name));
            let network = network.name.clone();
            return Err(CheckpointError::Mismatch { network, problems: problems.join("; ") });
        }
        self.tensors.iter().try_for_each(|(name, array)| check_values(name, array))
    }

    /// What to do where normalisations have statistics, and γ without β or β without γ, in words.
    fn part_of_affine(&self, layers: &[LayerTensors]) -> Option<String> {
        let has = |name: Option<String>| name.map(|name| self.tensors.contains_key(&name));
        let partial = layers.iter().filter_map(|layer| layer.norm.as_ref()).find_map(|norm| {
            let (mean, variance) = (has(Some(norm.mean())), has(Some(norm.variance())));
            let field = match (has(norm.gamma()), has(norm.beta())) {
                (Some(false), Some(true)) => "scale",
                (Some(true), Some(false)) => "shift",
                _ => return None,
            };
            (mean == Some(true) && variance == Some(true)).then_some((&norm.name, field))
        });
        partial.map(|(name, field)| {
            format!(
                "where it was trained so, say it in the network's file (`lrpet network show`): norm = {{ name = \"{name}\", \
                 {field} = false }}"
            )
        })
    }

    /// Another known network than `network` that has all tensors with these shapes and no others, in words.
    fn looks_like(&self, network: &str) -> Option<String> {
        let fits = |known: &&Known| {
            let Some(other) = known.build(known.input, 1) else { return false };
            let (layers, head) = (layers(&other), head(&other));
            let has = |layer: &LayerTensors| {
                let array = self.tensors.get(&format!("{}.weight", layer.name));
                let same = |shape: &[usize]| match head == Some(&layer.name) {
                    // Any number of classes.
                    true => shape.get(1..) == layer.weight.get(1..),
                    false => shape == layer.weight,
                };
                array.is_some_and(|array| same(&array.shape))
            };
            let names: BTreeSet<String> = layers.iter().flat_map(LayerTensors::names).collect();
            layers.iter().all(has) && self.tensors.keys().all(|name| names.contains(name))
        };
        let found: Vec<&str> =
            KNOWN.iter().filter(|known| known.name != network).filter(fits).map(|known| known.name).collect();
        (!found.is_empty()).then(|| format!("it looks like {} (--net)", found.join(" or ")))
    }

    /// What the tensors are called and which known network has such ones, in words: for a checkpoint that is none of the network's.
    pub fn described(&self) -> String {
        let names: Vec<String> = self.tensors.keys().chain(self.others.keys()).cloned().collect();
        if names.is_empty() {
            return "it holds no tensors".to_owned();
        }
        let known = self.looks_like("");
        let advice = known.unwrap_or_else(|| {
            "name its network with --net, or rename its tensors as docs/checkpoints.md lists them".to_owned()
        });
        format!("it holds {}: {advice}", abridged(&names))
    }

    /// The error of a head for another number of classes, where nothing else is wrong.
    fn refuse_head(
        &self,
        network: &Network,
        known: &BTreeMap<String, &[usize]>,
        misshapen: &[(&String, &Array)],
        alone: bool,
    ) -> Result<(), CheckpointError> {
        let Some(head) = head(network).filter(|_| alone) else { return Ok(()) };
        let weight = format!("{head}.weight");
        let [of_bias @ .., (name, array)] = misshapen else { return Ok(()) };
        let bias = of_bias.iter().all(|(name, _)| **name == format!("{head}.bias"));
        if **name != weight || !bias || array.shape.len() != 2 {
            return Ok(());
        }
        Err(CheckpointError::Head {
            network: network.name.clone(),
            found: array.shape.clone(),
            expected: known[&weight].to_vec(),
            tensor: weight,
        })
    }
}

/// Refuses what is not finite, and negative variances.
fn check_values(name: &str, array: &Array) -> Result<(), CheckpointError> {
    let is_variance = name.ends_with(".running_var");
    let wrong = |value: &f32| !value.is_finite() || is_variance && *value < 0.0;
    let Some(element) = array.values.iter().position(wrong) else { return Ok(()) };
    let tensor = name.to_owned();
    if is_variance {
        return Err(CheckpointError::Variance { tensor, element, value: array.values[element] });
    }
    Err(CheckpointError::NotFinite { tensor, element })
}
