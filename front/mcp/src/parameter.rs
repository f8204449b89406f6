//! What a tool takes, as data: the schema that a client sees, and the check of what it sends.

use serde_json::{Map, Value, json};

/// One parameter of a tool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    /// Its name, as in the contract.
    pub(crate) name: &'static str,
    /// What it means; empty where the name says it.
    pub(crate) about: &'static str,
    /// What it may be.
    pub(crate) shape: Shape,
    /// Whether a call must have it.
    pub(crate) required: bool,
    /// Whether only `workspace-full` shows it; every profile takes it.
    pub(crate) rare: bool,
}

/// What a parameter may be. Everything is flat: clients and models stumble over more.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Shape {
    /// Any text, with a default where there is one.
    Text(Option<&'static str>),
    /// A whole number between two bounds; the default where there is one.
    Integer(i64, i64, Option<i64>),
    /// One of these; the first where it is left out.
    OneOf(&'static [&'static str]),
    /// Yes or no; no where it is left out.
    Flag,
    /// Yes or no; yes where it is left out.
    FlagOn,
    /// Names with texts.
    TextMap,
    /// A list of texts.
    TextList,
    /// A list of ports: `GUEST` or `HOST:GUEST`.
    Ports,
}

impl Parameter {
    /// One that a call must have.
    pub(crate) const fn required(name: &'static str, about: &'static str) -> Self {
        Self { name, about, shape: Shape::Text(None), required: true, rare: false }
    }

    /// One that a call may have.
    pub(crate) const fn optional(name: &'static str, about: &'static str, shape: Shape) -> Self {
        Self { name, about, shape, required: false, rare: false }
    }

    /// One that few calls have.
    pub(crate) const fn rare(name: &'static str, about: &'static str, shape: Shape) -> Self {
        Self { name, about, shape, required: false, rare: true }
    }

    /// The default that stands in the schema and is taken where it is left out.
    pub(crate) fn default(&self) -> Option<Value> {
        match self.shape {
            Shape::Text(default) => default.map(Value::from),
            Shape::Integer(_, _, default) => default.map(Value::from),
            Shape::OneOf(choices) => choices.first().copied().map(Value::from),
            Shape::Flag => Some(Value::Bool(false)),
            Shape::FlagOn => Some(Value::Bool(true)),
            Shape::TextMap | Shape::TextList | Shape::Ports => None,
        }
    }

    fn schema(&self) -> Value {
        let mut schema = match self.shape {
            Shape::Text(_) => json!({"type": "string"}),
            Shape::Integer(least, most, _) => {
                json!({"type": "integer", "minimum": least, "maximum": most})
            }
            Shape::OneOf(choices) => json!({"type": "string", "enum": choices}),
            Shape::Flag | Shape::FlagOn => json!({"type": "boolean"}),
            Shape::TextMap => {
                json!({"type": "object", "additionalProperties": {"type": "string"}})
            }
            Shape::TextList | Shape::Ports => json!({"type": "array", "items": {"type": "string"}}),
        };
        if let Some(default) = self.default() {
            schema["default"] = default;
        }
        if !self.about.is_empty() {
            schema["description"] = self.about.into();
        }
        schema
    }
}

/// The schema of parameters of a tool: one flat object.
pub(crate) fn input_schema<'a>(
    parameters: impl Iterator<Item = &'a Parameter>,
) -> Map<String, Value> {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in parameters {
        properties.insert(parameter.name.to_owned(), parameter.schema());
        if parameter.required {
            required.push(Value::from(parameter.name));
        }
    }
    let mut schema = Map::new();
    schema.insert("type".to_owned(), "object".into());
    schema.insert("properties".to_owned(), properties.into());
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    schema
}
