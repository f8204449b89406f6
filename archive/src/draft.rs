//! The names of files that are not whole yet.
//!
//! What is written beside its place goes by such a name until it is renamed. Whoever lists or packs a tree
//! passes these over, and where a machine died in the middle, they are removed before anybody looks.

/// How they begin; 32 hexadecimal digits follow.
const DRAFT: &[u8] = b".pyro-draft-";
const DIGITS: usize = 32;

/// A name that nothing has and nobody can guess, by this much chance.
pub fn draft_name(chance: &[u8; DIGITS / 2]) -> Vec<u8> {
    let mut name = DRAFT.to_vec();
    for byte in chance {
        name.extend([byte >> 4, byte & 15].map(|half| b"0123456789abcdef"[usize::from(half)]));
    }
    name
}

/// Whether a name is one of these.
pub fn is_draft(name: &[u8]) -> bool {
    name.strip_prefix(DRAFT).is_some_and(|rest| {
        rest.len() == DIGITS && rest.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drafts_are_known_by_their_names_and_nothing_else_is_taken_for_one() {
        let name = draft_name(&[0xa5; 16]);
        assert_eq!(name, [DRAFT, b"a5".repeat(16).as_slice()].concat());
        assert!(is_draft(&name));
        for other in [&name[1..], &name[..43], b".pyro-draft-", b"", &[&name[..], b"0"].concat()] {
            assert!(!is_draft(other));
        }
        assert!(!is_draft(&name.to_ascii_uppercase()));
    }
}
