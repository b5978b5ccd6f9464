//! Estimates of the cycles that executed instructions take. An emulator has no clock: these are never measurements.

use anyhow::Result;
use serde::Serialize;

use super::cores::Core;
use super::mca;
use super::profile::{Block, Executed, Profile, is_branch};

/// An estimate.
#[derive(Clone, Debug)]
pub struct Estimate {
    /// Cycles.
    pub cycles: f64,
    /// What it rests on.
    pub method: String,
}

/// Share of the instructions whose blocks are looked at; the others count as the mean of these.
const COVERED: f64 = 0.99;

/// True for the core whose manual has a table of cycles by instruction, and which executes one behind the other.
fn has_table(core: &Core) -> bool {
    core.name == "cortex-m4"
}

/// What estimates for `core` rest on.
pub fn method(core: &Core) -> String {
    if has_table(core) {
        return "the tables of the Cortex-M4 Technical Reference Manual, a taken branch at 3 cycles, memory without wait \
                states"
            .to_owned();
    }
    format!(
        "llvm-mca with {}: each block as if it followed itself, every branch predicted, no wait for memory",
        core.pipeline.1
    )
}

/// The cycles that `profile` takes on `core`.
pub fn estimate(core: &Core, profile: &Profile) -> Result<Estimate> {
    let method = method(core);
    if has_table(core) {
        return Ok(Estimate { cycles: cortex_m4(&profile.lines), method });
    }
    let mut blocks = profile.blocks();
    blocks.sort_by_key(|block| std::cmp::Reverse(block.instructions()));
    let all = profile.instructions() as f64;
    let mut covered = 0.0;
    blocks.retain(|block| {
        let wanted = covered < COVERED * all;
        covered += block.instructions() as f64;
        wanted
    });
    let mut sum = 0.0;
    let mut known = 0.0;
    for (block, cycles) in blocks.iter().zip(mca::cycles(core, &blocks)?) {
        if let Some(cycles) = cycles {
            sum += cycles * block.count() as f64;
            known += block.instructions() as f64;
        }
    }
    Ok(Estimate { cycles: if known > 0.0 { sum * all / known } else { 0.0 }, method })
}

/// A block of code that takes much of the time, with its multiply-adds.
#[derive(Clone, Debug, Serialize)]
pub struct Loop {
    /// Function that it is in.
    pub function: String,
    /// Instructions in one execution.
    pub instructions: usize,
    /// Multiply-adds in one execution.
    pub macs: u64,
    /// Estimated cycles of one execution; none where the model knows none of its instructions.
    pub cycles: Option<f64>,
    /// Its share of all executed instructions, 0 to 1.
    pub share: f64,
}

/// The blocks with multiply-adds that have at least `least` of all instructions, most first.
pub fn inner_loops(core: &Core, profile: &Profile, least: f64) -> Result<Vec<Loop>> {
    let all = profile.instructions().max(1) as f64;
    let mut blocks: Vec<Block<'_>> = profile.blocks();
    blocks.retain(|block| block.macs() > 0 && block.instructions() as f64 >= least * all);
    blocks.sort_by_key(|block| std::cmp::Reverse(block.instructions()));
    let cycles = if has_table(core) {
        blocks.iter().map(|block| Some(cortex_m4(block.lines) / block.count() as f64)).collect()
    } else {
        mca::cycles(core, &blocks)?
    };
    let of = |(block, cycles): (&Block<'_>, Option<f64>)| Loop {
        function: profile.functions[block.lines[0].function].clone(),
        instructions: block.lines.len(),
        macs: block.macs(),
        cycles,
        share: block.instructions() as f64 / all,
    };
    Ok(blocks.iter().zip(cycles).map(of).collect())
}

/// Cycles of `lines` on a Cortex-M4 by its manual: one instruction after another.
fn cortex_m4(lines: &[Executed]) -> f64 {
    let mut sum = 0.0;
    for (index, line) in lines.iter().enumerate() {
        let next = lines.get(index + 1).filter(|next| next.address == line.address + line.length);
        let before = index.checked_sub(1).and_then(|index| lines.get(index));
        let before = before.filter(|before| before.address + before.length == line.address);
        // An instruction that was executed less often than the branch before it was jumped over.
        let not_taken = next.map_or(0, |next| next.count.min(line.count));
        let taken = (line.count - not_taken) as f64 / line.count.max(1) as f64;
        let before = before.map(|before| before.text.as_str());
        let next = next.map(|next| next.text.as_str());
        sum += line.count as f64 * cortex_m4_cycles(&line.text, before, next, taken);
    }
    sum
}

/// Cycles of a refill of the pipeline: the manual says 1 to 3.
const REFILL: f64 = 2.0;

