//! Files of variables: `KEY=VALUE` lines, as compose reads them.
//!
//! A value without quotes ends before ` #` or at the end of its line; within `'` it is as it stands;
//! within `"` it has `\n`, `\t`, `\r`, `\"`, `\\`, `\$` and may go over lines. Variables stand for
//! their values but within `'`.

use std::collections::BTreeMap;

use crate::interpolation::Variables;

/// Variables of one file.
const MOST: usize = 4096;
/// Of one value, bytes.
const LONGEST: usize = 128 << 10;

/// Reads a text. What a variable stands for that an earlier line has not set is asked of `lookup`.
/// An error says its line.
pub(crate) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut line = 1;
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let (this, next) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = this.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = next;
            line += 1;
            continue;
        }
        let wrong = |what: &str| (line, what.to_owned());
        let statement = rest.trim_start();
        let statement = statement.strip_prefix("export ").unwrap_or(statement).trim_start();
        let end = statement.find(['=', '\n']).unwrap_or(statement.len());
        let name = statement[..end].trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong("is not KEY=VALUE lines"));
        }
        if found.len() >= MOST {
            return Err(wrong("has too many variables"));
        }
        let Some(value) = statement[end..].strip_prefix('=') else {
            // The name alone: as it is where the file is read.
            if let Some(value) = lookup(name) {
                found.insert(name.to_owned(), value);
            }
            rest = next;
            line += 1;
            continue;
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (raw, literal, after) = match value.chars().next() {
            Some('\'') => {
                let end = value[1..].find('\'').ok_or_else(|| wrong("has a quote without end"))?;
                (value[1..=end].to_owned(), true, &value[end + 2..])
            }
            Some('"') => {
                let (raw, after) =
                    quoted(&value[1..]).ok_or_else(|| wrong("has a quote without end"))?;
                (raw, false, after)
            }
            _ => {
                let end = value.find('\n').unwrap_or(value.len());
                let this = &value[..end];
                let comment = if this.starts_with('#') { Some(0) } else { this.find(" #") };
                let this = &this[..comment.unwrap_or(this.len())];
                (this.trim_end().to_owned(), false, &value[end..])
            }
        };
        let value_ends_at = text.len() - after.len();
        let (leftover, next) = after.split_once('\n').unwrap_or((after, ""));
        let leftover = leftover.trim();
        if !leftover.is_empty() && !leftover.starts_with('#') {
            return Err(wrong("has something after a quoted value"));
        }
        let value = if literal {
            raw
        } else {
            let known = |name: &str| found.get(name).cloned().or_else(|| lookup(name));
            Variables::new(&known).expand(&raw, LONGEST).map_err(|what| (line, what))?
        };
        found.insert(name.to_owned(), value);
        let consumed = &text[text.len() - rest.len()..value_ends_at];
        line += consumed.matches('\n').count() + 1;
        rest = next;
    }
    Ok(found)
}

/// A text within `"` up to its end, and what comes after that. `\$` becomes `$$`.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, character)) = chars.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                '$' => value.push_str("$$"),
                other @ ('"' | '\\') => value.push(other),
                other => {
                    value.push('\\');
                    value.push(other);
                }
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(name: &str) -> Option<String> {
        (name == "HERE").then(|| "here".to_owned())
    }

    #[test]
    fn lines_are_read_as_compose_reads_them() {
        let text = "
# a comment
A=1
export B = two words  # and a comment
C='as $it is # here'
D=\"x\\ty\\\"z \\$A ${A}\"
E=${A}-${HERE}-${NOT:-none}
F=
HERE
NOT_HERE
G=a#b
H=\"first
second\"
I=last";
        let found = parse(text, &lookup).unwrap();
        for (name, value) in [
            ("A", "1"),
            ("B", "two words"),
            ("C", "as $it is # here"),
            ("D", "x\ty\"z $A 1"),
            ("E", "1-here-none"),
            ("F", ""),
            ("HERE", "here"),
            ("G", "a#b"),
            ("H", "first\nsecond"),
            ("I", "last"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert_eq!(found.len(), 10);
    }

    #[test]
    fn what_is_wrong_is_told_by_line() {
        for (text, line) in [
            ("A=1\nB='x\n", 2),
            ("A=\"1\n2\"\n=x\n", 3),
            ("two words\n", 1),
            ("A='1' 2\n", 1),
            ("\n\nA=$\n", 3),
        ] {
            assert_eq!(parse(text, &lookup).unwrap_err().0, line, "{text:?}");
        }
    }
}
