//! The report as a browser sees it.

use lrpet_tests::browser;
use std::collections::HashMap;

use lrpet_tests::programs::{json, number, refused, root, run};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json as document};

/// A report of the kept models, as `cargo xtask demo` writes one, from what the programs say of them.
fn report() -> Value {
    let model = |name: &str, file: &str, prune: f64| {
        let file = format!("models/{file}.safetensors");
        let inspect = json("lrpet", &["inspect", &file]).unwrap();
        let bench = json("lrpet", &["bench", &file, "--iterations", "3", "--warm-up", "1"]).unwrap();
        document!({ "name": name, "file": file, "prune": prune, "inspect": inspect, "bench": bench })
    };
    document!({
        "title": "A page <b>for</b> the browser",
        "models": [
            model("dense", "fashion-mnist-resnet8-dense", 0.0),
            model("lowrank", "fashion-mnist-resnet8-g0.6", 0.6),
        ],
    })
}

#[test]
fn a_browser_shows_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let report = report();
    std::fs::write(folder.path().join("report.json"), report.to_string()).unwrap();
    let source = folder.path().to_str().unwrap();
    let done = run("lrpet", &["report", source]).unwrap();
    assert_eq!(done.status, 0, "{}", done.errors);

    let page = browser::dump(&folder.path().join("report.html"), &folder.path().join("profile")).unwrap();
    assert!(page.contains("A page &lt;b&gt;for&lt;/b&gt; the browser"), "{page}");
    // Digits are grouped by no-break spaces.
    let figures = page.replace("&nbsp;", "").replace('\u{a0}', "");
    for model in report["models"].as_array().unwrap() {
        for key in ["macs", "params", "arena_bytes"] {
            let exact = model["inspect"][key].as_u64().unwrap();
            assert!(figures.contains(&exact.to_string()), "{key} = {exact} is not on the page");
        }
    }
    assert!(page.contains("<svg"), "no chart on the page");
}

const DENSE: &str = "models/fashion-mnist-resnet8-dense.safetensors";
const LOW: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

#[test]
fn one_command_measures_model_files_for_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("own.html");
    let arguments =
        ["report", DENSE, LOW, "--data", "fashion-mnist", "--limit", "200", "--out", out.to_str().unwrap()];
    let found = json("lrpet", &arguments).unwrap();
    assert_eq!(
        (&found["title"], &found["dataset"]["test_images"]),
        (&"resnet8 on fashion-mnist".into(), &10_000.into())
    );
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 2);
    for (model, file) in models.iter().zip([DENSE, LOW]) {
        assert_eq!(model["file"], file);
        let own = json("lrpet", &["eval", file, "--data", "fashion-mnist", "--limit", "200"]).unwrap();
        assert_eq!(model["eval"]["runtime"]["confusion"], own["confusion"]);
        let runtime = &model["eval"]["runtime"];
        assert_eq!((&runtime["images"], &runtime["of"]), (&200.into(), &10_000.into()));
        assert_eq!(model["inspect"]["macs"], json("lrpet", &["inspect", file]).unwrap()["macs"]);
        assert!(number(model, "bench.min_ms").unwrap() > 0.0 && model["bench"]["iterations"] == 200);
    }
    let page = browser::dump(&out, &folder.path().join("profile")).unwrap();
    for part in [
        "Accuracy by class",
        "taken for",
        "Latency on the host, least",
        "Layer by layer",
        "evaluate fashion-mnist",
    ] {
        assert!(page.contains(part), "{part} is not on the page");
    }
    // What was printed is a source of a later report, beside what another machine said of the same file.
    let [kept, bench] = ["kept.json", "bench.json"].map(|name| folder.path().join(name));
    std::fs::write(&kept, found.to_string()).unwrap();
    let run = json("lrpet", &["bench", LOW, "--iterations", "3"]).unwrap();
    std::fs::write(&bench, run.to_string()).unwrap();
    let again = json("lrpet", &["report", kept.to_str().unwrap(), bench.to_str().unwrap()]).unwrap();
    // The same machine measured it twice: one latency is left, and no board.
    let least = |report: &serde_json::Value, model: usize| {
        report["models"][model]["bench"]["min_ms"].as_f64().unwrap()
    };
    let said = run["total"]["min"].as_f64().unwrap() / 1e6;
    assert!(least(&again, 1) <= said && least(&again, 1) <= least(&found, 1), "{again}");
    assert!(
        again["models"][1]["boards"].as_array().unwrap().is_empty()
            && again["models"][1].get("further_benches").is_none()
    );
    let both =
        json("lrpet", &["report", LOW, bench.to_str().unwrap(), "--out", out.to_str().unwrap()]).unwrap();
    assert_eq!(both["models"].as_array().unwrap().len(), 1);
    assert!(both["models"][0]["boards"].as_array().unwrap().is_empty() && least(&both, 0) <= said);
    let error = refused("lrpet", &["report", kept.to_str().unwrap(), "--data", "fashion-mnist"]).unwrap();
    assert!(error.contains("name one"), "{error}");
}

