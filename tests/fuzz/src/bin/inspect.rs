//! Model files as the desktop takes them: shown, drawn, made dense, written as ONNX, given schedules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::{Aligned, says};
use lrpet_network::draw::draw;
use lrpet_network::export::schedule::with_schedule;
use lrpet_network::export::{Folded, model_network};
use lrpet_network::{inspect, onnx};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::Model;
use lrpet_runtime::model::cost::{dense as dense_cost, stored};

/// Most weights of a model that is looked at.
const MOST: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let file = Aligned::copy_of(bytes);
    let Ok(model) = Model::new_checked(file.bytes()) else { return };
    let (cost, dense) = model.program().layers().fold((0_u64, 0_u64), |(cost, dense), layer| {
        let (as_stored, as_dense) = (stored(&layer.op, layer.input), dense_cost(&layer.op, layer.input));
        (cost.saturating_add(as_stored.params), dense.saturating_add(as_dense.params))
    });
    if cost.max(dense) > MOST {
        return;
    }
    for isa in [Isa::CortexM, Isa::Avx512] {
        if let Err(error) = inspect(&model, isa) {
            says(&error);
        }
    }
    match model_network(&model) {
        Ok((network, ranks)) => assert!(draw(&network, &ranks).ends_with("</svg>\n")),
        Err(error) => says(&error),
    }
    if let Err(error) = Folded::from_model(&model) {
        says(&error);
    }
    if let Err(error) =
        onnx::convert(&model, onnx::Options { input: onnx::Input::Values, ..Default::default() })
    {
        says(&error);
    }
    match with_schedule(bytes, &[]) {
        Ok(bytes) => {
            let plain = Aligned::copy_of(&bytes);
            Model::new_checked(plain.bytes()).expect("a model without its schedule is a model");
        }
        Err(error) => says(&error),
    }
});
