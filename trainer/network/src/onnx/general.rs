//! The general operations of a layer program as nodes of ONNX, of operator set [`GENERAL_OPERATOR_SET`](super::GENERAL_OPERATOR_SET).

use lrpet_runtime::model::{
    BinaryKind, BlockOrder, Blocks, Coordinates, GeneralPool, Nearest, Normalise, NormaliseOver, Pad,
    PadMode, Reduce, Reduction, Resize, ResizeMode, Shape, Slice,
};

use super::OnnxError;
use super::graph::{Graph, float, int, ints, word};
use super::ops::sliding;

/// Least of the values that the runtime holds: it stands where a window has no pixel.
const LEAST: f32 = -65504.0;

/// Of one size for each axis, those of the map behind the axis of the images.
fn wide(values: [u32; 3]) -> [i64; 3] {
    values.map(i64::from)
}

/// A value `[n, …]` in another shape: `axes` behind the one of the images, whatever that is.
pub(super) fn reshape(graph: &mut Graph<'_>, input: &str, axes: &[i64], output: String) -> String {
    let shape: Vec<i64> = std::iter::once(0).chain(axes.iter().copied()).collect();
    let shape = graph.integers(&format!("{output}.shape.value"), &shape);
    graph.node("Reshape", &[input, &shape], output, Vec::new())
}

pub(super) fn transpose(graph: &mut Graph<'_>, input: &str, axes: &[u16], output: String) -> String {
    graph.node("Transpose", &[input], output, vec![ints("perm", axes)])
}

pub(super) fn reduce(graph: &mut Graph<'_>, reduce: &Reduce, input: &str, output: String) -> String {
    let axes: Vec<i64> = (1..).zip(reduce.axes).filter(|(_, over)| *over).map(|(axis, _)| axis).collect();
    let axes = graph.integers(&format!("{output}.axes.value"), &axes);
    let operator = match reduce.kind {
        Reduction::Max => "ReduceMax",
        Reduction::Mean => "ReduceMean",
        Reduction::Sum => "ReduceSum",
    };
    graph.node(operator, &[input, &axes], output, vec![int("keepdims", 1)])
}

pub(super) fn operator(kind: BinaryKind) -> &'static str {
    match kind {
        BinaryKind::Add => "Add",
        BinaryKind::Sub => "Sub",
        BinaryKind::Mul => "Mul",
        BinaryKind::Div => "Div",
    }
}

pub(super) fn slice(graph: &mut Graph<'_>, slice: &Slice, input: &str, output: String) -> String {
    let (start, step, size) = (wide(slice.start), wide(slice.step), wide(slice.output.axes()));
    let ends: Vec<i64> = (0..3).map(|axis| start[axis] + (size[axis] - 1) * step[axis] + 1).collect();
    let mut integers = |word: &str, values: &[i64]| graph.integers(&format!("{output}.{word}.value"), values);
    let (starts, ends) = (integers("starts", &start), integers("ends", &ends));
    let (axes, steps) = (integers("axes", &[1, 2, 3]), integers("steps", &step));
    graph.node("Slice", &[input, &starts, &ends, &axes, &steps], output, Vec::new())
}

pub(super) fn shuffle(
    graph: &mut Graph<'_>,
    groups: u32,
    input: &str,
    shape: Shape,
    output: String,
) -> String {
    let [channels, height, width] = wide(shape.axes());
    let groups = i64::from(groups);
    let dealt = [groups, channels / groups, height, width];
    let apart = reshape(graph, input, &dealt, format!("{output}.apart"));
    let dealt = transpose(graph, &apart, &[0, 2, 1, 3, 4], format!("{output}.dealt"));
    reshape(graph, &dealt, &[channels, height, width], output)
}

/// The numbers of a Pad: before each of the four axes, then behind each.
fn pads(before: [u32; 3], after: [u32; 3]) -> [i64; 8] {
    let ([a, b, c], [d, e, f]) = (wide(before), wide(after));
    [0, a, b, c, 0, d, e, f]
}

fn constant_pad(graph: &mut Graph<'_>, input: &str, pads: &[i64; 8], value: f32, output: String) -> String {
    let pads = graph.integers(&format!("{output}.pads.value"), pads);
    let value = graph.floats(&format!("{output}.constant.value"), &[], &[value]);
    graph.node("Pad", &[input, &pads, &value], output, Vec::new())
}

pub(super) fn pad(graph: &mut Graph<'_>, pad: &Pad, input: &str, output: String) -> String {
    let pads = pads(pad.before, pad.after);
    let mode = match pad.mode {
        PadMode::Constant(value) => {
            let value = half::f16::from_f32(value.clamp(LEAST, -LEAST)).to_f32();
            return constant_pad(graph, input, &pads, value, output);
        }
        PadMode::Reflect => "reflect",
        PadMode::Edge => "edge",
    };
    let pads = graph.integers(&format!("{output}.pads.value"), &pads);
    graph.node("Pad", &[input, &pads], output, vec![word("mode", mode)])
}

