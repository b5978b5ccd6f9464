//! The table of imported networks, in the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result};

use super::{Names, Record};

const DOCUMENT: &str = "docs/imported-networks.md";
const BEGIN: &str = "<!-- begin: cargo xtask bench import --write -->\n";
const END: &str = "<!-- end -->";
/// What stands before the versions.
const MADE: &str = "Made with ";
/// How a row's note begins where the model does not agree.
const BEYOND: &str = "(f16 cannot hold it: ";
const ROUNDS: &str = "(f16 in PyTorch: ";
const DIFFERS: &str = "(**differs**)";

const HEAD: &str = "| network | image | ONNX nodes → layers | same class, of the decided | largest difference of a logit | multiply-adds \
                    | arena (Cortex-M) | pairs at g = 0.5 | multiply-adds with them |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";

/// A row.
pub fn row(record: &Record) -> String {
    let agreement = &record.agreement;
    let millions = |macs: u64| format!("{:.1} M", macs as f64 / 1e6);
    let note = match (&record.beyond, &record.rounded) {
        _ if record.agrees() => String::new(),
        (Some(layer), _) => format!(" {BEYOND}`{layer}`)"),
        (None, Some(rounded)) if record.rounds() => {
            format!(" {ROUNDS}{} of {}, {:.1e})", rounded.same, rounded.decided, rounded.difference)
        }
        _ => format!(" {DIFFERS}"),
    };
    let statistics = if record.written.estimated { "*" } else { "" };
    format!(
        "| {}{statistics} | {}² | {} → {} | {} of {}{note} | {:.1e} | {} | {:.0} KB | {} | {} |",
        record.name,
        record.written.size,
        record.nodes,
        record.operations,
        agreement.same,
        agreement.decided,
        agreement.difference,
        millions(record.macs),
        record.arena_bytes as f64 / 1024.0,
        record.pairs,
        millions(record.macs_half)
    )
}

/// What the documentation says of earlier runs.
pub struct Earlier {
    /// Rows by the network's name.
    rows: BTreeMap<String, String>,
    /// What they were made with.
    versions: BTreeSet<String>,
}

impl Earlier {
    /// Of the documentation as it stands.
    ///
    /// # Errors
    /// Where it cannot be read, or lacks the marks.
    pub fn open() -> Result<Self> {
        let path = crate::root().join(DOCUMENT);
        let whole =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let (_, table, _) = parts(&whole).with_context(lacking)?;
        Ok(Self::of(table))
    }

    /// Nothing: all anew.
    pub fn none() -> Self {
        Self { rows: BTreeMap::new(), versions: BTreeSet::new() }
    }

    fn of(table: &str) -> Self {
        let rows = (table.lines().filter(|line| line.starts_with("| ")).skip(2))
            .filter_map(|line| Some((line[2..].split([' ', '*']).next()?.to_owned(), line.to_owned())));
        let versions = table.lines().filter_map(|line| line.strip_prefix(MADE)?.strip_suffix('.'));
        Self {
            rows: rows.collect(),
            versions: versions.flat_map(|all| all.split("; ")).map(str::to_owned).collect(),
        }
    }

    /// Whether there is a row of `name`.
    pub fn has(&self, name: &str) -> bool {
        self.rows.contains_key(name)
    }
}

/// The whole table, what it counts, and what is outside: the rows of `earlier`, replaced by those of `records`.
pub fn text(earlier: Earlier, records: &[Record], names: &Names) -> String {
    let Earlier { mut rows, mut versions } = earlier;
    for record in records {
        rows.insert(record.name.clone(), row(record));
        versions.insert(record.versions.clone());
    }
    let mut text = HEAD.to_owned();
    for row in rows.values() {
        let _ = writeln!(text, "{row}");
    }
    let count = |note: &str| rows.values().filter(|row| row.contains(note)).count();
    let (beyond, rounds, differ) = (count(BEYOND), count(ROUNDS), count(DIFFERS));
    let _ = writeln!(
        text,
        "\n{} of {} networks: {} agree, {rounds} differ as much in PyTorch with values of f16, {beyond} have values that f16 cannot hold, {differ} \
         differ.",
        rows.len(),
        names.convolutional.len(),
        rows.len() - differ - rounds - beyond
    );
    let open: Vec<&str> =
        names.convolutional.iter().filter(|name| !rows.contains_key(*name)).map(String::as_str).collect();
    if !open.is_empty() {
        let _ = writeln!(text, "\nNot yet run: {}.", open.join(", "));
    }
    let _ = writeln!(text, "\nOutside, for their attention: {}.", names.attention.join(", "));
    if !versions.is_empty() {
        let versions: Vec<String> = versions.into_iter().collect();
        let _ = writeln!(text, "\n{MADE}{}.", versions.join("; "));
    }
    text
}

/// Puts the table into the documentation.
pub fn put(table: &str) -> Result<()> {
    let path = crate::root().join(DOCUMENT);
    let whole = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = between(&whole, table).with_context(lacking)?;
    let fresh = path.with_extension("md.new");
    std::fs::write(&fresh, new).with_context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// `whole` with `table` between the marks.
fn between(whole: &str, table: &str) -> Option<String> {
    let (before, _, after) = parts(whole)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

/// What stands before, between and behind the marks.
fn parts(whole: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = whole.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    Some((before, table, after))
}

fn lacking() -> String {
    format!("{DOCUMENT} lacks the lines {BEGIN}{END}")
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, Earlier, HEAD, between, text};
    use crate::bench::import::Names;

    #[test]
    fn rows_of_earlier_runs_stay() {
        let table = format!(
            "\n{HEAD}| a* | 32² | 7 of 7 | 1e-3 |\n| b | 32² | 6 of 7 (**differs**) | 2e-2 |\n\n2 of 3\n\nMade with X 1; Y 2.\n"
        );
        let earlier = Earlier::of(&table);
        assert!(earlier.has("a") && earlier.has("b") && !earlier.has("network") && !earlier.has("c"));
        let names = Names {
            convolutional: ["a", "b", "c"].map(str::to_owned).to_vec(),
            attention: vec!["vit".to_owned()],
            torch: "1".to_owned(),
            torchvision: "2".to_owned(),
        };
        let text = text(earlier, &[], &names);
        assert!(text.contains("| a* | 32² | 7 of 7 | 1e-3 |\n| b | 32²"), "{text}");
        assert!(
            text.contains("2 of 3 networks: 1 agree, 0 differ as much") && text.contains("1 differ.\n"),
            "{text}"
        );
        assert!(text.contains("Not yet run: c.") && text.ends_with("Made with X 1; Y 2.\n"), "{text}");
    }

    #[test]
    fn a_table_replaces_the_one_before() {
        let whole = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let once = between(&whole, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert_eq!(between(&once, "new\n").unwrap(), once);
        assert_eq!(between("no marks", "new"), None);
    }
}
