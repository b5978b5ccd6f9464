//! One layer of a network.

use lrpet_runtime::model::Op;

/// Added to the variance of a batch normalisation under the root, where nothing else is said (the default of PyTorch's
/// BatchNorm2d).
pub const EPSILON: f64 = 1e-5;

/// How far running statistics move towards a batch's, where nothing else is said (the default of PyTorch's BatchNorm2d).
pub const MOMENTUM: f64 = 0.1;

/// One operation, with what only training needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The operation as the device will run it.
    pub op: Op<String>,
    /// The batch normalisation between the convolution and its residual, where there is one.
    pub norm: Option<Norm>,
    /// Whether a layer with weights has a bias of its own, in front of its normalisation. Training takes such a bias off the
    /// running mean instead: the statistics of a batch would take it off anyway.
    pub bias: bool,
    /// Name of a layer without weights, for files and pictures.
    pub label: Option<String>,
}

impl Layer {
    /// `op` with a bias, if it has weights, and no normalisation.
    pub fn new(op: Op<String>) -> Layer {
        let bias = op.weights().is_some();
        Layer { op, norm: None, bias, label: None }
    }

    /// `op`, a convolution without bias, and the normalisation behind it.
    pub fn normalised(op: Op<String>, norm: Norm) -> Layer {
        Layer { op, norm: Some(norm), bias: false, label: None }
    }

    /// Whether the layer has tensors, and so a name of its own.
    pub fn has_weights(&self) -> bool {
        has_weights(&self.op)
    }

    /// The layer's name: that of its weights, its label, or else what it does.
    pub fn name(&self) -> &str {
        match &self.label {
            Some(label) if !self.has_weights() => label,
            _ => self.op.name(),
        }
    }
}

fn has_weights(op: &Op<String>) -> bool {
    op.layer().is_some()
}

/// A batch normalisation: γ·(x − μ)/√(σ² + ε) + β.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Its name.
    pub name: String,
    /// ε: [`EPSILON`] in PyTorch's networks and in those that start here, 1e-3 in most of Keras'.
    pub epsilon: f64,
    /// How far the running statistics move towards those of each batch of training, above 0 and at most 1:
    /// running = (1 − momentum)·running + momentum·batch.
    pub momentum: f64,
    /// Whether it has γ; else γ is 1.
    pub scale: bool,
    /// Whether it has β; else β is 0.
    pub shift: bool,
}

impl Norm {
    /// With γ, β and the usual ε and momentum.
    pub fn new(name: impl Into<String>) -> Norm {
        Norm { name: name.into(), epsilon: EPSILON, momentum: MOMENTUM, scale: true, shift: true }
    }

    /// Name of γ, where it has one.
    pub fn gamma(&self) -> Option<String> {
        self.scale.then(|| format!("{}.weight", self.name))
    }

    /// Name of β, where it has one.
    pub fn beta(&self) -> Option<String> {
        self.shift.then(|| format!("{}.bias", self.name))
    }

    /// Name of the running mean.
    pub fn mean(&self) -> String {
        format!("{}.running_mean", self.name)
    }

    /// Name of the running variance.
    pub fn variance(&self) -> String {
        format!("{}.running_var", self.name)
    }

    /// Names of its tensors: γ and β where it has them, running mean, running variance.
    pub fn tensors(&self) -> impl Iterator<Item = String> {
        self.gamma().into_iter().chain(self.beta()).chain([self.mean(), self.variance()])
    }
}
