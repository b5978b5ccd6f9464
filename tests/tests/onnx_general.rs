//! General operations, activations, and values in and out, written as ONNX and run by ONNX Runtime.

use folder::{Folder, IMAGE, TOLERANCE};
use lrpet_network::export::{Card, Precision, Request, export};
use lrpet_network::import::{self, import};
use lrpet_network::lrpet::{RankPlan, Scope};
use lrpet_network::network::{InputKind, OutputKind};
use lrpet_network::onnx::{Batch, Input, OnnxError, Options, convert};
use lrpet_network::{Checkpoint, Layer, Network, Normalization};
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{
    Activate, Activation, Affine, Axis, Binary, BinaryKind, BlockOrder, Blocks, Conv, Coordinates,
    GeneralConv, GeneralPool, Inputs, Join, Linear, Model, Nearest, Normalise, NormaliseOver, Op, Outputs,
    Pad, PadMode, Reduce, Reduction, Reshape, Resize, ResizeMode, Shape, Shuffle, Slice, Softmax, Transpose,
    Weights, Window,
};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_tests::programs;

#[path = "support/onnx.rs"]
mod folder;

const INPUT: Shape = Shape::new(8, 7, 6);
const VALUES: Options = Options { input: Input::Values, ..IMAGE };

/// A network from values to values.
fn of_values(ops: Vec<Op<String>>) -> Network {
    let network = Network::new("case", INPUT, 1, ops.into_iter().map(Layer::new).collect());
    let classes = network.value_shapes().unwrap().last().unwrap().len() as u32;
    Network { input_kind: InputKind::Values, output_kind: OutputKind::Values, classes, ..network }
}

/// The model file of a network with random weights; convolutions are pairs as `g` says.
fn model(network: &Network, g: f64) -> Vec<u8> {
    of_checkpoint(network, &Checkpoint::random(network, 4), g)
}

fn of_checkpoint(network: &Network, checkpoint: &Checkpoint, g: f64) -> Vec<u8> {
    let channels = network.input.channels as usize;
    let normalization = match network.input_kind {
        InputKind::Picture => Normalization { mean: vec![0.5; channels], std: vec![0.25; channels] },
        InputKind::Values => Normalization { mean: vec![0.0], std: vec![1.0] },
    };
    let request = Request {
        network,
        checkpoint,
        plan: &RankPlan::uniform_in(network, g, Scope::Convolutions).unwrap(),
        energy_transfer: false,
        normalization: &normalization,
        card: &Card::default(),
        precision: Precision::Half,
        samples: None,
    };
    export(&request).unwrap().to_bytes().unwrap()
}

fn general(window: Window, dilation: [u16; 2], groups: u32, transposed: Option<[u16; 2]>) -> Op<String> {
    Op::GeneralConv(GeneralConv {
        name: "conv".to_owned(),
        input: 0,
        out_channels: 12,
        window,
        dilation,
        groups,
        transposed,
        weights: Weights::Dense,
        residual: None,
        activation: Activation::None,
    })
}

fn window(kernel: [u16; 2], stride: [u16; 2], padding: [u16; 4]) -> Window {
    Window { kernel, stride, padding }
}

