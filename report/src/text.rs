//! The document for a terminal.

use std::fmt::Write;

use crate::run::{Kind, Run};
use crate::units;

impl Run {
    /// A count as people read it: time in ms, cycles with the time that they take by the core's clock.
    fn shown(&self, count: u64) -> String {
        match (self.counter.kind, self.clock_hz) {
            (Kind::Nanoseconds, _) => units::milliseconds(count as f64 / 1e6),
            (Kind::Cycles, Some(hertz)) => {
                format!("{count} cycles ({})", units::milliseconds(count as f64 * 1e3 / hertz as f64))
            }
            (kind, _) => format!("{count} {}", kind.name()),
        }
    }

    /// Multiply-adds by the counter's unit.
    fn rate(&self, macs: u64, count: u64) -> String {
        let rate = if count == 0 { 0.0 } else { macs as f64 / count as f64 };
        match self.counter.kind {
            Kind::Nanoseconds => format!("{rate:.2} GMAC/s"),
            Kind::Cycles => format!("{rate:.3} MAC/cycle"),
            Kind::Instructions => format!("{rate:.3} MAC/instruction"),
        }
    }

    /// The document in lines for a terminal; [`Run::disturbed`] is not among them, it is for standard error.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let threads = units::things(self.threads.into(), "thread");
        let iterations = units::things(self.iterations, "iteration");
        let _ = writeln!(
            text,
            "{} on {} ({}): {}, {} storage, {} arithmetic, {threads}, {iterations} after {}",
            self.model.file, self.board, self.core, self.isa, self.dtype, self.arithmetic, self.warm_up
        );
        let total = self.total;
        let _ = writeln!(
            text,
            "median {}, min {}, max {}",
            self.shown(total.median),
            self.shown(total.min),
            self.shown(total.max)
        );
        let _ =
            write!(text, "{} multiply-adds, {} at the minimum", self.macs, self.rate(self.macs, total.min));
        let peak = self.host.as_ref().and_then(|host| host.peak_gmacs).filter(|_| self.threads == 1);
        if let Some(peak) = peak {
            let share = 100.0 * self.macs as f64 / total.min.max(1) as f64 / peak;
            let _ = write!(text, ", {share:.0} % of {peak:.1} that this core reaches");
        }
        let _ = writeln!(text, "\n{}", self.memory_line());
        if let Some(check) = &self.self_check {
            let crc = self.outputs_crc32.as_deref().unwrap_or("none");
            let _ = write!(text, "self-check: {} of {} samples pass", check.passed, check.samples);
            let _ = match check.largest_difference {
                Some(difference) => {
                    writeln!(text, ", largest difference of a logit {difference:.2e}, CRC-32 {crc}")
                }
                None => writeln!(text, ", a logit is no number"),
            };
        }
        if let Some(line) = self.host_line() {
            let _ = writeln!(text, "{line}");
        }
        let name = self.layers.iter().map(|layer| layer.name.chars().count()).max().unwrap_or(0).max(5);
        let unit = match self.counter.kind {
            Kind::Nanoseconds => "µs",
            kind => kind.name(),
        };
        let _ = writeln!(text, "  {:name$} {:>14} {:>14}", "layer", "typical", "min");
        for layer in &self.layers {
            let shown = |count: u64| match self.counter.kind {
                Kind::Nanoseconds => format!("{:.1}", count as f64 / 1e3),
                _ => count.to_string(),
            };
            let _ = writeln!(
                text,
                "  {:name$} {:>14} {:>14} {unit} {:>22}{}",
                layer.name,
                shown(layer.typical()),
                shown(layer.min),
                self.rate(layer.macs, layer.min),
                layer.form.as_ref().map(|form| format!("  {form}")).unwrap_or_default()
            );
        }
        text
    }

    /// What makes the figures longer than they are on an idle machine, in a sentence; none where nothing is known to.
    pub fn disturbed(&self) -> Option<String> {
        /// Share of the processors that other programs may use.
        const OTHERS: f64 = 0.1;
        /// Median of a quiet machine by the least, at most, of so many inferences at least.
        const SPREAD: f64 = 1.25;
        const ENOUGH: u64 = 10;
        if self.counter.kind != Kind::Nanoseconds {
            return None;
        }
        let spread = self.total.median as f64 / self.total.min.max(1) as f64;
        let others = self.host.as_ref().and_then(|host| host.others).filter(|others| *others > OTHERS);
        let what = match others {
            Some(others) => {
                format!("other programs used {:.0} % of the processors meanwhile", 100.0 * others)
            }
            None if spread > SPREAD && self.iterations >= ENOUGH => {
                format!("the median is {spread:.2} times the least")
            }
            None => return None,
        };
        Some(format!("busy machine: {what}; compare the least times, or measure again when it is idle"))
    }

    fn memory_line(&self) -> String {
        let memory = &self.memory;
        let mut parts = Vec::new();
        if let Some(flash) = memory.flash_bytes {
            let code = memory.code_bytes.unwrap_or(flash.saturating_sub(memory.model_bytes));
            let of = memory.flash_available.map(|bytes| format!(" of {bytes}")).unwrap_or_default();
            parts.push(format!("flash {flash}{of} bytes (code {code}, model {})", memory.model_bytes));
        }
        if let (Some(ram), Some(other), Some(stack)) =
            (memory.ram_bytes, memory.static_bytes, memory.stack_bytes)
        {
            let of = memory.ram_available.map(|bytes| format!(" of {bytes}")).unwrap_or_default();
            let arena = memory.arena_bytes;
            parts.push(format!("RAM {ram}{of} bytes (arena {arena}, static {other}, stack {stack})"));
        } else {
            parts.push(format!("arena {} bytes", memory.arena_bytes));
        }
        if memory.packed_bytes > 0 {
            parts.push(format!("packed weights {} bytes", memory.packed_bytes));
        }
        if memory.team_bytes > 0 {
            parts.push(format!("further threads {} bytes", memory.team_bytes));
        }
        parts.join(", ")
    }

    fn host_line(&self) -> Option<String> {
        let host = self.host.as_ref()?;
        let parts = [
            host.pinned_to.map(|core| format!("pinned to core {core}")),
            host.governor.as_ref().map(|governor| format!("governor {governor}")),
            host.frequency_khz.map(|[before, after]| {
                format!("clock {} MHz before, {} MHz after", before / 1000, after / 1000)
            }),
            host.temperature_c.map(|[before, after]| format!("{before:.1} °C before, {after:.1} °C after")),
            host.gpio.as_ref().map(|line| format!("{line} high during inference")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use crate::run::*;

    /// Invented figures, for tests only.
    pub(crate) fn example() -> Run {
        let layer = |index, name: &str, counts: [u64; 3]| Layer {
            index,
            name: name.to_owned(),
            rank: 0,
            form: None,
            output: [4, 1, 1],
            macs: 1000,
            min: counts[0],
            median: Some(counts[1]),
            mean: counts[1],
            max: counts[2],
        };
        Run {
            format: FORMAT.to_owned(),
            board: "board".to_owned(),
            core: "Cortex-M4F".to_owned(),
            clock_hz: Some(180_000_000),
            counter: Counter { kind: Kind::Cycles, resolution: Some(1), calibration: None },
            compiler: Some(Compiler::of_this_program()),
            git: None,
            engine: "lrpet-runtime 0.1.0".to_owned(),
            model: Model {
                file: "m.safetensors".to_owned(),
                bytes: 10,
                crc32: "0badcafe".to_owned(),
                sha256: None,
                network: Some("resnet8".to_owned()),
                prune: Some("0.6".to_owned()),
                input: [1, 28, 28],
                classes: 4,
            },
            dtype: "f16".to_owned(),
            arithmetic: "f32".to_owned(),
            isa: "cortex-m".to_owned(),
            threads: 1,
            warm_up: 1,
            iterations: 3,
            macs: 2000,
            total: Figures { min: 9_000, median: 9_100, max: 9_200 },
            layers: vec![layer(0, "first", [4000, 4100, 4200]), layer(1, "second", [4900, 5000, 5100])],
            memory: Memory { arena_bytes: 512, model_bytes: 10, ..Memory::default() },
            self_check: Some(SelfCheck { samples: 4, passed: 4, largest_difference: Some(0.001) }),
            outputs_crc32: Some("12345678".to_owned()),
            host: None,
        }
    }

    #[test]
    fn every_unit_is_shown_as_itself() {
        let mut run = example();
        assert!(run.text().contains("median 9100 cycles (50.6 µs)"), "{}", run.text());
        assert!(run.text().contains("0.222 MAC/cycle"), "{}", run.text());
        run.counter.kind = Kind::Instructions;
        let text = run.text();
        assert!(text.contains("median 9100 instructions,") && !text.contains(" µs"), "{text}");
        run.counter.kind = Kind::Nanoseconds;
        let text = run.text();
        run.layers[1].form = Some("Winograd 4×4".to_owned());
        assert!(run.text().contains("GMAC/s  Winograd 4×4\n"), "{}", run.text());
        assert!(text.contains("median 9.10 µs") && text.contains("0.22 GMAC/s"), "{text}");
        assert!(!text.contains("cycles") && !text.contains("instructions"), "{text}");
    }

    #[test]
    fn a_busy_machine_is_said_to_be_one() {
        let mut run = example();
        run.iterations = 50;
        run.total = Figures { min: 100, median: 130, max: 900 };
        assert_eq!(run.disturbed(), None, "cycles of a board are not disturbed");
        run.counter.kind = Kind::Nanoseconds;
        assert!(run.disturbed().unwrap().starts_with("busy machine: the median is 1.30 times the least"));
        assert!(!run.text().contains("busy"), "it is for standard error");
        run.host = Some(Host { others: Some(0.43), ..Host::default() });
        assert!(run.disturbed().unwrap().contains("43 % of the processors"));
        run.host = Some(Host { others: Some(0.02), ..Host::default() });
        run.total.median = 110;
        assert_eq!(run.disturbed(), None);
    }

    #[test]
    fn figures_of_counts() {
        assert_eq!(Figures::of(&mut [3, 1, 2, 9]), Figures { min: 1, median: 2, max: 9 });
        assert_eq!(Figures::of(&mut []), Figures { min: 0, median: 0, max: 0 });
    }
}
