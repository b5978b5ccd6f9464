//! Programs that `lrpet new` writes: built for each board, tested on the host, and run on emulated ones.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lrpet_board::boards::{self, Board};
use lrpet_board::elf;
use lrpet_board::project::{self, Project};
use lrpet_board::sources::root;
use lrpet_runtime::built::Room;
use lrpet_runtime::host::MappedModel;
use lrpet_runtime::model::Model;

const MODEL: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

/// In the target folder.
fn folder(name: &str) -> PathBuf {
    let folder = root().join("target/projects").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
    std::fs::create_dir_all(folder.parent().unwrap()).unwrap();
    folder
}

fn created(name: &str, board: &'static Board) -> Project {
    project::create(&folder(name), board, &root().join(MODEL), Room::Least).unwrap()
}

/// Cargo in the project, without a network.
fn cargo(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(&project.folder).args(arguments).arg("--offline");
    // Where the drivers of the boards may be compiled already.
    command.env("CARGO_TARGET_DIR", root().join("target/boards"));
    command
}

fn run(mut command: Command) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{text}");
}

/// The built program.
fn program(project: &Project, board: &Board) -> PathBuf {
    root().join("target/boards").join(board.target).join("release").join(&project.name)
}

#[test]
fn the_program_of_each_board_builds_and_those_of_emulated_ones_classify() {
    let map = MappedModel::open(&root().join(MODEL)).unwrap();
    let model = Model::new_checked(map.bytes()).unwrap();
    let check = model.self_check().unwrap();
    for board in boards::BOARDS {
        let project = created(&format!("my-{}", board.name), board);
        run(cargo(&project, &["build", "--release"]));
        let program = program(&project, board);
        // Parser, checks and planner are not in it.
        let code = elf::sizes(&program).unwrap().code;
        assert!(code < 40_000, "{}: {code} bytes of code", board.name);
        if board.emulator().is_none() {
            // What its log says stays on this machine, and the probe finds the rest.
            assert!(elf::address(&program, "_SEGGER_RTT").unwrap() > 0);
            let texts = std::fs::read(&program).unwrap();
            let text = b"the run before this one ended: ";
            assert!(texts.windows(text.len()).any(|bytes| bytes == text), "{}", board.name);
            let config = std::fs::read_to_string(project.folder.join(".cargo/config.toml")).unwrap();
            assert!(config.contains("probe-rs run") && config.contains("DEFMT_LOG = \"info\""), "{config}");
            continue;
        }
        // As the README of the project says.
        let mut child = cargo(&project, &["run", "--release"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for i in 0..check.samples() {
            input.write_all(check.image(i)).unwrap();
            input.flush().unwrap();
            let line = lines.next().unwrap().unwrap();
            let logits: Vec<f32> = check.logits(i).collect();
            let class = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap();
            let said = line
                .strip_prefix(&format!("class {class}, logit "))
                .and_then(|rest| rest.strip_suffix(" / 1000"));
            let said: f32 = said.unwrap_or_else(|| panic!("{}: {line}", board.name)).parse().unwrap();
            let difference = (said / 1000.0 - logits[class]).abs();
            assert!(difference <= check.tolerance(i) + 1e-3, "{}: {line}, {logits:?}", board.name);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn what_depends_on_no_board_is_tested_on_the_host() {
    let project = created("host-tested", Board::named("qemu-mps2-an386").unwrap());
    run(cargo(&project, &["host-test"]));
}

#[test]
fn what_makes_no_program_is_refused_in_a_sentence() {
    let board = Board::named("nucleo-f446re").unwrap();
    let model = root().join(MODEL);
    let said = |folder: &Path, model: &Path| {
        format!("{:#}", project::create(folder, board, model, Room::Least).unwrap_err())
    };
    assert!(said(&folder("1st"), &model).contains("`1st` is no name for the package"));
    for taken in ["crate", "match", "camera", "board", "lrpet-runtime"] {
        assert!(said(&folder(taken), &model).contains("no name for the package"), "{taken}");
    }
    let there = folder("there");
    std::fs::create_dir_all(&there).unwrap();
    std::fs::write(there.join("file"), "kept").unwrap();
    assert!(said(&there, &model).contains("is there already"));
    assert_eq!(std::fs::read_to_string(there.join("file")).unwrap(), "kept");
    assert!(said(&folder("none"), Path::new("no/such.safetensors")).contains("cannot read the model"));
    let text = said(&folder("text"), &root().join("Cargo.toml"));
    assert!(text.contains("Cargo.toml: "), "{text}");
    let small = project::create(&folder("small"), board, &model, Room::Within(1000)).unwrap_err().to_string();
    assert!(small.contains("the arena has 1000 bytes and must have "), "{small}");
    for left in ["1st", "crate", "match", "none", "text", "small"] {
        assert!(!root().join("target/projects").join(left).exists(), "{left}");
    }
}
