//! Trained weights by torchvision-style names, read and held against a network.

use std::collections::BTreeMap;
use std::path::Path;

use half::{bf16, f16};
use lrpet_runtime::model::{Op, Weights};
use safetensors::{Dtype, SafeTensors};

use super::ExportError;
use crate::network::Network;

/// Name of a counter that PyTorch saves beside each batch normalisation; it says nothing about the function.
const COUNTER_SUFFIX: &str = ".num_batches_tracked";
/// Velocities of the optimiser, which a training checkpoint holds beside the weights.
const VELOCITY_PREFIX: &str = "momentum.";

/// A tensor in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// Axes, outermost first.
    pub shape: Vec<usize>,
    /// Values, last axis fastest.
    pub values: Vec<f32>,
}

/// Tensors by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors.
    pub tensors: BTreeMap<String, Array>,
    /// What the file says of itself, such as the command that trained it.
    pub metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Reads a safetensors file; values of f16, bf16, f32 and f64 become f32.
    ///
    /// # Errors
    /// [`ExportError::Io`], [`ExportError::Unreadable`].
    pub fn read(path: &Path) -> Result<Checkpoint, ExportError> {
        let bytes =
            std::fs::read(path).map_err(|source| ExportError::Io { path: path.to_owned(), source })?;
        Checkpoint::from_bytes(&bytes)
            .map_err(|reason| ExportError::Unreadable { path: path.to_owned(), reason })
    }

    /// Parses the bytes of a safetensors file; the error says what is wrong with them.
    fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.iter().filter(|(name, _)| is_weight(name)) {
            let data = view.data();
            let values = match view.dtype() {
                Dtype::F32 => chunks(data, f32::from_le_bytes),
                Dtype::F64 => chunks(data, |bytes| f64::from_le_bytes(bytes) as f32),
                Dtype::F16 => chunks(data, |bytes| f16::from_le_bytes(bytes).to_f32()),
                Dtype::BF16 => chunks(data, |bytes| bf16::from_le_bytes(bytes).to_f32()),
                other => {
                    return Err(format!("tensor {name} is {other:?}; weights are F16, BF16, F32 or F64"));
                }
            };
            tensors.insert(name.to_owned(), Array { shape: view.shape().to_vec(), values });
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let metadata = header.metadata().iter().flatten();
        let metadata = metadata.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Checkpoint { tensors, metadata })
    }

    /// Copies tensors out of candle.
    ///
    /// # Errors
    /// [`ExportError::Candle`].
    pub fn from_candle<'t>(
        tensors: impl IntoIterator<Item = (&'t String, &'t candle_core::Tensor)>,
    ) -> Result<Checkpoint, ExportError> {
        let mut copied = BTreeMap::new();
        for (name, tensor) in tensors.into_iter().filter(|(name, _)| is_weight(name)) {
            let values = tensor.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
            copied.insert(name.clone(), Array { shape: tensor.dims().to_vec(), values });
        }
        Ok(Checkpoint { tensors: copied, ..Checkpoint::default() })
    }

    /// Checks that the tensors are those of `network`: none missing, none more, each of the right shape, all
    /// finite.
    ///
    /// # Errors
    /// [`ExportError::Mismatch`] with everything that is wrong at once, [`ExportError::NotFinite`].
    pub fn check(&self, network: &Network) -> Result<(), ExportError> {
        let expected = expected(network);
        let mut problems = Vec::new();
        let mut list = |what: &str, names: Vec<String>| {
            if !names.is_empty() {
                problems.push(format!("{what}: {}", abridged(&names)));
            }
        };
        let missing = expected
            .iter()
            .filter(|(name, tensor)| tensor.required && !self.tensors.contains_key(*name))
            .map(|(name, _)| name.clone());
        list("missing", missing.collect());
        list(
            "unexpected",
            self.tensors.keys().filter(|name| !expected.contains_key(*name)).cloned().collect(),
        );
        let misshapen = expected.iter().filter_map(|(name, tensor)| {
            let found = &self.tensors.get(name)?.shape;
            (*found != tensor.shape).then(|| format!("{name} is {found:?}, not {:?}", tensor.shape))
        });
        list("wrong shape", misshapen.collect());
        if !problems.is_empty() {
            return Err(ExportError::Mismatch {
                network: network.name.clone(),
                problems: problems.join("; "),
            });
        }
        for (name, array) in &self.tensors {
            if let Some(element) = array.values.iter().position(|value| !value.is_finite()) {
                return Err(ExportError::NotFinite { tensor: name.clone(), element });
            }
        }
        Ok(())
    }

    /// Values of a tensor, where there is one.
    pub fn values(&self, name: &str) -> Option<&[f32]> {
        self.tensors.get(name).map(|array| array.values.as_slice())
    }
}

/// False for what a checkpoint holds besides the weights.
fn is_weight(name: &str) -> bool {
    !name.ends_with(COUNTER_SUFFIX) && !name.starts_with(VELOCITY_PREFIX)
}

/// A tensor that a network has.
struct Expected {
    shape: Vec<usize>,
    /// A convolution before a batch normalisation may have a bias, but seldom has.
    required: bool,
}

