//! The layers of a network's file.

use std::collections::HashMap;
use std::ops::Range;

use lrpet_runtime::model::cost::Matrix;
use lrpet_runtime::model::{Inputs, MAX_INPUTS, MAX_LIVE, MAX_OPS, Op, Outputs, Shape, Value};
use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::FileError;
use super::fields::{Fields, Text, nearest, shown};
use super::operations::why_not;
use crate::network::{INPUT, Layer};

/// Most values that one layer's weight, or all together, may have: 2³¹.
const MOST_WEIGHTS: u64 = 1 << 31;

/// The layers so far.
pub(super) struct Layers<'t> {
    text: Text<'t>,
    layers: Vec<Layer>,
    /// Shapes of the values, and who may read them by what name.
    shapes: Vec<Shape>,
    values: HashMap<&'t str, Value>,
    /// Where each layer stands, and where each name, of layers and normalisations.
    spans: Vec<Range<usize>>,
    names: HashMap<String, usize>,
    /// Names of all layers of the file, with their lines.
    announced: HashMap<&'t str, usize>,
    /// Index of the last layer that reads each value.
    last_uses: Vec<Option<usize>>,
    /// Values of all weights.
    weights: u64,
}

impl<'t> Layers<'t> {
    pub fn new(text: Text<'t>, input: Shape) -> Self {
        Self {
            text,
            layers: Vec::new(),
            shapes: vec![input],
            values: HashMap::from([(INPUT, 0)]),
            spans: Vec::new(),
            names: HashMap::new(),
            announced: HashMap::new(),
            last_uses: vec![None],
            weights: 0,
        }
    }

    /// Takes notice of the names of all layers, so that an input from a later one is told as such.
    pub fn announce(&mut self, tables: &'t DeArray<'t>) -> Result<(), FileError> {
        if tables.len() > MAX_OPS {
            let span = tables.get(MAX_OPS).map(Spanned::span);
            return Err(self.text.fails(span, format!("a network has {MAX_OPS} layers at most")));
        }
        let mut lines = Lines::new(self.text.text);
        for table in tables {
            let name = table.get_ref().as_table().and_then(|table| table.get("name")?.get_ref().as_str());
            if let Some(name) = name {
                let line = lines.of(table.span().start);
                self.announced.entry(name).or_insert(line);
            }
        }
        Ok(())
    }

    /// Adds the layer of a table.
    pub fn add(&mut self, table: &'t Spanned<DeValue<'t>>) -> Result<(), FileError> {
        let index = self.layers.len();
        let mut fields = Fields::of(self.text, "layer", table)?;
        fields.place = format!("layer {}", index + 1);
        let name = fields.name("name")?;
        if let Some(name) = name {
            fields.place = format!("layer \"{name}\"");
        }
        let operation = fields.text("op")?.ok_or_else(|| fields.missing("op", "what the layer does"))?;
        let layer = self.layer(operation, name, &mut fields)?;
        fields.finish(&format!("op = \"{operation}\""))?;
        if name == Some(INPUT) {
            return Err(named(
                table,
                self.text,
                &fields_place(index, name),
                "`input` is what the network's input is called",
            ));
        }
        self.take_names(table, index, &layer, name)?;
        let output = self.output(table, index, &layer)?;
        for &value in layer.op.inputs().values() {
            self.last_uses[usize::from(value)] = Some(index);
        }
        self.last_uses.push(None);
        self.shapes.push(output);
        if let Some(name) = name {
            self.values.insert(name, (index + 1) as Value);
        }
        self.spans.push(table.span());
        self.layers.push(layer);
        Ok(())
    }

    pub fn shape(&self, value: Value) -> Shape {
        self.shapes[usize::from(value)]
    }

    /// The value that the field `input` names, or else the newest.
    pub fn input(&self, fields: &mut Fields<'t>) -> Result<Value, FileError> {
        match fields.text("input")? {
            Some(name) => self.value(fields, "input", name),
            None => Ok(self.layers.len() as Value),
        }
    }

