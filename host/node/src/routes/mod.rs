//! The routes, by noun.

pub(crate) mod archive;
pub(crate) mod disk;
pub(crate) mod environments;
pub(crate) mod execs;
pub(crate) mod files;
pub(crate) mod network;
pub(crate) mod node;
pub(crate) mod ports;
pub(crate) mod review;
pub(crate) mod run;
pub(crate) mod seeds;
pub(crate) mod services;
pub(crate) mod snapshots;
pub(crate) mod up;
mod upload;
pub(crate) mod workspaces;

use axum::{
    Router,
    extract::Path,
    http::{Method, Uri},
    routing::{delete, get, post},
};
use pyro_core::{EnvironmentName, Problem};
use pyro_workspace::WorkspaceError;

use crate::{response::Failure, server::Node};

/// Every route of the API.
pub(crate) fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/node", get(node::status))
        .route("/v1/node/stop", post(node::stop))
        .route("/v1/df", get(node::disk_usage))
        .route("/v1/openapi.json", get(node::openapi))
        .route("/v1/environments", get(environments::list))
        // An environment or workspace may have the name of a verb: the method tells them apart.
        .route(
            "/v1/environments/prune",
            post(environments::prune)
                .get(|node| environments::inspect(node, prune()))
                .delete(|node| environments::remove(node, prune())),
        )
        .route("/v1/environments/{name}", get(environments::inspect).delete(environments::remove))
        .route("/v1/environments/{name}/build", post(environments::build))
        .route("/v1/environments/{name}/import", post(environments::import))
        .route("/v1/seeds", post(seeds::make))
        .route("/v1/seeds/{fingerprint}", get(seeds::find))
        .route("/v1/workspaces", get(workspaces::list).post(workspaces::create))
        .route(
            "/v1/workspaces/prune",
            post(workspaces::prune)
                .get(|node| workspaces::status(node, prune()))
                .patch(|node, body| workspaces::update(node, prune(), body))
                .delete(|node| workspaces::delete(node, prune())),
        )
        .route(
            "/v1/workspaces/{workspace}",
            get(workspaces::status).patch(workspaces::update).delete(workspaces::delete),
        )
        .route("/v1/workspaces/{workspace}/start", post(workspaces::start))
        .route("/v1/workspaces/{workspace}/stop", post(workspaces::stop))
        .route("/v1/workspaces/{workspace}/logs", get(execs::logs))
        .route("/v1/workspaces/{workspace}/execs", get(execs::list).post(execs::start))
        .route("/v1/workspaces/{workspace}/execs/{exec}", get(execs::status))
        .route("/v1/workspaces/{workspace}/execs/{exec}/wait", get(execs::wait))
        .route("/v1/workspaces/{workspace}/execs/{exec}/signal", post(execs::signal))
        .route("/v1/workspaces/{workspace}/execs/{exec}/attach", get(execs::attach))
        .route("/v1/workspaces/{workspace}/execs/{exec}/output", get(execs::output))
        .route("/v1/workspaces/{workspace}/files", get(files::list))
        .route("/v1/workspaces/{workspace}/files/status", get(files::status))
        .route("/v1/workspaces/{workspace}/files/content", get(files::read).put(files::write))
        .route("/v1/workspaces/{workspace}/files/edit", post(files::edit))
        .route("/v1/workspaces/{workspace}/files/move", post(files::rename))
        .route("/v1/workspaces/{workspace}/files/remove", post(files::remove))
        .route("/v1/workspaces/{workspace}/files/directory", post(files::make_directory))
        .route("/v1/workspaces/{workspace}/files/search", post(files::search))
        .route("/v1/workspaces/{workspace}/archive", get(archive::export).put(archive::import))
        .route("/v1/workspaces/{workspace}/patch", post(review::patch))
        .route("/v1/workspaces/{workspace}/diff", get(review::diff))
        .route("/v1/workspaces/{workspace}/diff/patch", get(review::diff_patch))
        .route("/v1/workspaces/{workspace}/disk/files", get(disk::files))
        .route("/v1/workspaces/{workspace}/disk/content", get(disk::content))
        .route("/v1/workspaces/{workspace}/disk/image", get(disk::image))
        .route("/v1/workspaces/{workspace}/services", get(services::list).post(services::start))
        // Services may be called up and down.
        .route(
            "/v1/workspaces/{workspace}/services/up",
            post(up::up)
                .get(|node, path| services::status(node, named(path, "up")))
                .delete(|node, path| services::delete(node, named(path, "up"))),
        )
        .route(
            "/v1/workspaces/{workspace}/services/down",
            post(up::down)
                .get(|node, path| services::status(node, named(path, "down")))
                .delete(|node, path| services::delete(node, named(path, "down"))),
        )
        .route("/v1/manifests/needs", post(up::needs))
        .route(
            "/v1/workspaces/{workspace}/services/{service}",
            get(services::status).delete(services::delete),
        )
        .route("/v1/workspaces/{workspace}/services/{service}/stop", post(services::stop))
        .route("/v1/workspaces/{workspace}/services/{service}/restart", post(services::restart))
        .route("/v1/workspaces/{workspace}/services/{service}/wait", get(services::wait))
        .route("/v1/workspaces/{workspace}/services/{service}/signal", post(services::signal))
        .route("/v1/workspaces/{workspace}/services/{service}/logs", get(services::logs))
        .route(
            "/v1/workspaces/{workspace}/services/{service}/logs/stream",
            get(services::stream_logs),
        )
        .route("/v1/workspaces/{workspace}/events", get(services::events))
        .route("/v1/workspaces/{workspace}/snapshots", get(snapshots::list).post(snapshots::create))
        .route("/v1/workspaces/{workspace}/snapshots/{snapshot}", delete(snapshots::delete))
        .route("/v1/workspaces/{workspace}/reset", post(snapshots::reset))
        .route("/v1/workspaces/{workspace}/network", get(network::status).put(network::set))
        .route("/v1/workspaces/{workspace}/network/log", get(network::log))
        .route("/v1/workspaces/{workspace}/ports", get(ports::list).post(ports::publish))
        .route("/v1/workspaces/{workspace}/ports/unpublish", post(ports::unpublish))
        .route("/v1/workspaces/{workspace}/ports/{port}/connect", post(ports::connect))
        .route("/v1/run", post(run::run))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(node)
}

