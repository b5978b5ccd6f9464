//! Networks from elsewhere: [`import`] reads an ONNX file and makes of it a [`Network`] and its weights.
//!
//! - `graph` reads the file: nodes in order, constants (`tensor`, `external`).
//! - `lower` goes from node to node. Shapes are followed, what depends on constants alone is computed (`fold`), and axes are
//!   followed through transposing and reshaping (`view`). It makes steps (`step`).
//! - `passes` make fewer of them: patterns that exporters write out become what they were.
//! - `finish` makes of steps the runtime's operations, and weights with our names (`names`).
//!
//! What cannot be imported is refused with all nodes that are in the way ([`ImportError::Refused`]).

mod error;
mod external;
mod finish;
mod fold;
mod graph;
mod lower;
mod names;
mod origin;
mod passes;
mod report;
mod step;
mod tensor;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::path::Path;

use lrpet_runtime::model::MAX_INPUTS;
use prost::Message;
use prost::bytes::Bytes;

use crate::bounded;
use crate::checkpoint::{Array, Checkpoint};
use crate::network::{NETWORK_FILE, Network, are_names};
use crate::onnx::proto::ModelProto;

pub use error::{ImportError, Refused};
pub use origin::Origin;
pub use report::Report;

use graph::{Graph, Input};
use lower::{Known, Lower};
use passes::Plan;
use tensor::Tensor;
use view::View;

/// Largest length of an axis of the input.
const LONGEST: i64 = 1 << 20;

/// Operators that take signals with an axis for images in front.
const SIGNAL: [&str; 6] =
    ["Conv", "ConvTranspose", "MaxPool", "AveragePool", "BatchNormalization", "InstanceNormalization"];

/// How a file is imported.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Axes of inputs, by name: for those that the file leaves free.
    pub axes: BTreeMap<String, Vec<usize>>,
    /// Inputs of the graph that are constants of these values.
    pub constants: BTreeMap<String, Array>,
    /// Names of the outputs that are the network's, or of any other values of the file, in order; none for all outputs of the file.
    pub outputs: Vec<String>,
}

/// An imported network.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The network; its input is values as they are.
    pub network: Network,
    /// Its weights.
    pub checkpoint: Checkpoint,
    /// What was done.
    pub report: Report,
}

impl Imported {
    /// The weights, with the network in their metadata, so that a file of them alone is enough.
    pub fn remembering(self) -> Checkpoint {
        let Imported { network, mut checkpoint, .. } = self;
        let input = network.input;
        checkpoint.metadata.extend([
            ("network".to_owned(), network.name.clone()),
            ("input".to_owned(), format!("{}x{}x{}", input.channels, input.height, input.width)),
            ("classes".to_owned(), network.classes.to_string()),
            (NETWORK_FILE.to_owned(), network.to_text()),
        ]);
        checkpoint
    }
}

