//! Files of networks: what they say, and what is wrong with them.

mod damaged;
mod operations;
mod outputs;

use lrpet_runtime::model::{MAX_LIVE, Shape};

use super::*;
use crate::network::{KNOWN, Network};

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
