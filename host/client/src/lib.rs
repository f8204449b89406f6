//! The typed client of the node: finds it, starts it, speaks HTTP to it.
