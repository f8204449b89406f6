//! One command in one lab VM: its output as it comes, its exit code, its deadlines, and one
//! restart (said on stderr) of a VM that does not answer.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    process::ExitCode,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::{
    cache::{self, Cache},
    machine::{Machine, Running, Status},
};

/// How long the VM may take until it starts the command; it takes 3 s on an idle host.
const BOOT: Duration = Duration::from_secs(90);
/// How long the VM may say nothing; it says `alive` every 5 s.
const SILENCE: Duration = Duration::from_mins(1);
/// How long output may take from the VM to here after the command's end.
const DRAIN: Duration = Duration::from_secs(30);
/// What `timeout` of coreutils ends with, too.
const TIMED_OUT: u8 = 124;

enum Outcome {
    Exited(u8),
    TimedOut,
    /// The VM did not do its part; why.
    Unresponsive(String),
}

/// Runs the machine's command, in a second VM when the first one does not answer.
pub fn run(cache: &Cache, machine: &Machine) -> Result<ExitCode> {
    for attempt in ["first", "second"] {
        let directory = RunDirectory::create(cache)?;
        let mut running = machine.start(directory.path())?;
        match follow(machine, &mut running)? {
            Outcome::Exited(code) => return Ok(ExitCode::from(code)),
            Outcome::TimedOut => {
                let seconds = machine.timeout.as_secs();
                eprintln!("lab: the command took longer than {seconds} s (--timeout); VM ended");
                return Ok(ExitCode::from(TIMED_OUT));
            }
            Outcome::Unresponsive(why) => {
                eprintln!("lab: the {attempt} VM {why}; its last words:");
                eprintln!("{}", running.last_words());
                if attempt == "first" {
                    eprintln!("lab: RESTARTED: the command is run once more in a new VM");
                }
            }
        }
    }
    bail!("neither of two lab VMs answered");
}

fn follow(machine: &Machine, running: &mut Running) -> Result<Outcome> {
    let start = Instant::now();
    match running.status(start + BOOT)? {
        Status::Line(line) if line == "up" => {}
        Status::Line(line) => bail!("the VM said {line:?} instead of \"up\""),
        Status::Silence => {
            return Ok(Outcome::Unresponsive(format!("did not boot in {} s", BOOT.as_secs())));
        }
        Status::End => return Ok(Outcome::Unresponsive("ended before it was up".to_owned())),
    }
    let up = Instant::now();
    let stdout = Pump::start(running.stdout.try_clone()?, io::stdout());
    let stderr = Pump::start(running.stderr.try_clone()?, io::stderr());
    let deadline = up + machine.timeout;
    let outcome = loop {
        let silent = Instant::now() + SILENCE;
        match running.status(silent.min(deadline))? {
            Status::Line(line) if line == "alive" => {}
            Status::Line(line) => break exited(&line, &stdout, &stderr)?,
            Status::Silence if Instant::now() >= deadline => break Outcome::TimedOut,
            Status::Silence => {
                let why = format!("said nothing for {} s", SILENCE.as_secs());
                break Outcome::Unresponsive(why);
            }
            Status::End => {
                break Outcome::Unresponsive("ended before its command did".to_owned());
            }
        }
    };
    if machine.timings {
        let (boot, command) = ((up - start).as_secs_f64(), up.elapsed().as_secs_f64());
        eprintln!("lab: up after {boot:.2} s, the command took {command:.2} s");
    }
    Ok(outcome)
}

/// Reads `exit CODE STDOUT_BYTES STDERR_BYTES` and waits until that much has been passed on.
fn exited(line: &str, stdout: &Pump, stderr: &Pump) -> Result<Outcome> {
    let words: Vec<_> = line.split(' ').collect();
    let ["exit", code, out, err] = words[..] else {
        bail!("the VM said {line:?} where \"exit\" was due");
    };
    let code = code.parse().with_context(|| format!("read the exit code of {line:?}"))?;
    let deadline = Instant::now() + DRAIN;
    for (pump, bytes) in [(stdout, out), (stderr, err)] {
        let bytes = bytes.parse().with_context(|| format!("read the sizes of {line:?}"))?;
        if !pump.wait_for(bytes, deadline) {
            return Ok(Outcome::Unresponsive("kept back the end of its output".to_owned()));
        }
    }
    Ok(Outcome::Exited(code))
}

/// Passes on what comes from one of the VM's ports.
struct Pump {
    passed: Arc<(Mutex<u64>, Condvar)>,
}

impl Pump {
    fn start(mut from: UnixStream, mut to: impl Write + Send + 'static) -> Self {
        let passed = Arc::new((Mutex::new(0), Condvar::new()));
        let count = Arc::clone(&passed);
        thread::spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            let mut reader_is_there = true;
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                // Nobody may be reading our output any more: the command goes on all the same.
                reader_is_there = reader_is_there
                    && to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_ok();
                let (bytes, changed) = &*count;
                *bytes.lock().unwrap_or_else(PoisonError::into_inner) += length as u64;
                changed.notify_all();
            }
        });
        Self { passed }
    }

    /// Waits until this many bytes have been passed on; false when they have not by the deadline.
    fn wait_for(&self, expected: u64, deadline: Instant) -> bool {
        let (bytes, changed) = &*self.passed;
        let bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let left = deadline.saturating_duration_since(Instant::now());
        changed
            .wait_timeout_while(bytes, left, |bytes| *bytes < expected)
            .is_ok_and(|(_, timeout)| !timeout.timed_out())
    }
}

/// The directory of one run, locked for as long as the run lasts; what killed runs have left
/// behind is removed by the next one.
struct RunDirectory {
    directory: TempDir,
    _lock: File,
}

impl RunDirectory {
    fn create(cache: &Cache) -> Result<Self> {
        let runs = cache.path().join("runs");
        fs::create_dir_all(&runs).with_context(|| format!("create {}", runs.display()))?;
        // Held while directories come and go, so that no new one is taken for a left one.
        let turn = File::create(cache.path().join("runs.lock"))?;
        turn.lock()?;
        for entry in fs::read_dir(&runs)? {
            let left = entry?.path();
            if File::create(left.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
                cache::remove(&left)?;
            }
        }
        let directory = tempfile::tempdir_in(&runs)?;
        let lock = File::create(directory.path().join("lock"))?;
        lock.lock()?;
        Ok(Self { directory, _lock: lock })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }
}
