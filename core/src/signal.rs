//! Signals as people write them.

use crate::Problem;

/// A signal's number from its name (with or without `SIG`) or number.
pub fn parse_signal(text: &str) -> Result<u32, Problem> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Ok(index as u32 + 1);
    }
    match text.parse() {
        Ok(number @ 1..=64) => Ok(number),
        _ => Err(Problem::invalid("invalid_signal", format!("{text:?} is not a signal"))
            .hint("give a name as TERM, INT, HUP, KILL, or a number from 1 to 64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_in_every_spelling() {
        assert_eq!(parse_signal("term").unwrap(), 15);
        assert_eq!(parse_signal("SIGKILL").unwrap(), 9);
        assert_eq!(parse_signal("2").unwrap(), 2);
        for bad in ["", "0", "65", "SIGNOPE"] {
            assert_eq!(parse_signal(bad).unwrap_err().code, "invalid_signal");
        }
    }
}
