//! The node's side of the guest channel: typed calls on the wire.
