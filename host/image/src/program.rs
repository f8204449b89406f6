//! Programs of the distribution, each in a process group of its own that ends with its job.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{self, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio},
    thread::JoinHandle,
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::{Error, Job, Result, error::LastWords};

/// How much of what a program says is kept for its error.
const KEPT_LINES: usize = 24;
const LONGEST_LINE: usize = 2000;

/// A program that can be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Program {
    pub name: &'static str,
    /// What to install where it is missing.
    pub packages: &'static str,
}

/// A program that runs; dropped, it is ended and waited for.
pub(crate) struct Running {
    program: Program,
    job: Job,
    group: u64,
    child: Child,
    said: Option<JoinHandle<String>>,
    reaped: bool,
    unprivileged: bool,
}

impl Program {
    /// Fails where the program is not there: for those that other programs run.
    pub(crate) fn find(self) -> Result<()> {
        // Called without arguments it says how it is used, and does nothing.
        let called = Command::new(self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match called {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::MissingProgram { program: self.name, packages: self.packages })
            }
            Err(source) => Err(Error::Run { program: self.name, source }),
        }
    }

    /// Starts the program in its own process group; each line it says on stderr is passed on.
    ///
    /// Administrators' directories are searched too: they are in nobody else's PATH on Debian.
    pub(crate) fn start(
        self,
        job: &Job,
        prepare: impl Fn(&mut Command),
        on_line: impl FnMut(&str) + Send + 'static,
    ) -> Result<Running> {
        let (mut child, group) = job.start_group(|| {
            for directory in ["", "/usr/sbin/", "/sbin/"] {
                let mut command = Command::new(OsStr::new(&format!("{directory}{}", self.name)));
                command.stdin(Stdio::null()).stdout(Stdio::null());
                command.env("LC_ALL", "C").env_remove("SOURCE_DATE_EPOCH");
                prepare(&mut command);
                command.stderr(Stdio::piped()).process_group(0);
                match command.spawn() {
                    Ok(child) => {
                        let pid = Pid::from_child(&child);
                        return Ok((child, pid));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => return Err(Error::Run { program: self.name, source }),
                }
            }
            Err(Error::MissingProgram { program: self.name, packages: self.packages })
        })?;
        let said =
            child.stderr.take().map(|stderr| std::thread::spawn(move || listen(stderr, on_line)));
        Ok(Running {
            program: self,
            job: job.clone(),
            group,
            child,
            said,
            reaped: false,
            unprivileged: false,
        })
    }

    /// Runs the program to its end.
    pub(crate) fn run(self, job: &Job, prepare: impl Fn(&mut Command)) -> Result<()> {
        self.start(job, prepare, |_| ())?.finish()
    }
}

impl Running {
    /// Marks that it runs without root, for the hint of its error.
    pub(crate) fn unprivileged(mut self, unprivileged: bool) -> Self {
        self.unprivileged = unprivileged;
        self
    }

    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().expect("stdin was piped and is taken once")
    }

    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("stdout was piped and is taken once")
    }

    /// Waits for its end; anything but success is an error with its last words.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status =
            self.reap().map_err(|source| Error::Run { program: self.program.name, source })?;
        let said = self.said.take().and_then(|said| said.join().ok()).unwrap_or_default();
        self.job.check()?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Failed {
            program: self.program.name,
            status,
            source: LastWords(said),
            unprivileged: self.unprivileged,
        })
    }

    fn reap(&mut self) -> io::Result<std::process::ExitStatus> {
        drop(self.child.stdin.take());
        drop(self.child.stdout.take());
        let leader = Pid::from_child(&self.child);
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(leader), options) {}
        self.job.end_remains(self.group);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            drop(self.child.stdin.take());
            drop(self.child.stdout.take());
            self.job.end_group(self.group);
            let _ = self.reap();
        }
    }
}

/// Reads lines to the end and returns the last of them.
fn listen(mut stderr: ChildStderr, mut on_line: impl FnMut(&str)) -> String {
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut line = Vec::new();
    let mut piece = [0; 4096];
    let mut end_line = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        if !text.is_empty() {
            on_line(&text);
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(text);
        }
    };
    loop {
        match stderr.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => {
                for &byte in &piece[..length] {
                    if matches!(byte, b'\n' | b'\r') {
                        end_line(&mut line);
                    } else if line.len() < LONGEST_LINE {
                        line.push(byte);
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    end_line(&mut line);
    kept.make_contiguous().join("\n")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SHELL: Program = Program { name: "sh", packages: "dash" };

    #[test]
    fn a_failed_program_is_quoted() {
        let error = SHELL
            .run(&Job::silent(), |command| {
                command.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
            })
            .unwrap_err();
        let Error::Failed { status, source, .. } = error else { panic!("{error}") };
        assert_eq!(status.code(), Some(3));
        assert_eq!(source.0, "one\ntwo");
    }

    #[test]
    fn a_missing_program_names_its_packages() {
        let missing = Program { name: "pyro-no-such-program", packages: "a b" };
        let error = missing.run(&Job::silent(), |_| ()).unwrap_err();
        let problem = pyro_core::Problem::from(error);
        assert_eq!(problem.code, "missing_program");
        assert_eq!(problem.hints, ["apt-get install a b"]);
    }

    #[test]
    fn cancelling_ends_the_program_and_its_children() {
        let job = Job::silent();
        let (started, wait_for_start) = mpsc::channel();
        let running = SHELL
            .start(
                &job,
                |command| {
                    command.args(["-c", "(echo up >&2; sleep 1000); sleep 1000"]);
                },
                move |_| started.send(()).unwrap(),
            )
            .unwrap();
        wait_for_start.recv().unwrap();
        job.cancel();
        assert!(matches!(running.finish(), Err(Error::Cancelled)));
        assert!(matches!(SHELL.run(&job, |_| ()), Err(Error::Cancelled)));
    }
}
