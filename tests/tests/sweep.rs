//! A sweep that is killed and run again, its page in a browser, and a search for ranks from its dense run.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbImage;
use lrpet_tests::browser;
use lrpet_tests::programs::{json, program, refused, root, run};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

const CLASSES: [&str; 2] = ["dark", "light"];

/// Pictures of 32×32, `count` of each class.
fn write(folder: &Path, count: usize, seed: u64) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (class, name) in CLASSES.iter().enumerate() {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let level = 60 + 90 * class as u8;
            let pixel = |_, _| image::Rgb([0; 3].map(|_: i32| level + rng.random_range(0..100)));
            RgbImage::from_fn(32, 32, pixel).save(folder.join(format!("{number}.png"))).unwrap();
        }
    }
}

/// A folder with a data set.
fn data(folder: &Path) -> String {
    write(&folder.join("set/train"), 40, 1);
    write(&folder.join("set/test"), 10, 2);
    folder.join("set").to_str().unwrap().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn arguments<'a>(data: &'a str, out: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    let words =
        ["sweep", "--net", "resnet8", "--prune", "0.7,0", "--epochs", "3", "--batch", "16", "--lr", "0.05"];
    [&words[..], &["--data", data, "--out", text(out)], more].concat()
}

/// Kills a sweep with its trainings once the dense run has an epoch on the disk and not yet its last. On a busy machine the run may end
/// first: then that sweep is thrown away.
fn kill_in_the_middle(arguments: &[&str], out: &Path) {
    for _ in 0..8 {
        kill_after_an_epoch(arguments, out);
        if !out.join("runs/dense/final.safetensors").exists() {
            return;
        }
        std::fs::remove_dir_all(out).unwrap();
    }
    panic!("eight sweeps had trained their dense run before they were killed");
}

/// Starts a sweep and kills it, where it has not ended, with its trainings once the dense run has an epoch on the disk.
fn kill_after_an_epoch(arguments: &[&str], out: &Path) {
    let mut command = Command::new(program("lrpet"));
    command.args(arguments).current_dir(root()).process_group(0);
    let mut sweep = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let start = Instant::now();
    let metrics = out.join("runs/dense/metrics.jsonl");
    while std::fs::read_to_string(&metrics).unwrap_or_default().lines().count() < 1 {
        assert!(start.elapsed() < Duration::from_secs(300), "no epoch in five minutes");
        assert!(sweep.try_wait().unwrap().is_none(), "the sweep ended without an epoch");
        std::thread::sleep(Duration::from_millis(5));
    }
    let group = format!("-{}", sweep.id());
    assert!(Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    sweep.wait().unwrap();
}

fn modified(file: &Path) -> std::time::SystemTime {
    std::fs::metadata(file).unwrap().modified().unwrap()
}

/// The page with a script that moves the limit of `figure` to `value`, as a browser shows it.
fn moved(page: &str, folder: &Path, figure: &str, value: f64) -> String {
    let script = format!(
        "<script>{{ const input = document.getElementById('limit-{figure}'); input.value = {value};
         input.dispatchEvent(new Event('input')); }}</script></body>"
    );
    let file = folder.join(format!("moved-{figure}.html"));
    std::fs::write(&file, page.replace("</body>", &script)).unwrap();
    browser::dump(&file, &folder.join("profile")).unwrap()
}

