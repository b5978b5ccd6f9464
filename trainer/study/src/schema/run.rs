//! What a machine measured, in the document that every machine writes ([`lrpet_report::Run`]), as parts of a report.

use lrpet_report::{FORMAT, Kind, Run};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Bench, Board, LayerTicks, LayerTime};

/// The latency of a host, of its document or of the fields of [`Bench`].
pub(super) fn bench<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bench>, D::Error> {
    Ok(Option::<Either<Bench>>::deserialize(deserializer)?.map(|bench| bench.0))
}

/// What boards measured, of their documents or of the fields of [`Board`].
pub(super) fn boards<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Board>, D::Error> {
    Ok(Vec::<Either<Board>>::deserialize(deserializer)?.into_iter().map(|board| board.0).collect())
}

/// A part of a report that a document may stand for.
struct Either<T>(T);

impl<'de, T> Deserialize<'de> for Either<T>
where
    T: for<'own> Deserialize<'own> + TryFrom<Run, Error = String>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let value = Value::deserialize(deserializer)?;
        if !is_document(&value) {
            return T::deserialize(value).map(Either).map_err(D::Error::custom);
        }
        let run = Run::deserialize(value).map_err(D::Error::custom)?;
        run.check().map_err(D::Error::custom)?;
        T::try_from(run).map(Either).map_err(D::Error::custom)
    }
}

/// Whether a document is one of a machine, of this version or another.
pub fn is_document(document: &Value) -> bool {
    let kind = FORMAT.split('/').next().unwrap_or(FORMAT);
    document["format"].as_str().is_some_and(|format| format.split('/').next() == Some(kind))
}

impl TryFrom<Run> for Bench {
    type Error = String;

    fn try_from(run: Run) -> Result<Bench, String> {
        if run.counter.kind != Kind::Nanoseconds {
            return Err(format!(
                "a latency is wanted, and {} counted {}",
                run.board,
                run.counter.kind.name()
            ));
        }
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let layers = run.layers.iter();
        Ok(Bench {
            median_ms: ms(run.total.median),
            min_ms: Some(ms(run.total.min)),
            max_ms: Some(ms(run.total.max)),
            iterations: Some(run.iterations),
            threads: Some(run.threads.into()),
            isa: Some(run.isa.clone()),
            cpu: Some(run.core.clone()),
            arena_bytes: Some(run.memory.arena_bytes),
            self_check: run.self_check.map(|check| check.passes()),
            layers: layers
                .map(|layer| LayerTime { name: layer.name.clone(), median_ms: ms(layer.typical()) })
                .collect(),
        })
    }
}

impl From<&Run> for Board {
    fn from(run: &Run) -> Board {
        let memory = &run.memory;
        let layers = run.layers.iter();
        Board {
            board: run.board.clone(),
            core: Some(run.core.clone()),
            counter: run.counter.kind.name().to_owned(),
            total: run.total.median,
            layers: layers
                .map(|layer| LayerTicks { name: layer.name.clone(), ticks: layer.typical() })
                .collect(),
            flash_bytes: memory.flash_bytes,
            text_bytes: memory.code_bytes,
            model_bytes: Some(memory.model_bytes),
            arena_bytes: Some(memory.arena_bytes),
            static_bytes: memory.static_bytes,
            stack_bytes: memory.stack_bytes,
            ram_bytes: memory.ram_bytes,
            crc: run.outputs_crc32.clone(),
            self_check: run.self_check.map(|check| check.passes()),
        }
    }
}

impl TryFrom<Run> for Board {
    type Error = String;

    fn try_from(run: Run) -> Result<Board, String> {
        Ok(Board::from(&run))
    }
}
