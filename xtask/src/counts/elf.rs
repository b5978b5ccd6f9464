//! What counting needs of a program's ELF file.

use std::path::Path;

use anyhow::{Context, Result, bail};
use object::elf::PF_X;
use object::{Object, ObjectSegment, ObjectSymbol, SegmentFlags, SymbolKind};

/// A function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Address in the file's own terms.
    pub address: u64,
    /// Bytes of code.
    pub size: u64,
}

/// A part of the file that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    offset: u64,
    size: u64,
    address: u64,
    code: bool,
}

/// A program's file.
pub struct Elf {
    parts: Vec<Part>,
    functions: Vec<(String, Function)>,
}

impl Elf {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Elf> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let elf =
            object::File::parse(&*bytes).with_context(|| format!("{} is no ELF file", file.display()))?;
        let parts = elf.segments().map(|segment| {
            let (offset, size) = segment.file_range();
            let code = matches!(segment.flags(), SegmentFlags::Elf { p_flags, .. } if p_flags.contains(PF_X));
            Part { offset, size, address: segment.address(), code }
        });
        let functions =
            elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text).filter_map(|symbol| {
                // Thumb's functions have odd addresses.
                let arm32 = elf.architecture() == object::Architecture::Arm;
                let address = if arm32 { symbol.address() & !1 } else { symbol.address() };
                Some((symbol.name().ok()?.to_owned(), Function { address, size: symbol.size() }))
            });
        Ok(Elf { parts: parts.collect(), functions: functions.collect() })
    }

    /// Address of the first byte of code.
    pub fn base(&self) -> Option<u64> {
        self.parts.iter().filter(|part| part.code).map(|part| part.address).min()
    }

    /// The address of the byte at `offset` of the file, where it is loaded.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        let part = self.parts.iter().find(|part| (part.offset..part.offset + part.size).contains(&offset))?;
        Some(offset - part.offset + part.address)
    }

    /// The functions with their mangled names, the largest first.
    pub fn largest(&self) -> Vec<&(String, Function)> {
        let mut functions: Vec<_> = self.functions.iter().collect();
        functions.sort_by_key(|(_, function)| std::cmp::Reverse(function.size));
        functions
    }

    /// The one function whose mangled name has all of `words` in this order.
    pub fn function(&self, words: &[&str]) -> Result<Function> {
        let has = |name: &str| {
            let rest = words.iter().try_fold(name, |rest, word| Some(rest.split_once(word)?.1));
            rest.is_some()
        };
        let mut found: Vec<&Function> =
            self.functions.iter().filter(|(name, _)| has(name)).map(|(_, function)| function).collect();
        found.dedup();
        match found[..] {
            [function] if function.size > 0 => Ok(function.clone()),
            _ => bail!("the program has {} functions named {}, not one", found.len(), words.join("…")),
        }
    }

    /// Address of the function of exactly this name.
    #[cfg(test)]
    pub fn symbol(&self, wanted: &str) -> Option<u64> {
        self.functions.iter().find(|(name, _)| name == wanted).map(|(_, function)| function.address)
    }
}
