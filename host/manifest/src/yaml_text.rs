//! YAML as a tree: anchors and merge keys undone, within bounds.
//!
//! What an alias stands for is copied each time, and every copy is counted before it is made: a file
//! whose aliases multiply is refused, however small it is.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::tree::{DEEPEST, Entry, Fault, MOST_BYTES, MOST_NODES, Node, ScalarKind, Value};

/// Reads a text of one document.
pub(crate) fn parse(text: &str) -> Result<Node, Fault> {
    let mut composer = Composer::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event
            .map_err(|error| Fault::new(error.marker().line().max(1), error.info().to_owned()))?;
        let line = span.start.line().max(1);
        match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(Fault::new(line, "there is a second document in this file"));
                }
            }
            Event::Alias(anchor) => composer.alias(anchor, line)?,
            Event::Scalar(text, style, anchor, tag) => {
                let kind = kind(style, tag.as_deref(), line)?;
                let is_null = kind == ScalarKind::Plain && matches!(&*text, "" | "~" | "null");
                let value = if is_null {
                    Value::Null
                } else {
                    Value::Scalar { text: text.into_owned(), kind }
                };
                composer.add(Measured::one(Node { line, value }), anchor, line)?;
            }
            Event::SequenceStart(anchor, tag) => {
                known_tag(tag.as_deref(), line)?;
                composer.open(Open::List(Vec::new()), anchor, line)?;
            }
            Event::MappingStart(anchor, tag) => {
                known_tag(tag.as_deref(), line)?;
                composer.open(Open::Map(Vec::new(), None), anchor, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => composer.close()?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
    }
    Ok(composer.root.unwrap_or(Node { line: 1, value: Value::Null }))
}

fn kind(style: ScalarStyle, tag: Option<&Tag>, line: usize) -> Result<ScalarKind, Fault> {
    known_tag(tag, line)?;
    Ok(match (style, tag) {
        (_, Some(tag)) if tag.suffix == "str" => ScalarKind::Text,
        (ScalarStyle::Plain, _) => ScalarKind::Plain,
        _ => ScalarKind::Text,
    })
}

fn known_tag(tag: Option<&Tag>, line: usize) -> Result<(), Fault> {
    match tag {
        Some(tag) if !tag.is_yaml_core_schema() => {
            let tag = format!("{}{}", tag.handle, tag.suffix);
            let tag: String = tag.chars().take(60).collect();
            Err(Fault::new(line, format!("the tag {tag} is not supported")))
        }
        _ => Ok(()),
    }
}

/// A node with what it weighs.
#[derive(Clone)]
struct Measured {
    node: Node,
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Measured {
    fn one(node: Node) -> Self {
        let bytes = match &node.value {
            Value::Scalar { text, .. } => text.len(),
            _ => 0,
        };
        Self { node, nodes: 1, bytes, depth: 1 }
    }
}

/// A list or map whose end has not come.
enum Open {
    List(Vec<Measured>),
    /// With the key whose value comes next.
    Map(Vec<(Measured, Measured)>, Option<Measured>),
}

#[derive(Default)]
struct Composer {
    open: Vec<(Open, usize, usize)>,
    anchors: BTreeMap<usize, Measured>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

impl Composer {
    fn open(&mut self, open: Open, anchor: usize, line: usize) -> Result<(), Fault> {
        if self.open.len() >= DEEPEST {
            return Err(too_deep(line));
        }
        self.open.push((open, anchor, line));
        Ok(())
    }

    fn alias(&mut self, anchor: usize, line: usize) -> Result<(), Fault> {
        let Some(found) = self.anchors.get(&anchor) else {
            return Err(Fault::new(line, "an alias stands within what it refers to"));
        };
        if self.nodes + found.nodes > MOST_NODES || self.bytes + found.bytes > MOST_BYTES {
            return Err(too_large(line));
        }
        let copy = found.clone();
        self.add(copy, 0, line)
    }

    fn add(&mut self, node: Measured, anchor: usize, line: usize) -> Result<(), Fault> {
        self.nodes += node.nodes;
        self.bytes += node.bytes;
        if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
            return Err(too_large(line));
        }
        if self.open.len() + node.depth > DEEPEST {
            return Err(too_deep(line));
        }
        self.place(node, anchor, line)
    }

