//! Model files as a device takes them: check, plan and session for every instruction set, one inference.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lrpet_fuzz::{Aligned, says};
use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::cost::stored;
use lrpet_runtime::model::{InputKind, Model, Op};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::Session;

/// Most bytes of an arena, and most multiply-adds, compared values and copies of an inference that is run.
const MOST: u64 = 1 << 20;

/// All of them run here but those of A64: without its instructions the geometry is another's, with inner loops in plain Rust.
const RUN: [Isa; 6] =
    [Isa::Portable, Isa::CortexM, Isa::CortexM55, Isa::CortexM55Half, Isa::Avx2, Isa::Avx512];

fuzz_target!(|bytes: &[u8]| {
    let file = Aligned::copy_of(bytes);
    let model = match Model::new_checked(file.bytes()) {
        Ok(model) => model,
        Err(error) => return says(&error),
    };
    for (key, value) in model.metadata() {
        let _ = (key.to_string(), value.to_string());
    }
    if let Some(check) = model.self_check() {
        for sample in 0..check.samples() {
            // One of the two is empty.
            let given = check.image(sample).len() + check.values(sample).len();
            assert_eq!(given, model.program().header().input.len());
            assert!(check.logits(sample).count() > 0 && check.tolerance(sample) >= 0.0);
        }
    }
    for isa in [Isa::Neon, Isa::NeonF16] {
        if let Err(error) = Plan::new(model.program(), isa) {
            says(&error);
        }
    }
    let small = work(&model) < MOST;
    for isa in RUN {
        match Plan::new(model.program(), isa) {
            Ok(plan) if small && plan.arena_bytes as u64 <= MOST => run(&model, isa, &plan),
            Ok(plan) => assert!(plan.peak_layer < model.program().len()),
            Err(error) => says(&error),
        }
    }
});

/// Multiply-adds, taps of windows and values of one inference, about.
fn work(model: &Model<'_>) -> u64 {
    let header = model.program().header();
    let values = |shape: lrpet_runtime::model::Shape| shape.len() as u64;
    model.program().layers().fold(values(header.input), |sum, layer| {
        let taps = match &layer.op {
            Op::Pool(pool) => pool.window.taps(),
            Op::GeneralPool(pool) => pool.window.taps(),
            _ => 1,
        };
        let reads = values(layer.output).saturating_mul(u64::from(taps));
        sum.saturating_add(stored(&layer.op, layer.input).macs)
            .saturating_add(reads)
            .saturating_add(values(layer.input))
    })
}

fn run(model: &Model<'_>, isa: Isa, plan: &Plan) {
    let mut arena = Aligned::zeroed(plan.arena_bytes);
    let mut session = match Session::with_isa(model, arena.bytes_mut(), isa) {
        Ok(session) => session,
        Err(error) => return says(&error),
    };
    let header = model.program().header();
    let (input, of_pictures) = (header.input, header.kind == InputKind::Picture);
    let mut result = vec![f32::NAN; session.classes()];
    if of_pictures {
        let image: Vec<u8> = (0..input.len()).map(|at| (at * 37 % 251) as u8).collect();
        session.run_image(&image, &mut result, &mut ()).expect("an image of the right size");
        // The same row by row.
        let mut again = vec![f32::NAN; result.len()];
        let rows = session.rows_together() * (input.channels * input.width) as usize;
        for rows in image.chunks(rows) {
            session.push_rows(rows, &mut again, &mut ()).expect("rows of the image");
        }
        assert!(result.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()));
    } else {
        let values: Vec<f32> = (0..input.len()).map(|at| (at * 37 % 251) as f32 / 125.0 - 1.0).collect();
        session.run_values(&values, &mut result, &mut ()).expect("values of the right number");
    }
    if header.version == 1 {
        assert!(result.iter().all(|logit| logit.is_finite()), "{isa:?}: {result:?}");
    }
}
