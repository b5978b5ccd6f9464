//! Damaged models: whatever bytes come, there is an error or a run with finite logits, and never a panic.
//! (Run in the dev profile, with overflow checks and debug assertions.)

mod support;

use lrpet_runtime::kernel::Isa;
use lrpet_runtime::model::{Model, Program, Shape};
use lrpet_runtime::plan::Plan;
use lrpet_runtime::session::{Session, SessionError};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Aligned, every_op, resnet};

/// Damages `bytes` at one to four places, `within` of them preferred.
fn mutate(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, within: std::ops::Range<usize>) {
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            return;
        }
        let range = if rng.random_bool(0.8) {
            within.start.min(bytes.len() - 1)..within.end.min(bytes.len())
        } else {
            0..bytes.len()
        };
        let at = rng.random_range(range.start..range.end.max(range.start + 1));
        let length = rng.random_range(1..20).min(bytes.len() - at);
        match rng.random_range(0..9) {
            0 | 1 => bytes[at] ^= 1 << rng.random_range(0..8),
            2 => bytes[at] = rng.random(),
            3 => bytes[at] = *b"0123456789\"{}[],:\\u-.e \xff".get(rng.random_range(0..24)).unwrap(),
            4 if rng.random_bool(0.2) => bytes.truncate(at),
            4 => bytes[at..at + length].fill(rng.random()),
            5 => drop(bytes.drain(at..at + length)),
            6 => {
                let copy = bytes[at..at + length].to_vec();
                let to = rng.random_range(0..=bytes.len());
                bytes.splice(to..to, copy);
            }
            7 => {
                let to =
                    rng.random_range(range.start..range.end.max(range.start + 1)).min(bytes.len() - length);
                bytes.copy_within(at..at + length, to);
            }
            _ => {
                // One more or one less, where a digit stands.
                bytes[at] = if rng.random() { bytes[at].wrapping_add(1) } else { bytes[at].wrapping_sub(1) };
            }
        }
    }
}

