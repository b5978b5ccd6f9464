//! Counts with names: by function, by mnemonic, by block of code.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};

use super::cores::{Core, Place};
use super::elf::Elf;
use super::listing::Listing;
use super::plugin::{Counts, Segment};

/// Where a counted instruction stands in a listing.
#[derive(Clone, Debug)]
struct Name {
    /// Index of the function in [`Names::functions`].
    function: usize,
    text: String,
}

/// The names of all instructions that were counted.
pub struct Names {
    functions: Vec<String>,
    /// One an instruction of [`Counts::codes`]; none where its file has no such code.
    names: Vec<Option<Name>>,
}

/// An instruction of a [`Profile`].
#[derive(Clone, Debug, PartialEq)]
pub struct Executed {
    /// Where it lay in memory.
    pub address: u64,
    /// Its bytes.
    pub length: u64,
    /// How often it was executed.
    pub count: u64,
    /// Index in [`Profile::functions`].
    pub function: usize,
    /// Mnemonic and operands.
    pub text: String,
}

/// What was executed, in the order of addresses.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// Names of the functions.
    pub functions: Vec<String>,
    /// Instructions.
    pub lines: Vec<Executed>,
}

/// Instructions that follow each other and were executed equally often.
#[derive(Clone, Copy, Debug)]
pub struct Block<'a> {
    /// Its instructions, at least one.
    pub lines: &'a [Executed],
}

impl Names {
    /// The names of what `segments` of `counts` hold, a run of `program` on `core`.
    pub fn of(counts: &Counts, segments: &[&Segment], program: &Path, core: &Core) -> Result<Names> {
        let mut names =
            Names { functions: vec!["(unknown)".to_owned()], names: vec![None; counts.codes.len()] };
        let mut used: Vec<usize> =
            segments.iter().flat_map(|segment| segment.counts.iter().map(|(index, _)| *index)).collect();
        used.sort_unstable();
        used.dedup();
        if let Place::Board(_) = core.place {
            let addresses = used.iter().map(|index| (*index, counts.codes[*index].address)).collect();
            names.add(program, core, addresses)?;
            return Ok(names);
        }
        let mut files: BTreeMap<&Path, Vec<(usize, u64)>> = BTreeMap::new();
        for index in used {
            let address = counts.codes[index].address;
            if let Some(map) = counts.maps.iter().find(|map| map.range.contains(&address)) {
                let offset = address - map.range.start + map.offset;
                files.entry(&map.file).or_default().push((index, offset));
            }
        }
        for (file, offsets) in files {
            let elf = Elf::read(file)?;
            let first = names.functions.len();
            let address = |(index, offset)| Some((index, elf.address_of(offset)?));
            names.add(file, core, offsets.into_iter().filter_map(address).collect())?;
            if std::fs::canonicalize(file).ok() != std::fs::canonicalize(program).ok() {
                // Libraries name few of their functions: count each as a whole.
                let library = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                names.functions[first..].fill(library);
            }
        }
        Ok(names)
    }

    /// Names instructions by their addresses in `file`.
    fn add(&mut self, file: &Path, core: &Core, addresses: Vec<(usize, u64)>) -> Result<()> {
        /// Longest instruction.
        const LONGEST: u64 = 4;
        let least = addresses.iter().map(|(_, address)| *address).min();
        let most = addresses.iter().map(|(_, address)| *address).max();
        let (Some(least), Some(most)) = (least, most) else { return Ok(()) };
        let listing = Listing::of(file, core, least..most + LONGEST)?;
        let first = self.functions.len();
        self.functions.extend(listing.functions);
        for (index, address) in addresses {
            let line = listing.lines.get(&address);
            self.names[index] =
                line.map(|line| Name { function: first + line.function, text: line.text.clone() });
        }
        Ok(())
    }

    /// The profile of some segments together.
    pub fn profile(&self, counts: &Counts, segments: &[&Segment]) -> Result<Profile> {
        let mut sums: HashMap<usize, u64> = HashMap::new();
        for (index, count) in segments.iter().flat_map(|segment| &segment.counts) {
            *sums.entry(*index).or_default() += count;
        }
        let line = |(index, count): (usize, u64)| {
            let code = counts.codes.get(index).context("an instruction that is not there")?;
            let (function, text) = match &self.names[index] {
                Some(name) => (name.function, name.text.clone()),
                None => (0, "?".to_owned()),
            };
            let (address, length) = (code.address, code.bytes.len() as u64);
            anyhow::Ok(Executed { address, length, count, function, text })
        };
        let mut lines = sums.into_iter().map(line).collect::<Result<Vec<_>>>()?;
        lines.sort_by_key(|line| line.address);
        Ok(Profile { functions: self.functions.clone(), lines })
    }
}

