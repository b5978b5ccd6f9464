//! Adds what machines measured to a report.

use std::collections::HashSet;
use std::path::Path;

use lrpet_report::{Kind, Run};

use super::names::Names;
use super::table::host;
use crate::schema::{Bench, Board, Model, Report};

/// Adds documents, with the files that they come from, to a report: each to the model of the same bytes, or to one of its own.
pub(super) fn attach(report: &mut Report, runs: Vec<Run>) {
    let mut names = Names::default();
    report.models.iter().for_each(|model| drop(names.unique(model.name.clone())));
    for run in runs {
        let same = |model: &Model| {
            let sha256 = run.model.sha256.is_some() && model.sha256 == run.model.sha256;
            sha256 || model.crc32.as_deref() == Some(&run.model.crc32)
        };
        let at = report.models.iter().position(same).unwrap_or_else(|| {
            let model = model(&run, &mut names);
            report.models.push(model);
            report.models.len() - 1
        });
        let here = host(report, &report.models[at]).and_then(|host| host.cpu.clone());
        let model = &mut report.models[at];
        if run.counter.kind == Kind::Nanoseconds {
            // The kind was looked at, so it is a latency.
            if let Ok(bench) = Bench::try_from(run) {
                add_bench(model, here.as_deref(), bench);
            }
            continue;
        }
        let mut board = Board::from(&run);
        let taken: HashSet<_> =
            model.boards.iter().filter(|b| b.counter == board.counter).map(|b| &b.board).collect();
        let first = board.board.clone();
        let mut number = 2;
        while taken.contains(&board.board) {
            board.board = format!("{first} ({number})");
            number += 1;
        }
        model.boards.push(board);
    }
}

/// Adds the latency on one more machine, or a second one on the same: then that with the least time is kept, and it is said. `here` is
/// the processor of those that name none.
fn add_bench(model: &mut Model, here: Option<&str>, bench: Bench) {
    let key = |bench: &Bench| (bench.cpu.as_deref().or(here).map(str::to_owned), bench.detail());
    let mut known = model.bench.iter_mut().chain(&mut model.further_benches);
    if let Some(other) = known.find(|other| key(other) == key(&bench)) {
        if *other != bench {
            tracing::warn!(
                "{}: measured more than once on {}: the measurement with the least time is shown",
                model.name,
                bench.place()
            );
        }
        let least = |bench: &Bench| bench.min_ms.unwrap_or(bench.median_ms);
        if least(&bench) < least(other) {
            *other = bench;
        }
    } else if model.bench.is_none() {
        model.bench = Some(bench);
    } else {
        model.further_benches.push(bench);
    }
}

