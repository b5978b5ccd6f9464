//! GoogLeNet for small images: Szegedy et al., "Going deeper with convolutions" (CVPR 2015), in the form usual on CIFAR:
//! one 3×3 convolution as stem, batch normalisation behind every convolution, the 5×5 convolutions replaced by two of 3×3
//! (Szegedy et al., "Rethinking the inception architecture", CVPR 2016), no auxiliary classifiers. Names of tensors are
//! torchvision's.

use lrpet_runtime::model::{Activation, Shape, Value, Window};

use super::Network;
use super::builder::Builder;

/// Output channels of an inception module's convolutions: the 1×1 branch; 1×1 and 3×3; 1×1 and both 3×3; 1×1 behind the
/// pooling.
type Widths = (u32, [u32; 2], [u32; 2], u32);

/// The modules between the poolings, in table 1 of the paper.
const STAGES: [&[(&str, Widths)]; 3] = [
    &[("inception3a", (64, [96, 128], [16, 32], 32)), ("inception3b", (128, [128, 192], [32, 96], 64))],
    &[
        ("inception4a", (192, [96, 208], [16, 48], 64)),
        ("inception4b", (160, [112, 224], [24, 64], 64)),
        ("inception4c", (128, [128, 256], [24, 64], 64)),
        ("inception4d", (112, [144, 288], [32, 64], 64)),
        ("inception4e", (256, [160, 320], [32, 128], 128)),
    ],
    &[("inception5a", (256, [160, 320], [32, 128], 128)), ("inception5b", (384, [192, 384], [48, 128], 128))],
];

/// Stem 3×3 of 192 channels, nine inception modules with 3×3 max poolings of stride 2 between the stages, global average
/// pool, `fc`.
pub(super) fn cifar(name: &str, input: Shape, classes: u32) -> Option<Network> {
    let mut net = Builder::new(input);
    let mut x = conv(&mut net, "conv1", 0, 192, 3);
    for (stage, modules) in STAGES.into_iter().enumerate() {
        if stage > 0 {
            x = net.max_pool(x, Window::square(3, 2, 1));
        }
        for (prefix, widths) in modules {
            x = inception(&mut net, prefix, x, *widths);
        }
    }
    let pooled = net.global_average_pool(x);
    net.linear("fc", pooled, classes);
    net.finish(name, classes)
}

/// Four branches, joined.
fn inception(net: &mut Builder, prefix: &str, x: Value, (one, three, five, pooled): Widths) -> Value {
    let name = |branch: &str| format!("{prefix}.{branch}");
    let first = conv(net, &name("branch1"), x, one, 1);
    let second = conv(net, &name("branch2.0"), x, three[0], 1);
    let second = conv(net, &name("branch2.1"), second, three[1], 3);
    let third = conv(net, &name("branch3.0"), x, five[0], 1);
    let third = conv(net, &name("branch3.1"), third, five[1], 3);
    let third = conv(net, &name("branch3.2"), third, five[1], 3);
    let fourth = net.max_pool(x, Window::square(3, 1, 1));
    let fourth = conv(net, &name("branch4.1"), fourth, pooled, 1);
    net.concat(&[first, second, third, fourth])
}

/// A k×k convolution of stride 1 that keeps the size, with normalisation and ReLU.
fn conv(net: &mut Builder, prefix: &str, x: Value, width: u32, kernel: u16) -> Value {
    let (conv, norm) = (format!("{prefix}.conv"), format!("{prefix}.bn"));
    net.conv(&conv, &norm, x, width, Window::square(kernel, 1, kernel / 2), None, Activation::Relu)
}
