//! Environments: listing, building, importing, pruning.

use std::{io, path::PathBuf, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use pyro_api::{
    BuildEvent, DeletedEnvironment, Environment, EnvironmentCatalog, ImportedEnvironment,
    PrunedEnvironments,
};
use pyro_core::{EnvironmentName, Problem};
use pyro_image::{Cache, EnvironmentSource, EnvironmentSummary, Job, Progress};
use tokio::sync::mpsc;

use crate::{
    response::{Answer, Failure},
    routes::upload::upload,
    server::Node,
};

fn present(summary: EnvironmentSummary) -> Environment {
    Environment {
        install_manifest: summary.install_manifest.map(serde_json::Value::String),
        size_bytes: summary.size_bytes.unwrap_or(0),
        source: summary.source.map(|source| match source {
            EnvironmentSource::Built => "built".into(),
            EnvironmentSource::Imported => "imported".into(),
        }),
        source_digest: summary.source_digest.map(String::from),
        name: summary.name,
        version: summary.version,
        description: summary.description,
        default_packages: summary.default_packages,
        distribution: summary.distribution,
        distribution_version: summary.distribution_version,
        platform: summary.platform,
        oci_registry: summary.oci_registry,
        oci_repository: summary.oci_repository,
        oci_reference: summary.oci_reference,
        compatibility: summary.compatibility,
        catalog_version: summary.catalog_version,
        installed: summary.installed,
        cache_dir: summary.cache_dir,
        install_dir: summary.install_dir,
    }
}

pub(crate) fn all(node: &Node) -> Result<EnvironmentCatalog, Failure> {
    let environments = node.workspaces().images().environments()?;
    Ok(EnvironmentCatalog {
        catalog_version: pyro_image::CATALOGUE_VERSION.to_string(),
        environments: environments.into_iter().map(present).collect(),
    })
}

/// Every environment that is installed or could be built.
#[utoipa::path(get, path = "/v1/environments", responses((status = 200, body = EnvironmentCatalog)))]
pub(crate) async fn list(State(node): State<Node>) -> Answer<EnvironmentCatalog> {
    Ok(Json(all(&node)?))
}

/// One environment.
#[utoipa::path(get, path = "/v1/environments/{name}", params(("name" = String, Path)),
    responses((status = 200, body = Environment), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn inspect(
    State(node): State<Node>,
    Path(name): Path<String>,
) -> Answer<Environment> {
    let name: EnvironmentName = name.parse()?;
    Ok(Json(present(node.workspaces().images().inspect(&name)?)))
}

/// Takes an environment's name away, and its image where no workspace stands on it.
#[utoipa::path(delete, path = "/v1/environments/{name}", params(("name" = String, Path)),
    responses((status = 200, body = DeletedEnvironment), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn remove(
    State(node): State<Node>,
    Path(name): Path<String>,
) -> Answer<DeletedEnvironment> {
    let name: EnvironmentName = name.parse()?;
    let pruned = node.workspaces().delete_environment(name.clone()).await?;
    let deleted = shown(&pruned.environments);
    Ok(Json(DeletedEnvironment {
        name: name.to_string(),
        deleted: true,
        count: deleted.len(),
        deleted_environment_dirs: deleted,
        freed_bytes: pruned.freed_bytes,
    }))
}

/// Removes images that no name means and no workspace stands on.
#[utoipa::path(post, path = "/v1/environments/prune",
    responses((status = 200, body = PrunedEnvironments)))]
pub(crate) async fn prune(State(node): State<Node>) -> Answer<PrunedEnvironments> {
    let pruned = node.workspaces().prune_images().await?;
    Ok(Json(PrunedEnvironments {
        count: pruned.environments.len(),
        deleted_environment_dirs: shown(&pruned.environments),
        deleted_kernel_dirs: shown(&pruned.kernels),
        deleted_initramfs_dirs: shown(&pruned.initramfs),
        deleted_seed_dirs: shown(&pruned.seeds),
        freed_bytes: pruned.freed_bytes,
    }))
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    paths.iter().map(|path| path.display().to_string()).collect()
}

/// How to build.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct BuildQuery {
    /// Build even if it is up to date.
    #[serde(default)]
    force: bool,
}