/// A model of which nothing else is known.
fn model(run: &Run, names: &mut Names) -> Model {
    let stem = Path::new(&run.model.file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = stem.or_else(|| run.model.network.clone()).unwrap_or_else(|| "model".to_owned());
    Model {
        name: names.unique(name),
        file: Some(run.model.file.clone()),
        sha256: run.model.sha256.clone(),
        crc32: Some(run.model.crc32.clone()),
        prune: match run.layers.iter().all(|layer| layer.rank == 0) {
            true => Some(0.0),
            false => run.model.prune.as_deref().and_then(|prune| prune.parse().ok()),
        },
        network: run.model.network.clone(),
        classes: Some(run.model.classes.into()),
        input: Some(run.model.input.map(u64::from)),
        macs: Some(run.macs),
        file_bytes: Some(run.model.bytes),
        ..Model::default()
    }
}

#[cfg(test)]
mod tests {
    use lrpet_report::FORMAT;
    use serde_json::{Value, json};

    use super::*;
    use crate::report::{load_all, markdown, text};

    /// Invented figures.
    fn run(board: &str, core: &str, counter: &str, crc32: &str, median: u64) -> Value {
        let layer = json!({
            "index": 0, "name": "conv1", "rank": 0, "output": [1, 1, 1], "macs": 10,
            "min": median - 1, "median": null, "mean": median, "max": median + 1,
        });
        json!({
            "format": FORMAT, "board": board, "core": core, "clock_hz": null,
            "counter": { "kind": counter, "resolution": null, "calibration": null },
            "compiler": null, "git": null, "engine": "lrpet-runtime 0.1.0",
            "model": {
                "file": format!("models/{crc32}.safetensors"), "bytes": 9, "crc32": crc32, "sha256": null,
                "network": "resnet8", "prune": "0.6", "input": [1, 28, 28], "classes": 10,
            },
            "dtype": "f16", "arithmetic": "f32", "isa": "neon", "threads": 1, "warm_up": 1, "iterations": 2, "macs": 10,
            "total": { "min": median, "median": median, "max": median }, "layers": [layer],
            "memory": {
                "arena_bytes": 64, "code_bytes": 30, "runtime_bytes": 20, "model_bytes": 9, "flash_bytes": 39,
                "flash_available": 100, "static_bytes": 3, "stack_bytes": 5, "ram_bytes": 72, "ram_available": 100,
            },
            "self_check": { "samples": 4, "passed": 4, "largest_difference": 0.5 }, "outputs_crc32": "00000009",
        })
    }

    fn files(documents: &[Value]) -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let write = |(index, document): (usize, &Value)| {
            let file = folder.path().join(format!("{index}.json"));
            std::fs::write(&file, document.to_string()).unwrap();
            file
        };
        let files = documents.iter().enumerate().map(write).collect();
        (folder, files)
    }

    #[test]
    fn any_number_of_documents_is_merged_by_model() {
        let report = json!({ "models": [{ "name": "demo", "crc32": "0000000b" }], "title": "Demo" });
        let (_folder, files) = files(&[
            run("m4", "Cortex-M4F", "instructions", "0000000a", 111),
            report,
            run("host", "Cortex-A72", "nanoseconds", "0000000a", 2_500_000),
            run("host", "Cortex-A72", "nanoseconds", "0000000a", 2_600_000),
            run("m7", "Cortex-M7", "cycles", "0000000b", 333),
        ]);
        let report = load_all(&files).unwrap();
        let models: Vec<_> =
            report.models.iter().map(|model| (model.name.as_str(), model.boards.len())).collect();
        // The title of one model is not that of two.
        assert_eq!((models, report.title.as_deref()), (vec![("demo", 1), ("0000000a", 1)], Some("2 models")));
        assert_eq!(report.models[1].prune, Some(0.0), "no layer is a pair");
        let table = text(&report);
        for part in [
            "Executed instructions, m4, Cortex-M4F",
            "Cycles, m7",
            "Latency on the host, least, 1 thread, neon",
            "Latency on the host, median, 1 thread, neon",
            "2.50 ms",
            "Multiply-adds",
            "RAM: arena on the host",
            "Flash: model file",
            "Self-check on the host",
        ] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(markdown(&report).contains("333"));
        // One alone, and what is printed is read again.
        let (_folder, again) = self::files(&[serde_json::to_value(&report).unwrap()]);
        assert_eq!(load_all(&again).unwrap(), report);
        assert_eq!(load_all(&files[..1]).unwrap().title.as_deref(), Some("resnet8 on m4"));
    }

    #[test]
    fn several_models_of_one_bench_are_read_from_one_file() {
        let runs = [
            run("host", "cpu", "nanoseconds", "0000000a", 200),
            run("host", "cpu", "nanoseconds", "0000000b", 100),
        ];
        let (_folder, files) = files(&[json!({ "runs": runs })]);
        let report = load_all(&files).unwrap();
        let medians = report.models.iter().map(|model| model.bench.as_ref().unwrap().median_ms);
        assert_eq!(medians.collect::<Vec<_>>(), [2e-4, 1e-4]);
        let mut broken = runs.clone();
        broken[1]["layers"][0]["mean"] = json!("many");
        let (_folder, files) = self::files(&[json!({ "runs": broken })]);
        let error = load_all(&files).unwrap_err().to_string();
        assert!(error.contains("field runs[1].layers[0].mean"), "{error}");
    }

    #[test]
    fn each_machine_has_its_latency_and_the_least_of_two_counts() {
        let (_folder, files) = files(&[
            run("host", "A", "nanoseconds", "0000000a", 2_500_000),
            run("host", "B", "nanoseconds", "0000000b", 400_000),
            run("host", "B", "nanoseconds", "0000000a", 900_000),
            run("host", "A", "nanoseconds", "0000000b", 800_000),
            run("host", "A", "nanoseconds", "0000000a", 2_400_000),
        ]);
        let report = load_all(&files).unwrap();
        let medians = |model: &Model| {
            let each = model.benches().map(|bench| (bench.cpu.clone().unwrap(), bench.median_ms));
            each.collect::<std::collections::BTreeMap<_, _>>()
        };
        let wanted = |a: f64, b: f64| [("A".to_owned(), a), ("B".to_owned(), b)].into();
        assert_eq!(
            report.models.iter().map(medians).collect::<Vec<_>>(),
            [wanted(2.4, 0.9), wanted(0.8, 0.4)]
        );
        // In whatever order they came, a machine has its row.
        let table = text(&report);
        assert_eq!(table.matches("Latency on the host, least").count(), 2, "{table}");
        let row = table.lines().find(|line| line.starts_with("Latency on the host, least, B")).unwrap();
        assert!(row.contains("0.900 ms") && row.contains("0.400 ms"), "{row}");
    }

    #[test]
    fn json_of_another_kind_is_told() {
        for (document, said) in [
            (json!({ "runs": [] }), "it holds no measurement"),
            (
                json!({ "image": "a.png", "logits": [1] }),
                "a JSON object with the fields image, logits, which is neither",
            ),
            (json!({}), "an empty JSON object"),
            (json!([1]), "a JSON array"),
            (json!(3), "a JSON value"),
        ] {
            let (_folder, files) = files(&[document]);
            let error = load_all(&files).unwrap_err().to_string();
            assert!(error.contains("0.json: ") && error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_report_takes_documents_in_their_places() {
        let host = run("host", "cpu", "nanoseconds", "0000000a", 2_500_000);
        let board = run("m4", "Cortex-M4F", "instructions", "0000000a", 111);
        let report = |bench: &Value, board: &Value| {
            let (folder, files) =
                files(&[json!({ "models": [{ "name": "a", "bench": bench, "boards": [board] }] })]);
            load_all(&files).map_err(|error| {
                drop(folder);
                error.to_string()
            })
        };
        let read = report(&host, &board).unwrap();
        let model = &read.models[0];
        assert_eq!(model.bench.as_ref().unwrap().median_ms, 2.5);
        assert_eq!((model.boards[0].total, model.boards[0].text_bytes), (111, Some(30)));
        assert_eq!((model.boards[0].ram(), model.boards[0].self_check), (Some(72), Some(true)));
        let wrong = report(&board, &board).unwrap_err();
        assert!(wrong.contains("models[0].bench") && wrong.contains("instructions"), "{wrong}");
        let mut broken = board.clone();
        broken["total"]["median"] = 0.into();
        let wrong = report(&host, &broken).unwrap_err();
        assert!(wrong.contains("models[0].boards[0]") && wrong.contains("not in order"), "{wrong}");
    }

    #[test]
    fn malformed_documents_are_refused_with_file_and_field() {
        let good = run("m4", "Cortex-M4F", "instructions", "0000000a", 111);
        for (pointer, value, expected) in [
            ("/format", json!("lrpet-run/2"), "another format"),
            ("/layers/0/mean", json!("many"), "field layers[0].mean"),
            ("/model/crc32", json!("x"), "field model.crc32"),
            ("/memory", json!([]), "field memory"),
        ] {
            let mut broken = good.clone();
            *broken.pointer_mut(pointer).unwrap() = value;
            let (_folder, files) = files(&[broken]);
            let error = load_all(&files).unwrap_err().to_string();
            assert!(error.contains("0.json: ") && error.contains(expected), "{error}");
        }
    }
}
