//! `$NAME` and `${NAME}` in texts, in the forms of compose files:
//!
//! | Form | Stands for |
//! |---|---|
//! | `$A`, `${A}` | A; nothing where it is not set |
//! | `${A:-other}`, `${A-other}` | A; `other` where it is not set (with `:` also where it is empty) |
//! | `${A:+other}`, `${A+other}` | `other` where A is set (with `:`: and not empty) |
//! | `${A:?why}`, `${A?why}` | A; where it is not set (or empty), an error |
//! | `$$` | `$` |

use std::collections::BTreeSet;

/// How deep forms may stand within each other.
const DEEPEST: usize = 8;

/// What a text is made of.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(String),
    Variable { name: String, form: Form, or_empty: bool, other: Vec<Part> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    Plain,
    Default,
    Alternative,
    Required,
}

/// What variables stand for, and what was found out about them.
pub(crate) struct Variables<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    /// Those that were asked for.
    pub(crate) named: BTreeSet<String>,
    /// Those that have no value, and nothing said what stands for them then.
    pub(crate) unset: BTreeSet<String>,
    /// Whether one that is required and not there is let pass.
    pub(crate) lenient: bool,
}

impl<'a> Variables<'a> {
    pub(crate) fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, named: BTreeSet::new(), unset: BTreeSet::new(), lenient: false }
    }

    /// The value of one.
    pub(crate) fn get(&mut self, name: &str) -> Option<String> {
        self.named.insert(name.to_owned());
        (self.lookup)(name)
    }

    /// The text with what its variables stand for; at most so many bytes.
    pub(crate) fn expand(&mut self, text: &str, most: usize) -> Result<String, String> {
        if !text.contains('$') {
            return Ok(text.to_owned());
        }
        let mut expanded = String::new();
        self.write(&parse(text)?, &mut expanded, most)?;
        Ok(expanded)
    }

    fn write(&mut self, parts: &[Part], into: &mut String, most: usize) -> Result<(), String> {
        for part in parts {
            let (name, form, or_empty, other) = match part {
                Part::Text(text) => {
                    into.push_str(text);
                    continue;
                }
                Part::Variable { name, form, or_empty, other } => (name, *form, *or_empty, other),
            };
            let value = self.get(name);
            let given = value.filter(|value| !(or_empty && value.is_empty()));
            match (form, given) {
                (Form::Alternative, Some(_)) | (Form::Default, None) => {
                    self.write(other, into, most)?;
                }
                (_, Some(value)) => into.push_str(&value),
                (Form::Required, None) if !self.lenient => {
                    let mut why = String::new();
                    self.write(other, &mut why, most)?;
                    let why = if why.is_empty() { String::new() } else { format!(": {why}") };
                    return Err(format!("the variable {name} is not set{why}"));
                }
                (Form::Alternative | Form::Required, None) => {}
                (Form::Plain, None) => {
                    self.unset.insert(name.clone());
                }
            }
            if into.len() > most {
                return Err(format!("with its variables the text is longer than {most} bytes"));
            }
        }
        Ok(())
    }
}

/// The variables that a text names, those within its forms included.
pub(crate) fn names(text: &str, into: &mut BTreeSet<String>) {
    fn collect(parts: &[Part], into: &mut BTreeSet<String>) {
        for part in parts {
            if let Part::Variable { name, other, .. } = part {
                into.insert(name.clone());
                collect(other, into);
            }
        }
    }
    if text.contains('$')
        && let Ok(parts) = parse(text)
    {
        collect(&parts, into);
    }
}

fn parse(text: &str) -> Result<Vec<Part>, String> {
    let (parts, _) = parts(text, DEEPEST, false)?;
    Ok(parts)
}

