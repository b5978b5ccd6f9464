//! The projections of an epoch.

use std::collections::BTreeMap;
use std::time::Instant;

use lrpet_network::lrpet;

use super::config::ProjectionSettings;
use super::metrics::ProjectionRecord;
use super::passes::project;
use crate::{TrainError, Trainable};

/// Counts them and keeps what the last found.
#[derive(Default)]
pub(super) struct Projections {
    count: usize,
    seconds: f64,
    /// What the last of them found in each layer.
    last: Vec<(String, lrpet::Projection)>,
}

impl Projections {
    pub(super) fn add(
        &mut self,
        model: &Trainable,
        settings: &ProjectionSettings,
        ranks: &BTreeMap<String, u64>,
    ) -> Result<(), TrainError> {
        let start = Instant::now();
        self.last = project(model, ranks, &settings.options())?;
        self.count += 1;
        self.seconds += start.elapsed().as_secs_f64();
        Ok(())
    }

    pub(super) fn record(&self) -> Option<ProjectionRecord> {
        if self.last.is_empty() {
            return None;
        }
        let energy: f64 = self.last.iter().map(|(_, projection)| projection.energy_kept).sum();
        let rounded = |value: f64| (value * 1e6).round() / 1e6;
        let layers = self.last.iter().map(|(name, found)| (name.clone(), rounded(found.energy_kept)));
        Some(ProjectionRecord {
            count: self.count,
            energy_kept: energy / self.last.len() as f64,
            skipped: self.last.iter().filter(|(_, projection)| projection.skipped).count(),
            seconds: self.seconds,
            layers: layers.collect(),
        })
    }
}
