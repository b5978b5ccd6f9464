use std::time::{Duration, Instant};

use lrpet_runtime::model::{MAX_LIVE, Shape};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::network::{KNOWN, Layer, Network};

const SMALL: &str = r#"version = 1
name = "small"

[input]
channels = 3
height = 8
width = 8

[output]
classes = 4

[[layer]]
op = "conv"
name = "stem"
out = 8
kernel = 3
padding = 1
norm = "bn"
activation = "relu"

[[layer]]
op = "max_pool"
name = "half"
kernel = 2
stride = 2

[[layer]]
op = "conv"
name = "body"
out = 8
kernel = [3, 1]
padding = [1, 0]
norm = { name = "body_bn", epsilon = 1e-3, momentum = 0.01, shift = false }
residual = "half"

[[layer]]
op = "global_average_pool"

[[layer]]
op = "linear"
name = "fc"
out = 4
"#;

fn read(text: &str) -> Result<Network, FileError> {
    Network::from_text("net.toml", text)
}

#[test]
fn every_known_network_is_its_file() {
    for known in KNOWN {
        let network = known.build(known.input, known.classes).unwrap();
        let text = network.to_text();
        let found = read(&text).unwrap();
        assert_eq!(found, network, "{}", known.name);
        assert_eq!(found.to_text(), text, "{}", known.name);
        assert_eq!(found.cost(), network.cost(), "{}", known.name);
    }
}

#[test]
fn what_a_file_says_is_in_the_network() {
    let network = read(SMALL).unwrap();
    assert_eq!((network.input, network.classes), (Shape::new(3, 8, 8), 4));
    let norm = network.layers[2].norm.clone().unwrap();
    assert_eq!((norm.epsilon, norm.momentum, norm.scale, norm.shift), (1e-3, 0.01, true, false));
    assert_eq!(network.value_shapes().unwrap()[3], Shape::new(8, 4, 4));
    assert_eq!(network.layers[3].name(), "global_average_pool");
    assert_eq!(read(&network.to_text()).unwrap(), network);

    let signal = SMALL
        .replace("height = 8\n", "")
        .replace("kernel = 3\npadding = 1", "kernel = [1, 3]\npadding = \"same\"");
    let signal = signal.replace("kernel = 2\nstride = 2", "kernel = [1, 2]\nstride = [1, 2]");
    let signal = signal
        .replace("classes = 4", "kind = \"values\"")
        .replace("width = 8", "width = 8\nkind = \"values\"");
    let network =
        read(&signal.replace("kernel = [3, 1]\npadding = [1, 0]", "kernel = 1\nbias = true")).unwrap();
    assert_eq!(network.input, Shape::new(3, 1, 8));
    assert_eq!((network.input_kind, network.output_kind), (InputKind::Values, OutputKind::Values));
    assert!(network.layers[2].bias && !network.layers[0].bias);
    assert_eq!(read(&network.to_text()).unwrap(), network);
}

#[test]
fn names_are_written_so_that_they_are_read() {
    let mut network = read(SMALL).unwrap();
    network.name = "a \"b\" \\ é".to_owned();
    network.about = "two\nlines\t\u{7f}".to_owned();
    network.layers[1].label = Some("ü.\"0\"".to_owned());
    assert_eq!(read(&network.to_text()).unwrap(), network);
}

