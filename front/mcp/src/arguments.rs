//! The arguments of one call, checked against what its tool takes.
//!
//! Lenient where the meaning is certain (`"30"` for 30, null for a parameter left out), and told with
//! the nearest right spelling where it is not.

use std::collections::BTreeMap;

use pyro_core::{Kind, Problem};
use serde_json::{Map, Value};

use crate::parameter::{Parameter, Shape};

/// Arguments that are what their tool takes, defaults filled in.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Arguments {
    values: Map<String, Value>,
    /// What the caller should know.
    pub(crate) notices: Vec<String>,
}

/// Parameters of the contract whose verbs are not built yet.
const NOT_YET: [&str; 2] = ["secrets", "secret_env"];

impl Arguments {
    /// Checks what a caller sent.
    pub(crate) fn check(
        parameters: &[Parameter],
        given: Option<Map<String, Value>>,
    ) -> Result<Self, Problem> {
        let mut arguments = Self::default();
        for (name, value) in given.unwrap_or_default() {
            if value.is_null() {
                continue;
            }
            if let Some(parameter) = parameters.iter().find(|parameter| parameter.name == name) {
                arguments.values.insert(name, accept(parameter, value)?);
            } else if name == "allow_host_compat" {
                if value != Value::Bool(false) {
                    arguments.notices.push(
                        "allow_host_compat is ignored: nothing runs outside a virtual machine"
                            .to_owned(),
                    );
                }
            } else if NOT_YET.contains(&name.as_str()) {
                if !asks_for_nothing(&value) {
                    return Err(not_available(&name));
                }
            } else {
                return Err(unknown(parameters, &name));
            }
        }
        for parameter in parameters {
            if arguments.values.contains_key(parameter.name) {
                continue;
            }
            if parameter.required {
                let message = format!("{} is missing", parameter.name);
                return Err(invalid(message).hint(takes(parameters)));
            }
            if let Some(default) = parameter.default() {
                arguments.values.insert(parameter.name.to_owned(), default);
            }
        }
        Ok(arguments)
    }

