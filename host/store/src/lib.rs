//! Metadata in SQLite: workspaces, execs, journal.