/// Every operation with every field that it has.
const ALL: &str = r#"version = 1
name = "all"
[input]
channels = 4
height = 8
width = 8
kind = "values"
[output]
kind = "values"
[[layer]]
op = "conv"
name = "grouped"
out = 8
kernel = 3
padding = 2
dilation = 2
groups = 2
bias = false
activation = { kind = "leaky_relu", slope = 0.2 }
[[layer]]
op = "conv_transpose"
name = "up"
out = 6
kernel = [3, 2]
stride = 2
padding = [1, 0]
output_padding = [1, 0]
activation = { kind = "clip", min = -1.0, max = 2.5 }
[[layer]]
op = "max_pool"
name = "spread"
kernel = 2
dilation = [2, 1]
[[layer]]
op = "average_pool"
name = "counted"
kernel = 3
padding = 1
counted = true
[[layer]]
op = "reduce"
name = "means"
kind = "mean"
axes = ["height", "width"]
[[layer]]
op = "activation"
name = "gate"
activation = "hard_sigmoid"
[[layer]]
op = "mul"
name = "scaled"
inputs = ["counted", "gate"]
[[layer]]
op = "affine"
name = "shifted"
activation = "silu"
[[layer]]
op = "prelu"
name = "leaky"
[[layer]]
op = "normalise"
name = "ln"
over = "channels"
epsilon = 1e-6
[[layer]]
op = "normalise"
name = "gn"
groups = 3
[[layer]]
op = "slice"
name = "part"
start = [0, 1, 0]
step = [2, 1, 2]
size = [3, 12, 7]
[[layer]]
op = "pad"
name = "framed"
before = [1, 0, 0]
after = [0, 0, 1]
value = -0.5
[[layer]]
op = "pad"
name = "mirrored"
after = [0, 2, 0]
mode = "reflect"
[[layer]]
op = "channel_shuffle"
name = "dealt"
groups = 2
[[layer]]
op = "resize"
name = "larger"
size = [28, 16]
mode = "linear"
coordinates = "align_corners"
scale_height = 2.5
[[layer]]
op = "resize"
name = "smaller"
size = [14, 8]
rounding = "floor"
coordinates = "asymmetric"
[[layer]]
op = "space_to_depth"
name = "deep"
block = 2
order = "block_first"
[[layer]]
op = "depth_to_space"
name = "flat"
block = 2
[[layer]]
op = "transpose"
name = "turned"
axes = ["width", "channel", "height"]
[[layer]]
op = "concat"
name = "tall"
axis = "height"
inputs = ["turned", "turned", "turned"]
[[layer]]
op = "softmax"
[[layer]]
op = "log_softmax"
[[layer]]
op = "reshape"
name = "vector"
size = [1344, 1, 1]
[[layer]]
op = "linear"
name = "fc"
out = 3
bias = false
"#;

#[test]
fn every_operation_is_read_and_written() {
    let network = read(ALL).unwrap();
    assert_eq!(network.layers.len(), 25);
    let text = network.to_text();
    let again = read(&text).unwrap();
    assert_eq!(again, network, "{text}");
    assert_eq!(again.to_text(), text);
    // Nothing is lost on the way: all that the file says stands in what is written.
    for line in ALL.lines().filter(|line| line.contains('=') && !line.starts_with("scale_")) {
        assert!(text.contains(line), "{line}: {text}");
    }
    let seen: std::collections::BTreeSet<&str> = network.layers.iter().map(Layer::operation).collect();
    let fast = ["depthwise_conv", "global_average_pool", "pad_shortcut", "add", "sub", "div"];
    for operation in operations::OPERATIONS.iter().filter(|operation| !fast.contains(operation)) {
        assert!(seen.contains(operation), "{operation}");
    }
    // What has a faster operation becomes it.
    let fast = ALL.replace("padding = 2\ndilation = 2\ngroups = 2", "padding = 1");
    let network = read(&fast.replace("padding = 1\nbias", "padding = 1\ngroups = 1\nbias")).unwrap();
    assert!(matches!(&network.layers[0].op, lrpet_runtime::model::Op::Conv(_)));
}

