//! `lrpet schedule`: what a model can run in, and the model written so.

use lrpet_tests::programs::{json, number, refused, root, run};

const MODEL: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

#[test]
fn a_model_is_written_for_the_memory_that_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("small.safetensors");
    let out = out.to_str().unwrap();
    let svg = folder.path().join("rows.svg");
    let draw = ["--svg", svg.to_str().unwrap()];
    let found =
        json("lrpet", &[&["schedule", MODEL, "--ram", "33KB", "--out", out], &draw[..]].concat()).unwrap();
    assert!(std::fs::read_to_string(&svg).unwrap().contains("layer3.0.conv1"));
    let schedules = found["schedules"].as_array().unwrap();
    let arena = |at: usize| number(&schedules[at], "arena_bytes").unwrap();
    assert_eq!(schedules[0]["stretches"].as_array().unwrap().len(), 0);
    assert!((1..schedules.len()).all(|at| arena(at) < arena(at - 1)));
    let chosen: Vec<usize> = (0..schedules.len()).filter(|&at| schedules[at]["chosen"] == true).collect();
    let [chosen] = chosen[..] else { panic!("{found}") };
    assert!(arena(chosen) <= 33.0 * 1024.0 && (chosen == 0 || arena(chosen - 1) > 33.0 * 1024.0), "{found}");
    // What the file says is what was shown, and the card is the same.
    let inspected = json("lrpet", &["inspect", out]).unwrap();
    assert_eq!(number(&inspected, "arena_bytes").unwrap(), arena(chosen));
    let before = json("lrpet", &["inspect", MODEL]).unwrap();
    assert_eq!((&inspected["card"], &inspected["layers"]), (&before["card"], &before["layers"]));
    // Layer by layer again, it is the file that it was.
    let back = folder.path().join("back.safetensors");
    json("lrpet", &["schedule", out, "--ram", "fastest", "--out", back.to_str().unwrap()]).unwrap();
    assert_eq!(std::fs::read(back).unwrap(), std::fs::read(root().join(MODEL)).unwrap());
}

#[test]
fn a_model_is_timed_in_the_memory_that_there_is() {
    let bench = |more: &[&str]| {
        json("lrpet", &[&["bench", MODEL, "--iterations", "3", "--warm-up", "0"], more].concat()).unwrap()
    };
    let arena = |run: &serde_json::Value| number(run, "memory.arena_bytes").unwrap();
    let [layers, fastest, least] = [&[][..], &["--ram", "fastest"], &["--ram", "least"]].map(bench);
    assert!(arena(&fastest) == arena(&layers) && arena(&least) * 2.0 < arena(&layers), "{least}");
    for run in [&layers, &fastest, &least] {
        assert_eq!((&run["model"]["file"], &run["self_check"]["passed"]), (&MODEL.into(), &4.into()));
    }
    assert_ne!(least["model"]["crc32"], layers["model"]["crc32"], "what ran has another schedule");
    assert_eq!(fastest["model"]["crc32"], layers["model"]["crc32"]);
    // Each of several, in turns.
    let both = bench(&["models/fashion-mnist-resnet8-dense.safetensors", "--ram", "200KB"]);
    for run in both["runs"].as_array().unwrap() {
        assert!(arena(run) <= 200.0 * 1024.0, "{run}");
    }
    let error = refused("lrpet", &["bench", MODEL, "--ram", "3KB"]).unwrap();
    assert!(error.contains("3072 were given") && error.contains(MODEL), "{error}");
    let wrong = run("lrpet", &["bench", MODEL, "--ram", "0KB"]).unwrap();
    assert!(wrong.status == 2 && wrong.errors.contains("32KB"), "{}", wrong.errors);
}

#[test]
fn what_cannot_be_is_refused() {
    let error = |more: &[&str]| refused("lrpet", &[&["schedule", MODEL], more].concat()).unwrap();
    assert!(error(&["--ram", "20KB"]).contains("needs less than"));
    assert!(error(&["--ram", "20KB"]).contains("20480 were given"));
    let wrong = run("lrpet", &["schedule", MODEL, "--ram", "little"]).unwrap();
    assert!(wrong.status == 2 && wrong.errors.contains("32KB"), "{}", wrong.errors);
    assert!(error(&["--ram", "least", "--out", MODEL]).contains("it would be replaced"));
}
