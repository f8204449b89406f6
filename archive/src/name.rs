//! Which names of members are taken. Pure: what lies on a disk under a name is another's question.

use crate::Error;
use crate::error::shown;

/// The most bytes of one component.
pub const NAME_MAX: usize = 255;
/// The most bytes of a whole name.
pub const PATH_MAX: usize = 4096;

/// A relative name without empty, `.` or `..` components; empty for the archive's root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SafeName(Vec<u8>);

impl SafeName {
    /// Takes a member's name as it stands in the archive. Leading `./`, doubled and trailing
    /// slashes are dropped. Absolute names, `..`, NUL and too long names are refused.
    pub fn parse(raw: &[u8]) -> Result<Self, Error> {
        let refuse = |why| Error::UnsafeName { member: shown(raw), why };
        if raw.len() > PATH_MAX {
            return Err(refuse("it is longer than 4096 bytes"));
        }
        if raw.is_empty() {
            return Err(refuse("it is empty"));
        }
        if raw[0] == b'/' {
            return Err(refuse("it is absolute"));
        }
        if raw.contains(&0) {
            return Err(refuse("it holds a NUL byte"));
        }
        let mut name = Vec::with_capacity(raw.len());
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(refuse("it leads upwards")),
                long if long.len() > NAME_MAX => {
                    return Err(refuse("a component is longer than 255 bytes"));
                }
                _ => {}
            }
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend_from_slice(component);
        }
        Ok(Self(name))
    }

    /// The name, without leading or trailing slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it names the archive's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory it lies in and its last component; nothing for the root.
    pub fn split(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&self.0[..at], &self.0[at + 1..]),
            None => (&[], &self.0),
        })
    }

    /// The components, outermost first; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        components(&self.0)
    }
}

/// The components of a canonical name; none for the empty one.
pub(crate) fn components(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_canonical() {
        let canonical = |raw: &[u8]| SafeName::parse(raw).unwrap().as_bytes().to_vec();
        assert_eq!(canonical(b"./a//b/./c/"), b"a/b/c");
        assert_eq!(canonical(b"..a/b.."), b"..a/b..");
        assert_eq!(canonical(b"\xff\n"), b"\xff\n");
        assert!(SafeName::parse(b"./").unwrap().is_root());
        assert_eq!(SafeName::parse(b".").unwrap().components().count(), 0);
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let long = [b'a'; NAME_MAX + 1];
        let longer = b"a/".repeat(PATH_MAX);
        for raw in [&b""[..], b"/", b"/etc", b"..", b"a/../b", b"./..", b"a\0b", &long, &longer] {
            assert_eq!(SafeName::parse(raw).unwrap_err().code(), "archive_unsafe_name");
        }
    }
}
