//! The structure of what is written; that it computes the runtime's logits is a whole-path test.

use std::collections::BTreeSet;
use std::path::Path;

use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::model::Op;

use super::proto::{NodeProto, TensorProto};
use super::*;

fn kept(name: &str) -> AlignedBytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
    AlignedBytes::copy_of(&std::fs::read(path).unwrap())
}

/// A model file as ONNX, read back.
fn converted(name: &str, options: Options) -> (usize, ModelProto) {
    let bytes = kept(name);
    let converted = convert(&Model::new_checked(bytes.as_slice()).unwrap(), options).unwrap();
    (converted.bytes.len(), ModelProto::decode(&converted.bytes[..]).unwrap())
}

const DENSE: &str = "fashion-mnist-resnet8-dense.safetensors";
const LOW_RANK: &str = "fashion-mnist-resnet8-g0.6.safetensors";

fn find<'a>(graph: &'a GraphProto, name: &str) -> &'a NodeProto {
    graph.node.iter().find(|node| node.name.as_deref() == Some(name)).unwrap()
}

fn constant<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    graph.initializer.iter().find(|constant| constant.name.as_deref() == Some(name)).unwrap()
}

fn numbers<'a>(node: &'a NodeProto, name: &str) -> &'a [i64] {
    &node.attribute.iter().find(|attribute| attribute.name.as_deref() == Some(name)).unwrap().ints
}

#[test]
fn a_pair_is_two_convolutions() {
    let bytes = kept(LOW_RANK);
    let model = Model::new_checked(bytes.as_slice()).unwrap();
    let is = |layer: &lrpet_runtime::model::LayerInfo<'_>| matches!(layer.op, Op::Conv(conv) if conv.name == "layer2.0.conv1");
    let layer = model.program().layers().find(is).unwrap();
    let (_, file) = converted(LOW_RANK, Options::default());
    let graph = file.graph.unwrap();
    let name = format!("layer2.0.conv1:{}", layer.index);
    let thin = find(&graph, &format!("{name}.thin"));
    let expand = find(&graph, &format!("{name}.conv"));
    let relu = find(&graph, &name);
    let operators = [thin, expand, relu].map(|node| node.op_type.as_deref().unwrap());
    assert_eq!(operators, ["Conv", "Conv", "Relu"]);
    assert_eq!(thin.input[1..], ["layer2.0.conv1.thin.weight"]);
    assert_eq!(expand.input[1..], ["layer2.0.conv1.expand.weight", "layer2.0.conv1.expand.bias"]);
    assert_eq!((&expand.input[0], &relu.input[0]), (&thin.output[0], &expand.output[0]));
    assert_eq!((numbers(thin, "kernel_shape"), numbers(thin, "strides")), (&[3, 3][..], &[2, 2][..]));
    assert_eq!(numbers(thin, "pads"), [1; 4]);
    assert_eq!((numbers(expand, "kernel_shape"), numbers(expand, "pads")), (&[1, 1][..], &[0; 4][..]));
    let weight = constant(&graph, "layer2.0.conv1.thin.weight");
    assert_eq!(weight.dims[1..], [16, 3, 3]);
    assert_eq!(weight.raw_data.as_ref().unwrap().len() as i64, 4 * weight.dims.iter().product::<i64>());
}

#[test]
fn every_name_is_made_once_and_before_it_is_read() {
    for (model, input) in [(DENSE, Input::Image), (LOW_RANK, Input::Values)] {
        for f16_weights in [false, true] {
            let (_, file) = converted(model, Options { input, f16_weights, ..Options::default() });
            let graph = file.graph.unwrap();
            let mut known = BTreeSet::from([input.name()]);
            for constant in &graph.initializer {
                assert!(known.insert(constant.name.as_deref().unwrap()));
            }
            let constants = known.len();
            let mut read = BTreeSet::new();
            for node in &graph.node {
                assert!(node.input.iter().all(|name| known.contains(name.as_str())), "{node:?}");
                read.extend(node.input.iter().map(String::as_str));
                assert!(known.insert(&node.output[0]), "{node:?}");
            }
            assert!(known.len() > constants && known.remove(LOGITS));
            assert_eq!(known, read, "everything but the logits is read");
        }
    }
}

