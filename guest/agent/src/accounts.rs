//! Users and groups of the workload: `/etc/passwd` and `/etc/group`, read as hostile text.
//!
//! Refuses to know where the text comes from.

/// Groups beyond the main one that are taken from `/etc/group`.
const MAX_GROUPS: usize = 64;

/// Who a command runs as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// Numeric user.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Every group, the main one included.
    pub groups: Vec<u32>,
    /// The login name; the number where there is none.
    pub name: String,
    /// HOME.
    pub home: Vec<u8>,
    /// SHELL.
    pub shell: Vec<u8>,
}

fn fields(line: &[u8]) -> Vec<&[u8]> {
    line.split(|byte| *byte == b':').take(8).collect()
}

fn number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // All ones means "no change" to the kernel.
    std::str::from_utf8(text).ok()?.parse().ok().filter(|number| *number != u32::MAX)
}

fn lines(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    text.split(|byte| *byte == b'\n').map(fields)
}

fn group_id(groups: &[u8], wanted: &[u8]) -> Option<u32> {
    lines(groups)
        .find(|group| group.len() >= 3 && group[0] == wanted)
        .and_then(|group| number(group[2]))
        .or_else(|| number(wanted))
}

/// Finds the account of `name`, `uid`, `name:group` or `uid:gid`; an empty text is root.
pub fn find(wanted: &str, passwd: &[u8], groups: &[u8]) -> Option<Account> {
    let (user, group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let by_number = if user.is_empty() { Some(0) } else { number(user.as_bytes()) };
    let entry = lines(passwd).filter(|entry| entry.len() >= 4).find(|entry| match by_number {
        Some(uid) => number(entry[2]) == Some(uid),
        None => entry[0] == user.as_bytes(),
    });
    let mut account = if let Some(entry) = entry {
        Account {
            uid: number(entry[2])?,
            gid: number(entry[3])?,
            groups: Vec::new(),
            name: String::from_utf8_lossy(entry[0]).into_owned(),
            home: entry.get(5).filter(|home| !home.is_empty()).unwrap_or(&&b"/"[..]).to_vec(),
            shell: entry.get(6).filter(|s| !s.is_empty()).unwrap_or(&&b"/bin/sh"[..]).to_vec(),
        }
    } else {
        let uid = by_number?;
        Account {
            uid,
            gid: 0,
            groups: Vec::new(),
            name: if uid == 0 { "root".to_owned() } else { uid.to_string() },
            home: if uid == 0 { b"/root".to_vec() } else { b"/".to_vec() },
            shell: b"/bin/sh".to_vec(),
        }
    };
    if let Some(group) = group {
        account.gid = group_id(groups, group.as_bytes())?;
        account.groups = vec![account.gid];
        return Some(account);
    }
    account.groups = vec![account.gid];
    for entry in lines(groups).filter(|entry| entry.len() >= 4) {
        let member = entry[3].split(|byte| *byte == b',').any(|m| m == account.name.as_bytes());
        if let (true, Some(gid)) = (member, number(entry[2]))
            && !account.groups.contains(&gid)
            && account.groups.len() < MAX_GROUPS
        {
            account.groups.push(gid);
        }
    }
    Some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/bash\nbroken\nann:x:1000:1000::/home/ann:\n";
    const GROUPS: &[u8] = b"root:x:0:\nann:x:1000:\nwheel:x:10:bob,ann\nnoise::x:ann\n";

    #[test]
    fn nobody_named_is_root() {
        let root = find("", PASSWD, GROUPS).unwrap();
        assert_eq!((root.uid, root.gid, &root.home[..]), (0, 0, &b"/root"[..]));
        assert_eq!(find("", b"", b"").unwrap().name, "root");
    }

    #[test]
    fn a_name_brings_its_groups_home_and_shell() {
        let ann = find("ann", PASSWD, GROUPS).unwrap();
        assert_eq!(ann.groups, [1000, 10]);
        assert_eq!(ann.home, b"/home/ann");
        assert_eq!(ann.shell, b"/bin/sh");
        assert_eq!(find("1000", PASSWD, GROUPS).unwrap(), ann);
    }

    #[test]
    fn a_group_may_be_named_or_numbered() {
        assert_eq!(find("ann:wheel", PASSWD, GROUPS).unwrap().groups, [10]);
        assert_eq!(find("7:77", PASSWD, GROUPS).unwrap().gid, 77);
        assert_eq!(find("ann:nosuch", PASSWD, GROUPS), None);
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for wanted in ["bob", "broken", "-1", "4294967295", "4294967296", "ann:", "0x0"] {
            assert_eq!(find(wanted, PASSWD, GROUPS), None, "{wanted}");
        }
    }

    proptest::proptest! {
        #[test]
        fn hostile_text_never_panics(wanted in ".{0,20}", text in proptest::collection::vec(0u8.., 0..300)) {
            let _ = find(&wanted, &text, &text);
        }
    }
}
