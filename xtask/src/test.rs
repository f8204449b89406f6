//! `cargo xtask test`: everything that must hold before a change is merged, in one command. It is
//! what `make check` and `.ci/run` call.
//!
//! Each section is said, timed and run to its end; one that fails fails the whole, is never tried
//! again, and does not keep the others from running. Refuses to know what any test does.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, IsTerminal, Write as _},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{docs, layers, tree, wire};

/// The environments that the stories use.
const ENVIRONMENTS: [&str; 2] = ["debian:12", "debian:12-base"];
/// What is built for every kind of test: always the same, so that it is compiled once.
const WHOLE: [&str; 2] = ["--workspace", "--locked"];
/// The tests that need no virtual machine, as nextest calls them.
const UNIT: &str = "not package(pyro-e2e)";
/// The stories on real virtual machines.
const STORIES: &str = "package(pyro-e2e)";
/// Those that can be told on Firecracker, which has no templates. Real trees come from registries, which the lab
/// does not reach.
const LAB_STORIES: &str = "package(pyro-e2e) - binary(templates) - binary(trees)";
/// Of those, the ones that are: what becomes of a transfer whose node, keeper or client dies is told on QEMU.
const TOLD_IN_THE_LAB: &str = "not test(/by_the_death_of_(the_node|the_keeper|its_client)$/)";
/// Lab VMs that tell the stories side by side. Each has one processor, and a guest in a guest is an
/// order of magnitude slower than one on this machine.
const LABS: usize = 2;
/// Parts in which they do so, each in a VM of its own: one that falls silent is told again in a new VM, and so
/// is no more than its part.
const SLICES: usize = 6;
/// Memory of each, in MiB.
const LAB_MEMORY: &str = "7168";
/// How long the stories may take in the lab, in seconds.
const LAB_TIMEOUT: &str = "3600";

/// Run every check and every test there is.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run only these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Leave out what runs on Firecracker, in the lab's VM.
    #[arg(long)]
    no_lab: bool,
    /// Run only tests whose names match (see `cargo nextest run --help`, FILTERS).
    #[arg(last = true)]
    filters: Vec<String>,
}

