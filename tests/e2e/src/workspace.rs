//! One workspace of a home, by its id.

use std::{ffi::OsStr, ffi::OsString, fmt, fs};

use serde_json::Value;

use crate::{Home, Process, Verb};

/// One workspace of a home.
#[derive(Clone, Debug)]
pub struct Workspace<'home> {
    home: &'home Home,
    id: String,
}

impl fmt::Display for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl<'home> Workspace<'home> {
    pub(crate) fn new(home: &'home Home, id: String) -> Self {
        Self { home, id }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a command in it.
    pub fn exec<I>(&self, command: I) -> Verb
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        self.exec_with(&[], command)
    }

    /// Runs a command in it with these flags.
    pub fn exec_with<I>(&self, flags: &[&str], command: I) -> Verb
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut words: Vec<OsString> = vec!["exec".into()];
        words.extend(flags.iter().map(OsString::from));
        words.extend([self.id.clone().into(), "--".into()]);
        words.extend(command.into_iter().map(|word| word.as_ref().to_owned()));
        self.home.pyro(words)
    }

    /// Runs a shell script in it.
    pub fn sh(&self, script: &str) -> Verb {
        self.exec(["sh", "-c", script])
    }

    /// Starts a shell script in it and leaves it running; its exec id.
    #[track_caller]
    pub fn detach(&self, script: &str) -> String {
        let started = self.exec_with(&["--detach", "--json"], ["sh", "-c", script]).ok().json();
        assert_eq!(started["running"], true, "{started}");
        started["exec_id"].as_str().unwrap().to_owned()
    }

    /// Calls a verb whose first positional is this workspace: `call("attach", ["--offset", "3", exec])`.
    pub fn call<I>(&self, verb: &str, words: I) -> Verb
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut all: Vec<OsString> = vec![verb.into(), self.id.clone().into()];
        all.extend(words.into_iter().map(|word| word.as_ref().to_owned()));
        self.home.pyro(all)
    }

    /// Calls a verb that needs nothing but this workspace.
    pub fn verb(&self, verb: &str) -> Verb {
        self.call(verb, [] as [&str; 0])
    }

    /// What `status --json` shows.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.call("status", ["--json"]).ok().json()
    }

    /// `started` or `stopped`.
    #[track_caller]
    pub fn state(&self) -> String {
        self.status()["state"].as_str().unwrap().to_owned()
    }

    /// What `ps --json` shows of one of its execs.
    #[track_caller]
    pub fn exec_record(&self, exec: &str) -> Value {
        let list = self.call("ps", ["--all", "--json"]).ok().json();
        let execs = list["execs"].as_array().unwrap();
        let found = execs.iter().find(|record| record["exec_id"] == exec);
        found.unwrap_or_else(|| panic!("no exec {exec} in {list}")).clone()
    }

    /// How many processes of its guest have this in their command line.
    #[track_caller]
    pub fn guest_processes(&self, mark: &str) -> usize {
        // The brackets keep the search from finding itself.
        let (first, rest) = mark.split_at(1);
        let script = format!(
            "n=0; for p in /proc/[0-9]*; do \
             tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '[{first}]{rest}' && n=$((n+1)); \
             done; echo $n"
        );
        self.sh(&script).ok().text().parse().unwrap()
    }

    /// Its keeper, which must have started.
    #[track_caller]
    pub fn keeper(&self) -> Process {
        self.process("keeper_pid")
    }

    /// The process id of its keeper.
    #[track_caller]
    pub fn keeper_pid(&self) -> i32 {
        self.keeper().pid
    }

    /// Its virtual machine's process, which must have started.
    #[track_caller]
    pub fn vmm(&self) -> Process {
        self.process("vmm_pid")
    }

    /// Whether its VM was started from a template, and not booted.
    #[track_caller]
    pub fn was_restored(&self) -> bool {
        self.vm_file("launch.json")["input"].is_string()
    }

    /// One of the JSON files of its keeper.
    #[track_caller]
    fn vm_file(&self, name: &str) -> Value {
        let path = self.home.state().join("workspaces").join(&self.id).join("vm").join(name);
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    #[track_caller]
    fn process(&self, which: &str) -> Process {
        let record = self.vm_file("keeper.json");
        let pid = i32::try_from(record[which].as_i64().unwrap()).unwrap();
        Process::of(pid).unwrap_or_else(|| panic!("{which} {pid} does not live"))
    }
}