#[test]
fn the_file_says_what_goes_in_and_out() {
    let (_, file) = converted(LOW_RANK, Options::default());
    assert_eq!(file.opset_import[0].version, Some(13));
    let metadata = |key: &str| {
        let entry = file.metadata_props.iter().find(|entry| entry.key.as_deref() == Some(key));
        entry.and_then(|entry| entry.value.clone()).unwrap()
    };
    assert_eq!(metadata("network"), "resnet8");
    assert!(metadata("classes").contains("Trouser"), "{}", metadata("classes"));
    let graph = file.graph.as_ref().unwrap();
    let axes = |value: &ValueInfoProto| {
        let Some(Kind::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.clone()) else {
            panic!("{value:?} has no type")
        };
        let dim = tensor.shape.unwrap().dim;
        let length = |axis: &DimensionProto| match axis.value.clone().unwrap() {
            Length::DimValue(length) => length.to_string(),
            Length::DimParam(name) => name,
        };
        (tensor.elem_type.unwrap(), dim.iter().map(length).collect::<Vec<_>>().join("×"))
    };
    assert_eq!(axes(&graph.input[0]), (DataType::Uint8 as i32, "1×28×28×1".to_owned()));
    assert_eq!(axes(&graph.output[0]), (DataType::Float as i32, "1×10".to_owned()));
    let about = graph.doc_string.as_deref().unwrap();
    assert!(about.contains("u8 [1, 28, 28, 1]") && about.contains("Trouser"), "{about}");
    let (_, file) = converted(LOW_RANK, Options { input: Input::Values, ..Options::default() });
    let graph = file.graph.as_ref().unwrap();
    assert_eq!(axes(&graph.input[0]), (DataType::Float as i32, "1×1×28×28".to_owned()));
}

#[test]
fn the_first_axis_is_as_long_as_asked_for_or_free() {
    for (text, expected) in [("1", "1"), ("8", "8"), ("dynamic", "batch")] {
        let batch: Batch = text.parse().unwrap();
        let (_, file) = converted(LOW_RANK, Options { batch, ..Options::default() });
        let graph = file.graph.as_ref().unwrap();
        assert!(graph.doc_string.as_deref().unwrap().contains(&format!("u8 [{expected}, 28, 28, 1]")));
        for value in [&graph.input[0], &graph.output[0]] {
            let Some(Kind::TensorType(tensor)) = value.r#type.as_ref().and_then(|kind| kind.value.clone())
            else {
                panic!("{value:?} has no type")
            };
            let first = match tensor.shape.unwrap().dim[0].value.clone().unwrap() {
                Length::DimValue(length) => length.to_string(),
                Length::DimParam(name) => name,
            };
            assert_eq!(first, expected, "{value:?}");
        }
        // An operation that states the shape of a result could state a number of images.
        assert!(graph.node.iter().all(|node| node.op_type.as_deref() != Some("Reshape")));
    }
    for wrong in ["0", "-1", "many", ""] {
        assert!(wrong.parse::<Batch>().unwrap_err().contains("dynamic"), "{wrong}");
    }
}

#[test]
fn f16_weights_take_half_of_the_file() {
    let (wide, _) = converted(DENSE, Options::default());
    let (half, file) = converted(DENSE, Options { f16_weights: true, ..Options::default() });
    assert!(half * 100 < wide * 55, "{half} of {wide} bytes");
    let graph = file.graph.unwrap();
    let weight = constant(&graph, "conv1.weight");
    assert_eq!(weight.data_type, Some(DataType::Float16 as i32));
    let bytes = kept(DENSE);
    let model = Model::new_checked(bytes.as_slice()).unwrap();
    assert_eq!(weight.raw_data.as_deref(), Some(model.container().tensor("conv1.weight").unwrap().data));
}
