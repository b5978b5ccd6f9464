//! A board's own firmware, the bench and the service, by its parts.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use lrpet_board::boards::Board;
use lrpet_board::build::{Content, Options, with_image};
use lrpet_board::elf;

use crate::counts::elf::Elf;
use crate::toolchain::Source;

/// Bytes of memory of firmware that reads a model from its region.
const REGION_MEMORY: u64 = 128 << 10;

/// Parts, and what one of their functions has in its name; the first that fits.
const PARTS: [(&str, &[&str]); 12] = [
    ("inner loops", &["kernel::cortex_m::micro", "kernel::cortex_m55::micro"]),
    ("kernels' control", &["lrpet_runtime::kernel", "libm::"]),
    ("session and steps", &["lrpet_runtime::session", "lrpet_runtime::machine", "lrpet_runtime::check"]),
    ("planner", &["lrpet_runtime::plan"]),
    ("program: decoder and checks", &["lrpet_runtime::model", "serde"]),
    ("container: parser and checks", &["lrpet_runtime::format"]),
    ("service", &["lrpet_firmware::service"]),
    ("report, self-check and bench", &["lrpet_firmware::"]),
    ("ryu, which shows numbers of f32", &["ryu::"]),
    ("core::fmt and the texts of errors", &["core::fmt", "core::str"]),
    ("UART, counter, start", &["lrpet_firmware_cortex_m", "cortex_m", "embassy", "main", "Reset"]),
    ("the compiler's functions", &["compiler_builtins", "__aeabi", "__ud", "mem", "fmin", "fmax"]),
];

/// Prints what the firmware of `board` takes with `model` linked, or without one.
pub fn print(board: &'static Board, model: Option<&Path>, largest: usize, toolchain: Source) -> Result<()> {
    let options = Options { warm_up: 1, iterations: 2, timeout: Duration::from_secs(600), toolchain };
    let content = model.map_or(Content::Region(REGION_MEMORY), Content::Model);
    let (sizes, elf, model_bytes) = with_image(board, content, &options, |image| {
        Ok((elf::sizes(&image.file())?, Elf::read(&image.file())?, image.model_bytes))
    })?;
    let mut bytes = [0; PARTS.len()];
    let (mut other, mut seen) = (0, BTreeSet::new());
    for (name, function) in elf.largest() {
        // One function may have several names.
        if !seen.insert(function.address) {
            continue;
        }
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let part = PARTS.iter().position(|(_, words)| words.iter().any(|word| name.contains(word)));
        *part.and_then(|part| bytes.get_mut(part)).unwrap_or(&mut other) += function.size;
    }
    let code = sizes.flash.saturating_sub(model_bytes);
    let functions = bytes.iter().sum::<u64>() + other;
    let mut rows: Vec<_> = PARTS.iter().map(|(part, _)| *part).zip(bytes).collect();
    rows.extend([("other functions", other), ("constants and gaps", code.saturating_sub(functions))]);
    rows.retain(|(_, bytes)| *bytes > 0);
    rows.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    println!("| firmware of {} | bytes |\n| --- | ---: |", board.name);
    for (part, bytes) in rows {
        println!("| {part} | {bytes} |");
    }
    println!("| all but the model | {code} |\n\nThe largest functions:\n");
    for (name, function) in elf.largest().iter().take(largest) {
        println!("{:>6}  {:#}", function.size, rustc_demangle::demangle(name));
    }
    Ok(())
}
