//! Transformed filters, made once when a model is loaded.

use std::vec::Vec;

use super::super::element::Element;
use super::super::fill::{self, Columns};
use super::super::geometry::{Runs, Squares, tile};
use super::super::matrix::{Group, sizes};
use crate::kernel::tiling::{Form, Patch};
use crate::kernel::{Method, f16, winograd};
use crate::model::Shape;

/// Transformed filters in the order in which they are read.
#[derive(Debug)]
pub(in crate::kernel::aarch64) struct Squared<B> {
    pub(in crate::kernel::aarch64) plan: Squares,
    pub(super) columns: Vec<Columns>,
    pub(super) groups: Vec<Group>,
    /// For each group and product a column a channel, in whole registers.
    pub(super) weights: Vec<B>,
    /// Bytes from a channel's values to the next one's.
    pub(super) steps: Vec<isize>,
}

impl<B: Copy + Default + 'static> Squared<B> {
    /// Where tiles compute `rows` filters (3×3 weights for each channel) faster than sums of products do.
    pub(in crate::kernel::aarch64) fn new<E: Element<Bits = B>>(
        (input, output): (Shape, Shape),
        (patch, method): (&Patch, Method),
        form: Form,
        (bits, rows): (&[u16], usize),
    ) -> Option<Self> {
        let (channels, tile) = (input.channels as usize, tile(E::ARITHMETIC));
        let window = &patch.window;
        let plan = Squares::fit(E::ARITHMETIC, (input, output), window, form)?;
        let wanted = match method {
            Method::Direct => false,
            Method::Fastest => plan.pays(E::ARITHMETIC, (channels, rows), patch, output),
            Method::Tiles(wanted) => wanted == tile,
        };
        if !wanted {
            return None;
        }
        let filters: Vec<_> = bits
            .chunks_exact(9)
            .map(|bits| {
                let bits =
                    core::array::from_fn(|i| bits.get(i).map_or(0.0, |bits| f64::from(f16::widen(*bits))));
                winograd::filter(tile, bits)
            })
            .collect();
        let runs = Runs { runs: 1, registers: plan.pitch / E::LANES, pitch: 0 };
        let (mut groups, mut weights, mut first) = (Vec::new(), Vec::new(), 0);
        for count in sizes(rows, |rows| runs.cost(rows, E::LANES)) {
            groups.push(Group { first, rows: count, at: weights.len() });
            for product in 0..tile.products() {
                for channel in 0..channels {
                    let filters =
                        filters.iter().skip(first * channels + channel).step_by(channels).take(count);
                    weights.extend(filters.map(|filter| E::rounded(filter[product] as f32)));
                    weights.resize(weights.len().next_multiple_of(E::LANES), B::default());
                }
            }
            first += count;
        }
        let steps = std::vec![(plan.pitch * size_of::<B>()) as isize; channels];
        Some(Squared { plan, columns: fill::columns(&plan.patch, input, window), groups, weights, steps })
    }

    /// Bytes on the heap.
    pub(in crate::kernel::aarch64) fn bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
            + size_of_val(self.steps.as_slice())
            + size_of_val(self.groups.as_slice())
            + size_of_val(self.columns.as_slice())
    }
}
