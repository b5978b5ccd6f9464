//! `lrpet eval`: what it says of classes and of single images, and what it refuses to compare.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use lrpet_runtime::model::Shape;
use lrpet_tests::programs::{json, number, python, refused, run};
use lrpet_tests::random_model::small_model;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

const FASHION: &str = "models/fashion-mnist-resnet8-g0.6.safetensors";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The lines of a table of comma-separated values, as another program reads them.
fn table(file: &Path) -> Vec<Vec<String>> {
    let script = "import csv, json, sys; print(json.dumps(list(csv.reader(open(sys.argv[1], newline='')))))";
    let output = Command::new(python().unwrap()).args(["-c", script]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn counts(document: &Value) -> Vec<Vec<u64>> {
    serde_json::from_value(document["confusion"].clone()).unwrap()
}

#[test]
fn classes_and_mistakes_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let [page, wrong] = ["page.html", "wrong.csv"].map(|name| folder.path().join(name));
    let arguments = ["eval", FASHION, "--data", "fashion-mnist", "--limit", "400"];
    let files = ["--page", text(&page), "--wrong", text(&wrong)];
    let found = json("lrpet", &[&arguments[..], &files].concat()).unwrap();
    let matrix = counts(&found);
    assert_eq!(matrix.len(), 10);
    let all: u64 = matrix.iter().flatten().sum();
    let right: u64 = (0..10).map(|class| matrix[class][class]).sum();
    assert_eq!((all, Some(right)), (400, found["correct"].as_u64()));
    assert_eq!(number(&found, "accuracy").unwrap(), right as f64 / 400.0);
    let top5 = number(&found, "top5").unwrap();
    assert!(top5 > 0.97 && top5 >= right as f64 / 400.0, "{top5}");
    for (class, row) in found["classes"].as_array().unwrap().iter().zip(&matrix) {
        assert_eq!(class["images"], row.iter().sum::<u64>(), "{class}");
    }
    // Shirts are the class that is mistaken most often, as everywhere with this data set.
    let shirt = number(&found, "classes.6.accuracy").unwrap();
    let others = (0..10).map(|class| number(&found, &format!("classes.{class}.accuracy")).unwrap());
    assert!(found["classes"][6]["name"] == "Shirt" && others.fold(1.0, f64::min) == shirt);

    let lines = table(&wrong);
    assert_eq!(lines[0], ["image", "class", "said", "probability"]);
    assert_eq!(lines.len() as u64 - 1, all - right);
    for line in &lines[1..] {
        assert!(line[0].parse::<usize>().unwrap() < 400 && line[1] != line[2], "{line:?}");
        // The answer of ten classes is no less probable than a tenth.
        assert!((0.1..=1.0).contains(&line[3].parse::<f64>().unwrap()), "{line:?}");
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("Shirt taken for ") && page.contains("--limit 400"), "{page}");
    assert!(!page.contains("<script") && page.matches("</td>").count() >= 100);

    let words = run("lrpet", &arguments).unwrap().output;
    let line =
        words.lines().find(|line| line.starts_with("6      Shirt")).unwrap_or_else(|| panic!("{words}"));
    assert!(line.contains(&format!("{:.2} %", 100.0 * shirt)), "{words}");
}

#[test]
fn files_of_any_name_are_listed_and_classes_without_images_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.safetensors");
    std::fs::write(&model, small_model(Shape::new(1, 8, 8), 6, 6).unwrap()).unwrap();
    let set = folder.path().join("set");
    let names = ["a, b.png", "say \"b\".png", "two\nlines.png"];
    for class in ["bus, red", "cat", "dog", "eel", "fox", "gnu"] {
        std::fs::create_dir_all(set.join(class)).unwrap();
        for (at, name) in names.iter().enumerate() {
            image::GrayImage::from_pixel(8, 8, image::Luma([60 * at as u8]))
                .save(set.join(class).join(name))
                .unwrap();
        }
    }
    let wrong = folder.path().join("wrong.csv");
    let arguments = ["eval", text(&model), "--data", text(&set), "--wrong", text(&wrong)];
    let found = json("lrpet", &arguments).unwrap();
    let listed = table(&wrong);
    assert_eq!(listed.len() as u64 - 1, 18 - found["correct"].as_u64().unwrap());
    for line in &listed[1..] {
        let file = Path::new(&line[0]);
        assert!(file.is_file(), "{line:?}");
        assert_eq!(file.parent().unwrap().file_name().unwrap().to_str().unwrap(), line[1]);
    }
    for name in names {
        assert!(listed.iter().any(|line| line[0].ends_with(name)), "{name:?}: {listed:?}");
    }
    assert!(listed.iter().any(|line| line[1] == "bus, red"), "{listed:?}");
    // Two of six classes have an image.
    let limited = [&arguments[..4], &["--limit", "2"]].concat();
    let done = run("lrpet", &limited).unwrap();
    assert!(
        done.output.contains("No test image of classes dog, eel, fox, gnu"),
        "{}{}",
        done.output,
        done.errors
    );
    let found = json("lrpet", &limited).unwrap();
    assert_eq!((&found["classes"][2]["images"], &found["classes"][2]["accuracy"]), (&0.into(), &Value::Null));
}

#[test]
fn images_of_other_classes_are_refused() {
    let nowhere = tempfile::tempdir().unwrap();
    let mnist = ["--data", "mnist", "--data-dir", text(nowhere.path())];
    let error = refused("lrpet", &[&["eval", FASHION], &mnist[..]].concat()).unwrap();
    for part in ["mnist: other classes", FASHION, "trained on fashion-mnist", "Trouser", "--other-classes"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // All the same: then only the files are missing.
    let error = refused("lrpet", &[&["eval", FASHION, "--other-classes"], &mnist[..]].concat()).unwrap();
    assert!(error.contains("lrpet data get mnist"), "{error}");

    let weights = [0; 4];
    let tensor = TensorView::new(Dtype::F32, vec![1], &weights).unwrap();
    let said = [
        ("network", "resnet8"),
        ("dataset", "mnist"),
        ("class_names", "[\"0\",\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"),
    ];
    let said: HashMap<_, _> = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let checkpoint = nowhere.path().join("digits.safetensors");
    std::fs::write(&checkpoint, safetensors::serialize([("conv1.weight", tensor)], Some(said)).unwrap())
        .unwrap();
    let out = nowhere.path().join("out.safetensors");
    let fashion = ["--data", "fashion-mnist", "--out", text(&out)];
    let error = refused("lrpet", &[&["factorize", text(&checkpoint)], &fashion[..]].concat()).unwrap();
    assert!(error.contains("other classes") && error.contains("trained on mnist"), "{error}");
    let all_the_same = [&["factorize", text(&checkpoint), "--other-classes"], &fashion[..]].concat();
    let error = refused("lrpet", &all_the_same).unwrap();
    assert!(!error.contains("other classes"), "{error}");
}
