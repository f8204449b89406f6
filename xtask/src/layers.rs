//! `cargo xtask layers`: which crate may use which, and who may print, read the environment and
//! write unsafe code.
//!
//! The table below is the one place where the layers are written down; the truth it is compared
//! with is cargo's metadata and the sources. Refuses to know what any crate does.
//!
//! Clippy finds every print, every look at the environment and every unsafe block (the lints of the
//! workspace deny them). What is checked here is who may lift those lints, and that no crate leaves
//! them out.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::tree;

/// The allowed arrows: a crate, what it is for, and what of the workspace it may use.
///
/// `pyro-core` and, on the host, `pyro-directory` are leaves that whoever needs them may use; they
/// are written out all the same, so that a row is the whole truth about its crate.
const ARROWS: &[(&str, &[&str])] = &[
    // Leaves.
    ("pyro-core", &[]),
    ("pyro-wire", &[]),
    ("pyro-session", &[]),
    ("pyro-archive", &[]),
    ("pyro-change", &[]),
    ("pyro-directory", &["pyro-core"]),
    // In the guest.
    ("pyro-agent", &["pyro-archive", "pyro-change", "pyro-wire", "pyro-session", "pyro-core"]),
    // On the host, from the bottom up.
    ("pyro-api", &["pyro-core"]),
    ("pyro-manifest", &["pyro-core"]),
    ("pyro-listen", &["pyro-core"]),
    ("pyro-relay", &["pyro-core"]),
    ("pyro-link", &["pyro-wire", "pyro-session", "pyro-core", "pyro-directory"]),
    ("pyro-image", &["pyro-archive", "pyro-core", "pyro-directory"]),
    ("pyro-disk", &["pyro-archive", "pyro-change"]),
    ("pyro-store", &["pyro-core", "pyro-directory"]),
    ("pyro-vmm", &["pyro-core", "pyro-directory"]),
    ("pyro-keeper", &["pyro-core", "pyro-directory"]),
    (
        "pyro-workspace",
        &[
            "pyro-change",
            "pyro-core",
            "pyro-directory",
            "pyro-disk",
            "pyro-image",
            "pyro-link",
            "pyro-listen",
            "pyro-relay",
            "pyro-store",
            "pyro-vmm",
            "pyro-wire",
        ],
    ),
    // The routes for environments ask `image` itself: no workspace has a part in them.
    (
        "pyro-node",
        &[
            "pyro-api",
            "pyro-change",
            "pyro-core",
            "pyro-directory",
            "pyro-image",
            "pyro-listen",
            "pyro-manifest",
            "pyro-workspace",
        ],
    ),
    // Works without a node, so it boots its own guest and speaks to it.
    (
        "pyro-doctor",
        &["pyro-core", "pyro-directory", "pyro-image", "pyro-link", "pyro-store", "pyro-vmm"],
    ),
    // What people and agents touch.
    ("pyro-client", &["pyro-api", "pyro-archive", "pyro-change", "pyro-core", "pyro-directory"]),
    ("pyro-cli", &["pyro-change", "pyro-client", "pyro-api", "pyro-core", "pyro-listen"]),
    ("pyro-mcp", &["pyro-change", "pyro-client", "pyro-api", "pyro-core", "pyro-directory"]),
    // Assembly: the layers it starts, and the settings they take.
    (
        "pyro",
        &[
            "pyro-cli",
            "pyro-core",
            "pyro-doctor",
            "pyro-image",
            "pyro-keeper",
            "pyro-mcp",
            "pyro-node",
            "pyro-vmm",
            "pyro-workspace",
        ],
    ),
    // For developers. The end-to-end suite knows the binary and its payloads, not the layers.
    ("xtask", &["pyro-core"]),
    ("pyro-e2e", &["pyro-api", "pyro-client", "pyro-core"]),
    (
        "pyro-bench",
        &[
            "pyro-api",
            "pyro-client",
            "pyro-core",
            "pyro-directory",
            "pyro-image",
            "pyro-link",
            "pyro-vmm",
            "pyro-wire",
        ],
    ),
];

