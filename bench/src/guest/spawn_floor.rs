//! The floor under an exec: spawn and wait of /bin/true inside the guest. Prints one duration in
//! microseconds per line.

use std::{process::Command, time::Instant};

fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(50);
    for _ in 0..rounds {
        let begun = Instant::now();
        let status = Command::new("/bin/true").status().expect("/bin/true can be run");
        assert!(status.success());
        println!("{}", begun.elapsed().as_micros());
    }
}
