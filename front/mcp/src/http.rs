//! The door of clients that speak streamable HTTP: on this machine only, and only with the token.
//!
//! Three walls: it listens on loopback, it answers nobody who came by another name (a web page that
//! had its own name resolve to 127.0.0.1) or from a web page at all, and it wants the bearer token,
//! which other users of the machine cannot read.

use std::{io, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use pyro_core::Problem;
use pyro_directory::Directory;
use rmcp::{
    ServerHandler,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Settings, server::Server, stdio::runtime};

/// The file in the state directory that holds the token, mode 0600.
pub const TOKEN_FILE: &str = "mcp-token";

/// Where the protocol is spoken.
pub const PATH: &str = "/mcp";

/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// What is told once the server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listening {
    /// Where clients connect.
    pub url: String,
    /// What they send as `Authorization: Bearer`.
    pub token: String,
    /// Where the token is kept.
    pub token_file: std::path::PathBuf,
}

/// Serves clients over HTTP until the process is asked to end (INT, TERM). `listening` is told once
/// they may come. Not called inside an async runtime.
pub fn serve_http(
    settings: Settings,
    address: SocketAddr,
    listening: impl FnOnce(&Listening) -> Result<(), Problem>,
) -> Result<(), Problem> {
    if !address.ip().is_loopback() {
        let message = format!("{} is not a loopback address", address.ip());
        return Err(Problem::invalid("invalid_address", message)
            .hint("for example: --http 127.0.0.1:8765; an SSH tunnel carries it further"));
    }
    let state = settings.location.clone()?.state;
    let server = Server::new(settings);
    serve(move || server.for_one_client(), &state, address, listening)
}

/// Serves whatever `handler` makes, behind the three walls.
pub(crate) fn serve<H: ServerHandler>(
    handler: impl Fn() -> H + Send + Sync + 'static,
    state: &Path,
    address: SocketAddr,
    listening: impl FnOnce(&Listening) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let token = token(state)?;
    runtime()?.block_on(async {
        let failed = |error: io::Error| {
            Problem::failed("mcp_failed", format!("cannot listen on {address}")).cause(error)
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        listening(&Listening {
            url: format!("http://{address}{PATH}"),
            token: token.clone(),
            token_file: state.join(TOKEN_FILE),
        })?;
        let ended = CancellationToken::new();
        let routes = routes(handler, token, ended.clone());
        let served = axum::serve(listener, routes)
            .with_graceful_shutdown(async move {
                asked_to_end().await;
                ended.cancel();
            })
            .await;
        served.map_err(|error| Problem::from_error("mcp_failed", &error))
    })
}

fn routes<H: ServerHandler>(
    handler: impl Fn() -> H + Send + Sync + 'static,
    token: String,
    ended: CancellationToken,
) -> Router {
    // A `Host` other than these, or any `Origin`, is a web page that tries its luck.
    let config = StreamableHttpServerConfig::default()
        .with_allowed_hosts(["localhost", "127.0.0.1", "::1"])
        .with_allowed_origins(["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"])
        .with_cancellation_token(ended);
    let service = StreamableHttpService::new(
        move || Ok(handler()),
        Arc::new(LocalSessionManager::default()),
        config,
    );
    Router::new()
        .route_service(PATH, service)
        .layer(middleware::from_fn_with_state(Arc::<str>::from(token), authorize))
}

/// Lets those through who know the token.
async fn authorize(State(token): State<Arc<str>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let given = given.and_then(|given| {
        let (scheme, given) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(given.trim())
    });
    if given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
        return next.run(request).await;
    }
    let told = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, told, "a bearer token is needed\n").into_response()
}

/// Compares in a time that does not tell where they differ.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |found, (left, right)| found | (left ^ right));
    left.len() == right.len() && differences == 0
}

/// The token of this state directory: made once, so that clients keep it in their configuration.
fn token(state: &Path) -> Result<String, Problem> {
    let read = || {
        let directory = Directory::create(state)?;
        let _lock = directory.lock("mcp-token.lock")?;
        if let Some(kept) = directory.read(TOKEN_FILE, 1024)? {
            let kept = String::from_utf8_lossy(&kept).trim().to_owned();
            if kept.len() >= TOKEN_BYTES {
                return Ok(kept);
            }
        }
        let token = new_token();
        directory.write_whole(TOKEN_FILE, format!("{token}\n").as_bytes())?;
        Ok(token)
    };
    read().map_err(|error: pyro_directory::DirectoryError| {
        Problem::from_error("state_directory_unusable", &error)
            .hint("PYRO_HOME names another state directory")
    })
}

fn new_token() -> String {
    let mut random = [0; TOKEN_BYTES];
    let mut filled = 0;
    while filled < random.len() {
        let flags = rustix::rand::GetRandomFlags::empty();
        // Interrupted at worst; the kernel's generator is always there.
        filled += rustix::rand::getrandom(&mut random[filled..], flags).unwrap_or(0);
    }
    let digit = |half: u8| char::from_digit(half.into(), 16).unwrap_or('0');
    random.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_token_is_made_once_and_is_its_owners_alone() {
        let state = tempfile::tempdir().unwrap();
        let made = token(state.path()).unwrap();
        assert_eq!(made.len(), 2 * TOKEN_BYTES);
        assert_eq!(token(state.path()).unwrap(), made);
        assert_ne!(new_token(), made);
        let mode = state.path().join(TOKEN_FILE).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(same(b"abc", b"abc"));
        for other in [&b""[..], b"ab", b"abd", b"abcd"] {
            assert!(!same(other, b"abc"));
        }
    }
}