#[test]
fn the_folder_of_a_training_is_a_report_with_the_model_made_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("low");
    std::fs::create_dir(&run_folder).unwrap();
    let source = run_folder.to_str().unwrap();
    let error = refused("lrpet", &["report", source]).unwrap();
    assert!(error.contains("lrpet train --out") && error.contains("model file"), "{error}");

    let card = json("lrpet", &["inspect", LOW]).unwrap()["card"].clone();
    let ranks = card["ranks"].as_str().unwrap().split(',').map(|pair| pair.split_once('=').unwrap());
    let ranks: HashMap<_, u64> = ranks.map(|(layer, rank)| (layer, rank.parse().unwrap())).collect();
    let ranks = document!(ranks).to_string();
    let said = [
        ("command", card["training"].as_str().unwrap()),
        ("network", "resnet8"),
        ("dataset", "fashion-mnist"),
        ("epochs", "1"),
        ("seed", "7"),
        ("ranks", ranks.as_str()),
        ("rule", "0.6"),
        ("test_accuracy", "0.5"),
        ("test_images", "10000"),
    ];
    let said: HashMap<_, _> = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let data = [0; 4];
    let tensor = TensorView::new(Dtype::F32, vec![1], &data).unwrap();
    let bytes = safetensors::serialize([("conv1.weight", tensor)], Some(said)).unwrap();
    std::fs::write(run_folder.join("final.safetensors"), bytes).unwrap();
    let epoch = document!({
        "epoch": 1, "epochs": 1, "train_loss": 0.5, "train_accuracy": 0.8, "rate": 0.1, "seconds": 2.5, "images_per_second": 10.0,
        "validation": null, "projection": null,
    });
    std::fs::write(run_folder.join("metrics.jsonl"), format!("{epoch}\n")).unwrap();

    let done = run("lrpet", &["report", source]).unwrap();
    assert!(done.status == 0 && run_folder.join("report.html").exists(), "{}", done.errors);
    assert!(
        done.errors.contains("lrpet factorize") && done.output.contains("50.00 %"),
        "{}{}",
        done.errors,
        done.output
    );

    // Beside the folder; another training's model is none of it.
    std::fs::copy(root().join(LOW), folder.path().join("low.safetensors")).unwrap();
    std::fs::copy(root().join(DENSE), folder.path().join("dense.safetensors")).unwrap();
    let found = json("lrpet", &["report", source]).unwrap();
    let models = found["models"].as_array().unwrap();
    assert_eq!(models.len(), 1, "{found}");
    assert_eq!((&models[0]["name"], &models[0]["prune"]), (&"low".into(), &0.6.into()));
    assert_eq!(
        (&models[0]["training"]["seed"], &models[0]["eval"]["candle"]["accuracy"]),
        (&7.into(), &0.5.into())
    );
    assert!(
        number(&models[0], "inspect.macs").unwrap() > 0.0
            && number(&models[0], "bench.min_ms").unwrap() > 0.0
    );
    let page = std::fs::read_to_string(run_folder.join("report.html")).unwrap();
    assert!(page.contains("low, epoch 1"), "the training is on the page");
}
