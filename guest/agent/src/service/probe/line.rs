//! Has a line of output matched? Told by whoever reads the output.

use std::sync::Arc;

use regex_lite::Regex;
use tokio::sync::mpsc;

use super::Seen;

/// Of one line, this much is looked at.
const LONGEST_LINE: usize = 16 << 10;

/// Looks at one stream's lines; a clone looks at another's.
#[derive(Clone, Debug)]
pub struct LineWatch {
    pattern: Arc<Regex>,
    line: Vec<u8>,
    tell: mpsc::Sender<Seen>,
}

impl LineWatch {
    /// Tells the first line that matches.
    pub fn new(pattern: &str, tell: mpsc::Sender<Seen>) -> Result<Self, regex_lite::Error> {
        let pattern = Arc::new(compile(pattern)?);
        Ok(Self { pattern, line: Vec::new(), tell })
    }

    /// Takes in output; says whether to go on looking.
    pub fn look_at(&mut self, mut bytes: &[u8]) -> bool {
        if self.tell.is_closed() {
            return false;
        }
        loop {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            let room = LONGEST_LINE.saturating_sub(self.line.len()).min(piece.len());
            self.line.extend_from_slice(&piece[..room]);
            let Some(end) = end else { return true };
            let line = String::from_utf8_lossy(&self.line);
            let line = line.trim_end_matches('\r');
            if self.pattern.is_match(line) {
                // Who listens takes one; a second one would change nothing.
                let _ = self.tell.try_send(Seen::yes(format!("it printed: {line}")));
                return false;
            }
            self.line.clear();
            bytes = &bytes[end + 1..];
        }
    }
}

/// A pattern as it may be given: bounded, and matched in time linear in the line.
pub fn compile(pattern: &str) -> Result<Regex, regex_lite::Error> {
    regex_lite::RegexBuilder::new(pattern).size_limit(1 << 20).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_however_it_is_cut() {
        let (tell, mut told) = mpsc::channel(1);
        let mut watch = LineWatch::new("^listening on \\d+$", tell).unwrap();
        for piece in ["not listening on 80\nlist", "ening on", " 80\r"] {
            assert!(watch.look_at(piece.as_bytes()));
        }
        assert!(!watch.look_at(b"\nmore"));
        assert_eq!(told.try_recv().unwrap().result, "it printed: listening on 80");
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory() {
        let (tell, _told) = mpsc::channel(1);
        let mut watch = LineWatch::new("x", tell).unwrap();
        for _ in 0..1000 {
            assert!(watch.look_at(&[b'y'; 4096]));
        }
        assert!(watch.line.capacity() <= 2 * LONGEST_LINE);
        assert!(LineWatch::new("(", watch.tell.clone()).is_err());
    }
}
