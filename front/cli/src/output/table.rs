//! Aligned columns.

use std::fmt::Write as _;

use owo_colors::OwoColorize;

/// Rows under headings, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    first_columns(N, headings, rows)
}

/// The same without the last column, where no row `has` it.
pub(crate) fn table_with_last<const N: usize>(
    has: bool,
    headings: [&str; N],
    rows: &[[String; N]],
) -> String {
    first_columns(if has { N } else { N - 1 }, headings, rows)
}

fn first_columns<const N: usize>(
    count: usize,
    headings: [&str; N],
    rows: &[[String; N]],
) -> String {
    let mut widths = headings.map(|heading| heading.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N], bold: bool| {
        let mut written = String::new();
        for (at, (cell, width)) in cells.iter().zip(widths).take(count).enumerate() {
            let gap = if at + 1 == count { 0 } else { width + 2 };
            let _ = write!(written, "{cell:gap$}");
        }
        let written = written.trim_end();
        let _ =
            if bold { writeln!(text, "{}", written.bold()) } else { writeln!(text, "{written}") };
    };
    line(headings, true);
    for row in rows {
        line(row.each_ref().map(String::as_str), false);
    }
    text
}

/// Names and values below each other.
pub(crate) fn card(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in fields {
        let padding = " ".repeat(width - name.chars().count() + 2);
        let _ = writeln!(text, "{}{padding}{value}", name.bold());
    }
    text
}
