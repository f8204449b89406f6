//! A state directory of its own, with its node and its VMs.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Client, Process, Seen, Verb, Workspace,
    backend::{backend, program, setting},
    wait_until,
};

/// A state directory of its own. Everything that was started for it ends with it.
#[derive(Debug)]
pub struct Home {
    program: PathBuf,
    environment: Vec<(String, OsString)>,
    state: PathBuf,
    directory: TempDir,
    network: Option<OwnNetwork>,
    // Says for as long as this process lives that its directory is not a leftover.
    _owned: File,
}

/// The network that a script holds.
#[derive(Debug)]
struct OwnNetwork {
    client: Client,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Home {
    /// An empty one. Images are shared with everybody.
    pub fn new() -> Self {
        Self::named("state")
    }

    /// An empty one whose state directory has this name.
    pub fn named(name: &str) -> Self {
        let program = program();
        let root = setting("PYRO_E2E_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let root = root.join("pyro-e2e");
        fs::create_dir_all(&root).unwrap();
        // Whoever sweeps must not find a home that is not locked yet.
        let sweeping = File::create(root.join("sweep.lock")).unwrap();
        flock(&sweeping, FlockOperation::LockExclusive).unwrap();
        sweep(&root);
        let directory = TempDir::with_prefix_in("home-", &root).unwrap();
        let owned = File::create(directory.path().join(OWNER)).unwrap();
        flock(&owned, FlockOperation::NonBlockingLockExclusive).unwrap();
        drop(sweeping);
        let state = directory.path().join(name);
        Self { program, environment: Vec::new(), state, directory, network: None, _owned: owned }
    }

    /// Sets a variable of every client, and so of the nodes they start.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives it an image cache of its own, with the kernel but no environment.
    #[must_use]
    pub fn with_own_cache(self) -> Self {
        let shared = shared_cache();
        let own = self.directory.path().join("cache");
        fs::create_dir(&own).unwrap();
        for name in ["kernel.json", "kvm.json", "host-clock.json"] {
            let _ = fs::copy(shared.join(name), own.join(name));
        }
        copy_tree(&shared.join("kernels"), &own.join("kernels"));
        self.with("PYRO_CACHE_DIR", own)
    }

    /// Gives it a network of its own, in which `script` (of sh, as the root of that network) has set up
    /// what it wants and says `ready` on stdout. Node and VMs see no other. The script's mounts are its
    /// own too; it may go on in the background.
    #[must_use]
    pub fn in_own_network(mut self, script: &str) -> Self {
        let mut command = Command::new("unshare");
        let holder = format!("{script}\nexec sleep infinity");
        command.args(["--map-root-user", "--net", "--mount", "sh", "-euc", &holder]);
        command.env("PYRO_HOME", &self.state).current_dir(self.directory.path());
        let client = Verb::new(command).start();
        client.wait_for("ready");
        self.network = Some(OwnNetwork { client });
        self
    }

    /// What the script of its own network has said so far.
    pub fn network_says(&self) -> String {
        let network = self.network.as_ref().expect("it has a network of its own");
        String::from_utf8_lossy(&network.client.so_far()).into_owned()
    }

    /// Gives it an image cache of its own, with kernel and environments, but no template.
    #[must_use]
    pub fn with_own_images(self) -> Self {
        let home = self.with_own_cache();
        let (shared, own) = (shared_cache(), home.directory.path().join("cache"));
        for name in ["environments", "names", "disks"] {
            copy_tree(&shared.join(name), &own.join(name));
        }
        home
    }

    /// The templates of its own image cache ([`Home::with_own_images`]).
    pub fn templates(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("cache/templates"));
        entries.into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
    }

    /// What is being made in its own image cache, or was left half made there.
    pub fn half_made(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path().join("cache/building"));
        let paths = entries.into_iter().flatten().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).collect()
    }

    /// The processes of machines that are made to be saved.
    pub fn template_processes(&self) -> Vec<Process> {
        Process::in_directory(&self.directory.path().join("cache/building"))
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A directory for files of the story; it goes with the home.
    pub fn scratch(&self) -> PathBuf {
        let scratch = self.directory.path().join("scratch");
        fs::create_dir_all(&scratch).unwrap();
        scratch
    }

    /// The release of the guests' kernel, as its image says.
    pub fn guest_kernel() -> String {
        let cache = shared_cache();
        let read =
            |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
        let current = read(cache.join("kernel.json"));
        let directory = cache.join("kernels").join(current["digest"].as_str().unwrap());
        read(directory.join("manifest.json"))["release"].as_str().unwrap().to_owned()
    }

    /// The program under test, set up for this home.
    pub fn command(&self) -> Command {
        let mut command = match &self.network {
            None => Command::new(&self.program),
            Some(network) => {
                let mut command = Command::new("nsenter");
                let holder = network.client.process().pid.to_string();
                command.args(["--preserve-credentials", "-U", "-n", "-m", "-t", &holder, "--"]);
                command.arg(&self.program);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PYRO_")) {
                command.env_remove(name);
            }
        }
        command
            .env("PYRO_HOME", &self.state)
            .env("PYRO_CACHE_DIR", shared_cache())
            .env("PYRO_BACKEND", backend().to_string())
            .env("XDG_CONFIG_HOME", self.directory.path().join("config"))
            .env("NO_COLOR", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory.path());
        command
    }

    /// Calls the command.
    pub fn pyro<I>(&self, words: I) -> Verb
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let mut command = self.command();
        command.args(words);
        Verb::new(command)
    }

    /// Runs a shell script that may change what is mounted: nobody else sees it, and what it mounted
    /// goes with the last process that was started there. `$PYRO` is the program under test.
    pub fn sh_in_own_mounts(&self, script: &str) -> Verb {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-euc", script]);
        let plain = self.command();
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("PYRO", &self.program).current_dir(self.directory.path());
        Verb::new(command)
    }

    /// Runs a shell script as root in mounts of its own, where it may mount what only root may. `$PYRO` is
    /// the program under test.
    pub fn sh_as_root_in_own_mounts(&self, script: &str) -> Verb {
        assert!(
            rustix::process::geteuid().is_root(),
            "this story mounts file systems: run it as root"
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", script]);
        let plain = self.command();
        for (name, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env("PYRO", &self.program).current_dir(self.scratch());
        Verb::new(command)
    }

    /// A one-shot VM for a command.
    pub fn run<I>(&self, command: I) -> Verb
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        let words = ["run", "-m", "256", "debian:12", "--"].map(OsString::from);
        let command = command.into_iter().map(|word| word.as_ref().to_owned());
        self.pyro(words.into_iter().chain(command))
    }

    /// A workspace that runs.
    #[track_caller]
    pub fn workspace(&self, environment: &str) -> Workspace<'_> {
        self.workspace_with(&[environment])
    }

    /// A workspace that runs, created with these words; of 256 MiB unless they say otherwise.
    #[track_caller]
    pub fn workspace_with(&self, words: &[&str]) -> Workspace<'_> {
        let size: &[&str] = if words.contains(&"-m") { &[] } else { &["-m", "256"] };
        let all = ["create", "--id-only"].iter().chain(size).chain(words);
        let id = self.pyro(all).ok().text();
        self.existing(&id)
    }

    /// A workspace that is there already.
    pub fn existing(&self, id: &str) -> Workspace<'_> {
        Workspace::new(self, id.to_owned())
    }

    /// The ids `list` shows.
    #[track_caller]
    pub fn listed(&self) -> Vec<String> {
        self.pyro(["list", "-q"]).ok().text().lines().map(str::to_owned).collect()
    }

    /// What `list --json` shows.
    #[track_caller]
    pub fn list(&self) -> Value {
        self.pyro(["list", "--json"]).ok().json()
    }

    // --- the node ---------------------------------------------------------------------------

    /// The node that holds this home's lock, if one runs.
    pub fn node(&self) -> Option<Process> {
        let record = fs::read(self.state.join("node.json")).ok()?;
        let record: Value = serde_json::from_slice(&record).ok()?;
        let node = Process::of(i32::try_from(record["pid"].as_i64()?).ok()?)?;
        self.nodes().contains(&node).then_some(node)
    }

    /// The process id of the node, which must run.
    #[track_caller]
    pub fn node_pid(&self) -> i32 {
        self.node().expect("a node runs").pid
    }

    /// Every process that serves, or tries to serve, as this home's node.
    pub fn nodes(&self) -> Vec<Process> {
        self.running("serve")
    }

    /// Every process of this home that is the program under test, called with this word first.
    fn running(&self, word: &str) -> Vec<Process> {
        let runs = |process: &Process| {
            fs::read(format!("/proc/{}/cmdline", process.pid))
                .is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes()))
        };
        Process::of_home(&self.state).into_iter().filter(runs).collect()
    }

    /// `kill -9` of the node, which must run; returns when it is gone.
    #[track_caller]
    pub fn kill_node(&self) {
        let node = self.node().expect("a node runs");
        node.kill();
        // Its threads end one by one, and the last takes its sockets and its lock along.
        wait_until(10, "the killed node is gone", || {
            !node.lives() && File::open(self.state.join("node.lock")).unwrap().try_lock().is_ok()
        });
    }

    /// Calls the command so that the node, which is started for it, dies at this step. The call may
    /// end as it likes; the node must have died.
    #[track_caller]
    pub fn crash_at<I>(&self, step: &str, words: I) -> Seen
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        if let Some(node) = self.node() {
            self.pyro(["node", "stop"]).ok();
            wait_until(20, "the stopped node is gone", || !node.lives());
        }
        let seen = self.pyro(words).env("PYRO_TEST_CRASH_AT", step).seen();
        wait_until(60, &format!("the node has died at {step}"), || self.nodes().is_empty());
        let log = fs::read_to_string(self.state.join("node.log")).unwrap();
        let died = log.lines().rev().find(|line| line.contains("dying at the step"));
        assert!(died.is_some_and(|line| line.contains(step)), "no death at {step}: {seen}\n{log}");
        seen
    }

    /// Begins the command with a node, started for it, that stops at this step until it is sent `SIGCONT`;
    /// returns once it has.
    #[track_caller]
    pub fn pause_at<I>(&self, step: &str, words: I) -> (Client, Process)
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        if let Some(node) = self.node() {
            self.pyro(["node", "stop"]).ok();
            wait_until(20, "the stopped node is gone", || !node.lives());
        }
        let client = self.pyro(words).env("PYRO_TEST_CRASH_AT", format!("pause:{step}")).start();
        let is_stopped = |node: &Process| node.state() == Some('T');
        wait_until(60, &format!("the node stops at {step}"), || {
            self.nodes().first().is_some_and(is_stopped)
        });
        let node = self.nodes().swap_remove(0);
        (client, node)
    }

    // --- what it left -----------------------------------------------------------------------

    /// Every keeper and VMM of this home.
    pub fn vm_processes(&self) -> Vec<Process> {
        let mut processes = Process::in_directory(&self.state.join("workspaces"));
        processes.extend(self.running("keep"));
        processes
    }

    /// The names of the workspaces' directories.
    pub fn directories(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.state.join("workspaces")) else { return Vec::new() };
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Fails unless there are these workspaces and nothing else: none listed, no directory, and, if
    /// there are none at all, no process.
    #[track_caller]
    pub fn holds_only(&self, ids: &[&str]) {
        let mut expected: Vec<_> = ids.iter().map(|&id| id.to_owned()).collect();
        expected.sort();
        let mut listed = self.listed();
        listed.sort();
        assert_eq!(listed, expected, "what is listed");
        assert_eq!(self.directories(), expected, "what stands in the state directory");
        if ids.is_empty() {
            wait_until(20, "no VM is left", || self.vm_processes().is_empty());
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.state.join("node.log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(40)..].join("\n");
            eprintln!("--- the end of node.log ---\n{tail}\n---");
        }
        end_all(&self.state);
    }
}

