//! Tables of comma-separated values (RFC 4180), which a spreadsheet may open: no field is a formula there.

/// One line of a table, with its end: fields in quotes where they need them.
pub fn line(fields: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let fields: Vec<String> = fields.into_iter().map(|field| quoted(field.as_ref())).collect();
    format!("{}\r\n", fields.join(","))
}

/// A field, in quotes where it needs them. One that a spreadsheet would compute (`=1+1`, unless it is a number) has an apostrophe before
/// it, by which spreadsheets know text.
fn quoted(field: &str) -> String {
    let computed = field.starts_with(['=', '+', '-', '@', '\t', '\r']) && field.parse::<f64>().is_err();
    let text = if computed { format!("'{field}") } else { field.to_owned() };
    let field = text.as_str();
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

    #[test]
    fn no_field_is_a_formula() {
        let fields = ["=1+1", "-0.5", "+1", "-x.png", "@a", "=A,B", "\t=1"];
        assert_eq!(line(fields), "'=1+1,-0.5,+1,'-x.png,'@a,\"'=A,B\",'\t=1\r\n");
    }
}