impl Profile {
    /// Executed instructions.
    pub fn instructions(&self) -> u64 {
        self.lines.iter().map(|line| line.count).sum()
    }

    /// Executed instructions by function, most first.
    pub fn by_function(&self) -> Vec<(&str, u64)> {
        sorted(self.lines.iter().map(|line| (self.functions[line.function].as_str(), line.count)))
    }

    /// Executed instructions by mnemonic, most first.
    pub fn by_mnemonic(&self) -> Vec<(String, u64)> {
        sorted(self.lines.iter().map(|line| (mnemonic(&line.text), line.count)))
    }

    /// The code in blocks: up to a branch, the end of a function or a change of the count.
    pub fn blocks(&self) -> Vec<Block<'_>> {
        let together = |a: &Executed, b: &Executed| {
            a.address + a.length == b.address
                && a.count == b.count
                && a.function == b.function
                && !is_branch(&a.text)
        };
        self.lines.chunk_by(together).map(|lines| Block { lines }).collect()
    }
}

impl Block<'_> {
    /// Instructions that were executed in this block.
    pub fn instructions(&self) -> u64 {
        self.lines.iter().map(|line| line.count).sum()
    }

    /// How often the block was executed.
    pub fn count(&self) -> u64 {
        self.lines.first().map_or(0, |line| line.count)
    }

    /// Multiply-adds in one execution.
    pub fn macs(&self) -> u64 {
        self.lines.iter().map(|line| macs(&line.text)).sum()
    }
}

/// Sums of equal keys, largest first; equal sums by key.
fn sorted<K: Ord + std::hash::Hash + Clone>(counts: impl Iterator<Item = (K, u64)>) -> Vec<(K, u64)> {
    let mut sums: HashMap<K, u64> = HashMap::new();
    counts.for_each(|(key, count)| *sums.entry(key).or_default() += count);
    let mut sums: Vec<(K, u64)> = sums.into_iter().collect();
    sums.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sums
}

/// The operands of an instruction.
fn operands(text: &str) -> &str {
    text.split_once(' ').map_or("", |(_, operands)| operands)
}

/// The mnemonic; of vector instructions of A64 with the arrangement (`fmla.4s`), as it is written for the others.
pub fn mnemonic(text: &str) -> String {
    let (mnemonic, rest) = text.split_once(' ').unwrap_or((text, ""));
    let first = rest.trim_start_matches('{').trim_start().split([',', ' ', '}']).next().unwrap_or("");
    match first.split_once('.') {
        Some((register, arrangement)) if register.starts_with('v') && !mnemonic.contains('.') => {
            let arrangement: String = arrangement.chars().take_while(char::is_ascii_alphanumeric).collect();
            format!("{mnemonic}.{arrangement}")
        }
        _ => mnemonic.to_owned(),
    }
}

