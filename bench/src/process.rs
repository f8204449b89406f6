//! Whole processes: the command line, the start of a node, a list on a warm one.

use std::time::Instant;

use crate::{Result, figure::Report, scene::Scene};

pub(crate) fn measure(scene: &Scene, report: &mut Report) -> Result<()> {
    report.add("pyro --version", "ms", times(scene, &["--version"], scene.rounds)?);
    let mut starts = Vec::new();
    for _ in 0..scene.runs {
        // The command returns once the node it started has answered.
        starts.extend(times(scene, &["workspace", "list"], 1)?);
        scene.pyro(&["node", "stop"]).status()?;
    }
    report.add("node start (workspace list on a cold node)", "ms", starts);
    times(scene, &["workspace", "list"], 1)?;
    report.add(
        "workspace list on a warm node",
        "ms",
        times(scene, &["workspace", "list"], scene.rounds)?,
    );
    Ok(())
}

/// How long a command takes as a whole process, in milliseconds.
pub(crate) fn times(scene: &Scene, arguments: &[&str], rounds: usize) -> Result<Vec<f64>> {
    let mut samples = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let mut command = scene.pyro(arguments);
        let begun = Instant::now();
        let status = command.status()?;
        samples.push(milliseconds(begun));
        if !status.success() {
            return Err(format!("pyro {} failed: {status}", arguments.join(" ")).into());
        }
    }
    Ok(samples)
}

/// Since then, in milliseconds.
pub(crate) fn milliseconds(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1000.0
}
