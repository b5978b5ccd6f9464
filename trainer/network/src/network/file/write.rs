//! Writes a network as a file.

use std::fmt::{Display, Write};

use lrpet_runtime::model::{Activation, Conv, Op, PoolKind, Shape, Value, Weights, Window};

use super::FILE_VERSION;
use super::values::ACTIVATIONS;
use crate::network::{EPSILON, INPUT, InputKind, Layer, MOMENTUM, Network, Norm, OutputKind};

impl Network {
    /// The network as the text of a file: [`Network::from_text`] reads the same network from it. Layers without weights and
    /// without a name get one.
    pub fn to_text(&self) -> String {
        let network = self.clone().labelled();
        let mut text = Writer(String::from("# A network of lrpet; docs/networks.md describes the fields.\n"));
        text.field("version", FILE_VERSION);
        text.field("name", quoted(&network.name));
        if !network.about.is_empty() {
            text.field("about", quoted(&network.about));
        }
        text.0.push_str("\n[input]\n");
        text.field("channels", network.input.channels);
        text.field("height", network.input.height);
        text.field("width", network.input.width);
        if network.input_kind == InputKind::Values {
            text.field("kind", quoted("values"));
        }
        text.0.push_str("\n[output]\n");
        match network.output_kind {
            OutputKind::Classes => text.field("classes", network.classes),
            OutputKind::Values => text.field("kind", quoted("values")),
        }
        if let Some(values) = network.output_values() {
            let list = |names: Vec<String>| format!("[{}]", names.join(", "));
            let layers: Vec<String> = values.iter().map(|&value| network.name_of(value)).collect();
            let names: Vec<String> = network.output_names.iter().map(|name| quoted(name)).collect();
            let named = !names.is_empty() && names != layers;
            text.field("layers", list(layers));
            if named {
                text.field("names", list(names));
            }
        }
        let shapes = network.value_shapes().unwrap_or_default();
        for (index, layer) in network.computing_layers().iter().enumerate() {
            text.0.push_str("\n[[layer]]\n");
            text.layer(&network, &shapes, index, layer);
        }
        text.0
    }

    /// What a file calls a value, in quotes.
    fn name_of(&self, value: Value) -> String {
        match usize::from(value).checked_sub(1) {
            None => quoted(INPUT),
            Some(layer) => quoted(self.layers[layer].name()),
        }
    }
}

impl Layer {
    /// What a file calls the operation.
    pub fn operation(&self) -> &'static str {
        match &self.op {
            Op::Conv(Conv { weights: Weights::Depthwise, .. }) => "depthwise_conv",
            Op::Conv(_) => "conv",
            Op::Linear(_) => "linear",
            Op::Pool(pool) if pool.kind == PoolKind::Max => "max_pool",
            Op::Pool(_) => "average_pool",
            Op::GlobalAveragePool { .. } => "global_average_pool",
            Op::PadShortcut(_) => "pad_shortcut",
            Op::Add { .. } => "add",
            Op::Concat(_) => "concat",
            general => super::write_general::operation(general),
        }
    }
}

/// The text so far.
pub(super) struct Writer(String);

