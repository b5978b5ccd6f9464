//! Reading a document, and what is checked of it.

use std::fmt;

use crate::run::{FORMAT, Figures, Run};

/// Why a text is no document of this format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// No JSON, with line and column.
    Syntax(String),
    /// A field is missing or has another type, with the field's path.
    Field {
        /// Such as `layers[2].min`.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A field has a value that cannot be.
    Value(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Syntax(message) => write!(f, "not a JSON document: {message}"),
            Error::Field { field, message } => write!(f, "field {field}: {message}"),
            Error::Value(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Error {}

impl Run {
    /// Reads and [checks](Run::check) a document.
    ///
    /// # Errors
    /// [`Error`], which names the field.
    pub fn from_json(text: &str) -> Result<Run, Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let run: Run = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            let error = error.into_inner();
            let message = error.to_string();
            if error.is_data() { Error::Field { field, message } } else { Error::Syntax(message) }
        })?;
        json.end().map_err(|error| Error::Syntax(error.to_string()))?;
        run.check()?;
        Ok(run)
    }

    /// The document, in lines.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Checks what types do not say: the format, checksums, the order of figures, sums of memory.
    ///
    /// # Errors
    /// [`Error::Value`], which names the field.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |message: String| Err(Error::Value(message));
        if self.format != FORMAT {
            return wrong(format!("field format: `{}` is another format than {FORMAT}", self.format));
        }
        let crcs = [("model.crc32", Some(&self.model.crc32)), ("outputs_crc32", self.outputs_crc32.as_ref())];
        for (field, value) in crcs.into_iter().filter_map(|(field, value)| Some((field, value?))) {
            if value.len() != 8 || !value.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return wrong(format!("field {field}: `{value}` is no CRC-32 in eight hexadecimal digits"));
            }
        }
        if self.iterations == 0 {
            return wrong("field iterations: nothing was counted".to_owned());
        }
        let Figures { min, median, max } = self.total;
        if !(min <= median && median <= max) {
            return wrong(format!("field total: {min}, {median} and {max} are not in order"));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let within = |count: u64| (layer.min..=layer.max).contains(&count);
            if layer.min > layer.max || !within(layer.mean) || !layer.median.is_none_or(within) {
                return wrong(format!("field layers[{index}]: its figures are not in order"));
            }
        }
        if self.self_check.is_some_and(|check| check.passed > check.samples) {
            return wrong("field self_check: more samples passed than there are".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::tests::example;

    #[test]
    fn what_is_written_is_read_back() {
        let run = example();
        assert_eq!(Run::from_json(&run.to_json()).unwrap(), run);
    }

    #[test]
    fn errors_name_the_field() {
        let whole = serde_json::to_value(example()).unwrap();
        let message = |pointer: &str, value: serde_json::Value| {
            let mut broken = whole.clone();
            *broken.pointer_mut(pointer).unwrap() = value;
            Run::from_json(&broken.to_string()).unwrap_err().to_string()
        };
        for (pointer, value, expected) in [
            ("/format", "lrpet-run/9".into(), "field format: `lrpet-run/9`"),
            ("/layers/1/macs", (-1).into(), "field layers[1].macs: invalid value"),
            ("/layers/1/min", 1_000_000_000.into(), "field layers[1]: its figures"),
            ("/layers/0/median", 0.into(), "field layers[0]: its figures"),
            ("/total/median", 0.into(), "field total: "),
            ("/counter/kind", "ticks".into(), "field counter.kind: unknown variant `ticks`"),
            ("/model/crc32", "12".into(), "field model.crc32: `12`"),
            ("/outputs_crc32", "0000000g".into(), "field outputs_crc32: "),
            ("/iterations", 0.into(), "field iterations: "),
            ("/self_check/passed", 9.into(), "field self_check: "),
            ("/memory", serde_json::Value::Null, "field memory: "),
        ] {
            let message = message(pointer, value);
            assert!(message.starts_with(expected), "{message}");
        }
        let mut missing = whole.clone();
        missing.as_object_mut().unwrap().remove("total");
        let missing = Run::from_json(&missing.to_string()).unwrap_err().to_string();
        assert!(missing.contains("missing field `total`"), "{missing}");
        let text = example().to_json();
        for text in ["", "[", "{} {}", &text[..text.len() / 2], &format!("{text} x")] {
            assert!(Run::from_json(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut more = serde_json::to_value(example()).unwrap();
        more["later"] = 1.into();
        assert_eq!(Run::from_json(&more.to_string()).unwrap(), example());
    }
}
