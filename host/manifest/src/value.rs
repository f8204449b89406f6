//! Values of a tree as what they are asked to be; and the nearest right spelling of a key.

use crate::tree::{Entry, Fault, Node, ScalarKind, Value};

/// Any scalar as the text it was written as.
pub(crate) fn scalar<'a>(node: &'a Node, what: &str) -> Result<&'a str, Fault> {
    match &node.value {
        Value::Scalar { text, .. } => Ok(text),
        _ => Err(Fault::new(node.line, format!("{what} is a text, not {}", node.kind()))),
    }
}

/// A text that was written as one.
pub(crate) fn text(node: &Node, what: &str) -> Result<String, Fault> {
    match &node.value {
        Value::Scalar { text, kind: ScalarKind::Text | ScalarKind::Plain } => Ok(text.clone()),
        _ => Err(Fault::new(node.line, format!("{what} is a text, not {}", node.kind()))),
    }
}

/// A list of scalars.
pub(crate) fn words(items: &[Node], what: &str) -> Result<Vec<String>, Fault> {
    let what = format!("each of {what}");
    items.iter().map(|item| scalar(item, &what).map(ToOwned::to_owned)).collect()
}

/// The entries of a table.
pub(crate) fn table<'a>(node: &'a Node, what: &str) -> Result<&'a [Entry], Fault> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        _ => Err(Fault::new(node.line, format!("{what} is a table, not {}", node.kind()))),
    }
}

/// A whole number.
pub(crate) fn whole(node: &Node, what: &str) -> Result<u64, Fault> {
    let number = match &node.value {
        Value::Scalar { text, .. } => text.replace('_', "").parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| {
        Fault::new(node.line, format!("{what} is a whole number, not {}", shown(node)))
    })
}

/// A whole number that is not large.
pub(crate) fn count(node: &Node, what: &str) -> Result<u32, Fault> {
    u32::try_from(whole(node, what)?)
        .map_err(|_| Fault::new(node.line, format!("{what} is too large a number")))
}

/// `true` or `false`.
pub(crate) fn truth(node: &Node, what: &str) -> Result<bool, Fault> {
    match &node.value {
        Value::Scalar { text, .. } if text == "true" => Ok(true),
        Value::Scalar { text, .. } if text == "false" => Ok(false),
        _ => Err(Fault::new(node.line, format!("{what} is true or false, not {}", shown(node)))),
    }
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(node: &Node, what: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    let given = scalar(node, what)?;
    if let Some((_, meant)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meant);
    }
    let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    let fault =
        Fault::new(node.line, format!("{what} is one of {}, not {}", all.join(", "), shown(node)));
    Err(match nearest(given, &all) {
        Some(near) => fault.hint(format!("did you mean {near}?")),
        None => fault,
    })
}

/// A time in seconds: a number, or with units as in `500ms`, `30s`, `1m30s`, `2h`, `7d`.
pub(crate) fn seconds(node: &Node, what: &str) -> Result<f64, Fault> {
    let given = scalar(node, what)?;
    duration(given).ok_or_else(|| {
        Fault::new(node.line, format!("{what} is a time, not {}", shown(node)))
            .hint("a time is a number of seconds, or with units as in 500ms, 30s, 1m30s, 2h")
    })
}

fn duration(text: &str) -> Option<f64> {
    if let Ok(plain) = text.replace('_', "").parse::<f64>() {
        return (plain.is_finite() && plain >= 0.0).then_some(plain);
    }
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        seconds += number
            * match &rest[..end] {
                "us" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86_400.0,
                _ => return None,
            };
        rest = &rest[end..];
    }
    (!text.is_empty()).then_some(seconds)
}

/// A value, short enough for a message.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Scalar { text, .. } => {
            let short: String = text.chars().take(60).collect();
            format!("{short:?}")
        }
        _ => node.kind().to_owned(),
    }
}

/// A key that is not known where it stands.
pub(crate) fn unknown(entry: &Entry, place: &str, known: &[&str]) -> Fault {
    let name: String = entry.name.chars().take(60).collect();
    let fault = Fault::new(entry.line, format!("{place} has no key {name:?}"));
    match nearest(&name, known) {
        Some(near) => fault.hint(format!("did you mean {near}?")),
        None => fault.hint(format!("the keys are: {}", known.join(", "))),
    }
}

/// The candidate that is so near that it was probably meant.
pub(crate) fn nearest<'a>(text: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let given = plain(text);
    let allowed = text.chars().count().div_ceil(3);
    let near = candidates.iter().map(|candidate| (distance(&given, &plain(candidate)), *candidate));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, expected) in [
            ("30", Some(30.0)),
            ("0.5", Some(0.5)),
            ("500ms", Some(0.5)),
            ("1m30s", Some(90.0)),
            ("1h1m1s", Some(3661.0)),
            ("1.5h", Some(5400.0)),
            ("", None),
            ("-1", None),
            ("inf", None),
            ("1x", None),
            ("s", None),
            ("1s2", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn the_nearest_spelling_is_found_however_words_are_joined() {
        let known = ["command", "env_file", "depends_on", "ready_tcp"];
        assert_eq!(nearest("comand", &known), Some("command"));
        assert_eq!(nearest("env-file", &known), Some("env_file"));
        assert_eq!(nearest("dependsOn", &known), Some("depends_on"));
        assert_eq!(nearest("colour", &known), None);
    }
}