/// Ends the build when its client goes.
pub(crate) struct CancelOnDrop(pub(crate) Job);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Builds an environment of the catalogue, and the kernel where there is none yet.
#[utoipa::path(post, path = "/v1/environments/{name}/build",
    params(("name" = String, Path), BuildQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = BuildEvent,
        description = "one event per line; the last is `done` or `problem`")))]
pub(crate) async fn build(
    State(node): State<Node>,
    Path(name): Path<String>,
    Query(query): Query<BuildQuery>,
) -> Result<Response, Failure> {
    let name: EnvironmentName = name.parse()?;
    let (send, events) = mpsc::unbounded_channel();
    let report = send.clone();
    let job = Job::new(move |progress| {
        let (message, fraction) = match progress {
            Progress::Step { message, fraction } => (message, fraction),
            Progress::Notice(message) => (message, None),
        };
        let _ = report.send(BuildEvent::Progress { message, fraction });
    });
    let cancel = CancelOnDrop(job.clone());
    let images = node.workspaces().images();
    let busy = node.busy();
    tokio::task::spawn_blocking(move || {
        let _busy = busy;
        let last = match build_with_kernel(&images, &name, &job, query.force) {
            Ok((environment, built)) => {
                BuildEvent::Done { environment: Box::new(environment), built }
            }
            Err(error) => BuildEvent::Problem { problem: error.into() },
        };
        let _ = send.send(last);
    });
    let lines = tokio_stream::wrappers::UnboundedReceiverStream::new(events).map(move |event| {
        let _cancelled_with_the_stream = &cancel;
        let mut line = serde_json::to_vec(&event).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok::<_, io::Error>(bytes::Bytes::from(line))
    });
    let mut response = Body::from_stream(lines).into_response();
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(header::CONTENT_TYPE, ndjson);
    Ok(response)
}

fn build_with_kernel(
    images: &Arc<Cache>,
    name: &EnvironmentName,
    job: &Job,
    force: bool,
) -> Result<(Environment, bool), pyro_image::Error> {
    // An unknown name fails before anything is built for it.
    images.inspect(name)?;
    let kernel = pyro_image::kernel::build(images, job, false)?;
    let built = pyro_image::environment::build(images, name, job, force)?;
    let environment = present(images.inspect(name)?);
    Ok((environment, !built.up_to_date || !kernel.up_to_date))
}

/// Imports a root file system from a tar (plain, gzip or zstd) under a name.
#[utoipa::path(post, path = "/v1/environments/{name}/import", params(("name" = String, Path)),
    request_body(content = String, content_type = "application/x-tar"),
    responses((status = 200, body = ImportedEnvironment)))]
pub(crate) async fn import(
    State(node): State<Node>,
    Path(name): Path<String>,
    body: Body,
) -> Answer<ImportedEnvironment> {
    let mut body = body.into_data_stream();
    let name: EnvironmentName = match name.parse() {
        Ok(name) => name,
        Err(error) => {
            // A client that still sends does not read: it hears the answer once it was heard out.
            while let Some(Ok(_)) = body.next().await {}
            return Err(Failure::from(error));
        }
    };
    let (mut source, feed) = upload(body);
    let job = Job::silent();
    let cancel = CancelOnDrop(job.clone());
    let images = node.workspaces().images();
    let import = tokio::task::spawn_blocking(move || {
        let built = pyro_image::environment::import(&images, &name, &mut source, &job)?;
        drop(built);
        Ok::<_, Problem>((present(images.inspect(&name)?), source.bytes_read()))
    });
    let (imported, ()) = tokio::join!(import, feed);
    drop(cancel);
    let (environment, bytes_read) =
        imported.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
    Ok(Json(ImportedEnvironment { environment, bytes_read }))
}
