//! A client that stands in a terminal of its own.

use std::{fs::File, io::Write, os::fd::OwnedFd, process::Child};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::{
    Home,
    verb::{Collected, ended},
};

/// A client that stands in a terminal of its own.
#[derive(Debug)]
pub struct Terminal {
    master: File,
    child: Child,
    shown: Collected,
}

impl Terminal {
    /// Calls the command in a new terminal of this size.
    pub fn open(home: &Home, words: &[&str], columns: u16, rows: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        tcsetwinsize(&master, size(columns, rows)).unwrap();
        // util-linux's setsid gives the client this terminal as its controlling one.
        let plain = home.command();
        let mut command = std::process::Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(words);
        for (variable, value) in plain.get_envs() {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        let slave = || OwnedFd::from(File::options().read(true).write(true).open(&name).unwrap());
        command.env("TERM", "xterm-256color").current_dir(plain.get_current_dir().unwrap());
        command.stdin(slave()).stdout(slave()).stderr(slave());
        let child = command.spawn().unwrap();
        drop(command);
        let master = File::from(master);
        let shown = Collected::from(master.try_clone().unwrap());
        Self { master, child, shown }
    }

    /// Types this.
    pub fn keys(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Gives its window another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, size(columns, rows)).unwrap();
    }

    /// Waits until this is shown.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let found = self.shown.wait_for(text.as_bytes());
        assert!(found, "waited in vain for {text:?} in {:?}", self.shown());
    }

    /// What was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.so_far()).into_owned()
    }

    /// Waits for the client's end; all that it showed.
    #[track_caller]
    pub fn whole(mut self) -> Vec<u8> {
        let has_ended = ended(&mut self.child).is_some();
        assert!(has_ended, "the client does not end: {:?}", self.shown());
        self.shown.end()
    }

    /// Waits for the client's end; its exit code.
    #[track_caller]
    pub fn end(mut self) -> Option<i32> {
        let status = ended(&mut self.child);
        status.unwrap_or_else(|| panic!("the client does not end: {:?}", self.shown())).code()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Closing the terminal ends whatever still stands in it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 }
}
