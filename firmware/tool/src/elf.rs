//! Sizes of a firmware image, from its ELF file.

use std::path::Path;

use anyhow::{Context, Result};
use object::elf::{PT_LOAD, SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile32, FileHeader, ProgramHeader, SectionHeader};
use object::{Object, ObjectSymbol, SymbolKind};

/// The runtime's crate in the name of a compiled function.
const RUNTIME: &[u8] = b"lrpet_runtime";

/// What an image takes on the board, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSizes {
    /// Flash: code, constants (the model is one) and the initial values of variables.
    pub flash: u64,
    /// Of the flash, sections of code.
    pub code: u64,
    /// RAM: variables, without the stack.
    pub ram: u64,
    /// Of the flash, functions of the runtime (those that the compiler inlined elsewhere are not among them).
    pub runtime: u64,
}

/// Bytes of an image that are in the board's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where they are stored.
    pub stored_at: u32,
    /// Where the program finds them: the same address, or that of variables with initial values.
    pub used_at: u32,
    /// The stored bytes; empty where the program starts with zeros or anything.
    pub bytes: Vec<u8>,
    /// Bytes of memory used.
    pub used: u32,
}

/// The segments of a 32-bit image that take memory.
pub fn segments(file: &Path) -> Result<Vec<Segment>> {
    let bytes =
        std::fs::read(file).with_context(|| format!("cannot read the firmware {}", file.display()))?;
    let unreadable = || format!("{} is no 32-bit ELF file", file.display());
    let elf: ElfFile32<'_> = ElfFile32::parse(&*bytes).with_context(unreadable)?;
    let endian = elf.endian();
    let headers = elf.elf_header().program_headers(endian, &*bytes).with_context(unreadable)?;
    let loaded =
        headers.iter().filter(|header| header.p_type(endian) == PT_LOAD && header.p_memsz(endian) > 0);
    loaded
        .map(|header| {
            let data = header.data(endian, &*bytes).ok().with_context(unreadable)?;
            Ok(Segment {
                stored_at: header.p_paddr(endian),
                used_at: header.p_vaddr(endian),
                bytes: data.to_vec(),
                used: header.p_memsz(endian),
            })
        })
        .collect()
}

/// The names, as the linker knows them, of functions that panic: none where no code of the program can.
pub fn panicking(file: &Path) -> Result<Vec<String>> {
    /// `core::panicking` and the panic handler, in either way in which Rust spells names.
    const PANICKING: [&[u8]; 2] = [b"core9panicking", b"rust_begin_unwind"];
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let elf = object::File::parse(&*bytes).with_context(|| format!("{} is no program", file.display()))?;
    let names = elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let names = names.filter_map(|symbol| symbol.name_bytes().ok());
    let panics = |name: &&[u8]| {
        PANICKING.iter().any(|panicking| name.windows(panicking.len()).any(|part| part == *panicking))
    };
    Ok(names.filter(panics).map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Address of a symbol of a 32-bit image.
pub fn address(file: &Path, name: &str) -> Result<u32> {
    let bytes =
        std::fs::read(file).with_context(|| format!("cannot read the firmware {}", file.display()))?;
    let elf: ElfFile32<'_> =
        ElfFile32::parse(&*bytes).with_context(|| format!("{} is no 32-bit ELF file", file.display()))?;
    let symbol = elf.symbols().find(|symbol| symbol.name_bytes().is_ok_and(|found| found == name.as_bytes()));
    let address = symbol.and_then(|symbol| u32::try_from(symbol.address()).ok());
    address.with_context(|| format!("{} has no symbol `{name}`", file.display()))
}

/// Reads the sizes of a 32-bit image. Padding between sections is not counted.
pub fn sizes(file: &Path) -> Result<ImageSizes> {
    let bytes =
        std::fs::read(file).with_context(|| format!("cannot read the firmware {}", file.display()))?;
    let unreadable = || format!("{} is no 32-bit ELF file", file.display());
    let elf: ElfFile32<'_> = ElfFile32::parse(&*bytes).with_context(unreadable)?;
    let endian = elf.endian();
    let header = elf.elf_header();
    let mut sizes = ImageSizes { flash: 0, code: 0, ram: 0, runtime: 0 };
    for section in header.section_headers(endian, &*bytes).with_context(unreadable)? {
        let flags = section.sh_flags(endian);
        let size = u64::from(section.sh_size(endian));
        if !flags.contains(SHF_ALLOC) {
            continue;
        }
        if section.sh_type(endian) != SHT_NOBITS {
            sizes.flash += size;
        }
        if flags.contains(SHF_EXECINSTR) {
            sizes.code += size;
        }
        if flags.contains(SHF_WRITE) {
            sizes.ram += size;
        }
    }
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let name = symbol.name_bytes().with_context(unreadable)?;
        if name.windows(RUNTIME.len()).any(|part| part == RUNTIME) {
            sizes.runtime += symbol.size();
        }
    }
    Ok(sizes)
}
