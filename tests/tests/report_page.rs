//! The report as a browser sees it.

use lrpet_tests::browser;
use lrpet_tests::programs::{json, run};
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
