//! The node: HTTP routes, wiring, idle exit.
