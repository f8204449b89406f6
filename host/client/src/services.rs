//! The routes of services.

use http::Method;
use pyro_api::{
    DeletedService, DownResult, DownServices, ManifestNeeds, ManifestRequest, RestartService,
    Service, ServiceList, ServiceLogEntry, ServiceLogs, SignalService, StartService,
    StartedService, StopService, UpResult, UpServices, WorkspaceEvent,
};

use crate::{
    ClientError, Documents, Node,
    connection::{Call, segment, with_query},
};

/// Which part of a service's log.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ServiceLogQuery {
    /// The last lines; none: the node's default.
    pub tail_lines: Option<u64>,
    /// Everything that is kept.
    pub all: bool,
    /// Only what came since, Unix seconds.
    pub since: Option<f64>,
    /// `stdout`, `stderr` or `combined`.
    pub stream: Option<String>,
    /// From this position in both streams together; none: the node's default. Only of the stream.
    pub offset: Option<u64>,
    /// Go on with what comes. Only of the stream.
    pub follow: bool,
}

impl ServiceLogQuery {
    fn parameters(&self) -> [(&'static str, Option<String>); 6] {
        let flag = |set: bool| set.then(|| "true".to_owned());
        [
            ("tail_lines", self.tail_lines.map(|lines| lines.to_string())),
            ("all", flag(self.all)),
            ("since", self.since.map(|since| since.to_string())),
            ("stream", self.stream.clone()),
            ("offset", self.offset.map(|offset| offset.to_string())),
            ("follow", flag(self.follow)),
        ]
    }
}

fn route(workspace: &str, rest: &str) -> String {
    format!("/v1/workspaces/{}/services{rest}", segment(workspace))
}

fn one(workspace: &str, service: &str, rest: &str) -> String {
    route(workspace, &format!("/{}{rest}", segment(service)))
}

impl Node {
    /// `POST /v1/workspaces/{w}/services/up`: answers when each service of the file is ready, or
    /// cannot be any more.
    pub async fn up_services(
        &self,
        workspace: &str,
        request: &UpServices,
    ) -> Result<UpResult, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "/up")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/services/down`: answers when they are gone.
    pub async fn down_services(
        &self,
        workspace: &str,
        request: &DownServices,
    ) -> Result<DownResult, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "/down")).json(request)).await
    }

    /// `POST /v1/manifests/needs`.
    pub async fn manifest_needs(
        &self,
        request: &ManifestRequest,
    ) -> Result<ManifestNeeds, ClientError> {
        self.json(Call::new(Method::POST, "/v1/manifests/needs").json(request)).await
    }

    /// `GET /v1/workspaces/{w}/services`.
    pub async fn services(&self, workspace: &str) -> Result<ServiceList, ClientError> {
        self.get(route(workspace, "")).await
    }

    /// `POST /v1/workspaces/{w}/services`: answers when it is ready, or cannot be any more.
    pub async fn start_service(
        &self,
        workspace: &str,
        request: &StartService,
    ) -> Result<StartedService, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/services/{s}`.
    pub async fn service(&self, workspace: &str, service: &str) -> Result<Service, ClientError> {
        self.get(one(workspace, service, "")).await
    }

    /// `POST /v1/workspaces/{w}/services/{s}/stop`.
    pub async fn stop_service(
        &self,
        workspace: &str,
        service: &str,
        request: &StopService,
    ) -> Result<Service, ClientError> {
        self.json(Call::new(Method::POST, one(workspace, service, "/stop")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/services/{s}/restart`.
    pub async fn restart_service(
        &self,
        workspace: &str,
        service: &str,
        request: &RestartService,
    ) -> Result<StartedService, ClientError> {
        self.json(Call::new(Method::POST, one(workspace, service, "/restart")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/services/{s}/wait`.
    pub async fn wait_service(
        &self,
        workspace: &str,
        service: &str,
        ended: bool,
        timeout_seconds: Option<f64>,
    ) -> Result<StartedService, ClientError> {
        let query = [
            ("timeout_seconds", timeout_seconds.map(|seconds| seconds.to_string())),
            ("ended", ended.then(|| "true".to_owned())),
        ];
        self.get(with_query(one(workspace, service, "/wait"), &query)).await
    }

    /// `POST /v1/workspaces/{w}/services/{s}/signal`.
    pub async fn signal_service(
        &self,
        workspace: &str,
        service: &str,
        request: &SignalService,
    ) -> Result<Service, ClientError> {
        self.json(Call::new(Method::POST, one(workspace, service, "/signal")).json(request)).await
    }

    /// `DELETE /v1/workspaces/{w}/services/{s}`.
    pub async fn delete_service(
        &self,
        workspace: &str,
        service: &str,
    ) -> Result<DeletedService, ClientError> {
        self.json(Call::new(Method::DELETE, one(workspace, service, ""))).await
    }

    /// `GET /v1/workspaces/{w}/services/{s}/logs`.
    pub async fn service_logs(
        &self,
        workspace: &str,
        service: &str,
        query: &ServiceLogQuery,
    ) -> Result<ServiceLogs, ClientError> {
        self.get(with_query(one(workspace, service, "/logs"), &query.parameters())).await
    }

    /// `GET /v1/workspaces/{w}/services/{s}/logs/stream`: the log as it came.
    pub async fn stream_service_logs(
        &self,
        workspace: &str,
        service: &str,
        query: &ServiceLogQuery,
    ) -> Result<Documents<ServiceLogEntry>, ClientError> {
        let target = with_query(one(workspace, service, "/logs/stream"), &query.parameters());
        self.documents(Call::new(Method::GET, target)).await
    }

    /// `GET /v1/workspaces/{w}/events`: state changes after a cursor.
    pub async fn events(
        &self,
        workspace: &str,
        after: u64,
        follow: bool,
    ) -> Result<Documents<WorkspaceEvent>, ClientError> {
        let query =
            [("after", Some(after.to_string())), ("follow", follow.then(|| "true".to_owned()))];
        let target = with_query(format!("/v1/workspaces/{}/events", segment(workspace)), &query);
        self.documents(Call::new(Method::GET, target)).await
    }

    /// `GET /v1/workspaces/{w}/events`: state changes from now on. It has begun when this returns.
    pub async fn new_events(
        &self,
        workspace: &str,
    ) -> Result<Documents<WorkspaceEvent>, ClientError> {
        let query = [("new_only", Some("true".to_owned())), ("follow", Some("true".to_owned()))];
        let target = with_query(format!("/v1/workspaces/{}/events", segment(workspace)), &query);
        self.documents(Call::new(Method::GET, target)).await
    }

    pub(crate) async fn documents<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
    ) -> Result<Documents<T>, ClientError> {
        let name = call.name();
        let response = self.send(call).await?;
        Ok(Documents::new(name, response.into_body()))
    }
}
