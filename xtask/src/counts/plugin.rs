//! The plugin for QEMU (`tests/counter`): building it, its options, and reading what it wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{process, toolchain};

/// The plugin, built.
pub struct Plugin {
    file: PathBuf,
}

/// An instruction that was translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// Where it lay in memory.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A file in the memory of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// Addresses.
    pub range: std::ops::Range<u64>,
    /// Offset in the file of the first one.
    pub offset: u64,
    /// The file.
    pub file: PathBuf,
}

/// What was executed from one mark to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Index of the mark that began it; none for the start of the program.
    pub mark: Option<usize>,
    /// Index of a [`Code`] and how often it was executed.
    pub counts: Vec<(usize, u64)>,
}

/// All that the plugin wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files in the memory of a program; none for a board.
    pub maps: Vec<Map>,
    /// Instructions.
    pub codes: Vec<Code>,
    /// In the order of time.
    pub segments: Vec<Segment>,
}

impl Plugin {
    /// Builds it for this machine, on which the emulators run.
    pub fn build() -> Result<Plugin> {
        if !cfg!(target_os = "linux") {
            bail!("instructions are counted on Linux only, where QEMU loads plugins");
        }
        let mut build = Command::new(toolchain::cargo());
        build.current_dir(crate::root()).args(["build", "--release", "--package", "lrpet-counter"]);
        let log = crate::root().join("target/bench.log");
        process::run_logged(&mut build, "building the counter", &log, "the build must succeed")?;
        Ok(Plugin { file: crate::root().join("target/release/liblrpet_counter.so") })
    }

    /// QEMU's options that count into `out`, with a new segment at each of `marks`. Marks are addresses in the program's
    /// file, whose code begins at `base`; of a board, addresses in memory, without `base`.
    pub fn options(&self, out: &Path, base: Option<u64>, marks: &[u64]) -> [String; 2] {
        // A comma ends an option of QEMU's, two are one.
        let quote = |path: &Path| path.display().to_string().replace(',', ",,");
        let mut text = format!("file={},out={}", quote(&self.file), quote(out));
        if let Some(base) = base {
            text += &format!(",base={base:x}");
        }
        marks.iter().for_each(|mark| text += &format!(",mark={mark:x}"));
        ["-plugin".to_owned(), text]
    }
}

impl Counts {
    /// Reads the plugin's file and removes it.
    pub fn take(file: &Path) -> Result<Counts> {
        let text = std::fs::read_to_string(file).with_context(|| {
            format!(
                "the emulator counted nothing: {} is not there (is this QEMU 4.2 to 8.2, built with plugins?)",
                file.display()
            )
        })?;
        std::fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
        Counts::read(&text).with_context(|| format!("{} is not what the counter writes", file.display()))
    }

    fn read(text: &str) -> Result<Counts> {
        let mut counts = Counts::default();
        for line in text.lines() {
            counts.read_line(line).with_context(|| format!("`{line}`"))?;
        }
        Ok(counts)
    }

    fn read_line(&mut self, line: &str) -> Result<()> {
        let (word, rest) = line.split_once(' ').context("no space")?;
        match word {
            "bias" => {}
            "map" => {
                let [from, to, offset, path] =
                    rest.splitn(4, ' ').collect::<Vec<_>>().try_into().ok().context("four words")?;
                let (range, file) = (hexadecimal(from)?..hexadecimal(to)?, PathBuf::from(path));
                self.maps.push(Map { range, offset: hexadecimal(offset)?, file });
            }
            "code" => {
                let [index, address, bytes] =
                    rest.splitn(3, ' ').collect::<Vec<_>>().try_into().ok().context("three words")?;
                ensure!(index.parse() == Ok(self.codes.len()), "not in order");
                let byte = |at: usize| {
                    u8::from_str_radix(bytes.get(at..at + 2).unwrap_or_default(), 16).context("no byte")
                };
                let bytes = (0..bytes.len()).step_by(2).map(byte).collect::<Result<_>>()?;
                self.codes.push(Code { address: hexadecimal(address)?, bytes });
            }
            "segment" => {
                let mark = if rest == "-" { None } else { Some(rest.parse()?) };
                self.segments.push(Segment { mark, counts: Vec::new() });
            }
            index => {
                let (index, count) = (index.parse()?, rest.parse()?);
                ensure!(index < self.codes.len(), "unknown instruction");
                self.segments.last_mut().context("no segment")?.counts.push((index, count));
            }
        }
        Ok(())
    }

    /// Segments that were begun by one of the first `starts` marks.
    pub fn started(&self, starts: usize) -> Vec<&Segment> {
        self.segments.iter().filter(|segment| segment.mark.is_some_and(|mark| mark < starts)).collect()
    }
}

impl Segment {
    /// Executed instructions.
    pub fn instructions(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }
}

