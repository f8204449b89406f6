//! How things are written for people: tables, units, text that cannot harm a terminal.

pub(crate) mod escape;
pub(crate) mod table;
pub(crate) mod units;