/// What can be run alone.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Format, lints, layers, generated files, licences.
    Style,
    /// Tests that need no virtual machine.
    Unit,
    /// The stories, on QEMU on this machine.
    Qemu,
    /// The stories, on Firecracker in the lab.
    Lab,
    /// The life of a workspace as a script, on QEMU and, unless that is left out, in the lab.
    Smoke,
    /// The examples, on QEMU.
    Examples,
    /// The Python package: lock, lints, types, tests, stories, and the wheel.
    Python,
    /// The MCP server with the clients that people use.
    Mcp,
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let wants = |part| {
        let only = arguments.only.is_empty() || arguments.only.contains(&part);
        only && !(part == Part::Lab && arguments.no_lab)
    };
    let on_machines = [Part::Smoke, Part::Qemu, Part::Examples, Part::Python, Part::Mcp, Part::Lab];
    let target = tree::target_directory()?;
    let suite = Suite { target, filters: arguments.filters.clone() };
    let mut report = Report::default();
    if wants(Part::Style) {
        report.section("format", || cargo(&["fmt", "--all", "--check"]));
        report.section("lints", || {
            cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny=warnings"])
        });
        report.section("layers", || layers::run(&layers::Arguments {}).map(|_| None));
        report.section("wire", || wire::run(&wire::Arguments { check: true }).map(|_| None));
        report.section("documents", || docs::run(&docs::Arguments::default()).map(|_| None));
        report.section("licences, bans, sources", || {
            let mut deny = tree::tool("cargo-deny")?;
            complete(deny.args(["--workspace", "--locked", "check", "licenses", "bans", "sources"]))
        });
    }
    if wants(Part::Unit) {
        report.section("tests", || suite.unit());
        report.section("tests in documents", || {
            cargo(&["test", "--quiet", "--doc", "--workspace", "--locked"])
        });
    }
    if on_machines.into_iter().any(wants) {
        let built = report.section("pyro, as it is released", || {
            cargo(&["build", "--release", "--locked", "--package", "pyro"])
        }) && report.section("environments", || suite.build_environments());
        if built && wants(Part::Smoke) {
            report.section("smoke on qemu", || suite.smoke_here());
            if !arguments.no_lab {
                report.section("smoke on firecracker, in the lab", smoke_in_the_lab);
            }
        }
        if built && wants(Part::Qemu) {
            report.section("stories on qemu", || suite.stories_here());
        }
        if built && wants(Part::Examples) {
            report.section("examples", || suite.script("check-examples.sh", &[]));
        }
        if built && wants(Part::Python) {
            report.section("Python package", || suite.script("check-python.sh", &[]));
            report.section("distribution", || suite.script("dist-check.sh", &[]));
        }
        if built && wants(Part::Mcp) {
            report.section("MCP server", || suite.script("check-mcp.sh", &[]));
        }
        if built && wants(Part::Lab) {
            report.section("stories on firecracker, in the lab", || suite.stories_in_the_lab());
        }
    }
    println!("\n{report}");
    Ok(if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

struct Suite {
    target: PathBuf,
    filters: Vec<String>,
}

impl Suite {
    fn pyro(&self) -> PathBuf {
        self.target.join("release").join("pyro")
    }

    fn unit(&self) -> Result<Option<String>> {
        let mut nextest = tree::tool("cargo-nextest")?;
        nextest.args(["nextest", "run", "--profile=ci"]).args(WHOLE).args(["-E", UNIT]);
        // What is left out elsewhere for the time it takes, or the archive it needs, is run here.
        nextest.args(["--run-ignored", "all"]).args(&self.filters);
        summarized(&mut nextest)
    }

    fn build_environments(&self) -> Result<Option<String>> {
        let home = self.target.join("test-home");
        let pyro = |arguments: &[&str]| {
            quiet(Command::new(self.pyro()).args(arguments).env("PYRO_HOME", &home))
        };
        for environment in ENVIRONMENTS {
            println!("building {environment}, unless it is up to date");
            pyro(&["env", "build", environment])?;
        }
        pyro(&["node", "stop"])?;
        Ok(None)
    }

    fn stories_here(&self) -> Result<Option<String>> {
        let mut nextest = tree::tool("cargo-nextest")?;
        nextest
            .args(["nextest", "run", "--profile=ci", "--status-level=pass"])
            .args(WHOLE)
            .args(["-E", STORIES])
            .args(&self.filters)
            .env("PYRO_E2E_BACKEND", "qemu")
            .env("PYRO_E2E_PYRO", self.pyro());
        summarized(&mut nextest)
    }

    /// `make smoke`.
    fn smoke_here(&self) -> Result<Option<String>> {
        let script = tree::root().join("scripts/smoke.sh");
        complete(Command::new(script).arg(self.pyro()).arg("qemu"))
    }

    /// A script of the tree that tests the program on this machine.
    fn script(&self, name: &str, arguments: &[&str]) -> Result<Option<String>> {
        let mut script = Command::new(tree::root().join("scripts").join(name));
        complete(script.args(arguments).env("PYRO_E2E_PYRO", self.pyro()))
    }

    /// The lab's VM has neither cargo nor a network: the stories go there as an archive, with the
    /// program that runs them.
    fn stories_in_the_lab(&self) -> Result<Option<String>> {
        let lab = self.target.join("lab");
        fs::create_dir_all(&lab).with_context(|| format!("create {}", lab.display()))?;
        let archive = lab.join("stories.tar.zst");
        let mut nextest = tree::tool("cargo-nextest")?;
        let runner = PathBuf::from(nextest.get_program());
        complete(
            nextest
                .args(["nextest", "archive"])
                .args(WHOLE)
                .args(["-E", LAB_STORIES])
                .arg("--archive-file")
                .arg(&archive),
        )?;
        // Stories of a network bring real tools into guests, and the lab's VM has none of them.
        let pack = tree::root().join("scripts/pack-guest-tools.sh");
        complete(Command::new(pack).arg(lab.join("tools")))?;
        let copy = lab.join("cargo-nextest");
        fs::copy(&runner, &copy).with_context(|| format!("copy {}", runner.display()))?;

        // So that none of them has to.
        let program = std::env::current_exe().context("find this program")?;
        complete(Command::new(&program).args(["lab", "--path"]))?;
        let tell = |slice: usize| {
            let mut command = Command::new(&program);
            command
                .args(["lab", "--timings", "--timeout", LAB_TIMEOUT, "--memory", LAB_MEMORY])
                .args(["--env", "PYRO_E2E_BACKEND=firecracker"])
                .args(["--env", "PYRO_E2E_PYRO=/target/release/pyro"])
                .args(["--env", "PYRO_E2E_TOOLS=/target/lab/tools"])
                .args(["--", "/target/lab/cargo-nextest", "nextest", "run", "--profile=ci"])
                .args(["--archive-file=/target/lab/stories.tar.zst", "--workspace-remap=/pyro"])
                // One after the other: two on one processor only wait for each other.
                .args(["--status-level=pass", "--test-threads=1"])
                .arg(format!("--partition=slice:{}/{SLICES}", slice + 1))
                .args(&self.filters);
            if self.filters.is_empty() {
                command.args(["-E", TOLD_IN_THE_LAB]);
            } else {
                // Few stories may leave a part without any.
                command.arg("--no-tests=pass");
            }
            summarized(&mut command)
        };
        let in_turn = |lab: usize| (lab..SLICES).step_by(LABS).map(&tell).collect::<Vec<_>>();
        let told: Vec<_> = thread::scope(|scope| {
            let labs: Vec<_> = (0..LABS).map(|lab| scope.spawn(move || in_turn(lab))).collect();
            labs.into_iter().flat_map(|lab| lab.join().expect("telling does not panic")).collect()
        });
        let mut summaries = Vec::new();
        let mut failed = false;
        for told in told {
            match told {
                Ok(summary) => summaries.extend(summary),
                Err(error) => match error.downcast::<TestsFailed>() {
                    Ok(TestsFailed { summary }) => {
                        summaries.extend(summary);
                        failed = true;
                    }
                    Err(error) => return Err(error),
                },
            }
        }
        let summary = Some(summaries.join("\n"));
        if failed { Err(TestsFailed { summary }.into()) } else { Ok(summary) }
    }
}

/// `make smoke-firecracker`.
fn smoke_in_the_lab() -> Result<Option<String>> {
    let program = std::env::current_exe().context("find this program")?;
    let script = ["scripts/smoke.sh", "/target/release/pyro", "firecracker"];
    complete(Command::new(program).args(["lab", "--timings", "--"]).args(script))
}

/// What became of each section.
#[derive(Default)]
struct Report {
    sections: Vec<Section>,
}

struct Section {
    name: &'static str,
    seconds: f64,
    passed: bool,
    /// The test runner's own last line.
    summary: Option<String>,
}

impl Report {
    fn section(
        &mut self,
        name: &'static str,
        work: impl FnOnce() -> Result<Option<String>>,
    ) -> bool {
        println!("\n=== {name} ===");
        let start = Instant::now();
        let (passed, summary) = match work() {
            Ok(summary) => (true, summary),
            Err(error) => {
                println!("error: {error:#}");
                let summary = error.downcast_ref::<TestsFailed>();
                (false, summary.and_then(|failed| failed.summary.clone()))
            }
        };
        let seconds = start.elapsed().as_secs_f64();
        println!("--- {name}: {} in {seconds:.0} s", if passed { "passed" } else { "FAILED" });
        self.sections.push(Section { name, seconds, passed, summary });
        passed
    }

    fn failed(&self) -> bool {
        self.sections.iter().any(|section| !section.passed)
    }
}

/// A table of the sections, and under it what the test runners said last.
impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut summaries = String::new();
        for Section { name, seconds, passed, summary } in &self.sections {
            let verdict = if *passed { "passed" } else { "FAILED" };
            writeln!(f, "{seconds:>7.0} s  {verdict}  {name}")?;
            if let Some(summary) = summary {
                writeln!(summaries, "{summary}  ({name})")?;
            }
        }
        f.write_str(&summaries)
    }
}