    /// Puts what was counted where it belongs.
    fn place(&mut self, node: Measured, anchor: usize, line: usize) -> Result<(), Fault> {
        if anchor != 0 {
            // Kept a second time.
            self.nodes += node.nodes;
            self.bytes += node.bytes;
            if self.nodes > MOST_NODES || self.bytes > MOST_BYTES {
                return Err(too_large(line));
            }
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node.node),
            Some((Open::List(items), ..)) => items.push(node),
            Some((Open::Map(entries, key), ..)) => match key.take() {
                None => *key = Some(node),
                Some(name) => entries.push((name, node)),
            },
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some((open, anchor, line)) = self.open.pop() else { return Ok(()) };
        let mut whole = Measured::one(Node { line, value: Value::Null });
        let mut weigh = |part: &Measured| {
            whole.nodes += part.nodes;
            whole.bytes += part.bytes;
            whole.depth = whole.depth.max(part.depth + 1);
        };
        let value = match open {
            Open::List(items) => {
                items.iter().for_each(&mut weigh);
                Value::List(items.into_iter().map(|item| item.node).collect())
            }
            Open::Map(pairs, _) => {
                for (key, value) in &pairs {
                    weigh(key);
                    weigh(value);
                }
                Value::Map(entries(pairs)?)
            }
        };
        whole.node.value = value;
        // Its parts were counted as they came.
        self.nodes += 1;
        self.place(whole, anchor, line)
    }
}

fn too_large(line: usize) -> Fault {
    Fault::too_large(line, "with what its aliases stand for, the file is too large")
}

fn too_deep(line: usize) -> Fault {
    Fault::too_large(line, format!("values lie more than {DEEPEST} deep within each other"))
}

/// A map's own entries, then those of what is merged into it (`<<`) that it has not itself.
fn entries(pairs: Vec<(Measured, Measured)>) -> Result<Vec<Entry>, Fault> {
    let mut own: Vec<Entry> = Vec::with_capacity(pairs.len());
    let mut names = std::collections::BTreeSet::new();
    let mut merged = Vec::new();
    for (key, value) in pairs {
        let line = key.node.line;
        let (name, plain) = match key.node.value {
            Value::Scalar { text, kind } => (text, kind == ScalarKind::Plain),
            Value::Null => ("null".to_owned(), false),
            Value::List(_) | Value::Map(_) => {
                return Err(Fault::new(line, "a key is a text"));
            }
        };
        if plain && name == "<<" {
            merged.push(value.node);
        } else if names.insert(name.clone()) {
            own.push(Entry { line, name, node: value.node });
        } else {
            let name: String = name.chars().take(60).collect();
            return Err(Fault::new(line, format!("{name:?} stands here a second time")));
        }
    }
    let mut add = |node: Node| match node.value {
        Value::Map(entries) => {
            for entry in entries {
                if names.insert(entry.name.clone()) {
                    own.push(entry);
                }
            }
            Ok(())
        }
        _ => Err(Fault::new(node.line, "<< takes a map, or a list of maps")),
    };
    for node in merged {
        match node.value {
            Value::List(items) => items.into_iter().try_for_each(&mut add)?,
            _ => add(node)?,
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn scalar(node: &Node) -> &str {
        match &node.value {
            Value::Scalar { text, .. } => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn anchors_and_merges_are_undone_and_what_is_said_itself_wins() {
        let text = "
x-base: &base {user: app, restart: always}
x-more: &more
  restart: no
  cwd: /srv
services:
  web:
    <<: [*base, *more]
    user: root
  db: *base
";
        let tree = parse(text).unwrap();
        let services = tree.get("services").unwrap();
        let web = services.get("web").unwrap();
        assert_eq!(scalar(web.get("user").unwrap()), "root");
        assert_eq!(scalar(web.get("restart").unwrap()), "always");
        assert_eq!(scalar(web.get("cwd").unwrap()), "/srv");
        assert_eq!(scalar(services.get("db").unwrap().get("user").unwrap()), "app");
        assert_eq!(web.get("user").unwrap().line, 9);
    }

    #[test]
    fn what_multiplies_is_refused_before_it_has() {
        let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            let _ = writeln!(laughs, "a{level}: &a{level} [{aliases}]");
        }
        assert!(parse(&laughs).unwrap_err().too_large);
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), "*a, ".repeat(1000));
        assert!(parse(&long).unwrap_err().too_large);
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(parse(&deep).is_err());
        let mut nested = "a0: &a0 [x]\n".to_owned();
        for level in 1..60 {
            let _ = writeln!(nested, "a{level}: &a{level} [*a{}]", level - 1);
        }
        assert!(parse(&nested).unwrap_err().too_large);
    }

    #[test]
    fn what_is_no_file_of_ours_is_told_by_line() {
        for (text, line) in [
            ("a: 1\nb: [\n", 3),
            ("a: 1\na: 2\n", 2),
            ("a: &a [*a]\n", 1),
            ("a: 1\n---\nb: 2\n", 2),
            ("a: !custom 1\n", 1),
            ("a: *nowhere\n", 1),
            ("? [a]\n: 1\n", 1),
            ("a: {<<: 1}\n", 1),
        ] {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {}", fault.what);
        }
    }

    #[test]
    fn quotes_make_a_text_and_nothing_is_null() {
        let tree = parse("a: '1'\nb: 1\nc:\nd: ~\ne: ''\n").unwrap();
        let kind = |name| match &tree.get(name).unwrap().value {
            Value::Scalar { kind, .. } => Some(*kind),
            _ => None,
        };
        assert_eq!(kind("a"), Some(ScalarKind::Text));
        assert_eq!(kind("b"), Some(ScalarKind::Plain));
        assert_eq!((kind("c"), kind("d")), (None, None));
        assert_eq!(kind("e"), Some(ScalarKind::Text));
        assert_eq!(parse("").unwrap().value, Value::Null);
    }
}
