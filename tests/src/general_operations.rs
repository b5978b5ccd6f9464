//! One model of pictures that holds every general operation, in all its modes, and every activation.

use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Conv, Coordinates,
    GeneralConv, GeneralPool, Inputs, Join, Linear, Nearest, Normalise, NormaliseOver, Op, Outputs, Pad,
    PadMode, Reduce, Reduction, Reshape, Resize, ResizeMode, Shape, Shuffle, Slice, Softmax, Transpose,
    Weights, Window,
};

use crate::random_model::{random_map, random_model};

/// Operations one after another, with the shapes of their values.
struct Program {
    ops: Vec<Op<String>>,
    shapes: Vec<Shape>,
}

impl Program {
    /// Adds `op`; its value.
    fn push(&mut self, op: Op<String>) -> u16 {
        let input = self.shapes[usize::from(op.inputs().first())];
        let output = op.output_shape(input).unwrap_or_else(|| panic!("{op:?} over {input}"));
        self.ops.push(op);
        self.shapes.push(output);
        self.ops.len() as u16
    }

    fn shape(&self, value: u16) -> Shape {
        self.shapes[usize::from(value)]
    }

    fn conv(
        &mut self,
        name: &str,
        input: u16,
        weights: Weights,
        residual: Option<u16>,
        activation: Activation,
    ) -> u16 {
        let (name, window) = (name.to_owned(), Window::square(3, 1, 1));
        self.push(Op::Conv(Conv { name, input, out_channels: 8, window, weights, residual, activation }))
    }

    fn activate(&mut self, input: u16, activation: Activation) -> u16 {
        self.push(Op::Activate(Activate { input, activation, slope: None }))
    }

    /// `output` has the larger size of the two along each axis.
    fn binary(&mut self, kind: BinaryKind, inputs: [u16; 2], activation: Activation) -> u16 {
        let [a, b] = inputs.map(|value| self.shape(value).axes());
        let output = Shape::of(std::array::from_fn(|axis| a[axis].max(b[axis])));
        self.push(Op::Binary(Binary { kind, inputs, output, activation }))
    }

    fn join(&mut self, axis: Axis, inputs: &[u16]) -> u16 {
        let size = inputs.iter().map(|value| self.shape(*value).size(axis)).sum();
        self.push(Op::Join(Join { inputs: Inputs::new(inputs).unwrap(), axis, size }))
    }

    fn resize(&mut self, input: u16, size: [u32; 2], mode: ResizeMode, coordinates: Coordinates) -> u16 {
        let of = self.shape(input);
        let scales = [size[0] as f32 / of.height as f32, size[1] as f32 / of.width as f32];
        self.push(Op::Resize(Resize { input, size, mode, coordinates, scales }))
    }

    fn normalise(&mut self, name: &str, input: u16, over: NormaliseOver) -> u16 {
        self.push(Op::Normalise(Normalise { name: name.to_owned(), input, epsilon: 1e-3, over }))
    }

    fn vector(&mut self, input: u16) -> u16 {
        let output = Shape::vector(self.shape(input).len() as u32);
        self.push(Op::Reshape(Reshape { input, output }))
    }
}

/// A version 2 model of pictures of five channels. With `many` one operation reads seven values, for which firmware needs more stack.
pub fn general_operations(many: bool) -> Vec<u8> {
    let (program, _) = operations(many);
    random_model(INPUT, 5, &program.ops, 1).unwrap()
}

/// The same of values as they are, with four outputs: the logits, and three maps from its beginning, one of which is a summand.
pub fn several_outputs() -> Vec<u8> {
    let (mut program, outputs) = operations(false);
    let count = outputs.iter().map(|&value| program.shape(value).len() as u32).sum();
    program.push(Op::Outputs(Outputs { inputs: Inputs::new(&outputs).unwrap(), count }));
    random_map(INPUT, Shape::vector(count), &program.ops, 1).unwrap()
}

const INPUT: Shape = Shape::new(5, 12, 10);

