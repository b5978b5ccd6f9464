//! LRPET: low-rank projection with energy transfer (Guo, Lin, Chen, Xing, Liu, Xu, "Compact model training by
//! low-rank projection with energy transfer", arXiv 2204.05566, IEEE TNNLS 2024).
//!
//! Pure mathematics on slices: a layer's weight is its matrix M, n rows (output channels) by c·kh·kw columns,
//! row-major, which is the order of a weight `[n, c, kh, kw]`. [`rank`] says which layers become pairs and of
//! what rank, by a [`rule`] that a user states; [`projection`] is the step of the training, [`factors`] makes the two
//! thin convolutions.

pub mod budget;
mod error;
pub mod factors;
pub mod knapsack;
pub mod list;
pub mod projection;
pub mod rank;
pub mod rule;
pub mod spectrum;

pub use budget::{Budget, Eights, Loss};
pub use error::LrpetError;
pub use factors::Factors;
pub use list::RankList;
pub use projection::{LayerWeight, Options, Projection, project, project_all};
pub use rank::{RankPlan, Scope, uniform_rank};
pub use rule::{RankRule, Rule};
pub use spectrum::{Spectrum, bn_scale};