/// A lint, the rule it stands for, and which files may lift it.
type Lift = (&'static str, &'static str, fn(&Path) -> bool);

const LIFTS: [Lift; 3] = [
    (
        "clippy::print_stdout",
        "only front/, the developer's programs and the mains print",
        may_print,
    ),
    (
        "clippy::print_stderr",
        "only front/, the developer's programs and the mains print",
        may_print,
    ),
    ("unsafe_code", "unsafe code stands only in a crate's src/sys/", is_sys),
];

/// Check which crate uses which, and who prints or is unsafe.
#[derive(clap::Args)]
pub struct Arguments {}

/// Fails, with one line per finding, when an arrow or a lint is not as it should be.
pub fn run(_: &Arguments) -> Result<ExitCode> {
    let root = tree::root();
    let packages = packages(&root)?;
    let mut findings = arrows(&packages);
    findings.extend(unknown_rows(&packages));
    findings.extend(lints(&packages)?);
    for package in &packages {
        for file in sources(package.directory())? {
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let path = file.strip_prefix(&root).unwrap_or(&file);
            findings.extend(lifts(path, &text));
        }
    }
    ensure!(
        findings.is_empty(),
        "{} against the layers:\n  {}\nhint: the table and the reasons stand in xtask/src/layers.rs",
        if findings.len() == 1 { "1 finding" } else { "findings" },
        findings.join("\n  ")
    );
    println!("layers: {} crates keep to their arrows", packages.len());
    Ok(ExitCode::SUCCESS)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    /// `dev`, `build`, or none for what the crate itself uses.
    kind: Option<String>,
    /// Set where it is a crate of this tree.
    path: Option<PathBuf>,
}

impl Package {
    fn directory(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(Path::new("/"))
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let output = Command::new(tree::cargo())
        .current_dir(root)
        .args(["metadata", "--no-deps", "--format-version", "1", "--locked"])
        .output()
        .context("run cargo metadata")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "cargo metadata failed: {said}");
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("read cargo's metadata")?;
    Ok(metadata.packages)
}

/// Arrows that the table does not have. What only tests use is free.
fn arrows(packages: &[Package]) -> Vec<String> {
    let table: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(allowed) = table.get(package.name.as_str()) else {
            findings.push(format!("{} has no row in the table", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            let ours = dependency.path.is_some() && dependency.kind.as_deref() != Some("dev");
            if ours && !allowed.contains(&dependency.name.as_str()) {
                findings.push(format!(
                    "{} must not use {} (it may use: {})",
                    package.name,
                    dependency.name,
                    if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
                ));
            }
        }
    }
    findings
}

/// Rows of the table for crates that are not there.
fn unknown_rows(packages: &[Package]) -> Vec<String> {
    let is_there = |name: &str| packages.iter().any(|package| package.name == name);
    let rows = ARROWS.iter().filter(|(name, _)| !is_there(name));
    rows.map(|(name, _)| format!("the table has a row for {name}, which is not there")).collect()
}

/// Crates that do not take the lints of the workspace.
fn lints(packages: &[Package]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in packages {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("read {}", package.manifest_path.display()))?;
        let manifest: toml::Table = manifest
            .parse()
            .with_context(|| format!("parse {}", package.manifest_path.display()))?;
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if inherits.and_then(toml::Value::as_bool) != Some(true) {
            findings.push(format!("{}: Cargo.toml lacks [lints] workspace = true", package.name));
        }
    }
    Ok(findings)
}