/// Parts up to the end, or to the `}` that ends the form around them, and what comes after it.
fn parts(text: &str, depth: usize, within: bool) -> Result<(Vec<Part>, &str), String> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    loop {
        let stop = rest.find(|c| c == '$' || (within && c == '}')).unwrap_or(rest.len());
        plain.push_str(&rest[..stop]);
        rest = &rest[stop..];
        let Some(after) = rest.strip_prefix('$') else { break };
        if let Some(escaped) = after.strip_prefix('$') {
            plain.push('$');
            rest = escaped;
            continue;
        }
        let (variable, next) = if let Some(inner) = after.strip_prefix('{') {
            braced(inner, depth)?
        } else {
            let (name, next) = name(after).ok_or_else(invalid)?;
            let form = Form::Plain;
            (Part::Variable { name, form, or_empty: false, other: Vec::new() }, next)
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(variable);
        rest = next;
    }
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok((parts, rest))
}

fn braced(inner: &str, depth: usize) -> Result<(Part, &str), String> {
    let (name, rest) = name(inner).ok_or_else(invalid)?;
    if depth == 0 {
        return Err(format!("variables stand more than {DEEPEST} deep within each other"));
    }
    if let Some(rest) = rest.strip_prefix('}') {
        let form = Form::Plain;
        return Ok((Part::Variable { name, form, or_empty: false, other: Vec::new() }, rest));
    }
    let (or_empty, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let form = match rest.chars().next() {
        Some('-') => Form::Default,
        Some('+') => Form::Alternative,
        Some('?') => Form::Required,
        _ => return Err(invalid()),
    };
    let (other, rest) = parts(&rest[1..], depth - 1, true)?;
    let rest = rest.strip_prefix('}').ok_or_else(invalid)?;
    Ok((Part::Variable { name, form, or_empty, other }, rest))
}

/// A variable's name and what comes after it.
fn name(text: &str) -> Option<(String, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    let begins = name.chars().next()?;
    (!begins.is_ascii_digit()).then(|| (name.to_owned(), &text[end..]))
}

fn invalid() -> String {
    "a $ begins a variable, as in ${NAME} or ${NAME:-default}; $$ is a plain $".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        match name {
            "A" => Some("a".into()),
            "EMPTY" => Some(String::new()),
            "LONG" => Some("x".repeat(600)),
            _ => None,
        }
    }

    fn expand(text: &str) -> Result<String, String> {
        Variables::new(&lookup).expand(text, 1000)
    }

    #[test]
    fn every_form_stands_for_what_compose_says() {
        for (text, expected) in [
            ("plain", "plain"),
            ("$A-${A}", "a-a"),
            ("$$A $$$A", "$A $a"),
            ("${B}", ""),
            ("${B:-d}${B-d}", "dd"),
            ("${EMPTY:-d}|${EMPTY-d}", "d|"),
            ("${A:+y}${A+y}", "yy"),
            ("${EMPTY:+y}|${EMPTY+y}", "|y"),
            ("${B:+y}", ""),
            ("${A:?why}${A?why}", "aa"),
            ("${EMPTY?why}", ""),
            ("${B:-${C:-${A}}}!", "a!"),
            ("${B:-a$$b}", "a$b"),
            ("${B:-}", ""),
            ("{}${A}}", "{}a}"),
            ("http://${A}:80/{x}", "http://a:80/{x}"),
        ] {
            assert_eq!(expand(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_missing_or_no_form_is_said() {
        for (text, part) in [
            ("${B:?give it}", "B is not set: give it"),
            ("${EMPTY:?}", "EMPTY is not set"),
            ("$", "$$ is a plain $"),
            ("${", "$$ is a plain $"),
            ("${A", "$$ is a plain $"),
            ("${A:x}", "$$ is a plain $"),
            ("$1", "$$ is a plain $"),
            ("${A:-${B}", "$$ is a plain $"),
            ("$(date)", "$$ is a plain $"),
            ("${LONG}${LONG}", "longer than 1000 bytes"),
        ] {
            let error = expand(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(expand(&"${A:-".repeat(1000)).unwrap_err().contains("deep"));
    }

    #[test]
    fn names_are_found_also_within_forms() {
        let mut found = BTreeSet::new();
        names("$A ${B:-${C}} $$D ${E:?$F}", &mut found);
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["A", "B", "C", "E", "F"]);
    }
}
