//! Winograd's minimal filtering for 3×3 windows with stride 1, as far as it depends on no instruction set.
//!
//! F(m×m, 3×3) computes a tile of m×m outputs from (m+2)×(m+2) inputs d and a filter g as Aᵀ((G·g·Gᵀ) ⊙ (Bᵀ·d·B))·A, with
//! (m+2)² products where the sums have 9·m² (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, arXiv
//! 1509.09308). Products are summed over the channels before they are transformed back. The filters are transformed once,
//! in f64.
//!
//! F(2×2) evaluates at 0, ±1 and ∞, as the paper does. F(4×4) evaluates at 0, ±5/8, ±3/2 and ∞ and not, as the paper, at 0,
//! ±1, ±2 and ∞: all constants are exact in f32 as well, it takes as many operations, and its bound on the roundings is a
//! quarter. How points decide the errors: Barabasz, Anderson, Soodhalter and Gregg, Error Analysis and Improving the Accuracy of
//! Winograd Convolution for Deep Neural Networks, arXiv 1803.10986.
//!
//! No value can leave the range of f32 on the way: inputs and weights are f16, so a transformed input is below 28·65504, and
//! a transformed weight below 3·65504; 2³² products of those are below 10²², their transforms below 10²⁴.
// Elsewhere only the bounds are in use.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code, unused_imports))]

mod bound;
mod matrices;
mod rows;
mod transform;

pub use bound::{winograd_error, winograd_error_in_place};
pub(in crate::kernel) use matrices::filter;
pub use rows::winograd_row_error;
pub(in crate::kernel) use transform::{Registers, input, output};

use crate::model::Window;

/// Outputs of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WinogradTile {
    /// 2×2, of 4×4 inputs: 16 products for 36.
    Two,
    /// 4×4, of 6×6 inputs: 36 products for 144.
    Four,
}

impl WinogradTile {
    /// Outputs on a side.
    pub const fn outputs(self) -> usize {
        match self {
            WinogradTile::Two => 2,
            WinogradTile::Four => 4,
        }
    }

    /// Inputs on a side.
    pub const fn inputs(self) -> usize {
        self.outputs() + 2
    }

    /// Products of a tile, for each channel and filter.
    pub const fn products(self) -> usize {
        self.inputs() * self.inputs()
    }

    /// Name for reports.
    pub const fn name(self) -> &'static str {
        match self {
            WinogradTile::Two => "Winograd 2×2",
            WinogradTile::Four => "Winograd 4×4",
        }
    }

    /// True of the windows that there are tiles for.
    pub fn serves(window: &Window) -> bool {
        window.kernel == [3, 3] && window.stride == [1, 1]
    }
}

/// Most channels whose products are summed one after another; sums of so many are added to each other. It bounds the error.
pub(in crate::kernel) const TOGETHER: usize = 128;
