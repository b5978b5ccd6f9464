//! The shapes that are timed.

use std::fmt;

use lrpet_runtime::model::{Shape, Window};

/// A convolution, with its weights left open.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Of what network.
    about: &'static str,
    pub input: Shape,
    pub out_channels: u32,
    pub window: Window,
    pub depthwise: bool,
}

/// How a convolution's weights are stored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload {
    Dense,
    Depthwise,
    /// Pruned by a ratio, of which that rank is left.
    Pair {
        ratio: f64,
        rank: u32,
    },
}

impl Workload {
    pub fn rank(self) -> Option<u32> {
        match self {
            Workload::Pair { rank, .. } => Some(rank),
            _ => None,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Dense => f.write_str("dense"),
            Workload::Depthwise => f.write_str("depthwise"),
            Workload::Pair { ratio, .. } => write!(f, "g = {ratio}"),
        }
    }
}

impl Case {
    const fn new(about: &'static str, input: Shape, out_channels: u32, window: Window) -> Case {
        Case { about, input, out_channels, window, depthwise: false }
    }

    const fn depthwise(about: &'static str, input: Shape, window: Window) -> Case {
        Case { about, input, out_channels: input.channels, window, depthwise: true }
    }

    /// Rows and columns of the output. The shapes here have one.
    pub fn output(&self) -> Shape {
        let (height, width) = self.window.output(self.input.height, self.input.width).unwrap_or((0, 0));
        Shape::new(self.out_channels, height, width)
    }

    pub fn name(&self) -> String {
        let [rows, columns] = self.window.kernel;
        let [stride, _] = self.window.stride;
        let kind = if self.depthwise { " depthwise" } else { "" };
        let stride = if stride > 1 { format!(" stride {stride}") } else { String::new() };
        let (input, n) = (self.input, self.out_channels);
        format!("{rows}×{columns}{kind}{stride}, {input} to {n} ({})", self.about)
    }

    /// Dense and what pruning ratios of 0.6 and 0.8 leave of it.
    pub fn workloads(&self) -> Vec<Workload> {
        if self.depthwise {
            return vec![Workload::Depthwise];
        }
        let full = self.out_channels.min(self.input.channels * self.window.taps());
        // A uniform ratio leaves (1 − g)·min(n, c·k²), rounded down.
        let pair = |ratio: f64| Workload::Pair {
            ratio,
            rank: ((1.0 - ratio) * f64::from(full) + 1e-9).max(1.0) as u32,
        };
        vec![Workload::Dense, pair(0.6), pair(0.8)]
    }

    pub fn macs(&self, workload: Workload) -> u64 {
        let (pixels, taps) = (self.output().pixels() as u64, u64::from(self.window.taps()));
        let (n, c) = (u64::from(self.out_channels), u64::from(self.input.channels));
        pixels
            * match workload {
                Workload::Dense => n * c * taps,
                Workload::Depthwise => n * taps,
                Workload::Pair { rank, .. } => u64::from(rank) * (c * taps + n),
            }
    }
}

/// Every distinct convolution of ResNet-20, 32, 56 and 110 with projection shortcuts on 3×32×32, some of separable networks,
/// ResNet-18 and keyword spotting, and odd sizes.
pub fn all() -> Vec<Case> {
    const RESNET: &str = "ResNet-20 to 110";
    let shape = Shape::new;
    let square = Window::square;
    vec![
        Case::new(RESNET, shape(3, 32, 32), 16, square(3, 1, 1)),
        Case::new(RESNET, shape(16, 32, 32), 16, square(3, 1, 1)),
        Case::new(RESNET, shape(16, 32, 32), 32, square(3, 2, 1)),
        Case::new(RESNET, shape(16, 32, 32), 32, square(1, 2, 0)),
        Case::new(RESNET, shape(32, 16, 16), 32, square(3, 1, 1)),
        Case::new(RESNET, shape(32, 16, 16), 64, square(3, 2, 1)),
        Case::new(RESNET, shape(32, 16, 16), 64, square(1, 2, 0)),
        Case::new(RESNET, shape(64, 8, 8), 64, square(3, 1, 1)),
        Case::depthwise("MobileNet", shape(32, 48, 48), square(3, 1, 1)),
        Case::depthwise("MobileNet", shape(64, 24, 24), square(3, 2, 1)),
        Case::new("MobileNet", shape(32, 24, 24), 64, square(1, 1, 0)),
        Case::new("MobileNet", shape(128, 6, 6), 128, square(1, 1, 0)),
        Case::depthwise("MobileNetV2", shape(32, 112, 112), square(3, 1, 1)),
        Case::depthwise("MobileNetV2", shape(96, 112, 112), square(3, 2, 1)),
        Case::depthwise("MobileNetV2", shape(384, 14, 14), square(3, 1, 1)),
        Case::depthwise("MobileNetV2", shape(576, 14, 14), square(3, 2, 1)),
        Case::depthwise("MobileNetV2", shape(960, 7, 7), square(3, 1, 1)),
        Case::depthwise("EfficientNet", shape(240, 28, 28), square(5, 2, 2)),
        Case::depthwise("EfficientNet", shape(672, 14, 14), square(5, 1, 2)),
        Case::new("MobileNetV2", shape(960, 7, 7), 320, square(1, 1, 0)),
        Case::new("ResNet-18", shape(64, 56, 56), 64, square(3, 1, 1)),
        Case::new("ResNet-18", shape(128, 28, 28), 128, square(3, 1, 1)),
        Case::new("ResNet-18", shape(256, 14, 14), 256, square(3, 1, 1)),
        Case::new("ResNet-18", shape(512, 7, 7), 512, square(3, 1, 1)),
        Case::new("ResNet-18", shape(256, 14, 14), 512, square(1, 2, 0)),
        Case::new(
            "keyword spotting",
            shape(1, 49, 10),
            64,
            Window { kernel: [10, 4], stride: [2, 2], padding: [4, 1, 4, 1] },
        ),
        Case::new("odd", shape(17, 15, 13), 19, square(3, 1, 1)),
        Case::new("odd", shape(5, 29, 7), 11, square(5, 2, 2)),
    ]
}
