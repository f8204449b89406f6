//! Names in patches.

use super::PatchError;

/// A name as `git` writes it on a line of its own: perhaps quoted, perhaps with a time behind a tab.
pub(super) fn parse(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii_end();
    if let Some((name, _)) = unquoted(text) {
        return name;
    }
    let end = text.iter().position(|byte| *byte == b'\t').unwrap_or(text.len());
    text[..end].trim_ascii_end().to_vec()
}

/// A name in quotes, as C writes them, and what follows it.
pub(super) fn unquoted(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut name = Vec::new();
    loop {
        let (&first, after) = rest.split_first()?;
        rest = after;
        if first == b'"' {
            return Some((name, rest));
        }
        if first != b'\\' {
            name.push(first);
            continue;
        }
        let (&second, after) = rest.split_first()?;
        rest = after;
        name.push(match second {
            b'a' => 7,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'v' => 11,
            b'f' => 12,
            b'r' => b'\r',
            b'0'..=b'3' => {
                let (digits, after) = (rest.get(..2)?, rest.get(2..)?);
                if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
                    return None;
                }
                rest = after;
                (second - b'0') * 64 + (digits[0] - b'0') * 8 + (digits[1] - b'0')
            }
            other => other,
        });
    }
}

/// The name that both sides of `diff --git` have, where they have one.
pub(super) fn of_header(text: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text = text.trim_ascii_end();
    if let Some((old, rest)) = unquoted(text) {
        let rest = rest.strip_prefix(b" ")?;
        let new = unquoted(rest).map_or_else(|| rest.to_vec(), |(new, _)| new);
        return Some((old, new));
    }
    if let Some(quote) = text.windows(2).position(|two| two == b" \"")
        && let Some((new, _)) = unquoted(&text[quote + 1..])
    {
        return Some((text[..quote].to_vec(), new));
    }
    // Names may hold blanks: they are the same but for their prefixes.
    let same = |at: usize| {
        let (old, new) = (&text[..at], &text[at + 1..]);
        let tail = |name: &[u8]| name.iter().position(|byte| *byte == b'/').map(|slash| slash + 1);
        old == new || tail(old).zip(tail(new)).is_some_and(|(a, b)| old[a..] == new[b..])
    };
    let blanks = || text.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
    let at = blanks().find(|at| same(*at)).or_else(|| blanks().next())?;
    Some((text[..at].to_vec(), text[at + 1..].to_vec()))
}

/// Without the prefixes that `git` gives names, where both have them.
pub(super) fn stripped(old: Vec<u8>, new: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    const PREFIXES: [(&[u8], &[u8]); 6] = [
        (b"a/", b"b/"),
        (b"b/", b"a/"),
        (b"i/", b"w/"),
        (b"c/", b"i/"),
        (b"c/", b"w/"),
        (b"o/", b"w/"),
    ];
    for (before, after) in PREFIXES {
        let without = |name: &[u8], prefix| {
            if name == b"/dev/null" {
                Some(name.to_vec())
            } else {
                name.strip_prefix(prefix).map(<[u8]>::to_vec)
            }
        };
        if let (Some(old), Some(new)) = (without(&old, before), without(&new, after)) {
            return (old, new);
        }
    }
    (old, new)
}

/// A name within the place that a patch is applied to.
pub(super) fn within(name: &[u8], base: &[u8]) -> Result<Vec<u8>, PatchError> {
    let refused = || PatchError::Name(String::from_utf8_lossy(name).chars().take(200).collect());
    let relative = if name.starts_with(b"/") {
        let base = base.strip_suffix(b"/").unwrap_or(base);
        let rest = name.strip_prefix(base).and_then(|rest| rest.strip_prefix(b"/"));
        rest.ok_or_else(refused)?
    } else {
        name
    };
    let parts = relative.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let parts: Vec<&[u8]> = parts.collect();
    if parts.is_empty() || parts.contains(&&b".."[..]) || name.contains(&0) || name.len() > 4000 {
        return Err(refused());
    }
    Ok(parts.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_git_writes_them() {
        assert_eq!(parse(b"a/plain\n"), b"a/plain");
        assert_eq!(parse(b"with blank\t2024-01-01 00:00:00\n"), b"with blank");
        assert_eq!(parse(b"\"a/q\\\"\\t\\303\\244\"\n"), b"a/q\"\t\xc3\xa4");
        for (header, old, new) in [
            ("a/x b/x", "a/x", "b/x"),
            ("a/x y b/x y", "a/x y", "b/x y"),
            ("a/x b/x b/x b/x", "a/x b/x", "b/x b/x"),
            ("\"a/\\t\" b/x", "a/\t", "b/x"),
            ("a/x \"b/\\t\"", "a/x", "b/\t"),
            ("x x", "x", "x"),
        ] {
            let (was, is) = of_header(header.as_bytes()).unwrap();
            assert_eq!((was, is), (old.into(), new.into()), "{header}");
        }
    }

    #[test]
    fn no_name_leads_out() {
        assert_eq!(within(b"./a//b", b"/workspace").unwrap(), b"a/b");
        assert_eq!(within(b"/workspace/a", b"/workspace").unwrap(), b"a");
        for name in ["", ".", "..", "a/../b", "/etc/passwd", "/workspaces/x", "/workspace", "a\0"] {
            within(name.as_bytes(), b"/workspace").unwrap_err();
        }
    }
}
