//! VGG-16 with batch normalisation for small images: Simonyan, Zisserman, "Very deep convolutional networks for
//! large-scale image recognition" (ICLR 2015), configuration D, with one linear layer behind the convolutions as is usual
//! on CIFAR. Names of tensors are torchvision's.

use lrpet_runtime::model::{Activation, Shape, Window};

use super::Network;
use super::builder::Builder;

/// Widths of the convolutions between the poolings.
const STAGES: [&[u32]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];

/// Thirteen 3×3 convolutions, a 2×2 max pooling behind each stage, global average pool (of one pixel at 32×32),
/// `classifier`.
pub(super) fn vgg16(name: &str, input: Shape, classes: u32) -> Option<Network> {
    let mut net = Builder::new(input);
    // torchvision numbers the modules: convolution, normalisation, ReLU, …, pooling.
    let (mut x, mut module) = (0, 0);
    for widths in STAGES {
        for &width in widths {
            let (conv, norm) = (format!("features.{module}"), format!("features.{}", module + 1));
            x = net.conv(&conv, &norm, x, width, Window::square(3, 1, 1), None, Activation::Relu);
            module += 3;
        }
        x = net.max_pool(x, Window::square(2, 2, 0));
        module += 1;
    }
    let pooled = net.global_average_pool(x);
    net.linear("classifier", pooled, classes);
    net.finish(name, classes)
}
