//! Disassembly of a program's file, by `llvm-objdump`. (QEMU's own disassembler does not know all instructions.)

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::cores::Core;
use super::llvm;
use crate::process;

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Index in [`Listing::functions`].
    pub function: usize,
    /// Mnemonic and operands.
    pub text: String,
}

/// Part of a program.
#[derive(Debug, Default)]
pub struct Listing {
    /// Names of the functions.
    pub functions: Vec<String>,
    /// By address.
    pub lines: BTreeMap<u64, Line>,
}

impl Listing {
    /// Disassembles the code of `file` in a range of addresses.
    pub fn of(file: &Path, core: &Core, range: Range<u64>) -> Result<Listing> {
        let mut command = Command::new(llvm::find("llvm-objdump")?);
        command
            .args(["--disassemble", "--no-show-raw-insn"])
            .arg(format!("--triple={}", core.triple))
            .arg(format!("--mcpu={}", core.llvm))
            .arg(format!("--start-address={:#x}", range.start))
            .arg(format!("--stop-address={:#x}", range.end))
            .arg(file);
        Ok(Listing::read(&process::capture(&mut command, "it must be able to read the program")?))
    }

    fn read(text: &str) -> Listing {
        let mut listing = Listing::default();
        for line in text.lines() {
            if let Some(name) = line.strip_suffix(">:").and_then(|line| line.split_once(" <")) {
                // Of the same address, `$t` and the like say what kind of code follows.
                if !name.1.starts_with('$') || listing.functions.is_empty() {
                    // Without the hash that Rust appends; llvm-objdump would leave impl blocks unreadable.
                    listing.functions.push(format!("{:#}", rustc_demangle::demangle(name.1)));
                }
            } else if let Some((address, text)) = line.split_once(':')
                && let Ok(address) = u64::from_str_radix(address.trim(), 16)
                && let Some(function) = listing.functions.len().checked_sub(1)
            {
                let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
                listing.lines.insert(address, Line { function, text });
            }
        }
        listing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let text = "\nx: file format elf32\n\nDisassembly of section .text:\n\n00000010 <_ZN1a1b17h0123456789abcdefE>:\n\
                    \x20     10:      \tvfma.f32\ts0, s1,  s2\n00000012 <$t>:\n      12: bx lr\n00000014 <c>:\n      14: nop\n\
                    00000018 <_ZN38_$LT$a..F$u20$as$u20$b..K$LT$T$GT$$GT$1c17h0123456789abcdefE>:\n      18: nop\n";
        let listing = Listing::read(text);
        assert_eq!(listing.functions, ["a::b", "c", "<a::F as b::K<T>>::c"]);
        let line = |function, text: &str| Line { function, text: text.to_owned() };
        let expected = [
            (0x10, line(0, "vfma.f32 s0, s1, s2")),
            (0x12, line(0, "bx lr")),
            (0x14, line(1, "nop")),
            (0x18, line(2, "nop")),
        ];
        assert_eq!(listing.lines, BTreeMap::from(expected));
    }
}
