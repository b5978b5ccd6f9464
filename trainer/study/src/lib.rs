//! What surrounds a training: following it, measuring what came out, and doing so for many ranks.
//!
//! Arrows go one way, from the last of these to the first: [`schema`] is what measurements are written in, [`measure`] and [`boards`] make
//! them; [`sweep`] trains one network for each of several pruning ratios, here or through [`launch`]; [`search`] finds ranks for a
//! board; [`report`] makes pages of it all, and [`follow`] writes what one looks at while a run goes.

pub mod boards;
pub mod csv;
pub mod follow;
pub mod host;
pub mod launch;
pub mod measure;
pub mod report;
pub mod schema;
pub mod search;
pub mod sweep;
