//! One HTTP/1.1 call on one connection.

use std::io;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, Limited, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pyro_api::ErrorBody;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::ClientError;

/// The longest JSON document that is accepted as an answer, bytes.
const MAX_REPLY: usize = 256 * 1024 * 1024;

/// What a request carries.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A request without its connection.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) body: Body,
    /// The media type of the body, where there is one.
    pub(crate) content_type: Option<&'static str>,
    /// The protocol to upgrade to.
    pub(crate) upgrade: Option<&'static str>,
    /// Whether it is read what comes behind a body.
    pub(crate) takes_trailers: bool,
}

impl Call {
    /// A request without a body.
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let (content_type, upgrade) = (None, None);
        Self { method, target: target.into(), body, content_type, upgrade, takes_trailers: false }
    }

    /// With a JSON document as its body.
    pub(crate) fn json(mut self, document: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(document).expect("API documents are plain data");
        self.body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
        self.content_type = Some("application/json");
        self
    }

    /// What the call is called in errors.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// Sends it; an answer of 400 and above becomes an error.
    pub(crate) async fn send(self, stream: UnixStream) -> Result<Response<Incoming>, ClientError> {
        let call = self.name();
        let lost = |source| ClientError::Lost { call: call.clone(), source };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection to the node ended");
            }
        });
        let mut request = Request::builder().method(self.method).uri(&self.target);
        if let Some(headers) = request.headers_mut() {
            headers.insert(header::HOST, HeaderValue::from_static("pyro"));
            if let Some(content_type) = self.content_type {
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            if self.takes_trailers {
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
            }
            if let Some(protocol) = self.upgrade {
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
            }
        }
        let request = request.body(self.body).map_err(|error| ClientError::Reply {
            call: call.clone(),
            detail: error.to_string(),
        })?;
        let response = sender.send_request(request).await.map_err(lost)?;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return Err(refusal(call, response).await);
        }
        Ok(response)
    }
}

impl Call {
    /// Sends a call that asks for an upgrade, and takes the connection over: it, and what was read of
    /// it already.
    pub(crate) async fn take_over(
        mut self,
        protocol: &'static str,
        stream: UnixStream,
    ) -> Result<(UnixStream, Bytes), ClientError> {
        self.upgrade = Some(protocol);
        let name = self.name();
        let response = self.send(stream).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let detail = format!("{} instead of a stream", response.status());
            return Err(ClientError::Reply { call: name, detail });
        }
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|source| ClientError::Lost { call: name, source })?;
        let parts = upgraded
            .downcast::<TokioIo<UnixStream>>()
            .expect("every connection of this client is a Unix stream");
        Ok((parts.io.into_inner(), parts.read_buf))
    }
}

/// The whole body of an answer.
pub(crate) async fn collect(
    call: &str,
    response: Response<Incoming>,
) -> Result<Bytes, ClientError> {
    match Limited::new(response.into_body(), MAX_REPLY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) => Err(match error.downcast::<hyper::Error>() {
            Ok(source) => ClientError::Lost { call: call.to_owned(), source: *source },
            Err(_) => ClientError::Reply {
                call: call.to_owned(),
                detail: format!("it is longer than {MAX_REPLY} bytes"),
            },
        }),
    }
}

/// The JSON document of an answer.
pub(crate) async fn document<T: DeserializeOwned>(
    call: &str,
    response: Response<Incoming>,
) -> Result<T, ClientError> {
    let bytes = collect(call, response).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| ClientError::Reply { call: call.to_owned(), detail: error.to_string() })
}

async fn refusal(call: String, response: Response<Incoming>) -> ClientError {
    let status = response.status();
    match collect(&call, response).await {
        Err(error) => error,
        Ok(bytes) => match serde_json::from_slice::<ErrorBody>(&bytes) {
            Ok(body) => ClientError::Refused { problem: body.into() },
            Err(_) => ClientError::Reply { call, detail: plain(status, &bytes) },
        },
    }
}

fn plain(status: StatusCode, bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    if text.trim().is_empty() { status.to_string() } else { format!("{status}: {}", text.trim()) }
}

/// One segment of a path, percent-encoded.
pub(crate) fn segment(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b':') {
            encoded.push(byte.into());
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    // A dot segment would be taken for a step within the path.
    match encoded.as_str() {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        _ => encoded,
    }
}

/// A target with its query; parameters that are `None` are left out.
pub(crate) fn with_query(path: String, parameters: &[(&str, Option<String>)]) -> String {
    let mut target = path;
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            target.push(separator);
            target.push_str(name);
            target.push('=');
            target.push_str(&segment(value));
            separator = '&';
        }
    }
    target
}
