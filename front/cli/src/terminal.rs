//! The caller's terminal: its size, and raw mode for as long as a guard lives.

use std::io::{self, IsTerminal};

use pyro_api::Terminal;
use rustix::{
    stdio,
    termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr},
};

/// What a terminal is taken for when its size is unknown.
const USUAL: Terminal = Terminal { columns: 80, rows: 24 };

/// The size of the terminal that shows stdout, or else of the one that stdin comes from.
pub(crate) fn size() -> Terminal {
    let size = tcgetwinsize(stdio::stdout()).or_else(|_| tcgetwinsize(stdio::stdin()));
    match size {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Terminal { columns: size.ws_col, rows: size.ws_row }
        }
        _ => USUAL,
    }
}

/// Whether stdin comes from a terminal.
pub(crate) fn stdin_is_terminal() -> bool {
    io::stdin().is_terminal()
}

/// Passes every key on as it is, until dropped.
#[derive(Debug)]
pub(crate) struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Sets the terminal of stdin to raw mode; `None` where stdin is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        if !stdin_is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(stdio::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(stdio::stdin(), OptionalActions::Now, &self.before);
    }
}
