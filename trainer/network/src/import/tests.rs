//! Files that are made here: good ones, and such as break the rules.

use prost::Message;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{ImportError, Imported, Options, import};
use crate::network::{InputKind, OutputKind};
use crate::onnx::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, Kind, Length, ModelProto, NodeProto,
    OperatorSetIdProto, StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto,
    ValueInfoProto,
};
use lrpet_runtime::model::{Activation, Op};

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    let r#type = Some(AttributeType::Ints.into());
    AttributeProto { name: Some(name.into()), ints: values.to_vec(), r#type, ..AttributeProto::default() }
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    let input = inputs.iter().map(|name| (*name).to_owned()).collect();
    NodeProto {
        input,
        output: vec![output.into()],
        name: Some(format!("the {output}")),
        op_type: Some(operator.into()),
        attribute,
        ..NodeProto::default()
    }
}

fn weight(name: &str, dims: &[i64], value: impl Fn(usize) -> f32) -> TensorProto {
    let count = dims.iter().product::<i64>() as usize;
    let raw: Vec<u8> = (0..count).flat_map(|at| value(at).to_le_bytes()).collect();
    TensorProto {
        dims: dims.to_vec(),
        data_type: Some(DataType::Float.into()),
        name: Some(name.into()),
        raw_data: Some(raw.into()),
        ..TensorProto::default()
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = dims.iter().map(|&dim| DimensionProto { value: Some(Length::DimValue(dim)) }).collect();
    let tensor = TensorTypeProto { elem_type: Some(1), shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { value: Some(Kind::TensorType(tensor)) });
    ValueInfoProto { name: Some(name.into()), r#type, ..ValueInfoProto::default() }
}

fn model(node: Vec<NodeProto>, initializer: Vec<TensorProto>, input: &[i64], output: &str) -> ModelProto {
    let graph = GraphProto {
        node,
        initializer,
        input: vec![value("x", input)],
        output: vec![value(output, &[1, 2])],
        ..GraphProto::default()
    };
    ModelProto {
        opset_import: vec![OperatorSetIdProto { domain: None, version: Some(13) }],
        graph: Some(graph),
        ..ModelProto::default()
    }
}

/// Convolution, batch normalisation, residual sum, ReLU, mean, linear.
fn small() -> ModelProto {
    let pads = || vec![ints("pads", &[1, 1, 1, 1])];
    let nodes = vec![
        node("Conv", &["x", "a.weight"], "a", pads()),
        node("Conv", &["a", "b.weight"], "b", pads()),
        node("BatchNormalization", &["b", "n.weight", "n.bias", "n.mean", "n.var"], "c", vec![]),
        node("Add", &["c", "a"], "d", vec![]),
        node("Relu", &["d"], "e", vec![]),
        node("GlobalAveragePool", &["e"], "f", vec![]),
        node("Flatten", &["f"], "g", vec![]),
        node(
            "Gemm",
            &["g", "fc.weight", "fc.bias"],
            "y",
            vec![AttributeProto {
                i: Some(1),
                r#type: Some(AttributeType::Int.into()),
                ..ints("transB", &[])
            }],
        ),
    ];
    let some = |at: usize| (at % 7) as f32 / 7.0 - 0.3;
    let weights = vec![
        weight("a.weight", &[4, 3, 3, 3], some),
        weight("b.weight", &[4, 4, 3, 3], some),
        weight("n.weight", &[4], |_| 1.0),
        weight("n.bias", &[4], |_| 0.1),
        weight("n.mean", &[4], |_| 0.2),
        weight("n.var", &[4], |_| 0.5),
        weight("fc.weight", &[2, 4], some),
        weight("fc.bias", &[2], some),
    ];
    model(nodes, weights, &[1, 3, 6, 5], "y")
}

fn imported(model: &ModelProto) -> Result<Imported, ImportError> {
    written(&model.encode_to_vec())
}

fn written(bytes: &[u8]) -> Result<Imported, ImportError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    std::fs::write(&path, bytes).unwrap();
    import(&path, &Options::default())
}

fn from_memory(bytes: Vec<u8>) -> Result<Imported, super::Problem> {
    super::import_bytes(bytes.into(), "model", None, &Options::default())
}

fn refused(model: &ModelProto) -> String {
    let error = imported(model).unwrap_err().to_string();
    assert!(error.contains("model.onnx"), "{error}");
    error
}

#[test]
fn a_residual_block_is_two_convolutions_and_a_linear_layer() {
    let Imported { network, checkpoint, report } = imported(&small()).unwrap();
    let names: Vec<&str> = network.layers.iter().map(|layer| layer.op.name()).collect();
    assert_eq!(names, ["a", "b", "global average pool", "fc"]);
    let Op::Conv(conv) = &network.layers[1].op else { panic!("{:?}", network.layers[1]) };
    assert_eq!((conv.residual, conv.activation), (Some(1), Activation::Relu));
    // The normalisation stays with its convolution, so that it can be trained.
    let norm = network.layers[1].norm.as_ref().unwrap();
    assert_eq!((norm.name.as_str(), norm.epsilon, norm.momentum), ("n", 1e-5, 0.1));
    assert_eq!(checkpoint.values("n.running_var").unwrap(), [0.5; 4]);
    assert_eq!(
        (network.input_kind, network.output_kind, network.classes),
        (InputKind::Values, OutputKind::Classes, 2)
    );
    assert_eq!((report.nodes, report.operations), (8, 4));
}

/// The same with other outputs.
fn with_outputs(names: &[&str]) -> ModelProto {
    let mut model = small();
    let graph = model.graph.as_mut().unwrap();
    graph.node.push(node("Identity", &["e"], "again", vec![]));
    graph.node.push(node("Identity", &["a.weight"], "fixed", vec![]));
    graph.output = names.iter().map(|name| value(name, &[])).collect();
    model
}

#[test]
fn a_graph_of_several_outputs_is_a_network_of_them() {
    // The sum of the block and what it adds to: neither may disappear into the other.
    let Imported { network, report, .. } = imported(&with_outputs(&["y", "d", "a", "e"])).unwrap();
    let kinds: Vec<&str> = network.layers.iter().map(|layer| layer.op.kind()).collect();
    let all = ["convolution", "convolution", "activation", "global average pool", "linear", "outputs"];
    assert_eq!(kinds, all);
    assert_eq!(
        (network.output_kind, network.output_values().unwrap()),
        (OutputKind::Values, &[5, 2, 1, 3][..])
    );
    let outputs = network.outputs();
    let names: Vec<&str> = outputs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, outputs[1].1.axes()), (vec!["y", "d", "a", "e"], [4, 6, 5]));
    assert_eq!(report.outputs, ["y", "d", "a", "e"]);
    assert_eq!(crate::Network::from_text("again", &network.to_text()).unwrap(), network);

    // One value under two names, and the input itself.
    let Imported { network, report, .. } = imported(&with_outputs(&["e", "again", "x"])).unwrap();
    assert!(network.output_names == ["e", "again", "x"] && report.notes.is_empty(), "{:?}", report.notes);
    let kinds: Vec<&str> = network.layers.iter().map(|layer| layer.op.kind()).collect();
    assert_eq!(kinds, ["convolution", "convolution", "reshape", "outputs"]);
    assert_eq!(network.output_values().unwrap(), [2, 3, 0]);

    // A name that no file of a network can have.
    let mut odd = with_outputs(&["e", "a\nb"]);
    odd.graph.as_mut().unwrap().node.push(node("Identity", &["d"], "a\nb", vec![]));
    let Imported { network, report, .. } = imported(&odd).unwrap();
    assert!(network.output_names.is_empty(), "{:?}", network.output_names);
    assert!(report.notes.iter().any(|note| note.contains("outputs are not kept")), "{:?}", report.notes);

    let fixed = refused(&with_outputs(&["y", "fixed"]));
    assert!(fixed.contains("`fixed` does not depend on its input"), "{fixed}");
    let twice = refused(&with_outputs(&["y", "y"]));
    assert!(twice.contains("its output `y` is there twice"), "{twice}");
    let none = refused(&with_outputs(&[]));
    assert!(none.contains("it has no output"), "{none}");
    let same = refused(&with_outputs(&["x"]));
    assert!(same.contains("its output is its input"), "{same}");
}

