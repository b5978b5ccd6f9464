//! Files of networks with several outputs.

use lrpet_runtime::model::Shape;

use super::read;
use crate::network::Network;

/// Two heads and what they read, which is an output too.
const HEADS: &str = r#"version = 1
name = "heads"
[input]
channels = 3
height = 8
width = 8
[output]
kind = "values"
layers = ["map", "input", "stem", "scores"]
[[layer]]
op = "conv"
name = "stem"
out = 4
kernel = 3
[[layer]]
op = "conv"
name = "map"
out = 2
kernel = 1
[[layer]]
op = "global_average_pool"
name = "scores"
input = "stem"
"#;

#[test]
fn several_outputs_are_listed() {
    let network = read(HEADS).unwrap();
    let shapes = [Shape::new(2, 6, 6), Shape::new(3, 8, 8), Shape::new(4, 6, 6), Shape::vector(4)];
    let all: Vec<Shape> = network.outputs().into_iter().map(|(_, shape)| shape).collect();
    let names = |network: &Network| network.outputs().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(
        (all, names(&network)),
        (shapes.to_vec(), ["map", "input", "stem", "scores"].map(String::from).to_vec())
    );
    assert_eq!(network.classes as usize, shapes.iter().map(Shape::len).sum::<usize>());
    assert_eq!((network.layers.len(), network.computing_layers().len()), (4, 3));
    assert_eq!(read(&network.to_text()).unwrap(), network);
    let named =
        HEADS.replace("\"scores\"]\n", "\"scores\"]\nnames = [\"boxes\", \"x\", \"features, all\", \"s\"]\n");
    let named = read(&named).unwrap();
    assert_eq!(names(&named), ["boxes", "x", "features, all", "s"]);
    assert_eq!(read(&named.to_text()).unwrap(), named);
    // Names change no function, other outputs do.
    assert_eq!(named.function_text(), network.function_text());
    let fewer = read(&HEADS.replace("\"input\", ", "")).unwrap();
    assert_ne!(fewer.function_text(), network.function_text());

    let refused = |from: &str, to: &str, expected: &str| {
        assert!(HEADS.contains(from), "{from}");
        let error = read(&HEADS.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains("line 9") || error.contains("line 7") || error.contains("line 10"), "{error}");
        assert!(error.contains(expected), "{error}, not {expected}");
    };
    let list = "[\"map\", \"input\", \"stem\", \"scores\"]";
    refused(list, "[\"map\", \"stem\", \"map\", \"scores\"]", "`layers`: the output `map` is there twice");
    refused(list, "[\"map\", \"stam\", \"scores\"]", "no layer is called `stam` (did you mean `stem`?)");
    refused(list, "[\"scores\"]", "there must be 2 to 64");
    refused(list, "[]", "there must be 2 to 64");
    refused(list, "\"map\"", "a list of names");
    refused("kind = \"values\"", "classes = 5", "several outputs are values");
    let names = |names: &str| HEADS.replace(list, &format!("{list}\nnames = {names}"));
    for (names, expected) in [
        (names("[\"a\"]"), "one for each of `layers`"),
        (names("[\"a\", \"b\", \"c\", \"a\"]"), "two outputs have one name"),
        (names("[\"a\", \"b\", \"c\", \"\"]"), "a name has 1 to 200 bytes"),
    ] {
        let error = read(&names).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("line 10"), "{error}");
    }
    // What nothing reads may be an output that was forgotten.
    let error = read(&HEADS.replace(list, "[\"input\", \"scores\"]")).unwrap_err().to_string();
    assert!(error.contains("layer \"map\"") && error.contains("[output] lists several"), "{error}");
}
