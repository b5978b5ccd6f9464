//! A table for a terminal: columns as wide as what stands in them, so that no two run together.

use unicode_width::UnicodeWidthStr;

/// Space between two columns.
const GAP: usize = 2;

/// Lines of a table whose first `left` columns are flush left and the others flush right. A row may have fewer cells than others.
/// What would move the cursor is written out.
pub fn columns(rows: &[Vec<String>], left: usize) -> String {
    let visible = |row: &Vec<String>| row.iter().map(|cell| lrpet_report::visible(cell)).collect();
    let rows: &[Vec<String>] = &rows.iter().map(visible).collect::<Vec<_>>();
    let widths = widths(rows);
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (index, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let space = " ".repeat(width - cell.width());
            let gap = " ".repeat(if index == 0 { 0 } else { GAP });
            let parts = if index < left { [&gap, cell.as_str(), &space] } else { [&*gap, &*space, cell] };
            line.extend(parts);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A rule as wide as the table of these rows.
pub fn rule(rows: &[Vec<String>]) -> String {
    let widths = widths(rows);
    "─".repeat(widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1))
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.width()).max();
    (0..count).map(|column| width(column).unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_never_run_together() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows = [
            row(&["layer", "MACs", "bytes"]),
            row(&["inception4e.branch3x3.reduce", "1234567890123", "9"]),
            row(&["größe×", "7"]),
            row(&[]),
        ];
        let expected = "\
layer                                  MACs  bytes
inception4e.branch3x3.reduce  1234567890123      9
größe×                                    7

";
        assert_eq!(columns(&rows, 1), expected);
        assert_eq!(rule(&rows).width(), 50);
        assert_eq!(columns(&[], 1), "");
        assert_eq!(columns(&[row(&["a\nb\u{1b}[1m", "c"])], 1), "a\\u{a}b\\u{1b}[1m  c\n");
    }
}
