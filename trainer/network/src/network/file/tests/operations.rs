//! Every operation in a file.

use std::collections::BTreeSet;

use lrpet_runtime::model::Op;

use super::read;
use crate::network::Layer;
use crate::network::file::operations::OPERATIONS;

/// Every operation with every field that it has.
pub(super) const ALL: &str = r#"version = 1
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
    let seen: BTreeSet<&str> = network.layers.iter().map(Layer::operation).collect();
    let fast = ["depthwise_conv", "global_average_pool", "pad_shortcut", "add", "sub", "div"];
    for operation in OPERATIONS.iter().filter(|operation| !fast.contains(operation)) {
        assert!(seen.contains(operation), "{operation}");
    }
    // What has a faster operation becomes it.
    let fast = ALL.replace("padding = 2\ndilation = 2\ngroups = 2", "padding = 1");
    let network = read(&fast.replace("padding = 1\nbias", "padding = 1\ngroups = 1\nbias")).unwrap();
    assert!(matches!(&network.layers[0].op, Op::Conv(_)));
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
