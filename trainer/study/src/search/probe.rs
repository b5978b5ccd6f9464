//! Models that exist to be measured: many layers at many ranks in one file, with random weights.
//!
//! Layers of one shape read one value, made from the image by a small convolution, and their results are averaged,
//! added and weighed into the one logit, so that none is left out and the self-check sees them all.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use lrpet_data::{Dataset, Normalization};
use lrpet_network::export::file::{SelfCheck, serialize};
use lrpet_network::export::{Folded, LayerWeights, checked, runtime_logits};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{
    Activation, Conv, InputKind, Linear, Op, OutputKind, Shape, Value, Weights, Window,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::LayerShape;
use crate::boards::Measured;

/// Layers of one model, at most: a board decodes the program again for each, which takes time with their square.
const MOST_LAYERS: usize = 96;

/// A layer at a rank.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// The layer.
    pub shape: LayerShape,
    /// Its rank; 0 is dense.
    pub rank: u64,
}

impl Point {
    fn bytes(&self) -> u64 {
        self.shape.matrix().cost(self.rank).weight_bytes
    }
}

/// Parts `points` into models whose weights take at most `capacity` bytes (a single layer may take more). Layers of a
/// model have inputs of one height and width.
pub fn part(points: &[Point], capacity: u64) -> Vec<Vec<Point>> {
    let mut sizes: BTreeMap<[u32; 2], Vec<&Point>> = BTreeMap::new();
    for point in points {
        let Shape { height, width, .. } = point.shape.input();
        sizes.entry([height, width]).or_default().push(point);
    }
    let mut models = Vec::new();
    for mut points in sizes.into_values() {
        // Layers of one shape share their input.
        points.sort_by_key(|point| (point.shape.to_string(), point.rank));
        let (mut model, mut bytes) = (Vec::new(), 0);
        for point in points {
            if !model.is_empty() && (bytes + point.bytes() > capacity || model.len() == MOST_LAYERS) {
                models.push(std::mem::take(&mut model));
                bytes = 0;
            }
            bytes += point.bytes();
            model.push(point.clone());
        }
        models.push(model);
    }
    models
}

/// Name of the layer of point `index`.
fn name(index: usize) -> String {
    format!("probe{index}")
}

/// The counts of `points` in the report of their model.
///
/// # Errors
/// Where one is missing.
pub fn counts(points: &[Point], measured: &Measured) -> Result<Vec<u64>> {
    let ticks: HashMap<&str, u64> =
        measured.layers.iter().map(|layer| (layer.name.as_str(), layer.ticks)).collect();
    let count = |index| {
        let found = ticks.get(name(index).as_str()).copied();
        found.with_context(|| format!("{} reported no layer {}", measured.board, name(index)))
    };
    (0..points.len()).map(count).collect()
}

/// The model file of `points`, whose inputs are of one height and width.
///
/// # Errors
/// Where the layers exceed what a model may have.
pub fn model(points: &[Point]) -> Result<Vec<u8>> {
    let first = points.first().context("no layer to measure")?;
    let Shape { height, width, .. } = first.shape.input();
    let image = Shape::new(1, height, width);
    let mut builder = Builder { ops: Vec::new(), shapes: vec![image], total: None };
    for (start, same) in runs(points) {
        builder.add(start, same)?;
    }
    let Builder { ops, shapes, .. } = builder;
    let mut rng = ChaCha8Rng::seed_from_u64(points.len() as u64);
    let mut weights = BTreeMap::new();
    for op in &ops {
        let input = shapes[usize::from(op.inputs().first())];
        weights.extend(random(op, input, &mut rng).map(|layer| (op.name().to_owned(), layer)));
    }
    let normalization = Normalization { mean: vec![0.5], std: vec![0.25] };
    let folded = Folded {
        input: image,
        input_kind: InputKind::Picture,
        output_kind: OutputKind::Classes,
        classes: 1,
        normalization,
        ops,
        weights,
    };
    let card = BTreeMap::from([("network".to_owned(), "layers to be measured".to_owned())]);

    let bytes = AlignedBytes::copy_of(&serialize(&folded, &card, None)?);
    let model = checked(bytes.as_slice(), "the model of layers to be measured")?;
    let mut images = vec![0; image.len()];
    rng.fill(&mut images[..]);
    let data = Dataset { images, labels: vec![0], shape: image, classes: vec!["any".to_owned()] };
    let logits = runtime_logits(&model, &data, |_| ())?.values;
    ensure!(logits.iter().all(|logit| logit.is_finite()), "random weights leave the range of f16");
    Ok(serialize(&folded, &card, Some(&SelfCheck { images: data.images, logits, ..SelfCheck::default() }))?)
}

/// Points of one shape that follow one another, with the index of the first.
fn runs(points: &[Point]) -> impl Iterator<Item = (usize, &[Point])> {
    let mut start = 0;
    points.chunk_by(|a, b| a.shape == b.shape).map(move |same| {
        start += same.len();
        (start - same.len(), same)
    })
}

struct Builder {
    ops: Vec<Op<String>>,
    /// Of all values, the image first.
    shapes: Vec<Shape>,
    /// The logit so far.
    total: Option<Value>,
}

impl Builder {
    /// Adds an operation; its value.
    fn push(&mut self, op: Op<String>) -> Result<Value> {
        let input = self.shapes[usize::from(op.inputs().first())];
        let output =
            op.output_shape(input).with_context(|| format!("{} does not take {input}", op.name()))?;
        self.ops.push(op);
        self.shapes.push(output);
        Value::try_from(self.ops.len()).context("more operations than a model may have")
    }

