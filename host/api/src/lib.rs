//! Types of the HTTP API: what clients and the node say to each other.
