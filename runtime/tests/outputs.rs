//! Programs of several outputs: each is the value that its layer stored, whatever runs after it; and what is no list of outputs is refused.

mod support;

use lrpet_runtime::kernel::{Isa, Method, f16};
use lrpet_runtime::model::{
    Activate, Activation, Header, InputKind, Inputs, Model, Needs, Op, OutputKind, Outputs, Program,
    ProgramError, Reshape, Shape, Stretch, Value, Weights, Window,
};
use lrpet_runtime::plan::{Plan, curve};
use lrpet_runtime::session::{Hook, Session};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{Aligned, Network, conv, linear, reference};

/// Ends a network with outputs.
fn end(net: &mut Network, values: &[Value]) {
    let count = values.iter().map(|&value| net.shapes[usize::from(value)].len() as u32).sum();
    net.push(Op::Outputs(Outputs { inputs: Inputs::new(values).unwrap(), count }));
    state(net, count);
}

fn state(net: &mut Network, count: u32) {
    net.header.result = OutputKind::Values;
    (net.header.output, net.header.classes, net.header.version) = (Shape::vector(count), count, 2);
}

/// A random network whose outputs are all values that nothing reads, and some that others do.
fn random(rng: &mut ChaCha8Rng) -> (Network, Vec<Value>) {
    let (mut net, last) = support::random::layers(rng);
    if rng.random() {
        let op = Activate { input: last, activation: Activation::Silu, slope: None };
        net.push(Op::Activate(op));
    }
    let read = |value: Value| net.ops.iter().any(|op| op.inputs().values().contains(&value));
    let mut outputs: Vec<Value> = (0..net.shapes.len() as Value).filter(|&value| !read(value)).collect();
    for value in 0..net.shapes.len() as Value {
        if !outputs.contains(&value)
            && outputs.len() < 8
            && (outputs.len() < 2 || rng.random_range(0..3) == 0)
        {
            outputs.insert(rng.random_range(0..=outputs.len()), value);
        }
    }
    end(&mut net, &outputs);
    (net, outputs)
}

/// Keeps what every layer stored.
struct Stored(Vec<Vec<u16>>);

impl Hook for Stored {
    fn stored(&mut self, layer: usize, values: &[u16]) {
        self.0.resize(layer + 1, Vec::new());
        self.0[layer] = values.to_vec();
    }
}

/// The result of a model, and what its layers stored.
fn run(model: &Model<'_>, isa: Isa, image: &[u8]) -> Result<(Vec<f32>, Stored), String> {
    let plan = Plan::new(model.program(), isa).map_err(|error| error.to_string())?;
    let mut arena = Aligned::zeroed(plan.arena_bytes);
    arena.bytes_mut().fill(0xa5);
    let session = Session::with_isa(model, arena.bytes_mut(), isa).map_err(|error| error.to_string())?;
    // Every product is made, as a stream makes them.
    let mut session = session.with_method(Method::Direct);
    let (mut result, mut stored) = (vec![f32::NAN; session.classes()], Stored(Vec::new()));
    session.run_image(image, &mut result, &mut stored).map_err(|error| error.to_string())?;
    Ok((result, stored))
}

fn isas() -> impl Iterator<Item = Isa> {
    [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon].into_iter().filter(|isa| isa.is_available())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]
    /// Residuals in place, values that die and places that are used again touch no output.
    #[test]
    fn outputs_are_what_their_layers_stored(seed: u64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut net, outputs) = random(&mut rng);
        let image: Vec<u8> = (0..net.header.input.len()).map(|_| rng.random()).collect();
        let file = net.file(0);
        let model = Model::new_checked(file.bytes()).unwrap();
        let program = model.program();
        let shapes: Vec<Shape> = outputs.iter().map(|&value| net.shapes[usize::from(value)]).collect();
        prop_assert_eq!(program.outputs().collect::<Vec<_>>(), shapes.clone());
        let input = reference::normalise(&net.header, &image);
        let wide = reference::values(&net, &input);
        for isa in isas() {
            let (result, stored) = run(&model, isa, &image).unwrap();
            prop_assert_eq!(program.split(&result).count(), outputs.len());
            for ((&value, (shape, found)), own) in outputs.iter().zip(program.split(&result)).zip(&shapes) {
                prop_assert_eq!(shape, *own);
                let expected: Vec<f32> = match usize::from(value).checked_sub(1) {
                    None => input.iter().map(|x| *x as f32).collect(),
                    Some(layer) => stored.0[layer].iter().map(|half| f16::widen(*half)).collect(),
                };
                prop_assert_eq!(found, &expected[..], "{} value {}", isa.name(), value);
                // And near the definition: roundings of earlier layers spread.
                let largest = wide[usize::from(value)].iter().fold(1.0f64, |most, x| most.max(x.abs()));
                for (found, expected) in found.iter().zip(&wide[usize::from(value)]) {
                    prop_assert!((f64::from(*found) - expected).abs() < 0.02 * largest, "{found} {expected}");
                }
            }
            for _ in 0..3 {
                let stretches = cut(program.len() - 1, &mut rng);
                let bytes = Stretch::bytes(&stretches);
                match run(&model.with_schedule(&bytes).unwrap(), isa, &image) {
                    Ok((streamed, _)) => prop_assert_eq!(&streamed, &result, "{} {:?}", isa.name(), stretches),
                    // The activation alone is an operation that no stream has.
                    Err(error) => prop_assert!(error.contains("(activation) in a stream"), "{error}"),
                }
            }
        }
        let choices = if seed % 8 == 0 { curve(program, Isa::Portable).unwrap() } else { Vec::new() };
        for choice in choices.into_iter().take(3) {
            let bytes = choice.bytes();
            let (result, _) = run(&model, Isa::Portable, &image).unwrap();
            let (streamed, _) = run(&model.with_schedule(&bytes).unwrap(), Isa::Portable, &image).unwrap();
            prop_assert_eq!(streamed, result);
        }
    }
}

