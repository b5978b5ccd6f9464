//! Every emulated board with every model, read from its region of flash, and its serial service.
//!
//! One image a board, built without a model: each model is loaded to the region, so that nothing is built again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use lrpet_board::boards::Board;
use lrpet_board::build::{Content, Image, Options};
use lrpet_board::service::{Client, Served};
use lrpet_board::sources::root;
use lrpet_board::toolchain::Source;
use lrpet_board::{elf, emulate, loader};
use lrpet_runtime::host::softmax;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{InputKind, Model, Needs, Shape};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use lrpet_tests::general_operations::{general_operations, several_outputs};
use lrpet_tests::random_model::small_model;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Memory of the firmware for a model: what a ResNet-20 on CIFAR-10 needs, and more.
const MEMORY: u64 = 128 << 10;

/// Bytes before the model in a region.
const HEADER: usize = 16;

fn options() -> Options {
    Options { warm_up: 0, iterations: 1, timeout: Duration::from_secs(600), toolchain: Source::Auto }
}

/// Firmware for a region on a board.
fn on(board: &str, check: impl FnOnce(&Image<'_>)) {
    let check = |image: &Image<'_>| {
        check(image);
        Ok(())
    };
    emulate::with_image(Board::named(board).unwrap(), Content::Region(MEMORY), &options(), check).unwrap();
}

/// The models of this repository, smallest first.
fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("models")).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "safetensors")).collect();
    models.sort_by_key(|path| std::fs::metadata(path).unwrap().len());
    assert!(models.len() >= 3, "{models:?}");
    models
}

/// The bytes of a model file, aligned as the runtime reads them.
struct File {
    words: Vec<u128>,
    length: usize,
}

impl File {
    fn new(bytes: &[u8]) -> Self {
        let mut words = vec![0u128; bytes.len().div_ceil(16)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { words, length: bytes.len() }
    }

    fn model(&self) -> Model<'_> {
        Model::new_checked(&bytemuck::cast_slice(&self.words)[..self.length]).unwrap()
    }
}

fn read(model: &Path) -> File {
    File::new(&std::fs::read(model).unwrap())
}

/// What the board says about a region with these bytes, which it must refuse.
fn refusal(image: &Image<'_>, contents: &[u8]) -> String {
    let more = image.load_region(contents).unwrap();
    let error = image.report(&more, &mut |_| {}).err().expect("the region was accepted");
    format!("{error:#}")
}

/// Runs every model that fits, once, and has the others refused with the bytes that are missing; names these.
fn every_model(image: &Image<'_>, isa: Isa) -> Vec<String> {
    let room = image.region().unwrap().bytes as usize - HEADER;
    let mut refused = Vec::new();
    for path in models() {
        let (file, name) = (read(&path), path.display());
        let contents = loader::contents(&path).unwrap();
        if file.length > room {
            let error = image.with_model(&path, |_| Ok(())).unwrap_err();
            let missing = format!("{} missing", file.length - room);
            assert!(format!("{error:#}").contains(&missing), "{name}: {error:#}");
            // The board itself, where somebody wrote what fits of it.
            let error = refusal(image, &contents[..room + HEADER]);
            let (has, states) = (format!("room for {room} bytes"), format!("states {}:", file.length));
            assert!(error.contains(&has) && error.contains(&states), "{name}: {error}");
            refused.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            continue;
        }
        let more = image.load_region(&contents).unwrap();
        let mut lines = Vec::new();
        let mut relay = |line: &str| lines.extend(serde_json::from_str::<Value>(line));
        let run = image.with_model(&path, |image| image.report(&more, &mut relay)).unwrap();
        let model = file.model();
        let check = run.self_check.unwrap();
        assert!(check.passes(), "{name}: {check:?}");
        assert_eq!(check.samples, model.self_check().unwrap().samples() as u64, "{name}");
        assert_eq!(run.layers.len(), model.program().len(), "{name}");
        let start = lines.iter().find(|line| line["event"] == "start").unwrap();
        let plan = Plan::new(model.program(), isa).unwrap();
        let arena = plan.arena_bytes as u64;
        let number = |key: &str| start[key].as_u64().unwrap();
        // What the memory has beyond the need makes layers faster.
        let left = (MEMORY - number("needed_bytes")) / 16 * 16;
        let used = (arena + left).min(plan.fastest_bytes as u64);
        assert_eq!((number("arena_bytes"), number("memory_bytes")), (used, MEMORY), "{name}");
        assert!((arena..MEMORY).contains(&number("needed_bytes")), "{name}");
        assert_eq!((number("model_bytes"), &start["source"]), (file.length as u64, &"region".into()));
    }
    refused
}