#[test]
fn every_node_that_is_in_the_way_is_named() {
    let nodes = vec![
        node("LRN", &["x"], "a", vec![]),
        node("LSTM", &["x"], "b", vec![]),
        node("Add", &["a", "b"], "y", vec![]),
    ];
    let error = refused(&model(nodes, vec![], &[1, 3, 4, 4], "y"));
    assert!(
        error.contains("2 of its nodes") && error.contains("LRN `the a`") && error.contains("LSTM `the b`"),
        "{error}"
    );
}

#[test]
fn broken_graphs_are_refused_with_what_is_wrong() {
    let change = |change: &dyn Fn(&mut GraphProto)| {
        let mut model = small();
        change(model.graph.as_mut().unwrap());
        refused(&model)
    };
    let cyclic = change(&|graph| graph.node[0].input[0] = "e".into());
    assert!(cyclic.contains("cyclic"), "{cyclic}");
    let missing = change(&|graph| drop(graph.initializer.remove(1)));
    assert!(missing.contains("`b.weight` (for `the b`)"), "{missing}");
    let short = change(&|graph| graph.initializer[0].dims[0] = 5);
    assert!(short.contains("`a.weight`") && short.contains("432 bytes where"), "{short}");
    let huge = change(&|graph| graph.initializer[0].dims = vec![i64::MAX, i64::MAX]);
    assert!(huge.contains("too large"), "{huge}");
    let channels = change(&|graph| graph.initializer[1].dims = vec![2, 8, 3, 3]);
    assert!(channels.contains("Conv `the b`") && channels.contains("4 channels"), "{channels}");
    let nan = change(&|graph| graph.initializer[7] = weight("fc.bias", &[2], |_| f32::NAN));
    assert!(nan.contains("no finite numbers") && nan.contains("fc.bias"), "{nan}");
    let twice = change(&|graph| graph.node[1].output[0] = "a".into());
    assert!(twice.contains("made twice"), "{twice}");
    let free = change(&|graph| graph.input[0].r#type = None);
    assert!(free.contains("--input x=1x3x224x224"), "{free}");
    let output = change(&|graph| graph.output[0].name = Some("z".into()));
    assert!(output.contains("`z`"), "{output}");
    let small_image = change(&|graph| graph.node[0].attribute[0] = ints("pads", &[0, 0, 0, -4]));
    assert!(small_image.contains("pads"), "{small_image}");
}

#[test]
fn weights_outside_of_the_models_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    let bytes: Vec<u8> = (0..108).flat_map(|at: u32| (at as f32 / 108.0).to_le_bytes()).collect();
    std::fs::write(folder.path().join("w.bin"), &bytes).unwrap();
    std::fs::write(inner.join("w.bin"), &bytes).unwrap();
    let path = inner.join("model.onnx");
    let read = |location: &str, length: &str| {
        let mut model = small();
        let tensor = &mut model.graph.as_mut().unwrap().initializer[0];
        let entry = |key: &str, value: &str| StringStringEntryProto {
            key: Some(key.into()),
            value: Some(value.into()),
        };
        (tensor.raw_data, tensor.data_location) = (None, Some(1));
        tensor.external_data =
            vec![entry("location", location), entry("offset", "0"), entry("length", length)];
        std::fs::write(&path, model.encode_to_vec()).unwrap();
        import(&path, &Options::default()).map_err(|error| error.to_string())
    };
    let found = read("w.bin", "432").unwrap();
    assert_eq!(found.checkpoint.values("a.weight").unwrap()[54], 0.5);
    let outside = folder.path().join("w.bin").display().to_string();
    for location in ["../w.bin", "sub/../../w.bin", outside.as_str()] {
        assert!(read(location, "432").unwrap_err().contains("outside the model's folder"), "{location}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(folder.path().join("w.bin"), inner.join("link.bin")).unwrap();
        assert!(read("link.bin", "432").unwrap_err().contains("outside the model's folder"));
    }
    assert!(read("none.bin", "432").unwrap_err().contains("none.bin"));
    assert!(read("w.bin", "4").unwrap_err().contains("external length of 4"));
    std::fs::write(inner.join("w.bin"), &bytes[1..]).unwrap();
    assert!(read("w.bin", "432").unwrap_err().contains("has 431"));
}

#[test]
fn damaged_files_end_in_an_error_or_in_a_network() {
    let whole = small().encode_to_vec();
    for length in (0..whole.len()).step_by(2) {
        let cut = from_memory(whole[..length].to_vec());
        assert!(cut.is_err(), "{length} of {} bytes", whole.len());
    }
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut errors, runs) = (0, 2500);
    for _ in 0..runs {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..6) {
            let at = rng.random_range(0..bytes.len());
            match rng.random_range(0..4) {
                0 => bytes[at] = rng.random(),
                1 => bytes[at] ^= 1 << rng.random_range(0..8),
                2 => drop(bytes.remove(at)),
                _ => bytes.insert(at, rng.random()),
            }
        }
        errors += i32::from(from_memory(bytes).is_err());
    }
    // Some only change a weight or a name.
    assert!(errors > runs / 2, "{errors} of {runs}");
}

