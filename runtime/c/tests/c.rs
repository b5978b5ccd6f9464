//! The examples in C, built with C compilers and run on this machine and on an emulated Cortex-M4F.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::{Activation, Binary, BinaryKind, Inputs, Model, Op, Outputs, Shape};
use lrpet_tests::random_model::{random_map, small_model};

const THUMB: &str = "thumbv7em-none-eabihf";
const THUMB_V8: &str = "thumbv8m.main-none-eabihf";

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs `command`, which must be installed.
fn output(command: &mut Command) -> Output {
    let program = command.get_program().to_owned();
    command.output().unwrap_or_else(|error| panic!("{program:?}: {error}; cargo xtask setup installs it"))
}

fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The static library for this machine, or for a target and with these features.
fn library(place: &Path, target: Option<(&str, &str)>) -> PathBuf {
    // They all come to one file.
    static BUILD: Mutex<()> = Mutex::new(());
    let _build = BUILD.lock().unwrap_or_else(PoisonError::into_inner);
    let mut libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("..");
    let mut cargo = Command::new(env!("CARGO"));
    // As the documents say: for a microcontroller with less code.
    let (option, profile) =
        if target.is_some() { ("--profile=embedded", "embedded") } else { ("--release", "release") };
    cargo.args(["build", "--offline", "--quiet", option, "--package", "lrpet-c", "--lib", "--target-dir"]);
    cargo.arg(&libraries).current_dir(folder());
    if let Some((target, features)) = target {
        cargo.args(["--no-default-features", "--target", target, "--features", features]);
        libraries.push(target);
    }
    succeed(&mut cargo);
    let library = place.join(format!("liblrpet-{}.a", target.map_or("", |(_, features)| features)));
    std::fs::copy(libraries.join(profile).join("liblrpet.a"), &library).unwrap();
    library
}

/// The words of the command that begins with `program` in the comment of a C file, without the file that it writes.
fn documented(file: &Path, program: &str) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let start =
        text.find(&format!("   {program} ")).unwrap_or_else(|| panic!("{}: no {program}", file.display()));
    let mut words = Vec::new();
    for line in text[start..].lines() {
        let (line, more) =
            line.trim_end_matches("*/").trim().strip_suffix('\\').map_or((line, false), |line| (line, true));
        words.extend(line.split_whitespace().filter(|word| *word != "*/").map(str::to_owned));
        if !more {
            break;
        }
    }
    // The caller names the file.
    let output = words.len() - 2;
    assert_eq!(words[output], "-o");
    words.truncate(output);
    words
}

/// The command of the documentation, with other words for some and in the repository's root.
fn compile(mut words: Vec<String>, changes: &[(&str, &str)]) -> Command {
    for (old, new) in changes {
        let word = words.iter_mut().find(|word| word.contains(old));
        let word = word.unwrap_or_else(|| panic!("no {old} in the documented command"));
        *word = word.replace(old, new);
    }
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["-Wall", "-Wextra", "-Werror"]).current_dir(folder().join("../.."));
    command
}

/// A model with weights of 8 bits, in the repository.
const EIGHTS: &str = "models/fashion-mnist-resnet8-g0.6-i8.safetensors";

