//! The whole of a board's program on the host: a counter that is no clock, a console that is a vector.

use std::convert::Infallible;

use embedded_hal::digital::{ErrorType, OutputPin};
use lrpet_firmware::bench::MAX_ITERATIONS;
use lrpet_firmware::checksum::crc32;
use lrpet_firmware::counter::{Calibration, Counter, Kind};
use lrpet_firmware::memory::memory_bytes;
use lrpet_firmware::pin::NoPin;
use lrpet_firmware::region;
use lrpet_firmware::run::{Board, Hardware, Options, run};
use lrpet_firmware::source::Source;
use lrpet_runtime::model::Shape;
use lrpet_runtime::session::{Arena, Hook};
use lrpet_tests::random_model::small_model;
use serde_json::Value;

const BOARD: Board = Board { name: "host \"test\"", core: "none", clock_hz: 1_000_000 };
const ONCE: Options = Options { warm_up: 0, iterations: 1 };
const CLASSES: usize = 4;
const LAYERS: usize = 5;

/// Reading costs `OVERHEAD`; after the empty intervals that measure it, interval i (from 1) is `STEP`·i long.
struct FakeCounter {
    now: u64,
    intervals: u64,
    calibration: Option<Calibration>,
}

impl FakeCounter {
    const OVERHEAD: u64 = 7;
    const EMPTY_INTERVALS: u64 = 3;
    const STEP: u64 = 10;

    fn new() -> Self {
        // Overflows on the way.
        Self { now: u64::MAX - 100, intervals: 0, calibration: None }
    }
}

impl Counter for FakeCounter {
    fn kind(&self) -> Kind {
        Kind::Cycles
    }

    fn resolution(&self) -> u32 {
        1
    }

    fn calibration(&self) -> Option<Calibration> {
        self.calibration
    }

    fn start(&mut self) -> u64 {
        self.now
    }

    fn stop(&mut self) -> u64 {
        self.intervals += 1;
        let length = self.intervals.saturating_sub(Self::EMPTY_INTERVALS) * Self::STEP;
        self.now = self.now.wrapping_add(Self::OVERHEAD + length);
        self.now
    }
}

/// Counts how often it rises and falls.
#[derive(Default)]
struct CountingPin {
    rises: usize,
    falls: usize,
}

impl ErrorType for CountingPin {
    type Error = Infallible;
}

impl OutputPin for CountingPin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.falls += 1;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.rises += 1;
        Ok(())
    }
}

fn model() -> Vec<u8> {
    small_model(Shape::new(3, 9, 7), 8, CLASSES as u32).unwrap()
}

/// A watchdog that counts the layers before and after which it is fed.
#[derive(Default)]
struct Fed([usize; 2]);

impl Hook for Fed {
    fn before(&mut self, _layer: usize) {
        self.0[0] += 1;
    }

    fn after(&mut self, _layer: usize) {
        self.0[1] += 1;
    }
}

struct Outcome {
    pass: bool,
    events: Vec<Value>,
    fed: [usize; 2],
}

impl Outcome {
    fn named(&self, name: &str) -> Vec<&Value> {
        self.events.iter().filter(|event| event["event"] == name).collect()
    }

    fn error(&self) -> &str {
        assert!(!self.pass);
        self.events.last().unwrap()["message"].as_str().unwrap()
    }
}

fn run_on_host<const MEMORY: usize>(
    file: &[u8],
    options: Options,
    counter: &mut FakeCounter,
    pin: &mut impl OutputPin,
) -> Outcome {
    // Flash begins where the linker says; here the file is copied to such a place.
    let mut flash = Box::new(Arena([0; 1 << 14]));
    flash.0[..file.len()].copy_from_slice(file);
    run_source::<MEMORY>(Source::Linked(&flash.0[..file.len()]), options, counter, pin)
}

fn run_source<const MEMORY: usize>(
    source: Source<'_>,
    options: Options,
    counter: &mut FakeCounter,
    pin: &mut impl OutputPin,
) -> Outcome {
    let mut memory = Box::new(Arena([0; MEMORY]));
    let (mut console, mut hook) = (Vec::new(), Fed::default());
    let hardware = Hardware { counter, pin, hook: &mut hook, stack_bytes: &|| 1234 };
    let pass = run(&BOARD, source, &mut memory.0, options, hardware, &mut console);
    let text = String::from_utf8(console).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    Outcome { pass, events, fed: hook.0 }
}

fn run_plainly(file: &[u8], options: Options) -> Outcome {
    run_on_host::<16384>(file, options, &mut FakeCounter::new(), &mut NoPin)
}