/// The operations, and values that may be outputs: the last, and three before.
fn operations(many: bool) -> (Program, [u16; 4]) {
    let mut program = Program { ops: Vec::new(), shapes: vec![INPUT] };
    let p = &mut program;
    let stem = p.conv("stem", 0, Weights::Dense, None, Activation::HardSwish);
    let pair = p.conv("pair", stem, Weights::Pair { rank: 3 }, Some(stem), Activation::Silu);
    let deep = p.conv("deep", pair, Weights::Depthwise, None, Activation::Gelu);
    let sum = p.push(Op::Add { inputs: [pair, deep], activation: Activation::LeakyRelu { slope: 0.1 } });
    let (wide, narrow) = convolutions(p, sum);
    let map = arithmetic(p, wide);
    let joined = pooled(p, map, narrow);
    let small = moved(p, joined);
    let resized = resized(p, small);
    let probabilities = p.push(Op::Softmax(Softmax { input: resized, log: false }));
    let logarithms = p.push(Op::Softmax(Softmax { input: resized, log: true }));
    let tall = p.join(Axis::Height, &[resized, probabilities, logarithms]);
    let reduce = |input, kind, axes| Op::Reduce(Reduce { input, kind, axes });
    let largest = p.push(reduce(tall, Reduction::Max, [false, false, true]));
    let sums = p.push(reduce(tall, Reduction::Sum, [false, true, false]));
    // Each by itself, or the larger would drown the other.
    let [largest, sums] = [("largest", largest), ("sums", sums)].map(|(name, value)| {
        let vector = p.vector(value);
        p.normalise(name, vector, NormaliseOver::All)
    });
    // What is behind many normalisations would hardly show what the first operations do.
    let mut parts = vec![largest, sums, p.vector(small), p.vector(narrow)];
    if many {
        parts.extend([sums, p.vector(wide), largest]);
    }
    let vector = p.join(Axis::Channel, &parts);
    let linear = |name: &str, input, out_features, activation| {
        Op::Linear(Linear { name: name.to_owned(), input, out_features, weights: Weights::Dense, activation })
    };
    let hidden = p.push(linear("hidden", vector, 12, Activation::Tanh));
    let again = p.push(linear("again", hidden, 12, Activation::None));
    let clipped = p.activate(again, Activation::Relu6);
    let positive = p.activate(clipped, Activation::Relu);
    let logits = p.push(linear("fc", positive, 5, Activation::None));
    (program, [logits, small, narrow, sum])
}

/// Dilated, in groups, a pair, transposed; and squeeze and excite. One result has the planes of `input`, the other one less channels.
fn convolutions(p: &mut Program, input: u16) -> (u16, u16) {
    let general = |name: &str, input, out_channels, window, activation| GeneralConv {
        name: name.to_owned(),
        input,
        out_channels,
        window,
        dilation: [1, 1],
        groups: 1,
        transposed: None,
        weights: Weights::Dense,
        residual: None,
        activation,
    };
    let (three, one) = (Window::square(3, 1, 1), Window::square(1, 1, 0));
    // More padding than the kernel has.
    let far = Window { kernel: [3, 2], stride: [1, 1], padding: [2, 3, 2, 0] };
    let dilated = GeneralConv { dilation: [2, 3], ..general("dilated", input, 8, far, Activation::Silu) };
    let dilated = p.push(Op::GeneralConv(dilated));
    let grouped = general("grouped", input, 8, three, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 });
    let grouped = p.push(Op::GeneralConv(GeneralConv { groups: 4, residual: Some(dilated), ..grouped }));
    let half = Window { stride: [2, 1], ..three };
    let pair = general("general pair", dilated, 6, half, Activation::Tanh);
    let pair = p.push(Op::GeneralConv(GeneralConv { weights: Weights::Pair { rank: 3 }, ..pair }));
    let up = general("up", pair, 6, half, Activation::Elu { alpha: 1.5 });
    let up = p.push(Op::GeneralConv(GeneralConv { groups: 2, transposed: Some([1, 0]), ..up }));
    let axes = [false, true, true];
    let squeezed = p.push(Op::Reduce(Reduce { input: dilated, kind: Reduction::Mean, axes }));
    let excite = general("excite", squeezed, 8, one, Activation::Sigmoid);
    let excite = p.push(Op::GeneralConv(excite));
    let product = p.binary(BinaryKind::Mul, [dilated, excite], Activation::None);
    (p.binary(BinaryKind::Add, [product, grouped], Activation::GeluTanh), up)
}

