//! What a keeper is told to run, and what it leaves behind. Written by `vmm`, read by `keeper`.
//!
//! All files stand in the keeper's directory, by these fixed names, so that a directory can move:
//!
//! | File | Writer | Meaning |
//! |---|---|---|
//! | `launch.json` | node | a [`Launch`] |
//! | `keeper.lock` | keeper | locked (flock) for as long as the keeper or its VMM lives: the proof of life |
//! | `keeper.json` | keeper | a [`KeeperRecord`], whole, once the VMM runs |
//! | `keeper.sock` | keeper | control: `kill\n` ends the VM; end of file means the keeper ended |
//! | `vm.sock` | keeper or VMM | the guest's streams: `CONNECT <port>\n` is answered `OK <n>\n` |
//! | `serial.log` | keeper | the guest's console, bounded: the first and the last part are kept |
//! | `exit.json` | keeper | an [`ExitRecord`], whole, once the VMM ended |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ExitStatus;

/// How to start one VMM and reach its guest.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The program's path.
    pub program: String,
    /// Its arguments; it runs with the keeper's directory as its working directory.
    pub arguments: Vec<String>,
    /// Where the guest's streams come from.
    pub channel: Channel,
    /// A file that it finds open, for reading, as its descriptor 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<PathBuf>,
    /// Whether nobody waits for this VM: it and its keeper run at a low priority, and end when
    /// the keeper's standard input does, that is, with whoever started it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_background: bool,
}

impl Launch {
    /// A VM that stands for itself and reads no file.
    pub fn new(program: String, arguments: Vec<String>, channel: Channel) -> Self {
        Self { program, arguments, channel, input: None, in_background: false }
    }
}

/// Where the guest's streams come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// The VMM itself offers `vm.sock` (Firecracker's vsock device).
    Vmm,
    /// The VMM's file descriptor 3 is one end of a socket pair wired to a virtio-serial port; the
    /// keeper holds the other end and a multiplexer on it for the VM's whole life (QEMU).
    Serial,
    /// From nowhere: nobody speaks with the guest.
    None,
}

/// What a living keeper says of itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeeperRecord {
    /// The keeper's process id.
    pub keeper_pid: i32,
    /// The VMM's process id.
    pub vmm_pid: i32,
}

/// What a keeper writes when its VMM has ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ExitRecord {
    /// How the VMM ended.
    pub status: ExitStatus,
    /// Whether it ended because `kill` was asked for.
    pub killed_on_request: bool,
    /// The last lines of what it printed (console and VMM messages), lossy text.
    pub last_output: String,
}