/// Opens, plans and runs `bytes`; true where they were accepted.
fn attempt(bytes: &[u8]) -> bool {
    let file = Aligned::new(bytes);
    let model = match Model::new_checked(file.bytes()) {
        Ok(model) => model,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    model.metadata().for_each(|(key, value)| drop((key.to_string(), value.to_string())));
    model.container().tensors().for_each(|tensor| drop((tensor.name.to_string(), tensor.shape.to_string())));
    let mut arena = Aligned::zeroed(1 << 20);
    let session = Session::with_isa(&model, arena.bytes_mut(), Isa::detect());
    let mut session = match session {
        Ok(session) => session,
        Err(SessionError::ArenaTooSmall { needed, .. }) => {
            assert_eq!(needed, Plan::new(model.program(), Isa::detect()).unwrap().arena_bytes);
            return true;
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return true;
        }
    };
    let image = vec![200; model.program().header().input.len()];
    let mut logits = vec![f32::NAN; session.classes()];
    session.run_image(&image, &mut logits, &mut ()).unwrap();
    assert!(logits.iter().all(|logit| logit.is_finite()));
    true
}

#[test]
fn damaged_models_are_refused_or_run() {
    let files: Vec<Vec<u8>> = [
        every_op(1).file(1),
        resnet(Shape::new(1, 9, 7), 1, false, Some(0.6), 2).file(1),
        resnet(Shape::new(3, 8, 8), 1, true, None, 3).file(0),
    ]
    .iter()
    .map(|file| file.bytes().to_vec())
    .collect();
    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let (mut accepted, cases) = (0, 6000);
    for case in 0..cases {
        let original = &files[case % files.len()];
        assert!(case >= files.len() || attempt(original), "an undamaged model is accepted");
        let header = 8 + u64::from_le_bytes(original[..8].try_into().unwrap()) as usize;
        let mut bytes = original.clone();
        let program = support::find(original, "lrpet.program");
        let mut damaged_header = original[8..header].to_vec();
        match case % 4 {
            0 => mutate(&mut rng, &mut bytes, program),
            1 => mutate(&mut rng, &mut bytes, header..original.len()),
            2 => mutate(&mut rng, &mut bytes, 0..header),
            _ => {
                // A damaged header of the right length: more of it is reached.
                let all = 0..damaged_header.len();
                mutate(&mut rng, &mut damaged_header, all);
                let length = (damaged_header.len() as u64).to_le_bytes();
                bytes = [&length[..], &damaged_header, &original[header..]].concat();
            }
        }
        accepted += usize::from(attempt(&bytes));
    }
    // Damage in the weights alone is mostly no error; damage elsewhere mostly is.
    assert!(accepted > cases / 20 && accepted < cases / 2, "{accepted} of {cases} accepted");
}

#[test]
fn damaged_programs_are_refused_or_planned() {
    let programs = [
        every_op(1).program(),
        resnet(Shape::new(1, 28, 28), 3, true, Some(0.6), 2).program(),
        resnet(Shape::new(3, 32, 32), 1, false, None, 3).program(),
    ];
    let mut rng = ChaCha8Rng::seed_from_u64(43);
    let mut accepted = 0;
    for case in 0..20_000 {
        let mut bytes = programs[case % programs.len()].clone();
        let all = 0..bytes.len();
        mutate(&mut rng, &mut bytes, all);
        if let Ok(program) = Program::new_checked(&bytes) {
            accepted += 1;
            for isa in [Isa::CortexM, Isa::Avx512] {
                if let Ok(plan) = Plan::new(&program, isa) {
                    assert!(plan.peak_layer < program.len());
                }
            }
        }
    }
    assert!(accepted > 100, "{accepted} accepted");
}

/// A program of version 2 with operations whose records are decoded when they run.
#[cfg(feature = "std")]
fn general() -> support::Network {
    use lrpet_runtime::model::*;
    let mut net = support::Network::new(Shape::new(4, 6, 5), 5, 8);
    let conv = GeneralConv {
        name: "conv".to_owned(),
        input: 0,
        out_channels: 4,
        window: Window::square(3, 1, 2),
        dilation: [2, 2],
        groups: 2,
        transposed: None,
        weights: Weights::Dense,
        residual: Some(0),
        activation: Activation::Silu,
    };
    let a = net.push(Op::GeneralConv(conv));
    let b = net.push(Op::Reduce(Reduce { input: a, kind: Reduction::Mean, axes: [false, true, true] }));
    let (kind, output) = (BinaryKind::Mul, Shape::new(4, 6, 5));
    let c = net.push(Op::Binary(Binary { kind, inputs: [a, b], output, activation: Activation::HardSwish }));
    let over = NormaliseOver::Groups(2);
    let d = net.push(Op::Normalise(Normalise { name: "norm".to_owned(), input: c, epsilon: 1e-3, over }));
    let e = net.push(Op::Pad(Pad { input: d, before: [0, 1, 2], after: [0, 2, 1], mode: PadMode::Reflect }));
    let scales = [0.5, 0.75];
    let (mode, coordinates) = (ResizeMode::Linear, Coordinates::HalfPixel);
    let f = net.push(Op::Resize(Resize { input: e, size: [4, 6], mode, coordinates, scales }));
    let inputs = Inputs::new(&[f, f, f, f, f]).unwrap();
    let g = net.push(Op::Join(Join { inputs, axis: Axis::Height, size: 20 }));
    let h = net.push(Op::Slice(Slice {
        input: g,
        start: [1, 0, 2],
        step: [2, 3, 1],
        output: Shape::new(2, 7, 4),
    }));
    let i = net.push(Op::Transpose(Transpose { input: h, axes: [Axis::Width, Axis::Channel, Axis::Height] }));
    let j = net.push(support::linear("fc", i, 5, Weights::Pair { rank: 2 }));
    net.push(Op::Softmax(Softmax { input: j, log: true }));
    net
}

#[cfg(feature = "std")]
#[test]
fn damaged_programs_of_version_2_are_refused_or_run() {
    let mut net = general();
    let original = net.file(1).bytes().to_vec();
    assert!(attempt(&original));
    let program = support::find(&original, "lrpet.program");
    let mut rng = ChaCha8Rng::seed_from_u64(45);
    let mut accepted = 0;
    for case in 0..6000 {
        let mut bytes = original.clone();
        // In place: the file's header still fits.
        for _ in 0..rng.random_range(1..3) {
            let at = rng.random_range(program.clone());
            bytes[at] =
                if case % 2 == 0 { bytes[at] ^ 1 << rng.random_range(0..8) } else { rng.random_range(0..24) };
        }
        let file = Aligned::new(&bytes);
        let Ok(model) = Model::new_checked(file.bytes()) else { continue };
        accepted += 1;
        let mut arena = Aligned::zeroed(1 << 20);
        let Ok(mut session) = Session::with_isa(&model, arena.bytes_mut(), Isa::detect()) else { continue };
        let mut result = vec![0.0; session.classes()];
        let values = vec![0.5; model.program().header().input.len()];
        session.run_values(&values, &mut result, &mut ()).unwrap();
    }
    assert!(accepted > 100, "{accepted} accepted");
}

#[test]
fn noise_is_refused() {
    let mut rng = ChaCha8Rng::seed_from_u64(44);
    for length in 0..3000 {
        let mut bytes: Vec<u8> = (0..length).map(|_| rng.random()).collect();
        assert!(!attempt(&bytes));
        if let Some(length) = bytes.len().checked_sub(8).filter(|length| *length > 0) {
            bytes[..8].copy_from_slice(&(length as u64).to_le_bytes());
            bytes[8..].iter_mut().for_each(|byte| *byte = b"{}[]\":,u\\09 "[usize::from(*byte) % 12]);
            assert!(!attempt(&bytes));
        }
    }
}
