//! The weights that a run starts from.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use lrpet_network::checkpoint::{CheckpointError, Purpose};
use lrpet_network::network::Network;
use lrpet_network::read_weights;
use serde::Serialize;

use super::Run;
use super::checkpoint::io;
use super::config::Settings;
use super::metrics::Observer;
use super::passes::reestimate;
use crate::TrainError;

/// Weights for a network, from a file.
struct Initial {
    /// All tensors but those of the fresh layer.
    tensors: BTreeMap<String, Tensor>,
    /// The layer that starts afresh.
    fresh: Option<String>,
    /// The running statistics have to be measured: the file has none, or not all.
    no_statistics: bool,
    /// What was assumed of the file.
    notes: Vec<String>,
}

/// Reads the file at `path` for `network`; with `new_head` its last layer starts afresh.
///
/// # Errors
/// [`TrainError::Io`], and [`TrainError::Init`] where the tensors are not those of the network.
fn read(path: &Path, network: &Network, new_head: bool) -> Result<Initial, TrainError> {
    let fitted = read_weights(path)
        .and_then(|checkpoint| checkpoint.fit(network, Purpose::Training { new_head }))
        .map_err(|error| match error {
            CheckpointError::Io { path, source } => io(&path, source),
            CheckpointError::Unreadable { reason, .. } => failed(path, reason),
            other => failed(path, other),
        })?;
    let tensors = fitted.checkpoint.tensors.into_iter();
    let tensors = tensors.map(|(name, array)| {
        Tensor::from_vec(array.values, array.shape, &Device::Cpu).map(|tensor| (name, tensor))
    });
    Ok(Initial {
        tensors: tensors.collect::<Result<_, _>>()?,
        fresh: fitted.fresh,
        no_statistics: fitted.no_statistics,
        notes: fitted.checkpoint.notes,
    })
}

fn failed(path: &Path, reason: impl Display) -> TrainError {
    TrainError::Init { path: path.to_owned(), reason: reason.to_string() }
}

impl Run<'_> {
    /// Takes the weights of a file. Whether they have no statistics.
    pub(super) fn start_from(
        &mut self,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<bool, TrainError> {
        let settings = &self.config.settings;
        let initial = read(path, self.model.network(), settings.new_head)?;
        if initial.no_statistics && settings.reestimate_batches == 0 {
            return Err(failed(
                path,
                "no running statistics (track_running_stats=False): give --reestimate BATCHES to measure them",
            ));
        }
        let mut tensors = initial.tensors;
        for name in
            initial.fresh.iter().flat_map(|layer| [format!("{layer}.weight"), format!("{layer}.bias")])
        {
            tensors.insert(name.clone(), self.model.parameters().get(&name)?.copy()?);
        }
        self.model.load(&tensors).map_err(|error| failed(path, error))?;
        let origin = Origin::of(settings, self.model.network());
        for line in initial.notes.into_iter().chain(origin.map(|origin| origin.to_string())) {
            observer.stage(&format!("start: {line}"));
        }
        Ok(initial.no_statistics)
    }

    /// Measures the statistics of weights that have none, where process 0 says so.
    pub(super) fn measure(
        &mut self,
        unmeasured: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let mut flag = [if unmeasured { 1.0 } else { 0.0 }];
        self.model.exchange().broadcast(&mut flag);
        if flag[0] == 0.0 {
            return Ok(());
        }
        observer.stage("start: measuring the statistics of the batch normalisations over training batches");
        let settings = &self.config.settings;
        let loader = self.data.train.epoch(settings.epochs as u64, 0);
        reestimate(&mut self.model, loader.take(settings.reestimate_batches))
    }
}

/// Which layers of a run started from a file and which afresh.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Layers with the file's weights and statistics, in order.
    pub loaded: Vec<String>,
    /// Layers with fresh weights.
    pub fresh: Vec<String>,
}

impl Origin {
    /// That of a run of `network` with these settings; none where all of it starts afresh.
    pub fn of(settings: &Settings, network: &Network) -> Option<Origin> {
        let file = settings.init.clone()?;
        let matrices = network.matrices();
        let mut loaded: Vec<String> = matrices.iter().map(|(_, name, _)| (*name).to_owned()).collect();
        let fresh = if settings.new_head { loaded.pop().into_iter().collect() } else { Vec::new() };
        Some(Origin { file, loaded, fresh })
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.loaded.len();
        match &self.fresh[..] {
            [] => write!(f, "all {count} layers from {}", self.file.display()),
            fresh => write!(f, "{count} layers from {}, fresh: {}", self.file.display(), fresh.join(", ")),
        }
    }
}
