//! Node by node, from the file's graph to [`Step`]s: shapes are followed, what depends on constants alone is computed, and axes
//! are followed through transposing and reshaping, which cost nothing unless an operation needs them in their place.

mod arithmetic;
mod arrange;
mod axes;
mod convolution;
mod matrix;
mod moves;
mod normalise;
mod pool;
mod resize;
mod shapes;
mod unary;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lrpet_runtime::model::Activation;

use crate::import::error::{Reason, Refused};
use crate::import::fold;
use crate::import::graph::{Graph, Id, Node};
use crate::import::names::LayerNames;
use crate::import::step::{Step, What};
use crate::import::tensor::Tensor;
use crate::import::view::{Atom, Stored, View};

/// Most numbers of a stored value.
const MOST_VALUES: usize = 1 << 28;

/// What is known of a value of the file.
#[derive(Clone)]
pub(crate) enum Known {
    Constant(Arc<Tensor>),
    View(View),
    /// What a refused node would make.
    Nothing,
}

/// The steps so far, and what is known of each value.
pub(crate) struct Lower<'a> {
    pub graph: &'a Graph,
    known: HashMap<Id, Known>,
    /// The file's weight that a computed constant comes from.
    origins: HashMap<Id, Id>,
    pub steps: Vec<Step>,
    pub input: [usize; 3],
    pub names: LayerNames,
    /// Values brought into another order, by value, order and shape.
    arranged: HashMap<(Stored, Vec<Atom>, [usize; 3]), Stored>,
    /// The node that is looked at.
    node: usize,
    pub refused: Vec<Refused>,
    /// What was passed over, and how often.
    pub passed: BTreeMap<String, usize>,
    /// Nodes that depend on constants alone.
    pub folded: usize,
    /// The file's input has channels last.
    channels_last: bool,
}

