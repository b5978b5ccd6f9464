//! The serial service on the host: a clock of 1 MHz that each reading advances, a wire that is a vector.

mod storm;

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;

use embedded_hal::digital::{ErrorType, OutputPin};
use embedded_io::ErrorKind;
use lrpet_firmware::counter::{Counter, Kind};
use lrpet_firmware::run::{Board, Hardware};
use lrpet_firmware::service::{HALF_COMMAND_SECONDS, LINE_BYTES, MAX_INFERENCES, serve as serve_on};
use lrpet_firmware::source::Source;
use lrpet_runtime::host::softmax;
use lrpet_runtime::model::{Model, Shape};
use lrpet_runtime::session::{Arena, Hook};
use lrpet_tests::random_model::small_model;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const BOARD: Board = Board { name: "host", core: "none", clock_hz: 2_000_000 };
const INPUT: Shape = Shape { channels: 3, height: 9, width: 7 };
const CLASSES: usize = 4;

/// 1000 cycles from one exact reading to the next: 500 µs at 2 MHz. The wire adds what passes while nothing comes.
#[derive(Clone, Default)]
struct Clock(Rc<Cell<u64>>);

impl Counter for Clock {
    fn kind(&self) -> Kind {
        Kind::Cycles
    }

    fn resolution(&self) -> u32 {
        1
    }

    fn start(&mut self) -> u64 {
        self.stop()
    }

    fn stop(&mut self) -> u64 {
        self.pass(1000);
        self.0.get()
    }

    fn roughly(&mut self) -> u64 {
        self.0.get()
    }
}

impl Clock {
    fn pass(&self, cycles: u64) {
        self.0.set(self.0.get() + cycles);
    }
}

#[derive(Default)]
struct Pin {
    rises: usize,
    high: bool,
}

impl ErrorType for Pin {
    type Error = Infallible;
}

impl OutputPin for Pin {
    fn set_low(&mut self) -> Result<(), Infallible> {
        self.high = false;
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        self.rises += 1;
        self.high = true;
        Ok(())
    }
}

/// A watchdog that counts.
#[derive(Default)]
struct Fed(usize);

impl Hook for Fed {
    fn after(&mut self, _layer: usize) {
        self.0 += 1;
    }
}

/// What comes, piece by piece or as a failure, and what was sent.
struct Wire {
    input: VecDeque<Result<Vec<u8>, ErrorKind>>,
    sent: Vec<u8>,
    clock: Clock,
    /// Cycles that pass before each piece.
    pause: u64,
}

impl embedded_io::ErrorType for Wire {
    type Error = ErrorKind;
}