/// # Errors
/// Where neither sizes nor scales, of which ONNX takes one, say what the layer does.
pub(super) fn resize(
    graph: &mut Graph<'_>,
    resize: &Resize,
    input: &str,
    shape: Shape,
    output: String,
) -> Result<String, OnnxError> {
    let mut attributes = vec![ints("axes", &[2, 3])];
    attributes.push(word(
        "coordinate_transformation_mode",
        match resize.coordinates {
            Coordinates::HalfPixel => "half_pixel",
            Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
            Coordinates::AlignCorners => "align_corners",
            Coordinates::Asymmetric => "asymmetric",
        },
    ));
    match resize.mode {
        ResizeMode::Linear => attributes.push(word("mode", "linear")),
        ResizeMode::Nearest(nearest) => {
            let rounding = match nearest {
                Nearest::RoundDown => "round_prefer_floor",
                Nearest::RoundUp => "round_prefer_ceil",
                Nearest::Floor => "floor",
                Nearest::Ceil => "ceil",
            };
            attributes.extend([word("mode", "nearest"), word("nearest_mode", rounding)]);
        }
    }
    let axes = || [shape.height, shape.width].into_iter().zip(resize.size).zip(resize.scales);
    let of_sizes = axes().all(|((from, to), scale)| scale == to as f32 / from as f32);
    if of_sizes || resize.coordinates == Coordinates::AlignCorners {
        let sizes = graph.integers(&format!("{output}.sizes.value"), &resize.size.map(i64::from));
        return Ok(graph.node("Resize", &[input, "", "", &sizes], output, attributes));
    }
    if axes().any(|((from, to), scale)| (from as f32 * scale).floor() != to as f32) {
        return Err(OnnxError::Scales { layer: output, from: [shape.height, shape.width], to: resize.size });
    }
    let scales = graph.floats(&format!("{output}.scales.value"), &[2], &resize.scales);
    Ok(graph.node("Resize", &[input, "", &scales], output, attributes))
}

pub(super) fn depth_to_space(graph: &mut Graph<'_>, blocks: &Blocks, input: &str, output: String) -> String {
    let mode = match blocks.order {
        BlockOrder::BlockFirst => "DCR",
        BlockOrder::ChannelFirst => "CRD",
    };
    let block = int("blocksize", i64::from(blocks.block));
    graph.node("DepthToSpace", &[input], output, vec![block, word("mode", mode)])
}

/// ONNX has it with the place in the block first; the other way it is written out.
pub(super) fn space_to_depth(
    graph: &mut Graph<'_>,
    blocks: &Blocks,
    input: &str,
    shape: Shape,
    output: String,
) -> String {
    let block = i64::from(blocks.block);
    if blocks.order == BlockOrder::BlockFirst {
        return graph.node("SpaceToDepth", &[input], output, vec![int("blocksize", block)]);
    }
    let [channels, height, width] = wide(shape.axes());
    let (height, width) = (height / block, width / block);
    let apart = reshape(graph, input, &[channels, height, block, width, block], format!("{output}.apart"));
    let moved = transpose(graph, &apart, &[0, 1, 3, 5, 2, 4], format!("{output}.moved"));
    reshape(graph, &moved, &[channels * block * block, height, width], output)
}

/// A pooling of a value of the shape `shape`; the result has the shape `result`.
pub(super) fn pool(
    graph: &mut Graph<'_>,
    pool: &GeneralPool,
    input: &str,
    [shape, result]: [Shape; 2],
    output: String,
) -> String {
    let mut window = pool.window;
    // Engines take no padding as large as a kernel, and those of older operator sets no dilation in a mean. In a dilated window
    // there may be no pixel.
    let (kernel, padding) = (window.kernel, window.padding);
    let plain = pool.dilation == [1, 1] && (0..4).all(|side| padding[side] < kernel[side % 2]);
    let around = |name: String, graph: &mut Graph<'_>, sides: [u16; 4], value: f32| {
        let [top, left, bottom, right] = sides.map(u32::from);
        constant_pad(graph, input, &pads([0, top, left], [0, bottom, right]), value, name)
    };
    if pool.kind == Reduction::Max {
        let mut padded = input.to_owned();
        if !plain && padding != [0; 4] {
            padded = around(format!("{output}.padded"), graph, padding, LEAST);
            window.padding = [0; 4];
        }
        let mut attributes = sliding(&window);
        attributes.push(ints("dilations", &pool.dilation));
        return graph.node("MaxPool", &[&padded], output, attributes);
    }
    if !plain {
        return mean_of_taps(graph, pool, input, [shape, result], output);
    }
    let mut padded = input.to_owned();
    let all = pool.counted == padding;
    if !all && pool.counted != [0; 4] {
        padded = around(format!("{output}.padded"), graph, pool.counted, 0.0);
        window.padding = [0, 1, 2, 3].map(|side| padding[side] - pool.counted[side]);
    }
    let mut attributes = sliding(&window);
    attributes.push(int("count_include_pad", i64::from(all)));
    graph.node("AveragePool", &[&padded], output, attributes)
}

