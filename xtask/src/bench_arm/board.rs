//! A model on a Cortex-M: the firmware of an emulated board, which counts its instructions itself too.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{ITERATIONS, Options, Run, counts_file};
use crate::bench_models::Model;
use crate::board;
use crate::counts::cores::Core;
use crate::counts::marks::Marks;
use crate::counts::plugin::{Counts, Plugin};
use crate::counts::profile::Names;

pub fn run(plugin: &Plugin, core: &Core, board: &str, model: &Model, options: Options<'_>) -> Result<Run> {
    let settings = board::Options {
        warm_up: 1,
        iterations: ITERATIONS as u32,
        timeout: Duration::from_secs(options.timeout),
        toolchain: options.toolchain,
    };
    board::with_image(board, &model.file, &settings, |image| {
        let marks = Marks::of(&image.file(), core)?;
        let out = counts_file();
        eprintln!("running {} on {}", model.name, core.name);
        let report = image.report(&plugin.options(&out, None, &marks.addresses), &mut |_| {})?;
        ensure!(report.pass, "the self-check fails on {board}");
        let counts = Counts::take(&out)?;
        let names = Names::of(&counts, &counts.started(marks.starts), &image.file(), core)?;
        let layer = |layer: &Value| {
            let name = layer["name"].as_str().context("a layer without name")?;
            Ok((name.to_owned(), layer["macs"].as_u64().context("a layer without multiply-adds")?))
        };
        Ok(Run {
            starts: marks.starts,
            names,
            layers: report.layers.iter().map(layer).collect::<Result<_>>()?,
            kernels: report.start["kernels"].as_str().unwrap_or("").to_owned(),
            counted_by_board: Some(report.median()),
            compiler: report.compiler,
            counts,
        })
    })
}