#[test]
fn a_good_model_passes_and_reports_everything() {
    let file = model();
    let mut pin = CountingPin::default();
    let options = Options { warm_up: 2, iterations: 3 };
    let outcome = run_on_host::<16384>(&file, options, &mut FakeCounter::new(), &mut pin);
    assert!(outcome.pass);
    assert_eq!((pin.rises, pin.falls), (3, 3));
    // Three samples, two inferences to warm up, three counted whole and three by layer.
    assert_eq!(outcome.fed, [(3 + 2 + 3 + 3) * LAYERS; 2]);

    let start = outcome.named("start")[0];
    assert_eq!(start["board"], BOARD.name);
    assert_eq!(start["counter"], "cycles");
    assert_eq!(start["calibration"], Value::Null);
    assert_eq!(start["input"], "3×9×7");
    assert_eq!(start["model_crc32"], format!("{:08x}", crc32(&file)));
    assert_eq!(start["model_bytes"], file.len());
    let arena = start["arena_bytes"].as_u64().unwrap() as usize;
    assert_eq!(start["needed_bytes"], memory_bytes(arena, CLASSES, LAYERS, 189));
    assert_eq!((&start["memory_bytes"], &start["source"]), (&16384.into(), &"linked".into()));

    let samples = outcome.named("sample");
    assert_eq!(samples.len(), 3);
    assert!(
        samples.iter().all(|sample| sample["pass"] == true && sample["class"] == sample["expected_class"])
    );

    // Whole inferences are the first intervals after the empty ones, the overhead taken off; layers follow.
    let total = outcome.named("total")[0];
    assert_eq!([&total["min"], &total["median"], &total["max"]].map(Value::as_u64), [10, 20, 30].map(Some));
    let layers = outcome.named("layer");
    let names: Vec<_> = layers.iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["first", "second", "concat", "global average pool", "fc"]);
    let first = [&layers[0]["min"], &layers[0]["mean"], &layers[0]["max"]].map(Value::as_u64);
    assert_eq!(first, [40, 90, 140].map(Some));
    assert_eq!((&layers[0]["rank"], &layers[1]["rank"]), (&3.into(), &0.into()));
    assert_eq!(layers[0]["output"], "8×5×4");
    let pair = 3 * (3 * 9 + 8) * 5 * 4;
    let macs = [pair, 8 * 8 * 9 * 5 * 4, 0, 0, 16 * CLASSES];
    assert_eq!(layers.iter().map(|layer| layer["macs"].as_u64().unwrap() as usize).collect::<Vec<_>>(), macs);
    assert_eq!(total["macs"], macs.iter().sum::<usize>());

    let end = outcome.named("end")[0];
    assert_eq!(
        (&end["pass"], &end["samples_passed"], &end["stack_bytes"]),
        (&true.into(), &3.into(), &1234.into())
    );
    assert_eq!(run_plainly(&file, ONCE).named("end")[0]["outputs_crc32"], end["outputs_crc32"]);
}

#[test]
fn a_model_whose_own_logits_differ_fails() {
    let mut file = model();
    let at = logits_offset(&file);
    let logit = f32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    file[at..at + 4].copy_from_slice(&(logit + 0.05 * logit.abs() + 0.05).to_le_bytes());
    let outcome = run_plainly(&file, ONCE);
    assert!(!outcome.pass);
    let passed: Vec<_> = outcome.named("sample").iter().map(|sample| sample["pass"] == true).collect();
    assert_eq!(passed, [false, true, true]);
    let end = outcome.named("end")[0];
    assert_eq!((&end["pass"], &end["samples_passed"]), (&false.into(), &2.into()));
}

/// Offset of the first logit of the self-check in the file.
fn logits_offset(file: &[u8]) -> usize {
    let header_bytes = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + header_bytes]).unwrap();
    8 + header_bytes + header["selfcheck.logits"]["data_offsets"][0].as_u64().unwrap() as usize
}

#[test]
fn what_is_wrong_is_said() {
    let file = model();
    assert!(run_plainly(&file[..file.len() - 1], ONCE).error().starts_with("model: "));

    let small = run_on_host::<256>(&file, ONCE, &mut FakeCounter::new(), &mut NoPin);
    assert!(small.error().contains("this firmware has 256"), "{}", small.error());

    let mut wrong = FakeCounter::new();
    wrong.calibration = Some(Calibration { known: 100_000, counted: 100_100 });
    let outcome = run_on_host::<16384>(&file, ONCE, &mut wrong, &mut NoPin);
    assert!(outcome.error().contains("100100"), "{}", outcome.error());

    for iterations in [0, MAX_ITERATIONS + 1] {
        let outcome = run_plainly(&file, Options { warm_up: 0, iterations });
        assert!(outcome.error().starts_with(&format!("{iterations} iterations")));
    }
}

#[test]
fn a_model_in_a_region_is_checked_and_run() {
    let file = model();
    let mut flash = Box::new(Arena([0xff; 1 << 14]));
    let run = |flash: &Arena<{ 1 << 14 }>| {
        run_source::<16384>(Source::Region(&flash.0), ONCE, &mut FakeCounter::new(), &mut NoPin)
    };
    assert!(run(&flash).error().contains("erased"));
    let header = region::header(&file).unwrap();
    flash.0[..header.len()].copy_from_slice(&header);
    flash.0[header.len()..][..file.len()].copy_from_slice(&file);
    let outcome = run(&flash);
    assert!(outcome.pass);
    assert_eq!(outcome.named("start")[0]["source"], "region");
    assert_eq!(
        outcome.named("end")[0]["outputs_crc32"],
        run_plainly(&file, ONCE).named("end")[0]["outputs_crc32"]
    );
    // Cut short.
    flash.0[header.len() + file.len() - 1] ^= 1;
    assert!(run(&flash).error().contains("cut short"));
}