impl<'a> Lower<'a> {
    /// Nothing but the input, a map of shape `input` that the graph's input `id` sees through `view`, and constants.
    pub(crate) fn new(
        graph: &'a Graph,
        input: [usize; 3],
        id: Id,
        view: View,
        given: &[(Id, Tensor)],
    ) -> Lower<'a> {
        let constants = graph.constants.iter().map(|(&id, tensor)| (id, tensor.clone()));
        let given = given.iter().map(|(id, tensor)| (*id, Arc::new(tensor.clone())));
        let mut known: HashMap<Id, Known> =
            constants.chain(given).map(|(id, tensor)| (id, Known::Constant(tensor))).collect();
        let channels_last =
            view.axes.len() == 4 && view.transposed(&[0, 3, 1, 2]) == Some(View::of_map(0, input, 4));
        known.insert(id, Known::View(view));
        Lower {
            graph,
            known,
            origins: HashMap::new(),
            steps: Vec::new(),
            input,
            names: LayerNames::default(),
            arranged: HashMap::new(),
            node: 0,
            refused: Vec::new(),
            passed: BTreeMap::new(),
            folded: 0,
            channels_last,
        }
    }

    /// Takes all nodes.
    pub(crate) fn run(&mut self) {
        for (index, node) in self.graph.nodes.iter().enumerate() {
            self.node = index;
            if let Err(reason) = self.take(node) {
                for id in node.outputs.iter().flatten() {
                    self.known.insert(*id, Known::Nothing);
                }
                if !reason.is_empty() {
                    let (node, operator) = (node.name.clone(), node.operator.clone());
                    self.refused.push(Refused { node, operator, reason });
                }
            }
        }
    }

    /// What is known of a value.
    pub(crate) fn known(&self, id: Id) -> &Known {
        self.known.get(&id).unwrap_or(&Known::Nothing)
    }

    /// Takes a node; an empty reason where it only reads what a refused node makes.
    fn take(&mut self, node: &Node) -> Result<(), Reason> {
        let inputs: Vec<Option<Known>> =
            node.inputs.iter().map(|id| id.map(|id| self.known(id).clone())).collect();
        if inputs.iter().flatten().any(|known| matches!(known, Known::Nothing)) {
            return Err(if is_known(&node.operator) { String::new() } else { unknown(node) });
        }
        let constants: Option<Vec<Option<&Tensor>>> = inputs
            .iter()
            .map(|input| match input {
                Some(Known::Constant(tensor)) => Some(Some(&**tensor)),
                None => Some(None),
                _ => None,
            })
            .collect();
        if let Some(constants) = constants {
            let made = fold::fold(node, &constants, self.graph.opset)?;
            self.folded += 1;
            // A weight that is only brought into another form keeps its name.
            let origin = node.input(0).map(|id| self.origins.get(&id).copied().unwrap_or(id));
            for (id, tensor) in node.outputs.iter().zip(made) {
                if let Some(id) = id {
                    self.origins.extend(origin.map(|origin| (*id, origin)));
                    self.known.insert(*id, Known::Constant(Arc::new(tensor)));
                }
            }
            return Ok(());
        }
        let made = self.lower(node, &Inputs(inputs))?;
        let rest = node.outputs.get(made.len()..).unwrap_or_default();
        if let Some(id) = rest.iter().flatten().find(|id| self.graph.read.contains(id)) {
            return Err(format!("its result `{}` is read, which is not imported", self.graph.names[*id]));
        }
        for (id, known) in node.outputs.iter().zip(made) {
            if let Some(id) = id {
                self.known.insert(*id, known);
            }
        }
        Ok(())
    }

    /// The results of a node that reads a value which depends on the network's input.
    fn lower(&mut self, node: &Node, inputs: &Inputs) -> Result<Vec<Known>, Reason> {
        let view = |view: Result<View, Reason>| view.map(|view| vec![Known::View(view)]);
        match node.operator.as_str() {
            "Conv" => view(self.convolution(node, inputs)),
            "ConvTranspose" => view(self.transposed_convolution(node, inputs)),
            "Gemm" => view(self.gemm(node, inputs)),
            "MatMul" => view(self.matmul(node, inputs)),
            "BatchNormalization" => view(self.batch_norm(node, inputs)),
            "LayerNormalization" => view(self.layer_norm(node, inputs)),
            "InstanceNormalization" => view(self.instance_norm(node, inputs)),
            "GroupNormalization" => view(self.group_norm(node, inputs)),
            "MaxPool" | "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" => {
                view(self.pool(node, inputs))
            }
            "ReduceMean" | "ReduceMax" | "ReduceSum" => view(self.reduce(node, inputs)),
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Max" | "Min" | "Pow" | "PRelu" => {
                view(self.arithmetic(node, inputs))
            }
            "Softmax" | "LogSoftmax" => view(self.softmax(node, inputs)),
            "Resize" | "Upsample" => view(self.resize(node, inputs)),
            "Concat" => view(self.concat(node, inputs)),
            "Slice" | "Split" | "Gather" | "Pad" | "DepthToSpace" | "SpaceToDepth" => {
                self.moves(node, inputs)
            }
            "Shape" | "Size" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Expand"
            | "Identity" | "Dropout" | "Cast" | "QuantizeLinear" | "DequantizeLinear" | "ArgMax"
            | "CastLike" => self.shapes(node, inputs),
            _ => view(self.unary(node, inputs)),
        }
    }

    /// Shape of a stored value.
    pub(crate) fn shape(&self, value: Stored) -> [usize; 3] {
        value.checked_sub(1).map_or(self.input, |step| self.steps[step].shape)
    }

    /// Adds a step; the value that it makes.
    pub(crate) fn push(
        &mut self,
        what: What,
        inputs: &[Stored],
        shape: [usize; 3],
        name: String,
    ) -> Result<Stored, Reason> {
        let count = shape.iter().try_fold(1_usize, |product, &axis| product.checked_mul(axis));
        if count.is_none_or(|count| count == 0 || count > MOST_VALUES) {
            return Err(format!("its result would be of shape {}×{}×{}", shape[0], shape[1], shape[2]));
        }
        let inputs = inputs.to_vec();
        self.steps.push(Step { what, inputs, shape, activation: Activation::None, name, node: self.node });
        Ok(self.steps.len())
    }

    /// Adds an activation alone.
    pub(crate) fn push_activation(
        &mut self,
        activation: Activation,
        value: Stored,
    ) -> Result<Stored, Reason> {
        let made = self.push(What::Activate, &[value], self.shape(value), String::new())?;
        self.steps[made - 1].activation = activation;
        Ok(made)
    }

    /// Notes what was passed over.
    pub(crate) fn pass(&mut self, what: impl Into<String>) {
        *self.passed.entry(what.into()).or_default() += 1;
    }

    /// A name for the layer of a node, by the name of its weight.
    pub(crate) fn layer_name(&mut self, node: &Node, weight: Option<Id>) -> String {
        let weight = weight.map(|id| self.origins.get(&id).copied().unwrap_or(id));
        let weight = weight.filter(|id| self.graph.constants.contains_key(id));
        let weight = weight.map(|id| self.graph.names[id].as_str());
        self.names.layer(weight, &node.name, &node.operator)
    }
}