fn expected(network: &Network) -> BTreeMap<String, Expected> {
    let shapes = network.value_shapes().expect("a network built by the network module chains");
    let mut tensors = BTreeMap::new();
    for (index, layer) in network.layers.iter().enumerate() {
        let channels = shapes[usize::from(layer.op.inputs().first())].channels as usize;
        let rows = shapes[index + 1].channels as usize;
        let mut add = |name: String, shape: Vec<usize>, required| {
            tensors.insert(name, Expected { shape, required });
        };
        let name = match &layer.op {
            Op::Conv(conv) => {
                let columns = if conv.weights == Weights::Depthwise { 1 } else { channels };
                let [height, width] = conv.window.kernel.map(usize::from);
                add(format!("{}.weight", conv.name), vec![rows, columns, height, width], true);
                &conv.name
            }
            Op::Linear(linear) => {
                add(format!("{}.weight", linear.name), vec![rows, channels], true);
                &linear.name
            }
            _ => continue,
        };
        add(format!("{name}.bias"), vec![rows], layer.norm.is_none());
        for part in layer.norm.iter().flat_map(|_| ["weight", "bias", "running_mean", "running_var"]) {
            add(format!("{}.{part}", layer.norm.as_deref().unwrap_or_default()), vec![rows], true);
        }
    }
    tensors
}

/// The first names, and how many more there are.
fn abridged(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

fn chunks<const N: usize>(data: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    data.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use lrpet_runtime::model::Shape;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    pub(crate) fn network() -> Network {
        Network::by_name("resnet8", Shape::new(1, 12, 10), 5).unwrap()
    }

    /// Weights of plausible size for `network`, drawn by `seed`; running variances are positive.
    pub(crate) fn random(network: &Network, seed: u64) -> Checkpoint {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut tensors = BTreeMap::new();
        for (name, Expected { shape, required }) in expected(network) {
            let count: usize = shape.iter().product();
            let fan: usize = shape[1..].iter().product();
            let mut draw = |low: f32, high: f32| (0..count).map(|_| rng.random_range(low..high)).collect();
            let values: Vec<f32> = match name.rsplit('.').next() {
                Some("running_var") => draw(0.3, 2.0),
                Some("weight") if shape.len() == 1 => draw(0.4, 1.2),
                Some("weight") => draw(-(3.0 / fan as f32).sqrt(), (3.0 / fan as f32).sqrt()),
                _ => draw(-0.3, 0.3),
            };
            if required {
                tensors.insert(name, Array { shape, values });
            }
        }
        Checkpoint { tensors, ..Checkpoint::default() }
    }

    /// Serialised with every dtype that is read, in turn, with PyTorch's counters and a velocity.
    fn bytes(checkpoint: &Checkpoint) -> Vec<u8> {
        let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
        for (turn, (name, array)) in checkpoint.tensors.iter().enumerate() {
            let (dtype, bytes): (Dtype, Vec<u8>) = match turn % 4 {
                0 => (Dtype::F32, array.values.iter().flat_map(|v| v.to_le_bytes()).collect()),
                1 => (Dtype::F64, array.values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect()),
                2 => {
                    (Dtype::F16, array.values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect())
                }
                _ => (
                    Dtype::BF16,
                    array.values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
                ),
            };
            data.push((name.clone(), dtype, array.shape.clone(), bytes));
        }
        data.push(("bn1.num_batches_tracked".into(), Dtype::I64, vec![], 7_i64.to_le_bytes().to_vec()));
        data.push(("momentum.fc.bias".into(), Dtype::F32, vec![1], 7_f32.to_le_bytes().to_vec()));
        let views = data.iter().map(|(name, dtype, shape, bytes)| {
            (name, safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    #[test]
    fn every_float_type_is_read_and_other_state_is_passed_over() {
        let net = network();
        let checkpoint = random(&net, 1);
        let read = Checkpoint::from_bytes(&bytes(&checkpoint)).unwrap();
        read.check(&net).unwrap();
        for (name, array) in &checkpoint.tensors {
            for (a, b) in array.values.iter().zip(read.values(name).unwrap()) {
                // bf16 keeps 8 bits.
                assert!((a - b).abs() <= a.abs() / 256.0, "{name}: {a} {b}");
            }
        }
    }

    #[test]
    fn everything_that_does_not_fit_is_said_at_once() {
        let net = network();
        let mut checkpoint = random(&net, 1);
        checkpoint.tensors.remove("layer2.0.bn1.running_var");
        checkpoint.tensors.insert("classifier.weight".into(), Array { shape: vec![1], values: vec![0.0] });
        checkpoint.tensors.get_mut("fc.weight").unwrap().shape = vec![5, 8, 8];
        let error = checkpoint.check(&net).unwrap_err().to_string();
        for word in [
            "resnet8",
            "missing: layer2.0.bn1.running_var",
            "unexpected: classifier.weight",
            "fc.weight is [5, 8, 8], not [5, 64]",
        ] {
            assert!(error.contains(word), "{error}");
        }
        let mut checkpoint = random(&net, 1);
        checkpoint.tensors.get_mut("conv1.weight").unwrap().values[3] = f32::NAN;
        let error = checkpoint.check(&net).unwrap_err().to_string();
        assert!(error.contains("conv1.weight") && error.contains("element 3"), "{error}");
        // A bias before a batch normalisation is allowed.
        let mut checkpoint = random(&net, 1);
        checkpoint.tensors.insert("conv1.bias".into(), Array { shape: vec![16], values: vec![0.5; 16] });
        checkpoint.check(&net).unwrap();
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights.safetensors");
        let whole = bytes(&random(&network(), 1));
        for cut in [0, 4, 8, 100, whole.len() - 1] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Checkpoint::read(&path).unwrap_err().to_string();
            assert!(error.contains("weights.safetensors"), "{error}");
        }
        assert!(Checkpoint::read(&dir.path().join("none")).unwrap_err().to_string().contains("none"));
    }
}
