//! Models that take and give values.

mod support;

use half::f16;
use lrpet_runtime::check::Comparison;
use lrpet_runtime::host::AlignedBytes;
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Op, Shape, Softmax};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{RunError, Session};
use safetensors::Dtype;
use support::values::{end, of_values};

#[test]
fn values_have_a_self_check_of_values() {
    let mut net = of_values(Shape::new(2, 3, 4), 1);
    net.push(Op::Softmax(Softmax { input: 0, log: false }));
    end(&mut net);
    let file = net.file(3);
    let model = Model::new_checked(file.bytes()).unwrap();
    let check = model.self_check().unwrap();
    assert_eq!((check.samples(), check.values(2).len(), check.values(3).len()), (3, 24, 0));
    assert!(check.image(0).is_empty());
    let plan = Plan::new(model.program(), Isa::detect()).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::new(&model, arena.as_mut_slice()).unwrap();
    let mut result = [0.0; 24];
    for sample in 0..3 {
        session.run_sample(&check, sample, &mut result, &mut ()).unwrap();
        assert!(Comparison::by(&session, &result, &check, sample).passes());
    }
    // A sample that is not there, and other values, do not pass.
    assert!(session.run_sample(&check, 3, &mut result, &mut ()).is_err());
    session.run_sample(&check, 0, &mut result, &mut ()).unwrap();
    assert!(!Comparison::by(&session, &result, &check, 1).passes());

    let halves = |value: f32, count: usize| vec![f16::from_f32(value); count];
    let bytes = |halves: Vec<f16>| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let mut refused = |name: &str, dtype, shape: &[usize], data: Vec<u8>| {
        net.weights.clear();
        net.weights.insert(name.to_owned(), (dtype, shape.to_vec(), data));
        let file = net.file(0);
        Model::new_checked(file.bytes()).unwrap_err().to_string()
    };
    let logits = refused("selfcheck.logits", Dtype::F32, &[1, 24], vec![0; 96]);
    assert!(logits.contains("selfcheck.values is missing"), "{logits}");
    let values = refused("selfcheck.values", Dtype::F16, &[1, 2, 3, 4], bytes(halves(1.0, 24)));
    assert!(values.contains("selfcheck.logits is missing"), "{values}");
    let mut both = |dtype, shape: &[usize], data: Vec<u8>| {
        net.weights.clear();
        net.weights.insert("selfcheck.logits".to_owned(), (Dtype::F32, vec![1, 24], vec![0; 96]));
        net.weights.insert("selfcheck.values".to_owned(), (dtype, shape.to_vec(), data));
        let file = net.file(0);
        Model::new_checked(file.bytes()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(both(Dtype::F16, &[1, 2, 3, 4], bytes(halves(1.0, 24))), Ok(()));
    for (dtype, shape, data, expected) in [
        (Dtype::F16, [1, 3, 4, 2], bytes(halves(1.0, 24)), "is [1, 3, 4, 2] and must be [1, 2, 3, 4]"),
        (Dtype::U8, [1, 2, 3, 4], vec![0; 24], "is U8 and must be F16"),
        (Dtype::F16, [1, 2, 3, 4], bytes(halves(f32::NAN, 24)), "is no finite number"),
        (Dtype::F16, [2, 2, 3, 4], bytes(halves(1.0, 48)), "selfcheck.logits is [1, 24] and must be [2, 24]"),
    ] {
        let error = both(dtype, &shape, data).unwrap_err();
        assert!(error.contains(expected) && error.contains("selfcheck."), "{error}");
    }
}

#[test]
fn bytes_are_no_values() {
    let mut net = of_values(Shape::new(2, 3, 3), 1);
    net.push(Op::Softmax(Softmax { input: 0, log: false }));
    end(&mut net);
    let file = net.file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let plan = Plan::new(model.program(), Isa::Portable).unwrap();
    let mut arena = AlignedBytes::zeroed(plan.arena_bytes);
    let mut session = Session::with_isa(&model, arena.as_mut_slice(), Isa::Portable).unwrap();
    let error = session.run_image(&[0; 18], &mut [0.0; 18], &mut ()).unwrap_err();
    assert_eq!(error, RunError::InputKind);
}
