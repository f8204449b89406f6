//! The heart: one owner task per workspace, its lifecycle, journal and reconcile.
