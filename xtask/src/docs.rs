//! `cargo xtask docs`: documents and sources say the same. Every error code that the sources can
//! produce stands in `docs/errors.md`, and no other; every link between documents leads somewhere;
//! and, with `--tour`, the README's tour and docs/network.md print what they show.
//!
//! Refuses to know what any document is about.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::tree;

const ERRORS: &str = "docs/errors.md";
/// Whose errors people and programs see.
const SOURCES: [&str; 8] = ["archive", "change", "core", "guest", "host", "front", "pyro", "wire"];
/// What stands there for tests and development only.
const ASIDE: [&str; 4] = ["tests", "examples", "fixture", "bin"];
/// The documents whose commands are run, each with the section, or all of it.
const TOURS: [(&str, &str); 2] = [("README.md", "## A tour"), ("docs/network.md", "")];

/// Check that documents and sources agree.
#[derive(clap::Args, Default)]
pub struct Arguments {
    /// Also run the README's tour and docs/network.md with this pyro, on QEMU, each in a state
    /// directory of its own.
    #[arg(long, value_name = "PYRO")]
    tour: Option<PathBuf>,
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root();
    let mut faults = check_codes(&root)?;
    faults.extend(check_links(&root)?);
    if let Some(pyro) = &arguments.tour {
        for (document, section) in TOURS {
            faults.extend(check_tour(&root, pyro, document, section)?);
        }
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    ensure!(faults.is_empty(), "documents and sources differ in {} places", faults.len());
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

// --- error codes ------------------------------------------------------------------------------

fn check_codes(root: &Path) -> Result<Vec<String>> {
    let documented = documented_codes(&read(&root.join(ERRORS))?);
    let mut produced = BTreeMap::new();
    let mut texts = BTreeSet::new();
    for folder in SOURCES {
        for path in rust_files(&root.join(folder))? {
            let source = read(&path)?;
            let source = source.split("#[cfg(test)]").next().unwrap_or_default();
            let place = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            for code in codes(source) {
                produced.entry(code).or_insert_with(|| place.clone());
            }
            texts.extend(literals(source).into_iter().map(|(_, text)| text.to_owned()));
        }
    }
    let missing = produced.iter().filter(|(code, _)| !documented.contains(*code));
    let missing = missing.map(|(code, place)| format!("{ERRORS} lacks `{code}` of {place}"));
    let stale = documented.iter().filter(|code| !texts.contains(*code));
    let stale = stale.map(|code| format!("{ERRORS} has `{code}`, which no source has"));
    Ok(missing.chain(stale).collect())
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            if !ASIDE.iter().any(|aside| *aside == name) {
                files.extend(rust_files(&path)?);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The codes in the first columns of the tables: between backquotes.
fn documented_codes(document: &str) -> BTreeSet<String> {
    let (_, tables) = document.split_once("\n## ").unwrap_or_default();
    let cells = tables.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The codes that a source makes problems with: the first text of a constructor of `Problem`, and
/// the arms of a function `code` or of a binding `code`.
fn codes(source: &str) -> BTreeSet<String> {
    const MAKERS: [&str; 5] = ["invalid", "not_found", "conflict", "failed", "from_error"];
    let mut found = BTreeSet::new();
    let mut add = |text: &str| {
        if is_code(text) {
            found.insert(text.to_owned());
        }
    };
    for (at, text) in literals(source) {
        let before = source[..at].trim_end();
        let made = before.strip_suffix('(').is_some_and(|name| {
            MAKERS.iter().any(|maker| {
                name.strip_suffix(maker).is_some_and(|path| path.ends_with("Problem::"))
                    || name.ends_with(&format!("Self::{maker}"))
            })
        });
        let of_kind = before.strip_suffix(',').is_some_and(|path| {
            let name = path.rsplit("::").next().unwrap_or_default();
            name.chars().all(char::is_alphanumeric) && path.ends_with(&format!("Kind::{name}"))
        });
        if made || of_kind {
            add(text);
        }
    }
    for (opening, ending) in [("fn code(&self)", "\n    }"), ("let code = ", ";\n")] {
        for part in source.split(opening).skip(1) {
            let body = part.split(ending).next().unwrap_or_default();
            for (at, text) in literals(body) {
                if body[..at].trim_end().ends_with("=>") {
                    add(text);
                }
            }
        }
    }
    // `let (code, ...) = match ... { A => ("code", ...) }`.
    for part in source.split("let (code, ").skip(1) {
        let body = part.split("};").next().unwrap_or_default();
        for arm in body.split("=> (").skip(1) {
            if let Some((_, text)) = literals(arm).first() {
                add(text);
            }
        }
    }
    found
}

fn is_code(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

/// The plain texts between double quotes, and where each begins; those with escapes are cut there.
fn literals(source: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line_at, line) in lines_with_offsets(source) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        let mut at = 0;
        while let Some(opening) = line[at..].find('"').map(|found| at + found) {
            let text = &line[opening + 1..];
            let Some(length) = text.find('"') else { break };
            found.push((line_at + opening, &text[..length]));
            at = opening + length + 2;
        }
    }
    found
}

fn lines_with_offsets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let begin = *at;
        *at += line.len();
        Some((begin, line))
    })
}

// --- links ------------------------------------------------------------------------------------

fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let mut documents = Vec::new();
    for folder in [root.to_owned(), root.join("docs")] {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                documents.push(path);
            }
        }
    }
    documents.sort();
    Ok(documents)
}

fn check_links(root: &Path) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for document in documents(root)? {
        let text = read(&document)?;
        let name = document.strip_prefix(root).unwrap_or(&document).display().to_string();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match path {
                "" => document.clone(),
                path => document.parent().unwrap_or(root).join(path),
            };
            if !target.exists() {
                faults.push(format!("{name}: there is no {link}"));
            } else if !anchor.is_empty() && !anchors(&read(&target)?).contains(anchor) {
                faults.push(format!("{name}: {link} has no such heading"));
            }
        }
    }
    Ok(faults)
}

