//! A file of services on this host, with what it needs of where it lies.
//!
//! The node says what that is; it reads no file of this host itself.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    path::Path,
};

use pyro_api::{GivenFile, ManifestRequest};
use pyro_core::Problem;

use crate::Node;

/// A file of services, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// A file of variables, bytes.
const LARGEST_ENV_FILE: u64 = 256 << 10;

/// Reads the file, the `.env` beside it and the files of variables that it names, relative to it. Of
/// the variables that it names, those that `variables` does not have are looked up and added.
pub async fn given_file(
    node: &Node,
    path: &Path,
    variables: &mut BTreeMap<String, String>,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<GivenFile, Problem> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = read(path, LARGEST_FILE)?.ok_or_else(|| {
        Problem::not_found("manifest_not_found", format!("there is no file {}", path.display()))
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let dot_env = read(&directory.join(".env"), LARGEST_ENV_FILE)?;
    let mut request = ManifestRequest { name, text, dot_env, variables: variables.clone() };
    let mut needs = node.manifest_needs(&request).await?;
    let count = variables.len();
    for name in needs.variables {
        if !variables.contains_key(&name) {
            variables.extend(lookup(&name).map(|value| (name, value)));
        }
    }
    if variables.len() > count {
        // Paths may have some.
        request.variables.clone_from(variables);
        needs.env_files = node.manifest_needs(&request).await?.env_files;
    }
    let mut env_files = BTreeMap::new();
    for named in needs.env_files {
        let text = read(&directory.join(&named.path), LARGEST_ENV_FILE)?;
        env_files.insert(named.path, text);
    }
    let ManifestRequest { name, text, dot_env, .. } = request;
    Ok(GivenFile { name, text, dot_env, env_files })
}

/// A text of at most so many bytes; none where there is no such file.
fn read(path: &Path, most: u64) -> Result<Option<String>, Problem> {
    let unreadable = |error: &dyn std::fmt::Display| {
        Problem::invalid("manifest_unreadable", format!("cannot read {}", path.display()))
            .cause(error)
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut text = Vec::new();
    file.take(most + 1).read_to_end(&mut text).map_err(|error| unreadable(&error))?;
    if text.len() as u64 > most {
        return Err(unreadable(&format!("it is larger than {most} bytes")));
    }
    String::from_utf8(text).map(Some).map_err(|_| unreadable(&"it is not UTF-8"))
}