    /// A value of `channels` channels made from the image by a convolution of one channel through `window`.
    fn source(&mut self, name: String, channels: u32, window: Window) -> Result<Value> {
        self.push(Op::Conv(Conv {
            name,
            input: 0,
            out_channels: channels,
            window,
            weights: Weights::Dense,
            residual: None,
            activation: Activation::None,
        }))
    }

    /// The layers of points of one shape, from index `start` on.
    fn add(&mut self, start: usize, points: &[Point]) -> Result<()> {
        let Some(Point { shape, .. }) = points.first() else { return Ok(()) };
        let channels = shape.input().channels;
        let input = self.source(format!("input{start}"), channels, Window::square(1, 1, 0))?;
        let residual = match shape.layer(String::new(), 0, input, None) {
            Op::Conv(conv) if shape.residual() => {
                Some(self.source(format!("residual{start}"), conv.out_channels, conv.window)?)
            }
            _ => None,
        };
        let mut sum = None;
        for (offset, point) in points.iter().enumerate() {
            let result = self.push(point.shape.layer(name(start + offset), point.rank, input, residual))?;
            let mean = self.push(Op::GlobalAveragePool { input: result })?;
            sum = Some(self.join(sum, mean)?);
        }
        if let Some(input) = sum {
            let activation = Activation::None;
            let logit = self.push(Op::Linear(Linear {
                name: format!("logit{start}"),
                input,
                out_features: 1,
                weights: Weights::Dense,
                activation,
            }))?;
            self.total = Some(self.join(self.total, logit)?);
        }
        Ok(())
    }

    fn join(&mut self, sum: Option<Value>, value: Value) -> Result<Value> {
        match sum {
            None => Ok(value),
            Some(sum) => self.push(Op::Add { inputs: [sum, value], activation: Activation::None }),
        }
    }
}

/// Weights that keep results near 1; those of a logit keep it below 1, so that its rounding is far from the tolerance.
fn random(op: &Op<String>, input: Shape, rng: &mut ChaCha8Rng) -> Option<LayerWeights> {
    let (n, weights, taps) = match op {
        Op::Conv(conv) => (conv.out_channels, conv.weights, conv.window.taps()),
        Op::Linear(linear) => (linear.out_features, linear.weights, 1),
        _ => return None,
    };
    let (n, columns) = (n as usize, input.channels as usize * taps as usize);
    let mut values = |count: usize, fan_in: usize, scale: f32| -> Vec<f32> {
        let bound = scale * (3.0 / fan_in as f32).sqrt();
        (0..count).map(|_| rng.random_range(-bound..bound)).collect()
    };
    // A logit weighs sums of up to MOST_LAYERS averages.
    let scale = if n == 1 && input.pixels() == 1 { 0.25 / MOST_LAYERS as f32 } else { 1.0 };
    let bias = vec![0.0; n];
    Some(match weights {
        Weights::Pair { rank } => {
            let rank = rank as usize;
            let (weight, expand) = (values(rank * columns, columns, 1.0), values(n * rank, rank, 1.0));
            LayerWeights::new(weight, Some(expand), bias)
        }
        _ => LayerWeights::new(values(n * columns, columns, scale), None, bias),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::{Bench, HostBench};
    use lrpet_network::network::Network;

    fn points(network: &str, ranks: impl Fn(&LayerShape) -> Vec<u64>) -> Vec<Point> {
        let network = Network::by_name(network, Shape::new(3, 32, 32), 10).unwrap();
        let shapes = LayerShape::all(&network).into_iter().map(|(_, shape)| shape);
        shapes
            .flat_map(|shape| ranks(&shape).into_iter().map(move |rank| Point { shape: shape.clone(), rank }))
            .collect()
    }

    #[test]
    fn every_layer_of_a_network_is_measured_at_its_rank() {
        let points = points("resnet8", |shape| vec![0, *shape.paying().end()]);
        let models = part(&points, 200 << 10);
        assert_eq!(models.iter().map(Vec::len).sum::<usize>(), points.len());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probe.safetensors");
        let mut bench = HostBench::default();
        bench.iterations = 2;
        for points in &models {
            std::fs::write(&file, model(points).unwrap()).unwrap();
            let counts = counts(points, &bench.measure(&file).unwrap()).unwrap();
            assert_eq!(counts.len(), points.len());
            assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
            let map = lrpet_runtime::host::MappedModel::open(&file).unwrap();
            let model = checked(map.bytes(), "probe").unwrap();
            for (index, point) in points.iter().enumerate() {
                let layer = model.program().layers().find(|layer| layer.op.name() == name(index)).unwrap();
                assert_eq!((layer.input, layer.output), (point.shape.input(), point.shape.output()));
                let cost = lrpet_runtime::model::cost::stored(&layer.op, layer.input);
                assert_eq!(cost, point.shape.matrix().cost(point.rank));
            }
        }
    }

    #[test]
    fn models_hold_their_capacity() {
        let points = points("resnet20", |shape| shape.paying().collect());
        for capacity in [64 << 10, 1 << 20] {
            let models = part(&points, capacity);
            assert_eq!(models.iter().map(Vec::len).sum::<usize>(), points.len());
            for model in models {
                let bytes: u64 = model.iter().map(Point::bytes).sum();
                assert!(bytes <= capacity || model.len() == 1, "{bytes} of {capacity}");
                assert!(model.len() <= MOST_LAYERS);
                let size = |point: &Point| (point.shape.input().height, point.shape.input().width);
                assert!(model.iter().all(|point| size(point) == size(&model[0])));
            }
        }
    }

    #[test]
    fn a_report_without_a_layer_is_refused() {
        let points = points("resnet8", |_| vec![0]);
        let error = counts(&points, &Measured { board: "some board".into(), ..Measured::default() });
        let error = error.unwrap_err().to_string();
        assert!(error.contains("some board") && error.contains("probe0"), "{error}");
    }
}