impl embedded_io::Read for Wire {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, ErrorKind> {
        let Some(next) = self.input.pop_front() else { return Ok(0) };
        self.clock.pass(self.pause);
        let bytes = next?;
        let count = bytes.len().min(to.len());
        to[..count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() {
            self.input.push_front(Ok(bytes[count..].to_vec()));
        }
        Ok(count)
    }
}

impl embedded_io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.sent.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

struct Outcome {
    /// The lines sent, without their CR LF.
    lines: Vec<String>,
    /// Times the pin rose, and layers that the hook saw.
    rises: usize,
    layers: usize,
}

/// Serves all of `input`.
fn serve(input: impl IntoIterator<Item = Result<Vec<u8>, ErrorKind>>) -> Outcome {
    serve_slowly(0, input)
}

/// Serves all of `input`, piece by piece with a pause of this many cycles before each.
fn serve_slowly(pause: u64, input: impl IntoIterator<Item = Result<Vec<u8>, ErrorKind>>) -> Outcome {
    let file = small_model(INPUT, 8, CLASSES as u32).unwrap();
    let mut flash = Box::new(Arena([0; 1 << 14]));
    flash.0[..file.len()].copy_from_slice(&file);
    serve_source(Source::Linked(&flash.0[..file.len()]), pause, input)
}

fn serve_source(
    source: Source<'_>,
    pause: u64,
    input: impl IntoIterator<Item = Result<Vec<u8>, ErrorKind>>,
) -> Outcome {
    let mut memory = Box::new(Arena([0; 1 << 14]));
    let (mut clock, mut pin, mut hook) = (Clock::default(), Pin::default(), Fed::default());
    let mut wire = Wire { input: input.into_iter().collect(), sent: Vec::new(), clock: clock.clone(), pause };
    let hardware = Hardware { counter: &mut clock, pin: &mut pin, hook: &mut hook, stack_bytes: &|| 1234 };
    serve_on(&BOARD, source, &mut memory.0, hardware, &mut wire);
    assert!(!pin.high);
    let text = String::from_utf8(wire.sent).unwrap();
    assert!(text.ends_with("m-ready\r\n"));
    let lines: Vec<String> = text.split_terminator("\r\n").map(str::to_owned).collect();
    assert!(lines.iter().all(|line| !line.contains(['\r', '\n'])), "a line ends with CR LF");
    Outcome { lines, rises: pin.rises, layers: hook.0 }
}

/// The reply to each of `commands` (which end with `%`), without its `m-ready`.
fn replies(commands: &str) -> Vec<Vec<String>> {
    split(serve([Ok(commands.as_bytes().to_vec())]), commands)
}

fn split(outcome: Outcome, commands: &str) -> Vec<Vec<String>> {
    let mut replies: Vec<_> = outcome.lines.split(|line| line == "m-ready").map(<[String]>::to_vec).collect();
    assert_eq!(replies.pop(), Some(vec![]));
    assert_eq!(replies.remove(0), ["m-init-done"]);
    assert_eq!(replies.len(), commands.matches('%').count());
    replies
}

/// Commands that load `image`, 31 bytes a line as the public runner sends them.
fn load(image: &[u8]) -> String {
    let lines = image.chunks(31).map(|bytes| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("db {digits}%")
    });
    format!("db load {}%{}", image.len(), lines.collect::<String>())
}

#[test]
fn a_runner_loads_an_image_times_it_and_reads_the_result() {
    let file = small_model(INPUT, 8, CLASSES as u32).unwrap();
    let mut flash = Box::new(Arena([0; 1 << 14]));
    flash.0[..file.len()].copy_from_slice(&file);
    let model = Model::new_checked(&flash.0[..file.len()]).unwrap();
    let samples = model.self_check().unwrap();
    let image = samples.image(1);
    let commands = format!("name%timestamp%{}db print%infer 20 5%results%", load(image));
    let replies = replies(&commands);
    assert_eq!(replies[0], ["m-name-dut-[host]"]);
    assert_eq!(replies[1], ["m-lap-us-500"]);
    assert_eq!(replies[2], [format!("m-[Expecting {} bytes]", image.len())]);
    let chunks = image.len().div_ceil(31);
    assert!(replies[3..2 + chunks].iter().all(Vec::is_empty));
    assert_eq!(replies[2 + chunks], ["m-load-done"]);
    let printed: Vec<u8> = replies[3 + chunks]
        .iter()
        .flat_map(|line| line.strip_prefix("m-buffer-").unwrap().split('-'))
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect();
    assert_eq!(printed, image);
    assert_eq!(replies[3 + chunks].len(), image.len().div_ceil(8));
    let infer = &replies[4 + chunks];
    let times = ["m-lap-us-1000", "m-lap-us-1500"];
    let expected =
        ["m-warmup-start-5", "m-warmup-done", "m-infer-start-20", times[0], times[1], "m-infer-done"];
    assert_eq!(infer[..6], expected);
    assert_eq!(replies[5 + chunks], infer[6..]);
    // The probabilities of the logits that the model file itself states for the image.
    let scores = infer[6].strip_prefix("m-results-[").unwrap().strip_suffix(']').unwrap();
    let scores: Vec<f32> = scores.split(',').map(|score| score.parse().unwrap()).collect();
    let logits: Vec<f32> = samples.logits(1).collect();
    for (score, probability) in scores.iter().zip(softmax(&logits)) {
        assert!((score - probability).abs() < 2e-3, "{score} and not {probability}");
    }
    assert_eq!(scores.len(), CLASSES);
}

#[test]
fn the_pin_marks_what_is_timed_and_the_hook_sees_every_layer() {
    let outcome = serve([Ok(format!("{}infer 3 2%", load(&[7; 189])).into_bytes())]);
    assert_eq!(outcome.rises, 1);
    assert_eq!(outcome.layers, 5 * 5);
}

