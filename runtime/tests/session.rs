//! Whole networks: a session against the f64 reference, the arena's exact size, bad input.

mod support;

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Shape};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;
use support::{Aligned, Network, every_op, resnet};

const ISAS: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

fn networks() -> Vec<(&'static str, Network)> {
    let gray = Shape::new(1, 28, 28);
    vec![
        ("ResNet-8 dense", resnet(gray, 1, false, None, 1)),
        ("ResNet-8 low-rank", resnet(gray, 1, false, Some(0.6), 2)),
        ("ResNet-14, padded shortcuts, low-rank", resnet(Shape::new(3, 17, 15), 2, true, Some(0.7), 3)),
        ("every operation", every_op(4)),
    ]
}

#[test]
fn logits_are_the_references() {
    for (name, mut net) in networks() {
        let file = net.file(2);
        let model = Model::new_checked(file.bytes()).unwrap();
        let check = model.self_check().unwrap();
        assert_eq!(check.samples(), 2);
        for isa in ISAS.into_iter().filter(|isa| isa.is_available()) {
            let plan = Plan::new(model.program(), isa).unwrap();
            let mut arena = Aligned::zeroed(plan.arena_bytes);
            let mut session = Session::with_isa(&model, arena.bytes_mut(), isa).unwrap();
            let mut logits = vec![0.0; session.classes()];
            for i in 0..check.samples() {
                session.run_image(check.image(i), &mut logits, &mut ()).unwrap();
                let scale = check.logits(i).fold(0.0f32, |a, b| a.max(b.abs()));
                for (got, want) in logits.iter().zip(check.logits(i)) {
                    // Values near a rounding boundary may go the other way: 2^-11 each, and on through the layers.
                    assert!(
                        (got - want).abs() <= 4e-3 * scale,
                        "{name}, {}: {got} and not {want}",
                        isa.name()
                    );
                }
            }
        }
    }
}