/// The image cache of whoever tells the stories.
fn shared_cache() -> PathBuf {
    let of_user = || {
        let base = setting("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(Path::new(&setting("HOME")?).join(".cache")));
        base.map(|base| base.join("pyro"))
    };
    setting("PYRO_CACHE_DIR").map(PathBuf::from).or_else(of_user).unwrap()
}

/// The file that is locked for as long as a home's story is told.
const OWNER: &str = "owner.lock";

/// Ends every process of a state directory, the node first, so that nothing comes after.
fn end_all(state: &Path) {
    loop {
        let mut left = Process::of_home(state);
        left.extend(Process::in_directory(state));
        left.retain(|process| process.pid as u32 != std::process::id());
        if left.is_empty() {
            return;
        }
        for process in &left {
            process.kill();
        }
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    }
}

/// Removes homes whose story was cut off, with what still runs for them.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).unwrap().flatten() {
        let Ok(owner) = File::open(entry.path().join(OWNER)) else { continue };
        if flock(&owner, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        for state in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
            end_all(&state.path());
        }
        let _ = fs::remove_dir_all(entry.path());
    }
}

/// Copies a tree, by hard links where that is possible.
fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else if fs::hard_link(entry.path(), &target).is_err() {
            // Disks are nearly all holes, and in the lab another file system's.
            let copied =
                Command::new("cp").arg("--sparse=always").args([&entry.path(), &target]).status();
            assert!(copied.unwrap().success(), "copy {}", entry.path().display());
        }
    }
}