/// Every general operation with each of its liberties, alone or with what it needs before it.
fn cases() -> Vec<(String, Vec<Op<String>>)> {
    let mut cases: Vec<(String, Vec<Op<String>>)> = Vec::new();
    let mut case = |name: &str, ops: Vec<Op<String>>| cases.push((name.to_owned(), ops));
    let wide = window([3, 2], [2, 1], [2, 1, 0, 2]);
    case("dilated", vec![general(wide, [2, 3], 1, None)]);
    case("grouped", vec![general(wide, [1, 1], 4, None)]);
    case("far-padding", vec![general(window([2, 2], [1, 1], [3, 0, 2, 4]), [1, 1], 2, None)]);
    case("transposed", vec![general(window([3, 2], [2, 3], [1, 0, 0, 1]), [1, 1], 1, Some([1, 2]))]);
    case("transposed-groups", vec![general(window([3, 2], [2, 1], [0; 4]), [2, 3], 4, Some([0, 0]))]);
    let last = |ops: &mut Vec<Op<String>>, activation| {
        let (name, groups, dilation) = ("last".to_owned(), 1, [1, 1]);
        let window = Window::square(3, 1, 1);
        ops.push(Op::GeneralConv(GeneralConv {
            name,
            input: 1,
            out_channels: 12,
            window,
            dilation,
            groups,
            transposed: None,
            weights: Weights::Dense,
            residual: Some(1),
            activation,
        }));
    };
    let mut ops = vec![general(Window::square(3, 1, 1), [1, 1], 2, None)];
    last(&mut ops, Activation::Silu);
    case("residual", ops);

    let pool = |kind, window, dilation, counted| {
        Op::GeneralPool(GeneralPool { input: 0, kind, window, dilation, counted })
    };
    let uneven = window([3, 2], [2, 1], [2, 1, 1, 0]);
    case("max", vec![pool(Reduction::Max, uneven, [1, 1], [0; 4])]);
    case("max-dilated", vec![pool(Reduction::Max, uneven, [2, 3], [0; 4])]);
    case("mean", vec![pool(Reduction::Mean, uneven, [1, 1], [0; 4])]);
    case("mean-counted", vec![pool(Reduction::Mean, uneven, [1, 1], uneven.padding)]);
    case("mean-partly", vec![pool(Reduction::Mean, uneven, [1, 1], [1, 0, 1, 0])]);
    case("mean-dilated", vec![pool(Reduction::Mean, uneven, [2, 3], [1, 1, 0, 0])]);
    // Where a window has no pixel there is 0.
    case("mean-far", vec![pool(Reduction::Mean, window([2, 2], [1, 1], [3, 0, 0, 3]), [1, 1], [0; 4])]);

    let kinds = [("max", Reduction::Max), ("mean", Reduction::Mean), ("sum", Reduction::Sum)];
    for (at, (name, kind)) in kinds.into_iter().enumerate() {
        let axes = [[false, true, true], [true, false, false], [true, false, true]][at];
        case(&format!("reduce-{name}"), vec![Op::Reduce(Reduce { input: 0, kind, axes })]);
    }
    let spread = Op::Reduce(Reduce { input: 0, kind: Reduction::Max, axes: [false, true, false] });
    let kinds = [
        ("add", BinaryKind::Add),
        ("sub", BinaryKind::Sub),
        ("mul", BinaryKind::Mul),
        ("div", BinaryKind::Div),
    ];
    for (name, kind) in kinds {
        let binary =
            |inputs| Op::Binary(Binary { kind, inputs, output: INPUT, activation: Activation::Tanh });
        let (exp, input) = (Activation::Exp, 1);
        // A divisor away from 0.
        let above = Op::Activate(Activate { input, activation: exp, slope: None });
        case(name, vec![spread.clone(), above, binary([0, 2])]);
    }
    let affine = |activation| Op::Affine(Affine { name: "affine".to_owned(), input: 0, activation });
    case("affine", vec![affine(Activation::None)]);
    case("affine-active", vec![affine(Activation::LeakyRelu { slope: 0.2 })]);
    let slope = Some("slope".to_owned());
    case("slope", vec![Op::Activate(Activate { input: 0, activation: Activation::None, slope })]);
    for (name, log) in [("softmax", false), ("log-softmax", true)] {
        case(name, vec![Op::Softmax(Softmax { input: 0, log })]);
    }
    let output = Shape::new(4, 2, 5);
    case("slice", vec![Op::Slice(Slice { input: 0, start: [1, 2, 1], step: [2, 3, 1], output })]);
    case("shuffle", vec![Op::Shuffle(Shuffle { input: 0, groups: 4 })]);
    let modes =
        [("constant", PadMode::Constant(0.3)), ("reflect", PadMode::Reflect), ("edge", PadMode::Edge)];
    for (name, mode) in modes {
        let pad = Pad { input: 0, before: [1, 0, 2], after: [0, 3, 1], mode };
        case(&format!("pad-{name}"), vec![Op::Pad(pad)]);
    }
    for (name, order) in [("block", BlockOrder::BlockFirst), ("channel", BlockOrder::ChannelFirst)] {
        let up = Op::DepthToSpace(Blocks { input: 0, block: 2, order });
        let three = Op::Slice(Slice { input: 1, start: [0; 3], step: [1; 3], output: Shape::new(2, 12, 9) });
        let down = Op::SpaceToDepth(Blocks { input: 2, block: 3, order });
        case(&format!("{name}-first"), vec![up, three, down]);
    }
    let overs = [
        ("channels", NormaliseOver::Channels),
        ("plane", NormaliseOver::Plane),
        ("all", NormaliseOver::All),
        ("groups", NormaliseOver::Groups(4)),
    ];
    for (name, over) in overs {
        let normalise = Normalise { name: "norm".to_owned(), input: 0, epsilon: 1e-3, over };
        case(&format!("normalise-{name}"), vec![Op::Normalise(normalise)]);
    }
    // Numbers in another order, and an operation that needs them so.
    let after = || Op::Softmax(Softmax { input: 1, log: false });
    let reshape = Reshape { input: 0, output: Shape::new(3, 8, 14) };
    case("reshape", vec![Op::Reshape(reshape), after()]);
    for (name, axis, size) in
        [("channel", Axis::Channel, 16), ("height", Axis::Height, 14), ("width", Axis::Width, 12)]
    {
        let relu = Op::Activate(Activate { input: 0, activation: Activation::Relu, slope: None });
        let inputs = Inputs::new(&[0, 1]).unwrap();
        case(&format!("join-{name}"), vec![relu, Op::Join(Join { inputs, axis, size })]);
    }
    for (name, axes) in [
        ("transpose", [Axis::Height, Axis::Channel, Axis::Width]),
        ("rotate", [Axis::Width, Axis::Channel, Axis::Height]),
    ] {
        case(name, vec![Op::Transpose(Transpose { input: 0, axes }), after()]);
    }
    case("nothing", vec![Op::Activate(Activate { input: 0, activation: Activation::None, slope: None })]);
    // Vectors between maps.
    case(
        "vector",
        vec![
            Op::Linear(Linear {
                name: "fc".to_owned(),
                input: 0,
                out_features: 24,
                weights: Weights::Dense,
                activation: Activation::Gelu,
            }),
            Op::Activate(Activate { input: 1, activation: Activation::Softplus, slope: None }),
            Op::Reshape(Reshape { input: 2, output: Shape::new(2, 3, 4) }),
        ],
    );
    cases
}