/// Divided by what is above 0, less itself, normalised, with slopes.
fn arithmetic(p: &mut Program, input: u16) -> u16 {
    let positive = p.activate(input, Activation::Softplus);
    let power = p.activate(positive, Activation::Exp);
    let quotient = p.binary(BinaryKind::Div, [input, power], Activation::None);
    let difference = p.binary(BinaryKind::Sub, [quotient, input], Activation::None);
    let groups = p.normalise("groups", difference, NormaliseOver::Groups(2));
    p.push(Op::Activate(Activate {
        input: groups,
        activation: Activation::None,
        slope: Some("slopes".to_owned()),
    }))
}

/// Pooled both ways, made larger again and joined with `other`.
fn pooled(p: &mut Program, input: u16, other: u16) -> u16 {
    let pool = |kind, window, dilation, counted| {
        Op::GeneralPool(GeneralPool { input, kind, window, dilation, counted })
    };
    let window = Window { kernel: [3, 3], stride: [2, 1], padding: [1; 4] };
    let mean = p.push(pool(Reduction::Mean, window, [1, 1], [1, 0, 1, 1]));
    let window = Window { kernel: [2, 2], stride: [2, 1], padding: [2, 3, 0, 0] };
    let largest = p.push(pool(Reduction::Max, window, [2, 3], [0; 4]));
    let sum = p.binary(BinaryKind::Add, [mean, largest], Activation::None);
    let large = p.resize(sum, [12, 10], ResizeMode::Linear, Coordinates::HalfPixel);
    let joined = p.join(Axis::Channel, &[other, large]);
    let shuffled = p.push(Op::Shuffle(Shuffle { input: joined, groups: 7 }));
    let activation = Activation::Clip { min: -1.5, max: 2.25 };
    p.push(Op::Affine(Affine { name: "affine".to_owned(), input: shuffled, activation }))
}

/// Cut, padded in all ways, and moved about; normalised in the other ways.
fn moved(p: &mut Program, input: u16) -> u16 {
    let output = Shape::new(6, 6, 4);
    let slice = p.push(Op::Slice(Slice { input, start: [1, 0, 0], step: [2, 2, 3], output }));
    let pad = |input, before, after, mode| Op::Pad(Pad { input, before, after, mode });
    let mirrored = p.push(pad(slice, [0, 2, 1], [1, 0, 3], PadMode::Reflect));
    let blocks =
        p.push(Op::SpaceToDepth(Blocks { input: mirrored, block: 2, order: BlockOrder::ChannelFirst }));
    let pixels = p.push(Op::DepthToSpace(Blocks { input: blocks, block: 2, order: BlockOrder::BlockFirst }));
    let blocks = p.push(Op::SpaceToDepth(Blocks { input: pixels, block: 2, order: BlockOrder::BlockFirst }));
    let pixels =
        p.push(Op::DepthToSpace(Blocks { input: blocks, block: 2, order: BlockOrder::ChannelFirst }));
    let axes = [Axis::Width, Axis::Channel, Axis::Height];
    let turned = p.push(Op::Transpose(Transpose { input: pixels, axes }));
    let planes = p.normalise("planes", turned, NormaliseOver::Plane);
    let channels = p.normalise("channels", planes, NormaliseOver::Channels);
    let edge = p.push(pad(channels, [1, 0, 1], [0, 1, 0], PadMode::Edge));
    p.push(pad(edge, [0, 0, 1], [1, 1, 0], PadMode::Constant(0.3)))
}

/// Larger and smaller, by all roundings and coordinates; the square root of what is above 0.
fn resized(p: &mut Program, input: u16) -> u16 {
    let positive = p.activate(input, Activation::Sigmoid);
    let root = p.activate(positive, Activation::Sqrt);
    let linear = p.resize(root, [7, 5], ResizeMode::Linear, Coordinates::AlignCorners);
    let down = ResizeMode::Nearest(Nearest::RoundDown);
    let down = p.resize(linear, [5, 7], down, Coordinates::PytorchHalfPixel);
    let floor = p.resize(down, [8, 9], ResizeMode::Nearest(Nearest::Floor), Coordinates::Asymmetric);
    let up = p.resize(floor, [6, 7], ResizeMode::Nearest(Nearest::RoundUp), Coordinates::HalfPixel);
    let ceil = p.resize(up, [4, 5], ResizeMode::Nearest(Nearest::Ceil), Coordinates::HalfPixel);
    p.normalise("spread", ceil, NormaliseOver::Plane)
}