/// Attributes that lift a lint where it must hold.
fn lifts(path: &Path, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split("//").next().unwrap_or_default().trim_start();
        if !(line.starts_with("#[") || line.starts_with("#![")) {
            continue;
        }
        for (lint, rule, may) in &LIFTS {
            let lifted = ["allow(", "expect(", "warn("].iter().any(|verb| line.contains(verb));
            if lifted && names(line, lint) && !may(path) {
                findings.push(format!("{}:{}: {rule}", path.display(), number + 1));
            }
        }
    }
    findings
}

/// Whether an attribute names this lint, and not one whose name only contains it.
fn names(attribute: &str, lint: &str) -> bool {
    let is_word = |character: char| character.is_alphanumeric() || "_:".contains(character);
    attribute.split(|character| !is_word(character)).any(|word| word == lint)
}

/// The command line, the developer's programs, and the mains: `main.rs`, `src/bin/`, build scripts,
/// examples and tests.
fn may_print(path: &Path) -> bool {
    let layers = ["front", "xtask", "bench", "tests"];
    let directories = ["bin", "examples", "tests"];
    let stands_in = path.components().any(|part| {
        part.as_os_str().to_str().is_some_and(|directory| directories.contains(&directory))
    });
    let is_main = stands_in || path.ends_with("main.rs") || path.ends_with("build.rs");
    is_main || layers.iter().any(|layer| path.starts_with(layer))
}

fn is_sys(path: &Path) -> bool {
    let parts: Vec<_> = path.iter().filter_map(|part| part.to_str()).collect();
    // The lab's one call stands in a single file.
    parts.windows(2).any(|pair| pair == ["src", "sys"]) || path.ends_with("xtask/src/lab/sys.rs")
}

/// The Rust files of a crate, without those of crates in its folder (and of build output).
fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        let entries =
            fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
            if path.is_dir() {
                let is_other = path.join("Cargo.toml").exists() || path.ends_with("target");
                if !is_other {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependency = |(name, kind): &(&str, Option<&str>)| Dependency {
            name: (*name).to_owned(),
            kind: kind.map(ToOwned::to_owned),
            path: name.starts_with("pyro").then(PathBuf::new),
        };
        Package {
            name: name.to_owned(),
            manifest_path: PathBuf::new(),
            dependencies: uses.iter().map(dependency).collect(),
        }
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_named() {
        let findings = arrows(&[
            package("pyro-cli", &[("pyro-client", None), ("pyro-workspace", None), ("clap", None)]),
            package("pyro-wire", &[("pyro-core", Some("dev"))]),
            package("pyro-mystery", &[]),
        ]);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("pyro-cli must not use pyro-workspace (it may use: "));
        assert_eq!(findings[1], "pyro-mystery has no row in the table");
    }

    fn descend(table: &BTreeMap<&str, &[&str]>, name: &str, left: usize) {
        assert!(left > 0, "a circle through {name}");
        for next in table[name] {
            descend(table, next, left - 1);
        }
    }

    #[test]
    fn the_table_has_no_circle() {
        let table: BTreeMap<_, _> = ARROWS.iter().copied().collect();
        for (name, _) in ARROWS {
            descend(&table, name, ARROWS.len());
        }
    }

    #[test]
    fn a_lint_is_lifted_only_where_it_may_be() {
        let text = "#![allow(unsafe_code)]\n#![allow(clippy::print_stdout, missing_docs)]\n";
        assert_eq!(lifts(Path::new("host/vmm/src/sys/mod.rs"), text).len(), 1);
        assert_eq!(lifts(Path::new("host/vmm/src/kvm.rs"), text).len(), 2);
        assert_eq!(lifts(Path::new("front/cli/src/printer.rs"), text).len(), 1);
        assert_eq!(lifts(Path::new("pyro/src/main.rs"), text).len(), 1);
        let other = "#[allow(unsafe_code_elsewhere)] // unsafe_code";
        assert!(lifts(Path::new("core/src/lib.rs"), other).is_empty());
        assert!(lifts(Path::new("core/src/lib.rs"), "#[derive(Debug)]\n// unsafe_code").is_empty());
    }
}