fn resizings() -> Vec<(String, Vec<Op<String>>)> {
    let coordinates = [
        ("half", Coordinates::HalfPixel),
        ("pytorch", Coordinates::PytorchHalfPixel),
        ("corners", Coordinates::AlignCorners),
        ("asymmetric", Coordinates::Asymmetric),
    ];
    let modes = [
        ("linear", ResizeMode::Linear),
        ("down", ResizeMode::Nearest(Nearest::RoundDown)),
        ("up", ResizeMode::Nearest(Nearest::RoundUp)),
        ("floor", ResizeMode::Nearest(Nearest::Floor)),
        ("ceil", ResizeMode::Nearest(Nearest::Ceil)),
    ];
    let ratio = |size: [u32; 2]| [size[0] as f32 / 7.0, size[1] as f32 / 6.0];
    let mut cases = Vec::new();
    for (where_, coordinates) in coordinates {
        for (how, mode) in modes {
            // Larger and smaller; once by scales that are not those of the sizes.
            let sizes = [
                ("", [14, 9], ratio([14, 9])),
                ("-small", [3, 4], ratio([3, 4])),
                ("-scales", [11, 4], [1.6, 0.7]),
            ];
            for (what, size, scales) in sizes {
                let resize = Resize { input: 0, size, mode, coordinates, scales };
                cases.push((format!("resize-{where_}-{how}{what}"), vec![Op::Resize(resize)]));
            }
        }
    }
    cases
}

fn activations() -> Vec<(String, Vec<Op<String>>)> {
    let all = [
        Activation::Relu6,
        Activation::LeakyRelu { slope: 0.3 },
        Activation::Sigmoid,
        Activation::HardSigmoid { alpha: 0.3, beta: 0.4 },
        Activation::HardSwish,
        Activation::Silu,
        Activation::Tanh,
        Activation::Elu { alpha: 0.7 },
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Clip { min: -0.5, max: 1.5 },
        Activation::Softplus,
        Activation::Exp,
        Activation::Sqrt,
    ];
    let conv = |activation| {
        Op::Conv(Conv {
            name: "conv".to_owned(),
            input: 1,
            out_channels: 6,
            window: Window::square(3, 1, 1),
            weights: Weights::Dense,
            residual: None,
            activation,
        })
    };
    let of = |activation: Activation| {
        let alone = |input, activation| Op::Activate(Activate { input, activation, slope: None });
        let ops = match activation {
            // Of what is not negative.
            Activation::Sqrt => vec![alone(0, Activation::Softplus), alone(1, activation)],
            _ => vec![alone(0, activation), conv(activation)],
        };
        (activation.name().replace(' ', "-"), ops)
    };
    all.into_iter().map(of).collect()
}