#[test]
fn what_is_wrong_with_an_operation_is_told() {
    for (old, new, parts) in [
        ("groups = 2\nbias", "groups = 3\nbias", &["\"grouped\"", "`groups` must divide"][..]),
        ("output_padding = [1, 0]", "output_padding = 2", &["\"up\"", "`output_padding` must be smaller"]),
        ("counted = true", "counted = [2, 0, 0, 0]", &["`counted`", "at most the padding"]),
        ("axes = [\"height\", \"width\"]", "axes = [\"rows\"]", &["\"means\"", "`axes`", "\"channel\""]),
        ("kind = \"mean\"", "kind = \"meen\"", &["`kind`", "did you mean `mean`"]),
        ("max = 2.5", "max = -2.5", &["\"up\": activation", "above `max`"]),
        ("activation = \"hard_sigmoid\"", "", &["\"gate\"", "`activation`", "missing"]),
        (
            "inputs = [\"counted\", \"gate\"]",
            "inputs = [\"counted\", \"up\"]",
            &["\"scaled\"", "one size along each axis"],
        ),
        ("size = [3, 12, 7]", "size = [3, 15, 7]", &["\"part\"", "reaches beyond"]),
        ("after = [0, 2, 0]", "after = [0, 12, 0]", &["\"mirrored\"", "mirrors more"]),
        ("groups = 3", "groups = 4", &["\"gn\"", "must divide the channels"]),
        ("groups = 3", "groups = 3\nover = \"all\"", &["\"gn\"", "not both"]),
        ("block = 2\norder", "block = 3\norder", &["\"deep\"", "must divide height and width"]),
        (
            "axes = [\"width\", \"channel\", \"height\"]",
            "axes = [\"width\", \"width\", \"height\"]",
            &["\"turned\"", "each axis once"],
        ),
        ("size = [1344, 1, 1]", "size = [1343, 1, 1]", &["\"vector\"", "as many values"]),
        ("op = \"prelu\"\nname = \"leaky\"", "op = \"prelu\"", &["layer 9", "`name`", "tensors"]),
    ] {
        assert!(ALL.contains(old), "{old}");
        let text = read(&ALL.replacen(old, new, 1)).unwrap_err().to_string();
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

/// What is changed in the small network's file, the line, and what the error says.
#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (old, new, line, parts) in [
        ("version = 1", "version = 2", Some(1), &["`version`", "later lrpet"][..]),
        ("version = 1", "", Some(1), &["`version`", "missing"]),
        ("version = 1", "version = 1\ncolour = 3", Some(2), &["`colour`", "no such field", "version, name"]),
        ("padding = 1", "paddin = 1", Some(17), &["\"stem\"", "`paddin`", "did you mean `padding`"]),
        ("stride = 2", "stride = 0", Some(25), &["\"half\"", "`stride`", "above 0", "is 0"]),
        ("stride = 2", "stride = \"2\"", Some(25), &["`stride`", "\"2\""]),
        (
            "out = 8\nkernel = 3",
            "outs = 8\nkernel = 3",
            Some(12),
            &["`out`", "missing", "instead of `outs`?"],
        ),
        ("\"max_pool\"", "\"maxpool\"", Some(22), &["`op`", "no operation", "did you mean `max_pool`"]),
        (
            "residual = \"half\"",
            "residual = \"halve\"",
            Some(34),
            &["\"body\"", "`residual`", "did you mean `half`"],
        ),
        ("residual = \"half\"", "residual = \"fc\"", Some(34), &["`fc`", "later one (line 39)"]),
        ("residual = \"half\"", "residual = \"stem\"", Some(27), &["8×4×4", "8×8×8"]),
        ("name = \"half\"", "name = \"stem\"", Some(21), &["`stem` is taken", "line 12"]),
        ("\"body_bn\"", "\"bn\"", Some(27), &["`bn` is taken"]),
        ("name = \"half\"", "name = \"input\"", Some(21), &["`input`"]),
        ("kernel = [3, 1]", "kernel = [30, 1]", Some(27), &["30×1", "8×4×4"]),
        ("stride = 2", "stride = 2\npadding = 2", Some(26), &["`padding`", "smaller than the kernel"]),
        ("out = 4", "out = 5", Some(10), &["4 classes", "5×1×1"]),
        ("epsilon = 1e-3", "epsilon = 0", Some(33), &["\"body\": norm", "`epsilon`", "1e-3"]),
        ("momentum = 0.01", "momentum = nan", Some(33), &["`momentum`"]),
        ("shift = false", "beta = false", Some(33), &["`beta`", "no such field", "epsilon"]),
        ("norm = \"bn\"", "norm = \"\"", Some(18), &["`norm`", "1 to 200 bytes"]),
        ("name = \"fc\"", "name = \"fc\"\nnorm = \"x\"", Some(42), &["`norm`", "kernel = 1"]),
        ("out = 8\nkernel = 3", "out = 2000000000\nkernel = 3", Some(12), &["\"stem\"", "2³¹"]),
        ("channels = 3", "channels = 300000000", Some(4), &["[input]", "2³¹"]),
        ("[output]", "[output", Some(9), &[]),
        (
            "activation = \"relu\"",
            "activation = \"Relu\"",
            Some(19),
            &["`activation`", "did you mean `relu`"],
        ),
    ] {
        assert!(SMALL.contains(old), "{old}");
        let error = read(&SMALL.replacen(old, new, 1)).unwrap_err();
        let text = error.to_string();
        assert_eq!(error.line, line, "{text}");
        assert!(text.starts_with("net.toml, line "), "{text}");
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\n'), "{text}");
    }
    let unread = SMALL.replace("residual = \"half\"", "input = \"half\"").replace(
        "[[layer]]\nop = \"max_pool\"",
        "[[layer]]\nop = \"pad_shortcut\"\nname = \"lost\"\nout = 9\n\n[[layer]]\nop = \"max_pool\"\ninput = \"stem\"",
    );
    let text = read(&unread).unwrap_err().to_string();
    assert!(text.contains("line 21") && text.contains("\"lost\": nothing reads its result"), "{text}");
    let many: String = (0..MAX_LIVE + 4)
        .map(|index| format!("[[layer]]\nop = \"linear\"\nname = \"a{index}\"\nout = 2\ninput = \"input\"\n"))
        .collect();
    let head = "version = 1\nname = \"n\"\n[input]\nchannels = 2\nwidth = 1\n[output]\nclasses = 2\n";
    let mut sums = String::new();
    for index in 1..MAX_LIVE + 4 {
        let before = if index == 1 { "a0".to_owned() } else { format!("s{}", index - 1) };
        sums +=
            &format!("[[layer]]\nop = \"add\"\nname = \"s{index}\"\ninputs = [\"{before}\", \"a{index}\"]\n");
    }
    let text = read(&format!("{head}{many}{sums}")).unwrap_err().to_string();
    assert!(text.contains(&format!("more than {MAX_LIVE} results")), "{text}");
}

