//! What this host can run, what was proven, and what to type where something is missing.
