//! A board's run as the one document that every machine writes.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use lrpet_report::{Compiler, Counter, FORMAT, Memory, Run};
use lrpet_runtime::bench;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;

use crate::boards::Board;
use crate::events::Report;

/// What is known of the image that ran: its compiler and its memory.
#[derive(Clone, Debug)]
pub struct Built {
    /// What compiled it; none where it was built elsewhere.
    pub compiler: Option<Compiler>,
    /// Revision of its sources.
    pub git: Option<String>,
    /// What it takes; stack and all RAM follow from the run.
    pub memory: Memory,
}

/// The document of `report`, which `board` wrote about the model in `file`.
///
/// # Errors
/// Where the file cannot be read or the board ran another model.
pub fn run(board: &Board, file: &Path, built: Built, report: Report) -> Result<Run> {
    let Report { start, layers, total, warm_up, iterations, macs, self_check, outputs_crc32, stack_bytes } =
        report;
    let map = MappedModel::open(file).with_context(|| format!("cannot read the model {}", file.display()))?;
    let model =
        Model::new_checked(map.bytes()).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let model = bench::document(&model, &file.display().to_string());
    ensure!(
        model.crc32 == start.model_crc32,
        "{} ran a model with the CRC-32 {}, and that of {} is {}: flash it, or name the model that the board has",
        board.name,
        start.model_crc32,
        model.file,
        model.crc32
    );
    let ram = built.memory.static_bytes.map(|bytes| bytes + start.arena_bytes + stack_bytes);
    let arithmetic = if start.kernels == Isa::CortexM55Half.name() { "f16" } else { "f32" };
    let run = Run {
        format: FORMAT.to_owned(),
        board: board.name.to_owned(),
        core: start.core,
        clock_hz: Some(start.clock_hz),
        counter: Counter {
            kind: start.counter,
            resolution: Some(start.counter_resolution),
            calibration: start.calibration,
        },
        compiler: built.compiler,
        git: built.git,
        engine: start.engine,
        model,
        dtype: start.dtype,
        arithmetic: arithmetic.to_owned(),
        isa: start.kernels,
        threads: 1,
        warm_up,
        iterations,
        macs,
        total,
        layers,
        memory: Memory {
            arena_bytes: start.arena_bytes,
            model_bytes: start.model_bytes,
            stack_bytes: Some(stack_bytes),
            ram_bytes: ram,
            flash_available: Some(board.flash),
            ram_available: Some(board.ram),
            ..built.memory
        },
        self_check: Some(self_check),
        outputs_crc32: Some(outputs_crc32),
        host: None,
    };
    run.check()?;
    Ok(run)
}
