//! Problems as HTTP answers.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use pyro_api::ErrorBody;
use pyro_core::Problem;
use pyro_workspace::WorkspaceError;

/// A problem on its way to the client.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) Problem);

pub(crate) type Answer<T> = Result<Json<T>, Failure>;

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        tracing::debug!(code = self.0.code, problem = %self.0, "refused");
        (status, Json(ErrorBody::from(self.0))).into_response()
    }
}

/// Tells a workspace error as a problem.
pub(crate) fn problem(error: WorkspaceError) -> Problem {
    error.into()
}
