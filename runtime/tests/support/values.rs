//! Networks that take and give values.

use lrpet_runtime::model::{InputKind, OutputKind, Shape};

use super::Network;

/// A network whose input are values.
pub fn of_values(shape: Shape, seed: u64) -> Network {
    let mut net = Network::new(shape, 1, seed);
    net.header.kind = InputKind::Values;
    net
}

/// States the last value as the result.
pub fn end(net: &mut Network) {
    let output = *net.shapes.last().unwrap();
    (net.header.output, net.header.classes) = (output, output.len() as u32);
    net.header.result = OutputKind::Values;
    net.header.version = 2;
}
