//! Typed identifiers: 12 lower-case hexadecimal characters, unique across hosts.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What was given is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id: ids are 12 lower-case hexadecimal characters")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(u64);

        impl $name {
            /// Makes an id from random bits; the upper 16 are ignored.
            pub const fn from_random(bits: u64) -> Self {
                Self(bits & 0xffff_ffff_ffff)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:012x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let hexadecimal = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
                if text.len() == 12 && text.bytes().all(hexadecimal) {
                    let bits = u64::from_str_radix(text, 16).expect("12 hexadecimal digits fit");
                    Ok(Self(bits))
                } else {
                    Err(InvalidId(text.chars().take(64).collect()))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

id! {
    /// Identifies a workspace (or a one-shot VM) for as long as it exists.
    WorkspaceId
}
id! {
    /// Identifies one command that was run in a workspace.
    ExecId
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back_what_they_print() {
        let id = WorkspaceId::from_random(0xffff_0000_0000_00ab);
        assert_eq!(id.to_string(), "0000000000ab");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn nothing_but_twelve_hexadecimal_characters_is_an_id() {
        for text in ["", "../x", "0123456789a", "0123456789abc", "0123456789aB", "0123456789ag"] {
            assert!(text.parse::<ExecId>().is_err(), "{text}");
        }
    }
}
