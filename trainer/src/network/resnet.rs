//! Residual networks for small images: He, Zhang, Ren, Sun, "Deep residual learning for image recognition"
//! (CVPR 2016), section 4.2.

use lrpet_runtime::model::{Activation, Shape, Value, Window};

use super::{Builder, Network};

/// How a block's shortcut changes resolution and channels.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Shortcut {
    /// Option A: subsample and pad with zero channels; no parameters.
    Pad,
    /// Option B: 1×1 convolution with batch normalisation.
    Projection,
}

/// Stem 3×3, three stages of 16, 32 and 64 channels with `blocks` basic blocks each, global average pool, `fc`.
pub(super) fn cifar(name: &str, input: Shape, classes: u32, blocks: u32, shortcut: Shortcut) -> Network {
    let mut net = Builder::new();
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
    net.finish(name, input, classes)
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
    let changes = stride != 1 || channels != width;
    let residual = match shortcut {
        _ if !changes => x,
        Shortcut::Pad => net.pad_shortcut(x, width, stride),
        Shortcut::Projection => {
            let (conv, norm) = (format!("{prefix}.downsample.0"), format!("{prefix}.downsample.1"));
            net.conv(&conv, &norm, x, width, Window::square(1, stride, 0), None, Activation::None)
        }
    };
    let (conv1, bn1) = (format!("{prefix}.conv1"), format!("{prefix}.bn1"));
    let middle = net.conv(&conv1, &bn1, x, width, Window::square(3, stride, 1), None, Activation::Relu);
    let (conv2, bn2) = (format!("{prefix}.conv2"), format!("{prefix}.bn2"));
    net.conv(&conv2, &bn2, middle, width, Window::square(3, 1, 1), Some(residual), Activation::Relu)
}