    /// A text, where it was given or has a default.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// A text that the call must have, or that has a default.
    pub(crate) fn required(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// A whole number, where it was given or has a default.
    pub(crate) fn integer(&self, name: &str) -> Option<u64> {
        self.values.get(name)?.as_u64()
    }

    /// A whole number that has a default and fits.
    pub(crate) fn number(&self, name: &str) -> usize {
        self.integer(name).and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
    }

    /// Yes or no.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.values.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// Names with texts.
    pub(crate) fn map(&self, name: &str) -> BTreeMap<String, String> {
        let pairs = self.values.get(name).and_then(Value::as_object).into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        pairs.map(|(key, value)| (key.clone(), text(value))).collect()
    }

    /// A list of texts.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let values = self.values.get(name).and_then(Value::as_array).into_iter().flatten();
        values.filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// Whether the call has it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

/// Whether a parameter that is not there yet was given a value that is as good as none.
fn asks_for_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "off",
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn accept(parameter: &Parameter, value: Value) -> Result<Value, Problem> {
    let name = parameter.name;
    let wrong = |what: &str| Err(invalid(format!("{name} must be {what}")));
    match parameter.shape {
        Shape::Text(_) => match value {
            Value::String(_) => Ok(value),
            // What a model means by a number or a flag here is certain.
            Value::Number(_) | Value::Bool(_) => Ok(value.to_string().into()),
            _ => wrong("a text"),
        },
        Shape::Integer(least, most, _) => {
            let number = match &value {
                Value::Number(number) => whole(number),
                Value::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            match number {
                Some(number) if (least..=most).contains(&number) => Ok(number.into()),
                _ => wrong(&format!("a whole number from {least} to {most}")),
            }
        }
        Shape::OneOf(choices) => match value.as_str() {
            Some(text) if choices.contains(&text) => Ok(value),
            _ => wrong(&format!("one of {}", choices.join(", "))),
        },
        Shape::Flag | Shape::FlagOn => match value.as_str() {
            _ if value.is_boolean() => Ok(value),
            Some("true") => Ok(true.into()),
            Some("false") => Ok(false.into()),
            _ => wrong("true or false"),
        },
        Shape::TextMap => match &value {
            Value::Object(map) if map.values().all(Value::is_string) => Ok(value),
            _ => wrong("an object whose values are texts"),
        },
        Shape::TextList => match &value {
            Value::Array(list) if list.iter().all(Value::is_string) => Ok(value),
            Value::String(_) => Ok(vec![value].into()),
            _ => wrong("a list of texts"),
        },
        Shape::Ports => {
            let all = match value {
                Value::Array(list) => list,
                one => vec![one],
            };
            match all.iter().map(port).collect::<Option<Vec<_>>>() {
                Some(ports) => Ok(ports.into()),
                None => wrong("a list of GUEST or HOST:GUEST"),
            }
        }
    }
}

/// A port as text; callers of 3.x give an object.
fn port(value: &Value) -> Option<Value> {
    let number = |value: &Value| match value {
        Value::Number(number) => whole(number).map(|number| number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let Value::Object(port) = value else { return number(value).map(Value::from) };
    if port.keys().any(|key| key != "guest_port" && key != "host_port") {
        return None;
    }
    let guest = number(port.get("guest_port")?)?;
    match port.get("host_port") {
        None | Some(Value::Null) => Some(guest.into()),
        Some(host) => Some(format!("{}:{guest}", number(host)?).into()),
    }
}

/// A number without a fraction, however it was written.
fn whole(number: &serde_json::Number) -> Option<i64> {
    let float = || number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e15);
    number.as_i64().or_else(|| float().map(|float| float as i64))
}

pub(crate) fn invalid(message: impl Into<String>) -> Problem {
    Problem::invalid("invalid_arguments", message)
}

/// Part of the contract that is not built yet.
fn not_available(name: &str) -> Problem {
    let message = format!("{name} is not available yet");
    Problem::new(Kind::NotAvailable, "not_available", message).hint("leave it out")
}

fn unknown(parameters: &[Parameter], name: &str) -> Problem {
    let near = parameters.iter().map(|parameter| (distance(name, parameter.name), parameter.name));
    let problem = invalid(format!("there is no parameter {name:?}"));
    match near.min() {
        Some((distance, near)) if distance <= 1 + near.len() / 3 => {
            problem.hint(format!("did you mean {near}?"))
        }
        _ => problem.hint(takes(parameters)),
    }
}

fn takes(parameters: &[Parameter]) -> String {
    if parameters.is_empty() {
        return "this tool takes no parameters".to_owned();
    }
    let names = parameters.iter().map(|parameter| parameter.name).collect::<Vec<_>>();
    format!("it takes: {}", names.join(", "))
}

/// How many letters must change to make one word of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut before = row[0];
        row[0] = index + 1;
        for (column, other) in right.iter().enumerate() {
            let replaced = before + usize::from(letter != *other);
            before = row[column + 1];
            row[column + 1] = replaced.min(before + 1).min(row[column] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARAMETERS: &[Parameter] = &[
        Parameter::required("command", ""),
        Parameter::optional("timeout_seconds", "", Shape::Integer(0, 100, Some(30))),
        Parameter::optional("labels", "", Shape::TextMap),
        Parameter::optional("clear_name", "", Shape::Flag),
        Parameter::rare("restart", "", Shape::OneOf(&["no", "always"])),
    ];

    fn check(given: &Value) -> Result<Arguments, Problem> {
        Arguments::check(PARAMETERS, given.as_object().cloned())
    }

    #[test]
    fn defaults_are_filled_in_and_certain_meanings_taken() {
        let arguments =
            check(&json!({"command": "ls", "labels": null, "clear_name": "true"})).unwrap();
        assert_eq!(arguments.integer("timeout_seconds"), Some(30));
        assert!(arguments.flag("clear_name"));
        assert_eq!(arguments.text("restart"), Some("no"));
        assert!(!arguments.has("labels"));
        for thirty in [json!(7), json!(7.0), json!("7")] {
            let arguments = check(&json!({"command": "ls", "timeout_seconds": thirty})).unwrap();
            assert_eq!(arguments.number("timeout_seconds"), 7);
        }
    }

    #[test]
    fn mistakes_are_told_with_what_is_right() {
        for (given, code, told) in [
            (json!({}), "invalid_arguments", "command is missing"),
            (json!({"command": ["ls"]}), "invalid_arguments", "command must be a text"),
            (
                json!({"command": "x", "timeout_seconds": 101}),
                "invalid_arguments",
                "timeout_seconds must be a whole number from 0 to 100",
            ),
            (
                json!({"command": "x", "restart": "never"}),
                "invalid_arguments",
                "restart must be one of no, always",
            ),
            (
                json!({"command": "x", "timeout": 1}),
                "invalid_arguments",
                "there is no parameter \"timeout\"",
            ),
            (json!({"command": "x", "secret_env": {"A": "B"}}), "not_available", "secret_env is"),
        ] {
            let problem = check(&given).unwrap_err();
            assert_eq!(problem.code, code, "{given}");
            assert!(problem.message.starts_with(told), "{given}: {}", problem.message);
            assert!(!problem.hints.is_empty() || told.contains(" must be "), "{given}");
        }
    }

    #[test]
    fn what_asks_for_nothing_is_no_error_and_host_compatibility_is_told_to_be_ignored() {
        let given = json!({"command": "x", "secrets": [], "seed_path": null,
            "allow_host_compat": true});
        let arguments = check(&given).unwrap();
        assert_eq!(arguments.notices.len(), 1);
        assert!(
            check(&json!({"command": "x", "allow_host_compat": false})).unwrap().notices.is_empty()
        );
    }

    #[test]
    fn the_nearest_name_is_told() {
        let problem = check(&json!({"command": "x", "timeout_second": 1})).unwrap_err();
        assert_eq!(problem.hints, ["did you mean timeout_seconds?"]);
    }
}
