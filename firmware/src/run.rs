//! All that a board does: check the model, check the answers, bench, report.

use core::fmt;

use embedded_hal::digital::OutputPin;
use embedded_io::Write;
use lrpet_runtime::check::Comparison;
use lrpet_runtime::model::LayerFacts;
use lrpet_runtime::session::{Hook, RunError};

use crate::bench::{self, BenchError};
use crate::checksum::{self, OutputCrc};
use crate::counter::{Calibration, Counter};
use crate::report::{self, LineError, Reporter};
use crate::source::{Open, Opened};

/// What a board is.
#[derive(Clone, Copy, Debug)]
pub struct Board {
    /// Name of the board's crate.
    pub name: &'static str,
    /// Core.
    pub core: &'static str,
    /// Core clock in hertz.
    pub clock_hz: u32,
}

/// What a board lends to the report and to the service.
pub struct Hardware<'h, C, P, H> {
    /// Counts cycles or instructions.
    pub counter: &'h mut C,
    /// High during each inference that is timed ([`NoPin`](crate::pin::NoPin) where there is none).
    pub pin: &'h mut P,
    /// Called around each layer of every inference; a watchdog's place (`()` where there is none).
    pub hook: &'h mut H,
    /// Bytes of stack used at the deepest point since the start.
    pub stack_bytes: &'h dyn Fn() -> u32,
}

/// How often the bench runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Inferences before counting begins.
    pub warm_up: usize,
    /// Inferences counted, 1 to [`bench::MAX_ITERATIONS`].
    pub iterations: usize,
}

/// Checks the model of `source`, runs its self-check and the bench in `memory` (see
/// [`memory_bytes`](crate::memory::memory_bytes); its address a multiple of 16), and writes the report to `console`. True where
/// every sample passes and nothing failed. Apart, so that none of it is on the stack while a board serves.
#[inline(never)]
pub fn run<'m>(
    board: &Board,
    source: impl Open<'m>,
    memory: &'m mut [u8],
    options: Options,
    hardware: Hardware<'_, impl Counter, impl OutputPin, impl Hook>,
    console: &mut impl Write,
) -> bool {
    let mut reporter = Reporter::new(console);
    match steps(board, source, memory, options, hardware, &mut reporter) {
        Ok(pass) => pass,
        Err(failure) => {
            // The status says "failed" even where the console cannot say why.
            let _ = reporter.event(&report::Failed { message: failure });
            false
        }
    }
}

fn steps<'m, S: Open<'m>>(
    board: &Board,
    source: S,
    memory: &'m mut [u8],
    options: Options,
    hardware: Hardware<'_, impl Counter, impl OutputPin, impl Hook>,
    reporter: &mut Reporter<'_, impl Write>,
) -> Result<bool, Failure<<S::Opened as Opened<'m>>::Unusable>> {
    let Hardware { counter, pin, hook, stack_bytes } = hardware;
    if !(1..=bench::MAX_ITERATIONS).contains(&options.iterations) {
        return Err(Failure::Iterations { given: options.iterations });
    }
    if let Some(calibration) = counter.calibration()
        && !calibration.is_close()
    {
        return Err(Failure::Counter(calibration));
    }
    let model = source.open().map_err(Failure::Model)?;
    let bytes = model.file();
    let samples = model.self_check().filter(|samples| samples.samples() > 0).ok_or(Failure::NoSamples)?;
    let header = *model.header();
    let memory_bytes = memory.len();
    let room = model.room(memory).map_err(Failure::Model)?;
    let needed_bytes = room.needed;
    let (arena, logits, layers) = room.for_report(model.len());
    let arena_bytes = arena.len();
    let mut session = model.session(arena).map_err(Failure::Model)?;
    reporter
        .event(&report::Start {
            board: board.name,
            core: board.core,
            clock_hz: board.clock_hz,
            counter: counter.kind(),
            counter_resolution: counter.resolution(),
            calibration: counter.calibration(),
            engine: concat!("lrpet-runtime ", env!("CARGO_PKG_VERSION")),
            kernels: session.isa().name(),
            dtype: "f16",
            input: header.input,
            classes: header.classes,
            source: source.name(),
            model_crc32: checksum::crc32(bytes),
            model_bytes: bytes.len(),
            arena_bytes,
            needed_bytes,
            memory_bytes,
        })
        .map_err(Failure::Line)?;

    let mut passed = 0;
    let mut outputs = OutputCrc::new();
    for index in 0..samples.samples() {
        session.run_sample(&samples, index, logits, hook).map_err(Failure::Run)?;
        outputs.update(logits);
        let comparison = Comparison::by(&session, logits, &samples, index);
        let pass = comparison.passes();
        passed += usize::from(pass);
        let Comparison { class, expected_class, max_abs_diff, tolerance } = comparison;
        reporter
            .event(&report::Sample { index, class, expected_class, max_abs_diff, tolerance, pass })
            .map_err(Failure::Line)?;
    }

    let Options { warm_up, iterations } = options;
    let totals =
        bench::measure(&mut session, &samples, logits, layers, counter, pin, hook, warm_up, iterations)
            .map_err(|error| match error {
                BenchError::Run(error) => Failure::Run(error),
                BenchError::Pin => Failure::Pin,
            })?;
    let mut macs = 0;
    for ((index, facts), count) in model.layers().enumerate().zip(layers.iter()) {
        let LayerFacts { name, rank, output, macs: of_layer } = facts;
        macs += of_layer;
        reporter
            .event(&report::Layer {
                index,
                name,
                rank: rank.into(),
                output,
                macs: of_layer,
                min: count.min,
                mean: count.sum / (iterations as u64).max(1),
                max: count.max,
            })
            .map_err(Failure::Line)?;
    }
    let [min, median, max] = totals.min_median_max();
    reporter.event(&report::Total { warm_up, iterations, macs, min, median, max }).map_err(Failure::Line)?;

    let pass = passed == samples.samples();
    reporter
        .event(&report::End {
            samples: samples.samples(),
            samples_passed: passed,
            outputs_crc32: outputs.finish(),
            stack_bytes: stack_bytes(),
            pass,
        })
        .map_err(Failure::Line)?;
    Ok(pass)
}

/// Why a run ended early.
enum Failure<U> {
    Model(U),
    Run(RunError),
    NoSamples,
    Pin,
    Iterations { given: usize },
    Counter(Calibration),
    Line(LineError),
}

impl<U: fmt::Display> fmt::Display for Failure<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Model(error) => error.fmt(f),
            Failure::Run(error) => write!(f, "inference: {error}"),
            Failure::NoSamples => {
                f.write_str("the model has no self-check samples: export it again with lrpet")
            }
            Failure::Pin => f.write_str("the pin that marks inference cannot be set"),
            Failure::Iterations { given } => {
                write!(f, "{given} iterations: the bench runs 1 to {}", bench::MAX_ITERATIONS)
            }
            Failure::Counter(Calibration { known, counted }) => write!(
                f,
                "the counter is wrong: it counted {counted} where {known} are; an emulator must run as the board's \
                 runner says"
            ),
            Failure::Line(error) => write!(f, "report: {error}"),
        }
    }
}
