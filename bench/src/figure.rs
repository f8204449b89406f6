//! Figures: several samples of one thing, told as median and spread.

use serde::Serialize;

use crate::Result;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    name: &'static str,
    unit: &'static str,
    median: f64,
    minimum: f64,
    maximum: f64,
    samples: usize,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    backend: String,
    figures: Vec<Figure>,
}

impl Report {
    pub(crate) fn new(backend: &str) -> Self {
        Self { backend: backend.to_owned(), figures: Vec::new() }
    }

    /// Adds a figure from its samples; tells of it at once, since some take long.
    pub(crate) fn add(&mut self, name: &'static str, unit: &'static str, mut samples: Vec<f64>) {
        samples.sort_by(f64::total_cmp);
        let (Some(minimum), Some(maximum)) = (samples.first(), samples.last()) else { return };
        let figure = Figure {
            name,
            unit,
            median: samples[samples.len() / 2],
            minimum: *minimum,
            maximum: *maximum,
            samples: samples.len(),
        };
        let _ = std::io::Write::write_all(&mut std::io::stderr(), figure.line().as_bytes());
        self.figures.push(figure);
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    pub(crate) fn table(&self) -> String {
        let mut table = format!(
            "backend {}\n{:<46} {:>10} {:>10} {:>10}  unit (runs)\n",
            self.backend, "figure", "median", "min", "max"
        );
        for figure in &self.figures {
            table += &figure.line();
        }
        table
    }
}

impl Figure {
    fn line(&self) -> String {
        format!(
            "{:<46} {:>10.2} {:>10.2} {:>10.2}  {} ({})\n",
            self.name, self.median, self.minimum, self.maximum, self.unit, self.samples
        )
    }
}
