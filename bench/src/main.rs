//! What pyro costs, beside the floor under it: the same kernel with an init that answers at once,
//! spawn and wait in the same guest, an echo on the raw channel, and for services a thread in the guest
//! that asks as pyro does.
//!
//! Prints medians with their spread for people, or everything as JSON (`--json`). Never judges and
//! never fails by a figure: timings belong here and not in tests.

mod exec;
mod figure;
mod floor;
mod process;
mod python;
mod scene;
mod services;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Parser;

use crate::{figure::Report, scene::Scene};

/// Any failure of a bench ends it with its message.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(Parser, Debug)]
#[command(about = "Measure pyro and the floor under it")]
struct Arguments {
    /// The pyro binary.
    #[arg(long)]
    pyro: PathBuf,
    /// `firecracker` or `qemu`.
    #[arg(long, default_value = "qemu")]
    backend: String,
    /// The image cache.
    #[arg(long)]
    cache: PathBuf,
    /// The environment.
    #[arg(long, default_value = "debian:12")]
    environment: String,
    /// Runs of what takes seconds.
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Runs of what takes milliseconds.
    #[arg(long, default_value_t = 50)]
    rounds: usize,
    /// `python/bench/turns.py`: measures the Python SDK as well, in turns with the Rust client.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Measure only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What can be measured alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Part {
    /// Whole processes on the host.
    Processes,
    /// Workspaces and execs, beside the floor under each.
    Execs,
    /// Services.
    Services,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let measured = runtime.map_err(Into::into).and_then(|rt| rt.block_on(measure(&arguments)));
    let printed = measured.and_then(|report| {
        let text = if arguments.json { report.json()? } else { report.table() };
        std::io::stdout().write_all(text.as_bytes())?;
        Ok(())
    });
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let mut report = Report::new(&arguments.backend);
    let scene = Scene::new(arguments)?;
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Processes) {
        process::measure(&scene, &mut report)?;
    }
    if wants(Part::Execs) {
        exec::measure(&scene, &mut report).await?;
    }
    if wants(Part::Services) {
        services::measure(&scene, &mut report).await?;
    }
    Ok(report)
}