    /// The values that the field `inputs` names.
    pub fn inputs(&self, fields: &mut Fields<'t>) -> Result<Inputs, FileError> {
        let names = fields.texts("inputs")?.ok_or_else(|| fields.missing("inputs", "a list of names"))?;
        let few = names.iter().take(MAX_INPUTS + 1);
        let values: Vec<Value> =
            few.map(|name| self.value(fields, "inputs", name)).collect::<Result<_, _>>()?;
        Inputs::new(&values)
            .ok_or_else(|| fields.fails_at("inputs", format!("there must be 1 to {MAX_INPUTS}")))
    }

    /// The value called `name`.
    pub fn value(&self, fields: &Fields<'t>, field: &str, name: &str) -> Result<Value, FileError> {
        if let Some(value) = self.values.get(name) {
            return Ok(*value);
        }
        let reason = match self.announced.get(name) {
            Some(line) => {
                format!(
                    "`{}` is this layer or a later one (line {line}); it must be an earlier one",
                    shown(name)
                )
            }
            None => {
                let like = nearest(name, self.values.keys().copied());
                let like = like.map_or(String::new(), |like| format!(" (did you mean `{like}`?)"));
                format!("no layer is called `{}`{like}", shown(name))
            }
        };
        Err(fields.fails_at(field, reason))
    }

    /// Refuses a name that is taken: tensors are called after layers and normalisations.
    fn take_names(
        &mut self,
        table: &Spanned<DeValue<'t>>,
        index: usize,
        layer: &Layer,
        name: Option<&str>,
    ) -> Result<(), FileError> {
        for new in name.into_iter().chain(layer.norm.as_ref().map(|norm| norm.name.as_str())) {
            if let Some(other) = self.names.insert(new.to_owned(), index) {
                let line = self.spans.get(other).map_or(0, |span| Lines::new(self.text.text).of(span.start));
                let other = if line == 0 { String::new() } else { format!(" in line {line}") };
                return Err(named(
                    table,
                    self.text,
                    &fields_place(index, name),
                    &format!("the name `{}` is taken by another layer or normalisation{other}", shown(new)),
                ));
            }
        }
        Ok(())
    }

    /// Shape of the result of a layer, if it goes with what it reads.
    fn output(
        &mut self,
        table: &Spanned<DeValue<'t>>,
        index: usize,
        layer: &Layer,
    ) -> Result<Shape, FileError> {
        let inputs: Vec<Shape> = layer.op.inputs().values().iter().map(|&value| self.shape(value)).collect();
        let input = inputs.first().copied().unwrap_or(Shape::new(0, 0, 0));
        let name = (!layer.has_weights()).then_some(layer.label.as_deref()).flatten();
        let place = fields_place(index, name.or_else(|| layer.has_weights().then(|| layer.op.name())));
        let fails = |reason: String| Err(named(table, self.text, &place, &reason));
        let Some(output) = layer.op.output_shape(input) else { return fails(why_not(&layer.op, input)) };
        if !layer.op.joins(output, &inputs) {
            let shapes: Vec<String> = inputs.iter().map(Shape::to_string).collect();
            return fails(match &layer.op {
                Op::Concat(_) | Op::Join(_) => {
                    format!("the inputs {} differ along another axis, or are too large", shapes.join(", "))
                }
                Op::Binary(_) => {
                    format!("the inputs {} must have one size along each axis, or 1", shapes.join(" and "))
                }
                Op::Conv(_) | Op::GeneralConv(_) => {
                    let residual = shapes.last().cloned().unwrap_or_default();
                    format!("its result of {output} and the residual of {residual} must have one shape")
                }
                _ => format!("the inputs {} must have one shape", shapes.join(" and ")),
            });
        }
        if let Some(matrix) = Matrix::of(&layer.op, input) {
            let count = matrix.rows.saturating_mul(matrix.columns);
            self.weights = self.weights.saturating_add(count);
            if self.weights > MOST_WEIGHTS {
                return fails(format!("with {count} weights the network has more than {MOST_WEIGHTS}"));
            }
        }
        Ok(output)
    }