/// Cycles of one instruction, between the ones before and behind it, of which a share `taken` jumps.
fn cortex_m4_cycles(text: &str, before: Option<&str>, next: Option<&str>, taken: f64) -> f64 {
    let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
    let base = name.split('.').next().unwrap_or("");
    let starts = |names: &[&str]| names.iter().any(|name| base.starts_with(name));
    if is_branch(text) {
        let jumps =
            if base == "bl" || operands.contains("lr") || operands.contains("pc") { 1.0 } else { taken };
        let loads = if starts(&["pop", "ldm"]) { words(operands) } else { 0.0 };
        return 1.0 + loads + REFILL * jumps;
    }
    if base.starts_with('v') {
        let double = operands.starts_with('d');
        let cycles = if starts(&["vfma", "vfms", "vfnm", "vmla", "vmls", "vnmla", "vnmls"]) {
            3.0
        } else if starts(&["vdiv", "vsqrt"]) {
            14.0
        } else if starts(&["vldm", "vstm", "vpush", "vpop"]) {
            return 1.0 + words(operands);
        } else if starts(&["vldr", "vstr"]) {
            return if double { 3.0 } else { 2.0 };
        } else if base.starts_with("vmov") && (double || operands.split(',').count() > 2) {
            return 2.0;
        } else {
            1.0
        };
        let arithmetic = starts(&["vadd", "vsub", "vmul", "vnmul", "vcvt", "vdiv", "vsqrt"]) || cycles == 3.0;
        let result = operands.split(',').next().unwrap_or("");
        // One cycle longer if the next instruction consumes the result.
        return cycles
            + if arithmetic && next.is_some_and(|next| consumes(next, result)) { 1.0 } else { 0.0 };
    }
    if starts(&["ldm", "stm", "push", "pop"]) {
        return 1.0 + words(operands);
    }
    if starts(&["ldrd", "strd"]) {
        return 3.0;
    }
    if starts(&["ldr", "str"]) {
        // Loads and stores behind each other overlap; a store at an offset that is known does not wait.
        let single = |text: &str| {
            let name = text.split([' ', '.']).next().unwrap_or("");
            (name.starts_with("ldr") || name.starts_with("str")) && !name.ends_with('d')
        };
        let register_offset = operands.matches(',').count() > 1 && !operands.contains('#');
        let quick = before.is_some_and(single) || (base.starts_with("str") && !register_offset);
        return if quick { 1.0 } else { 2.0 };
    }
    if starts(&["sdiv", "udiv"]) { 12.0 } else { 1.0 }
}

/// True where an instruction reads the floating-point register `result`.
fn consumes(text: &str, result: &str) -> bool {
    let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
    let accumulates = ["vfma", "vfms", "vmla", "vmls", "vfnm"].iter().any(|base| name.starts_with(base));
    let stores = name.starts_with("vst") || name.starts_with("vpush") || name.starts_with("vcmp");
    let sources = operands.split(',').map(|operand| operand.trim().trim_matches(['{', '}']));
    sources.enumerate().any(|(index, operand)| operand == result && (index > 0 || accumulates || stores))
}

/// Words that a list of registers such as `{r4, r6-r8, d2}` moves.
fn words(operands: &str) -> f64 {
    let list = operands.split(['{', '}']).nth(1).unwrap_or("");
    let number =
        |register: &str| register.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok();
    let of = |item: &str| {
        let item = item.trim();
        let width = if item.starts_with('d') { 2 } else { 1 };
        let (first, last) = item.split_once('-').unwrap_or((item, item));
        let registers =
            number(last).zip(number(first)).map_or(1, |(last, first)| last.saturating_sub(first) + 1);
        f64::from(width * registers)
    };
    list.split(',').map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cortex_m4_takes_what_its_manual_says() {
        let cycles = |text: &str| cortex_m4_cycles(text, None, None, 0.0);
        let expected = [
            ("vmul.f32 s0, s1, s2", 1.0),
            ("vfma.f32 s0, s1, s2", 3.0),
            ("vldr s0, [r0]", 2.0),
            ("vldmia r0!, {s0, s1, s2, s3}", 5.0),
            ("vldmia r0!, {d0, d1}", 5.0),
            ("push {r4, r5, lr}", 4.0),
            ("pop {r4, r5, pc}", 6.0),
            ("ldr r0, [r1]", 2.0),
            ("str r0, [r1, #4]", 1.0),
            ("vmov r0, r1, d0", 2.0),
            ("vcvtb.f32.f16 s0, s1", 1.0),
            ("bne 0x10", 1.0),
            ("adds r0, #1", 1.0),
        ];
        for (text, expected) in expected {
            assert_eq!(cycles(text), expected, "{text}");
        }
        assert_eq!(cortex_m4_cycles("vmul.f32 s0, s1, s2", None, Some("vadd.f32 s3, s3, s0"), 0.0), 2.0);
        assert_eq!(cortex_m4_cycles("vmul.f32 s0, s1, s2", None, Some("vadd.f32 s0, s3, s4"), 0.0), 1.0);
        assert_eq!(cortex_m4_cycles("ldr r0, [r1]", Some("ldr r2, [r3]"), None, 0.0), 1.0);
        assert_eq!(cortex_m4_cycles("bne 0x10", None, None, 1.0), 3.0);
    }

    #[test]
    fn a_loop_jumps_back_all_but_once() {
        let line = |address, count, text: &str| Executed {
            address,
            length: 2,
            count,
            function: 0,
            text: text.to_owned(),
        };
        let lines = vec![line(0, 10, "subs r0, #1"), line(2, 10, "bne 0x0"), line(4, 1, "nop")];
        assert_eq!(cortex_m4(&lines), 10.0 + 10.0 + 9.0 * REFILL + 1.0);
    }
}
