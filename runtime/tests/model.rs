//! What is wrong with a model is said by name.

mod support;

use std::time::{Duration, Instant};

use half::f16;
use lrpet_runtime::check::Comparison;
use lrpet_runtime::kernel::{Arithmetic, Isa};
use lrpet_runtime::model::program::{PROGRAM_TENSOR, SELF_CHECK_TOLERANCE};
use lrpet_runtime::model::{
    Activation, Concat, FORMAT_VERSION, Header, InputKind, Inputs, LayerInfo, MAX_INPUTS, MAX_LIVE, MAX_OPS,
    MODEL_ALIGNMENT, Model, Needs, Op, OutputKind, Program, Shape, Weights, Window,
};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use safetensors::Dtype;
use support::{Aligned, Network, conv, linear};

/// conv1 (dense), conv2 (pair, residual), pool, fc.
fn network() -> Network {
    let mut net = Network::new(Shape::new(2, 6, 5), 3, 1);
    let a = net.push(conv("conv1", 0, 4, Window::square(3, 1, 1), Weights::Dense, None));
    let b = net.push(conv("conv2", a, 4, Window::square(3, 1, 1), Weights::Pair { rank: 2 }, Some(a)));
    let c = net.push(Op::GlobalAveragePool { input: b });
    net.push(linear("fc", c, 3, Weights::Dense));
    net
}

/// The error of a network that `change` has damaged.
fn refusal(change: impl FnOnce(&mut Network)) -> String {
    let mut net = network();
    change(&mut net);
    let file = net.file(0);
    Model::new_checked(file.bytes()).map(|_| ()).expect_err("the model is refused").to_string()
}

#[test]
fn a_sound_model_tells_its_layers() {
    let mut net = network();
    let file = net.file(2);
    let model = Model::new_checked(file.bytes()).unwrap();
    let layers: Vec<LayerInfo<'_>> = model.program().layers().collect();
    let names: Vec<&str> = layers.iter().map(|layer| layer.op.name()).collect();
    assert_eq!(names, ["conv1", "conv2", "global average pool", "fc"]);
    assert_eq!(layers[1].output, Shape::new(4, 6, 5));
    assert_eq!(
        layers.iter().map(|layer| layer.last_use).collect::<Vec<_>>(),
        [Some(1), Some(2), Some(3), None]
    );
    assert_eq!(model.program().len(), 4);
    let check = model.self_check().unwrap();
    assert_eq!((check.samples(), check.image(1).len(), check.logits(1).count()), (2, 60, 3));
    assert_eq!((check.image(2).len(), check.logits(2).count()), (0, 0));
    assert_eq!(model.container().metadata_value("format").unwrap().to_string(), "1");
}

/// Files of earlier versions state no tolerance; a hundredth of the largest logit is theirs.
#[test]
fn the_file_says_what_its_logits_may_be_off() {
    let tolerances = |values: [f32; 2]| {
        let data = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        (SELF_CHECK_TOLERANCE.to_owned(), (Dtype::F32, vec![2], data))
    };
    let mut net = network();
    let file = net.file(2);
    let check = Model::new_checked(file.bytes()).unwrap().self_check().unwrap();
    let largest = check.logits(0).fold(1.0f32, |largest, logit| largest.max(logit.abs()));
    assert_eq!(check.tolerance(0), 1e-2 * largest);
    let mut logits: Vec<f32> = check.logits(0).collect();
    logits[0] += 0.75;
    let usual = Comparison::of(&logits, &check, 0);
    assert_eq!((usual.tolerance, usual.passes()), (1e-2 * largest, false));

    net.weights.extend([tolerances([1.0, 1e-9])]);
    let file = net.file(2);
    let check = Model::new_checked(file.bytes()).unwrap().self_check().unwrap();
    assert_eq!([0, 1].map(|sample| check.tolerance(sample)), [1.0, 1e-9]);
    assert!(Comparison::of(&logits, &check, 0).passes());
    assert!(!Comparison::of(&logits, &check, 1).passes());
    // Sums in f16 may be off by more, and never by less than before.
    let in_f16 = |sample| Comparison::in_arithmetic(Arithmetic::F16, &logits, &check, sample).tolerance;
    assert_eq!(in_f16(0), check.largest(0), "no tolerance lets zeros pass");
    assert!(in_f16(1) >= 1e-2);

    for bad in [f32::NAN, f32::INFINITY, -f32::MIN_POSITIVE, -1.0, 100.0, 1e30] {
        net.weights.extend([tolerances([0.0, 0.0])]);
        assert!(Model::new_checked(net.file(2).bytes()).is_ok());
        net.weights.extend([tolerances([bad, 1.0])]);
        let error = Model::new_checked(net.file(2).bytes()).unwrap_err().to_string();
        assert!(error.contains("selfcheck.tolerance: that of sample 0 must"), "{bad}: {error}");
    }
    net.weights.insert(SELF_CHECK_TOLERANCE.to_owned(), (Dtype::F32, vec![1], vec![0; 4]));
    let error = Model::new_checked(net.file(2).bytes()).unwrap_err().to_string();
    assert!(error.contains("selfcheck.tolerance is [1] and must be [2]"), "{error}");
}