/// The sum of each window, a convolution with ones, times one over the number of its taps that count.
fn mean_of_taps(
    graph: &mut Graph<'_>,
    pool: &GeneralPool,
    input: &str,
    [shape, result]: [Shape; 2],
    output: String,
) -> String {
    let counts = |axis: usize, from: u32, to: u32| -> Vec<u32> {
        let [before, after] = [axis, axis + 2].map(|side| i64::from(pool.counted[side]));
        let inside = -before..i64::from(from) + after;
        let [stride, dilation] = [pool.window.stride, pool.dilation].map(|of| i64::from(of[axis]));
        let first = |at: u32| i64::from(at) * stride - i64::from(pool.window.padding[axis]);
        let taps =
            |at: u32| (0..pool.window.kernel[axis]).map(move |tap| first(at) + i64::from(tap) * dilation);
        (0..to).map(|at| taps(at).filter(|place| inside.contains(place)).count() as u32).collect()
    };
    let (rows, columns) = (counts(0, shape.height, result.height), counts(1, shape.width, result.width));
    let share = |count: u32| if count == 0 { 0.0 } else { 1.0 / count as f32 };
    let shares: Vec<f32> =
        rows.iter().flat_map(|row| columns.iter().map(move |column| share(row * column))).collect();
    let [channels, height, width] = wide(result.axes());
    let [down, across] = pool.window.kernel.map(i64::from);
    let ones = vec![1.0; (channels * down * across) as usize];
    let ones = graph.floats(&format!("{output}.ones.value"), &[channels, 1, down, across], &ones);
    let shares = graph.floats(&format!("{output}.shares.value"), &[1, 1, height, width], &shares);
    let mut attributes = sliding(&pool.window);
    attributes.extend([ints("dilations", &pool.dilation), int("group", channels)]);
    let sum = graph.node("Conv", &[input, &ones], format!("{output}.sum"), attributes);
    graph.node("Mul", &[&sum, &shares], output, Vec::new())
}

pub(super) fn normalise(
    graph: &mut Graph<'_>,
    layer: &Normalise<&str>,
    input: &str,
    shape: Shape,
    output: String,
) -> Result<String, OnnxError> {
    let name = |word: &str| format!("{output}.{word}");
    let unit = match layer.over {
        NormaliseOver::Plane => {
            let (scale, bias) = (graph.bias(layer.name, ".scale")?, graph.bias(layer.name, ".bias")?);
            let epsilon = vec![float("epsilon", layer.epsilon)];
            return Ok(graph.node("InstanceNormalization", &[input, &scale, &bias], output, epsilon));
        }
        NormaliseOver::All => of_groups(graph, layer, 1, input, shape, &output),
        NormaliseOver::Groups(groups) => of_groups(graph, layer, groups, input, shape, &output),
        NormaliseOver::Channels => {
            // The operator for it takes the last axes only.
            let axes = graph.integers("channels.axes.value", &[1]);
            let epsilon = graph.floats(&name("epsilon.value"), &[], &[layer.epsilon]);
            let mean = graph.node("ReduceMean", &[input, &axes], name("mean"), Vec::new());
            let centred = graph.node("Sub", &[input, &mean], name("centred"), Vec::new());
            let square = graph.node("Mul", &[&centred, &centred], name("square"), Vec::new());
            let variance = graph.node("ReduceMean", &[&square, &axes], name("variance"), Vec::new());
            let positive = graph.node("Add", &[&variance, &epsilon], name("positive"), Vec::new());
            let deviation = graph.node("Sqrt", &[&positive], name("deviation"), Vec::new());
            graph.node("Div", &[&centred, &deviation], name("unit"), Vec::new())
        }
    };
    let scaled = graph.planes(layer.name, ".scale")?;
    let scaled = graph.node("Mul", &[&unit, &scaled], name("scaled"), Vec::new());
    let bias = graph.planes(layer.name, ".bias")?;
    Ok(graph.node("Add", &[&scaled, &bias], output, Vec::new()))
}

/// Each group of channels as one plane, normalised.
fn of_groups(
    graph: &mut Graph<'_>,
    layer: &Normalise<&str>,
    groups: u32,
    input: &str,
    shape: Shape,
    output: &str,
) -> String {
    let name = |word: &str| format!("{output}.{word}");
    let count = groups as usize;
    let ones = graph.floats(&name("ones.value"), &[groups.into()], &vec![1.0; count]);
    let zeros = graph.floats(&name("zeros.value"), &[groups.into()], &vec![0.0; count]);
    let joined = reshape(graph, input, &[groups.into(), -1], name("groups"));
    let epsilon = vec![float("epsilon", layer.epsilon)];
    let unit = graph.node("InstanceNormalization", &[&joined, &ones, &zeros], name("normalised"), epsilon);
    reshape(graph, &unit, &wide(shape.axes()), name("unit"))
}
