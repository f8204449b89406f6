//! A keeper with a VMM that does as it is told, as the node sees it.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use pyro_core::{Channel, ExitRecord, ExitStatus, KeeperRecord, Launch};
use pyro_directory::Directory;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

const FIXTURE: &str = env!("CARGO_BIN_EXE_keeper-fixture");

struct Kept {
    _root: tempfile::TempDir,
    directory: Directory,
    keeper: Child,
    said: String,
}

impl Kept {
    /// A keeper in a directory with an awkward path, once it is ready or has failed.
    fn start(program: &str, arguments: &[&str], channel: Channel) -> Self {
        let root = tempfile::tempdir().unwrap();
        let path: PathBuf = root.path().join("a b,c".repeat(20)).join("d".repeat(100));
        let directory = Directory::create(path).unwrap();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let launch = Launch::new(program.into(), arguments, channel);
        directory.write_whole("launch.json", &serde_json::to_vec(&launch).unwrap()).unwrap();
        let (keeper, said) = keep(&directory);
        Self { _root: root, directory, keeper, said }
    }

    fn vmm(mode: &[&str]) -> Self {
        let arguments: Vec<&str> = ["vmm"].iter().chain(mode).copied().collect();
        let kept = Self::start(FIXTURE, &arguments, Channel::Serial);
        assert_eq!(kept.said, "ready\n");
        kept
    }

    fn record(&self) -> KeeperRecord {
        let text = self.directory.read("keeper.json", 4096).unwrap().unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn connect(&self, port: u32) -> UnixStream {
        let mut client = self.directory.connect("vm.sock").unwrap();
        client.write_all(format!("CONNECT {port}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        loop {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            if byte == *b"\n" {
                break;
            }
            answer.push(byte[0].into());
        }
        answer.strip_prefix("OK ").unwrap().parse::<u32>().unwrap();
        client
    }

    fn kill(&self) {
        self.directory.connect("keeper.sock").unwrap().write_all(b"kill\n").unwrap();
    }

    /// The exit record, once the keeper's sockets have ended.
    fn ended(&mut self) -> ExitRecord {
        if let Ok(mut watch) = self.directory.connect("keeper.sock") {
            let _ = watch.read_to_end(&mut Vec::new());
        }
        self.keeper.wait().unwrap();
        let text = self.directory.read("exit.json", 1 << 16).unwrap().unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

/// Starts a keeper and reads what it says until it lets go.
fn keep(directory: &Directory) -> (Child, String) {
    let (mut said, writer) = std::io::pipe().unwrap();
    let keeper = Command::new(FIXTURE)
        .arg("keep")
        .arg(directory.path())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().unwrap())
        .stderr(writer)
        .spawn()
        .unwrap();
    let mut text = String::new();
    said.read_to_string(&mut text).unwrap();
    (keeper, text)
}

/// Whether a process still exists, zombies not counted.
fn runs(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit_once(") ").unwrap().1.starts_with('Z'))
}

/// Returns once a process has ended.
fn wait_for_end(pid: i32) {
    if let Ok(handle) = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()) {
        let mut handles = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
        let limit = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut handles, Some(&limit)).unwrap(), 1, "{pid} lives on");
    }
}

#[test]
fn a_running_vmm_is_on_record_and_locked() {
    let kept = Kept::vmm(&["sleep"]);
    let record = kept.record();
    assert_eq!(record.keeper_pid, kept.keeper.id().cast_signed());
    assert!(runs(record.vmm_pid));
    assert!(kept.directory.is_locked("keeper.lock").unwrap());
    let environment = std::fs::read(format!("/proc/{}/environ", record.vmm_pid)).unwrap();
    assert!(environment.is_empty());
    let cwd = std::fs::read_link(format!("/proc/{}/cwd", record.vmm_pid)).unwrap();
    assert_eq!(cwd, kept.directory.path());
}

