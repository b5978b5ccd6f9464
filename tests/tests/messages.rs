//! Warnings and errors as they arrive: in plain words where they are redirected, in colour on a terminal, nothing twice.

use std::path::Path;
use std::process::Command;

use lrpet_tests::programs::{program, refused, run};
use safetensors::tensor::{Dtype, TensorView};

/// A checkpoint of which too little is known: `lrpet factorize` warns, and fails.
fn checkpoint(folder: &Path) -> String {
    let (first, last) = (vec![0; 16 * 9 * 4], vec![0; 10 * 64 * 4]);
    let tensors = [
        ("conv1.weight", TensorView::new(Dtype::F32, vec![16, 1, 3, 3], &first).unwrap()),
        ("fc.weight", TensorView::new(Dtype::F32, vec![10, 64], &last).unwrap()),
    ];
    let file = folder.join("bare.safetensors");
    std::fs::write(&file, safetensors::serialize(tensors, None).unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn redirected_warnings_are_plain_words() {
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint(folder.path());
    let out = folder.path().join("out").display().to_string();
    let done = run("lrpet", &["factorize", &file, "--net", "resnet8", "--out", &out]).unwrap();
    let warnings: Vec<&str> = done.errors.lines().filter(|line| line.contains("--mean")).collect();
    let start = format!("warning: {file} does not say");
    assert!(matches!(warnings[..], [line] if line.starts_with(&start)), "{}", done.errors);
    assert!(!done.errors.contains('\x1b') && !done.errors.contains("lrpet::"), "{:?}", done.errors);
}

#[test]
fn a_terminal_has_colours_unless_they_are_unwanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint(folder.path());
    let line = format!("{} factorize {file} --net resnet8 --out {file}.out", program("lrpet").display());
    for (unwanted, coloured) in [("", true), ("1", false)] {
        // `script` gives the program a terminal and copies what it prints.
        let mut script = Command::new("script");
        let output = script.args(["-qc", &line, "/dev/null"]).env("NO_COLOR", unwanted).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("warning:") && text.contains("--mean"), "{text:?}");
        assert_eq!(text.contains('\x1b'), coloured, "{text:?}");
    }
}

#[test]
fn no_cause_is_told_twice() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir(at("sweep")).unwrap();
    std::fs::create_dir(at("sweep/sweep.json")).unwrap();
    std::fs::write(at("text.json"), "no JSON").unwrap();
    let missing = at("missing");
    for arguments in [
        &["report", &missing][..],
        &["report", &at("sweep")],
        &["report", &at("text.json")],
        &["factorize", &missing, "--out", &at("out")],
        &["inspect", &missing],
        &["run", "models/fashion-mnist-resnet8-dense.safetensors", "--input", &missing],
        &["search", "--from", &missing, "--board", "host", "--latency", "1ms", "--out", &at("ranks.toml")],
    ] {
        // `refused` looks for what is said twice.
        let error = refused("lrpet", arguments).unwrap();
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }
    refused("lrpet-run", &["check", &missing]).unwrap();
}
