//! This machine as a board.

use std::path::Path;

use anyhow::{Context, Result};
use lrpet_network::export::checked;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::plan::Plan;
use sha2::{Digest, Sha256};

use super::{Bench, Board, Measured, NANOSECONDS};
use crate::host::Host;
use crate::measure::{self, BenchOptions};
use crate::schema::LayerTicks;

/// Most bytes of a model: caches beyond this would measure memory and not kernels.
const CAPACITY: u64 = 1 << 20;

/// Times models on one thread of this machine.
#[derive(Debug)]
pub struct HostBench {
    board: Board,
    /// Inferences timed whole, and as many again by layer.
    pub iterations: usize,
}

impl Default for HostBench {
    fn default() -> Self {
        HostBench { board: Board::host(), iterations: 60 }
    }
}

impl Bench for HostBench {
    fn board(&self) -> Board {
        self.board
    }

    /// This program's own bytes stand for its kernels.
    fn key(&self) -> Result<String> {
        let own = std::env::current_exe().and_then(std::fs::read).context("cannot read this program")?;
        let cpu = Host::here().cpu;
        Ok(format!("{cpu}, {}, program {}", Isa::detect().name(), short(&Sha256::digest(own))))
    }

    fn capacity(&self) -> u64 {
        CAPACITY
    }

    /// The least of the repeats: what else runs on the machine only adds.
    fn measure(&mut self, model: &Path) -> Result<Measured> {
        let path = model.display().to_string();
        let map = MappedModel::open(model).with_context(|| format!("cannot read the model {path}"))?;
        let model = checked(map.bytes(), &path)?;
        let options =
            BenchOptions { warm_up: 5, iterations: self.iterations, threads: std::num::NonZeroUsize::MIN };
        let bench = measure::bench(&model, options).with_context(|| path.clone())?;
        let plan =
            Plan::new(model.program(), self.board.isa).map_err(|error| anyhow::anyhow!("{path}: {error}"))?;
        let nanoseconds = |ms: f64| (ms * 1e6).round() as u64;
        Ok(Measured {
            board: self.board.name.to_owned(),
            core: Some(Host::here().cpu),
            counter: NANOSECONDS.to_owned(),
            total: nanoseconds(bench.min_ms),
            layers: (bench.layers.into_iter())
                .map(|layer| LayerTicks { name: layer.name, ticks: nanoseconds(layer.min_ms) })
                .collect(),
            model_bytes: Some(model.bytes().len() as u64),
            arena_bytes: Some(plan.arena_bytes as u64),
            ..Measured::default()
        })
    }
}

/// The first half of a hash, hexadecimal.
pub(super) fn short(hash: &[u8]) -> String {
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
