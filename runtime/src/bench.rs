//! Measuring a model on this machine: whole inferences, each layer, the self-check, as the one document that every machine writes
//! ([`lrpet_report::Run`]).

use std::fmt;
use std::num::NonZeroU32;
use std::string::{String, ToString};
use std::time::Instant;
use std::vec;
use std::vec::Vec;

use crc::{CRC_32_ISO_HDLC, Crc};
use lrpet_report::{
    Compiler, Counter, FORMAT, Figures, Host, Kind, Layer, Memory, Model as Document, Run, SelfCheck,
};

use crate::check::Comparison;
use crate::format::RawStr;
use crate::kernel;
use crate::model::{Model, Op, cost};
use crate::session::{Hook, RunError, Session};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// How often a model runs.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Inferences before timing begins.
    pub warm_up: u32,
    /// Inferences timed whole, and as many again by layer.
    pub iterations: NonZeroU32,
}

/// Why a bench stopped.
#[derive(Debug)]
pub enum BenchError {
    /// An inference failed.
    Run(RunError),
    /// The line that marks inferences cannot be set.
    Mark(std::io::Error),
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BenchError::Run(error) => write!(f, "inference: {error}"),
            BenchError::Mark(error) => write!(f, "the line that marks inferences cannot be set: {error}"),
        }
    }
}

impl std::error::Error for BenchError {}