impl Writer {
    pub(super) fn field(&mut self, name: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name} = {value}");
    }

    /// The fields of a layer; `shapes` are those of the network's values.
    fn layer(&mut self, network: &Network, shapes: &[Shape], index: usize, layer: &Layer) {
        let name_of = |value: Value| network.name_of(value);
        self.field("op", quoted(layer.operation()));
        self.field("name", quoted(layer.name()));
        match &layer.op {
            Op::Add { inputs, .. } => {
                self.inputs(inputs, name_of);
            }
            Op::Concat(concat) => {
                self.inputs(concat.inputs.values(), name_of);
            }
            Op::Join(join) => self.inputs(join.inputs.values(), name_of),
            Op::Binary(binary) => self.inputs(&binary.inputs, name_of),
            op if usize::from(op.inputs().first()) != index => {
                self.field("input", name_of(op.inputs().first()));
            }
            _ => {}
        }
        match &layer.op {
            Op::Conv(conv) => {
                if conv.weights != Weights::Depthwise {
                    self.field("out", conv.out_channels);
                }
                self.window(&conv.window);
                self.bias(layer);
                self.norm(layer.norm.as_ref());
                if let Some(residual) = conv.residual {
                    self.field("residual", name_of(residual));
                }
                self.activation(conv.activation);
            }
            Op::Linear(linear) => {
                self.field("out", linear.out_features);
                self.bias(layer);
                self.activation(linear.activation);
            }
            Op::Pool(pool) => self.window(&pool.window),
            Op::PadShortcut(shortcut) => {
                self.field("out", shortcut.out_channels);
                if shortcut.stride != 1 {
                    self.field("stride", shortcut.stride);
                }
            }
            Op::Add { activation, .. } => self.activation(*activation),
            Op::GlobalAveragePool { .. } | Op::Concat(_) => {}
            general => {
                let input = shapes.get(usize::from(layer.op.inputs().first())).copied();
                self.general(general, layer, input, name_of);
            }
        }
    }

    fn inputs(&mut self, values: &[Value], name_of: impl Fn(Value) -> String) {
        let names: Vec<String> = values.iter().map(|&value| name_of(value)).collect();
        self.field("inputs", format!("[{}]", names.join(", ")));
    }

    pub(super) fn window(&mut self, window: &Window) {
        let pair = |[height, width]: [u16; 2]| match height == width {
            true => height.to_string(),
            false => format!("[{height}, {width}]"),
        };
        self.field("kernel", pair(window.kernel));
        if window.stride != [1, 1] {
            self.field("stride", pair(window.stride));
        }
        match window.padding {
            [0, 0, 0, 0] => {}
            [top, left, bottom, right] if (top, left) == (bottom, right) => {
                self.field("padding", pair([top, left]));
            }
            [top, left, bottom, right] => {
                self.field("padding", format!("[{top}, {left}, {bottom}, {right}]"));
            }
        }
    }

    pub(super) fn bias(&mut self, layer: &Layer) {
        if layer.bias != layer.norm.is_none() {
            self.field("bias", layer.bias);
        }
    }

    pub(super) fn norm(&mut self, norm: Option<&Norm>) {
        let Some(norm) = norm else { return };
        if *norm == Norm::new(norm.name.as_str()) {
            return self.field("norm", quoted(&norm.name));
        }
        let mut text = format!("{{ name = {}", quoted(&norm.name));
        if norm.epsilon != EPSILON {
            let _ = write!(text, ", epsilon = {:?}", norm.epsilon);
        }
        if norm.momentum != MOMENTUM {
            let _ = write!(text, ", momentum = {:?}", norm.momentum);
        }
        for (field, value) in [("scale", norm.scale), ("shift", norm.shift)] {
            if !value {
                let _ = write!(text, ", {field} = false");
            }
        }
        self.field("norm", text + " }");
    }

    pub(super) fn activation(&mut self, activation: Activation) {
        if activation == Activation::None {
            return;
        }
        if let Some((name, _)) = ACTIVATIONS.iter().find(|(_, known)| *known == activation) {
            return self.field("activation", quoted(name));
        }
        let parameters = match activation {
            Activation::LeakyRelu { slope } => format!("slope = {slope:?}"),
            Activation::HardSigmoid { alpha, beta } => format!("alpha = {alpha:?}, beta = {beta:?}"),
            Activation::Elu { alpha } => format!("alpha = {alpha:?}"),
            Activation::Clip { min, max } => format!("min = {min:?}, max = {max:?}"),
            _ => String::new(),
        };
        let same = |known: &Activation| std::mem::discriminant(known) == std::mem::discriminant(&activation);
        let name = ACTIVATIONS.iter().find(|(_, known)| same(known)).map_or("none", |(name, _)| name);
        self.field("activation", format!("{{ kind = {}, {parameters} }}", quoted(name)));
    }
}

/// A text in TOML's quotes.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}
