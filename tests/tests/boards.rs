//! `lrpet flash` and `lrpet bench --board`, and the one document that every machine writes.

use lrpet_tests::programs::{json, root, run};
use serde_json::Value;

const DENSE: &str = "models/fashion-mnist-resnet8-dense.safetensors";
const LOW: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";
/// Larger than the smallest board's flash.
const LARGE: &str = "models/cifar10-resnet20-dense.safetensors";

fn number(document: &Value, pointer: &str) -> u64 {
    document.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {document}"))
}

#[test]
fn a_dry_run_says_what_a_model_takes() {
    let fit = json("lrpet", &["flash", "--board", "nucleo-f446re", LOW, "--dry-run"]).unwrap();
    assert_eq!((&fit["fits"], &fit["advice"]), (&true.into(), &Value::Null));
    let file = std::fs::metadata(root().join(LOW)).unwrap().len();
    assert_eq!(number(&fit, "/flash/model_bytes"), file);
    assert_eq!(number(&fit, "/flash/needed_bytes"), number(&fit, "/flash/code_bytes") + file);
    let ram = ["arena", "static", "stack"].map(|part| number(&fit, &format!("/ram/{part}_bytes")));
    assert_eq!(number(&fit, "/ram/needed_bytes"), ram.iter().sum::<u64>());
    assert_eq!(number(&fit, "/ram/available_bytes"), 128 << 10);
    assert!(number(&fit, "/flash/runtime_bytes") < number(&fit, "/flash/code_bytes"));
}

#[test]
fn a_model_that_is_too_large_is_refused_with_numbers_and_advice() {
    let done = run("lrpet", &["flash", "--board", "nucleo-f446re", LARGE, "--dry-run", "--json"]).unwrap();
    assert_eq!(done.status, 1, "{}", done.errors);
    let fit: Value = serde_json::from_str(&done.output).unwrap();
    let file = std::fs::metadata(root().join(LARGE)).unwrap().len();
    let (code, needed) = (number(&fit, "/flash/code_bytes"), number(&fit, "/flash/needed_bytes"));
    let missing = number(&fit, "/flash/missing_bytes");
    assert_eq!((needed, missing), (code + file, code + file - (512 << 10)));
    assert!((50_000..56_000).contains(&code), "{code}");
    let advised = &fit["advice"]["fits"];
    assert!(code + number(advised, "/file_bytes") <= 512 << 10, "{fit}");
    let prune = advised["prune"].as_f64().unwrap();
    assert!(prune > 0.0 && prune < 0.5, "{prune}");
    assert!(done.errors.contains(&format!("{missing} missing")), "{}", done.errors);
    assert!(done.errors.contains(&format!("lrpet train --prune {prune}")), "{}", done.errors);
    // Not even the model fits what the region has.
    let region =
        run("lrpet", &["flash", "--board", "nucleo-f446re", LARGE, "--region", "--dry-run"]).unwrap();
    let missing = file + 16 - (256 << 10);
    assert!(region.status == 1 && region.errors.contains(&format!("{missing} missing")), "{}", region.errors);
}

#[test]
fn a_region_is_written_as_bytes_and_as_uf2() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (bytes, uf2) = (at("region.bin"), at("region.uf2"));
    let arguments = ["--region", "--region-file", &bytes, "--uf2", &uf2];
    let region = json("lrpet", &[&["flash", "--board", "pico2", LOW][..], &arguments].concat()).unwrap();
    let model = std::fs::read(root().join(LOW)).unwrap();
    let written = std::fs::read(&bytes).unwrap();
    assert_eq!((&written[..8], &written[16..]), (&b"LRPETMDL"[..], &model[..]));
    assert_eq!(number(&region, "/at"), 0x1020_0000);
    assert_eq!(std::fs::metadata(&uf2).unwrap().len() % 512, 0);
    let refused = run("lrpet", &["flash", "--board", "nucleo-f446re", LOW, "--uf2", &uf2]).unwrap();
    assert!(refused.status == 1 && refused.errors.contains("takes no UF2 files"), "{}", refused.errors);
    let refused = run("lrpet", &["flash", "--board", "qemu-mps2-an386", LOW]).unwrap();
    assert!(refused.status == 1 && refused.errors.contains("is emulated"), "{}", refused.errors);
}

#[test]
fn every_machine_writes_the_same_document() {
    let bench = |program: &str, more: &[&str]| {
        json(program, &[&["bench", LOW, "--iterations", "2"][..], more].concat()).unwrap()
    };
    let board = bench("lrpet", &["--board", "qemu-mps2-an386"]);
    let runs = [bench("lrpet", &[]), bench("lrpet-run", &[]), board];
    let keys = |run: &Value| run.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for run in &runs {
        assert_eq!(keys(run), keys(&runs[0]));
        assert_eq!(run["model"]["crc32"], runs[0]["model"]["crc32"]);
        let shapes = |run: &Value| {
            let layers = run["layers"].as_array().unwrap().iter();
            layers.map(|l| (l["name"].clone(), l["macs"].clone(), l["output"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(shapes(run), shapes(&runs[0]));
        assert_eq!(run["self_check"]["passed"], run["self_check"]["samples"]);
    }
    let kinds = runs.each_ref().map(|run| run["counter"]["kind"].as_str().unwrap());
    assert_eq!(kinds, ["nanoseconds", "nanoseconds", "instructions"]);

    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<String> = Vec::new();
    for (index, run) in runs.iter().chain([&bench_of(DENSE)]).enumerate() {
        let file = folder.path().join(format!("{index}.json"));
        std::fs::write(&file, run.to_string()).unwrap();
        files.push(file.to_str().unwrap().to_owned());
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let report = json("lrpet", &[&["report"][..], &files].concat()).unwrap();
    let boards = |model: &Value| model["boards"].as_array().unwrap().len();
    let models = report["models"].as_array().unwrap();
    // What hosts measured is their latency, not a board's.
    assert_eq!(models.iter().map(boards).collect::<Vec<_>>(), [1, 0]);
    let table = run("lrpet", &[&["report", "--markdown"][..], &files].concat()).unwrap().output;
    assert!(table.contains("Executed instructions") && table.contains("Latency"), "{table}");
}

fn bench_of(model: &str) -> Value {
    json("lrpet", &["bench", model, "--iterations", "2"]).unwrap()
}
