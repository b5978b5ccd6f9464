//! The networks that are known by name.

use lrpet_runtime::model::Shape;

use super::resnet::{Block, Shortcut};
use super::{Network, googlenet, mobilenet, resnet, vgg};

/// A network that is known by name.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Shape of the images that it is known for; it takes others too.
    pub input: Shape,
    /// Number of classes that it is known for; it takes others too.
    pub classes: u32,
    build: fn(&str, Shape, u32) -> Option<Network>,
}

impl Known {
    /// The entry called `name` of [`KNOWN`].
    pub fn by_name(name: &str) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.name == name)
    }

    /// The network for images of shape `input`; `None` where they are too small, or there is no class.
    pub fn build(&self, input: Shape, classes: u32) -> Option<Network> {
        (self.build)(self.name, input, classes)
    }
}

const CIFAR: (Shape, u32) = (Shape::new(3, 32, 32), 10);
const IMAGENET: (Shape, u32) = (Shape::new(3, 224, 224), 1000);

const fn known(
    name: &'static str,
    about: &'static str,
    (input, classes): (Shape, u32),
    build: fn(&str, Shape, u32) -> Option<Network>,
) -> Known {
    Known { name, about, input, classes, build }
}

/// All of them.
pub const KNOWN: &[Known] = &[
    known(
        "resnet8",
        "3 stages 16/32/64 of one block, 1×1 projection shortcuts (the MLPerf-Tiny class)",
        CIFAR,
        |name, input, classes| resnet::cifar(name, input, classes, 1, Shortcut::Projection),
    ),
    known(
        "resnet20",
        "3 stages 16/32/64 of three blocks, option-A shortcuts (He et al. 2016, section 4.2)",
        CIFAR,
        |name, input, classes| resnet::cifar(name, input, classes, 3, Shortcut::Pad),
    ),
    known(
        "resnet20b",
        "as resnet20 with 1×1 projection shortcuts (option B)",
        CIFAR,
        |name, input, classes| resnet::cifar(name, input, classes, 3, Shortcut::Projection),
    ),
    known("resnet32", "as resnet20 with five blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 5, Shortcut::Pad)
    }),
    known("resnet32b", "as resnet20b with five blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 5, Shortcut::Projection)
    }),
    known("resnet56", "as resnet20 with nine blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 9, Shortcut::Pad)
    }),
    known("resnet56b", "as resnet20b with nine blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 9, Shortcut::Projection)
    }),
    known("resnet110", "as resnet20 with eighteen blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 18, Shortcut::Pad)
    }),
    known("resnet110b", "as resnet20b with eighteen blocks a stage", CIFAR, |name, input, classes| {
        resnet::cifar(name, input, classes, 18, Shortcut::Projection)
    }),
    known(
        "vgg16_bn",
        "VGG-16 with batch normalisation and one linear layer, for small images",
        CIFAR,
        vgg::vgg16,
    ),
    known("googlenet", "nine inception modules behind a 3×3 stem, for small images", CIFAR, googlenet::cifar),
    known(
        "mobilenet_v2_cifar",
        "as mobilenet_v2 with the strides for small images",
        CIFAR,
        |name, input, classes| mobilenet::v2(name, input, classes, false),
    ),
    known(
        "resnet18",
        "four stages of two basic blocks, for large images",
        IMAGENET,
        |name, input, classes| resnet::imagenet(name, input, classes, Block::Basic, [2, 2, 2, 2]),
    ),
    known(
        "resnet34",
        "four stages of 3/4/6/3 basic blocks, for large images",
        IMAGENET,
        |name, input, classes| resnet::imagenet(name, input, classes, Block::Basic, [3, 4, 6, 3]),
    ),
    known(
        "resnet50",
        "four stages of 3/4/6/3 bottlenecks with the stride in the 3×3, for large images",
        IMAGENET,
        |name, input, classes| resnet::imagenet(name, input, classes, Block::Bottleneck, [3, 4, 6, 3]),
    ),
    known(
        "mobilenet_v2",
        "seventeen inverted residuals of width 1, for large images",
        IMAGENET,
        |name, input, classes| mobilenet::v2(name, input, classes, true),
    ),
    known(
        "mobilenet_v1_025",
        "MobileNetV1 of a quarter of the width (MLPerf Tiny's visual wake words)",
        (Shape::new(3, 96, 96), 2),
        mobilenet::v1_quarter,
    ),
    known(
        "ds_cnn",
        "10×4 stem and four depthwise-separable blocks (MLPerf Tiny's keyword spotting)",
        (Shape::new(1, 49, 10), 12),
        mobilenet::ds_cnn,
    ),
];
