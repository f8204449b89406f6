//! Paths of files in a workspace: text where they are UTF-8, base64 where they are not.

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_core::{Problem, WORKSPACE_PATH};

/// The longest path that Linux takes.
const LONGEST: usize = 4095;

/// A path as it was given; relative ones begin at `/workspace`, and nothing is that itself.
pub(crate) fn given(text: &str, coded: Option<&str>) -> Result<Vec<u8>, Problem> {
    let path = match coded {
        Some(coded) => decoded("path_base64", coded)?,
        None => text.as_bytes().to_vec(),
    };
    let path = if path.starts_with(b"/") {
        path
    } else {
        let mut whole = WORKSPACE_PATH.as_bytes().to_vec();
        if !path.is_empty() && path != b"." {
            whole.push(b'/');
            whole.extend_from_slice(path.strip_prefix(b"./").unwrap_or(&path));
        }
        whole
    };
    if path.contains(&0) || path.len() > LONGEST {
        return Err(Problem::invalid("invalid_path", "this cannot be a path")
            .hint("a path has at most 4095 bytes, none of them NUL"));
    }
    Ok(path)
}

/// Bytes that came as text.
pub(crate) fn decoded(what: &str, coded: &str) -> Result<Vec<u8>, Problem> {
    STANDARD.decode(coded).map_err(|error| {
        Problem::invalid("invalid_base64", format!("{what} is no base64")).cause(error)
    })
}

/// Bytes as text that is none.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A path as text, with replacement characters where it is none.
pub(crate) fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A path's bytes, where it is no UTF-8.
pub(crate) fn bytes(path: &[u8]) -> Option<String> {
    std::str::from_utf8(path).is_err().then(|| encoded(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_workspace() {
        let path = |text: &str| String::from_utf8(given(text, None).unwrap()).unwrap();
        assert_eq!(path(""), "/workspace");
        assert_eq!(path("."), "/workspace");
        assert_eq!(path("src/main.rs"), "/workspace/src/main.rs");
        assert_eq!(path("./a b"), "/workspace/a b");
        assert_eq!(path("/etc/hosts"), "/etc/hosts");
        assert_eq!(given("", Some("L2H/")).unwrap(), b"/a\xff");
        for (text, coded) in [("a\0b", None), (&*"x".repeat(5000), None), ("", Some("?"))] {
            given(text, coded).unwrap_err();
        }
    }

    #[test]
    fn only_what_is_no_text_is_told_in_base64() {
        assert_eq!(bytes(b"/a"), None);
        assert_eq!(bytes(b"/a\xff").as_deref(), Some("L2H/"));
    }
}
