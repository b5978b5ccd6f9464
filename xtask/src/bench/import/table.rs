//! The table of imported networks, in the documentation.

use std::fmt::Write;

use anyhow::{Context, Result};

use super::{Names, Record};

const DOCUMENT: &str = "docs/imported-networks.md";
const BEGIN: &str = "<!-- begin: cargo xtask bench import --write -->\n";
const END: &str = "<!-- end -->";

const HEAD: &str = "| network | image | ONNX nodes → layers | same class, of the decided | largest difference of a logit | multiply-adds \
                    | arena (Cortex-M) | pairs at g = 0.5 | multiply-adds with them |\n\
                    | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";

/// A row.
pub fn row(record: &Record) -> String {
    let agreement = &record.agreement;
    let millions = |macs: u64| format!("{:.1} M", macs as f64 / 1e6);
    let note = match (&record.beyond, &record.rounded) {
        _ if record.agrees() => String::new(),
        (Some(layer), _) => format!(" (f16 cannot hold it: `{layer}`)"),
        (None, Some(rounded)) if record.rounds() => {
            format!(" (f16 in PyTorch: {} of {}, {:.1e})", rounded.same, rounded.decided, rounded.difference)
        }
        _ => " (**differs**)".to_owned(),
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

/// The whole table, what it counts, and what is outside.
pub fn text(records: &[Record], names: &Names) -> String {
    let mut text = HEAD.to_owned();
    for record in records {
        let _ = writeln!(text, "{}", row(record));
    }
    let agree = records.iter().filter(|record| record.agrees()).count();
    let beyond = records.iter().filter(|record| !record.agrees() && record.beyond.is_some()).count();
    let rounds = records.iter().filter(|record| record.beyond.is_none() && record.rounds()).count();
    let _ = writeln!(
        text,
        "\n{} of {} networks: {agree} agree, {rounds} differ as much in PyTorch with values of f16, {beyond} have values that f16 cannot hold, {} differ.",
        records.len(),
        names.convolutional.len(),
        records.len() - agree - rounds - beyond
    );
    let all = names.convolutional.iter().map(String::as_str);
    let open: Vec<&str> = all.filter(|name| records.iter().all(|record| record.name != *name)).collect();
    if !open.is_empty() {
        let _ = writeln!(text, "\nNot yet run: {}.", open.join(", "));
    }
    let _ = writeln!(text, "\nOutside, for their attention: {}.", names.attention.join(", "));
    let mut versions: Vec<&str> = records.iter().map(|record| record.versions.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    if !versions.is_empty() {
        let _ = writeln!(text, "\nMade with {}.", versions.join("; "));
    }
    text
}

/// Puts the table into the documentation.
pub fn put(table: &str) -> Result<()> {
    let path = crate::root().join(DOCUMENT);
    let whole = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let new = between(&whole, table).with_context(|| format!("{DOCUMENT} lacks the lines {BEGIN}{END}"))?;
    let fresh = path.with_extension("md.new");
    std::fs::write(&fresh, new).with_context(|| format!("cannot write {}", fresh.display()))?;
    std::fs::rename(&fresh, &path).with_context(|| format!("cannot write {}", path.display()))
}

/// `whole` with `table` between the marks.
fn between(whole: &str, table: &str) -> Option<String> {
    let (before, rest) = whole.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, between};

    #[test]
    fn a_table_replaces_the_one_before() {
        let whole = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let once = between(&whole, "new\n").unwrap();
        assert_eq!(once, format!("before\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert_eq!(between(&once, "new\n").unwrap(), once);
        assert_eq!(between("no marks", "new"), None);
    }
}