#[test]
fn a_killed_sweep_goes_on_and_its_page_filters() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let out = folder.path().join("sweep");
    let sweep = arguments(&data, &out, &["--warm-start", "dense", "--warm-epochs", "2", "--jobs", "2"]);
    kill_in_the_middle(&sweep, &out);
    let done = json("lrpet", &sweep).unwrap();
    let rows = done["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["run"].as_str().unwrap()).collect();
    assert_eq!(names, ["dense", "g0.7"]);
    let epochs = |row: &Value, key: &str| row[key].as_u64().unwrap();
    assert_eq!([epochs(&rows[0], "epochs"), epochs(&rows[1], "epochs")], [3, 2], "resumed, not begun again");
    assert_eq!(epochs(&rows[1], "epochs_in_all"), 5);
    let log = std::fs::read_to_string(out.join("runs/dense/train.log")).unwrap();
    assert!(log.contains("going on after epoch"), "{log}");
    for row in rows {
        let number = |pointer: &str| row.pointer(pointer).and_then(Value::as_f64).expect(pointer);
        assert_eq!(number("/model/eval/runtime/images"), 20.0);
        let [f32, f16] = ["candle", "runtime"].map(|by| number(&format!("/model/eval/{by}/accuracy")));
        assert!((f32 - f16).abs() < 1.5 / 20.0, "{f32} and {f16}");
        assert!(number("/model/bench/median_ms") > 0.0 && number("/model/inspect/macs") > 0.0);
    }
    assert!(rows[1].pointer("/file_bytes").and_then(Value::as_u64) < rows[0]["file_bytes"].as_u64());

    // A second time there is nothing to do.
    let weights = out.join("runs/g0.7/final.safetensors");
    let before = modified(&weights);
    let again = json("lrpet", &sweep).unwrap();
    assert_eq!(modified(&weights), before);
    for (now, then) in again["rows"].as_array().unwrap().iter().zip(rows) {
        assert_eq!(now["model"]["sha256"], then["model"]["sha256"]);
        // JSON keeps a number to its last digit or so.
        let time = |row: &Value| row["model"]["bench"]["median_ms"].as_f64().unwrap();
        assert!((time(now) / time(then) - 1.0).abs() < 1e-9, "timed again");
    }
    in_rows(&sweep, &out, rows);
    let other = arguments(&data, &out, &["--warm-start", "dense", "--warm-epochs", "1", "--jobs", "2"]);
    let error = refused("lrpet", &other).unwrap();
    assert!(error.contains("sweep.json") && error.contains("--epochs 1"), "{error}");
    // A run is an ordinary one.
    let again =
        json("lrpet", &["eval", text(&out.join("runs/g0.7/model.safetensors")), "--data", &data]).unwrap();
    assert_eq!(again["images"], 20);

    let shown = run("lrpet", &["report", text(&out)]).unwrap();
    assert_eq!(shown.status, 0, "{}", shown.errors);
    assert!(shown.output.contains("g = 0.7") && out.join("report.svg").is_file());
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let fits = |dom: &str, count: usize| dom.contains(&format!("data-fits=\"{count}\""));
    let whole = browser::dump(&out.join("report.html"), &folder.path().join("profile")).unwrap();
    assert!(fits(&whole, 2) && whole.contains("2 of 2 runs fit"), "{whole}");
    let between = rows.iter().map(|row| row["file_bytes"].as_f64().unwrap()).sum::<f64>() / 2.0;
    let narrow = moved(&page, folder.path(), "flash", between);
    assert!(fits(&narrow, 1) && narrow.contains("the most accurate is g0.7"), "{narrow}");
    let dimmed = ["class=\"point dense best out\"", "class=\"point dense out\""];
    assert!(dimmed.iter().any(|class| narrow.contains(class)), "the dense point is dimmed: {narrow}");
    let none = moved(&page, folder.path(), "flash", 0.0);
    assert!(fits(&none, 0) && none.contains(">no run fits<"), "{none}");

    search(folder.path(), &data, &out.join("runs/dense/final.safetensors"));
}

/// The same sweep for less memory: the trainings stay, the models run in rows and are timed again.
fn in_rows(sweep: &[&str], out: &Path, before: &[Value]) {
    let weights = out.join("runs/g0.7/final.safetensors");
    let (trained, layers) =
        (modified(&weights), |row: &Value| row["schedule"]["layers_bytes"].as_u64().unwrap());
    for row in before {
        assert_eq!((&row["schedule"]["ram"], &row["schedule"]["written"]), (&"least".into(), &false.into()));
        assert_eq!(row["model"]["inspect"]["arena_bytes"], layers(row));
        assert!(row["schedule"]["arena_bytes"].as_u64().unwrap() * 2 < layers(row), "{row}");
    }
    let error = refused("lrpet", &[sweep, &["--ram", "20KB"]].concat()).unwrap();
    assert!(error.contains("20480 were given"), "{error}");
    let small = json("lrpet", &[sweep, &["--ram", "40KB"]].concat()).unwrap();
    assert_eq!(modified(&weights), trained);
    let rows = small["rows"].as_array().unwrap();
    assert_eq!(rows.len(), before.len());
    for (row, before) in rows.iter().zip(before) {
        let schedule = &row["schedule"];
        let arena = schedule["arena_bytes"].as_u64().unwrap();
        assert_eq!((&schedule["ram"], &schedule["written"]), (&"40960".into(), &true.into()));
        assert!(arena <= 40 << 10 && layers(row) == layers(before), "{schedule}");
        assert_eq!(row["model"]["inspect"]["arena_bytes"], arena, "the model file runs by the schedule");
        assert_ne!(row["model"]["sha256"], before["model"]["sha256"]);
        assert!(row["model"]["bench"]["median_ms"].as_f64().unwrap() > 0.0);
    }
    // And back: the model files are those that they were.
    let back = json("lrpet", sweep).unwrap();
    for (row, before) in back["rows"].as_array().unwrap().iter().zip(before) {
        assert_eq!(row["model"]["sha256"], before["model"]["sha256"]);
    }
}

