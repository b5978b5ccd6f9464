//! All that a board does: check the model, check the answers, bench, report.

use core::fmt;

use embedded_hal::digital::OutputPin;
use embedded_io::Write;
use lrpet_runtime::check::Comparison;
use lrpet_runtime::model::{Model, ModelError, Op, cost};
use lrpet_runtime::session::{Arena, RunError, Session, SessionError};

use crate::bench::{self, BenchError, LayerCount};
use crate::checksum::{self, OutputCrc};
use crate::counter::{Calibration, Counter};
use crate::report::{self, LineError, Reporter};

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

/// What a board lends: its counter, its console, a pin that is high during inference
/// ([`NoPin`](crate::pin::NoPin) where there is none), and how deep the stack was used so far, in bytes.
pub struct Hardware<'h, C, W, P> {
    /// Counts cycles or instructions.
    pub counter: &'h mut C,
    /// Takes the report.
    pub console: &'h mut W,
    /// High during each counted inference.
    pub pin: &'h mut P,
    /// Bytes of stack used at the deepest point since the start.
    pub stack_bytes: &'h dyn Fn() -> u32,
}

/// Static memory of the sizes that the board's build script computed for its model.
pub struct Memory<const ARENA: usize, const CLASSES: usize, const LAYERS: usize> {
    arena: Arena<ARENA>,
    logits: [f32; CLASSES],
    layers: [LayerCount; LAYERS],
}

impl<const ARENA: usize, const CLASSES: usize, const LAYERS: usize> Memory<ARENA, CLASSES, LAYERS> {
    /// All zero, so that it takes no flash.
    pub const fn new() -> Self {
        Self {
            arena: Arena([0; ARENA]),
            logits: [0.0; CLASSES],
            layers: [LayerCount { min: 0, max: 0, sum: 0 }; LAYERS],
        }
    }

    /// The arena and the logits, for a session of one's own after [`run`].
    pub fn parts(&mut self) -> (&mut [u8], &mut [f32]) {
        (&mut self.arena.0, &mut self.logits)
    }
}

impl<const A: usize, const C: usize, const L: usize> Default for Memory<A, C, L> {
    fn default() -> Self {
        Self::new()
    }
}

/// How often the bench runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Inferences before counting begins.
    pub warm_up: usize,
    /// Inferences counted, 1 to [`bench::MAX_ITERATIONS`].
    pub iterations: usize,
}

/// Checks `model` (the bytes of a model file), runs its self-check and the bench, and writes the report.
/// True where every sample passes and nothing failed.
pub fn run<const A: usize, const C: usize, const L: usize>(
    board: &Board,
    model: &[u8],
    memory: &mut Memory<A, C, L>,
    options: Options,
    hardware: Hardware<'_, impl Counter, impl Write, impl OutputPin>,
) -> bool {
    let Hardware { counter, console, pin, stack_bytes } = hardware;
    let mut reporter = Reporter::new(console);
    match steps(board, model, memory, options, counter, pin, stack_bytes, &mut reporter) {
        Ok(pass) => pass,
        Err(failure) => {
            // The status says "failed" even where the console cannot say why.
            let _ = reporter.event(&report::Failed { message: failure });
            false
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn steps<'a, const A: usize, const C: usize, const L: usize>(
    board: &Board,
    bytes: &'a [u8],
    memory: &'a mut Memory<A, C, L>,
    options: Options,
    counter: &mut impl Counter,
    pin: &mut impl OutputPin,
    stack_bytes: &dyn Fn() -> u32,
    reporter: &mut Reporter<'_, impl Write>,
) -> Result<bool, Failure<'a>> {
    if !(1..=bench::MAX_ITERATIONS).contains(&options.iterations) {
        return Err(Failure::Iterations { given: options.iterations });
    }
    if let Some(calibration) = counter.calibration()
        && !calibration.is_close()
    {
        return Err(Failure::Counter(calibration));
    }
    let model = Model::new_checked(bytes).map_err(Failure::Model)?;
    let samples = model.self_check().filter(|samples| samples.samples() > 0).ok_or(Failure::NoSamples)?;
    let header = *model.program().header();
    let Memory { arena, logits, layers } = memory;
    let mut session = Session::new(&model, &mut arena.0).map_err(Failure::Session)?;
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
            model_crc32: checksum::crc32(bytes),
            model_bytes: bytes.len(),
            arena_bytes: A,
        })
        .map_err(Failure::Line)?;

    let mut passed = 0;
    let mut outputs = OutputCrc::new();
    for index in 0..samples.samples() {
        session.run_image(samples.image(index), logits, &mut ()).map_err(Failure::Run)?;
        outputs.update(logits);
        let comparison = Comparison::of(logits, samples.logits(index));
        let pass = comparison.passes();
        passed += usize::from(pass);
        let Comparison { class, expected_class, max_abs_diff, tolerance } = comparison;
        reporter
            .event(&report::Sample { index, class, expected_class, max_abs_diff, tolerance, pass })
            .map_err(Failure::Line)?;
    }

    let Options { warm_up, iterations } = options;
    let totals =
        bench::measure(&mut session, samples.image(0), logits, layers, counter, pin, warm_up, iterations)
            .map_err(|error| match error {
                BenchError::Run(error) => Failure::Run(error),
                BenchError::Pin => Failure::Pin,
            })?;
    let mut macs = 0;
    for (info, count) in model.program().layers().zip(layers.iter()) {
        let cost = cost::stored(&info.op, info.input);
        macs += cost.macs;
        reporter
            .event(&report::Layer {
                index: info.index,
                name: info.op.name(),
                rank: rank(&info.op),
                output: info.output,
                macs: cost.macs,
                min: count.min,
                mean: count.sum / iterations as u64,
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

/// Rank of a pair, 0 otherwise.
fn rank(op: &Op<&str>) -> u64 {
    match op {
        Op::Conv(conv) => cost::rank_of(conv.weights),
        Op::Linear(linear) => cost::rank_of(linear.weights),
        _ => 0,
    }
}

/// Why a run ended early.
enum Failure<'a> {
    Model(ModelError<'a>),
    Session(SessionError<'a>),
    Run(RunError),
    NoSamples,
    Pin,
    Iterations { given: usize },
    Counter(Calibration),
    Line(LineError),
}

impl fmt::Display for Failure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Model(error) => write!(f, "model: {error}"),
            Failure::Session(error) => write!(f, "model: {error}"),
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
