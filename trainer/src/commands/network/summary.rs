//! What every look at a network begins with: its shapes and what it costs.

use lrpet_network::Network;
use lrpet_report::{units, visible};
use lrpet_runtime::model::Shape;
use serde::Serialize;

/// Axes C×H×W.
pub type Axes = [u32; 3];

/// Shapes of input and results, and costs of one inference.
#[derive(Serialize)]
pub struct Summary {
    input: Axes,
    /// Of the last layer.
    output: Axes,
    outputs: Vec<Named>,
    macs: u64,
    params: u64,
}

impl Summary {
    /// Of a network whose layers fit each other.
    pub fn of(network: &Network) -> Summary {
        let shapes = network.value_shapes().unwrap_or_default();
        let cost = network.cost();
        Summary {
            input: network.input.axes(),
            output: shapes.last().map_or([0; 3], |shape| shape.axes()),
            outputs: Named::all(network),
            macs: cost.macs,
            params: cost.params,
        }
    }

    /// `3×32×32 → 10×1×1`.
    pub fn shapes(&self) -> String {
        format!("{} → {}", spelt(self.input), Named::text(&self.outputs))
    }

    /// `12 501 632 MACs, 77 360 parameters`.
    pub fn costs(&self) -> String {
        format!(
            "{} MACs, {} parameters",
            units::grouped(self.macs as f64),
            units::grouped(self.params as f64)
        )
    }
}

/// `3×32×32`.
pub fn spelt([c, h, w]: Axes) -> String {
    format!("{c}×{h}×{w}")
}

/// An output of a network.
#[derive(Serialize)]
struct Named {
    name: String,
    /// Its shape.
    shape: Axes,
}

impl Named {
    /// All outputs of a network.
    fn all(network: &Network) -> Vec<Named> {
        let named = |(name, shape): (String, Shape)| Named { name, shape: shape.axes() };
        network.outputs().into_iter().map(named).collect()
    }

    /// Their shapes, with names where there are several.
    fn text(outputs: &[Named]) -> String {
        let several = outputs.len() > 1;
        let one = |Named { name, shape }: &Named| match several {
            true => format!("{} {}", visible(name), spelt(*shape)),
            false => spelt(*shape),
        };
        outputs.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