/// What headings are linked by: their words in lower case, joined by dashes.
fn anchors(document: &str) -> BTreeSet<String> {
    let headings = document.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().replace(' ', "-")
        })
        .collect()
}

// --- the tour ---------------------------------------------------------------------------------

/// A command line of a document, and what it says that prints.
#[derive(PartialEq, Eq, Debug)]
struct Step {
    line: String,
    shown: Vec<String>,
}

fn check_tour(root: &Path, pyro: &Path, document: &str, section: &str) -> Result<Vec<String>> {
    const MARK: &str = "@@@ next step";
    let steps = steps(&read(&root.join(document))?, section);
    ensure!(!steps.is_empty(), "{document} has nothing to run");
    let lines = steps.iter().map(|step| format!("echo '{MARK}'\n{}\n", step.line));
    let script = lines.collect::<String>();
    let home = tempfile::tempdir().context("make a state directory")?;
    let pyro = fs::canonicalize(pyro).with_context(|| format!("find {}", pyro.display()))?;
    let directory = pyro.parent().context("pyro stands in a directory")?.display().to_string();
    let run = |script: &str| {
        Command::new("bash")
            .args(["-c", &format!("exec 2>&1\nPATH={directory:?}:$PATH\n{script}")])
            .env("PYRO_HOME", home.path())
            .env("PYRO_BACKEND", "qemu")
            .stdin(Stdio::null())
            .output()
            .context("run bash")
    };
    let output = run(&script);
    // What the document leaves behind.
    run("pyro list --quiet | xargs --no-run-if-empty pyro delete; pyro node stop")?;
    let output = output?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let mut faults = Vec::new();
    for (step, printed) in steps.iter().zip(printed.split(&format!("{MARK}\n")).skip(1)) {
        let lasting = |lines: &mut dyn Iterator<Item = &str>| {
            lines.map(lasting).filter(|line| !line.is_empty()).collect::<Vec<_>>()
        };
        let shown = lasting(&mut step.shown.iter().map(String::as_str));
        if shown != lasting(&mut printed.lines()) {
            faults.push(format!("{document}: {} now prints\n{printed}", step.line));
        }
    }
    Ok(faults)
}

/// The commands of a section's blocks, but those that want a person or set up a shell; of the whole
/// document where no section is named.
fn steps(document: &str, section: &str) -> Vec<Step> {
    let tour = match section {
        "" => document,
        section => {
            let (_, tour) = document.split_once(section).unwrap_or_default();
            tour.split("\n## ").next().unwrap_or_default()
        }
    };
    let mut steps: Vec<Step> = Vec::new();
    for block in tour.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        for line in block.lines() {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => {
                    steps.push(Step { line: command.to_owned(), shown: Vec::new() });
                }
                (None, Some(step)) => step.shown.push(line.to_owned()),
                (None, None) => {}
            }
        }
    }
    steps.retain(|step| !step.line.starts_with("pyro shell") && !step.line.starts_with("export "));
    steps
}

/// What of a line stays the same from run to run: no ids, times, sizes. A number alone stays.
fn lasting(line: &str) -> String {
    const PASSING: [&str; 9] = ["now", "ago", "ms", "s", "m", "h", "KiB", "MiB", "GiB"];
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    if line.trim().parse::<u64>().is_ok() {
        return line.trim().to_owned();
    }
    let words = line.split_whitespace().filter(|word| {
        !word.contains(|c: char| c.is_ascii_digit())
            && !PASSING.contains(word)
            && !MONTHS.contains(word)
    });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_name_a_code_is_seen() {
        let source = r#"
            let a = Problem::invalid("first", "no code: this text");
            let b = Self::from_error(
                "second",
                &error,
            );
            let c = Problem::new(pyro_core::Kind::NotAvailable, "third", "text");
            let code = match x {
                X => "fourth",
            };
            // Problem::failed("not_this", "");
            let (code, other) = match x {
                X => ("fifth", "not"),
                Y => (
                    "sixth", "not"),
            };
    pub fn code(&self) -> &'static str {
        match self {
            Self::A => "seventh",
        }
    }
        "#;
        let expected = ["fifth", "first", "fourth", "second", "seventh", "sixth", "third"];
        assert_eq!(Vec::from_iter(codes(source)), expected);
    }

    #[test]
    fn codes_are_read_from_first_columns() {
        let document = "# E\n| `no` | x |\n\n## A\n| `a`, `b` | about `c` |\n";
        assert_eq!(Vec::from_iter(documented_codes(document)), ["a", "b"]);
    }

    #[test]
    fn headings_are_linked_as_forges_do() {
        let anchors = anchors("# One\n\n## There is a /dev/kvm, and more\n");
        assert!(anchors.contains("one") && anchors.contains("there-is-a-devkvm-and-more"));
    }

    #[test]
    fn the_tour_is_what_is_typed_there() {
        let readme = "## A tour\n```console\n$ export X=1\n$ a b\nc 1\n$ pyro shell w\n```\n## B\n";
        let expected = [Step { line: "a b".into(), shown: vec!["c 1".into()] }];
        assert_eq!(steps(readme, "## A tour"), expected);
        let whole = "```console\n$ a\n```\n## B\n```console\n$ b\n```\n";
        assert_eq!(steps(whole, "").len(), 2);
    }

    #[test]
    fn what_passes_is_not_compared() {
        assert_eq!(lasting("af00dab81ece  web  1 m ago  273 ms"), "web");
        assert_eq!(lasting("42"), "42");
    }
}
