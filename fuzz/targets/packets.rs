//! Packets that a workload sends: what the agent reads of them, decides and answers.
//!
//! The input is a row of packets: two bytes of length, then so many bytes, which begin with what the kernel
//! says of a packet. Whatever they say, the table stays within its bounds, and what goes back is a packet to the workload.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;

// The agent keeps them to itself; they need nothing else.
#[allow(dead_code)]
#[path = "../../guest/agent/src/network/packet.rs"]
mod packet;
#[allow(dead_code)]
#[path = "../../guest/agent/src/network/table.rs"]
mod table;

use packet::Offload;
use table::{Action, Listening, Table, guest, refusal};

fuzz_target!(|input: &[u8]| {
    let mut table = Table::new(Listening { v4: 7000, v6: 7001 });
    let mut input = input;
    let mut now = Duration::ZERO;
    while let [low, high, rest @ ..] = input {
        let length = usize::from(u16::from_le_bytes([*low, *high & 0x7f])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        input = rest;
        now += Duration::from_secs(7);
        let mut bytes = bytes.to_vec();
        let Some((offload, bytes)) = Offload::split(&mut bytes) else { continue };
        // Most of what a fuzzer makes up comes from nobody.
        if high & 0x80 != 0 && bytes.len() >= 40 {
            match bytes[0] >> 4 {
                4 => bytes[12..16].copy_from_slice(&table::GUEST_V4.octets()),
                _ => bytes[8..24].copy_from_slice(&table::GUEST_V6.octets()),
            }
        }
        let first = bytes.to_vec();
        match table.decide(offload, bytes, now) {
            Action::Drop => {}
            Action::Return => {
                let back = packet::read(offload, bytes).unwrap();
                assert_eq!(back.destination.ip(), guest(back.destination.ip()));
            }
            Action::Answer(answer) => {
                let back = packet::read(Offload::WHOLE, &answer).unwrap();
                assert_eq!(back.destination.ip(), guest(back.destination.ip()));
            }
            Action::Connect { number, .. } => {
                // Which it will be depends on the host.
                if first.len() % 3 == 0 {
                    table.refuse(number);
                    assert!(refusal(offload, &first, None).is_some());
                } else {
                    let mut first = first;
                    assert!(table.open(number, offload, &mut first));
                    if first.len() % 2 == 0 {
                        table.end(number, now);
                    }
                }
            }
            Action::Query { from, to, query } => {
                assert!(packet::datagram(to, from, &query).is_some());
            }
        }
    }
});
