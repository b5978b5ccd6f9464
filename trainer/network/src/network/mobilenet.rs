//! Networks of depthwise-separable convolutions.
//!
//! MobileNetV2: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks" (CVPR 2018), names of tensors as in
//! torchvision. MobileNetV1 of a quarter of the width and DS-CNN, the networks for visual wake words and keyword spotting
//! of MLPerf Tiny (Banbury et al., "MLPerf Tiny benchmark", NeurIPS 2021; Howard et al., arXiv 1704.04861; Zhang et al.,
//! "Hello edge", arXiv 1711.07128), with TensorFlow's padding and Keras' names of MobileNet's layers.

use lrpet_runtime::model::{Activation, Shape, Value, Window};

use super::Network;
use super::builder::Builder;

/// Expansion, output channels, blocks and stride of the first block (table 2 of the paper).
const V2_STAGES: [(u32, u32, u32, u16); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

/// Stem 3×3 of 32 channels, seventeen inverted residuals, 1×1 convolution of 1280 channels, global average pool,
/// `classifier.1`. `full_size` strides are those for images of 224×224; else stem and second stage keep the size, as is
/// usual on CIFAR.
pub(super) fn v2(name: &str, input: Shape, classes: u32, full_size: bool) -> Option<Network> {
    let mut net = Builder::new(input);
    let stem = Window::square(3, if full_size { 2 } else { 1 }, 1);
    let mut x = net.conv("features.0.0", "features.0.1", 0, 32, stem, None, Activation::Relu6);
    let (mut channels, mut block) = (32, 0);
    for (stage, (expansion, width, blocks, stride)) in V2_STAGES.into_iter().enumerate() {
        let stride = if stage == 1 && !full_size { 1 } else { stride };
        for first in (0..blocks).map(|block| block == 0) {
            block += 1;
            let stride = if first { stride } else { 1 };
            x = inverted_residual(&mut net, block, x, (channels, width), expansion, stride);
            channels = width;
        }
    }
    let last = block + 1;
    let (conv, norm) = (format!("features.{last}.0"), format!("features.{last}.1"));
    x = net.conv(&conv, &norm, x, 1280, Window::square(1, 1, 0), None, Activation::Relu6);
    let pooled = net.global_average_pool(x);
    net.linear("classifier.1", pooled, classes);
    net.finish(name, classes)
}

/// 1×1 expansion (none where `expansion` is 1), depthwise 3×3, linear 1×1 with a residual where the shape is kept.
fn inverted_residual(
    net: &mut Builder,
    block: u32,
    x: Value,
    (channels, width): (u32, u32),
    expansion: u32,
    stride: u16,
) -> Value {
    let name = |part: &str| format!("features.{block}.conv.{part}");
    let (point, relu6) = (Window::square(1, 1, 0), Activation::Relu6);
    let residual = (stride == 1 && channels == width).then_some(x);
    let mut middle = x;
    let mut part = 0;
    if expansion != 1 {
        middle = net.conv(&name("0.0"), &name("0.1"), x, channels * expansion, point, None, relu6);
        part = 1;
    }
    let (depthwise, norm) = (name(&format!("{part}.0")), name(&format!("{part}.1")));
    middle = net.depthwise(&depthwise, &norm, middle, Window::square(3, stride, 1), relu6);
    let (project, norm) = (name(&(part + 1).to_string()), name(&(part + 2).to_string()));
    net.conv(&project, &norm, middle, width, point, residual, Activation::None)
}

/// Stride and output channels of the blocks of MobileNetV1 at a quarter of its width.
const V1_BLOCKS: [(u16, u32); 13] = [
    (1, 16),
    (2, 32),
    (1, 32),
    (2, 64),
    (1, 64),
    (2, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (1, 128),
    (2, 256),
    (1, 256),
];

/// Stem 3×3 of 8 channels and stride 2, thirteen depthwise-separable blocks, global average pool, `fc`.
pub(super) fn v1_quarter(name: &str, input: Shape, classes: u32) -> Option<Network> {
    separable(name, input, classes, ([3, 3], 8), &V1_BLOCKS)
}

/// Stem 10×4 of 64 channels and stride 2, four depthwise-separable blocks, global average pool, `fc`.
pub(super) fn ds_cnn(name: &str, input: Shape, classes: u32) -> Option<Network> {
    separable(name, input, classes, ([10, 4], 64), &[(1, 64); 4])
}

/// Convolution of stride 2, then blocks of a depthwise 3×3 and a 1×1 convolution.
fn separable(
    name: &str,
    input: Shape,
    classes: u32,
    (kernel, width): ([u16; 2], u32),
    blocks: &[(u16, u32)],
) -> Option<Network> {
    let (mut net, relu) = (Builder::new(input), Activation::Relu);
    let window = net.same(0, kernel, [2, 2]);
    let mut x = net.conv("conv1", "conv1_bn", 0, width, window, None, relu);
    for (block, &(stride, width)) in (1..).zip(blocks) {
        let (conv, norm) = (format!("conv_dw_{block}"), format!("conv_dw_{block}_bn"));
        let window = net.same(x, [3, 3], [stride; 2]);
        x = net.depthwise(&conv, &norm, x, window, relu);
        let (conv, norm) = (format!("conv_pw_{block}"), format!("conv_pw_{block}_bn"));
        x = net.conv(&conv, &norm, x, width, Window::square(1, 1, 0), None, relu);
    }
    let pooled = net.global_average_pool(x);
    net.linear("fc", pooled, classes);
    net.finish(name, classes)
}
