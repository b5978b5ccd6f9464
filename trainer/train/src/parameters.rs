//! Named parameters and BN statistics of a network, in torchvision's naming.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use lrpet_network::network::{Layer, Network};
use lrpet_runtime::model::{Conv, GeneralConv, Op, Weights};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{TrainError, general};

/// Gradients by the name of the parameter.
pub type Gradients = BTreeMap<String, Tensor>;

/// Names of one layer's tensors.
#[derive(Clone, Debug)]
pub(crate) struct LayerNames {
    pub weight: String,
    /// Of a layer that has one and no normalisation.
    pub bias: Option<String>,
    pub norm: Option<NormNames>,
}

/// Names of one batch normalisation's tensors.
#[derive(Clone, Debug)]
pub(crate) struct NormNames {
    /// Of a normalisation with γ; else γ is 1.
    pub gamma: Option<String>,
    /// Of a normalisation with β; else β is 0.
    pub beta: Option<String>,
    pub mean: String,
    pub variance: String,
    /// Added to the variance under the root.
    pub epsilon: f64,
    /// How far the running statistics move towards a batch's.
    pub momentum: f64,
}

impl NormNames {
    /// The values of γ: ones where there is none.
    pub(crate) fn gamma_values(&self, parameters: &Parameters) -> Result<Vec<f32>, TrainError> {
        Ok(self.gamma(parameters)?.flatten_all()?.to_vec1()?)
    }

    /// γ `[n]`: ones where there is none.
    pub(crate) fn gamma(&self, parameters: &Parameters) -> Result<Tensor, TrainError> {
        match &self.gamma {
            Some(name) => Ok(parameters.get(name)?.as_tensor().clone()),
            None => Ok(parameters.get(&self.mean)?.ones_like()?),
        }
    }

    /// β `[n]`: zeros where there is none.
    pub(crate) fn beta(&self, parameters: &Parameters) -> Result<Tensor, TrainError> {
        match &self.beta {
            Some(name) => Ok(parameters.get(name)?.as_tensor().clone()),
            None => Ok(parameters.get(&self.mean)?.zeros_like()?),
        }
    }
}

impl LayerNames {
    /// The names of `layer`'s tensors; `None` where it has none.
    pub(crate) fn of(layer: &Layer) -> Option<LayerNames> {
        if !matches!(layer.op, Op::Conv(_) | Op::GeneralConv(_) | Op::Linear(_)) {
            return None;
        }
        let name = layer.op.name();
        let norm = layer.norm.as_ref().map(|norm| NormNames {
            gamma: norm.gamma(),
            beta: norm.beta(),
            mean: norm.mean(),
            variance: norm.variance(),
            epsilon: norm.epsilon,
            momentum: norm.momentum,
        });
        let bias = (norm.is_none() && layer.bias).then(|| format!("{name}.bias"));
        Some(LayerNames { weight: format!("{name}.weight"), bias, norm })
    }
}

/// All tensors of a network: weights and biases, γ and β, and the running statistics. All f32, on one device.
#[derive(Clone, Debug)]
pub struct Parameters {
    trained: BTreeMap<String, Var>,
    statistics: BTreeMap<String, Var>,
    device: Device,
}

impl Parameters {
    /// Fresh parameters, a function of network and seed alone.
    ///
    /// Convolutions: normal with variance 2 / (n·kh·kw), He et al., "Delving deep into rectifiers" (ICCV 2015), in the
    /// fan-out form of torchvision's ResNets (a depthwise filter's fan-out is kh·kw). Linear layers and biases: uniform within ±1/√fan-in
    /// (PyTorch's default). γ and scales 1, β and biases beside a scale 0, running mean 0, running variance 1, slopes of PReLU ¼.
    ///
    /// # Errors
    /// Where the device runs out of memory.
    pub fn new(network: &Network, seed: u64, device: &Device) -> Result<Self, TrainError> {
        let mut parameters =
            Parameters { trained: BTreeMap::new(), statistics: BTreeMap::new(), device: device.clone() };
        for (index, shape, layer) in shapes(network) {
            let names = LayerNames::of(layer).expect("a layer with a matrix has names");
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(index as u64);
            let count = shape.iter().product();
            let taps: usize = shape.iter().skip(2).product();
            let fan_in = (shape[1] * taps) as f64;
            let weight = match &layer.op {
                Op::Conv(conv) => {
                    let fan_out = if conv.weights == Weights::Depthwise { taps } else { shape[0] * taps };
                    normal(&mut rng, count, (2.0 / fan_out as f64).sqrt())
                }
                Op::GeneralConv(conv) => {
                    let fan_out = shape[0] / conv.groups as usize * taps;
                    normal(&mut rng, count, (2.0 / fan_out as f64).sqrt())
                }
                _ => uniform(&mut rng, count, fan_in.sqrt().recip()),
            };
            let rows = shape[0];
            parameters.insert(names.weight, Tensor::from_vec(weight, shape, device)?, true)?;
            if let Some(bias) = names.bias {
                let bias_values = uniform(&mut rng, rows, fan_in.sqrt().recip());
                parameters.insert(bias, Tensor::from_vec(bias_values, rows, device)?, true)?;
            }
            if let Some(norm) = names.norm {
                let (ones, zeros) =
                    (Tensor::ones(rows, DType::F32, device)?, Tensor::zeros(rows, DType::F32, device)?);
                norm.gamma.map_or(Ok(()), |name| parameters.insert(name, ones.clone(), true))?;
                norm.beta.map_or(Ok(()), |name| parameters.insert(name, zeros.clone(), true))?;
                parameters.insert(norm.mean, zeros, false)?;
                parameters.insert(norm.variance, ones, false)?;
            }
        }
        let values = network.value_shapes().expect("a network that trains chains");
        for layer in &network.layers {
            for tensor in general::tensors(&layer.op) {
                let channels = values[usize::from(layer.op.inputs().first())].channels as usize;
                // PyTorch's defaults.
                let start: f32 = match *tensor {
                    "scale" => 1.0,
                    "slope" => 0.25,
                    _ => 0.0,
                };
                let values = Tensor::full(start, channels, device)?;
                parameters.insert(format!("{}.{tensor}", layer.op.name()), values, true)?;
            }
        }
        Ok(parameters)
    }

