//! A body of JSON documents, one per line, as they come.

use std::marker::PhantomData;

use bytes::BytesMut;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::ClientError;

/// The longest line that is accepted, bytes.
const MAX_LINE: usize = 4 << 20;

/// Documents of one kind. Dropping it ends the call.
#[derive(Debug)]
pub struct Documents<T> {
    call: String,
    body: Incoming,
    buffer: BytesMut,
    kind: PhantomData<T>,
}

impl<T: DeserializeOwned> Documents<T> {
    pub(crate) fn new(call: String, body: Incoming) -> Self {
        Self { call, body, buffer: BytesMut::new(), kind: PhantomData }
    }

    /// The next one; `None` when the node has no more to say.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line)
                    .map(Some)
                    .map_err(|error| self.not_understood(error.to_string()));
            }
            if self.buffer.len() > MAX_LINE {
                return Err(self.not_understood("a line is too long".to_owned()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(bytes) = frame.data_ref() {
                        self.buffer.extend_from_slice(bytes);
                    }
                }
                Some(Err(source)) => {
                    return Err(ClientError::Lost { call: self.call.clone(), source });
                }
                None => return Ok(None),
            }
        }
    }

    fn not_understood(&self, detail: String) -> ClientError {
        ClientError::Reply { call: self.call.clone(), detail }
    }
}
