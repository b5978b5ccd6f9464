//! What a model says of images, or values, in memory.

use lrpet_data::InMemory;
use lrpet_network::export::{self, ExportError, Logits, Ranges, evaluate};
use lrpet_runtime::model::Model;

/// Checks that `data` is what `model` takes.
///
/// # Errors
/// Those of [`evaluate::check_data`].
pub fn check_data(model: &Model<'_>, data: &InMemory) -> Result<(), ExportError> {
    match data {
        InMemory::Pictures(data) => evaluate::check_data(model, data),
        InMemory::Values(values) => evaluate::check_data(model, &values.samples),
    }
}

/// The runtime's logits of `data`, and how far the values of each layer go; `progress` is told the images of each finished chunk.
///
/// # Errors
/// Those of [`export::ranged_logits`].
pub fn ranged_logits(
    model: &Model<'_>,
    data: &InMemory,
    progress: impl Fn(usize) + Sync,
) -> Result<(Logits, Ranges), ExportError> {
    match data {
        InMemory::Pictures(data) => export::ranged_logits(model, data, progress),
        InMemory::Values(values) => export::ranged_logits(model, &values.samples, progress),
    }
}
