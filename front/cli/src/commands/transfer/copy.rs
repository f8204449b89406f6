//! `pyro cp`.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
};

use pyro_client::{Carried, ClientError, ExportQuery, Format, Push};
use pyro_core::Problem;

use super::{export::take_out, push::say};
use crate::{
    arguments::CopyArguments, commands::file::file_path, context::Context, error::CommandError,
};

/// A side of a copy.
#[derive(PartialEq, Eq, Debug)]
enum Side {
    Host(PathBuf),
    Workspace(String, OsString),
}

impl Side {
    /// `NAME:PATH` is in a workspace, unless the colon comes behind a slash: then it is a name here.
    fn of(text: &OsStr) -> Self {
        let bytes = text.as_bytes();
        let colon = bytes.iter().position(|byte| *byte == b':');
        let slash = bytes.iter().position(|byte| *byte == b'/').unwrap_or(usize::MAX);
        match colon.filter(|colon| *colon > 0 && *colon < slash) {
            Some(colon) => {
                let workspace = String::from_utf8_lossy(&bytes[..colon]).into_owned();
                Self::Workspace(workspace, OsString::from_vec(bytes[colon + 1..].to_vec()))
            }
            None => Self::Host(text.into()),
        }
    }
}

pub(in crate::commands) async fn copy(
    context: &Context,
    arguments: CopyArguments,
) -> Result<u8, CommandError> {
    match (Side::of(&arguments.from), Side::of(&arguments.to)) {
        (Side::Workspace(workspace, path), Side::Host(target)) => {
            out(context, &workspace, &path, target, arguments.force).await
        }
        (Side::Host(source), Side::Workspace(workspace, path)) => {
            into(context, &source, &workspace, &path).await
        }
        (Side::Host(_), Side::Host(_)) => {
            let text = "neither side is in a workspace: one is WORKSPACE:PATH";
            Err(CommandError::usage("cp", text))
        }
        (Side::Workspace(..), Side::Workspace(..)) => {
            let text = "both sides are in a workspace: copy by way of this host";
            Err(CommandError::usage("cp", text))
        }
    }
}

fn name_of(path: &Path) -> Result<&OsStr, CommandError> {
    path.file_name().ok_or_else(|| {
        Problem::invalid("invalid_path", format!("{} has no name of its own", path.display()))
            .into()
    })
}

async fn out(
    context: &Context,
    workspace: &str,
    path: &OsStr,
    target: PathBuf,
    force: bool,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(workspace)?;
    // Into a directory that is there, under its own name.
    let target = if target.is_dir() {
        let path = if path.is_empty() { OsStr::new("workspace") } else { path };
        target.join(name_of(Path::new(path))?)
    } else {
        target
    };
    let query = ExportQuery { path: file_path(path), ..ExportQuery::default() };
    take_out(context, &workspace, &query, &target, Format::Plain, force).await
}

async fn into(
    context: &Context,
    source: &Path,
    workspace: &str,
    path: &OsStr,
) -> Result<u8, CommandError> {
    let workspace = context.workspace(workspace)?;
    let node = context.node().await?;
    let target = file_path(path);
    let is_directory = match node.file_status(&workspace, &target, true, false).await {
        Ok(status) => status.entry.artifact_type == "directory",
        Err(ClientError::Refused { problem }) if problem.code == "file_not_found" => {
            path.as_bytes().ends_with(b"/")
        }
        Err(error) => return Err(error.into()),
    };
    let whole = if is_directory {
        Path::new(path).join(name_of(&std::path::absolute(source).unwrap_or_default())?)
    } else {
        PathBuf::from(path)
    };
    let carried = Carried::default();
    let pushed = if source.is_dir() {
        let destination = file_path(whole.as_os_str());
        let pushing = node.push_files(&workspace, source, &destination, Push::default(), &carried);
        context.printer.while_carrying("Sending", &carried, pushing).await?
    } else {
        let name = name_of(&whole)?.as_bytes();
        let parent = file_path(whole.parent().unwrap_or(Path::new("")).as_os_str());
        let pushing = node.push_file(&workspace, source, &parent, name, &carried);
        context.printer.while_carrying("Sending", &carried, pushing).await?
    };
    say(context.printer, source, &pushed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_before_any_slash_names_a_workspace() {
        let side = |text: &str| Side::of(OsStr::new(text));
        let inside = |name: &str, path: &str| Side::Workspace(name.into(), path.into());
        assert_eq!(side("web:/etc/hosts"), inside("web", "/etc/hosts"));
        assert_eq!(side("web:"), inside("web", ""));
        assert_eq!(side("@:a b"), inside("@", "a b"));
        for here in ["a", "./web:x", "/a:b", ":x", "."] {
            assert_eq!(side(here), Side::Host(here.into()));
        }
    }
}