#[test]
fn the_vmm_inherits_its_standard_streams_its_port_and_the_lock_only() {
    let kept = Kept::vmm(&["sleep"]);
    let descriptors = format!("/proc/{}/fd", kept.record().vmm_pid);
    let mut numbers: Vec<String> = std::fs::read_dir(descriptors)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    numbers.sort();
    assert_eq!(numbers, ["0", "1", "2", "3", "4"]);
}

#[test]
fn killing_on_request_is_told_from_dying() {
    let mut kept = Kept::vmm(&["sleep"]);
    kept.kill();
    let exit = kept.ended();
    assert_eq!(exit.status, ExitStatus::Signal(9));
    assert!(exit.killed_on_request);
    assert!(!kept.directory.is_locked("keeper.lock").unwrap());
    assert!(kept.directory.read("keeper.json", 4096).unwrap().is_none());

    let mut kept = Kept::vmm(&["sleep"]);
    kill_process(Pid::from_raw(kept.record().vmm_pid).unwrap(), Signal::USR1).unwrap();
    let exit = kept.ended();
    assert_eq!(exit.status, ExitStatus::Signal(10));
    assert!(!exit.killed_on_request);
}

#[test]
fn a_vmm_that_ends_leaves_its_code_and_its_last_words() {
    let mut kept = Kept::vmm(&["exit", "3"]);
    let exit = kept.ended();
    assert_eq!(exit.status, ExitStatus::Code(3));
    assert_eq!(exit.last_output, "the VMM says goodbye");
    let log = kept.directory.read("serial.log", 4096).unwrap().unwrap();
    assert_eq!(log, b"the VMM says goodbye\n");
}

#[test]
fn the_vmm_dies_with_its_keeper() {
    let mut kept = Kept::vmm(&["sleep"]);
    let vmm = kept.record().vmm_pid;
    kept.keeper.kill().unwrap();
    kept.keeper.wait().unwrap();
    drop(kept.directory.lock("keeper.lock").unwrap());
    wait_for_end(vmm);
    assert!(kept.directory.read("exit.json", 4096).unwrap().is_none());

    let (mut keeper, said) = keep(&kept.directory);
    assert_eq!(said, "ready\n", "a directory can be kept again");
    keeper.kill().unwrap();
    keeper.wait().unwrap();
}

#[test]
fn terminating_the_keeper_ends_the_vmm_in_order() {
    let mut kept = Kept::vmm(&["sleep"]);
    let vmm = kept.record().vmm_pid;
    kill_process(Pid::from_child(&kept.keeper), Signal::TERM).unwrap();
    assert!(kept.ended().killed_on_request);
    assert!(!runs(vmm));
}

#[test]
fn a_keeper_survives_the_end_of_its_parents_session() {
    let kept = Kept::vmm(&["sleep"]);
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", kept.keeper.id())).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap();
    assert_eq!(session, kept.keeper.id().to_string());
}

#[test]
fn a_flood_on_the_console_is_bounded_and_costs_nothing() {
    let mut kept = Kept::vmm(&["flood"]);
    let exit = kept.ended();
    assert_eq!(exit.status, ExitStatus::Code(0));
    assert!(exit.last_output.ends_with("the flood is over"));
    assert!(kept.directory.read("serial.log", 256 << 10).unwrap().is_some());
}

#[test]
fn bytes_pass_both_ways_to_the_port_that_was_asked_for() {
    let kept = Kept::vmm(&["echo"]);
    let mut client = kept.connect(7);
    client.write_all(b"hello").unwrap();
    let mut heard = [0; 5];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, *b"hello");
}

#[test]
fn what_comes_with_the_request_is_for_the_port() {
    let kept = Kept::vmm(&["echo"]);
    for length in [1, 100, 4096, 100_000] {
        let sent: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let mut client = kept.directory.connect("vm.sock").unwrap();
        let mut writer = client.try_clone().unwrap();
        let all = [b"CONNECT 7\n", &sent[..]].concat();
        std::thread::scope(|scope| {
            scope.spawn(|| writer.write_all(&all).unwrap());
            let mut line = Vec::new();
            while line.last() != Some(&b'\n') {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                line.extend(byte);
            }
            assert!(line.starts_with(b"OK "));
            let mut heard = vec![0; length];
            client.read_exact(&mut heard).unwrap();
            assert!(heard == sent, "{length}");
        });
    }
}