fn write_model(folder: &Path) -> (PathBuf, Vec<u8>) {
    let bytes = small_model(Shape::new(3, 9, 7), 8, 4).unwrap();
    let path = folder.join("model.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    (path, bytes)
}

#[test]
fn a_program_on_this_machine() {
    let place = tempfile::tempdir().unwrap();
    let (model, bytes) = write_model(place.path());
    let program = place.path().join("classify");
    let words = documented(&folder().join("examples/classify.c"), "cc");
    let library = library(place.path(), None);
    let mut compiler = compile(words, &[("target/release/liblrpet.a", &text(&library))]);
    succeed(compiler.arg("-std=c11").arg("-o").arg(&program));

    let copy = AlignedBytes::copy_of(&bytes);
    let checked = Model::new_checked(copy.as_slice()).unwrap();
    let check = checked.self_check().unwrap();
    let image = place.path().join("image");
    std::fs::write(&image, check.image(1)).unwrap();
    let text = succeed(Command::new(&program).args([&model, &image]));
    let mut lines = text.lines();
    assert!(
        lines.next().unwrap().starts_with(&format!("{} samples agree, arena ", check.samples())),
        "{text}"
    );
    for (i, (line, expected)) in lines.by_ref().zip(check.logits(1)).enumerate() {
        let (class, logit) = line.split_once(' ').unwrap();
        assert_eq!(class, i.to_string());
        assert!((logit.parse::<f32>().unwrap() - expected).abs() < 1e-2, "{line} and not {expected}");
    }
    assert_eq!(lines.next(), None);
    assert_eq!(text.lines().count(), 1 + 4);

    // Weights of 8 bits.
    let text = succeed(Command::new(&program).arg(folder().join("../..").join(EIGHTS)));
    assert!(text.starts_with("4 samples agree, arena "), "{text}");

    // What is wrong is said in the library's words.
    let failing = |arguments: &[&Path], expected: &str| {
        let output = output(Command::new(&program).args(arguments));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(error.contains(expected), "{error}");
    };
    std::fs::write(&image, &check.image(1)[1..]).unwrap();
    failing(&[&model, &image], "image: the image has 188 values and the model takes 189");
    let cut = place.path().join("cut.safetensors");
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    failing(&[&cut], "cut.safetensors: ");
}

/// What the interface can notice is an error with a message, and no session is left behind that could be run.
#[test]
fn what_is_wrong_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (model, _) = write_model(place.path());
    let program = place.path().join("wrong");
    let words = documented(&folder().join("examples/classify.c"), "cc");
    let library = library(place.path(), None);
    let changes = [
        ("runtime/c/examples/classify.c", "runtime/c/tests/wrong.c"),
        ("target/release/liblrpet.a", &text(&library)),
    ];
    succeed(compile(words, &changes).arg("-std=c11").arg("-o").arg(&program));
    // A model of values.
    let shape = Shape::new(2, 3, 2);
    let (kind, activation) = (BinaryKind::Add, Activation::None);
    let doubled = [Op::Binary(Binary { kind, inputs: [0, 0], output: shape, activation })];
    let map = place.path().join("map.safetensors");
    std::fs::write(&map, random_map(shape, shape, &doubled, 1).unwrap()).unwrap();
    let outputs = Op::Outputs(Outputs { inputs: Inputs::new(&[1, 0]).unwrap(), count: 24 });
    let [doubled] = doubled;
    let two = place.path().join("two.safetensors");
    std::fs::write(&two, random_map(shape, Shape::vector(24), &[doubled, outputs], 1).unwrap()).unwrap();
    assert_eq!(succeed(Command::new(&program).args([&model, &map, &two])), "");
}