fn hexadecimal(text: &str) -> Result<u64> {
    u64::from_str_radix(text, 16).with_context(|| format!("{text} is no hexadecimal number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPS: u64 = 1000;

    /// Runs an emulator that ends with a program of a loop, with a mark behind it; counts by segment, code by address.
    fn count(
        program: &Path,
        base: Option<u64>,
        mark: u64,
        emulator: &str,
        options: &[&str],
    ) -> (Vec<u64>, Counts) {
        let out = program.with_extension("counts");
        let plugin = Plugin::build().unwrap();
        let mut command = Command::new(emulator);
        command.args(plugin.options(&out, base, &[mark])).args(options).arg(program);
        process::capture(&mut command, "").unwrap();
        let counts = Counts::take(&out).unwrap();
        (counts.segments.iter().map(Segment::instructions).collect(), counts)
    }

    #[test]
    fn a_loop_of_known_length_is_counted_exactly_in_a_program() {
        let folder = crate::root().join("target/counter-test");
        std::fs::create_dir_all(&folder).unwrap();
        let (source, program) = (folder.join("loop.s"), folder.join("loop"));
        let text = format!(
            ".global _start\n.type _start, %function\n_start: mov x0, #{LOOPS}\n1: subs x0, x0, #1\nb.ne 1b\n\
             mov x0, #0\nmov x8, #93\nsvc #0\n"
        );
        std::fs::write(&source, text).unwrap();
        let mut build = Command::new(toolchain::AARCH64_GCC);
        build.args(["-nostdlib", "-static", "-o"]).arg(&program).arg(&source);
        process::capture(&mut build, "").unwrap();
        let elf = crate::counts::elf::Elf::read(&program).unwrap();
        let start = elf.symbol("_start").unwrap();
        let (segments, counts) =
            count(&program, elf.base(), start + 12, "qemu-aarch64", &["-cpu", "cortex-a53"]);
        assert_eq!(segments, [1 + 2 * LOOPS, 3]);
        assert_eq!(counts.segments[0].counts[1], (1, LOOPS));
        assert_eq!(
            counts.codes[1],
            Code { address: start + 4, bytes: 0xf100_0400u32.to_le_bytes().to_vec() }
        );
        assert_eq!(counts.maps.len(), 1);
    }

    #[test]
    fn a_loop_of_known_length_is_counted_exactly_on_a_board() {
        let folder = crate::root().join("target/counter-test");
        std::fs::create_dir_all(&folder).unwrap();
        let program = folder.join("board.bin");
        // The first words are the stack and where to begin (in Thumb). Then: movw r0, #1000; subs r0, #1; bne −4;
        // movs r0, #0x18; movw r1, #0x26; movt r1, #2; bkpt 0xab, the end by semihosting.
        let code = [
            0x1000u16, 0x2000, 0x0009, 0x0000, 0xf240, 0x30e8, 0x3801, 0xd1fd, 0x2018, 0xf240, 0x0126,
            0xf2c0, 0x0102, 0xbeab,
        ];
        std::fs::write(&program, code.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<_>>())
            .unwrap();
        let options = [
            "-machine",
            "mps2-an386",
            "-cpu",
            "cortex-m4",
            "-icount",
            "shift=0",
            "-nographic",
            "-monitor",
            "none",
            "-serial",
            "none",
            "-semihosting-config",
            "enable=on,target=native",
            "-kernel",
        ];
        let (segments, counts) = count(&program, None, 0x10, "qemu-system-arm", &options);
        assert_eq!(segments, [1 + 2 * LOOPS, 4]);
        assert_eq!(counts.segments[0].counts[1], (1, LOOPS));
        assert_eq!(counts.codes[1], Code { address: 0xc, bytes: vec![0x01, 0x38] });
        assert!(counts.maps.is_empty());
    }

    #[test]
    fn what_the_plugin_writes_is_read() {
        let text = "bias 0\nmap 1000 2000 40 /a b\ncode 0 1004 00bf\ncode 1 1006 fee70000\nsegment -\n0 3\nsegment 1\n1 7\n0 1";
        let counts = Counts::read(text).unwrap();
        assert_eq!(counts.maps, [Map { range: 0x1000..0x2000, offset: 0x40, file: "/a b".into() }]);
        assert_eq!(counts.codes[1], Code { address: 0x1006, bytes: vec![0xfe, 0xe7, 0, 0] });
        assert_eq!(counts.segments.iter().map(Segment::instructions).collect::<Vec<_>>(), [3, 8]);
        assert_eq!(counts.started(2), [&counts.segments[1]]);
        assert!(counts.started(1).is_empty());
        for wrong in ["code 1 0 00", "0 1", "segment x", "code 0 0 0", "map 1 2 3"] {
            assert!(Counts::read(wrong).is_err(), "{wrong}");
        }
    }
}