/// What is known of a node's inputs.
pub(crate) struct Inputs(Vec<Option<Known>>);

impl Inputs {
    /// Number of inputs that are there.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is known of an input that is there.
    pub(crate) fn get(&self, place: usize) -> Option<&Known> {
        self.0.get(place)?.as_ref()
    }

    /// An input that depends on the network's input.
    pub(crate) fn view(&self, place: usize) -> Result<&View, Reason> {
        match self.get(place) {
            Some(Known::View(view)) => Ok(view),
            Some(_) => Err(format!("its input {place} is a constant, and it is not imported in this place")),
            None => Err(format!("its input {place} is missing")),
        }
    }

    /// A constant input, `None` where it is left out.
    ///
    /// # Errors
    /// Where it depends on the network's input.
    pub(crate) fn constant(&self, place: usize, what: &str) -> Result<Option<&Tensor>, Reason> {
        match self.get(place) {
            Some(Known::Constant(tensor)) => Ok(Some(tensor)),
            Some(_) => {
                Err(format!("its {what} depends on the network's input; it must be a constant of the file"))
            }
            None => Ok(None),
        }
    }

    /// As [`Inputs::constant`], of one that must be there.
    pub(crate) fn needed(&self, place: usize, what: &str) -> Result<&Tensor, Reason> {
        self.constant(place, what)?.ok_or_else(|| format!("its {what} is missing"))
    }
}

/// True of the operators that can be imported, at least with some attributes.
fn is_known(operator: &str) -> bool {
    const OTHERS: [&str; 43] = [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "LayerNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "ReduceMean",
        "ReduceMax",
        "ReduceSum",
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Sum",
        "Max",
        "Min",
        "Pow",
        "PRelu",
        "Softmax",
        "LogSoftmax",
        "Resize",
        "Upsample",
        "Concat",
        "Slice",
        "Split",
        "Gather",
        "Pad",
        "DepthToSpace",
        "SpaceToDepth",
        "Shape",
        "Reshape",
        "Flatten",
        "Squeeze",
        "Unsqueeze",
        "Transpose",
        "Expand",
        "Size",
    ];
    OTHERS.contains(&operator)
        || unary::OPERATORS.contains(&operator)
        || shapes::PASSED.contains(&operator)
        || fold::OPERATORS.contains(&operator)
}

/// Why an operator is refused that is not known at all.
fn unknown(node: &Node) -> Reason {
    let hint = match node.operator.as_str() {
        "QLinearConv" | "QLinearMatMul" | "ConvInteger" | "MatMulInteger" | "QLinearAdd" => {
            "; quantise in the form with QuantizeLinear and DequantizeLinear (QDQ), or give the network before it"
        }
        "LRN" => "; local response normalisation has no operation here: train the network without it",
        "LSTM" | "GRU" | "RNN" => "; recurrent layers are not of a convolutional network",
        "If" | "Loop" | "Scan" => {
            "; export with fixed shapes, and simplify the file, so that nothing is decided while it runs"
        }
        "NonMaxSuppression" | "TopK" | "RoiAlign" => {
            "; export the network without what follows its convolutions"
        }
        "Einsum" => "; export with MatMul or Conv in its place",
        _ => "",
    };
    format!("is an operator that is not imported{hint}")
}
