//! A network as a picture: its graph with shapes, costs and ranks, in SVG.

mod place;
mod rows;
mod svg;

use std::collections::BTreeMap;

use lrpet_runtime::model::cost::Matrix;
use lrpet_runtime::model::{Activation, Conv, Op, Pool, PoolKind, Shape, Weights, Window};

use crate::network::{InputKind, Network, OutputKind};
use place::Placed;
pub use rows::draw_rows;

/// What a node does, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Input,
    Conv,
    Depthwise,
    Linear,
    Pool,
    Other,
}

/// One layer of the picture.
#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    name: String,
    /// What it does.
    about: String,
    shape: Shape,
    /// Multiply-adds as stored, and of the dense layer.
    macs: u64,
    macs_dense: u64,
    /// Rank of a pair, and number of singular values.
    rank: Option<[u64; 2]>,
    /// Nodes that it reads.
    inputs: Vec<usize>,
}

/// The picture of `network`, whose layers in `ranks` are pairs of this rank, as the text of an SVG file.
pub fn draw(network: &Network, ranks: &BTreeMap<String, u64>) -> String {
    let nodes = nodes(network, ranks);
    let sum = |of: fn(&Node) -> u64| nodes.iter().map(of).sum::<u64>();
    let (macs, dense) = (sum(|node| node.macs), sum(|node| node.macs_dense));
    let mut about = format!("{} multiply-adds", count(macs));
    if macs != dense {
        about += &format!(" of {} dense", count(dense));
    }
    about += &format!(", {} weights", count(weights(network, ranks)));
    svg::render(&network.name, &about, &nodes, &Placed::new(&nodes))
}

fn weights(network: &Network, ranks: &BTreeMap<String, u64>) -> u64 {
    let matrices = network.matrices();
    matrices.iter().map(|(_, name, matrix)| matrix.params(ranks.get(*name).copied().unwrap_or(0))).sum()
}

fn nodes(network: &Network, ranks: &BTreeMap<String, u64>) -> Vec<Node> {
    let shapes = network.value_shapes().unwrap_or_default();
    let about = match network.input_kind {
        InputKind::Picture => "picture",
        InputKind::Values => "values",
    };
    let input = Node {
        kind: Kind::Input,
        name: "input".to_owned(),
        about: about.to_owned(),
        shape: network.input,
        macs: 0,
        macs_dense: 0,
        rank: None,
        inputs: Vec::new(),
    };
    let last = network.layers.len();
    let layers =
        network.layers.iter().zip(shapes.iter().skip(1)).enumerate().map(|(index, (layer, &shape))| {
            let inputs: Vec<usize> = layer.op.inputs().values().iter().copied().map(usize::from).collect();
            let matrix = Matrix::of(&layer.op, shapes[inputs[0]]);
            let rank = ranks.get(layer.op.name()).copied();
            let (kind, mut about) = described(&layer.op);
            if layer.norm.is_some() {
                about += " + norm";
            }
            if layer.op.activation() != Activation::None {
                about += &format!(" + {}", layer.op.activation().name());
            }
            if index + 1 == last && network.output_kind == OutputKind::Classes {
                about += ": classes";
            }
            Node {
                kind,
                name: layer.name().to_owned(),
                about,
                shape,
                macs: matrix.map_or(0, |matrix| matrix.cost(rank.unwrap_or(0)).macs),
                macs_dense: matrix.map_or(0, |matrix| matrix.cost(0).macs),
                rank: rank.zip(matrix).map(|(rank, matrix)| [rank, matrix.rows.min(matrix.columns)]),
                inputs,
            }
        });
    std::iter::once(input).chain(layers).collect()
}

/// What an operation does, in a few words.
fn described(op: &Op<String>) -> (Kind, String) {
    match op {
        Op::Conv(Conv { weights: Weights::Depthwise, window, .. }) => {
            (Kind::Depthwise, format!("depthwise {}", size(window)))
        }
        Op::Conv(conv) if conv.residual.is_some() => {
            (Kind::Conv, format!("conv {} + residual", size(&conv.window)))
        }
        Op::Conv(conv) => (Kind::Conv, format!("conv {}", size(&conv.window))),
        Op::Linear(_) => (Kind::Linear, "linear".to_owned()),
        Op::Pool(Pool { kind: PoolKind::Max, window, .. }) => {
            (Kind::Pool, format!("max pool {}", size(window)))
        }
        Op::Pool(pool) => (Kind::Pool, format!("average pool {}", size(&pool.window))),
        Op::GlobalAveragePool { .. } => (Kind::Pool, "mean of each channel".to_owned()),
        Op::PadShortcut(shortcut) => {
            (Kind::Other, format!("every {}. pixel, zero channels", shortcut.stride))
        }
        Op::Add { .. } => (Kind::Other, "sum".to_owned()),
        Op::Concat(_) => (Kind::Other, "join channels".to_owned()),
        Op::GeneralConv(conv) => (Kind::Conv, format!("{} {}", op.kind(), size(&conv.window))),
        Op::GeneralPool(pool) => (Kind::Pool, format!("pool {}", size(&pool.window))),
        general => (Kind::Other, general.kind().to_owned()),
    }
}

fn size(window: &Window) -> String {
    let ([height, width], [down, across]) = (window.kernel, window.stride);
    match (down, across) {
        (1, 1) => format!("{height}×{width}"),
        _ if down == across => format!("{height}×{width} / {down}"),
        _ => format!("{height}×{width} / {down}×{across}"),
    }
}

/// A number in three digits.
fn count(value: u64) -> String {
    lrpet_report::units::count(value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lrpet::RankPlan;
    use crate::network::KNOWN;

    #[test]
    fn every_known_network_is_drawn_with_all_layers_apart() {
        for known in KNOWN {
            let network = known.build(known.input, known.classes).unwrap();
            let nodes = nodes(&network, &BTreeMap::new());
            let placed = Placed::new(&nodes);
            let mut places: Vec<(usize, usize)> = placed.places.clone();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), nodes.len(), "{}", known.name);
            for (node, place) in nodes.iter().zip(&placed.places) {
                assert!(node.inputs.iter().all(|&input| placed.places[input].0 < place.0), "{}", known.name);
            }
            let svg = draw(&network, &BTreeMap::new());
            assert!(network.layers.iter().all(|layer| svg.contains(layer.name())), "{}", known.name);
        }
    }

    #[test]
    fn pairs_are_drawn_with_their_ranks_and_costs() {
        let known = crate::network::Known::named("resnet8").unwrap();
        let mut network = known.build(known.input, known.classes).unwrap();
        network.name = "a < b & \"c\"".to_owned();
        let plan = RankPlan::uniform(&network, 0.6).unwrap();
        let svg = draw(&network, &plan.ranks());
        assert!(svg.contains("rank 6 of 16") && svg.contains("a &lt; b &amp; &quot;c&quot;"), "{svg}");
        assert!(svg.contains(&format!(
            "{} multiply-adds of {} dense",
            count(plan.cost().macs),
            count(network.cost().macs)
        )));
        assert!(svg.contains(&format!("{} weights", count(plan.cost().params))));
    }
}
