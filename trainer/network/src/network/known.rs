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

    /// The entry called `name` of [`KNOWN`].
    ///
    /// # Errors
    /// [`NetworkError::Unknown`] with the known names.
    pub fn named(name: &str) -> Result<&'static Known, NetworkError> {
        Known::by_name(name)
            .ok_or_else(|| NetworkError::Unknown { name: name.to_owned(), nearest: nearest(name) })
    }

    /// The network for images of shape `input`; `None` where they are too small, or there is no class.
    pub fn build(&self, input: Shape, classes: u32) -> Option<Network> {
        (self.build)(self.name, input, classes).map(|net| Network { about: self.about.to_owned(), ..net })
    }

    /// The network for images of shape `input`.
    ///
    /// # Errors
    /// [`NetworkError::Image`] or [`NetworkError::Classes`].
    pub fn network(&self, input: Shape, classes: u32) -> Result<Network, NetworkError> {
        let (name, usual) = (self.name, self.input);
        if classes == 0 {
            return Err(NetworkError::Classes { name });
        }
        self.build(input, classes).ok_or_else(|| {
            let takes = |size: &u32| self.build(Shape::new(input.channels, *size, *size), classes).is_some();
            let least = (1..=usual.height.max(usual.width)).find(takes);
            let large = least.filter(|&least| input.height >= least && input.width >= least);
            let most = large.map(|least| last(least, input.height.max(input.width), takes));
            NetworkError::Image { name, input, least, most, usual }
        })
    }
}

/// The last size that is `taken` from `low`, which is, to `high`, of sizes that are taken up to some one.
fn last(mut low: u32, mut high: u32, taken: impl Fn(&u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if taken(&middle) { low = middle } else { high = middle - 1 }
    }
    low
}

/// Why there is no such network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// No network is called so.
    #[error("no network is called `{name}`{}; known are {}", suggestion(.nearest), names())]
    Unknown {
        /// The name asked for.
        name: String,
        /// The known name that looks most like it, where one does.
        nearest: Option<&'static str>,
    },
    /// The network does not take such images.
    #[error("{name} does not take images of {input}{}; it is known for {usual}", takes(.least, .most))]
    Image {
        /// The network.
        name: &'static str,
        /// The images.
        input: Shape,
        /// The smallest height and width that it takes, where it takes any of so many channels.
        least: Option<u32>,
        /// The largest height and width of square images that it takes, where the images are not too small for it.
        most: Option<u32>,
        /// The images that it is known for.
        usual: Shape,
    },
    /// There is nothing to tell apart.
    #[error("{name} needs at least one class")]
    Classes {
        /// The network.
        name: &'static str,
    },
}

/// The names of all networks, for messages and help.
pub fn names() -> String {
    KNOWN.iter().map(|known| known.name).collect::<Vec<_>>().join(", ")
}

/// The known name that is most like `name`, where one is like it.
fn nearest(name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let wanted = plain(name);
    let likeness = |known: &&'static str| strsim::jaro_winkler(&plain(known), &wanted);
    let best = KNOWN.iter().map(|known| known.name).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(&best) > 0.8).then_some(best)
}

fn suggestion(nearest: &Option<&'static str>) -> String {
    nearest.map_or(String::new(), |name| format!(" (did you mean `{name}`?)"))
}

fn takes(least: &Option<u32>, most: &Option<u32>) -> String {
    if let Some(most) = most {
        return format!(", which are too large: it takes up to {most}×{most} pixels");
    }
    least.map_or(String::new(), |least| format!(": it takes {least}×{least} pixels and more"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_told_with_the_nearest_and_all() {
        for (name, nearest) in [
            ("resnet9", Some("resnet8")),
            ("ResNet-18", Some("resnet18")),
            ("mobilenetv2", Some("mobilenet_v2")),
            ("vgg16", Some("vgg16_bn")),
            ("dscnn", Some("ds_cnn")),
            ("mynet", None),
        ] {
            let error = Known::named(name).unwrap_err();
            assert!(
                matches!(error, NetworkError::Unknown { nearest: found, .. } if found == nearest),
                "{error:?}"
            );
            let text = error.to_string();
            assert!(text.contains(&format!("no network is called `{name}`")), "{text}");
            assert!(text.contains("known are resnet8, resnet20,") && text.contains("ds_cnn"), "{text}");
            assert_eq!(text.contains("did you mean"), nearest.is_some(), "{text}");
        }
    }

    #[test]
    fn images_that_are_too_small_are_told_with_the_sizes_that_are_not() {
        let vgg = Known::named("vgg16_bn").unwrap();
        let error = vgg.network(Shape::new(3, 31, 40), 10).unwrap_err().to_string();
        assert!(
            error.contains("vgg16_bn does not take images of 3×31×40: it takes 32×32 pixels and more"),
            "{error}"
        );
        assert!(
            vgg.network(Shape::new(3, 32, 32), 0).unwrap_err().to_string().contains("at least one class")
        );
        let error = vgg.network(Shape::new(3, 100_000, 100_000), 10).unwrap_err();
        let NetworkError::Image { most: Some(most), .. } = error else { panic!("{error:?}") };
        let text = error.to_string();
        assert!(text.contains(&format!("too large: it takes up to {most}×{most} pixels")), "{text}");
        assert!(!text.contains("and more"), "{text}");
        assert!(vgg.network(Shape::new(3, most, most), 10).is_ok());
        assert!(vgg.network(Shape::new(3, most + 1, most + 1), 10).is_err());
        for known in KNOWN {
            assert!(known.network(known.input, known.classes).is_ok(), "{}", known.name);
            assert!(known.network(Shape::new(0, 32, 32), 2).is_err(), "{}", known.name);
        }
    }
}