/// Imports a file; weights in files beside it are read too.
///
/// # Errors
/// [`ImportError`].
pub fn import(path: &Path, options: &Options) -> Result<Imported, ImportError> {
    let bytes =
        bounded::read_whole(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    let name =
        path.file_stem().map_or_else(|| "network".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let bytes = Bytes::from(bytes);
    let mut imported = import_bytes(bytes.clone(), &name, Some(folder_of(path)), options).map_err(
        |problem| match problem {
            Problem::Broken(reason) => ImportError::Broken { path: path.to_owned(), reason },
            Problem::Refused(nodes) => ImportError::Refused { path: path.to_owned(), nodes },
        },
    )?;
    Origin::new(path, &bytes, &imported.report).note(&mut imported.checkpoint.metadata);
    Ok(imported)
}

/// The folder of a file; that of a name alone is the present one.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Names of what a file's graph takes, those that are weights of the file not among them.
///
/// # Errors
/// As [`import`].
pub fn input_names(path: &Path) -> Result<Vec<String>, ImportError> {
    let graph = graph_of(path)?;
    Ok(graph.inputs.into_iter().map(|input| input.name).collect())
}

/// Names of what a file's graph gives.
///
/// # Errors
/// As [`import`].
pub fn output_names(path: &Path) -> Result<Vec<String>, ImportError> {
    let graph = graph_of(path)?;
    Ok(graph.outputs.iter().map(|&id| graph.names[id].clone()).collect())
}

fn graph_of(path: &Path) -> Result<Graph, ImportError> {
    let bytes =
        bounded::read_whole(path).map_err(|source| ImportError::Io { path: path.to_owned(), source })?;
    let broken = |reason: String| ImportError::Broken { path: path.to_owned(), reason };
    let model =
        ModelProto::decode(&bytes[..]).map_err(|error| broken(format!("it is no ONNX file: {error}")))?;
    Graph::new(model, Some(folder_of(path)), &[]).map_err(broken)
}

/// Why bytes cannot be imported.
#[derive(Debug)]
enum Problem {
    Broken(String),
    Refused(Vec<Refused>),
}

/// Imports the bytes of a file in `folder`.
fn import_bytes(
    bytes: Bytes,
    name: &str,
    folder: Option<&Path>,
    options: &Options,
) -> Result<Imported, Problem> {
    let broken = |reason: &str| Problem::Broken(reason.to_owned());
    if bytes.is_empty() {
        return Err(broken("it is empty"));
    }
    let model =
        ModelProto::decode(bytes).map_err(|error| Problem::Broken(format!("it is no ONNX file: {error}")))?;
    let graph = Graph::new(model, folder, &options.outputs).map_err(Problem::Broken)?;
    let nodes = graph.nodes.len();
    let constants = given(&graph, options).map_err(Problem::Broken)?;
    let of_network = |input: &&Input| {
        let read = graph.read.contains(&input.id);
        read && constants.iter().all(|(id, _)| *id != input.id)
    };
    let inputs: Vec<&Input> = graph.inputs.iter().filter(of_network).collect();
    let [input] = inputs[..] else {
        let names: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(Problem::Broken(format!(
            "it has {} inputs ({}); a network has one",
            names.len(),
            names.join(", ")
        )));
    };
    let output_names: Vec<String> = graph.outputs.iter().map(|&id| graph.names[id].clone()).collect();
    if graph.outputs.is_empty() || graph.outputs.len() > MAX_INPUTS {
        return Err(Problem::Broken(format!(
            "it has {} outputs, and a network has 1 to {MAX_INPUTS}: say which with --output NAME, once for each",
            graph.outputs.len()
        )));
    }
    let mut notes = Vec::new();
    let (shape, view) = input_map(&graph, input, options, &mut notes).map_err(Problem::Broken)?;
    if is_whole(input.element) && !is_cast(&graph, input) {
        return Err(Problem::Broken(format!(
            "its input `{}` is of whole numbers; networks take numbers with fractions: begin with a Cast to float",
            input.name
        )));
    }
    let mut lower = Lower::new(&graph, shape, input.id, view.clone(), &constants);
    lower.run();
    if !lower.refused.is_empty() {
        return Err(Problem::Refused(lower.refused));
    }
    let (mut outputs, mut last) = (Vec::with_capacity(graph.outputs.len()), Vec::new());
    for (&id, name) in graph.outputs.iter().zip(&output_names) {
        let view = match lower.known(id) {
            Known::View(view) => view.clone(),
            Known::Constant(_) => {
                return Err(Problem::Broken(format!("its output `{name}` does not depend on its input")));
            }
            Known::Nothing => {
                return Err(Problem::Broken(format!(
                    "its output `{name}` is not computed here; leave it out by naming the others: --output NAME, once for each"
                )));
            }
        };
        let (output, channels_last) = lower.result(&view).map_err(Problem::Broken)?;
        outputs.push(output);
        last.push(channels_last);
    }
    if outputs.iter().all(|&output| output == 0) {
        return Err(broken("it computes nothing: its output is its input"));
    }
    let Lower { steps, passed, folded, .. } = lower;
    let mut plan = Plan::of_outputs(steps, shape, &outputs);
    plan.simplify();
    let seen = std::mem::take(&mut plan.seen);
    let origins: Vec<usize> = plan.steps.iter().map(|step| step.node).collect();
    let (mut network, tensors) = finish::finish(plan, name).map_err(|refused| {
        let node = |(step, reason): (usize, String)| {
            let node = &graph.nodes[origins[step]];
            Refused { node: node.name.clone(), operator: node.operator.clone(), reason }
        };
        Problem::Refused(refused.into_iter().map(node).collect())
    })?;
    let bad: Vec<&str> = tensors
        .iter()
        .filter(|(_, array)| array.values.iter().any(|value| !value.is_finite()))
        .map(|(name, _)| name.as_str())
        .collect();
    if !bad.is_empty() {
        let shown = bad[..bad.len().min(8)].join(", ");
        return Err(Problem::Broken(format!(
            "weights that are no finite numbers, in {} of them: {shown}",
            bad.len()
        )));
    }
    if network.value_shapes().is_none() {
        return Err(broken(
            "its operations make a network whose shapes do not chain; please report this file",
        ));
    }
    if network.output_values().is_some() {
        if are_names(&output_names) {
            network.output_names = output_names;
        } else {
            notes.push(
                "the names of its outputs are not kept, as one is empty, too long or has control characters: the network's outputs have \
                 those of the layers that make them"
                    .to_owned(),
            );
        }
    }
    let checkpoint = Checkpoint { tensors, ..Checkpoint::default() };
    let report = Report::new(&graph, &network, nodes, folded, passed, seen, notes, input, &view, last);
    Ok(Imported { network, checkpoint, report })
}

/// True of ONNX's types of whole numbers and truth values.
fn is_whole(element: i32) -> bool {
    matches!(element, 2..=7 | 9 | 12 | 13)
}

/// True where all that reads the input makes numbers with fractions of it first.
fn is_cast(graph: &Graph, input: &Input) -> bool {
    let mut readers = graph.nodes.iter().filter(|node| node.inputs.contains(&Some(input.id)));
    readers.all(|node| matches!(node.operator.as_str(), "Cast" | "CastLike" | "DequantizeLinear"))
}

/// Inputs that are given as constants.
fn given(graph: &Graph, options: &Options) -> Result<Vec<(graph::Id, Tensor)>, String> {
    let one = |(name, array): (&String, &Array)| {
        let input = graph.inputs.iter().find(|input| input.name == *name);
        let input = input.ok_or_else(|| format!("it has no input called `{name}`"))?;
        // Whole numbers where the file says so.
        let data = match input.element {
            kind if is_whole(kind) => {
                tensor::Data::Ints(array.values.iter().map(|&value| value as i64).collect())
            }
            _ => tensor::Data::Floats(array.values.clone()),
        };
        Ok((input.id, Tensor { shape: array.shape.clone(), data }))
    };
    options.constants.iter().map(one).collect()
}

/// The stored map of the network's input, and the file's view of it.
fn input_map(
    graph: &Graph,
    input: &Input,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<([usize; 3], View), String> {
    let name = &input.name;
    if let Some(other) = options.axes.keys().find(|key| graph.inputs.iter().all(|input| input.name != **key))
    {
        let known: Vec<&str> = graph.inputs.iter().map(|input| input.name.as_str()).collect();
        return Err(format!("it has no input called `{other}`; its inputs are {}", known.join(", ")));
    }
    let file = input.axes.clone();
    let mut axes: Vec<i64> = Vec::new();
    match (options.axes.get(name), file) {
        (Some(given), Some(file)) if given.len() != file.len() => {
            return Err(format!(
                "its input `{name}` has {} axes, and {} were given",
                file.len(),
                given.len()
            ));
        }
        (Some(given), file) => {
            for (at, &axis) in given.iter().enumerate() {
                let fixed = file.as_ref().and_then(|file| file[at].as_ref().ok());
                // Files made for several images at once have another number in front.
                if let Some(&fixed) = fixed.filter(|&&fixed| fixed != axis as i64 && at > 0) {
                    return Err(format!(
                        "axis {at} of its input `{name}` has the length {fixed}, and {axis} was given"
                    ));
                }
                axes.push(axis as i64);
            }
        }
        (None, None) => {
            return Err(format!(
                "it does not say which axes its input `{name}` has; give them: lrpet network import FILE --out DIR --input {name}=1x3x224x224"
            ));
        }
        (None, Some(file)) => {
            let free: Vec<usize> = (1..file.len()).filter(|&at| file[at].is_err()).collect();
            if !free.is_empty() {
                return Err(format!(
                    "axes {free:?} of its input `{name}` are free; say how long they are: lrpet network import FILE --out DIR --input {name}={}",
                    file.iter()
                        .enumerate()
                        .map(|(at, axis)| match axis {
                            Ok(length) => length.to_string(),
                            Err(_) if at == 0 => "1".to_owned(),
                            Err(_) => "224".to_owned(),
                        })
                        .collect::<Vec<_>>()
                        .join("x")
                ));
            }
            axes.extend(file.iter().map(|axis| axis.as_ref().copied().unwrap_or(1)));
        }
    }
    if let Some(axis) = axes.iter().find(|axis| !(1..=LONGEST).contains(*axis)) {
        return Err(format!("its input `{name}` has an axis of length {axis}"));
    }
    let images = axes.first().copied().unwrap_or(1);
    // Three axes are a signal's, of images one by one, where something takes it as that.
    let signal = axes.len() == 3 && graph.nodes.iter().any(|node| SIGNAL.contains(&node.operator.as_str()));
    if images > 1 && (signal || matches!(axes.len(), 2 | 4)) {
        notes.push(format!("the file takes {images} images at once; the network takes one"));
        axes[0] = 1;
    }
    let dims: Vec<usize> = axes.iter().map(|&axis| axis as usize).collect();
    let (shape, view) = match dims[..] {
        [] => ([1, 1, 1], View::of_map(0, [1, 1, 1], 0)),
        [n] => ([n, 1, 1], View::of_map(0, [n, 1, 1], 1)),
        [_, n] => ([n, 1, 1], View::of_map(0, [n, 1, 1], 2)),
        [1, c, w] => ([c, 1, w], View::of_map(0, [c, 1, w], 3)),
        [c, h, w] => {
            let map = View::of_map(0, [c, h, w], 4);
            ([c, h, w], View { value: 0, axes: map.axes[1..].to_vec() })
        }
        [_, a, b, c] if is_channels_last(graph, input) => {
            notes.push("its input has channels last; the network's has them first".to_owned());
            let map = View::of_map(0, [c, a, b], 4);
            ([c, a, b], map.transposed(&[0, 2, 3, 1]).unwrap_or(map))
        }
        [_, c, h, w] => ([c, h, w], View::of_map(0, [c, h, w], 4)),
        _ => {
            return Err(format!(
                "its input `{name}` has {} axes; maps of one or two dimensions are imported",
                dims.len()
            ));
        }
    };
    if shape.iter().product::<usize>() > 1 << 28 {
        return Err(format!("its input `{name}` has {dims:?} values"));
    }
    Ok((shape, view))
}

/// True where all that reads the input brings it from channels last to channels first.
fn is_channels_last(graph: &Graph, input: &Input) -> bool {
    let mut ids = vec![input.id];
    let mut found = false;
    let mut looked_at = std::collections::HashSet::new();
    // Through what leaves axes as they are.
    while let Some(id) = ids.pop() {
        if !looked_at.insert(id) {
            continue;
        }
        for node in graph.nodes.iter().filter(|node| node.inputs.contains(&Some(id))) {
            match node.operator.as_str() {
                "Transpose" if node.ints("perm") == Some(&[0, 3, 1, 2]) => found = true,
                "Cast" | "Mul" | "Add" | "Sub" | "Div" | "Identity" | "QuantizeLinear"
                | "DequantizeLinear" => {
                    ids.extend(node.outputs.iter().flatten());
                }
                _ => return false,
            }
        }
    }
    found
}