/// True where the next instruction may be another than the one behind it.
pub fn is_branch(text: &str) -> bool {
    const CONDITIONS: [&str; 16] =
        ["eq", "ne", "cs", "hs", "cc", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le"];
    let whole = text.split(' ').next().unwrap_or("");
    let name = whole.strip_suffix(".w").or(whole.strip_suffix(".n")).unwrap_or(whole);
    match name {
        "b" | "bl" | "blr" | "br" | "ret" | "bx" | "blx" | "cbz" | "cbnz" | "tbz" | "tbnz" | "tbb"
        | "tbh" | "le" | "letp" | "wls" | "wlstp" | "svc" | "bkpt" => true,
        "pop" | "ldm" | "ldmia" | "ldmdb" | "ldr" => operands(text).contains("pc") && !text.contains("[pc"),
        _ => name.strip_prefix('b').is_some_and(|rest| {
            let condition = rest.strip_prefix('.').unwrap_or(rest);
            CONDITIONS.contains(&condition)
        }),
    }
}

/// True for a call and a return, behind which a block does not repeat itself.
pub fn is_call_or_return(text: &str) -> bool {
    let name = text.split(' ').next().unwrap_or("");
    matches!(name, "bl" | "blx" | "blr" | "bx" | "ret" | "br" | "svc" | "bkpt")
        || (is_branch(text) && operands(text).contains("pc"))
}

/// Multiply-adds of one instruction. Of separate multiplications and additions, the multiplications count.
pub fn macs(text: &str) -> u64 {
    let (name, rest) = text.split_once(' ').unwrap_or((text, ""));
    let base = name.split('.').next().unwrap_or("");
    let multiplies =
        ["fmla", "fmls", "fmadd", "fmsub", "fnmadd", "fnmsub", "fmul", "vfma", "vfms", "vmla", "vmul"];
    if base == "fmlal" || base == "fmlal2" {
        return 4;
    }
    // With a condition behind it in Thumb: `vfmat`, `vmulne`.
    let known =
        multiplies.iter().any(|known| base == *known || (known.starts_with('v') && base.starts_with(known)));
    if !known || base.contains("lal") || name.contains(".s") && base.starts_with('v') {
        return 0;
    }
    let arrangement = mnemonic(text);
    match arrangement.rsplit_once('.').map(|(_, arrangement)| arrangement) {
        Some("8h") => 8,
        Some("4s" | "4h") => 4,
        Some("2s" | "2d") => 2,
        Some("f32") if rest.starts_with('q') => 4,
        Some("f16") if rest.starts_with('q') => 8,
        Some("f32" | "f16") | None => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_told_apart() {
        assert_eq!(mnemonic("fmla v0.4s, v1.4s, v2.s[0]"), "fmla.4s");
        assert_eq!(mnemonic("ld1 { v0.8h, v1.8h }, [x0]"), "ld1.8h");
        assert_eq!(mnemonic("vfma.f32 s0, s1, s2"), "vfma.f32");
        assert_eq!(mnemonic("ldr q0, [x0]"), "ldr");
        for branch in
            ["b.ne 0x10 <a>", "bne.w 0x10", "cbz x0, 0x10", "pop {r4, pc}", "bl 0x0 <f>", "ldr pc, [sp], #4"]
        {
            assert!(is_branch(branch), "{branch}");
        }
        for other in [
            "bic r0, r1",
            "bfi x0, x1, #1, #2",
            "ldr r0, [pc, #4]",
            "pop {r4, r7}",
            "bsl v0.16b, v1.16b, v2.16b",
        ] {
            assert!(!is_branch(other), "{other}");
        }
        let counts = [
            ("fmla v0.4s, v1.4s, v2.s[0]", 4),
            ("fmla v0.8h, v1.8h, v2.h[0]", 8),
            ("fmadd s0, s1, s2, s3", 1),
            ("fmul v0.2s, v1.2s, v2.2s", 2),
            ("vfma.f32 s0, s1, s2", 1),
            ("vmul.f32 s0, s1, s2", 1),
            ("vadd.f32 s0, s1, s2", 0),
            ("vfma.f16 q0, q1, r2", 8),
            ("vfmat.f32 q0, q1, q2", 4),
            ("vmla.s32 q0, q1, r2", 0),
            ("mul x0, x1, x2", 0),
            ("fmlal v0.4s, v1.4h, v2.4h", 4),
        ];
        for (text, expected) in counts {
            assert_eq!(macs(text), expected, "{text}");
        }
    }

    #[test]
    fn blocks_end_where_control_may() {
        let line = |address, count, text: &str| Executed {
            address,
            length: 4,
            count,
            function: 0,
            text: text.to_owned(),
        };
        let lines = vec![
            line(0, 1, "mov x0, #3"),
            line(4, 3, "fmla v0.4s, v1.4s, v2.4s"),
            line(8, 3, "b.ne 0x4"),
            line(12, 3, "nop"),
            line(20, 3, "nop"),
        ];
        let profile = Profile { functions: vec!["f".to_owned()], lines };
        let blocks = profile.blocks();
        assert_eq!(blocks.iter().map(|block| block.lines.len()).collect::<Vec<_>>(), [1, 2, 1, 1]);
        assert_eq!((blocks[1].count(), blocks[1].instructions(), blocks[1].macs()), (3, 6, 4));
        assert_eq!(profile.by_mnemonic()[..2], [("nop".to_owned(), 6), ("b.ne".to_owned(), 3)]);
        assert_eq!(profile.by_function(), [("f", 13)]);
    }
}
