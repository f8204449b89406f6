//! What TOML and YAML say alike: scalars, lists and maps, each with the line it stands on.

/// The most values of a file, aliases counted as often as they are used.
pub(crate) const MOST_NODES: usize = 100_000;
/// The most bytes of all its texts together.
pub(crate) const MOST_BYTES: usize = 4 << 20;
/// How deep values may lie within each other.
pub(crate) const DEEPEST: usize = 32;

/// What is wrong, and on which line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) line: usize,
    pub(crate) what: String,
    pub(crate) hint: Option<String>,
    /// Whether it is only too much.
    pub(crate) too_large: bool,
}

impl Fault {
    pub(crate) fn new(line: usize, what: impl Into<String>) -> Self {
        Self { line, what: what.into(), hint: None, too_large: false }
    }

    pub(crate) fn too_large(line: usize, what: impl Into<String>) -> Self {
        Self { too_large: true, ..Self::new(line, what) }
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) value: Value,
}

/// What it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    Null,
    Scalar { text: String, kind: ScalarKind },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One of a map. A name stands in a map once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) line: usize,
    pub(crate) name: String,
    pub(crate) node: Node,
}

/// What a scalar says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScalarKind {
    /// Surely a text.
    Text,
    Number,
    Boolean,
    /// Whatever it is asked to be: YAML without quotes.
    Plain,
}

impl Node {
    /// What it is, for a message.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Null => "nothing",
            Value::Scalar { kind: ScalarKind::Number, .. } => "a number",
            Value::Scalar { kind: ScalarKind::Boolean, .. } => "true or false",
            Value::Scalar { .. } => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table",
        }
    }

    /// The entry of this name, where it is a map that has one.
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// What it has, where it is a map.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }
}
