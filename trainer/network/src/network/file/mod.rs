//! Networks as files: TOML that people read and edit.
//!
//! [`Network::to_text`] writes one, [`Network::read`] reads one. `docs/networks.md` describes every field. What is read chains: shapes
//! are followed layer by layer, and an error names the file, the line, the layer, the field and what was expected.

mod error;
mod fields;
mod general;
mod layers;
mod operations;
#[cfg(test)]
mod tests;
mod values;
mod write;
mod write_general;

pub use error::FileError;

use std::path::Path;

use lrpet_runtime::model::Shape;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{InputKind, Network, OutputKind, are_names};
use crate::bounded;
use fields::{Fields, Text, nearest};
use layers::Layers;

/// Version of the files that are written, the only one so far.
pub const FILE_VERSION: u32 = 1;

/// Largest file that is read, in bytes: many times that of a network with as many layers as a program holds.
const LARGEST: u64 = 8 << 20;

impl Network {
    /// The network of a file.
    ///
    /// # Errors
    /// [`FileError`] with what is wrong first.
    pub fn read(path: &Path) -> Result<Network, FileError> {
        let file = path.display().to_string();
        let fails =
            |reason: String| FileError { file: file.clone(), line: None, place: None, field: None, reason };
        let bytes = bounded::read(path, LARGEST).map_err(|error| fails(error.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| fails("it is no text in UTF-8".to_owned()))?;
        Network::from_text(&file, &text)
    }

    /// The network that `text` describes; errors call it `file`.
    ///
    /// # Errors
    /// [`FileError`] with what is wrong first.
    pub fn from_text(file: &str, text: &str) -> Result<Network, FileError> {
        let text = Text { file, text };
        if text.text.len() as u64 > LARGEST {
            return Err(text.fails(None, format!("a network's file has {LARGEST} bytes at most")));
        }
        let document = DeTable::parse(text.text)
            .map_err(|error| text.fails(error.span(), error.message().replace('\n', ", ")))?;
        let mut head = Fields::new(text, "", document.get_ref(), document.span());
        version(&mut head)?;
        let name = head.name("name")?.ok_or_else(|| head.missing("name", "the network's name"))?.to_owned();
        let about = head.text("about")?.unwrap_or_default().to_owned();
        let (input, input_kind) = match head.get("input") {
            Some(value) => read_input(Fields::of(text, "[input]", value)?)?,
            None => return Err(head.missing("input", "a table with channels, height and width")),
        };
        let (output, output_fields) = match head.get("output") {
            Some(value) => {
                let mut fields = Fields::of(text, "[output]", value)?;
                (read_output(&mut fields)?, fields)
            }
            None => return Err(head.missing("output", "a table with classes or kind")),
        };
        let mut layers = Layers::new(text, input);
        match head.get("layer").map(Spanned::get_ref) {
            Some(DeValue::Array(tables)) if !tables.is_empty() => {
                layers.announce(tables)?;
                tables.iter().try_for_each(|table| layers.add(table))?;
            }
            _ => return Err(head.missing("layer", "one [[layer]] or more")),
        }
        head.finish("a network's file")?;
        let Output { classes, layers: outputs, names: output_names } = output;
        if let Some(outputs) = outputs {
            layers.list_outputs(&outputs, &output_fields)?;
        }
        output_fields.finish("[output]")?;
        let (layers, result) = layers.finish()?;
        let (output_kind, classes) = match classes {
            Some((classes, span)) if result != Shape::vector(classes) => {
                let reason = format!(
                    "[output] says {classes} classes, but the last layer makes {result}: give it {classes} outputs, or say \
                     kind = \"values\""
                );
                return Err(text.fails(Some(span), reason));
            }
            Some((classes, _)) => (OutputKind::Classes, classes),
            None => (OutputKind::Values, result.len() as u32),
        };
        Ok(Network { name, about, input, input_kind, output_kind, classes, output_names, layers }.labelled())
    }
}

fn version(head: &mut Fields<'_>) -> Result<(), FileError> {
    match head.integer("version", 1, u32::MAX)? {
        Some(FILE_VERSION) => Ok(()),
        Some(version) => Err(head.fails_at(
            "version",
            format!("files of version {version} are of a later lrpet; this one reads {FILE_VERSION}"),
        )),
        None => Err(head.missing("version", "which is 1")),
    }
}

fn read_input(mut fields: Fields<'_>) -> Result<(Shape, InputKind), FileError> {
    let most = i32::MAX as u32;
    let mut axis = |field, usual: Option<u32>| match fields.integer(field, 1, most)?.or(usual) {
        Some(size) => Ok(size),
        None => Err(fields.missing(field, "an integer")),
    };
    // A signal is a map of height 1.
    let shape = Shape::new(axis("channels", None)?, axis("height", Some(1))?, axis("width", None)?);
    let kinds = [("picture", InputKind::Picture), ("values", InputKind::Values)];
    let kind = one_of(&mut fields, "kind", &kinds)?.unwrap_or(InputKind::Picture);
    if shape.is_empty() {
        return Err(
            fields.fails(format!("{shape} are more values than a network can take, which is 2³¹ − 1"))
        );
    }
    fields.finish("[input]")?;
    Ok((shape, kind))
}

/// What a file says of the output.
struct Output<'t> {
    /// Number of classes, with where it stands; none where the output is values.
    classes: Option<(u32, std::ops::Range<usize>)>,
    /// The layers whose results are the outputs, where there are several.
    layers: Option<Vec<&'t str>>,
    /// What these are called, where it is said.
    names: Vec<String>,
}