    /// Adds the operation that lists several outputs, those of the layers called `names` in the table `fields`.
    pub fn list_outputs(&mut self, names: &[&'t str], fields: &Fields<'t>) -> Result<(), FileError> {
        let fails = |reason: String| Err(fields.fails_at("layers", reason));
        let few = names.iter().take(MAX_INPUTS + 1);
        let values: Vec<Value> =
            few.map(|name| self.value(fields, "layers", name)).collect::<Result<_, _>>()?;
        let inputs = Inputs::new(&values).filter(|inputs| inputs.values().len() > 1);
        let Some(inputs) = inputs else {
            return fails(format!(
                "there must be 2 to {MAX_INPUTS}; of one, the last layer's result is the output"
            ));
        };
        if let Some(at) = (1..values.len()).find(|&at| values[..at].contains(&values[at])) {
            return fails(format!("the output `{}` is there twice", shown(names[at])));
        }
        if self.layers.len() == MAX_OPS {
            return fails(format!(
                "a network has {MAX_OPS} layers at most, and a list of outputs is one more"
            ));
        }
        let count = values.iter().map(|&value| self.shape(value).len()).sum::<usize>();
        let count = u32::try_from(count).ok().filter(|count| !Shape::vector(*count).is_empty());
        let Some(count) = count else {
            return fails("the outputs have 2³¹ values or more".to_owned());
        };
        let index = self.layers.len();
        values.iter().for_each(|&value| self.last_uses[usize::from(value)] = Some(index));
        self.last_uses.push(None);
        self.shapes.push(Shape::vector(count));
        self.spans.push(fields.span());
        self.layers.push(Layer::new(Op::Outputs(Outputs { inputs, count })));
        Ok(())
    }

    /// The layers and the shape of the last result. Refuses results that nothing reads, and too many that are needed at once.
    pub fn finish(self) -> Result<(Vec<Layer>, Shape), FileError> {
        let count = self.layers.len();
        let fails = |index: usize, reason: String| {
            let name = self.layers[index].label.as_deref();
            let name =
                name.or_else(|| self.layers[index].has_weights().then(|| self.layers[index].op.name()));
            let place = Some(fields_place(index, name));
            FileError { place, ..self.text.fails(self.spans.get(index).cloned(), reason) }
        };
        // Values that are needed after each layer: a running count of those that begin and end.
        let mut live = usize::from(self.last_uses[0].is_some());
        let mut ends = vec![0; count];
        self.last_uses.iter().flatten().for_each(|&last| ends[last] += 1);
        for (index, ends) in ends.into_iter().enumerate() {
            live -= ends;
            if index + 1 == count {
                break;
            }
            if self.last_uses[index + 1].is_none() {
                return Err(fails(
                    index,
                    "nothing reads its result, and it is not the last layer; is it an output? [output] lists several in `layers`"
                        .to_owned(),
                ));
            }
            live += 1;
            if live > MAX_LIVE {
                let reason = format!("behind it more than {MAX_LIVE} results are needed at once");
                return Err(fails(index, reason));
            }
        }
        Ok((self.layers, self.shapes[count]))
    }
}

/// What a layer is called in messages.
fn fields_place(index: usize, name: Option<&str>) -> String {
    name.map_or_else(|| format!("layer {}", index + 1), |name| format!("layer \"{}\"", shown(name)))
}

/// The error about the layer of a table.
fn named(table: &Spanned<DeValue<'_>>, text: Text<'_>, place: &str, reason: &str) -> FileError {
    FileError { place: Some(place.to_owned()), ..text.fails(Some(table.span()), reason) }
}

/// Lines of offsets that grow, without counting from the beginning each time.
struct Lines<'t> {
    text: &'t [u8],
    at: usize,
    line: usize,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0, line: 1 }
    }

    fn of(&mut self, offset: usize) -> usize {
        let passed = self.text.get(self.at..offset).unwrap_or_default();
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count();
        self.at = self.at.max(offset);
        self.line
    }
}
