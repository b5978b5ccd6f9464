//! A model on a Cortex-A: `lrpet-run bench` in QEMU's user mode.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use lrpet_board::memory;
use lrpet_report::Run;

use super::{Counter, ITERATIONS, counts_file};
use crate::bench::models::Model;
use crate::counts::cores::Core;
use crate::counts::marks::Marks;
use crate::counts::plugin::Counts;
use crate::counts::profile::Names;
use crate::process;
use crate::toolchain::{self, Source, Toolchain};

/// Where Debian's cross-compiler has the C library.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

/// `lrpet-run` for this target.
pub struct Built {
    file: PathBuf,
    compiler: String,
}

fn build(source: Source) -> Result<Built> {
    let target = toolchain::AARCH64_LINUX;
    if process::find(toolchain::AARCH64_GCC).is_none() {
        bail!("{} is not installed; run `cargo xtask setup`", toolchain::AARCH64_GCC);
    }
    let toolchain = Toolchain::for_target(target, source)?;
    let mut build = toolchain.cargo("build", target);
    build.current_dir(crate::root()).args(["--release", "--package", "lrpet-runtime", "--features", "gpio"]);
    let log = crate::root().join("target/bench.log");
    process::run_logged(
        &mut build,
        &format!("building lrpet-run for {target}"),
        &log,
        "the build must succeed",
    )?;
    let file = toolchain.target_folder().join(target).join("release/lrpet-run");
    Ok(Built { file, compiler: toolchain.version()? })
}

impl Counter<'_> {
    /// Runs `model` on a processor of `qemu-aarch64`.
    pub(super) fn as_program(&self, core: &Core, processor: &str, model: &Model) -> Result<super::Run> {
        let built = match self.program.get() {
            Some(built) => built,
            None => {
                let built = build(self.toolchain)?;
                self.program.get_or_init(|| built)
            }
        };
        let program = &built.file;
        let marks = Marks::of(program, core)?;
        let out = counts_file();
        let mut command = Command::new("qemu-aarch64");
        command
            .args(["-cpu", processor, "-L", LIBRARIES])
            .args(self.plugin.options(&out, Some(marks.base), &marks.addresses))
            .arg(program)
            .arg("bench")
            .arg(&model.file)
            .args(["--json", "--warm-up", "1", "--iterations", &ITERATIONS.to_string()])
            .args(self.run_options);
        eprintln!("running {} on {}", model.name, core.name);
        let mut output = String::new();
        let hint = "give it more time with --timeout";
        let done = process::run_lines(&mut command, self.timeout, hint, &mut |line| output += line)?;
        if !done {
            bail!("`{}` failed; see above", process::spell(&command));
        }
        let report = Run::from_json(&output).context("what lrpet-run printed")?;
        let counts = Counts::take(&out)?;
        let names = Names::of(&counts, &counts.started(marks.starts), program, core)?;
        Ok(super::Run {
            starts: marks.starts,
            names,
            layers: report.layers.into_iter().map(|layer| (layer.name, layer.macs)).collect(),
            model_crc32: report.model.crc32,
            calls: memory::calls(&model.file, &report.isa)?,
            kernels: report.isa,
            compiler: built.compiler.clone(),
            counted_by_board: None,
            counts,
        })
    }
}
