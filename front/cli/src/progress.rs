//! Bars and spinners on a terminal, lines elsewhere.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::{output::escape, printer::Printer};

/// A spinner or bar on stderr that is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    printer: Option<Printer>,
    last: String,
}

impl Progress {
    /// Says on a terminal that something is being done.
    pub(crate) fn spinner(doing: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(style("{spinner} {msg} {elapsed:.dim}"));
        bar.set_message(doing.to_owned());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar: Some(bar), printer: None, last: String::new() }
    }

    /// Shows steps: as a bar on a terminal, as lines elsewhere, not at all in JSON mode.
    pub(crate) fn steps(printer: Printer) -> Self {
        let bar = printer.shows_progress().then(|| {
            let bar = ProgressBar::new(1000);
            bar.set_style(style("{spinner} [{bar:24}] {elapsed:.dim} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, printer: Some(printer), last: String::new() }
    }

    /// What is being done now, and how far it is where that is known (0 to 1).
    pub(crate) fn step(&mut self, message: &str, fraction: Option<f64>) {
        if let Some(bar) = &self.bar {
            bar.set_message(escape::line(message).into_owned());
            if let Some(fraction) = fraction {
                bar.set_position((fraction.clamp(0.0, 1.0) * 1000.0) as u64);
            }
        } else if let Some(printer) = self.printer
            && self.last != message
        {
            printer.step(message);
            message.clone_into(&mut self.last);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates above are well formed")
}
