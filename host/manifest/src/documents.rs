//! Whether docs/services.md has every key that is read, and the examples are read.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{Source, Surroundings, compose_file, needs, pyro_file, read};

fn text(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(root.join(path)).unwrap()
}

/// What stands between backquotes in the first column of the tables under a heading, or in all of it.
fn documented(heading: &str, columns: usize) -> Vec<String> {
    let document = text("docs/services.md");
    let (_, section) = document.split_once(&format!("\n{heading}\n")).unwrap();
    let section = section.split("\n##").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    rows.flat_map(|row| {
        let cells: Vec<_> = row.split(" | ").take(columns).collect();
        let cells = cells.join(" ");
        cells.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn every_key_of_a_pyro_toml_is_documented_and_no_other() {
    let keys = documented("### pyro.toml", 1);
    for key in pyro_file::SERVICE_KEYS {
        assert!(keys.iter().any(|documented| documented == key), "{key} is not documented");
    }
    for key in &keys {
        assert!(pyro_file::SERVICE_KEYS.contains(&key.as_str()), "there is no key {key}");
    }
    let all = documented("### pyro.toml", 2);
    for key in pyro_file::HEALTH_KEYS {
        assert!(all.iter().any(|documented| documented == key), "{key} is not documented");
    }
}

#[test]
fn every_key_of_a_compose_file_is_documented_and_no_other() {
    let keys = documented("### Compose files", 1);
    let ignored = compose_file::IGNORED.iter().map(|(key, _)| *key);
    for key in compose_file::SERVICE_KEYS.into_iter().chain(ignored) {
        assert!(keys.iter().any(|documented| documented == key), "{key} is not documented");
    }
    for key in &keys {
        let file = format!("services: {{web: {{command: x, {key}: [x]}}}}");
        let told = read(Source { name: "compose.yaml", text: &file }, &Surroundings::default());
        let unknown = told.is_err_and(|error| error.to_string().contains("has no key"));
        assert!(!unknown, "there is no key {key}");
    }
}

#[test]
fn the_examples_are_read() {
    for (directory, name, order) in [
        ("pyro-toml", "pyro.toml", ["setup", "web", "watcher"]),
        ("compose", "compose.yaml", ["setup", "web", "worker"]),
    ] {
        let path = |name: &str| format!("examples/services/{directory}/{name}");
        let text_of_file = text(&path(name));
        let source = Source { name, text: &text_of_file };
        let dot_env = (directory == "compose").then(|| text(&path(".env")));
        let needed = needs(source, &BTreeMap::default(), dot_env.as_deref()).unwrap();
        let env_files = needed.env_files.into_iter().map(|it| {
            let text = text(&path(&it.path));
            (it.path, Some(text))
        });
        let around =
            Surroundings { env_files: env_files.collect(), dot_env, ..Surroundings::default() };
        let manifest = read(source, &around).unwrap();
        let names: Vec<_> = manifest.services.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, order);
    }
}
