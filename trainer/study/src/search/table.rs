//! What each layer shape costs at each rank on one board, measured once and kept in a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lrpet_network::atomic;
use serde::{Deserialize, Serialize};

use super::LayerShape;
use super::probe::{self, Point};
use crate::boards::Bench;

/// Ranks of one shape that are measured, at most, besides the dense layer.
pub const MOST_RANKS: usize = 64;

/// The file: counts by name of shape and rank (0: dense).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Says what the file is.
    format: String,
    /// Board on which it was measured.
    board: String,
    /// [`Bench::key`].
    key: String,
    /// What was counted.
    counter: String,
    shapes: BTreeMap<String, BTreeMap<u64, u64>>,
}

const FORMAT: &str = "lrpet cost table 1";

/// Costs measured on one board.
#[derive(Clone, Debug)]
pub struct CostTable {
    file: Option<PathBuf>,
    document: Document,
}

/// Cost of a layer at a rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerCost {
    /// Count of the board.
    pub count: u64,
    /// Whether it lies between two ranks that were measured.
    pub interpolated: bool,
}

/// Why a file of costs cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cost table {}: {reason}; remove the file, or name another with --costs", path.display())]
pub struct TableError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub reason: String,
}

/// Folder of the tables where none is named: `lrpet/costs` in the user's cache.
pub fn folder() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    cache.unwrap_or_else(std::env::temp_dir).join("lrpet/costs")
}

impl CostTable {
    /// An empty table that is kept in memory alone.
    pub fn in_memory(bench: &dyn Bench) -> Result<CostTable> {
        Ok(CostTable { file: None, document: document(bench)? })
    }

    /// The table in `file`, or an empty one that will be written there where it does not exist, or was measured with
    /// other kernels.
    ///
    /// # Errors
    /// [`TableError`] where the file is something else or belongs to another board.
    pub fn open(file: &Path, bench: &dyn Bench) -> Result<CostTable> {
        let fresh = document(bench)?;
        let failed = |reason: String| TableError { path: file.to_owned(), reason };
        let document = match std::fs::read(file) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => fresh,
            Err(error) => return Err(failed(error.to_string()).into()),
            Ok(bytes) => {
                let found: Document =
                    serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))?;
                if found.format != FORMAT {
                    return Err(failed(format!("its format is `{}`, not `{FORMAT}`", found.format)).into());
                }
                if found.board != fresh.board {
                    return Err(failed(format!("it is of {}, not of {}", found.board, fresh.board)).into());
                }
                if found.key == fresh.key {
                    found
                } else {
                    tracing::info!("{}: measured with {}, now {}", file.display(), found.key, fresh.key);
                    fresh
                }
            }
        };
        Ok(CostTable { file: Some(file.to_owned()), document })
    }

    /// What is counted: `instructions`, `nanoseconds`.
    pub fn counter(&self) -> &str {
        &self.document.counter
    }

    /// The points of these shapes that are to be measured and are not yet.
    pub fn missing<'s>(&self, shapes: impl IntoIterator<Item = &'s LayerShape>) -> Vec<Point> {
        let mut wanted: BTreeMap<String, Vec<Point>> = BTreeMap::new();
        for shape in shapes {
            let name = shape.to_string();
            let known = self.document.shapes.get(&name);
            let ranks = std::iter::once(0).chain(ranks_to_measure(shape));
            let missing = ranks.filter(|rank| known.is_none_or(|known| !known.contains_key(rank)));
            let points = missing.map(|rank| Point { shape: shape.clone(), rank }).collect();
            wanted.insert(name, points);
        }
        wanted.into_values().flatten().collect()
    }

    /// Measures what is missing of these shapes. The file is written after each model; `progress` hears of layers measured
    /// and of layers in all.
    ///
    /// # Errors
    /// Those of the bench, and of the file.
    pub fn measure<'s>(
        &mut self,
        bench: &mut dyn Bench,
        shapes: impl IntoIterator<Item = &'s LayerShape>,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<()> {
        let points = self.missing(shapes);
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let file = folder.path().join("layers.safetensors");
        let (mut done, total) = (0, points.len());
        for points in probe::part(&points, bench.capacity()) {
            progress(done, total);
            std::fs::write(&file, probe::model(&points)?)
                .with_context(|| format!("cannot write {}", file.display()))?;
            let measured = bench.measure(&file)?;
            self.document.counter.clone_from(&measured.counter);
            for (point, count) in points.iter().zip(probe::counts(&points, &measured)?) {
                let shape = self.document.shapes.entry(point.shape.to_string()).or_default();
                shape.insert(point.rank, count);
            }
            done += points.len();
            self.save()?;
        }
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let write = || -> Result<()> {
            if let Some(folder) = file.parent() {
                std::fs::create_dir_all(folder)?;
            }
            Ok(atomic::write(file, &serde_json::to_vec_pretty(&self.document)?)?)
        };
        write().with_context(|| format!("cannot write the cost table {}", file.display()))
    }

    /// The cost of `shape` at `rank` (0: dense), on a straight line between the measured ranks on both sides; none where
    /// it was not measured.
    pub fn cost(&self, shape: &LayerShape, rank: u64) -> Option<LayerCost> {
        let known = self.document.shapes.get(&shape.to_string())?;
        if let Some(&count) = known.get(&rank) {
            return Some(LayerCost { count, interpolated: false });
        }
        let (&below, &low) = known.range(1..rank).next_back()?;
        let (&above, &high) = known.range(rank + 1..).next()?;
        let share = (rank - below) as f64 / (above - below) as f64;
        let count = low as f64 + share * (high as f64 - low as f64);
        Some(LayerCost { count: count.round() as u64, interpolated: true })
    }
}

fn document(bench: &dyn Bench) -> Result<Document> {
    Ok(Document {
        format: FORMAT.to_owned(),
        board: bench.board().name.to_owned(),
        key: bench.key()?,
        ..Document::default()
    })
}

/// The ranks of `shape` that are measured: all that pay where they are at most [`MOST_RANKS`], else so many, evenly apart,
/// the first and the last among them.
pub fn ranks_to_measure(shape: &LayerShape) -> Vec<u64> {
    let paying = shape.paying();
    let count = *paying.end() as usize;
    if count <= MOST_RANKS {
        return paying.collect();
    }
    (0..MOST_RANKS).map(|at| 1 + (at * (count - 1)).div_euclid(MOST_RANKS - 1) as u64).collect()
}