fn check(cases: Vec<(String, Vec<Op<String>>)>) {
    let folder = Folder::new();
    let count = cases.len();
    for (name, ops) in cases {
        folder.add(&name, &model(&of_values(ops), 0.0), VALUES);
    }
    let models = folder.check();
    assert_eq!(models.len(), count);
    for model in &models {
        let names = [&model["input"]["name"], &model["output"]["name"]].map(|name| name.as_str().unwrap());
        assert_eq!(names, ["values", "result"]);
    }
}

#[test]
fn several_outputs_are_written_and_imported_as_what_they_were() {
    let conv = |name: &str, input, out_channels, residual| {
        let (name, window) = (name.to_owned(), Window::square(3, 1, 1));
        let (weights, activation) = (Weights::Dense, Activation::Relu);
        Op::Conv(Conv { name, input, out_channels, window, weights, residual, activation })
    };
    let linear = Linear {
        name: "fc".to_owned(),
        input: 3,
        out_features: 3,
        weights: Weights::Dense,
        activation: Activation::None,
    };
    let mut ops = vec![
        conv("a", 0, 8, None),
        conv("b", 1, 8, Some(1)),
        Op::GlobalAveragePool { input: 2 },
        Op::Linear(linear),
    ];
    let inputs = Inputs::new(&[4, 1, 2, 0]).unwrap();
    ops.push(Op::Outputs(Outputs { inputs, count: 3 + 3 * 8 * 7 * 6 }));
    let mut network = of_values(ops);
    network.output_names = ["scores", "b:1", "values", "1,2"].map(String::from).to_vec();
    let file = model(&network, 0.0);
    let aligned = AlignedBytes::copy_of(&file);
    let whole = Model::new_checked(aligned.as_slice()).unwrap();
    assert_eq!(lrpet_runtime::host::output_names(&whole), network.output_names);
    let converted = convert(&whole, VALUES).unwrap();
    // Names that the graph has for other values become longer.
    let names: Vec<&str> = converted.outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["scores", "b:1_output", "values_output", "1,2"]);
    assert_eq!(converted.outputs[0].1, [3, 1, 1]);
    let folder = tempfile::tempdir().unwrap();
    let onnx = folder.path().join("outputs.onnx");
    std::fs::write(&onnx, &converted.bytes).unwrap();
    let imported = import(&onnx, &import::Options::default()).unwrap();
    assert_eq!(imported.network.outputs()[1].0, "b:1_output");
    let again = of_checkpoint(&imported.network, &imported.checkpoint, 0.0);
    // Outputs are stored in f16, so both are the same to the bit.
    assert_eq!(results(&file), results(&again));
}

#[test]
fn general_operations_give_the_runtimes_values() {
    check(cases());
}

#[test]
fn resizings_give_the_runtimes_values() {
    check(resizings());
}

#[test]
fn activations_give_the_runtimes_values() {
    check(activations());
}

/// Results of a model for some values.
fn results(file: &[u8]) -> Vec<f32> {
    let file = AlignedBytes::copy_of(file);
    let model = Model::new_checked(file.as_slice()).unwrap();
    let plan = Plan::new(model.program(), Isa::detect()).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
    let values: Vec<f32> = (0..INPUT.len()).map(|at| (at * 37 % 101) as f32 / 32.0 - 1.5).collect();
    let mut results = vec![0.0; session.classes()];
    session.run_values(&values, &mut results, &mut ()).unwrap();
    results
}

#[test]
fn what_is_written_is_imported_as_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let all = cases().into_iter().chain(resizings()).chain(activations());
    // A network that does nothing is none, and one that begins with a rotation is one of pictures with channels last.
    for (name, ops) in all.filter(|(name, _)| !["nothing", "rotate"].contains(&name.as_str())) {
        let (count, network) = (ops.len(), of_values(ops));
        let file = model(&network, 0.0);
        let bytes = AlignedBytes::copy_of(&file);
        let written = convert(&Model::new_checked(bytes.as_slice()).unwrap(), VALUES).unwrap();
        let path = folder.path().join(format!("{name}.onnx"));
        std::fs::write(&path, &written.bytes).unwrap();
        let imported = import(&path, &import::Options::default()).unwrap();
        let again = imported.network;
        let operations: Vec<&str> = again.layers.iter().map(|layer| layer.op.kind()).collect();
        // What needs several operations of ONNX stays several; behind a transpose axes are joined.
        let several = ["max-dilated", "mean-dilated", "mean-far", "transpose"];
        let most = if several.contains(&name.as_str()) { 3 } else { count };
        assert!(operations.len() <= most, "{name}: {operations:?}");
        let (before, after) = (results(&file), results(&of_checkpoint(&again, &imported.checkpoint, 0.0)));
        let largest = before.iter().fold(1.0_f32, |most, value| most.max(value.abs()));
        let off = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / largest;
        assert!(before.len() == after.len() && f64::from(off) < TOLERANCE, "{name}: {off}");
    }
}

