//! Random models and an f64 reference of every operation.
#![allow(dead_code)]

pub mod eights;
pub mod random;
pub mod reference;
pub mod values;

use std::collections::HashMap;

use half::f16;
use lrpet_runtime::model::program::{
    PROGRAM_TENSOR, SELF_CHECK_IMAGES, SELF_CHECK_LOGITS, SELF_CHECK_VALUES,
};
use lrpet_runtime::model::{
    Activation, Concat, Conv, Header, InputKind, Inputs, Linear, Needs, Op, OutputKind, PadShortcut, Pool,
    Shape, Value, Weights, Window,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Bytes that begin at a multiple of 16.
pub struct Aligned {
    words: Vec<u128>,
    length: usize,
}

impl Aligned {
    pub fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }

    pub fn zeroed(length: usize) -> Self {
        Self { words: vec![0; length.div_ceil(16)], length }
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.length]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.length]
    }
}

/// A network in the making, with random weights.
pub struct Network {
    pub header: Header,
    pub ops: Vec<Op<String>>,
    /// Shapes of the values, the input first.
    pub shapes: Vec<Shape>,
    pub weights: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    rng: ChaCha8Rng,
}

impl Network {
    pub fn new(input: Shape, classes: u32, seed: u64) -> Self {
        let header = Header {
            version: 1,
            input,
            kind: InputKind::Picture,
            mean: [0.5, 0.4, 0.3, 0.2],
            std: [0.25, 0.3, 0.35, 0.4],
            classes,
            output: Shape::vector(classes),
            result: OutputKind::Classes,
            needs: Needs::NONE,
            ops: 0,
        };
        let rng = ChaCha8Rng::seed_from_u64(seed);
        Self { header, ops: Vec::new(), shapes: vec![input], weights: HashMap::new(), rng }
    }

    /// Adds an operation and its weights; returns its value.
    pub fn push(&mut self, op: Op<String>) -> Value {
        let input = self.shapes[usize::from(op.inputs().first())];
        self.shapes.push(op.output_shape(input).expect("the operation fits its input"));
        let (name, weights, n, kernel) = match &op {
            Op::Conv(conv) => {
                let kernel = conv.window.kernel.map(usize::from).to_vec();
                (conv.name.clone(), conv.weights, conv.out_channels as usize, kernel)
            }
            Op::Linear(linear) => (linear.name.clone(), linear.weights, linear.out_features as usize, vec![]),
            Op::GeneralConv(conv) => {
                let kernel = conv.window.kernel.map(usize::from).to_vec();
                (conv.name.clone(), conv.weights, conv.out_channels as usize, kernel)
            }
            other if other.layer().is_some() => {
                let c = input.channels as usize;
                let name = other.name().to_owned();
                let suffixes =
                    if matches!(other, Op::Activate(_)) { &[".slope"][..] } else { &[".scale", ".bias"] };
                for suffix in suffixes {
                    let data =
                        (0..c).flat_map(|_| self.rng.random_range(-1.5f32..1.5).to_le_bytes()).collect();
                    self.weights.insert(format!("{name}{suffix}"), (Dtype::F32, vec![c], data));
                }
                self.ops.push(op);
                return self.ops.len() as Value;
            }
            _ => {
                self.ops.push(op);
                return self.ops.len() as Value;
            }
        };
        let c = match &op {
            Op::Linear(_) => input.len(),
            Op::GeneralConv(conv) => (input.channels / conv.groups) as usize,
            _ => input.channels as usize,
        };
        let ones = vec![1; kernel.len()];
        match weights {
            Weights::Dense => self.weight(&name, ".weight", &[&[n, c], &kernel[..]].concat()),
            Weights::Depthwise => self.weight(&name, ".weight", &[&[n, 1], &kernel[..]].concat()),
            Weights::Pair { rank } => {
                let r = rank as usize;
                self.weight(&name, ".thin.weight", &[&[r, c], &kernel[..]].concat());
                self.weight(&name, ".expand.weight", &[&[n, r], &ones[..]].concat());
            }
        }
        let suffix = if matches!(weights, Weights::Pair { .. }) { ".expand.bias" } else { ".bias" };
        let bias: Vec<u8> = (0..n).flat_map(|_| self.rng.random_range(-0.5f32..0.5).to_le_bytes()).collect();
        self.weights.insert(format!("{name}{suffix}"), (Dtype::F32, vec![n], bias));
        self.ops.push(op);
        self.ops.len() as Value
    }

