//! Cycles of blocks of code on LLVM's model of a core's pipeline, by `llvm-mca`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cores::Core;
use super::llvm;
use super::profile::{Block, is_branch, is_call_or_return};

/// Executions of a block behind each other, over which the mean is taken.
const ITERATIONS: u32 = 100;

/// Cycles of one execution of each block, where it follows itself without end: no wait for memory, every branch
/// predicted, calls and returns left out. None for a block without an instruction that the model knows.
pub fn cycles(core: &Core, blocks: &[Block<'_>]) -> Result<Vec<Option<f64>>> {
    let mut assembly = String::new();
    for (index, block) in blocks.iter().enumerate() {
        assembly += &format!("# LLVM-MCA-BEGIN {index}\nL{index}:\n");
        for line in block.lines.iter().filter(|line| !is_call_or_return(&line.text)) {
            assembly += &format!("{}\n", assemble(&line.text, index));
        }
        assembly += &format!("# LLVM-MCA-END {index}\n");
    }
    let mut command = Command::new(llvm::find("llvm-mca")?);
    command
        .arg(format!("-mtriple={}", core.triple))
        .arg(format!("-mcpu={}", core.pipeline.0))
        .arg(format!("-iterations={ITERATIONS}"))
        .args(["--json", "--skip-unsupported-instructions=any", "--instruction-info=false"])
        .args(["--resource-pressure=false", "-"]);
    let output = filter(&mut command, assembly.into_bytes())?;
    let document: Value = serde_json::from_str(&output).context("llvm-mca writes no JSON")?;
    let mut cycles = vec![None; blocks.len()];
    for region in document["CodeRegions"].as_array().context("llvm-mca lists no regions")? {
        let index: usize = region["Name"].as_str().context("a region without name")?.parse()?;
        let total = region["SummaryView"]["TotalCycles"].as_f64().context("a region without cycles")?;
        ensure!(index < cycles.len(), "llvm-mca lists a region {index}");
        cycles[index] = Some(total / f64::from(ITERATIONS));
    }
    Ok(cycles)
}

/// A line of a listing for the assembler: without comments, addresses as a label.
fn assemble(text: &str, label: usize) -> String {
    let text = text.split(" //").next().unwrap_or(text).split(" @").next().unwrap_or(text);
    let text = text.split(" <").next().unwrap_or(text);
    match text.rsplit_once(' ') {
        Some((before, address)) if address.starts_with("0x") => format!("{before} L{label}"),
        // `b #8`, as older versions write it.
        Some((before, address)) if is_branch(text) && address.starts_with('#') => {
            format!("{before} L{label}")
        }
        _ => text.to_owned(),
    }
}

/// Standard output of a command that reads `input`.
fn filter(command: &mut Command, input: Vec<u8>) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let mut to = child.stdin.take().context("standard input is not a pipe")?;
    let writer = std::thread::spawn(move || to.write_all(&input));
    let output = child.wait_with_output()?;
    // A program that ends early says why itself.
    let written = writer.join().is_ok_and(|done| done.is_ok());
    if !output.status.success() || !written {
        let errors = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<&str> = errors.lines().take(5).collect();
        bail!("{name} failed ({})\n{}", output.status, errors.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::assemble;

    #[test]
    fn lines_are_made_for_the_assembler() {
        assert_eq!(assemble("b.ne 0x4000d8 <_start+0x4>", 3), "b.ne L3");
        assert_eq!(assemble("bl 0x4e38 <f> @ imm = #0x216", 0), "bl L0");
        assert_eq!(assemble("cbz x0, 0x10 <f+0x8>", 1), "cbz x0, L1");
        assert_eq!(assemble("mov x0, #0x10 // =16", 1), "mov x0, #0x10");
        assert_eq!(assemble("vldmia r0!, {s0, s1}", 1), "vldmia r0!, {s0, s1}");
    }
}
