//! A model on a Cortex-M: the firmware of an emulated board, which counts its instructions itself too.

use anyhow::{Result, ensure};
use lrpet_board::boards::Board;
use lrpet_board::build::{Content, Options};
use lrpet_board::{emulate, memory};

use super::{Counter, ITERATIONS, Run, counts_file};
use crate::bench::models::Model;
use crate::counts::cores::Core;
use crate::counts::marks::Marks;
use crate::counts::plugin::Counts;
use crate::counts::profile::Names;

impl Counter<'_> {
    /// Runs `model` on an emulated board.
    pub(super) fn on_board(&self, core: &Core, board: &str, model: &Model) -> Result<Run> {
        let settings = Options {
            warm_up: 1,
            iterations: ITERATIONS as u32,
            timeout: self.timeout,
            toolchain: self.toolchain,
        };
        emulate::with_image(Board::named(board)?, Content::Model(&model.file), &settings, |image| {
            let marks = Marks::of(&image.file(), core)?;
            let out = counts_file();
            eprintln!("running {} on {}", model.name, core.name);
            let report = image.report(&self.plugin.options(&out, None, &marks.addresses), &mut |_| {})?;
            let passes = report.self_check.is_some_and(|check| check.passes());
            ensure!(passes, "the self-check fails on {board}");
            let counts = Counts::take(&out)?;
            let names = Names::of(&counts, &counts.started(marks.starts), &image.file(), core)?;
            Ok(Run {
                starts: marks.starts,
                names,
                layers: report.layers.into_iter().map(|layer| (layer.name, layer.macs)).collect(),
                model_crc32: report.model.crc32,
                calls: memory::calls(&model.file, &report.isa)?,
                kernels: report.isa,
                counted_by_board: Some(report.total.median),
                compiler: report.compiler.map(|compiler| compiler.version).unwrap_or_default(),
                counts,
            })
        })
    }
}
