//! Who sends: the process that holds a socket, by proc(5). Advisory: whoever wants to hide can.
//!
//! What stands in /proc is the kernel's, and bounded here all the same. Refuses to know what for.

use std::{
    cmp::Reverse,
    fs::{self, File},
    io::Read,
};

use pyro_wire::OutgoingProcess;
use tokio::sync::Semaphore;

/// Processes and descriptors that are looked at for one answer: it comes soon or not at all.
const MOST_LOOKS: usize = 1024;
/// Bytes read of a table of sockets, and of one file of a process.
const LONGEST_TABLE: u64 = 256 << 10;
const LONGEST_FILE: u64 = 4096;
/// Looks at once: of a flood, a few are known.
static LOOKING: Semaphore = Semaphore::const_new(2);

/// Which tables a socket may stand in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A connection's.
    Tcp,
    /// A query's.
    Udp,
}

/// The process that holds the socket with this port, in the network that `inside` is in.
pub async fn holder(inside: i32, kind: Kind, port: u16) -> Option<OutgoingProcess> {
    let _place = LOOKING.try_acquire().ok()?;
    tokio::task::spawn_blocking(move || find(inside, kind, port)).await.ok()?
}

fn read(path: &str, most: u64) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn find(inside: i32, kind: Kind, port: u16) -> Option<OutgoingProcess> {
    let inode = socket(inside, kind, port)?;
    let mut processes: Vec<i32> = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    // Who began last is the likeliest.
    processes.sort_unstable_by_key(|process| Reverse(*process));
    among(&processes, inode)
}

/// The inode of the socket with this port.
fn socket(inside: i32, kind: Kind, port: u16) -> Option<u64> {
    let tables = match kind {
        Kind::Tcp => ["tcp", "tcp6"],
        Kind::Udp => ["udp", "udp6"],
    };
    tables.into_iter().find_map(|table| {
        let text = read(&format!("/proc/{inside}/net/{table}"), LONGEST_TABLE)?;
        text.lines().skip(1).find_map(|line| inode_of(line, port))
    })
}

/// The first of these that holds a socket.
fn among(processes: &[i32], inode: u64) -> Option<OutgoingProcess> {
    let wanted = format!("socket:[{inode}]");
    let mut looks = 0;
    for &process in processes {
        let Ok(descriptors) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        for descriptor in descriptors.filter_map(Result::ok) {
            looks += 1;
            if looks > MOST_LOOKS {
                return None;
            }
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            if target.to_str() == Some(&wanted) {
                return described(process);
            }
        }
    }
    None
}

/// The inode of a line of such a table, if the socket has this port of its own.
fn inode_of(line: &str, port: u16) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let (_, own) = words.nth(1)?.rsplit_once(':')?;
    if u16::from_str_radix(own, 16) != Ok(port) {
        return None;
    }
    words.nth(7)?.parse().ok().filter(|inode| *inode != 0)
}

/// Its number as the workload sees it, and what it is called.
fn described(process: i32) -> Option<OutgoingProcess> {
    let status = read(&format!("/proc/{process}/status"), LONGEST_FILE)?;
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let pid = field("NSpid:")?.split_ascii_whitespace().last()?.parse().ok()?;
    let name = field("Name:")?.trim().chars().take(64).collect();
    Some(OutgoingProcess { pid, name })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn a_socket_has_a_holder() {
        let own = std::process::id();
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        for (kind, port) in [
            (Kind::Tcp, tcp.local_addr().unwrap().port()),
            (Kind::Udp, udp.local_addr().unwrap().port()),
        ] {
            let inode = socket(own as i32, kind, port).unwrap();
            let holder = among(&[own as i32], inode).unwrap();
            assert_eq!(holder.pid, own);
            assert_eq!(among(&[own as i32], u64::MAX), None);
        }
        let line =
            "0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4242 1";
        assert_eq!(inode_of(line, 8080), Some(4242));
        assert_eq!(inode_of(line, 80), None);
        assert_eq!(inode_of("", 80), None);
    }
}
