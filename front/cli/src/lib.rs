//! The pyro command: parsing, printing, terminal.