/// Times one interval. Its functions stay functions: `cargo xtask bench arm` counts what is executed between them.
struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    fn new() -> Self {
        Self { started: Instant::now() }
    }

    #[inline(never)]
    fn start(&mut self) {
        self.started = Instant::now();
    }

    /// Nanoseconds since the start.
    #[inline(never)]
    fn stop(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Times each layer.
struct Clock {
    watch: Stopwatch,
    /// Of each, the time of every inference.
    layers: Vec<Vec<u64>>,
    /// Inferences before this one.
    done: usize,
}

impl Hook for Clock {
    fn before(&mut self, _layer: usize) {
        self.watch.start();
    }

    fn after(&mut self, layer: usize) {
        let time = self.watch.stop();
        let times = &mut self.layers[layer];
        // In a stream, a layer runs once for each strip.
        times.resize(self.done + 1, 0);
        times[self.done] += time;
    }
}

/// Measures `model` by `session`, on the first image of its self-check or on a grey one. `file` is what the document calls the
/// model. `mark` is called with true before each timed inference and with false after it.
///
/// # Errors
/// [`BenchError`], where an inference or `mark` fails.
pub fn bench(
    model: &Model<'_>,
    session: &mut Session<'_>,
    file: &str,
    options: Options,
    mark: &mut dyn FnMut(bool) -> std::io::Result<()>,
) -> Result<Run, BenchError> {
    let mut bench = Bench::new(model, session, file)?;
    bench.warm_up(options.warm_up)?;
    bench.turn(options.iterations, mark)?;
    Ok(bench.finish())
}

/// One model under measurement. Its inferences can be made in turns, between those of other models, so that what else goes on
/// the machine meets all of them alike.
pub struct Bench<'a, 'b> {
    model: &'a Model<'a>,
    session: &'a mut Session<'b>,
    file: String,
    image: Vec<u8>,
    logits: Vec<f32>,
    self_check: Option<SelfCheck>,
    outputs_crc32: Option<String>,
    warm_up: u64,
    totals: Vec<u64>,
    clock: Clock,
}

/// One inference on the bytes of a picture, or on as many values between 0 and 1 where the model takes those.
fn run(
    session: &mut Session<'_>,
    image: &[u8],
    logits: &mut [f32],
    hook: &mut impl Hook,
) -> Result<(), RunError> {
    match session.run_image(image, logits, hook) {
        Err(RunError::InputKind) => {
            let values: Vec<f32> = image.iter().map(|x| f32::from(*x) / 255.0).collect();
            session.run_values(&values, logits, hook)
        }
        done => done,
    }
}

impl<'a, 'b> Bench<'a, 'b> {
    /// Runs the self-check of `model` and takes its first image, or a grey one, for what follows. `file` is what the document calls
    /// the model.
    ///
    /// # Errors
    /// [`BenchError::Run`].
    pub fn new(model: &'a Model<'a>, session: &'a mut Session<'b>, file: &str) -> Result<Self, BenchError> {
        let program = model.program();
        let mut logits = vec![0.0; session.classes()];
        let (self_check, outputs_crc32) = check(model, session, &mut logits)?;
        let samples = model.self_check().filter(|check| check.samples() > 0);
        // Samples of a model that takes values have no image.
        let image = samples.map(|check| check.image(0).to_vec()).filter(|image| !image.is_empty());
        let image = image.unwrap_or_else(|| vec![128; program.header().input.len()]);
        let clock = Clock { watch: Stopwatch::new(), layers: vec![Vec::new(); program.len()], done: 0 };
        let file = file.to_string();
        let (warm_up, totals) = (0, Vec::new());
        Ok(Self { model, session, file, image, logits, self_check, outputs_crc32, warm_up, totals, clock })
    }

    /// Inferences that are not timed.
    ///
    /// # Errors
    /// [`BenchError::Run`].
    pub fn warm_up(&mut self, count: u32) -> Result<(), BenchError> {
        for _ in 0..count {
            run(self.session, &self.image, &mut self.logits, &mut ()).map_err(BenchError::Run)?;
        }
        self.warm_up += u64::from(count);
        Ok(())
    }

    /// Inferences timed whole, and as many again by layer. `mark` is called with true before each one timed whole and with false
    /// after it.
    ///
    /// # Errors
    /// [`BenchError`], where an inference or `mark` fails.
    pub fn turn(
        &mut self,
        iterations: NonZeroU32,
        mark: &mut dyn FnMut(bool) -> std::io::Result<()>,
    ) -> Result<(), BenchError> {
        let mut watch = Stopwatch::new();
        for _ in 0..iterations.get() {
            mark(true).map_err(BenchError::Mark)?;
            watch.start();
            let done = run(self.session, &self.image, &mut self.logits, &mut ());
            self.totals.push(watch.stop());
            mark(false).map_err(BenchError::Mark)?;
            done.map_err(BenchError::Run)?;
        }
        // Layers in a pass of their own: reading the clock twice a layer must not weigh on the total.
        for _ in 0..iterations.get() {
            run(self.session, &self.image, &mut self.logits, &mut self.clock).map_err(BenchError::Run)?;
            self.clock.done += 1;
        }
        Ok(())
    }

    /// The document of all turns.
    pub fn finish(mut self) -> Run {
        let session = &*self.session;
        let layers = layers(self.model, session, &mut self.clock.layers);
        Run {
            format: FORMAT.to_string(),
            board: "host".to_string(),
            core: lrpet_report::host::core(),
            clock_hz: None,
            counter: Counter { kind: Kind::Nanoseconds, resolution: None, calibration: None },
            compiler: Some(Compiler::of_this_program()),
            git: lrpet_report::revision(),
            engine: concat!("lrpet-runtime ", env!("CARGO_PKG_VERSION")).to_string(),
            model: document(self.model, &self.file),
            dtype: "f16".to_string(),
            arithmetic: session.arithmetic().name().to_string(),
            isa: session.isa().name().to_string(),
            threads: session.threads() as u32,
            warm_up: self.warm_up,
            iterations: self.totals.len() as u64,
            macs: layers.iter().map(|layer| layer.macs).sum(),
            total: Figures::of(&mut self.totals),
            layers,
            memory: Memory {
                arena_bytes: session.plan().arena_bytes as u64,
                model_bytes: self.model.bytes().len() as u64,
                packed_bytes: session.packed_bytes() as u64,
                team_bytes: session.team_bytes() as u64,
                ..Memory::default()
            },
            self_check: self.self_check,
            outputs_crc32: self.outputs_crc32,
            host: Some(Host {
                os: std::env::consts::OS.to_string(),
                peak_gmacs: peak(session),
                ..Host::default()
            }),
        }
    }
}

/// What the document says of a model file.
pub fn document(model: &Model<'_>, file: &str) -> Document {
    let header = model.program().header();
    let card = |key: &str| {
        let value = model.container().metadata_value(key).map(|value: RawStr<'_>| value.to_string());
        value.filter(|value| !value.is_empty())
    };
    Document {
        file: file.to_string(),
        bytes: model.bytes().len() as u64,
        crc32: hexadecimal(CRC.checksum(model.bytes())),
        sha256: None,
        network: card("network"),
        prune: card("prune"),
        input: [header.input.channels, header.input.height, header.input.width],
        classes: header.classes,
    }
}

/// Runs the model's own samples: how many pass, and the CRC-32 of all logits.
fn check(
    model: &Model<'_>,
    session: &mut Session<'_>,
    logits: &mut [f32],
) -> Result<(Option<SelfCheck>, Option<String>), BenchError> {
    let Some(samples) = model.self_check().filter(|check| check.samples() > 0) else {
        return Ok((None, None));
    };
    let (mut passed, mut largest, mut digest) = (0, 0.0f32, CRC.digest());
    for index in 0..samples.samples() {
        session.run_sample(&samples, index, logits, &mut ()).map_err(BenchError::Run)?;
        logits.iter().for_each(|logit| digest.update(&logit.to_le_bytes()));
        let comparison = Comparison::by(session, logits, &samples, index);
        passed += u64::from(comparison.passes());
        largest = largest.max(comparison.max_abs_diff);
    }
    let largest_difference = largest.is_finite().then_some(largest.into());
    let check = SelfCheck { samples: samples.samples() as u64, passed, largest_difference };
    Ok((Some(check), Some(hexadecimal(digest.finalize()))))
}

/// The document's layers, of the times of each.
fn layers(model: &Model<'_>, session: &Session<'_>, times: &mut [Vec<u64>]) -> Vec<Layer> {
    let of_layer = |(layer, times): (crate::model::LayerInfo<'_>, &mut Vec<u64>)| {
        let Figures { min, median, max } = Figures::of(times);
        let mean = times.iter().sum::<u64>() / times.len().max(1) as u64;
        Layer {
            index: layer.index as u64,
            name: layer.op.name().to_string(),
            rank: match &layer.op {
                Op::Conv(conv) => cost::rank_of(conv.weights),
                Op::Linear(linear) => cost::rank_of(linear.weights),
                _ => 0,
            },
            form: session.form(layer.index).map(str::to_string),
            output: [layer.output.channels, layer.output.height, layer.output.width],
            macs: cost::stored(&layer.op, layer.input).macs,
            min,
            median: Some(median),
            mean,
            max,
        }
    };
    model.program().layers().zip(times).map(of_layer).collect()
}

/// Multiply-adds a second of a loop that does nothing else on this core, in 1e9: the best of some short runs. None where there is
/// no such loop.
fn peak(session: &Session<'_>) -> Option<f64> {
    /// About 50 µs, less than the time that a scheduler gives.
    const ROUNDS: u32 = 16_000;
    let rate = |_| {
        let started = Instant::now();
        let count = kernel::multiply_adds(session.isa(), session.arithmetic(), ROUNDS).unwrap_or(0);
        count as f64 / started.elapsed().as_secs_f64() / 1e9
    };
    Some((0..100).map(rate).fold(0.0, f64::max)).filter(|rate| *rate > 0.0)
}

fn hexadecimal(crc: u32) -> String {
    std::format!("{crc:08x}")
}