fn read_output<'t>(fields: &mut Fields<'t>) -> Result<Output<'t>, FileError> {
    let kinds = [("classes", OutputKind::Classes), ("values", OutputKind::Values)];
    let kind = one_of(fields, "kind", &kinds)?.unwrap_or(OutputKind::Classes);
    let classes = fields.integer("classes", 1, i32::MAX as u32)?;
    let classes = match (kind, classes) {
        (OutputKind::Classes, None) => return Err(fields.missing("classes", "how many there are")),
        (OutputKind::Classes, Some(classes)) => {
            let span = fields.get("classes").map_or(0..0, Spanned::span);
            Some((classes, span))
        }
        (OutputKind::Values, Some(_)) => {
            return Err(fields.fails_at("classes", "an output of values has no classes"));
        }
        (OutputKind::Values, None) => None,
    };
    let layers = fields.texts("layers")?;
    if layers.is_some() && kind == OutputKind::Classes {
        return Err(
            fields.fails_at("layers", "several outputs are values: say kind = \"values\", without classes")
        );
    }
    let names: Vec<String> =
        fields.texts("names")?.unwrap_or_default().into_iter().map(String::from).collect();
    for name in &names {
        fields.check_name("names", name)?;
    }
    if !names.is_empty() && layers.as_ref().map(Vec::len) != Some(names.len()) {
        return Err(fields.fails_at("names", "there must be one for each of `layers`"));
    }
    if !are_names(&names) {
        return Err(fields.fails_at("names", "two outputs have one name"));
    }
    Ok(Output { classes, layers, names })
}

/// The value of which a field has the name.
fn one_of<T: Copy>(
    fields: &mut Fields<'_>,
    field: &'static str,
    values: &[(&str, T)],
) -> Result<Option<T>, FileError> {
    let Some(name) = fields.text(field)? else { return Ok(None) };
    if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
        return Ok(Some(*value));
    }
    let names: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
    let like = nearest(name, names.iter().copied())
        .map_or(String::new(), |like| format!(" (did you mean `{like}`?)"));
    let name = fields::shown(name);
    Err(fields.fails_at(field, format!("`{name}` is none of {}{like}", names.join(", "))))
}
