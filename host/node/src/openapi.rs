//! The OpenAPI document, from the routes themselves.

use utoipa::OpenApi;

use crate::routes::{
    archive, disk, environments, execs, files, network, node, ports, review, run, seeds, services,
    snapshots, up, workspaces,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "pyro node",
        description = "Linux machines of their own for coding agents. Errors are ErrorBody with the \
                       status of their kind: 400 invalid, 404 not_found, 409 conflict, 501 \
                       not_available, 500 failed. A workspace is named by its id, a unique prefix \
                       of 4 characters or more, or its name.",
        license(name = "Apache-2.0")
    ),
    paths(
        node::status,
        node::stop,
        node::disk_usage,
        node::openapi,
        environments::list,
        environments::inspect,
        environments::remove,
        environments::build,
        environments::import,
        environments::prune,
        seeds::make,
        seeds::find,
        workspaces::list,
        workspaces::create,
        workspaces::status,
        workspaces::update,
        workspaces::delete,
        workspaces::start,
        workspaces::stop,
        workspaces::prune,
        execs::start,
        execs::list,
        execs::status,
        execs::wait,
        execs::signal,
        execs::attach,
        execs::output,
        execs::logs,
        files::list,
        files::status,
        files::read,
        files::write,
        files::edit,
        files::rename,
        files::remove,
        files::make_directory,
        files::search,
        archive::export,
        archive::import,
        review::patch,
        review::diff,
        review::diff_patch,
        disk::files,
        disk::content,
        disk::image,
        services::list,
        services::start,
        services::status,
        services::stop,
        services::restart,
        services::wait,
        services::signal,
        services::delete,
        services::logs,
        services::stream_logs,
        services::events,
        snapshots::create,
        snapshots::list,
        snapshots::delete,
        snapshots::reset,
        network::status,
        network::set,
        network::log,
        up::needs,
        up::up,
        up::down,
        ports::list,
        ports::publish,
        ports::unpublish,
        ports::connect,
        run::run,
    ),
    components(schemas(pyro_api::BuildEvent, pyro_api::ErrorBody, pyro_api::RunResult,))
)]
struct Document;

/// The OpenAPI document as JSON, indented.
///
/// # Panics
///
/// Never: the document is plain data.
pub fn document() -> String {
    let document = Document::openapi();
    document.to_pretty_json().expect("the document is plain data") + "\n"
}
