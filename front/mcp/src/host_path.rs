//! Paths of this host that a call names: only those below the directories the server was allowed.
//!
//! Every symlink on the way is resolved before it is asked where a path leads, so none leads out. What
//! happens to the directories between that look and the use of the path is for whoever owns them.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use pyro_core::Problem;

use crate::settings::Settings;

/// Something that is there.
pub(crate) fn source(settings: &Settings, given: &str) -> Result<PathBuf, Problem> {
    let path = absolute(settings, given)?;
    let real = path.canonicalize().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::invalid(
            "file_not_found",
            format!("there is no {} on the host", path.display()),
        )
        .hint("a relative path is below the first directory that this server was allowed"),
        _ => unreadable(&path, &error),
    })?;
    if is_allowed(settings, &real) { Ok(real) } else { Err(refused(settings, given)) }
}

/// A repository that is there, with what follows its `@`. One by a URL is none of this host.
pub(crate) fn repository(settings: &Settings, given: &str) -> Result<PathBuf, Problem> {
    match (source(settings, given), given.rsplit_once('@')) {
        (Err(_), Some((path, reference))) => {
            let mut whole = source(settings, path)?.into_os_string();
            whole.push("@");
            whole.push(reference);
            Ok(whole.into())
        }
        (found, _) => found,
    }
}

/// Something that is to be made: the directories on the way need not be there.
pub(crate) fn output(settings: &Settings, given: &str) -> Result<PathBuf, Problem> {
    let path = absolute(settings, given)?;
    let mut there = path.as_path();
    let mut rest = PathBuf::new();
    loop {
        // A symlink that leads nowhere yet counts as there, and is no way.
        match there.symlink_metadata() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(there, &error)),
        }
        let (Some(above), Some(name)) = (there.parent(), there.file_name()) else { break };
        rest = if rest.as_os_str().is_empty() { name.into() } else { Path::new(name).join(rest) };
        there = above;
    }
    let real = there.canonicalize().map_err(|error| unreadable(there, &error))?;
    let whole = if rest.as_os_str().is_empty() { real } else { real.join(rest) };
    if is_allowed(settings, &whole) { Ok(whole) } else { Err(refused(settings, given)) }
}

/// Relative ones are below the first of the allowed.
fn absolute(settings: &Settings, given: &str) -> Result<PathBuf, Problem> {
    if given.is_empty() || given.contains('\0') {
        return Err(Problem::invalid("invalid_path", format!("{given:?} is no path of the host")));
    }
    let path = Path::new(given);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Problem::invalid("invalid_path", format!("{given:?} has .. in it"))
            .hint("say where it is from the root or from the allowed directory"));
    }
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let first = settings.allowed_paths.first().ok_or_else(|| refused(settings, given))?;
    Ok(first.join(path))
}

fn is_allowed(settings: &Settings, real: &Path) -> bool {
    let roots = settings.allowed_paths.iter().filter_map(|root| root.canonicalize().ok());
    roots.into_iter().any(|root| real.starts_with(root))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::invalid("file_unreadable", format!("cannot look at {} on the host", path.display()))
        .cause(error)
}

fn refused(settings: &Settings, given: &str) -> Problem {
    let problem = Problem::invalid(
        "host_path_not_allowed",
        format!("{given:?} is not within what this server may read and write on the host"),
    );
    let roots: Vec<_> =
        settings.allowed_paths.iter().map(|root| root.display().to_string()).collect();
    let problem = if roots.is_empty() {
        problem.hint("it may read and write nothing on the host")
    } else {
        problem.hint(format!("it may read and write below {}", roots.join(", ")))
    };
    problem.hint(
        "a person can allow more: `pyro mcp serve --allow-path DIR` in the client's configuration",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::Profile;

    fn settings(allowed: &[&Path]) -> Settings {
        Settings {
            profile: Profile::WorkspaceCore,
            location: Err(Problem::failed("none", "none")),
            backend: None,
            current_workspace: None,
            current_directory: None,
            allowed_paths: allowed.iter().map(|path| (*path).to_owned()).collect(),
            git_environment: Vec::new(),
        }
    }

    #[test]
    fn no_path_leads_out_of_what_is_allowed() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let (inside, outside) = (home.join("in"), home.join("out"));
        std::fs::create_dir_all(inside.join("deep")).unwrap();
        std::fs::create_dir_all(home.join("inner")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(inside.join("file"), "").unwrap();
        std::fs::write(outside.join("file"), "").unwrap();
        symlink(&outside, inside.join("away")).unwrap();
        symlink(outside.join("not-yet"), inside.join("dangling")).unwrap();
        symlink("deep", inside.join("near")).unwrap();
        let settings = settings(&[&inside]);
        let code = |problem: Problem| problem.code;
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();

        assert_eq!(source(&settings, "file").unwrap(), inside.join("file"));
        assert_eq!(source(&settings, &text(inside.join("near"))).unwrap(), inside.join("deep"));
        assert_eq!(source(&settings, "none").map_err(code).unwrap_err(), "file_not_found");
        let away =
            [text(outside.join("file")), text(inside.join("away/file")), "away".into(), "/".into()];
        for path in &away {
            assert_eq!(source(&settings, path).map_err(code).unwrap_err(), "host_path_not_allowed");
        }
        assert_eq!(repository(&settings, "deep").unwrap(), inside.join("deep"));
        assert_eq!(repository(&settings, "deep@v1/x").unwrap(), inside.join("deep@v1/x"));
        for path in ["https://example.org/x", "away@main", "git@example.org:x", "none"] {
            repository(&settings, path).unwrap_err();
        }
        for path in ["", "../out/file", "deep/../../out", "a\0b"] {
            assert_eq!(source(&settings, path).map_err(code).unwrap_err(), "invalid_path");
        }

        assert_eq!(output(&settings, "a/b/c").unwrap(), inside.join("a/b/c"));
        assert_eq!(output(&settings, "near/new").unwrap(), inside.join("deep/new"));
        for path in ["away/new", "away", &text(home.join("inner/new")), "/etc/new"] {
            assert_eq!(output(&settings, path).map_err(code).unwrap_err(), "host_path_not_allowed");
        }
        output(&settings, "dangling").unwrap_err();
        output(&settings, "file/new").unwrap_err();
    }

    #[test]
    fn nothing_is_allowed_where_nothing_was_said() {
        let settings = settings(&[]);
        for path in ["file", "/etc/passwd"] {
            let problem = source(&settings, path).unwrap_err();
            assert_eq!(problem.code, "host_path_not_allowed");
            assert!(problem.hints.iter().any(|hint| hint.contains("--allow-path")));
        }
    }
}