/// Files with random damage are read or refused: no panic, little time, and what is read is written as the same.
#[test]
fn damaged_files_are_refused_or_harmless() {
    let start = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let seeds: Vec<String> = ["resnet8", "ds_cnn", "googlenet"]
        .iter()
        .map(|name| {
            let known = crate::network::Known::named(name).unwrap();
            known.build(known.input, known.classes).unwrap().to_text()
        })
        .chain([SMALL, SMALL, ALL, ALL].map(str::to_owned))
        .collect();
    let numbers = [
        "0",
        "-1",
        "1",
        "65535",
        "65536",
        "2147483647",
        "4294967295",
        "99999999999999999999",
        "1e999",
        "[]",
        "{}",
    ];
    let (mut read_whole, mut refused) = (0, 0);
    for _ in 0..6000 {
        let seed = &seeds[rng.random_range(0..seeds.len())];
        let mut lines: Vec<String> = seed.lines().map(str::to_owned).collect();
        for _ in 0..rng.random_range(1..4) {
            let at = rng.random_range(0..lines.len());
            match rng.random_range(0..6) {
                0 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[rng.random_range(0..lines.len())].clone()),
                2 => {
                    let other = rng.random_range(0..lines.len());
                    lines.swap(at, other);
                }
                3 => {
                    let field = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{field}= {}", numbers[rng.random_range(0..numbers.len())]);
                }
                4 => {
                    let mut bytes = lines[at].clone().into_bytes();
                    bytes.insert(rng.random_range(0..=bytes.len()), rng.random_range(0..128));
                    lines[at] = String::from_utf8_lossy(&bytes).into_owned();
                }
                _ => {
                    let value =
                        lines[rng.random_range(0..lines.len())].split('=').nth(1).unwrap_or("1").to_owned();
                    let field = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{field}={value}");
                }
            }
        }
        match read(&lines.join("\n")) {
            Ok(network) => {
                read_whole += 1;
                assert!(network.value_shapes().is_some());
                let _ = network.cost();
                assert_eq!(read(&network.to_text()).unwrap(), network);
            }
            Err(error) => {
                refused += 1;
                assert!(error.to_string().len() < 1000, "{error}");
            }
        }
    }
    assert!(read_whole > 300 && refused > 2000, "{read_whole} read, {refused} refused");
    assert!(start.elapsed() < Duration::from_secs(120));
}

#[test]
fn files_beyond_all_measure_are_refused_at_once() {
    let head = "version = 1\nname = \"n\"\n[input]\nchannels = 2\nwidth = 1\n[output]\nclasses = 2\n";
    let layer = |index: usize| format!("[[layer]]\nop = \"linear\"\nname = \"a{index}\"\nout = 2\n");
    let of = |count: usize| format!("{head}{}", (0..count).map(layer).collect::<String>());
    assert_eq!(read(&of(4096)).unwrap().layers.len(), 4096);
    assert!(read(&of(4097)).unwrap_err().to_string().contains("4096 layers at most"));
    let deep = format!("a{} = 1", ".a".repeat(100_000));
    assert!(read(&deep).is_err());
    assert!(read(&format!("a = {}", "[".repeat(100_000))).is_err());
    assert!(read(&" ".repeat(9 << 20)).unwrap_err().to_string().contains("bytes at most"));
    // A linear layer of 2³¹ weights and more.
    let large = of(1).replace("channels = 2", "channels = 100000").replace("out = 2", "out = 100000");
    let large = large.replace("classes = 2", "classes = 100000");
    assert!(read(&large).unwrap_err().to_string().contains("10000000000 weights"));
}
