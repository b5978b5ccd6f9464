//! Residual networks: He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (CVPR 2016), for images of
//! 224×224 (section 4.1) and for small ones (section 4.2). Names of tensors are torchvision's.

use lrpet_runtime::model::{Activation, Shape, Value, Window};

use super::Network;
use super::builder::Builder;

/// How a block's shortcut changes resolution and channels.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shortcut {
    /// Option A: subsample and pad with zero channels; no parameters.
    Pad,
    /// Option B: 1×1 convolution with batch normalisation.
    Projection,
}

/// Stem 3×3, three stages of 16, 32 and 64 channels with `blocks` basic blocks each, global average pool, `fc`.
pub(super) fn cifar(
    name: &str,
    input: Shape,
    classes: u32,
    blocks: u32,
    shortcut: Shortcut,
) -> Option<Network> {
    let mut net = Builder::new(input);
    let mut x = net.conv("conv1", "bn1", 0, 16, Window::square(3, 1, 1), None, Activation::Relu);
    let mut channels = 16;
    for (stage, width) in [16, 32, 64].into_iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            let prefix = format!("layer{}.{block}", stage + 1);
            x = basic_block(&mut net, &prefix, x, (channels, width), stride, shortcut);
            channels = width;
        }
    }
    let pooled = net.global_average_pool(x);
    net.linear("fc", pooled, classes);
    net.finish(name, classes)
}

/// Two 3×3 convolutions and a shortcut; the shortcut runs first, so that its value can be overwritten by the sum.
fn basic_block(
    net: &mut Builder,
    prefix: &str,
    x: Value,
    (channels, width): (u32, u32),
    stride: u16,
    shortcut: Shortcut,
) -> Value {
    let residual = residual(net, prefix, x, (channels, width), stride, shortcut);
    let (conv1, bn1) = (format!("{prefix}.conv1"), format!("{prefix}.bn1"));
    let middle = net.conv(&conv1, &bn1, x, width, Window::square(3, stride, 1), None, Activation::Relu);
    let (conv2, bn2) = (format!("{prefix}.conv2"), format!("{prefix}.bn2"));
    net.conv(&conv2, &bn2, middle, width, Window::square(3, 1, 1), Some(residual), Activation::Relu)
}

/// Two 1×1 convolutions around a 3×3 one, which has the stride (torchvision's "v1.5"), and a shortcut; four times `width`
/// output channels.
fn bottleneck(
    net: &mut Builder,
    prefix: &str,
    x: Value,
    (channels, width): (u32, u32),
    stride: u16,
) -> Value {
    let residual = residual(net, prefix, x, (channels, 4 * width), stride, Shortcut::Projection);
    let name = |part: &str| format!("{prefix}.{part}");
    let (point, relu) = (Window::square(1, 1, 0), Activation::Relu);
    let middle = net.conv(&name("conv1"), &name("bn1"), x, width, point, None, relu);
    let window = Window::square(3, stride, 1);
    let middle = net.conv(&name("conv2"), &name("bn2"), middle, width, window, None, relu);
    net.conv(&name("conv3"), &name("bn3"), middle, 4 * width, point, Some(residual), relu)
}

/// The value that a block's result is added to: its input, as it is or brought to the result's shape.
fn residual(
    net: &mut Builder,
    prefix: &str,
    x: Value,
    (channels, width): (u32, u32),
    stride: u16,
    shortcut: Shortcut,
) -> Value {
    match shortcut {
        _ if stride == 1 && channels == width => x,
        Shortcut::Pad => net.pad_shortcut(x, width, stride),
        Shortcut::Projection => {
            let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
            net.conv(&conv, &norm, x, width, Window::square(1, stride, 0), None, Activation::None)
        }
    }
}

/// What a network for large images is made of.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 and 1×1 convolutions.
    Bottleneck,
}

/// Stem 7×7 of stride 2, 3×3 max pooling of stride 2, four stages of widths 64 to 512 with `blocks` blocks, global average
/// pool, `fc`.
pub(super) fn imagenet(
    name: &str,
    input: Shape,
    classes: u32,
    block: Block,
    blocks: [u32; 4],
) -> Option<Network> {
    let mut net = Builder::new(input);
    let mut x = net.conv("conv1", "bn1", 0, 64, Window::square(7, 2, 3), None, Activation::Relu);
    x = net.max_pool(x, Window::square(3, 2, 1));
    let mut channels = 64;
    for ((stage, width), blocks) in [64, 128, 256, 512].into_iter().enumerate().zip(blocks) {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let prefix = format!("layer{}.{index}", stage + 1);
            (x, channels) = match block {
                Block::Basic => {
                    let shortcut = Shortcut::Projection;
                    (basic_block(&mut net, &prefix, x, (channels, width), stride, shortcut), width)
                }
                Block::Bottleneck => (bottleneck(&mut net, &prefix, x, (channels, width), stride), 4 * width),
            };
        }
    }
    let pooled = net.global_average_pool(x);
    net.linear("fc", pooled, classes);
    net.finish(name, classes)
}