/// A classifier of pictures of six channels, with pairs among its general convolutions.
fn classifier() -> Network {
    let head = |name: &str, input| {
        Op::Linear(Linear {
            name: name.to_owned(),
            input,
            out_features: 5,
            weights: Weights::Dense,
            activation: Activation::None,
        })
    };
    let ops = vec![
        general(window([3, 3], [1, 1], [2, 2, 2, 2]), [2, 2], 1, None),
        Op::Normalise(Normalise {
            name: "norm".to_owned(),
            input: 1,
            epsilon: 1e-5,
            over: NormaliseOver::Groups(3),
        }),
        Op::Activate(Activate { input: 2, activation: Activation::HardSwish, slope: None }),
        Op::Resize(Resize {
            input: 3,
            size: [14, 12],
            mode: ResizeMode::Linear,
            coordinates: Coordinates::HalfPixel,
            scales: [2.0, 2.0],
        }),
        Op::Shuffle(Shuffle { input: 4, groups: 3 }),
        Op::Normalise(Normalise {
            name: "layer".to_owned(),
            input: 5,
            epsilon: 1e-5,
            over: NormaliseOver::Channels,
        }),
        head("fc", 6),
        Op::Softmax(Softmax { input: 7, log: true }),
    ];
    Network::new("classifier", Shape { channels: 6, ..INPUT }, 5, ops.into_iter().map(Layer::new).collect())
}

#[test]
fn a_classifier_with_general_operations_takes_any_number_of_images() {
    let folder = Folder::new();
    let network = classifier();
    for (name, g) in [("dense", 0.0), ("pairs", 0.6)] {
        let file = model(&network, g);
        let free = Options { batch: Batch::Dynamic, ..IMAGE };
        folder.add(&format!("{name}-image"), &file, free);
        let values = Options { input: Input::Values, f16_weights: true, ..free };
        folder.add(&format!("{name}-values"), &file, values);
    }
    let models = folder.check();
    assert_eq!(models.len(), 4);
    for model in &models {
        assert_eq!(model["batches"], serde_json::json!([1, 3, 8]), "{model}");
        assert_eq!(model["output"]["name"], "logits");
    }
}

#[test]
fn models_of_values_are_written_by_the_program() {
    let folder = Folder::new();
    let turned = general(window([3, 2], [2, 1], [0; 4]), [1, 1], 2, Some([1, 0]));
    let file = model(&of_values(vec![turned]), 0.0);
    let path = |name: &str| folder.0.path().join(name).to_str().unwrap().to_owned();
    let (from, out) = (path("of_values.safetensors"), path("written.part"));
    std::fs::write(&from, &file).unwrap();
    let document = programs::json("lrpet", &["export", &from, "--onnx", &out]).unwrap();
    assert_eq!(document["operator_set"], 18);
    assert_eq!(
        (&document["input"]["name"], &document["input"]["shape"]),
        (&"values".into(), &[1, 8, 7, 6][..].into())
    );
    assert_eq!(
        (&document["output"]["name"], &document["output"]["shape"]),
        (&"result".into(), &[1, 12, 16, 7][..].into())
    );
    folder.add_with("written", &file, VALUES, |_| std::fs::read(&out).unwrap());
    assert_eq!(folder.check().len(), 1);

    let error = programs::refused("lrpet", &["export", &from, "--onnx", &out, "--input", "image"]).unwrap();
    assert!(error.contains("of_values") && error.contains("values, not pictures"), "{error}");
}

#[test]
fn scales_that_do_not_make_the_sizes_are_refused() {
    let resize = Resize {
        input: 0,
        size: [14, 9],
        mode: ResizeMode::Linear,
        coordinates: Coordinates::HalfPixel,
        scales: [1.9, 1.5],
    };
    let file = AlignedBytes::copy_of(&model(&of_values(vec![Op::Resize(resize)]), 0.0));
    let model = Model::new_checked(file.as_slice()).unwrap();
    let error = convert(&model, VALUES).unwrap_err();
    assert!(matches!(error, OnnxError::Scales { from: [7, 6], to: [14, 9], .. }), "{error}");
}
