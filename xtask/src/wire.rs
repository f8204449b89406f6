//! `cargo xtask wire`: the Rust types of the wire, generated from `wire/proto`, and the record of
//! the schema that may only grow.
//!
//! Guests older than the host will be running, so no field, number, type or name that was ever
//! published may change or go. `wire/proto/schema.lock` has one line for each of them; a line that
//! the schema no longer says is an error, a new one is added. Refuses to know what the messages
//! mean.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail, ensure};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

use crate::tree;

const SCHEMA: &str = "wire/proto/pyro_wire.proto";
const INCLUDE: &str = "wire/proto";
const LOCK: &str = "wire/proto/schema.lock";
const GENERATED: &str = "wire/src/generated";
const LOCK_HEAD: &str = "\
# What the wire's schema has ever said, one line each. Written by `cargo xtask wire`, which refuses
# to change or remove a line: guests older than the host will be running.
";

/// Generate the wire's Rust types from wire/proto, and record what the schema says.
#[derive(clap::Args)]
pub struct Arguments {
    /// Change nothing; fail when something is not up to date.
    #[arg(long)]
    pub check: bool,
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root();
    let descriptors = protox::compile([root.join(SCHEMA)], [root.join(INCLUDE)])
        .with_context(|| format!("compile {SCHEMA}"))?;

    let recorded = fs::read_to_string(root.join(LOCK)).unwrap_or_default();
    let said = describe(&descriptors)?;
    grows(&recorded, &said)?;
    let lines: Vec<_> = said.iter().map(String::as_str).collect();
    let mut files = vec![(LOCK.to_owned(), format!("{LOCK_HEAD}{}\n", lines.join("\n")))];
    files.extend(generate(descriptors)?);

    let stale: Vec<_> = files
        .iter()
        .filter(|(path, text)| fs::read_to_string(root.join(path)).ok().as_ref() != Some(text))
        .collect();
    if arguments.check {
        let paths: Vec<_> = stale.iter().map(|(path, _)| path.as_str()).collect();
        ensure!(
            paths.is_empty(),
            "{} is not what {SCHEMA} says; hint: cargo xtask wire",
            paths.join(", ")
        );
        println!("wire: generated types and {LOCK} are up to date");
        return Ok(ExitCode::SUCCESS);
    }
    for (path, text) in stale {
        fs::write(root.join(path), text).with_context(|| format!("write {path}"))?;
        println!("wire: wrote {path}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The generated files: their paths in the checkout, and what they say.
fn generate(descriptors: FileDescriptorSet) -> Result<Vec<(String, String)>> {
    let directory = tempfile::tempdir().context("make a directory for the generated types")?;
    prost_build::Config::new()
        .out_dir(directory.path())
        .bytes(["."])
        .compile_fds(descriptors)
        .context("generate the wire's types")?;
    read_all(directory.path())
}

fn read_all(directory: &Path) -> Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).context("list the generated types")? {
        let entry = entry.context("list the generated types")?;
        let name = entry.file_name().into_string().ok().context("a generated name is text")?;
        let path = entry.path();
        // As `cargo fmt` wants it, which looks at it like at any other source.
        let formatted = Command::new("rustfmt")
            .args(["--edition", "2024", "--config-path"])
            .args([&tree::root(), &path])
            .status()
            .context("run rustfmt")?;
        ensure!(formatted.success(), "rustfmt does not take {name}");
        let text = fs::read_to_string(path).with_context(|| format!("read {name}"))?;
        files.push((format!("{GENERATED}/{name}"), text));
    }
    Ok(files)
}

/// Fails when a recorded line is not said any more.
fn grows(recorded: &str, said: &BTreeSet<String>) -> Result<()> {
    let recorded = recorded.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let gone: Vec<_> = recorded.filter(|line| !said.contains(*line)).collect();
    if gone.is_empty() {
        return Ok(());
    }
    bail!(
        "the wire's schema is append-only, and {SCHEMA} no longer says:\n  {}\n\
         hint: put it back, and add a field or message with a new number beside it",
        gone.join("\n  ")
    )
}

/// One line for each message, field and enum value: all that bytes on the wire and old sources
/// depend on.
fn describe(descriptors: &FileDescriptorSet) -> Result<BTreeSet<String>> {
    let mut lines = BTreeSet::new();
    for file in &descriptors.file {
        for message in &file.message_type {
            describe_message(file.package(), message, &mut lines)?;
        }
        for value in &file.enum_type {
            describe_enum(file.package(), value, &mut lines);
        }
    }
    Ok(lines)
}

fn describe_message(
    scope: &str,
    message: &DescriptorProto,
    lines: &mut BTreeSet<String>,
) -> Result<()> {
    let name = format!("{scope}.{}", message.name());
    lines.insert(format!("message {name}"));
    for field in &message.field {
        lines.insert(describe_field(&name, message, field)?);
    }
    for nested in &message.nested_type {
        describe_message(&name, nested, lines)?;
    }
    for value in &message.enum_type {
        describe_enum(&name, value, lines);
    }
    Ok(())
}

fn describe_field(
    scope: &str,
    message: &DescriptorProto,
    field: &FieldDescriptorProto,
) -> Result<String> {
    let kind = Type::try_from(field.r#type.unwrap_or_default())
        .with_context(|| format!("the type of {scope}.{}", field.name()))?;
    let kind = match kind {
        Type::Message | Type::Enum => field.type_name().trim_start_matches('.').to_owned(),
        plain => plain.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    let presence = match field.oneof_index {
        _ if field.label() == Label::Repeated => "repeated ".to_owned(),
        Some(_) if field.proto3_optional() => "optional ".to_owned(),
        Some(index) => {
            let one = message.oneof_decl.get(index as usize);
            format!("oneof {} ", one.context("a field's oneof is declared")?.name())
        }
        None => String::new(),
    };
    Ok(format!("field {scope} {:>3} {presence}{kind} {}", field.number(), field.name()))
}

fn describe_enum(scope: &str, value: &EnumDescriptorProto, lines: &mut BTreeSet<String>) {
    let name = format!("{scope}.{}", value.name());
    for value in &value.value {
        lines.insert(format!("value {name} {:>3} {}", value.number(), value.name()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(text: &str) -> BTreeSet<String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.proto");
        fs::write(&path, format!("syntax = \"proto3\"; package p; {text}")).unwrap();
        describe(&protox::compile([&path], [directory.path()]).unwrap()).unwrap()
    }

    fn recorded(text: &str) -> String {
        schema(text).into_iter().collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_schema_may_grow() {
        let old = recorded("message M { uint32 a = 1; oneof o { string b = 2; } }");
        let new =
            "message M { uint32 a = 1; oneof o { string b = 2; N c = 3; } optional bool d = 4; }
                   message N { repeated M m = 1; }";
        grows(&old, &schema(new)).unwrap();
    }

    #[test]
    fn a_schema_keeps_what_it_once_said() {
        let old = recorded("message M { uint32 a = 1; string b = 2; } message N {}");
        for (change, lost) in [
            ("message M { uint32 a = 1; } message N {}", "field p.M   2 string b"),
            ("message M { uint32 a = 1; string b = 3; } message N {}", "field p.M   2 string b"),
            ("message M { uint64 a = 1; string b = 2; } message N {}", "field p.M   1 uint32 a"),
            ("message M { uint32 c = 1; string b = 2; } message N {}", "field p.M   1 uint32 a"),
            ("message M { uint32 a = 1; string b = 2; }", "message p.N"),
        ] {
            let error = grows(&old, &schema(change)).unwrap_err().to_string();
            assert!(error.contains(lost), "{change}: {error}");
        }
    }
}