#[test]
fn profile_and_help_say_what_this_is() {
    let replies = replies("profile%help%memory%");
    assert!(replies[0][0].starts_with("m-profile-[lrpet "), "{:?}", replies[0]);
    assert!(replies[0][0].ends_with(", f16 storage, 2000000 Hz]"), "{:?}", replies[0]);
    assert_eq!(replies[0][1], "m-model-[model]");
    assert!(replies[1][0].contains("infer N W"));
    assert!(replies[2][0].starts_with("m-memory-[model "), "{:?}", replies[2]);
    assert!(replies[2][0].ends_with(" of 16384 bytes, stack 1234 bytes]"), "{:?}", replies[2]);
}

#[test]
fn what_cannot_be_done_is_said_and_changes_nothing() {
    let long = "a".repeat(LINE_BYTES + 1);
    let commands = format!(
        "results%infer 1%db 00%db load 0%db load 190%db load 2%db 0%db 0g%db 11%db 22%infer 1%db print%{long}%what%%"
    );
    let replies = replies(&commands);
    let one = |i: usize| replies[i].concat();
    assert_eq!(one(0), "e-[No results yet: infer N first]");
    assert_eq!(one(1), "e-[The model takes 189 bytes and 0 are loaded]");
    assert_eq!(one(2), "e-[No bytes are expected: db load N first]");
    assert_eq!(one(3), "e-[db load 0: the buffer takes 1 to 189 bytes]");
    assert_eq!(one(4), "e-[db load 190: the buffer takes 1 to 189 bytes]");
    assert_eq!(one(5), "m-[Expecting 2 bytes]");
    assert!(one(6).starts_with("e-[Odd number"));
    assert!(one(7).starts_with("e-[Digit 1"));
    assert_eq!(one(8), "");
    assert_eq!(one(9), "m-load-done");
    assert_eq!(one(10), "e-[The model takes 189 bytes and 2 are loaded]");
    assert_eq!(one(11), "m-buffer-11-22");
    assert_eq!(one(12), format!("e-[Command longer than {LINE_BYTES} characters]"));
    assert_eq!(one(13), "e-[Unknown command: what]");
    assert_eq!(one(14), "", "an empty command does nothing");
}

#[test]
fn a_line_that_comes_twice_or_not_at_all_never_gives_the_scores_of_another_image() {
    let (first, second) = ([7; 189], [200; 189]);
    let lines: Vec<String> = load(&second).split_inclusive('%').map(str::to_owned).collect();
    let twice = |at: usize| [&lines[..=at], &lines[at..]].concat();
    for at in 1..lines.len() {
        let commands = format!("{}infer 1 0%{}infer 1 0%results%", load(&first), twice(at).concat());
        let replies = replies(&commands);
        let count = replies.len();
        let surplus = replies.iter().position(|reply| reply.concat().contains("bytes more than announced"));
        let surplus = &replies[surplus.expect("no error for the line that is too much")];
        assert!(surplus.concat().ends_with("the image is dropped: db load N again]"), "{surplus:?}");
        assert_eq!(replies[count - 2], ["e-[The model takes 189 bytes and 0 are loaded]"], "line {at}");
        assert_eq!(replies[count - 1], ["e-[No results yet: infer N first]"], "line {at}");
    }
    for at in 1..lines.len() {
        let missing = [&lines[..at], &lines[at + 1..]].concat().concat();
        let replies = replies(&format!("{}infer 1 0%{missing}infer 1 0%results%", load(&first)));
        let [.., infer, results] = &replies[..] else { panic!("{replies:?}") };
        assert!(infer.concat().starts_with("e-[The model takes 189 bytes and 1"), "{infer:?}");
        assert_eq!(*results, ["e-[No results yet: infer N first]"]);
    }
}

#[test]
fn results_are_those_of_the_image_that_was_loaded_last() {
    let commands =
        format!("{}infer 1 0%results%{}results%infer 1 0%results%", load(&[7; 189]), load(&[200; 189]));
    let replies = replies(&commands);
    let count = replies.len();
    assert_eq!(replies[count - 3], ["e-[No results yet: infer N first]"]);
    let scores = replies[count - 2].last().unwrap();
    assert!(scores.starts_with("m-results-["), "{scores}");
    assert_eq!(replies[count - 1].concat(), *scores);
}