/// A test runner ended without success.
#[derive(Debug, thiserror::Error)]
#[error("tests failed")]
struct TestsFailed {
    summary: Option<String>,
}

fn cargo(arguments: &[&str]) -> Result<Option<String>> {
    complete(Command::new(tree::cargo()).args(arguments))
}

/// Runs a program in the checkout with its output shown as it comes.
fn complete(command: &mut Command) -> Result<Option<String>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .current_dir(tree::root())
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("run {name}"))?;
    ensure!(status.success(), "{name}: {status}");
    Ok(None)
}

/// Runs a program in the checkout; its output is shown only when it fails.
fn quiet(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(tree::root())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {name}"))?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&said)
    );
    Ok(())
}

/// Runs a test runner with its output shown as it comes, and keeps the line in which it sums up.
fn summarized(command: &mut Command) -> Result<Option<String>> {
    let name = command.get_program().to_string_lossy().into_owned();
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut running = command
        .current_dir(tree::root())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {name}"))?;
    let mut said = BufReader::new(running.stderr.take().context("the stderr was asked for")?);
    let mut summary = None;
    let mut line = Vec::new();
    while said.read_until(b'\n', &mut line).with_context(|| format!("read from {name}"))? > 0 {
        // Nobody may be reading our stderr any more: the tests go on all the same.
        let _ = std::io::stderr().write_all(&line);
        let text = String::from_utf8_lossy(&line);
        if text.contains("Summary [") {
            summary = Some(text.trim_end().to_owned());
        }
        line.clear();
    }
    let status = running.wait().with_context(|| format!("wait for {name}"))?;
    if status.success() {
        // A runner that ran nothing proved nothing.
        ensure!(summary.is_some(), "{name} ran no tests");
        return Ok(summary);
    }
    if summary.is_some() {
        return Err(TestsFailed { summary }.into());
    }
    bail!("{name}: {status}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_runner_that_fails_or_runs_nothing_does_not_pass() {
        let ran = "echo '     Summary [   0.1s] 2 tests run: 2 passed, 0 skipped' >&2";
        let summary = summarized(&mut shell(ran)).unwrap().unwrap();
        assert!(summary.ends_with("2 passed, 0 skipped"));
        assert!(summarized(&mut shell("exit 0")).is_err());
        assert!(summarized(&mut shell("exit 4")).is_err());
        let failed = summarized(&mut shell(&format!("{ran}; exit 100"))).unwrap_err();
        assert!(failed.downcast_ref::<TestsFailed>().is_some());
    }

    #[test]
    fn one_failed_section_fails_the_whole_and_the_others_run() {
        let mut report = Report::default();
        assert!(!report.section("first", || bail!("no")));
        assert!(report.section("second", || Ok(Some("Summary".into()))));
        assert!(report.failed());
        let text = report.to_string();
        assert!(text.contains("FAILED  first") && text.ends_with("Summary  (second)\n"), "{text}");
    }
}