fn prune() -> Path<String> {
    Path("prune".to_owned())
}

/// A service whose name is a verb's.
fn named(Path(workspace): Path<String>, service: &str) -> Path<(String, String)> {
    Path((workspace, service.to_owned()))
}

async fn unknown(method: Method, uri: Uri) -> Failure {
    Failure(no_route(&method, uri.path()))
}

/// What is wrong with a path that no route has: most often a reference that is empty, such as a
/// variable that was not set.
fn no_route(method: &Method, path: &str) -> Problem {
    let segments: Vec<_> = path.split('/').skip(1).collect();
    match segments.as_slice() {
        ["v1", "workspaces", "", ..] => WorkspaceError::NotFound(String::new()).into(),
        ["v1", "workspaces", _, "execs", "", ..] => {
            Problem::not_found("exec_not_found", "there is no exec \"\"")
                .hint("`pyro ps WORKSPACE` lists its execs")
        }
        ["v1", "workspaces", _, "services", "", ..] => {
            Problem::not_found("service_not_found", "there is no service \"\"")
                .hint("`pyro service list WORKSPACE` lists its services")
        }
        ["v1", "environments", "", ..] => match "".parse::<EnvironmentName>() {
            Err(invalid) => invalid.into(),
            Ok(_) => Problem::not_found("environment_unknown", "there is no environment \"\""),
        },
        _ => Problem::not_found("unknown_route", format!("there is no {method} {path}"))
            .hint("GET /v1/openapi.json describes every route"),
    }
}

/// A JSON body, with a problem of ours where it is not one.
pub(crate) fn json_body<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        Failure(
            Problem::invalid("invalid_request", "the request's body is not what this route takes")
                .cause(error)
                .hint("GET /v1/openapi.json describes every route"),
        )
    })
}

/// Reads a body of at most 2 MiB.
pub(crate) async fn read_body(body: axum::body::Body) -> Result<bytes::Bytes, Failure> {
    read_body_of(body, 2 << 20).await
}

/// Reads a body of at most so many bytes.
pub(crate) async fn read_body_of(
    body: axum::body::Body,
    most: usize,
) -> Result<bytes::Bytes, Failure> {
    axum::body::to_bytes(body, most).await.map_err(|error| {
        Failure(
            Problem::invalid("invalid_request", "the request's body could not be read")
                .cause(error),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_reference_is_told_as_what_it_is() {
        for (path, code) in [
            ("/v1/workspaces/", "workspace_not_found"),
            ("/v1/workspaces//execs", "workspace_not_found"),
            ("/v1/workspaces/web/execs/", "exec_not_found"),
            ("/v1/workspaces/web/execs//wait", "exec_not_found"),
            ("/v1/environments/", "invalid_environment_name"),
            ("/v1/environments//build", "invalid_environment_name"),
            ("/v1/nope", "unknown_route"),
        ] {
            let problem = no_route(&Method::GET, path);
            assert_eq!(problem.code, code, "{path}");
            assert!(!problem.hints.is_empty(), "{path}");
        }
    }
}
