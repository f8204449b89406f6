//! TOML as a tree.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::tree::{DEEPEST, Entry, Fault, MOST_NODES, Node, ScalarKind, Value};

/// Reads a text.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let lines = Lines::of(text);
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| lines.at(span.start));
        Fault::new(line, error.message().lines().collect::<Vec<_>>().join(", "))
    })?;
    let mut left = MOST_NODES;
    let entries = entries(table.get_ref(), &lines, &mut left, DEEPEST)?;
    Ok(Node { line: 1, value: Value::Map(entries) })
}

/// Which line a byte is on.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(
            text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect(),
        )
    }

    fn at(&self, byte: usize) -> usize {
        self.0.partition_point(|end| *end < byte) + 1
    }
}

fn entries(
    table: &DeTable<'_>,
    lines: &Lines,
    left: &mut usize,
    depth: usize,
) -> Result<Vec<Entry>, Fault> {
    let mut entries = Vec::new();
    for (key, value) in table {
        entries.push(Entry {
            line: lines.at(key.span().start),
            name: key.get_ref().to_string(),
            node: node(value, lines, left, depth)?,
        });
    }
    // As they stand in the file.
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn node(
    value: &Spanned<DeValue<'_>>,
    lines: &Lines,
    left: &mut usize,
    depth: usize,
) -> Result<Node, Fault> {
    let line = lines.at(value.span().start);
    if *left == 0 || depth == 0 {
        return Err(Fault::too_large(line, "there are too many values, or too deep ones"));
    }
    *left -= 1;
    let scalar = |text: String, kind| Value::Scalar { text, kind };
    let value = match value.get_ref() {
        DeValue::String(text) => scalar(text.to_string(), ScalarKind::Text),
        DeValue::Integer(number) if number.radix() == 10 => {
            scalar(number.as_str().to_owned(), ScalarKind::Number)
        }
        DeValue::Integer(number) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            let number = number.map_err(|_| Fault::new(line, "the number is too large"))?;
            scalar(number.to_string(), ScalarKind::Number)
        }
        DeValue::Float(number) => scalar(number.as_str().to_owned(), ScalarKind::Number),
        DeValue::Boolean(value) => scalar(value.to_string(), ScalarKind::Boolean),
        DeValue::Datetime(_) => return Err(Fault::new(line, "nothing here is a date")),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| node(item, lines, left, depth - 1));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => Value::Map(entries(table, lines, left, depth - 1)?),
    };
    Ok(Node { line, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_lines() {
        let tree = parse("[services.web]\ncommand = 'x'\n\n[services.db]\nport = 0x10\n").unwrap();
        let services = tree.get("services").unwrap();
        assert_eq!(services.entries()[0].name, "web");
        assert_eq!(services.get("web").unwrap().get("command").unwrap().line, 2);
        let port = services.get("db").unwrap().get("port").unwrap();
        assert_eq!(port.line, 5);
        assert_eq!(port.value, Value::Scalar { text: "16".into(), kind: ScalarKind::Number });
    }

    #[test]
    fn what_is_no_toml_is_told_by_line() {
        for (text, line) in [("a = 1\nb =", 2), ("a = 1\na = 2\n", 2), ("[a\n", 1)] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
        let deep = format!("a = {}{}", "[".repeat(60), "]".repeat(60));
        assert!(parse(&deep).is_err());
    }
}
