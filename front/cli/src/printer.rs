//! The one way anything is printed: data to stdout, all else to stderr.

use std::{
    borrow::Cow,
    future::Future,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use clap::builder::StyledStr;
use owo_colors::OwoColorize;
use pyro_client::Carried;
use pyro_core::Problem;
use serde::Serialize;
use serde_json::Value;

use crate::{
    error::CommandError,
    output::{escape, units},
    progress::Progress,
};

/// How long something may take before a terminal is told that it is being done.
const SILENCE: Duration = Duration::from_millis(200);

/// Prints; in JSON mode only the one document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    /// Whether the answer is asked for as JSON.
    pub(crate) json: bool,
    stdout_is_terminal: bool,
    stderr_is_terminal: bool,
}

impl Printer {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
        }
    }

    /// Data for a person, as it is; colours are left out where there is no terminal.
    #[expect(clippy::unused_self, reason = "printing is the printer's alone")]
    pub(crate) fn data(self, text: &str) -> Result<(), CommandError> {
        let mut stdout = anstream::stdout().lock();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
            .map_err(|error| CommandError::stdout(&error))
    }

    /// One line of data.
    pub(crate) fn line(self, text: &str) -> Result<(), CommandError> {
        self.data(&format!("{text}\n"))
    }

    /// Data byte for byte.
    #[expect(clippy::unused_self, reason = "printing is the printer's alone")]
    pub(crate) fn raw(self, text: &[u8]) -> Result<(), CommandError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(text)
            .and_then(|()| stdout.flush())
            .map_err(|error| CommandError::stdout(&error))
    }

    /// One JSON document, its keys sorted.
    pub(crate) fn json(self, document: &impl Serialize) -> Result<(), CommandError> {
        let value = serde_json::to_value(document).map_err(|error| {
            Problem::failed("output_failed", "cannot write the result as JSON").cause(error)
        })?;
        let mut text = serde_json::to_string_pretty(&sorted(value)).unwrap_or_default();
        text.push('\n');
        self.raw(text.as_bytes())
    }

    /// One JSON document on one line, its keys sorted.
    pub(crate) fn json_line(self, document: &impl Serialize) -> Result<(), CommandError> {
        let value = serde_json::to_value(document).map_err(|error| {
            Problem::failed("output_failed", "cannot write the result as JSON").cause(error)
        })?;
        self.raw(format!("{}\n", sorted(value)).as_bytes())
    }

    /// Help, from the parser.
    pub(crate) fn styled(self, text: &StyledStr) -> Result<(), CommandError> {
        self.data(&text.ansi().to_string())
    }

    /// Something worth knowing that is not what was asked for.
    pub(crate) fn notice(self, text: &str) {
        self.tell(&format!("{} {}", "note:".bold(), self.on_stderr(text)));
    }

    /// What to type next.
    pub(crate) fn hint(self, text: &str) {
        self.tell(&format!("{} {}", "hint:".cyan().bold(), self.on_stderr(text)));
    }

    /// Progress, one line.
    pub(crate) fn step(self, text: &str) {
        self.tell(&self.on_stderr(text));
    }

    /// An error with its causes and hints.
    pub(crate) fn problem(self, problem: &Problem) {
        self.tell(&format!("{} {}", "error:".red().bold(), self.on_stderr(&problem.message)));
        for cause in &problem.causes {
            self.tell(&format!("  {} {}", "caused by:".bold(), self.on_stderr(cause)));
        }
        for hint in &problem.hints {
            self.hint(hint);
        }
    }

    /// Wrong usage, from the parser.
    pub(crate) fn usage(self, error: &clap::Error) {
        self.tell(error.render().ansi().to_string().trim_end());
    }

    /// Text from a guest as stdout may show it: as it is unless stdout is a terminal.
    pub(crate) fn shown(self, text: &str) -> Cow<'_, str> {
        if self.stdout_is_terminal { escape::text(text) } else { Cow::Borrowed(text) }
    }

    /// The same for bytes that are no text: as they are unless stdout is a terminal.
    pub(crate) fn shown_bytes(self, bytes: Vec<u8>) -> Vec<u8> {
        if !self.stdout_is_terminal {
            return bytes;
        }
        self.shown(&String::from_utf8_lossy(&bytes)).as_bytes().to_vec()
    }

    /// The same for one cell of a table, which never breaks its line.
    pub(crate) fn cell(self, text: &str) -> String {
        if self.stdout_is_terminal { escape::line(text) } else { escape::breaks(text) }.into_owned()
    }

    /// Whether a person sees stderr as it is written.
    pub(crate) fn shows_progress(self) -> bool {
        self.stderr_is_terminal && !self.json
    }

    /// The end of something that may take a while; a terminal is told what is being done.
    pub(crate) async fn while_waiting<T>(self, doing: &str, future: impl Future<Output = T>) -> T {
        tokio::pin!(future);
        if !self.shows_progress() {
            return future.await;
        }
        if let Ok(done) = tokio::time::timeout(SILENCE, &mut future).await {
            return done;
        }
        let _spinner = Progress::spinner(doing);
        future.await
    }

    /// The same of something that carries bytes, which are told as they go.
    pub(crate) async fn while_carrying<T>(
        self,
        doing: &str,
        carried: &Carried,
        future: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(future);
        if !self.shows_progress() {
            return future.await;
        }
        if let Ok(done) = tokio::time::timeout(SILENCE, &mut future).await {
            return done;
        }
        let mut spinner = Progress::spinner(doing);
        let mut tick = tokio::time::interval(SILENCE);
        loop {
            tokio::select! {
                done = &mut future => return done,
                _ = tick.tick() => {
                    spinner.step(&format!("{doing}: {}", units::bytes(carried.bytes())), None);
                }
            }
        }
    }

    pub(crate) fn on_stderr(self, text: &str) -> Cow<'_, str> {
        if self.stderr_is_terminal { escape::text(text) } else { Cow::Borrowed(text) }
    }

    fn tell(self, line: &str) {
        if !self.json {
            // Where stderr is gone there is nobody left to tell.
            let _ = writeln!(anstream::stderr(), "{line}");
        }
    }
}

/// The same value with the keys of every object in order, whatever the map's own order is.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.into_iter().collect();
            fields.sort_by(|(one, _), (other, _)| one.cmp(other));
            fields.into_iter().map(|(key, value)| (key, sorted(value))).collect()
        }
        plain => plain,
    }
}