/// Ranks for this machine, and a training at them.
fn search(folder: &Path, data: &str, dense: &Path) {
    let (ranks, costs) = (folder.join("ranks.toml"), folder.join("costs.json"));
    let words = ["search", "--from", text(dense), "--data", data, "--board", "host"];
    let files = ["--costs", text(&costs), "--out", text(&ranks)];
    let found = json("lrpet", &[&words[..], &files, &["--like", "0.7"]].concat()).unwrap();
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).expect(pointer);
    assert!(number("/value") >= number("/uniform/value") - 1e-9, "{found}");
    assert!(number("/latency") <= number("/uniform/latency"), "{found}");
    assert!(costs.is_file());
    let listed = std::fs::read_to_string(&ranks).unwrap();
    assert!(listed.contains("# lrpet search") && listed.contains(" of "), "{listed}");
    assert!(found.get("training").is_none(), "{found}");
    uniform_ranks_are_never_out_of_reach(folder, &words, &costs);
    let out = folder.join("at-ranks");
    let like = ["--like", "0.7", "--train", text(&out), "--", "--epochs"];
    let error = refused("lrpet", &[&words[..], &files, &like, &["none"]].concat()).unwrap();
    assert!(error.contains("--train: invalid value 'none' for '--epochs") && !out.exists(), "{error}");
    // Behind -- stands what the training gets.
    let line = [&["--json"], &words[..], &files, &like, &["1", "--batch", "16"]].concat();
    let done = run("lrpet", &line).unwrap();
    let trained: Value = serde_json::from_str(&done.output).expect(&done.errors);
    assert_eq!(trained.pointer("/training/epochs").and_then(Value::as_array).unwrap().len(), 1, "{trained}");
    let weights = out.join("final.safetensors");
    assert_eq!(trained.pointer("/training/weights").and_then(Value::as_str), Some(text(&weights)));
    let bytes = std::fs::read(&weights).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let trained_at: Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["ranks"]).unwrap();
    for layer in trained["layers"].as_array().unwrap().iter().filter(|layer| !layer["rank"].is_null()) {
        assert_eq!(trained_at[layer["name"].as_str().unwrap()], layer["rank"], "{trained_at}");
    }

    let error = refused("lrpet", &[&words[..], &files].concat()).unwrap();
    assert!(error.contains("--latency") && error.contains("--like"), "{error}");
    let error = refused("lrpet", &[&words[..], &files, &["--latency", "1us"]].concat()).unwrap();
    assert!(error.contains("no ranks meet the budget"), "{error}");
    std::fs::write(&costs, "{\"format\":").unwrap();
    let error = refused("lrpet", &[&words[..], &files, &["--like", "0.7"]].concat()).unwrap();
    assert!(error.contains("costs.json") && error.contains("--costs"), "{error}");
}

#[test]
fn the_help_names_what_a_sweep_shares_with_a_training() {
    let help = run("lrpet", &["sweep", "--help"]).unwrap().output;
    for word in [
        "--prune",
        "--boards",
        "--warm-start",
        "--jobs",
        "--epochs",
        "--crop-padding",
        "--seed",
        "qemu-mps2-an386",
    ] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for words in [
        &["sweep", "--net", "resnet8", "--data", "x", "--out", "y", "--prune", "0.5,0.5"][..],
        &["sweep", "--net", "resnet8", "--data", "x", "--out", "y", "--prune", "0", "--warm-lr", "0.1"],
    ] {
        refused("lrpet", words).unwrap();
    }
    let words = ["sweep", "--net", "resnet8", "--data", "x", "--out", "y", "--prune", "0,1"];
    let wrong = run("lrpet", &words).unwrap();
    assert!(wrong.status == 2 && wrong.errors.contains("'1' for '--prune"), "{}", wrong.errors);
    let help = run("lrpet", &["search", "--help"]).unwrap().output;
    for word in ["--from", "--board", "--flash", "--ram", "--latency", "--like", "--costs"] {
        assert!(help.contains(word), "{word}: {help}");
    }
}

/// Layers that are ten times as slow alone as in the network, in the table: no ranks seem possible in the time of uniform ones.
fn uniform_ranks_are_never_out_of_reach(folder: &Path, words: &[&str], costs: &Path) {
    let mut table: Value = serde_json::from_str(&std::fs::read_to_string(costs).unwrap()).unwrap();
    for shape in table["shapes"].as_object_mut().unwrap().values_mut() {
        for count in shape.as_object_mut().unwrap().values_mut() {
            *count = (count.as_u64().unwrap() * 10).into();
        }
    }
    let (slow, ranks) = (folder.join("slow.json"), folder.join("slow.toml"));
    std::fs::write(&slow, table.to_string()).unwrap();
    let files = ["--costs", text(&slow), "--out", text(&ranks), "--like", "0.7"];
    let found = json("lrpet", &[words, &files].concat()).unwrap();
    assert_eq!(found.pointer("/uniform/kept"), Some(&Value::Bool(true)), "{found}");
    assert_eq!(found["latency"], found["uniform"]["latency"], "{found}");
    assert!((found["value"].as_f64().unwrap() - found["uniform"]["value"].as_f64().unwrap()).abs() < 1e-9);
    let error = refused("lrpet", &[words, &files, &["--flash", "20KB"]].concat()).unwrap();
    assert!(error.contains("no ranks meet the budget"), "uniform ranks exceed another limit: {error}");
}
