//! Prints the node's OpenAPI document; `cargo xtask openapi` keeps it in host/node/openapi.json.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(pyro_node::openapi_document().as_bytes())
}