#[test]
fn noise_before_a_command_costs_nothing() {
    let noise = b"\x00\xff\xfe\x80name%\x00\x00 \x1bname%\r\n\xc3\xa9\r\nname%na\xffname%%name%";
    let outcome = serve([Ok(noise.to_vec())]);
    let names = outcome.lines.iter().filter(|line| *line == "m-name-dut-[host]").count();
    assert_eq!((names, outcome.lines.len()), (5, 5 + 1 + 7), "{:?}", outcome.lines);
}

#[test]
fn half_a_command_is_forgotten_when_nothing_follows_it() {
    let pieces = || [b"db lo".to_vec(), b"name%".to_vec()].map(Ok);
    let limit = u64::from(HALF_COMMAND_SECONDS) * u64::from(BOARD.clock_hz);
    let late = serve_slowly(limit + 1, pieces());
    assert_eq!(late.lines[2..], ["m-name-dut-[host]", "m-ready"]);
    let soon = serve_slowly(limit, pieces());
    assert_eq!(soon.lines[2..], ["e-[Digit 0 is not hexadecimal: nothing of the line was taken]", "m-ready"]);
}

#[test]
fn a_service_without_a_model_says_why_and_goes_on() {
    let commands = "name%profile%timestamp%memory%db load 189%db 00%db print%infer 1%results%what%";
    let erased = Source::Region(&[0xff; 4096]);
    let replies = split(serve_source(erased, 0, [Ok(commands.as_bytes().to_vec())]), commands);
    assert_eq!(replies[0], ["m-name-dut-[host]"]);
    assert_eq!(replies[1][1], "m-model-[none]");
    assert_eq!(replies[2], ["m-lap-us-500"]);
    assert_eq!(replies[3], ["m-memory-[model 0 of 16384 bytes, stack 1234 bytes]"]);
    for reply in &replies[4..9] {
        assert_eq!(*reply, ["e-[the model region is erased: write a model to it]"]);
    }
    assert_eq!(replies[9], ["e-[Unknown command: what]"]);
}

#[test]
fn a_failure_of_the_wire_costs_one_command() {
    let outcome = serve([Ok(b"na".to_vec()), Err(ErrorKind::Other), Ok(b"name%".to_vec())]);
    let expected =
        ["m-init-done", "m-ready", "e-[Serial line: Other]", "m-ready", "m-name-dut-[host]", "m-ready"];
    assert_eq!(outcome.lines, expected);
}

#[test]
fn ten_thousand_lines_of_noise_get_a_reply_each() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let words = [
        "db",
        "load",
        "print",
        "infer",
        "results",
        "name",
        "help",
        "00",
        "ff",
        "3072",
        "1",
        "-1",
        "0x",
        "\r\n",
        "profile",
        "99999999999999999999",
        "timestamp",
    ];
    let mut input = Vec::new();
    let mut commands = 0;
    for _ in 0..10_000 {
        let mut line = Vec::new();
        for _ in 0..random.random_range(0..8) {
            if random.random_bool(0.5) {
                let bytes = (0..random.random_range(0..40)).map(|_| random.random::<u8>());
                line.extend(bytes.filter(|byte| *byte != b'%'));
            } else {
                line.extend(words[random.random_range(0..words.len())].bytes());
            }
            line.push(b' ');
        }
        // No long work by chance.
        if line.windows(5).any(|word| word == b"infer") {
            line.insert(0, b'x');
        }
        line.push(b'%');
        commands += 1;
        input.push(Ok(line));
    }
    input.push(Ok(format!("infer {}%", MAX_INFERENCES + 1).into_bytes()));
    let outcome = serve(input);
    let ready = outcome.lines.iter().filter(|line| *line == "m-ready").count();
    assert_eq!(ready, 1 + commands + 1);
    assert!(outcome.lines.iter().all(|line| line.is_ascii() && !line.contains(char::is_control)));
    assert!(outcome.lines.iter().filter(|line| line.starts_with("e-[")).count() > commands / 2);
}
