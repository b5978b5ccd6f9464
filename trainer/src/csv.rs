//! Tables of comma-separated values (RFC 4180).

/// One line of a table, with its end: fields in quotes where they need them.
pub fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| quoted(field.as_ref())).collect();
    format!("{}\r\n", fields.join(","))
}

/// A field, in quotes where it needs them.
fn quoted(field: &str) -> String {
    // Spaces at the ends are part of a field, which not every reader knows.
    let needs = field.contains([',', '"', '\n', '\r']) || field.trim() != field;
    if needs { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_are_one_field() {
        let fields = ["plain", "a, b", "6\" pipe", "two\nlines", "", " cat ", "größe"];
        let expected = "plain,\"a, b\",\"6\"\" pipe\",\"two\nlines\",,\" cat \",größe\r\n";
        assert_eq!(line(fields), expected);
    }
}
