//! Names people choose: workspaces, labels, environments. Parsed once, at the edge.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What was given does not follow the rule for such a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a valid {what}: {rule}")]
pub struct InvalidName {
    /// What kind of name was asked for.
    pub what: &'static str,
    /// What was given, shortened.
    pub given: String,
    /// The rule it breaks.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(InvalidName {
                        what: $what,
                        given: text.chars().take(160).collect(),
                        rule: $rule,
                    })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
    };
}

fn is_line(text: &str, longest: usize) -> bool {
    let length = text.chars().count();
    (1..=longest).contains(&length) && text.trim() == text && !text.chars().any(char::is_control)
}

fn is_token(text: &str, longest: usize, inner: &[u8]) -> bool {
    let bytes = text.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || inner.contains(b))
}

name! {
    /// A workspace's name: discovery metadata, unique per node.
    WorkspaceName, "workspace name",
    "1 to 120 characters, no control characters, no blank at either end, not beginning with @ or -",
    |text| is_line(text, 120) && !text.starts_with(['@', '-'])
}
name! {
    /// The key of a label.
    LabelKey, "label key",
    "1 to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
    |text| is_token(text, 64, b"._-")
}
name! {
    /// The value of a label.
    LabelValue, "label value",
    "1 to 120 characters, no control characters, no blank at either end",
    |text| is_line(text, 120)
}
name! {
    /// An environment's name, for example `debian:12`.
    EnvironmentName, "environment name",
    "1 to 128 of a-z A-Z 0-9 . _ - : and a letter or digit first",
    |text| is_token(text, 128, b"._-:")
}

name! {
    /// A service's name within its workspace.
    ServiceName, "service name",
    "1 to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
    |text| is_token(text, 64, b"._-")
}
name! {
    /// A snapshot's name within its workspace.
    SnapshotName, "snapshot name",
    "1 to 64 of A-Z a-z 0-9 . _ - and a letter or digit first",
    |text| is_token(text, 64, b"._-")
}

impl WorkspaceName {
    /// A name that is about to be given: one that could not be mistaken for an id or for a step in
    /// a path. What was named before this rule is still found by its name.
    pub fn given(text: &str) -> Result<Self, InvalidName> {
        if matches!(text, "." | "..") || text.parse::<crate::WorkspaceId>().is_ok() {
            return Err(InvalidName {
                what: "workspace name",
                given: text.to_owned(),
                rule: "it would be taken for an id or a path",
            });
        }
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_given_is_none_that_could_be_an_id_or_a_path() {
        for bad in [".", "..", "0123456789ab", "", "@"] {
            let error = WorkspaceName::given(bad).unwrap_err();
            assert_eq!(crate::Problem::from(error).code, "invalid_workspace_name", "{bad:?}");
        }
        for good in ["...", "0123456789a", "0123456789AB", "0123456789abc", "prune"] {
            assert!(WorkspaceName::given(good).is_ok(), "{good:?}");
        }
        assert!("0123456789ab".parse::<WorkspaceName>().is_ok(), "an older one is still read");
    }

    #[test]
    fn names_keep_to_their_rules() {
        assert!("my project".parse::<WorkspaceName>().is_ok());
        assert!("debian:12-build".parse::<EnvironmentName>().is_ok());
        for bad in ["", " x", "a\nb", "@", "@x", "-x"] {
            assert!(bad.parse::<WorkspaceName>().is_err(), "{bad:?}");
        }
        for bad in ["", "../x", ":x", "a/b", "a b"] {
            assert!(bad.parse::<EnvironmentName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(121).parse::<WorkspaceName>().is_err());
    }
}
