//! Firecracker's HTTP API on its Unix socket.
//!
//! Source: Firecracker 1.12, `src/firecracker/swagger/firecracker.yaml`.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use pyro_directory::Directory;
use serde::{Deserialize, de::DeserializeOwned};

use super::API_SOCKET;
use crate::VmmError;

/// The API of the Firecracker that runs in a keeper's directory. Legal while it runs.
#[derive(Clone, Debug)]
pub struct Api {
    directory: Directory,
}

/// What Firecracker says of its VM.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct InstanceInfo {
    /// Its id.
    pub id: String,
    /// `Not started`, `Running` or `Paused`.
    pub state: String,
    /// Firecracker's version.
    pub vmm_version: String,
}

#[derive(Deserialize)]
struct Version {
    firecracker_version: String,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Api {
    /// The API in a keeper's directory; nothing is sent yet.
    pub fn new(directory: Directory) -> Self {
        Self { directory }
    }

    /// `GET /`: the VM's id and state.
    pub async fn instance(&self) -> Result<InstanceInfo, VmmError> {
        self.get("/", "GET /").await
    }

    /// `GET /version`: Firecracker's version.
    pub async fn version(&self) -> Result<String, VmmError> {
        let version: Version = self.get("/version", "GET /version").await?;
        Ok(version.firecracker_version)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        path: &'static str,
        request: &'static str,
    ) -> Result<T, VmmError> {
        const PATIENCE: Duration = Duration::from_secs(10);
        match tokio::time::timeout(PATIENCE, self.call(path)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(VmmError::Api { request, source }),
            Err(elapsed) => Err(VmmError::Api { request, source: elapsed.into() }),
        }
    }

    async fn call<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        const LONGEST: usize = 1 << 20;
        let socket = self.directory.connect_async(API_SOCKET).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        let request = Request::get(path)
            .header("Host", "localhost")
            .header("Accept", "application/json")
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST).collect().await?.to_bytes();
            if status == StatusCode::OK {
                Ok(serde_json::from_slice(&body)?)
            } else {
                Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into())
            }
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            ended = connection => {
                ended?;
                exchange.await
            }
        }
    }
}