    fn insert(&mut self, name: String, tensor: Tensor, trained: bool) -> Result<(), TrainError> {
        let map = if trained { &mut self.trained } else { &mut self.statistics };
        map.insert(name, Var::from_tensor(&tensor)?);
        Ok(())
    }

    /// The device that holds the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// What the optimiser changes, by name.
    pub fn trained(&self) -> &BTreeMap<String, Var> {
        &self.trained
    }

    /// The running statistics of the batch normalisations, by name.
    pub fn statistics(&self) -> &BTreeMap<String, Var> {
        &self.statistics
    }

    /// The tensor called `name`.
    ///
    /// # Errors
    /// [`TrainError::NoTensor`].
    pub fn get(&self, name: &str) -> Result<&Var, TrainError> {
        let found = self.trained.get(name).or_else(|| self.statistics.get(name));
        found.ok_or_else(|| TrainError::NoTensor { name: name.to_owned() })
    }

    /// The values of the tensor called `name`, row-major.
    ///
    /// # Errors
    /// [`TrainError::NoTensor`].
    pub fn values(&self, name: &str) -> Result<Vec<f32>, TrainError> {
        Ok(self.get(name)?.flatten_all()?.to_vec1()?)
    }

    /// Replaces the values of the tensor called `name`.
    ///
    /// # Errors
    /// [`TrainError::NoTensor`], or where the number of values is another.
    pub fn set(&self, name: &str, values: Vec<f32>) -> Result<(), TrainError> {
        let var = self.get(name)?;
        var.set(&Tensor::from_vec(values, var.shape(), &self.device)?)?;
        Ok(())
    }

    /// The first tensor that holds NaN or infinity.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn not_finite(&self) -> Result<Option<String>, TrainError> {
        for (name, var) in self.trained.iter().chain(&self.statistics) {
            // One number to read back from a device: the sum of x·0 is 0 where every x is finite, else NaN.
            let sum: f32 = var.as_detached_tensor().affine(0.0, 0.0)?.sum_all()?.to_scalar()?;
            if sum.is_nan() {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// All tensors by name, in the order of the names.
    pub fn tensors(&self) -> BTreeMap<String, Tensor> {
        let all = self.trained.iter().chain(&self.statistics);
        all.map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect()
    }

    /// Takes the values of all tensors from `tensors`.
    ///
    /// # Errors
    /// Where one is missing or has another shape, or where there is one more; nothing is changed then.
    pub fn load(&self, tensors: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
        let known = |name: &String| self.trained.contains_key(name) || self.statistics.contains_key(name);
        if let Some(name) = tensors.keys().find(|name| !known(name)) {
            return Err(TrainError::NotOurs { name: name.clone() });
        }
        let mut found = Vec::new();
        for (name, var) in self.trained.iter().chain(&self.statistics) {
            let tensor = tensors.get(name).ok_or_else(|| TrainError::NoTensor { name: name.clone() })?;
            if tensor.shape() != var.shape() {
                return Err(TrainError::Shape {
                    name: name.clone(),
                    expected: var.dims().to_vec(),
                    found: tensor.dims().to_vec(),
                });
            }
            found.push((var, tensor.to_dtype(DType::F32)?.to_device(&self.device)?));
        }
        for (var, tensor) in found {
            var.set(&tensor.contiguous()?)?;
        }
        Ok(())
    }
}

/// The layers with weights: index, shape of the weight, layer.
fn shapes(network: &Network) -> impl Iterator<Item = (usize, Vec<usize>, &Layer)> {
    network
        .matrices()
        .into_iter()
        .map(|(index, _, matrix)| {
            let layer = &network.layers[index];
            let (rows, columns) = (matrix.rows as usize, matrix.columns as usize);
            let shape = match &layer.op {
                Op::Conv(Conv { window, .. }) | Op::GeneralConv(GeneralConv { window, .. }) => {
                    let [kh, kw] = window.kernel.map(usize::from);
                    vec![rows, columns / (kh * kw), kh, kw]
                }
                _ => vec![rows, columns],
            };
            (index, shape, layer)
        })
        .collect::<Vec<_>>()
        .into_iter()
}

fn uniform(rng: &mut impl Rng, count: usize, bound: f64) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-bound..bound) as f32).collect()
}

/// Normal values of mean 0 by the polar form of Box and Muller's transform.
fn normal(rng: &mut impl Rng, count: usize, deviation: f64) -> Vec<f32> {
    let draw = |_| {
        // 1 − [0, 1) keeps the logarithm finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let angle = std::f64::consts::TAU * rng.random::<f64>();
        (deviation * radius * angle.cos()) as f32
    };
    (0..count).map(draw).collect()
}
