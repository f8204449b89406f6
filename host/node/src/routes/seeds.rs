//! Seeds: sending what workspaces begin with, and finding what was sent before.

use axum::{
    Json,
    body::Body,
    extract::{Path, Query, State},
};
use futures::StreamExt;
use pyro_api::Seed;
use pyro_core::Problem;
use pyro_image::{Digest, Job, seed};

use crate::{
    parse,
    response::{Answer, Failure},
    routes::{environments::CancelOnDrop, upload::upload},
    server::Node,
};

fn present(seed: &seed::Seed, reused: bool) -> Seed {
    Seed {
        seed: seed.digest.to_string(),
        entry_count: seed.manifest.entry_count,
        bytes_written: seed.manifest.bytes,
        image_bytes: seed.manifest.size_bytes,
        reused,
    }
}

/// How a seed can be found again.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct SeedQuery {
    /// 64 hexadecimal digits that are others for other files: what the client knows before it reads
    /// them.
    fingerprint: Option<String>,
}

/// Makes a seed of a tar stream (not compressed). The same files are the same seed.
#[utoipa::path(post, path = "/v1/seeds", params(SeedQuery),
    request_body(content = String, content_type = "application/x-tar"),
    responses((status = 200, body = Seed), (status = 400, body = pyro_api::ErrorBody)))]
pub(crate) async fn make(
    State(node): State<Node>,
    Query(query): Query<SeedQuery>,
    body: Body,
) -> Answer<Seed> {
    let mut body = body.into_data_stream();
    let fingerprint = match query.fingerprint.as_deref().map(fingerprint).transpose() {
        Ok(fingerprint) => fingerprint,
        Err(problem) => {
            // A client that still sends does not read: it hears the answer once it was heard out.
            while let Some(Ok(_)) = body.next().await {}
            return Err(Failure::from(problem));
        }
    };
    let (source, feed) = upload(body);
    let job = Job::silent();
    let cancel = CancelOnDrop(job.clone());
    let images = node.workspaces().images();
    let busy = node.busy();
    let make = tokio::task::spawn_blocking(move || {
        let _busy = busy;
        seed::make(&images, fingerprint.as_ref(), source, &job)
    });
    let (made, ()) = tokio::join!(make, feed);
    drop(cancel);
    let made = made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
    let (seed, is_new) = made.map_err(Problem::from)?;
    Ok(Json(present(&seed, !is_new)))
}

/// The seed that was made of the files with this fingerprint.
#[utoipa::path(get, path = "/v1/seeds/{fingerprint}", params(("fingerprint" = String, Path)),
    responses((status = 200, body = Seed), (status = 404, body = pyro_api::ErrorBody)))]
pub(crate) async fn find(State(node): State<Node>, Path(text): Path<String>) -> Answer<Seed> {
    let fingerprint = fingerprint(&text)?;
    let images = node.workspaces().images();
    let found = node
        .blocking(move |_| seed::find_by_fingerprint(&images, &fingerprint))
        .await
        .map_err(Problem::from)?;
    let found = found.ok_or_else(|| {
        Problem::not_found("seed_not_found", "no seed was made of the files with this fingerprint")
            .hint("send them: POST /v1/seeds")
    })?;
    Ok(Json(present(&found, true)))
}

fn fingerprint(text: &str) -> Result<Digest, Problem> {
    parse::digest("invalid_fingerprint", text)
}
