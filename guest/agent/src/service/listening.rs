//! Which TCP ports a group of processes listens on: `/proc/PID/net/tcp*` and its descriptors.
//!
//! What stands in /proc is the kernel's, and bounded here all the same. Refuses to know services.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::Read,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use pyro_wire::ListeningPort;

/// Processes and descriptors that are looked at for one question.
const MOST_LOOKS: usize = 8192;
/// Ports that are told of a group of processes.
const MOST_PORTS: usize = 64;
/// Ports that are told of a network.
const ALL_PORTS: usize = 512;
/// Bytes read of a table.
const LONGEST_TABLE: u64 = 1 << 20;
/// The state of a listening socket in these tables.
const LISTEN: &str = "0A";

/// A listening socket: address, port, inode.
type Socket = (IpAddr, u16, u64);

/// The tables of listening sockets of the network name spaces that were looked at: read once, however
/// many groups of processes are asked about.
#[derive(Debug, Default)]
pub struct Tables(HashMap<PathBuf, Vec<Socket>>);

impl Tables {
    /// The ports these processes listen on. Reads files of /proc only, which never wait for the
    /// workload; many of them.
    pub fn ports(&mut self, processes: &[i32]) -> Vec<ListeningPort> {
        let Some(first) = processes.first() else { return Vec::new() };
        let table = self.of(*first);
        if table.is_empty() {
            return Vec::new();
        }
        let sockets = table.iter().map(|(_, _, inode)| *inode).collect();
        let held = held(processes, sockets, &mut Looks::default());
        let own: BTreeSet<(u16, IpAddr)> = table
            .iter()
            .filter(|(_, _, inode)| held.contains(inode))
            .map(|(address, port, _)| (*port, *address))
            .collect();
        told(own, MOST_PORTS)
    }

    /// Every port that is listened on in the network of this process.
    pub fn all(&mut self, process: i32) -> Vec<ListeningPort> {
        let table = self.of(process).iter();
        told(table.map(|(address, port, _)| (*port, *address)).collect(), ALL_PORTS)
    }

    /// The sockets that may have answered at this address, in the network of this process.
    pub fn answering(&mut self, process: i32, peer: SocketAddr) -> BTreeSet<u64> {
        let may = |address: &IpAddr| {
            address.to_canonical() == peer.ip().to_canonical() || address.is_unspecified()
        };
        let table = self.of(process).iter();
        table
            .filter(|(address, port, _)| *port == peer.port() && may(address))
            .map(|(_, _, inode)| *inode)
            .collect()
    }

    /// The table of the network that this process is in.
    fn of(&mut self, process: i32) -> &[Socket] {
        let name = fs::read_link(format!("/proc/{process}/ns/net")).unwrap_or_default();
        self.0.entry(name).or_insert_with(|| {
            let mut table = Vec::new();
            for name in ["tcp", "tcp6"] {
                let mut text = String::new();
                let file = File::open(format!("/proc/{process}/net/{name}"));
                let _ = file.and_then(|file| file.take(LONGEST_TABLE).read_to_string(&mut text));
                table.extend(text.lines().skip(1).filter_map(parse));
            }
            table
        })
    }
}

fn told(ports: BTreeSet<(u16, IpAddr)>, most: usize) -> Vec<ListeningPort> {
    let one = |(port, address): (u16, IpAddr)| ListeningPort {
        address: address.to_string(),
        port: port.into(),
    };
    ports.into_iter().take(most).map(one).collect()
}

/// How many processes and descriptors may still be looked at.
#[derive(Debug)]
pub struct Looks(usize);

impl Looks {
    fn take(&mut self) -> bool {
        let left = self.0.checked_sub(1);
        self.0 = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether there are none left: what was not found may be where nobody looked.
    pub fn are_over(&self) -> bool {
        self.0 == 0
    }
}

impl Default for Looks {
    fn default() -> Self {
        Self(MOST_LOOKS)
    }
}

/// Which of these sockets the processes hold, as far as the looks go.
pub fn held(processes: &[i32], mut sockets: BTreeSet<u64>, looks: &mut Looks) -> BTreeSet<u64> {
    let mut held = BTreeSet::new();
    for process in processes {
        if !looks.take() {
            break;
        }
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { continue };
        for entry in entries.filter_map(Result::ok) {
            if sockets.is_empty() || !looks.take() {
                return held;
            }
            let Ok(target) = fs::read_link(entry.path()) else { continue };
            let inode = target.to_str().and_then(|text| {
                text.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
            });
            if let Some(inode) = inode.filter(|inode| sockets.remove(inode)) {
                held.insert(inode);
            }
        }
    }
    held
}

/// Address, port and inode of a line of a listening socket (proc(5)).
fn parse(line: &str) -> Option<(IpAddr, u16, u64)> {
    let mut fields = line.split_whitespace().skip(1);
    let (address, port) = fields.next()?.split_once(':')?;
    let listens = fields.nth(1)? == LISTEN;
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok();
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?.to_le_bytes())),
        32 => {
            let mut bytes = [0; 16];
            for (at, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(at)?.to_le_bytes());
            }
            IpAddr::from(Ipv6Addr::from(bytes))
        }
        _ => return None,
    };
    listens.then_some((address, port, inode))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_understood() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0";
        assert_eq!(parse(line), Some((Ipv4Addr::LOCALHOST.into(), 8080, 4711)));
        let line = "   1: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1 0";
        assert_eq!(parse(line), Some((Ipv6Addr::LOCALHOST.into(), 80, 9)));
        assert_eq!(parse(&line.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse("x"), None);
    }

    #[test]
    fn the_ports_of_a_process_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = std::process::id() as i32;
        let mut tables = Tables::default();
        let found = tables.ports(&[own]);
        let wanted = ListeningPort { address: "127.0.0.1".into(), port: port.into() };
        assert!(found.contains(&wanted), "{found:?}");
        let all = tables.all(own);
        assert!(all.contains(&wanted), "{all:?}");
        let sockets = tables.answering(own, listener.local_addr().unwrap());
        assert_eq!(held(&[own], sockets.clone(), &mut Looks::default()), sockets);
        assert!(held(&[own], sockets.clone(), &mut Looks(0)).is_empty());
        assert_eq!(sockets.len(), 1);
        let elsewhere = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), port));
        assert_eq!(tables.answering(own, elsewhere), BTreeSet::new());
    }
}