/// Another graph: a value read elsewhere, a weight of other axes or none, another operator or attribute, a node less or twice.
fn contradict(graph: &mut GraphProto, rng: &mut ChaCha8Rng) {
    let at = rng.random_range(0..graph.node.len());
    let weight = rng.random_range(0..graph.initializer.len());
    let values: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let other = rng.random_range(0..values.len());
    match rng.random_range(0..9) {
        0 => {
            let place = rng.random_range(0..graph.node[at].input.len());
            graph.node[at].input[place] = values[other].clone();
        }
        1 => graph.node[at].output[0] = values[other].clone(),
        2 => drop(graph.node.remove(at)),
        3 => graph.node.push(graph.node[at].clone()),
        4 => drop(graph.initializer.remove(weight)),
        5 => {
            let dims = &mut graph.initializer[weight].dims;
            let axis = rng.random_range(0..dims.len());
            dims[axis] = [0, -1, 1, 7, 1 << 20, i64::MAX, i64::MIN][rng.random_range(0..7)];
        }
        6 => graph.initializer[weight].dims.reverse(),
        7 => {
            let operators = ["Conv", "Gemm", "MatMul", "Flatten", "Concat", "MaxPool", "Slice", "Reshape"];
            graph.node[at].op_type = Some(operators[rng.random_range(0..operators.len())].into());
        }
        _ => {
            let names = ["pads", "strides", "dilations", "kernel_shape", "axes", "perm", "starts", "ends"];
            let numbers = [i64::MIN, -3, -1, 0, 1, 2, 5, 1 << 33, i64::MAX];
            let values: Vec<i64> =
                (0..rng.random_range(0..5)).map(|_| numbers[rng.random_range(0..9)]).collect();
            graph.node[at].attribute.push(ints(names[rng.random_range(0..8)], &values));
        }
    }
}

#[test]
fn graphs_that_contradict_themselves_end_in_an_error_or_in_a_network() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (mut errors, runs) = (0, 4000);
    for _ in 0..runs {
        let mut model = small();
        for _ in 0..rng.random_range(1..4) {
            let graph = model.graph.as_mut().unwrap();
            if graph.node.len() > 1 && graph.initializer.len() > 1 {
                contradict(graph, &mut rng);
            }
        }
        match from_memory(model.encode_to_vec()) {
            Ok(imported) => assert!(imported.network.value_shapes().is_some(), "a network without shapes"),
            Err(_) => errors += 1,
        }
    }
    // Some only take away what nothing needs, or write what is so already.
    assert!(errors > runs / 2 && errors < runs, "{errors} of {runs}");
}
