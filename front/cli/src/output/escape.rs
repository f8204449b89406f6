//! Text from a guest as a terminal may be shown it: what moves the cursor, sets the title or turns
//! the direction of reading around is written out instead.

use std::{borrow::Cow, fmt::Write as _};

/// Escapes all but line breaks and tabs.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_harmful(c) && !matches!(c, '\n' | '\t'))
}

/// Escapes line breaks and tabs too, for what has one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_harmful)
}

/// Escapes line breaks and tabs only, for one line that no terminal shows.
pub(crate) fn breaks(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\r' | '\t'))
}

fn escape(text: &str, harmful: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if !harmful(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if (c as u32) < 0x100 => {
                let _ = write!(escaped, "\\x{:02x}", c as u32);
            }
            c => {
                let _ = write!(escaped, "\\u{{{:x}}}", c as u32);
            }
        }
    }
    Cow::Owned(escaped)
}

fn is_harmful(c: char) -> bool {
    c.is_control() || turns_around(c) || is_unseen(c)
}

/// The direction of reading (Unicode's bidirectional algorithm), and line breaks of its own.
fn turns_around(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Takes no room, and so could hide a difference; joiners are for scripts and pictures that need them.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_that_would_steer_it() {
        let hostile = "\x1b]0;title\x07a\tb\n\u{9b}31m\u{202e}gnp.exe\r";
        assert_eq!(text(hostile), "\\x1b]0;title\\x07a\tb\n\\x9b31m\\u{202e}gnp.exe\\r");
        assert_eq!(line("a\nb\tc"), "a\\nb\\tc");
        assert_eq!(breaks("\x1b[1ma\nb"), "\x1b[1ma\\nb");
        assert!(matches!(text("grün 木 🙂 👩\u{200d}💻"), Cow::Borrowed(_)));
        assert_eq!(text("ad\u{200b}min\u{feff}\u{e0041}"), "ad\\u{200b}min\\u{feff}\\u{e0041}");
    }
}
