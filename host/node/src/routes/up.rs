//! Several services at once, as a file declares them.
//!
//! The file is given by whoever asks, or read in the workspace; never on this host.

use std::collections::BTreeMap;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
};
use pyro_api::{
    DownResult, DownServices, GivenFile, ManifestNeeds, ManifestRequest, NamedEnvFile, UpResult,
    UpServices,
};
use pyro_core::{MANIFEST_NAMES, Problem, ServiceName, WORKSPACE_PATH};
use pyro_manifest::{Port, Source, Surroundings};
use pyro_workspace::{Handle, PortRequest, Up};

use crate::{
    parse, present,
    response::{Answer, Failure},
    routes::{execs::notices, json_body, read_body_of},
    server::Node,
};

/// A file with all it names, bytes.
const LARGEST_REQUEST: usize = 8 << 20;
/// A file of services, bytes.
const LARGEST_FILE: u64 = 1 << 20;
/// A file of variables, bytes.
const LARGEST_ENV_FILE: u64 = 256 << 10;

/// Says what a file of services needs of where it lies, for `up` with a file that is not in the
/// workspace: values of variables, and files of variables beside it.
#[utoipa::path(post, path = "/v1/manifests/needs", request_body = ManifestRequest,
    responses((status = 200, body = ManifestNeeds), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn needs(body: Body) -> Answer<ManifestNeeds> {
    let request: ManifestRequest = json_body(&read_body_of(body, LARGEST_REQUEST).await?)?;
    let source = Source { name: &request.name, text: &request.text };
    let needs = pyro_manifest::needs(source, &request.variables, request.dot_env.as_deref())
        .map_err(Problem::from)?;
    let env_files = needs
        .env_files
        .into_iter()
        .map(|file| NamedEnvFile { path: file.path, required: file.required })
        .collect();
    Ok(Json(ManifestNeeds { variables: needs.variables.into_iter().collect(), env_files }))
}

/// Makes the services of a workspace what a file declares; answers when each is ready, or cannot be
/// any more (its `failure` says why). Nothing is changed where anything in the file is wrong.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services/up",
    params(("workspace" = String, Path)), request_body = UpServices,
    responses((status = 200, body = UpResult), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn up(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<UpResult> {
    let request: UpServices = json_body(&read_body_of(body, LARGEST_REQUEST).await?)?;
    let limit = request.timeout_seconds.filter(|limit| *limit != 0.0);
    let limit = limit.map(parse::seconds_limit).transpose()?;
    let handle = node.workspaces().find(&reference)?;
    let found = match (request.file, &request.path) {
        (Some(_), Some(_)) => {
            let problem = Problem::invalid(
                "invalid_request",
                "a file is given, or it is in the workspace: not both",
            );
            return Err(problem.hint("give either file or path").into());
        }
        (Some(file), None) => Found { file, source: None, started: false },
        (None, path) => {
            in_workspace(&handle, path.as_deref(), &request.variables, request.no_start).await?
        }
    };
    let around = Surroundings {
        variables: request.variables,
        dot_env: found.file.dot_env,
        env_files: found.file.env_files,
    };
    let source = Source { name: &found.file.name, text: &found.file.text };
    let manifest = pyro_manifest::read(source, &around).map_err(Problem::from)?;
    let name = found.source.unwrap_or_else(|| source_name(&found.file.name));
    let up = Up {
        services: manifest.services,
        ports: manifest.ports.into_iter().map(requests).collect(),
        only: request.services,
        source: name.clone(),
        wait: !request.no_wait,
        limit,
        remove_orphans: request.remove_orphans,
        no_start: request.no_start,
    };
    // To its end, even when the caller has gone: half of a file helps nobody.
    let whole = handle.clone();
    let busy = node.busy();
    let task = tokio::spawn(async move {
        let _busy = busy;
        whole.up(up).await
    });
    let report = match task.await {
        Ok(report) => report?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let mut notices = notices(&handle, found.started || report.started_workspace);
    notices.extend(manifest.notices);
    Ok(Json(present::up(&handle.snapshot(), name, &report, notices)))
}

/// The ports of a service as the workspace takes them: on `localhost`.
fn requests((service, ports): (ServiceName, Vec<Port>)) -> (ServiceName, Vec<PortRequest>) {
    let request =
        |Port { host_port, guest_port }| PortRequest { bind: None, host_port, guest_port };
    (service, ports.into_iter().map(request).collect())
}

/// Stops the services that came from a file, those that others need last; answers when their last
/// processes are gone.
#[utoipa::path(post, path = "/v1/workspaces/{workspace}/services/down",
    params(("workspace" = String, Path)), request_body = DownServices,
    responses((status = 200, body = DownResult)))]
pub(crate) async fn down(
    State(node): State<Node>,
    Path(reference): Path<String>,
    body: Body,
) -> Answer<DownResult> {
    let request: DownServices = json_body(&read_body_of(body, LARGEST_REQUEST).await?)?;
    let handle = node.workspaces().find(&reference)?;
    let source = request.file.as_deref().map(source_name);
    let services = handle.down(source.as_deref(), &request.services).await?;
    Ok(Json(present::down(&handle.snapshot(), &services)))
}

/// A file and what its services know it by.
struct Found {
    file: GivenFile,
    source: Option<String>,
    /// Whether the workspace was started to read it.
    started: bool,
}

/// What services know a file by: the same for `/workspace/pyro.toml` and for a `pyro.toml` that was
/// given.
fn source_name(name: &str) -> String {
    let below = name.strip_prefix(WORKSPACE_PATH).and_then(|rest| rest.strip_prefix('/'));
    below.unwrap_or(name).chars().take(200).collect()
}

async fn in_workspace(
    handle: &Handle,
    path: Option<&str>,
    variables: &BTreeMap<String, String>,
    no_start: bool,
) -> Result<Found, Failure> {
    let candidates: Vec<String> = match path {
        Some("") => return Err(Problem::invalid("invalid_request", "the path is empty").into()),
        Some(path) if path.starts_with('/') => vec![path.to_owned()],
        Some(path) => vec![format!("{WORKSPACE_PATH}/{path}")],
        None => MANIFEST_NAMES.iter().map(|name| format!("{WORKSPACE_PATH}/{name}")).collect(),
    };
    let mut started = false;
    for path in &candidates {
        let (text, started_now) = handle.read_file(path, LARGEST_FILE, no_start).await?;
        started |= started_now;
        let Some(text) = text else { continue };
        let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let beside = |path: &str| {
            if path.starts_with('/') { path.to_owned() } else { format!("{directory}/{path}") }
        };
        let dot_env = handle.read_file(&beside(".env"), LARGEST_ENV_FILE, true).await?.0;
        let mut file = GivenFile {
            name: source_name(path),
            text: utf8(path, text)?,
            dot_env: dot_env.map(|text| utf8(&beside(".env"), text)).transpose()?,
            env_files: BTreeMap::new(),
        };
        let source = Source { name: &file.name, text: &file.text };
        let needs = pyro_manifest::needs(source, variables, file.dot_env.as_deref())
            .map_err(Problem::from)?;
        for named in needs.env_files {
            let path = beside(&named.path);
            let text = handle.read_file(&path, LARGEST_ENV_FILE, true).await?.0;
            let text = text.map(|text| utf8(&path, text)).transpose()?;
            file.env_files.insert(named.path, text);
        }
        return Ok(Found { source: Some(file.name.clone()), file, started });
    }
    let id = handle.id();
    let problem = match path {
        Some(_) => Problem::not_found(
            "manifest_not_found",
            format!("workspace {id} has no file {}", candidates.join("")),
        ),
        None => Problem::not_found(
            "manifest_not_found",
            format!("workspace {id} has no file of services in {WORKSPACE_PATH}"),
        )
        .cause(format!("it would be called {}", MANIFEST_NAMES.join(", "))),
    };
    Err(problem.hint("give one from here: pyro service up WORKSPACE -f FILE").into())
}

fn utf8(path: &str, bytes: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(bytes)
        .map_err(|_| Problem::invalid("invalid_manifest", format!("{path} is not UTF-8")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_one_name_wherever_it_was_read() {
        for (given, known) in [
            ("pyro.toml", "pyro.toml"),
            ("/workspace/pyro.toml", "pyro.toml"),
            ("/workspace/app/compose.yaml", "app/compose.yaml"),
            ("/srv/pyro.toml", "/srv/pyro.toml"),
            ("/workspaces/pyro.toml", "/workspaces/pyro.toml"),
        ] {
            assert_eq!(source_name(given), known);
        }
    }
}
