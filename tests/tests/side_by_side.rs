//! `lrpet bench` of several models: measured in turns, shown beside one another.

use lrpet_tests::programs::{json, number, refused, run};

const DENSE: &str = "models/cifar10-resnet20-dense.safetensors";
const LOW: &str = "models/cifar10-resnet20-g0.70.safetensors";

#[test]
fn several_models_are_measured_in_turns_and_compared() {
    let often = ["--iterations", "60", "--warm-up", "2"];
    let found = json("lrpet", &[&["bench", DENSE, LOW], &often[..]].concat()).unwrap();
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| &run["model"]["file"]).collect::<Vec<_>>(), [DENSE, LOW]);
    let least = |at: usize| number(&runs[at], "total.min").unwrap();
    // Whatever else runs here: the least times of two models that take turns have the models' own ratio, about two thirds.
    let ratio = least(1) / least(0);
    assert!((0.35..0.75).contains(&ratio), "{ratio}: {} and {} ns", least(0), least(1));

    let done = run("lrpet", &[&["bench", DENSE, LOW], &often[..]].concat()).unwrap();
    let table: Vec<&str> = done.output.lines().rev().take(3).collect();
    assert!(table[2].contains("against the first") && table[1].ends_with("1.00×"), "{}", done.output);
    assert!(table[0].starts_with(LOW) && table[0].ends_with('×'), "{}", done.output);
    // One alone is one document, as every machine writes it.
    assert_eq!(json("lrpet", &["bench", LOW, "--iterations", "2"]).unwrap()["format"], "lrpet-run/1");
}

#[test]
fn a_board_has_one_model_in_flash() {
    let serial = ["--board", "nucleo-f446re", "--serial", "/dev/null"];
    let error = refused("lrpet", &[&["bench", DENSE, LOW], &serial[..]].concat()).unwrap();
    assert!(error.contains("one model in flash"), "{error}");
}
