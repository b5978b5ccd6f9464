//! Activations as nodes of ONNX. Those that its older operator sets lack are written as what they are made of.

use lrpet_runtime::model::Activation;

use super::graph::{Graph, float};

/// `output` itself, or its name before a further operation makes it.
pub(super) fn stage(output: &str, word: &str, further: bool) -> String {
    if further { format!("{output}.{word}") } else { output.to_owned() }
}

/// Applies an activation to `sum`; without one, `sum` has the name `output` already.
pub(super) fn activate(graph: &mut Graph<'_>, sum: String, activation: Activation, output: String) -> String {
    let clip = |graph: &mut Graph<'_>, name: &str, [min, max]: [f32; 2], output: String| {
        let least = graph.floats(&format!("{name}.least.value"), &[], &[min]);
        let most = graph.floats(&format!("{name}.most.value"), &[], &[max]);
        graph.node("Clip", &[&sum, &least, &most], output, Vec::new())
    };
    let simple = |graph: &mut Graph<'_>, operator: &str, output: String, attributes| {
        graph.node(operator, &[&sum], output, attributes)
    };
    match activation {
        Activation::None => sum,
        Activation::Relu => simple(graph, "Relu", output, Vec::new()),
        Activation::Relu6 => clip(graph, "relu6", [0.0, 6.0], output),
        Activation::Clip { min, max } => clip(graph, &output.clone(), [min, max], output),
        Activation::LeakyRelu { slope } => simple(graph, "LeakyRelu", output, vec![float("alpha", slope)]),
        Activation::Sigmoid => simple(graph, "Sigmoid", output, Vec::new()),
        Activation::HardSigmoid { alpha, beta } => {
            simple(graph, "HardSigmoid", output, vec![float("alpha", alpha), float("beta", beta)])
        }
        Activation::HardSwish => {
            let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            let gate = simple(graph, "HardSigmoid", format!("{output}.gate"), attributes);
            graph.node("Mul", &[&sum, &gate], output, Vec::new())
        }
        Activation::Silu => {
            let gate = simple(graph, "Sigmoid", format!("{output}.gate"), Vec::new());
            graph.node("Mul", &[&sum, &gate], output, Vec::new())
        }
        Activation::Tanh => simple(graph, "Tanh", output, Vec::new()),
        Activation::Elu { alpha } => simple(graph, "Elu", output, vec![float("alpha", alpha)]),
        Activation::Gelu => gelu(graph, &sum, output),
        Activation::GeluTanh => gelu_tanh(graph, &sum, output),
        Activation::Softplus => simple(graph, "Softplus", output, Vec::new()),
        Activation::Exp => simple(graph, "Exp", output, Vec::new()),
        Activation::Sqrt => simple(graph, "Sqrt", output, Vec::new()),
    }
}

/// ½·x·(1 + erf(x / √2)).
fn gelu(graph: &mut Graph<'_>, x: &str, output: String) -> String {
    let root = graph.floats("gelu.root.value", &[], &[std::f32::consts::SQRT_2]);
    let scaled = graph.node("Div", &[x, &root], format!("{output}.scaled"), Vec::new());
    let part = graph.node("Erf", &[&scaled], format!("{output}.erf"), Vec::new());
    halved(graph, x, &part, output)
}

/// ½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
fn gelu_tanh(graph: &mut Graph<'_>, x: &str, output: String) -> String {
    let scale = (2.0 / std::f64::consts::PI).sqrt() as f32;
    let root = graph.floats("gelu_tanh.root.value", &[], &[scale]);
    let factor = graph.floats("gelu_tanh.cubic.value", &[], &[0.044_715]);
    let name = |word: &str| format!("{output}.{word}");
    let square = graph.node("Mul", &[x, x], name("square"), Vec::new());
    let cube = graph.node("Mul", &[&square, x], name("cube"), Vec::new());
    let cubic = graph.node("Mul", &[&cube, &factor], name("cubic"), Vec::new());
    let inner = graph.node("Add", &[x, &cubic], name("inner"), Vec::new());
    let scaled = graph.node("Mul", &[&inner, &root], name("scaled"), Vec::new());
    let part = graph.node("Tanh", &[&scaled], name("tanh"), Vec::new());
    halved(graph, x, &part, output)
}

/// ½·x·(1 + part).
fn halved(graph: &mut Graph<'_>, x: &str, part: &str, output: String) -> String {
    let one = graph.floats("gelu.one.value", &[], &[1.0]);
    let half = graph.floats("gelu.half.value", &[], &[0.5]);
    let gate = graph.node("Add", &[part, &one], format!("{output}.gate"), Vec::new());
    let whole = graph.node("Mul", &[x, &gate], format!("{output}.whole"), Vec::new());
    graph.node("Mul", &[&whole, &half], output, Vec::new())
}