/// Models of version 2 run on firmware that was built without one: of pictures, and of values with several outputs.
fn general_model(image: &Image<'_>) {
    let needs = Needs::GENERAL.and(Needs::ACTIVATIONS);
    one_general_model(image, &general_operations(false), needs);
    one_general_model(image, &several_outputs(), needs.and(Needs::OUTPUTS));
}

fn one_general_model(image: &Image<'_>, bytes: &[u8], needs: Needs) {
    let file = File::new(bytes);
    let path = std::env::temp_dir().join(format!("lrpet-{}-general.safetensors", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let more = image.load_region(&loader::contents(&path).unwrap()).unwrap();
    let run = image.with_model(&path, |image| image.report(&more, &mut |_| {}));
    std::fs::remove_file(&path).unwrap();
    let (run, model) = (run.unwrap(), file.model());
    let check = run.self_check.unwrap();
    assert!(check.passes(), "{check:?}");
    assert_eq!(check.samples, model.self_check().unwrap().samples() as u64);
    assert_eq!(run.layers.len(), model.program().len());
    assert_eq!(model.program().header().needs, needs);
    if model.program().header().kind == InputKind::Values {
        // Values go in as f32, and come out to a thousandth.
        let mut served = image.serve(&more).unwrap();
        let check = model.self_check().unwrap();
        let halves = check.values(1).iter().map(|&bits| lrpet_runtime::kernel::f16::widen(bits));
        served.client.load(&halves.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()).unwrap();
        let (_, found) = served.client.infer(1, 0).unwrap();
        let expected: Vec<f32> = check.logits(1).collect();
        assert_eq!(found.len(), expected.len());
        let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off <= check.tolerance(1) + 1e-3, "{off}");
    }
}

/// The models that exceed half of 512 KiB of ITCM, smallest first.
const TOO_LARGE_FOR_ITCM: [&str; 2] = ["cifar10-resnet20-g0.54", "cifar10-resnet20-dense"];

/// A model whose images need more memory than there is, in a file that is small.
fn a_model_too_large_for_the_memory(image: &Image<'_>) {
    let file = small_model(Shape::new(3, 1000, 10), 48, 4).unwrap();
    let path = std::env::temp_dir().join(format!("lrpet-{}-large.safetensors", std::process::id()));
    std::fs::write(&path, &file).unwrap();
    let contents = loader::contents(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let error = refusal(image, &contents);
    let numbers: Vec<u64> = error.split([' ', ',']).filter_map(|word| word.parse().ok()).collect();
    let [.., needed, given, missing] = numbers[..] else { panic!("{error}") };
    assert_eq!((given, needed - given), (MEMORY, missing), "{error}");
    assert!(needed > 48 * 500 * 5 * 2, "{error}");
    let mut served = image.serve(&image.load_region(&contents).unwrap()).unwrap();
    assert_eq!(served.client.command("infer 1").unwrap(), [format!("e-[{}]", said(&error))]);
}

/// The board's own words in an error of the report.
fn said(error: &str) -> &str {
    error.split_once(": ").map_or(error, |(_, said)| said)
}

/// The service with a model in the region.
fn serve(image: &Image<'_>, model: &Path) -> Served {
    image.serve(&image.load_region(&loader::contents(model).unwrap()).unwrap()).unwrap()
}

/// The scores that the host's runtime gives an image.
fn host_scores(model: &Model<'_>, image: &[u8]) -> Vec<f32> {
    let plan = Plan::new(model.program(), Isa::detect()).unwrap();
    let mut words = vec![0u128; plan.arena_bytes.div_ceil(16)];
    let mut session = Session::new(model, bytemuck::cast_slice_mut(&mut words)).unwrap();
    let mut logits = vec![0.0; session.classes()];
    session.run_image(image, &mut logits, &mut ()).unwrap();
    softmax(&logits)
}

fn assert_close(scores: &[f32], expected: &[f32]) {
    assert_eq!(scores.len(), expected.len());
    for (score, expected) in scores.iter().zip(expected) {
        // Thousandths, and other orders of summation (on a Cortex-M55 also of f16).
        assert!((score - expected).abs() < 0.01, "{scores:?} and not {expected:?}");
    }
}

/// One image from its bytes to its scores, which are the host's.
fn one_inference(client: &mut Client<impl std::io::Read + std::io::Write>, model: &Model<'_>, sample: usize) {
    let image = model.self_check().unwrap().image(sample).to_vec();
    client.load(&image).unwrap();
    let (micros, scores) = client.infer(1, 0).unwrap();
    // A lap of 1 µs is 1000 instructions.
    assert!((1_000..1_000_000).contains(&micros), "{micros}");
    assert_close(&scores, &host_scores(model, &image));
    assert_eq!(client.results().unwrap(), scores);
}

/// Name, an inference, and what the stack took.
fn short_service(image: &Image<'_>, board: &str) {
    let path = &models()[0];
    let (mut served, file) = (serve(image, path), read(path));
    let client = &mut served.client;
    assert_eq!(client.command("name").unwrap(), [format!("m-name-dut-[{board}]")]);
    one_inference(client, &file.model(), 0);
    let memory = client.obeyed("memory").unwrap().concat();
    let numbers: Vec<u64> = memory.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [needed, MEMORY, stack] = numbers[..] else { panic!("{memory}") };
    assert!(needed < MEMORY && (1024..16 << 10).contains(&stack), "{memory}");
}

/// All commands, as a runner of the benchmark and a person use them.
fn whole_protocol(image: &Image<'_>) {
    let path = &models()[0];
    let (mut served, file) = (serve(image, path), read(path));
    let (client, model) = (&mut served.client, file.model());
    assert!(client.command("results").unwrap().concat().starts_with("e-[No results yet"));
    let profile = client.obeyed("profile").unwrap();
    assert!(profile[0].starts_with("m-profile-[lrpet ") && profile[0].contains("emulated"), "{profile:?}");
    assert_eq!(profile[1], "m-model-[resnet8]");
    assert!(client.obeyed("help").unwrap().concat().contains("infer N W"));
    let lap = |client: &mut Client<_>| -> u64 {
        client.obeyed("timestamp").unwrap().concat().strip_prefix("m-lap-us-").unwrap().parse().unwrap()
    };
    assert!(lap(client) < lap(client));
    client.load(&[1, 2, 0xab]).unwrap();
    assert_eq!(client.obeyed("db print").unwrap(), ["m-buffer-01-02-ab"]);
    let needed = model.program().header().input.len();
    let few = format!("e-[The model takes {needed} bytes and 3 are loaded]");
    assert_eq!(client.command("infer 1").unwrap(), [few]);
    for sample in 0..model.self_check().unwrap().samples() {
        one_inference(client, &model, sample);
    }
    let (ten, _) = client.infer(10, 0).unwrap();
    let (one, _) = client.infer(1, 3).unwrap();
    assert!((9 * one..11 * one).contains(&ten), "{ten} and {one} us");
}

/// A line of noise, without the `%` that ends it.
fn noise(random: &mut ChaCha8Rng) -> Vec<u8> {
    const COMMANDS: [&str; 12] = [
        "name",
        "profile",
        "timestamp",
        "memory",
        "help",
        "results",
        "db load 784",
        "db print",
        "db 00ff",
        "infer 3 1",
        "db load 99999999999",
        "infer -1 x",
    ];
    let command = COMMANDS[random.random_range(0..COMMANDS.len())].as_bytes();
    let mut line = match random.random_range(0..16) {
        // Over-long, by one byte or many.
        0 => vec![b'a' + random.random_range(0..26); random.random_range(81..160)],
        // Cut short, or begun anew in the middle.
        1..=4 => command[..random.random_range(0..command.len())].to_vec(),
        5 => [&command[..command.len() / 2], command].concat(),
        // Wrong or odd digits.
        6..=8 => {
            let digits = (0..random.random_range(1..20))
                .map(|_| b"0123456789abcdefABCDEFgx-"[random.random_range(0..25)]);
            [b"db ", &digits.collect::<Vec<u8>>()[..]].concat()
        }
        9 => vec![0; random.random_range(1..12)],
        10 => [command, &[0], b" 1"].concat(),
        11 => b" \r\n\t ".repeat(random.random_range(1..5)),
        _ => (0..random.random_range(1..24)).map(|_| random.random()).collect(),
    };
    line.retain(|byte| *byte != b'%');
    line
}

/// 10 000 lines that no runner sends: each gets its reply, and then everything works as before.
fn noise_on_the_line(image: &Image<'_>) {
    let path = &models()[0];
    let (mut served, file) = (serve(image, path), read(path));
    let client = &mut served.client;
    let random = &mut ChaCha8Rng::seed_from_u64(11);
    let (mut errors, batch) = (0, 100);
    for _ in 0..10_000 / batch {
        let lines: Vec<Vec<u8>> = (0..batch).map(|_| noise(random)).collect();
        client.send(&[lines.join(&b'%'), b"%name%".to_vec()].concat()).unwrap();
        for line in &lines {
            let reply = client.reply().unwrap();
            // Nothing but the protocol's text, and no byte of the noise that would break it.
            let plain = |line: &String| line.is_ascii() && !line.contains(char::is_control);
            assert!(reply.iter().all(plain), "{line:?}: {reply:?}");
            errors += usize::from(reply.iter().any(|line| line.starts_with("e-[")));
        }
        assert_eq!(client.reply().unwrap(), ["m-name-dut-[qemu-mps2-an386]"]);
    }
    assert!((5_000..10_000).contains(&errors), "{errors} errors");
    one_inference(client, &file.model(), 1);
    assert!(client.obeyed("memory").unwrap().concat().ends_with(" bytes]"));
}

/// Writes that did not come to their end, and whatever else a region may hold.
fn torn_writes(image: &Image<'_>) {
    let whole = loader::contents(&models()[0]).unwrap();
    let length = whole.len();
    // Erased flash behind what was written.
    let torn = |bytes: usize| [&whole[..bytes], &vec![0xff; length - bytes][..]].concat();
    for (bytes, expected) in [
        (0, "is erased"),
        (5, "holds something else"),
        (9, "its header states"),
        (14, "cut short"),
        (HEADER, "cut short"),
        (length / 2, "cut short"),
        (length - 1, "cut short"),
    ] {
        let error = refusal(image, &torn(bytes));
        assert!(error.contains(expected) && error.contains("write "), "{bytes} bytes: {error}");
    }
    let mut wrong = whole.clone();
    wrong[8..12].copy_from_slice(&(length as u32 - HEADER as u32 - 1).to_le_bytes());
    assert!(refusal(image, &wrong).contains("cut short"), "a length that is too small by one");
    assert!(refusal(image, &[0; 64]).contains("holds something else"));
    // A region that is whole, with a model that is not.
    let path = std::env::temp_dir().join(format!("lrpet-{}-cut.safetensors", std::process::id()));
    std::fs::write(&path, &whole[HEADER..length - 1]).unwrap();
    let contents = loader::contents(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(refusal(image, &contents).contains("model: "));

    // The service says the same and goes on.
    let more = image.load_region(&torn(length / 2)).unwrap();
    let error = refusal(image, &torn(length / 2));
    let mut served = image.serve(&more).unwrap();
    assert_eq!(served.client.command("name").unwrap(), ["m-name-dut-[qemu-mps2-an386]"]);
    for command in ["db load 784", "db 00", "infer 1", "results"] {
        assert_eq!(served.client.command(command).unwrap(), [format!("e-[{}]", said(&error))]);
    }
    assert_eq!(served.client.obeyed("profile").unwrap()[1], "m-model-[none]");
}

/// No function of the image panics: not for any bytes of a model, nor for any on the serial line.
fn no_panic(image: &Image<'_>) {
    let panicking = elf::panicking(&image.file()).unwrap();
    assert!(panicking.is_empty(), "{panicking:?}");
    // This program can; so the check sees such functions.
    assert!(!elf::panicking(&std::env::current_exe().unwrap()).unwrap().is_empty());
}

#[test]
fn cortex_m4f() {
    on("qemu-mps2-an386", |image| {
        no_panic(image);
        assert_eq!(every_model(image, Isa::CortexM), [""; 0]);
        general_model(image);
        torn_writes(image);
        a_model_too_large_for_the_memory(image);
        whole_protocol(image);
        noise_on_the_line(image);
    });
}

#[test]
fn cortex_m7() {
    on("qemu-mps2-an500", |image| {
        no_panic(image);
        assert_eq!(every_model(image, Isa::CortexM), [""; 0]);
        general_model(image);
        short_service(image, "qemu-mps2-an500");
    });
}

#[test]
fn cortex_m33() {
    on("qemu-mps2-an505", |image| {
        no_panic(image);
        assert_eq!(every_model(image, Isa::CortexM), [""; 0]);
        general_model(image);
        short_service(image, "qemu-mps2-an505");
    });
}

#[test]
fn cortex_m55() {
    on("qemu-mps3-an547", |image| {
        no_panic(image);
        assert_eq!(every_model(image, Isa::CortexM55), TOO_LARGE_FOR_ITCM);
        general_model(image);
        short_service(image, "qemu-mps3-an547");
    });
}

#[test]
fn cortex_m55_with_products_in_f16() {
    on("qemu-mps3-an547-f16", |image| {
        no_panic(image);
        assert_eq!(every_model(image, Isa::CortexM55Half), TOO_LARGE_FOR_ITCM);
        general_model(image);
    });
}

/// What a linked model needs is built into its firmware, long lists of values too, and no function of it panics.
#[test]
fn a_linked_model_of_version_2_has_what_it_needs() {
    let path = std::env::temp_dir().join(format!("lrpet-{}-linked.safetensors", std::process::id()));
    let bytes = general_operations(true);
    let file = File::new(&bytes);
    let needs = Needs::GENERAL.and(Needs::ACTIVATIONS).and(Needs::MANY);
    assert_eq!(file.model().program().header().needs, needs);
    std::fs::write(&path, &bytes).unwrap();
    let run = emulate::with_image(
        Board::named("qemu-mps2-an386").unwrap(),
        Content::Model(&path),
        &options(),
        |image| {
            no_panic(image);
            image.report(&[], &mut |_| {})
        },
    );
    std::fs::remove_file(&path).unwrap();
    let check = run.unwrap().self_check.unwrap();
    assert!(check.passes(), "{check:?}");
    assert_eq!(check.samples, file.model().self_check().unwrap().samples() as u64);
}

#[test]
fn a_linked_model_that_exceeds_the_flash_is_refused_with_the_bytes_that_are_missing() {
    let large = models().pop().unwrap();
    let board = Board::named("qemu-mps3-an547").unwrap();
    let bytes = std::fs::metadata(&large).unwrap().len();
    assert!(bytes > board.flash);
    let error = format!("{:#}", emulate::run(board, &large, &options(), &mut |_| {}).unwrap_err());
    let numbers: Vec<u64> = error.split(' ').filter_map(|word| word.parse().ok()).collect();
    let [needed, available, missing] = numbers[..] else { panic!("{error}") };
    assert_eq!((available, needed - available), (board.flash, missing), "{error}");
    // The model, and the code.
    assert!((bytes + (32 << 10)..bytes + (192 << 10)).contains(&needed), "{error}");
}