    fn weight(&mut self, name: &str, suffix: &str, shape: &[usize]) {
        let fan_in: usize = shape[1..].iter().product();
        let scale = (3.0 / fan_in as f32).sqrt();
        let count = shape.iter().product();
        let data = (0..count).flat_map(|_| f16::from_f32(self.rng.random_range(-scale..scale)).to_le_bytes());
        let data = data.collect();
        self.weights.insert(format!("{name}{suffix}"), (Dtype::F16, shape.to_vec(), data));
    }

    pub fn program(&self) -> Vec<u8> {
        let of = self.header.of_ops(&self.ops).expect("a few operations");
        // As it was given, but for what operations need.
        let version = if of.needs.is_none() { 1 } else { of.version };
        let header = Header { version: self.header.version.max(version), ..of };
        let mut bytes = vec![0; 1 << 20];
        let mut at = postcard::to_slice(&header, &mut bytes).unwrap().len();
        for op in &self.ops {
            at += postcard::to_slice(op, &mut bytes[at..]).unwrap().len();
        }
        bytes.truncate(at);
        bytes
    }

    /// The model file, with a self-check of `samples` random images whose logits are the reference's.
    pub fn file(&mut self, samples: usize) -> Aligned {
        let mut tensors = self.weights.clone();
        let program = self.program();
        tensors.insert(PROGRAM_TENSOR.into(), (Dtype::U8, vec![program.len()], program));
        if samples > 0 {
            let Shape { channels, height, width } = self.header.input;
            let [channels, height, width] = [channels, height, width].map(|size| size as usize);
            let one = self.header.input.len();
            let images: Vec<u8> = (0..samples * one).map(|_| self.rng.random()).collect();
            // Of values the bytes are their halves.
            let values: Vec<f64> = images.iter().map(|byte| f64::from(*byte) / 64.0 - 2.0).collect();
            let taken = self.header.kind == InputKind::Values;
            let run = |sample: usize| match taken {
                true => reference::run(self, &values[sample * one..][..one]),
                false => {
                    reference::run(self, &reference::normalise(&self.header, &images[sample * one..][..one]))
                }
            };
            let logits: Vec<u8> =
                (0..samples).flat_map(run).flat_map(|logit| (logit as f32).to_le_bytes()).collect();
            let (name, tensor) = if taken {
                let data = values.iter().flat_map(|value| f16::from_f64(*value).to_le_bytes()).collect();
                (SELF_CHECK_VALUES, (Dtype::F16, vec![samples, channels, height, width], data))
            } else {
                (SELF_CHECK_IMAGES, (Dtype::U8, vec![samples, height, width, channels], images))
            };
            tensors.insert(name.into(), tensor);
            let shape = vec![samples, self.header.classes as usize];
            tensors.insert(SELF_CHECK_LOGITS.into(), (Dtype::F32, shape, logits));
        }
        let views = tensors.iter().map(|(name, (dtype, shape, data))| {
            (name.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        let card = HashMap::from([
            ("format".to_string(), self.header.version.to_string()),
            ("classes".to_string(), "a \"quoted\" one,b\\c,\u{e9}\u{1f600}\n".to_string()),
        ]);
        Aligned::new(&safetensors::serialize(views, Some(card)).unwrap())
    }
}

pub fn conv(
    name: &str,
    input: Value,
    n: u32,
    window: Window,
    weights: Weights,
    residual: Option<Value>,
) -> Op<String> {
    let activation = Activation::Relu;
    Op::Conv(Conv { name: name.into(), input, out_channels: n, window, weights, residual, activation })
}

pub fn linear(name: &str, input: Value, n: u32, weights: Weights) -> Op<String> {
    Op::Linear(Linear { name: name.into(), input, out_features: n, weights, activation: Activation::None })
}

/// Joins `values`.
pub fn concat(net: &Network, values: &[Value]) -> Op<String> {
    let out_channels = values.iter().map(|&value| net.shapes[usize::from(value)].channels).sum();
    Op::Concat(Concat { inputs: Inputs::new(values).expect("1 to 4 values"), out_channels })
}

/// ResNet of the CIFAR kind with 1×1 projections (option B) or padded shortcuts (option A); with `prune` every layer
/// that pays is a pair of rank floor(m − m·prune).
pub fn resnet(input: Shape, blocks: u32, pad: bool, prune: Option<f64>, seed: u64) -> Network {
    let mut net = Network::new(input, 10, seed);
    let form = |c: u32, n: u32, k: u32| {
        let (n, columns) = (f64::from(n), f64::from(c * k * k));
        let m = n.min(columns);
        match prune.map(|g| (m - m * g).floor().max(1.0)) {
            Some(rank) if rank * (n + columns) < n * columns => Weights::Pair { rank: rank as u32 },
            _ => Weights::Dense,
        }
    };
    let three = Window::square(3, 1, 1);
    let mut x = net.push(conv("conv1", 0, 16, three, form(input.channels, 16, 3), None));
    let mut c = 16;
    for (stage, n) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{}.{block}.{part}", stage + 1);
            let shortcut = if (stride, c) == (1, n) {
                x
            } else if pad {
                net.push(Op::PadShortcut(PadShortcut { input: x, out_channels: n, stride }))
            } else {
                let window = Window::square(1, stride, 0);
                net.push(conv(&name("downsample.0"), x, n, window, form(c, n, 1), None))
            };
            let window = Window::square(3, stride, 1);
            let middle = net.push(conv(&name("conv1"), x, n, window, form(c, n, 3), None));
            x = net.push(conv(&name("conv2"), middle, n, three, form(n, n, 3), Some(shortcut)));
            c = n;
        }
    }
    let pooled = net.push(Op::GlobalAveragePool { input: x });
    net.push(linear("fc", pooled, 10, form(64, 10, 1)));
    net
}

/// A small network with every kind of operation.
pub fn every_op(seed: u64) -> Network {
    use lrpet_runtime::model::PoolKind::{Average, Max};
    let mut net = Network::new(Shape::new(3, 13, 11), 5, seed);
    let stem = Window { kernel: [3, 2], stride: [1, 1], padding: [1, 0, 0, 1] };
    let a = net.push(conv("stem", 0, 6, stem, Weights::Dense, None));
    let b = net.push(conv("depth", a, 6, Window::square(3, 1, 1), Weights::Depthwise, None));
    let c = net.push(conv(
        "pair",
        b,
        6,
        Window { padding: [0, 1, 1, 0], ..Window::square(2, 1, 0) },
        Weights::Pair { rank: 2 },
        None,
    ));
    let d = net.push(Op::Pool(Pool { input: c, kind: Max, window: Window::square(3, 2, 1) }));
    let e = net.push(Op::Pool(Pool { input: c, kind: Average, window: Window::square(2, 2, 0) }));
    let f = net.push(Op::PadShortcut(PadShortcut { input: a, out_channels: 9, stride: 2 }));
    let _ = e;
    let g = net.push(conv("wide", d, 9, Window::square(1, 1, 0), Weights::Pair { rank: 3 }, Some(f)));
    // The first summand dies, the second, both, or they are one value.
    let sum = |inputs, activation| Op::Add { inputs, activation };
    let p = net.push(sum([g, f], Activation::None));
    let s = {
        let op = concat(&net, &[d, p, f, d]);
        net.push(op)
    };
    let t = net.push(conv("joined", s, 9, Window::square(1, 1, 0), Weights::Dense, Some(p)));
    let q = net.push(sum([f, t], Activation::Relu6));
    let r = net.push(sum([q, f], Activation::Relu));
    let h = net.push(sum([r, r], Activation::None));
    let i = net.push(Op::GlobalAveragePool { input: h });
    let j = net.push(Op::GlobalAveragePool { input: e });
    let k = net.push(linear("hidden", i, 6, Weights::Pair { rank: 2 }));
    let l = net.push(Op::Add { inputs: [k, j], activation: Activation::None });
    net.push(linear("fc", l, 5, Weights::Dense));
    net
}

/// Where the data of the tensor called `name` lie in a model file.
pub fn find(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let (header, metadata) = safetensors::SafeTensors::read_metadata(file).unwrap();
    let (begin, end) = metadata.info(name).unwrap().data_offsets;
    8 + header + begin..8 + header + end
}