#[test]
fn tensors_must_be_there_with_dtype_shape_and_finite_values() {
    let text = refusal(|net| drop(net.weights.remove("conv2.thin.weight")));
    assert_eq!(text, "layer conv2: tensor conv2.thin.weight is missing; export the model again");
    let text = refusal(|net| net.weights.get_mut("conv1.weight").unwrap().0 = Dtype::BF16);
    assert_eq!(text, "layer conv1: tensor conv1.weight is BF16 and must be F16");
    let text = refusal(|net| net.weights.get_mut("conv2.expand.weight").unwrap().1 = vec![2, 4, 1, 1]);
    assert_eq!(text, "layer conv2: tensor conv2.expand.weight is [2, 4, 1, 1] and must be [4, 2, 1, 1]");
    let text = refusal(|net| net.weights.get_mut("fc.weight").unwrap().1 = vec![3, 4, 1, 1]);
    assert_eq!(text, "layer fc: tensor fc.weight is [3, 4, 1, 1] and must be [3, 4]");
    for bad in [f16::NAN, f16::INFINITY, f16::NEG_INFINITY] {
        let text = refusal(|net| {
            net.weights.get_mut("fc.weight").unwrap().2[6..8].copy_from_slice(&bad.to_le_bytes())
        });
        assert!(text.starts_with("layer fc: element 3 of tensor fc.weight is no finite number"), "{text}");
    }
    let text = refusal(|net| {
        net.weights.get_mut("conv2.expand.bias").unwrap().2[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(text.starts_with("layer conv2: element 1 of tensor conv2.expand.bias"), "{text}");
}

#[test]
fn a_model_must_lie_at_a_multiple_of_four_and_a_program_inside() {
    let mut net = network();
    let file = net.file(1);
    let mut logits = Vec::new();
    for shift in 0..=16 {
        let mut shifted = Aligned::zeroed(file.bytes().len() + shift);
        shifted.bytes_mut()[shift..].copy_from_slice(file.bytes());
        let model = Model::new_checked(&shifted.bytes()[shift..]);
        if shift % MODEL_ALIGNMENT != 0 {
            let text = model.unwrap_err().to_string();
            assert!(
                text.contains("multiple of 4 bytes in memory") && text.contains("include_model!"),
                "{text}"
            );
            continue;
        }
        // Four bytes are enough: kernels read the same, wherever that is.
        let (model, mut arena, mut found) = (model.unwrap(), Aligned::zeroed(1 << 20), [0.0; 3]);
        let mut session = Session::new(&model, arena.bytes_mut()).unwrap();
        session.run_image(model.self_check().unwrap().image(0), &mut found, &mut ()).unwrap();
        logits.push(found);
    }
    assert!(logits.len() == 5 && logits.iter().all(|found| *found == logits[0]), "{logits:?}");
    // What is wrong in the file itself is another error.
    let mut odd = file.bytes().to_vec();
    odd.insert(8, b'{');
    odd[9] = b' ';
    let length = u64::from_le_bytes(*odd.first_chunk().unwrap()) + 1;
    odd[..8].copy_from_slice(&length.to_le_bytes());
    let text = Model::new_checked(Aligned::new(&odd).bytes()).unwrap_err().to_string();
    assert!(text.contains("is not aligned to its elements in the file"), "{text}");

    let data = [0u8; 4];
    let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &data).unwrap();
    let foreign = safetensors::serialize([("conv1.weight", view)], None).unwrap();
    let text = Model::new_checked(&foreign).unwrap_err().to_string();
    assert!(text.contains(PROGRAM_TENSOR) && text.contains("lrpet factorize"), "{text}");
    for length in [0, 7, 8, 100, file.bytes().len() - 1] {
        assert!(Model::new_checked(&file.bytes()[..length]).is_err());
    }
}

#[test]
fn the_header_must_make_sense() {
    let text = refusal(|net| net.header.version = FORMAT_VERSION + 1);
    assert!(text.contains("format version 3, this runtime reads 1 to 2; update the runtime"), "{text}");
    let text = refusal(|net| net.header.std[1] = 0.0);
    assert!(text.starts_with("input channel 1: "), "{text}");
    assert!(refusal(|net| net.header.std[0] = f32::INFINITY).starts_with("input channel 0: "));
    assert!(refusal(|net| net.header.mean[0] = f32::NAN).starts_with("input channel 0: "));
    assert!(refusal(|net| net.header.input = Shape::new(5, 6, 5)).contains("an input of 5×6×5"));
    assert!(refusal(|net| net.header.input = Shape::new(2, 0, 5)).contains("an input of 2×0×5"));
    assert!(
        refusal(|net| (net.header.classes, net.header.output) = (4, Shape::vector(4)))
            .contains("must be a vector of 4 logits and is 3×1×1")
    );
    let text = refusal(|net| net.ops.clear());
    assert_eq!(text, "a program of 0 operations is not supported");
    // A later version may have another header altogether.
    let later = [FORMAT_VERSION as u8 + 7];
    assert!(Program::new_checked(&later).unwrap_err().to_string().contains("format version 9"));
}

#[test]
fn operations_must_chain() {
    let edit = |index: usize, change: fn(&mut Op<String>)| refusal(|net| change(&mut net.ops[index]));
    fn conv_of(op: &mut Op<String>) -> &mut lrpet_runtime::model::Conv<String> {
        match op {
            Op::Conv(conv) => conv,
            _ => panic!("a convolution"),
        }
    }
    let text = edit(1, |op| conv_of(op).input = 2);
    assert_eq!(text, "operation 1 (conv2): reads value 2, which no earlier operation makes");
    let text = edit(1, |op| conv_of(op).residual = Some(0));
    assert_eq!(text, "operation 1 (conv2): adds 2×6×5 to 4×6×5");
    let text = edit(1, |op| conv_of(op).window = Window::square(9, 1, 1));
    assert_eq!(text, "operation 1 (conv2): does not go with its input of 4×6×5");
    let text = edit(0, |op| conv_of(op).window.stride[1] = 0);
    assert_eq!(text, "operation 0 (conv1): does not go with its input of 2×6×5");
    let text = edit(0, |op| conv_of(op).window.padding[3] = 3);
    assert_eq!(text, "operation 0 (conv1): padding must be smaller than the kernel");
    let text = edit(1, |op| conv_of(op).weights = Weights::Pair { rank: 0 });
    assert_eq!(text, "operation 1 (conv2): a rank must be at least 1");
    let text = edit(0, |op| conv_of(op).name = "fc".into());
    assert_eq!(text, "operation 0 (fc): a later layer has the same name");
    let text = edit(2, |op| *op = Op::GlobalAveragePool { input: 1 });
    assert_eq!(text, "operation 1 (conv2): nothing reads its result");
    let text = edit(3, |op| *op = Op::Add { inputs: [3, 3], activation: Activation::None });
    assert!(text.contains("must be a vector of 3 logits and is 4×1×1"), "{text}");
}

#[test]
fn joined_values_must_make_up_the_result() {
    let joined = |values: &[u16], out_channels| {
        refusal(|net| {
            let inputs = Inputs::new(values).expect("1 to 4 values");
            net.ops[2] = Op::Concat(Concat { inputs, out_channels });
            net.ops.insert(3, Op::GlobalAveragePool { input: 3 });
            net.ops[4] = linear("fc", 4, 3, Weights::Dense);
        })
    };
    let text = joined(&[2, 1], 9);
    assert_eq!(text, "operation 2 (concat): its inputs do not join to 9×6×5");
    assert!(joined(&[2, 0, 1, 0], 13).contains("do not join"));
    assert!(joined(&[2, 0], 0).contains("does not go with its input of 4×6×5"));
    assert_eq!(joined(&[2, 3], 8), "operation 2 (concat): reads value 3, which no earlier operation makes");
    // Sound up to the classifier, which is one of three logits over four features.
    assert!(joined(&[2, 1], 8).contains("tensor fc.weight is [3, 4] and must be [3, 8]"));
    let text = refusal(|net| {
        net.ops[2] = Op::Concat(Concat { inputs: Inputs::new(&[2, 0]).unwrap(), out_channels: 6 });
        net.ops[1] = Op::GlobalAveragePool { input: 1 };
    });
    assert_eq!(text, "operation 2 (concat): its inputs do not join to 6×1×1");
}

#[test]
fn a_list_of_values_has_one_to_so_many() {
    assert!(Inputs::new(&[]).is_none() && Inputs::new(&[1; MAX_INPUTS + 1]).is_none());
    let op = |count: u8, values: &[u8]| [&[6, count][..], values, &[8]].concat();
    let read = |bytes: &[u8]| postcard::from_bytes::<Op<String>>(bytes).ok();
    for count in 1..=4u8 {
        let values: Vec<u8> = (1..=count).collect();
        let expected: Vec<u16> = values.iter().copied().map(u16::from).collect();
        let concat =
            Op::<String>::Concat(Concat { inputs: Inputs::new(&expected).unwrap(), out_channels: 8 });
        assert_eq!(read(&op(count, &values)).as_ref(), Some(&concat));
        let mut written = [0; 16];
        assert_eq!(postcard::to_slice(&concat, &mut written).unwrap(), op(count, &values));
        assert_eq!(concat.inputs().values(), expected);
    }
    assert_eq!(read(&op(0, &[])), None);
    assert_eq!(read(&op(MAX_INPUTS as u8 + 1, &[1; MAX_INPUTS + 1])), None);
    assert_eq!(read(&op(4, &[1, 2, 3])), None);
}

#[test]
fn too_many_live_values_are_refused() {
    let mut net = Network::new(Shape::new(1, 2, 2), 1, 1);
    let window = Window::square(1, 1, 0);
    let branches: Vec<u16> = (0..=MAX_LIVE)
        .map(|i| net.push(conv(&format!("b{i}"), 0, 1, window, Weights::Dense, None)))
        .collect();
    let activation = Activation::None;
    let sum = branches.into_iter().reduce(|a, b| net.push(Op::Add { inputs: [a, b], activation })).unwrap();
    net.push(Op::GlobalAveragePool { input: sum });
    let file = net.file(0);
    let text = Model::new_checked(file.bytes()).unwrap_err().to_string();
    // A build without long lists refuses the program before.
    let expected = match Needs::HERE.without(Needs::MANY) {
        here if here == Needs::HERE => "the program needs many".to_owned(),
        _ => format!("more than {MAX_LIVE} values are needed at once"),
    };
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn records_must_be_whole() {
    let program = network().program();
    for length in 0..program.len() {
        assert!(Program::new_checked(&program[..length]).is_err());
    }
    let longer = [&program[..], &[0]].concat();
    assert_eq!(
        Program::new_checked(&longer).unwrap_err().to_string(),
        "1 bytes follow the program's last operation"
    );
    let header: Header = *Program::new_checked(&program).unwrap().header();
    assert_eq!((header.classes, header.ops), (3, 4));
}

/// The bytes in docs/format.md.
const EXAMPLE: &str = "
    01 01 08 06
    5b d3 bc 3e 00 00 00 00 00 00 00 00 00 00 00 00
    d8 f0 b4 3e 00 00 80 3f 00 00 80 3f 00 00 80 3f
    03 04
    00 05 63 6f 6e 76 31 00 ac 02 03 03 02 01 01 00 01 01 01 05 00 01
    05 01 01 00
    03 02
    01 02 66 63 03 03 00 00
";

#[test]
fn the_example_of_the_written_specification_is_read_as_it_says() {
    let bytes: Vec<u8> =
        EXAMPLE.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    let program = Program::new_checked(&bytes).unwrap();
    let header = Header {
        version: 1,
        input: Shape::new(1, 8, 6),
        kind: InputKind::Picture,
        mean: [0.3688, 0.0, 0.0, 0.0],
        std: [0.3534, 1.0, 1.0, 1.0],
        classes: 3,
        output: Shape::vector(3),
        result: OutputKind::Classes,
        needs: Needs::NONE,
        ops: 4,
    };
    assert_eq!(program.header(), &header);
    let layers: Vec<_> = program.layers().map(|layer| (layer.op, layer.output)).collect();
    let conv = lrpet_runtime::model::Conv {
        name: "conv1",
        input: 0,
        out_channels: 300,
        window: Window { kernel: [3, 3], stride: [2, 1], padding: [1, 0, 1, 1] },
        weights: Weights::Pair { rank: 5 },
        residual: None,
        activation: Activation::Relu,
    };
    let linear = lrpet_runtime::model::Linear {
        name: "fc",
        input: 3,
        out_features: 3,
        weights: Weights::Dense,
        activation: Activation::None,
    };
    let expected = [
        (Op::Conv(conv), Shape::new(300, 4, 5)),
        (Op::Add { inputs: [1, 1], activation: Activation::None }, Shape::new(300, 4, 5)),
        (Op::GlobalAveragePool { input: 2 }, Shape::vector(300)),
        (Op::Linear(linear), Shape::vector(3)),
    ];
    assert_eq!(layers, expected);
}

/// The largest program and a file of many layers: the version before took minutes for the first in the profile of the tests.
#[test]
fn a_long_program_is_checked_and_planned_soon() {
    let start = Instant::now();
    let mut net = Network::new(Shape::new(2, 1, 1), 3, 1);
    // Every value is read by the next operation and the last one of its sixteen by the one behind them too.
    let mut kept = 0;
    for value in 0..MAX_OPS as u16 - 1 {
        let other = if value % 16 == 15 { std::mem::replace(&mut kept, value) } else { value };
        net.push(Op::Add { inputs: [value, other], activation: Activation::None });
    }
    net.push(linear("fc", MAX_OPS as u16 - 1, 3, Weights::Dense));
    let program = net.program();
    let program = Program::new_checked(&program).unwrap();
    assert_eq!(program.layers().count(), MAX_OPS);
    let uses: Vec<_> = program.layers().map(|layer| layer.last_use).collect();
    // Value 15 is made by operation 14 and read last by operation 31.
    assert_eq!(
        (uses[13], uses[14], uses[MAX_OPS - 2], uses[MAX_OPS - 1]),
        (Some(14), Some(31), Some(MAX_OPS - 1), None)
    );
    assert!(Plan::new(&program, Isa::detect()).unwrap().arena_bytes > MAX_OPS);

    let mut net = Network::new(Shape::new(1, 1, 1), 1, 1);
    for layer in 0..500 {
        let name = format!("layer{:04}", 1000 + layer);
        net.push(conv(&name, layer, 1, Window::square(1, 1, 0), Weights::Dense, None));
    }
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let mut arena = Aligned::zeroed(1 << 20);
    Session::new(&model, arena.bytes_mut()).unwrap();
    net.ops[3] = conv("layer1000", 3, 1, Window::square(1, 1, 0), Weights::Dense, None);
    let text = Model::new_checked(net.file(0).bytes()).map(|_| ()).unwrap_err().to_string();
    assert!(text.starts_with("operation 0 (layer1000): a later layer has the same name"), "{text}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
