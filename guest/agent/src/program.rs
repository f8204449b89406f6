//! Where a command's program and environment come from.
//!
//! Refuses to know processes: it lists candidates, the child tries them.

use std::ffi::CString;

use pyro_wire::EnvironmentVariable;

use crate::accounts::Account;

/// The PATH of every command that brings none.
pub const PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The environment of a command: the fixed variables, then its own, which win.
pub fn environment(
    account: &Account,
    own: &[EnvironmentVariable],
    terminal: bool,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = vec![
        (b"PATH".to_vec(), PATH.to_vec()),
        (b"HOME".to_vec(), account.home.clone()),
        (b"USER".to_vec(), account.name.clone().into_bytes()),
        (b"LOGNAME".to_vec(), account.name.clone().into_bytes()),
        (b"SHELL".to_vec(), account.shell.clone()),
    ];
    if terminal {
        all.push((b"TERM".to_vec(), b"xterm-256color".to_vec()));
    }
    for variable in own {
        match all.iter_mut().find(|(name, _)| *name == variable.name[..]) {
            Some((_, value)) => *value = variable.value.to_vec(),
            None => all.push((variable.name.to_vec(), variable.value.to_vec())),
        }
    }
    all
}

/// The paths to try for a program, in order; none where its name is empty or holds a zero byte.
pub fn candidates(program: &[u8], path: &[u8]) -> Vec<CString> {
    if program.is_empty() {
        return Vec::new();
    }
    if program.contains(&b'/') {
        return CString::new(program).into_iter().collect();
    }
    path.split(|byte| *byte == b':')
        .filter_map(|directory| {
            let directory = if directory.is_empty() { b"." } else { directory };
            CString::new([directory, b"/", program].concat()).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_looked_for_along_the_path() {
        let found = candidates(b"ls", b"/usr/bin::/bin");
        assert_eq!(found, [c"/usr/bin/ls".into(), c"./ls".into(), CString::from(c"/bin/ls")]);
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(candidates(b"./run", PATH), [CString::from(c"./run")]);
        assert!(candidates(b"", PATH).is_empty());
        assert!(candidates(b"a\0b", PATH).is_empty());
    }

    #[test]
    fn what_the_caller_sets_wins() {
        let account = crate::accounts::find("", b"", b"").unwrap();
        let own = [EnvironmentVariable { name: "HOME".into(), value: "/x".into() }];
        let all = environment(&account, &own, true);
        assert!(all.contains(&(b"HOME".to_vec(), b"/x".to_vec())));
        assert!(all.contains(&(b"TERM".to_vec(), b"xterm-256color".to_vec())));
        assert_eq!(all.iter().filter(|(name, _)| name == b"HOME").count(), 1);
    }
}
