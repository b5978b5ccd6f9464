//! Where the intervals begin and end that a program measures: its stopwatch's functions.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::cores::Core;
use super::elf::Elf;
use super::listing::Listing;

/// Addresses at which counting changes.
pub struct Marks {
    /// Address of the program's first byte of code.
    pub base: u64,
    /// The returns of `Stopwatch::start`, where intervals begin, then the entry of `Stopwatch::stop`, where they end.
    pub addresses: Vec<u64>,
    /// How many of them begin one.
    pub starts: usize,
}

impl Marks {
    /// Those of a program for `core`.
    pub fn of(program: &Path, core: &Core) -> Result<Marks> {
        let elf = Elf::read(program)?;
        // As Rust mangles `…::Stopwatch::start` and `…::Stopwatch<C>::start`: names behind their lengths.
        let start = elf.function(&["Stopwatch", "5start"])?;
        let stop = elf.function(&["Stopwatch", "4stop"])?;
        let code = Listing::of(program, core, start.address..start.address + start.size)?;
        let returns = code.lines.iter().filter(|(_, line)| is_return(&line.text));
        let mut addresses: Vec<u64> = returns.map(|(address, _)| *address).collect();
        let starts = addresses.len();
        ensure!(starts > 0, "the stopwatch in {} never returns", program.display());
        addresses.push(stop.address);
        Ok(Marks { base: elf.base().context("a program without code")?, addresses, starts })
    }
}

/// True for an instruction that returns from a function.
fn is_return(text: &str) -> bool {
    let (name, operands) = text.split_once(' ').unwrap_or((text, ""));
    match name {
        "ret" => true,
        "bx" => operands == "lr",
        "pop" | "pop.w" | "ldm" | "ldm.w" | "ldmia.w" | "ldr" | "ldr.w" => {
            operands.contains("pc") && operands.contains("sp")
                || name.starts_with("pop") && operands.contains("pc")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::is_return;

    #[test]
    fn returns_are_found() {
        for text in ["ret", "bx lr", "pop {r4, r6, r7, pc}", "ldm.w sp!, {r4, pc}", "ldr pc, [sp], #4"] {
            assert!(is_return(text), "{text}");
        }
        for text in ["bx r3", "pop {r4, lr}", "ldr r0, [pc, #4]", "b 0x10"] {
            assert!(!is_return(text), "{text}");
        }
    }
}
