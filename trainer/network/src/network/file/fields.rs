//! The fields of one table of a network's file.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::FileError;
use crate::network::LONGEST_NAME;

/// The text of a file.
#[derive(Clone, Copy)]
pub(super) struct Text<'t> {
    /// The file's name.
    pub file: &'t str,
    pub text: &'t str,
}

impl Text<'_> {
    /// The error at `span`.
    pub fn fails(&self, span: Option<Range<usize>>, reason: impl Into<String>) -> FileError {
        let line = span.map(|span| {
            let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
            1 + before.iter().filter(|&&byte| byte == b'\n').count()
        });
        FileError { file: self.file.to_owned(), line, place: None, field: None, reason: reason.into() }
    }
}

/// A table of which each field is asked for once; what nobody asks for is an error.
pub(super) struct Fields<'t> {
    pub text: Text<'t>,
    /// The table, as messages call it.
    pub place: String,
    table: &'t DeTable<'t>,
    span: Range<usize>,
    /// The fields that were asked for.
    known: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    pub fn new(text: Text<'t>, place: impl Into<String>, table: &'t DeTable<'t>, span: Range<usize>) -> Self {
        Self { text, place: place.into(), table, span, known: Vec::new() }
    }

    /// The table called `name` of a file.
    pub fn of(text: Text<'t>, name: &str, value: &'t Spanned<DeValue<'t>>) -> Result<Self, FileError> {
        match value.get_ref() {
            DeValue::Table(table) => Ok(Fields::new(text, name, table, value.span())),
            other => {
                Err(text.fails(Some(value.span()), format!("{name} must be a table and is {}", kind(other))))
            }
        }
    }

    /// The error about this table.
    pub fn fails(&self, reason: impl Into<String>) -> FileError {
        let place = Some(self.place.clone()).filter(|place| !place.is_empty());
        FileError { place, ..self.text.fails(Some(self.span.clone()), reason) }
    }

    /// The error about one of its fields.
    pub fn fails_at(&self, field: &str, reason: impl Into<String>) -> FileError {
        let span = self.table.get(field).map_or(self.span.clone(), Spanned::span);
        let error = FileError { field: Some(format!("`{field}`")), ..self.fails(reason) };
        FileError { line: self.text.fails(Some(span), "").line, ..error }
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The value of a field.
    pub fn get(&mut self, field: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        if !self.known.contains(&field) {
            self.known.push(field);
        }
        self.table.get(field)
    }

    pub fn has(&self, field: &str) -> bool {
        self.table.contains_key(field)
    }

    /// What a field with a wrong value should have been.
    fn wrong(&self, field: &str, value: &DeValue<'_>, expected: &str) -> FileError {
        self.fails_at(field, format!("it must be {expected} and is {}", kind(value)))
    }

    /// The error of a field that has to be there.
    pub fn missing(&self, field: &str, expected: &str) -> FileError {
        let like = self.table.keys().map(|key| key.get_ref().as_ref());
        let like = like.filter(|key| !self.known.contains(key));
        let like = nearest(field, like).map_or(String::new(), |key| format!(" (instead of `{key}`?)"));
        self.fails(format!("the field `{field}`, {expected}, is missing{like}"))
    }

    pub fn text(&mut self, field: &'static str) -> Result<Option<&'t str>, FileError> {
        match self.get(field).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(field, other, "a text in quotes")),
        }
    }

    /// A name: not empty, not long, of characters that can be seen.
    pub fn name(&mut self, field: &'static str) -> Result<Option<&'t str>, FileError> {
        let Some(name) = self.text(field)? else { return Ok(None) };
        self.check_name(field, name)?;
        Ok(Some(name))
    }

    pub fn check_name(&self, field: &str, name: &str) -> Result<(), FileError> {
        if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            let reason = format!("a name has 1 to {LONGEST_NAME} bytes, and no control characters");
            return Err(self.fails_at(field, reason));
        }
        Ok(())
    }

    pub fn flag(&mut self, field: &'static str) -> Result<Option<bool>, FileError> {
        match self.get(field).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong(field, other, "true or false")),
        }
    }

    /// A number that is no integer, or one.
    pub fn number(&mut self, field: &'static str) -> Result<Option<f64>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        match number(value) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(field, value, "a number")),
        }
    }

    /// An integer from `least` to `most`.
    pub fn integer(&mut self, field: &'static str, least: u32, most: u32) -> Result<Option<u32>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        match integer(value).filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(field, value, &format!("an integer from {least} to {most}"))),
        }
    }

    /// 1 to `most` integers of which each is at least `least`: one alone, or a list.
    pub fn integers(
        &mut self,
        field: &'static str,
        least: u16,
        expected: &str,
    ) -> Result<Option<Vec<u16>>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        let short = |value: &DeValue<'_>| {
            integer(value).and_then(|number| u16::try_from(number).ok()).filter(|number| *number >= least)
        };
        let found = match value {
            DeValue::Array(values) => values.iter().map(|value| short(value.get_ref())).collect(),
            value => short(value).map(|number| vec![number]),
        };
        match found {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.wrong(field, value, expected)),
        }
    }

    /// A number in f32.
    pub fn single(&mut self, field: &'static str) -> Result<Option<f32>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        let number = match value {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            _ => None,
        };
        match number.filter(|number: &f32| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(field, value, "a finite number")),
        }
    }

    /// A list of integers of which each is at least `least`.
    pub fn longs(
        &mut self,
        field: &'static str,
        least: u32,
        expected: &str,
    ) -> Result<Option<Vec<u32>>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        let long = |value: &Spanned<DeValue<'_>>| integer(value.get_ref()).filter(|number| *number >= least);
        let found = value.as_array().and_then(|values| values.iter().map(long).collect());
        match found {
            Some(numbers) => Ok(Some(numbers)),
            None => Err(self.wrong(field, value, expected)),
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, field: &'static str) -> Result<Option<Vec<&'t str>>, FileError> {
        let Some(value) = self.get(field).map(Spanned::get_ref) else { return Ok(None) };
        let texts = match value {
            DeValue::Array(values) => values.iter().map(|value| value.get_ref().as_str()).collect(),
            _ => None,
        };
        match texts {
            Some(texts) => Ok(Some(texts)),
            None => Err(self.wrong(field, value, "a list of names, such as [\"a\", \"b\"]")),
        }
    }

    /// Refuses fields that nobody asked for. `what` has the fields.
    pub fn finish(self, what: &str) -> Result<(), FileError> {
        let Some(key) = self.table.keys().find(|key| !self.known.contains(&key.get_ref().as_ref())) else {
            return Ok(());
        };
        let field = key.get_ref().as_ref();
        let like = nearest(field, self.known.iter().copied());
        let like = like.map_or(String::new(), |like| format!(" (did you mean `{like}`?)"));
        let known = self.known.join(", ");
        let line = self.text.fails(Some(key.span()), "").line;
        let error = self.fails(format!("there is no such field{like}; {what} has {known}"));
        Err(FileError { line, field: Some(format!("`{}`", shown(field))), ..error })
    }
}

/// A text as messages show it: its beginning, if it is long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let short: String = text.chars().take(MOST).collect();
    if short.len() < text.len() { format!("{short}…") } else { short }
}

/// The one of `names` that is most like `name`, where one is like it.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let name = shown(name).to_lowercase();
    let likeness = |other: &str| strsim::jaro_winkler(&name, &shown(other).to_lowercase());
    let best = names.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) > 0.8).then_some(best)
}

fn integer(value: &DeValue<'_>) -> Option<u32> {
    let integer = value.as_integer()?;
    u32::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(float) => float.as_str().parse().ok(),
        value => integer(value).map(f64::from),
    }
}

/// What a value is, in words.
fn kind(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("\"{}\"", shown(text)),
        DeValue::Integer(integer) => shown(integer.as_str()),
        DeValue::Float(float) => shown(float.as_str()),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(values) => format!("a list of {}", values.len()),
        DeValue::Table(_) => "a table".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
    }
}