#[test]
fn the_guests_end_ends_the_client_after_its_last_words() {
    let kept = Kept::vmm(&["echo"]);
    let mut heard = String::new();
    kept.connect(13).read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "the guest's last words");
    assert_eq!(kept.connect(99).read(&mut [0]).unwrap(), 0, "nobody listens on this port");
}

#[test]
fn nonsense_is_refused_without_harm() {
    let kept = Kept::vmm(&["echo"]);
    for nonsense in ["CONNECT x\n", "\n", &"A".repeat(4096)] {
        let mut client = kept.directory.connect("vm.sock").unwrap();
        let _ = client.write_all(nonsense.as_bytes());
        assert!(!matches!(client.read(&mut [0]), Ok(1..)), "{nonsense:?}");
    }
    drop(kept.directory.connect("vm.sock").unwrap());
    kept.directory.connect("keeper.sock").unwrap().write_all(b"die\nplease kill\n").unwrap();
    bytes_return(&kept, 1 << 20);
}

#[test]
fn a_reader_that_stops_stops_only_its_own_stream() {
    let kept = Kept::vmm(&["echo"]);
    let flooded: Vec<UnixStream> = (0..20).map(|_| kept.connect(19)).collect();
    bytes_return(&kept, 8 << 20);
    let status = std::fs::read_to_string(format!("/proc/{}/status", kept.keeper.id())).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 32 << 10, "{kibibytes} KiB resident with 20 floods held back");
    drop(flooded);
    bytes_return(&kept, 1 << 20);
}

#[test]
fn hundreds_of_streams_run_at_once() {
    let kept = Kept::vmm(&["echo"]);
    let mut clients = Vec::new();
    for number in 0..300 {
        clients.push(kept.connect(7));
        expect_echo(&mut clients[number], &format!("stream {number}\n"));
    }
    for (number, client) in clients.iter_mut().enumerate().rev() {
        expect_echo(client, &format!("again {number}\n"));
    }
}

#[test]
fn streams_come_and_go_by_the_thousand() {
    let kept = Kept::vmm(&["echo"]);
    for _ in 0..3000 {
        drop(kept.connect(7));
    }
    bytes_return(&kept, 1 << 20);
}

#[test]
fn what_cannot_start_says_why() {
    let kept = Kept::start("/nonexistent/vmm", &[], Channel::Vmm);
    assert!(kept.said.contains("cannot execute /nonexistent/vmm: No such file"), "{}", kept.said);

    let kept = Kept::vmm(&["sleep"]);
    let (mut second, said) = keep(&kept.directory);
    assert!(said.contains("another keeper holds"), "{said}");
    assert!(!second.wait().unwrap().success());
    assert!(runs(kept.record().vmm_pid));

    kept.directory.write_whole("launch.json", b"{}").unwrap();
    kept.kill();
    drop(kept);
}

#[test]
fn a_keeper_that_leads_a_group_already_still_keeps() {
    let root = tempfile::tempdir().unwrap();
    let output = Command::new(FIXTURE).arg("keep").arg(root.path()).process_group(0).output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("there is no") && said.contains("launch.json"), "{said}");
}

fn expect_echo(client: &mut UnixStream, line: &str) {
    client.write_all(line.as_bytes()).unwrap();
    let mut heard = vec![0; line.len()];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, line.as_bytes());
}

/// Sends bytes to the echo port and expects the same back.
fn bytes_return(kept: &Kept, length: usize) {
    let mut client = kept.connect(7);
    let sent: Vec<u8> = (0..length).map(|at| (at * 31 / 7) as u8).collect();
    let mut heard = vec![0; length];
    std::thread::scope(|scope| {
        let mut writer = client.try_clone().unwrap();
        let sent = &sent;
        scope.spawn(move || writer.write_all(sent).unwrap());
        client.read_exact(&mut heard).unwrap();
    });
    assert!(sent == heard);
}
