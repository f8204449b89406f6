//! `/etc/passwd` and `/etc/group` of a workload, read by the agent.
//!
//! The input is three texts with a zero byte between them: who is wanted, passwd, group.
#![no_main]

use libfuzzer_sys::fuzz_target;

// The agent keeps it to itself; it is one file that needs nothing else.
#[allow(dead_code)]
#[path = "../../guest/agent/src/accounts.rs"]
mod accounts;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |&byte| byte == 0);
    let wanted = String::from_utf8_lossy(parts.next().unwrap_or_default());
    let (passwd, groups) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Some(account) = accounts::find(&wanted, passwd, groups) {
        // All ones means "no change" to the kernel: nobody may become that.
        assert!(account.uid != u32::MAX && account.gid != u32::MAX);
        assert!(!account.groups.contains(&u32::MAX));
        assert!(account.groups.contains(&account.gid));
    }
});