fn cut(mut left: usize, rng: &mut ChaCha8Rng) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    while left > 0 {
        let ops = rng.random_range(1..=left);
        stretches.push(Stretch::new(ops as u16, rng.random_range(0..7)));
        left -= ops;
    }
    stretches
}

/// A block whose sum is written over its first summand, unless that is an output too.
#[test]
fn a_residual_that_is_an_output_is_not_overwritten() {
    let build = |outputs: &[Value]| {
        let mut net = Network::new(Shape::new(3, 8, 8), 1, 7);
        let three = Window::square(3, 1, 1);
        let a = net.push(conv("a", 0, 8, three, Weights::Dense, None));
        let b = net.push(conv("b", a, 8, three, Weights::Dense, None));
        let c = net.push(conv("c", b, 8, three, Weights::Dense, Some(a)));
        let pooled = net.push(Op::GlobalAveragePool { input: c });
        net.push(linear("fc", pooled, 4, Weights::Dense));
        end(&mut net, outputs);
        net
    };
    let image: Vec<u8> = (0..192).map(|i| (i * 37 % 256) as u8).collect();
    let arena = |outputs: &[Value]| {
        let file = build(outputs).file(0);
        Plan::new(Model::new_checked(file.bytes()).unwrap().program(), Isa::Portable)
            .unwrap()
            .activation_bytes
    };
    let file = build(&[5, 1, 3, 0]).file(0);
    let model = Model::new_checked(file.bytes()).unwrap();
    let (result, stored) = run(&model, Isa::Portable, &image).unwrap();
    let widened = |layer: usize| stored.0[layer].iter().map(|half| f16::widen(*half)).collect::<Vec<_>>();
    let all: Vec<&[f32]> = model.program().split(&result).map(|(_, values)| values).collect();
    assert_eq!((all[0], all[1], all[2]), (&widened(4)[..], &widened(0)[..], &widened(2)[..]));
    assert!(arena(&[5, 1]) > arena(&[5, 3]), "the first summand's place is used again where it is no output");
}

/// A program of two outputs, changed by `change`.
fn refused(change: impl FnOnce(&mut Network)) -> String {
    let mut net = Network::new(Shape::new(3, 4, 4), 1, 7);
    let a = net.push(conv("a", 0, 2, Window::square(1, 1, 0), Weights::Dense, None));
    net.push(conv("b", a, 2, Window::square(1, 1, 0), Weights::Dense, None));
    end(&mut net, &[2, 1]);
    change(&mut net);
    let bytes = net.program();
    match Program::new_checked(&bytes) {
        Ok(program) => panic!("{:?} is accepted", program.header()),
        Err(error) => error.to_string(),
    }
}

fn outputs(net: &mut Network, values: &[Value], count: u32) {
    *net.ops.last_mut().unwrap() = Op::Outputs(Outputs { inputs: Inputs::new(values).unwrap(), count });
    state(net, count);
}

#[test]
fn what_is_no_list_of_outputs_is_refused() {
    let says = |found: String, part: &str| assert!(found.contains(part), "{found}, not {part}");
    says(
        refused(|net| outputs(net, &[2, 2], 64)),
        "operation 2 (outputs) does not go with its input of 2×4×4: it has an output twice",
    );
    says(refused(|net| outputs(net, &[2], 32)), "several outputs are at least two");
    says(refused(|net| outputs(net, &[2, 1, 9], 96)), "reads value 9, which no earlier operation makes");
    says(refused(|net| outputs(net, &[2, 3], 64)), "reads value 3, which no earlier operation makes");
    says(refused(|net| outputs(net, &[2, 1], 65)), "operation 2 (outputs): its inputs do not join to 65");
    says(refused(|net| outputs(net, &[1, 0], 80)), "operation 1 (b): nothing reads its result");
    says(refused(|net| net.header.result = OutputKind::Classes), "the header states logits");
    says(
        refused(|net| {
            net.push(Op::Reshape(Reshape { input: 3, output: Shape::new(8, 8, 1) }));
            (net.header.output, net.header.classes) = (Shape::new(8, 8, 1), 64);
        }),
        "several outputs come last",
    );
    says(refused(|net| net.header.output = Shape::new(8, 8, 1)), "the last result is 64");
}

/// A reader that knows no outputs says so before it meets the operation: the header states them.
#[test]
fn outputs_are_stated() {
    let mut net = Network::new(Shape::new(3, 4, 4), 1, 7);
    let a = net.push(conv("a", 0, 2, Window::square(1, 1, 0), Weights::Dense, None));
    net.header.kind = InputKind::Values;
    end(&mut net, &[a, 0]);
    let bytes = net.program();
    let program = Program::new_checked(&bytes).unwrap();
    assert_eq!(program.header().needs, Needs::GENERAL.and(Needs::OUTPUTS));
    let lies = Header { needs: Needs::GENERAL, ..*program.header() };
    let mut lying = vec![0; 256];
    let head = postcard::to_slice(&lies, &mut lying).unwrap().len();
    let old = postcard::to_slice(program.header(), &mut [0; 256]).unwrap().len();
    lying.truncate(head);
    lying.extend_from_slice(&bytes[old..]);
    let error = Program::new_checked(&lying).unwrap_err();
    assert!(matches!(error, ProgramError::Unstated { index: 1, missing: Needs::OUTPUTS, .. }));
    assert!(
        error.to_string().contains("needs general, which the program's header does not state"),
        "{error}"
    );
}