/// A board of QEMU's, with the options of the compiler for its core and the addresses of code and variables.
struct Emulated {
    machine: &'static str,
    options: [&'static str; 2],
    memory: [&'static str; 2],
    /// Bytes of each, as the linker reads them.
    length: &'static str,
}

const AN386: Emulated = Emulated {
    machine: "mps2-an386",
    options: ["-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"],
    memory: ["0x00000000", "0x20000000"],
    length: "4M",
};
const AN500: Emulated =
    Emulated { machine: "mps2-an500", options: ["-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16"], ..AN386 };
const AN505: Emulated = Emulated {
    machine: "mps2-an505",
    options: ["-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16"],
    memory: ["0x10000000", "0x38000000"],
    length: "4M",
};
const AN547: Emulated =
    Emulated { machine: "mps3-an547", options: ["-mcpu=cortex-m55", "-mfpu=auto"], length: "512K", ..AN386 };

impl Emulated {
    /// The example with `model`, a library and an arena of these bytes; what it prints, and whether its status is 0.
    fn run(&self, place: &Path, model: &Path, library: &Path, arena: usize) -> (bool, String) {
        let program = self.build(place, model, library, arena);
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-machine", self.machine, "-display", "none", "-monitor", "none", "-serial", "none"]);
        let output =
            output(qemu.args(["-semihosting-config", "enable=on,target=native", "-kernel"]).arg(&program));
        let printed = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
    }

    /// The example, built by the documented command but for the core.
    fn build(&self, place: &Path, model: &Path, library: &Path, arena: usize) -> PathBuf {
        let board = folder().join("examples/mps2-an386");
        let map = std::fs::read_to_string(board.join("board.ld")).unwrap();
        let map = AN386.memory.iter().zip(self.memory).fold(map, |map, (from, to)| {
            assert_eq!(map.matches(from).count(), 1);
            map.replace(from, to)
        });
        let map = map.replace(AN386.length, self.length);
        let place = tempfile::tempdir_in(place).unwrap().keep();
        std::fs::write(place.join("board.ld"), map).unwrap();
        let words = documented(&board.join("main.c"), "arm-none-eabi-gcc");
        let [cpu, fpu] = AN386.options;
        let changes = [
            (cpu, self.options[0]),
            (fpu, self.options[1]),
            ("'\"model.safetensors\"'", &format!("\"{}\"", text(model))),
            ("runtime/c/examples/mps2-an386/board.ld", &text(&place.join("board.ld"))),
            ("target/thumbv7em-none-eabihf/embedded/liblrpet.a", &text(library)),
        ];
        let mut compiler = compile(words, &changes);
        let program = place.join("check.elf");
        succeed(compiler.arg("-std=gnu11").arg(format!("-DARENA_BYTES={arena}")).arg("-o").arg(&program));
        program
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

const AGREES: &str = "every sample agrees\n";

#[test]
fn a_program_on_an_emulated_board() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let (model, mut bytes) = write_model(place);
    let library = library(place, Some((THUMB, "")));
    let run = |arena: usize| AN386.run(place, &model, &library, arena);
    assert_eq!(run(1 << 16), (true, AGREES.to_owned()));
    // A Cortex-M7 has all that a Cortex-M4F has.
    assert_eq!(AN500.run(place, &model, &library, 1 << 16), (true, AGREES.to_owned()));
    let (passed, text) = run(64);
    assert!(!passed && text.starts_with("the arena has 64 bytes and must have "), "{text}");

    // What the documented command links: nothing of Rust's library that nobody calls.
    let image = AN386.build(place, &model, &library, 1 << 16);
    let sizes = succeed(Command::new("arm-none-eabi-size").arg(&image));
    let flash: u64 =
        sizes.lines().nth(1).and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap();
    let code = flash - bytes.len() as u64;
    assert!((30_000..120_000).contains(&code), "{code} bytes of code: {sizes}");

    // Weights of 8 bits: read in place by a library that was built for them, refused by name by one that was not.
    let eights = folder().join("../..").join(EIGHTS);
    let (passed, text) = AN386.run(place, &eights, &library, 1 << 16);
    assert!(!passed && text.starts_with("the program needs eights, "), "{text}");
    let with_eights = self::library(place, Some((THUMB, "eights")));
    assert_eq!(AN386.run(place, &eights, &with_eights, 1 << 16), (true, AGREES.to_owned()));

    // Other logits than those that the model gives: the samples' expected ones lie at the end of their tensor.
    let last = bytes.len() - 1;
    bytes.truncate(last);
    std::fs::write(&model, &bytes).unwrap();
    let (passed, text) = run(1 << 16);
    assert!(!passed && !text.trim().is_empty() && !text.contains("fault"), "{text}");
}

/// Instructions that a core lacks are a fault without a word: a library for another core must say so instead.
#[test]
fn a_library_for_another_core_says_so() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    let (model, _) = write_model(place);
    let m7 = library(place, Some((THUMB, "cortex-m7")));
    let m33 = library(place, Some((THUMB_V8, "")));
    let m55 = library(place, Some((THUMB_V8, "cortex-m55")));
    let run = |board: &Emulated, library: &Path| board.run(place, &model, library, 1 << 16);
    for (board, library) in [(&AN500, &m7), (&AN505, &m33), (&AN547, &m33), (&AN547, &m55)] {
        assert_eq!(run(board, library), (true, AGREES.to_owned()), "{} {}", board.machine, library.display());
    }
    for (board, library, built_for, core) in
        [(&AN386, &m7, "Cortex-M7", "Cortex-M4"), (&AN505, &m55, "Cortex-M55", "Cortex-M33")]
    {
        let expected =
            format!("this was built for a {built_for}, and the core is a {core}: build it for that core\n");
        assert_eq!(run(board, library), (false, expected));
    }
}
