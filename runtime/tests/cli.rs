//! The program `lrpet-run` as a user runs it.
#![cfg(feature = "cli")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use lrpet_runtime::model::{Activate, Activation, InputKind, Model, Op, OutputKind, Shape};
use serde_json::Value;
use support::{Network, every_op, reference};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lrpet-run")).args(arguments).current_dir(directory).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A `.npy` of version 1.0.
fn npy(dtype: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    header.push_str(&" ".repeat(63 - (header.len() + 10) % 64));
    header.push('\n');
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn commands_give_json_and_exit_codes() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let mut net = every_op(21);
    let file = net.file(3);
    std::fs::write(at.join("model.safetensors"), file.bytes()).unwrap();
    let model = Model::new_checked(file.bytes()).unwrap();
    let check = model.self_check().unwrap();
    let image = check.image(1);

    let report = json(&run(at, &["check", "model.safetensors", "--json"]));
    assert_eq!((&report["samples"], &report["passed"]), (&3.into(), &true.into()));
    let strict = run(at, &["check", "model.safetensors", "--tolerance", "1e-9"]);
    assert_eq!(strict.status.code(), Some(1));
    for nonsense in ["nan", "inf", "-0.1", "x"] {
        let refused = run(at, &["check", "model.safetensors", &format!("--tolerance={nonsense}")]);
        assert_eq!(refused.status.code(), Some(2), "{nonsense}");
    }

    // Bytes, values, and many of them at once give the same logits.
    let values: Vec<u8> = reference::normalise(model.program().header(), image)
        .iter()
        .flat_map(|x| (*x as f32).to_le_bytes())
        .collect();
    let Shape { channels, height, width } = model.program().header().input;
    std::fs::write(at.join("one.raw"), image).unwrap();
    std::fs::write(at.join("values.npy"), npy("<f4", &format!("({channels}, {height}, {width})"), &values))
        .unwrap();
    let two = [image, image].concat();
    std::fs::write(at.join("two.npy"), npy("|u1", &format!("(2, {height}, {width}, {channels})"), &two))
        .unwrap();
    let logits = |input: &str| {
        let report = json(&run(at, &["run", "model.safetensors", "--input", input, "--json", "--top", "2"]));
        assert_eq!(report["images"][0]["top"].as_array().unwrap().len(), 2);
        report["images"].as_array().unwrap().iter().map(|image| image["logits"].clone()).collect::<Vec<_>>()
    };
    let one = logits("one.raw");
    assert_eq!(one, logits("values.npy"));
    assert_eq!(vec![one[0].clone(), one[0].clone()], logits("two.npy"));
    let expected: Vec<f64> = check.logits(1).map(f64::from).collect();
    for (got, want) in one[0].as_array().unwrap().iter().zip(expected) {
        assert!((got.as_f64().unwrap() - want).abs() < 1e-2);
    }

    // In less memory, the same logits to within roundings.
    let rows = json(&run(at, &["check", "model.safetensors", "--ram", "least", "--json"]));
    assert_eq!(rows["passed"], true);
    let arena = |ram: &str| {
        let report =
            json(&run(at, &["info", "model.safetensors", "--isa", "portable", "--ram", ram, "--json"]));
        report["arena_bytes"].as_u64().unwrap()
    };
    assert!(arena("least") < arena("fastest"));
    let timed = |ram: &str| {
        json(&run(
            at,
            &["bench", "model.safetensors", "--json", "--iterations", "1", "--isa", "portable", "--ram", ram],
        ))
    };
    assert_eq!(timed("least")["memory"]["arena_bytes"], arena("least"));
    let small = run(at, &["bench", "model.safetensors", "--ram", "16"]);
    assert!(
        small.status.code() == Some(1) && String::from_utf8_lossy(&small.stderr).contains("16 were given")
    );
    assert_eq!(run(at, &["bench", "model.safetensors", "--ram", "16XB"]).status.code(), Some(2));

    let report =
        json(&run(at, &["bench", "model.safetensors", "--json", "--iterations", "3", "--warm-up", "1"]));
    assert_eq!(report["layers"].as_array().unwrap().len(), net.ops.len());
    assert!(
        report["total"]["median"].as_u64().unwrap() > 0
            && report["memory"]["arena_bytes"].as_u64().unwrap() > 0
    );
    let report = json(&run(at, &["info", "model.safetensors", "--json", "--isa", "cortex-m"]));
    assert_eq!(report["layers"][2]["rank"], 2);
    assert_eq!(report["card"]["format"], "1");
    for command in ["info", "bench", "check"] {
        assert!(run(at, &[command, "model.safetensors"]).status.success(), "{command}");
    }

    // A model of values gives values, not classes.
    let mut map = Network::new(Shape::new(1, 1, 3), 1, 1);
    let activation = Activation::Clip { min: -1.5, max: 2.0 };
    map.push(Op::Activate(Activate { input: 0, activation, slope: None }));
    map.header.kind = InputKind::Values;
    (map.header.output, map.header.classes) = (Shape::new(1, 1, 3), 3);
    (map.header.result, map.header.version) = (OutputKind::Values, 2);
    std::fs::write(at.join("map.safetensors"), map.file(0).bytes()).unwrap();
    let floats: Vec<u8> = [-2.0f32, 0.5, 9.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(at.join("three.npy"), npy("<f4", "(1, 1, 3)", &floats)).unwrap();
    std::fs::write(at.join("three.raw"), [1, 2, 3]).unwrap();
    let report = json(&run(at, &["run", "map.safetensors", "--input", "three.npy", "--json"]));
    assert_eq!(report["images"], serde_json::json!([{ "shape": [1, 1, 3], "values": [-1.5, 0.5, 2.0] }]));
    let text = run(at, &["run", "map.safetensors", "--input", "three.npy"]);
    assert_eq!(String::from_utf8_lossy(&text.stdout), "image 0: 1×1×3: -1.5 0.5 2\n");

    // Failures: exit code 1, one line that names the file.
    std::fs::write(at.join("cut.safetensors"), &file.bytes()[..1000]).unwrap();
    std::fs::write(at.join("short.raw"), &image[1..]).unwrap();
    std::fs::write(at.join("wrong.npy"), npy("<f8", "(1, 1, 1)", &[0; 8])).unwrap();
    std::fs::write(
        at.join("huge.npy"),
        npy("<f4", &format!("(9999999999999, {channels}, {height}, {width})"), &values),
    )
    .unwrap();
    for (arguments, name) in [
        (&["check", "cut.safetensors"][..], "cut.safetensors"),
        (&["bench", "none.safetensors"], "none.safetensors"),
        (&["run", "model.safetensors", "--input", "short.raw"], "short.raw"),
        (&["run", "model.safetensors", "--input", "wrong.npy"], "wrong.npy"),
        (&["run", "model.safetensors", "--input", "huge.npy"], "huge.npy"),
        (&["run", "map.safetensors", "--input", "three.raw"], "three.raw: image 0: the model takes values"),
        (&["run", "model.safetensors", "--input", "cut.safetensors"], "cut.safetensors"),
    ] {
        let output = run(at, arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.starts_with("error: ") && text.contains(name) && text.lines().count() == 1, "{text}");
    }
    for arguments in [
        &["frobnicate"][..],
        &["run", "model.safetensors"],
        &["bench", "model.safetensors", "--iterations", "0"],
    ] {
        assert_eq!(run(at, arguments).status.code(), Some(2));
    }
}
