//! The server as the protocol knows it: who it is, which tools it has, and calls of them.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use pyro_api::ErrorBody;
use pyro_core::{Kind, Problem};
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams,
        CompleteRequestParams, CompleteResult, CompletionInfo, CreateTaskResult,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, GetTaskParams, GetTaskResult,
        Implementation, InitializeRequestParams, InitializeResult, JsonObject, ListPromptsResult,
        ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
        ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse, ReadResourceResult,
        Reference, ServerCapabilities, ServerConfig, SetLevelRequestMethod, Tool, UpdateTaskParams,
    },
    service::RequestContext,
    task_manager::{TaskExit, TaskManager, TaskOptions},
};

use crate::{
    Profile, Settings,
    answer::{Answer, object},
    call::{Call, Pyro},
    catalogue::{self, Definition},
    log::Log,
    progress::Progress,
    prompts, resources,
};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

/// How long a client may take its list of tools for the present one: as long as this version of
/// the program runs, and it cannot know longer than a day.
const TOOLS_FRESH_MS: u64 = 24 * 3600 * 1000;

/// What ends within this time is answered at once, also to clients that know tasks.
const SOON: Duration = Duration::from_secs(5);

/// How long a task may take, and how long its result is kept.
const TASK_KEPT_MS: u64 = 24 * 3600 * 1000;

const VM_RUN: &str = "pyro runs commands in Linux VMs of their own. vm_run runs one command in a \
    fresh VM and deletes it; nothing is kept, and nothing can touch the user's machine. Exit code, \
    stdout and stderr come back; long output is cut in the middle.";

const WORKSPACE: &str = "pyro gives you Linux VMs of your own. Do anything in them: install, build, \
    run, break; nothing in them touches the user's machine.\n\
    The loop: workspace_create once (or find one with workspace_list), then workspace_exec as often \
    as needed; files and installed packages stay, work in /workspace. A command that runs longer \
    than 40 s comes back with running: true; go on with exec_wait. \
    Servers, workers and databases are services: service_start returns once a ready_ probe proves \
    that it answers; service_logs shows its output, service_status how it is, service_stop ends it. \
    Output is cut in the middle; read on with exec_wait and its offset, or filter in the command. \
    Files: workspace_file_*, workspace_patch_apply; workspace_diff shows what changed. The user's own \
    come in by workspace_create's seed_path or workspace_sync_push; workspace_export takes results out. \
    A workspace_id is an id, a unique prefix of 4 or more, a name, or @ (the current one). \
    workspace_delete when the work is done. For one command without traces: vm_run.\n\
    A workspace reaches no network unless it is created with network_policy or network_allow. Errors carry a code and hints that say what to do.";

/// One client's server; all of a process share all but the log.
pub(crate) struct Server {
    pyro: Arc<Pyro>,
    tasks: TaskManager,
    log: Log,
}

impl Server {
    /// A server that knows where its node would be, and does not look.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { pyro: Arc::new(Pyro::new(settings)), tasks: TaskManager::new(), log: Log::default() }
    }

    /// The same server for one more client.
    pub(crate) fn for_one_client(&self) -> Self {
        Self { pyro: Arc::clone(&self.pyro), tasks: self.tasks.clone(), log: Log::default() }
    }

    fn profile(&self) -> Profile {
        self.pyro.settings.profile
    }

    /// Answers what ends soon, and makes a task of what does not.
    async fn call_or_task(&self, tool: &'static Definition, call: Call) -> CallToolResponse {
        let progress = call.progress.clone();
        let call = Call { deadline: None, ..call };
        let work = async move { call.answer(tool.name).await.into_result() };
        let mut work = AbortOnDropHandle::new(tokio::spawn(work));
        if let Ok(done) = tokio::time::timeout(SOON, &mut work).await {
            return finished(done).into();
        }
        // Whoever polls a task does not listen for progress any more.
        progress.silence();
        let options = TaskOptions::new()
            .with_ttl_ms(TASK_KEPT_MS)
            .with_status_message(format!("{} runs", tool.name));
        let task = self.tasks.spawn(options, |context| {
            Box::pin(async move {
                tokio::select! {
                    done = &mut work => Ok(finished(done)),
                    // Dropping the work ends the command.
                    () = context.cancelled() => Err(TaskExit::Cancelled),
                }
            })
        });
        CallToolResponse::Task(CreateTaskResult::new(task))
    }

    fn find(&self, name: &str) -> Option<&'static Definition> {
        catalogue::of(self.profile()).find(|tool| tool.name == name)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts();
        let mut capabilities = capabilities.enable_completions().enable_tasks().build();
        if self.profile() == Profile::VmRun {
            capabilities.resources = None;
            capabilities.prompts = None;
            capabilities.completions = None;
        }
        let server = Implementation::new("pyro", env!("CARGO_PKG_VERSION"))
            .with_title("pyro: Linux VMs for agents")
            .with_description("Linux machines of their own for coding agents, each in a microVM");
        let instructions = match self.profile() {
            Profile::VmRun => VM_RUN,
            Profile::WorkspaceCore | Profile::WorkspaceFull => WORKSPACE,
        };
        ServerConfig::new(capabilities)
            .with_protocol_version(ProtocolVersion::LATEST_WITH_INITIALIZE)
            .with_server_info(server)
            .with_instructions(instructions)
    }

    async fn initialize(
        &self,
        request: InitializeRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<InitializeResult, ErrorData> {
        let mut told = self.negotiate_initialize(&request)?;
        told.capabilities.extensions = None;
        told.capabilities.logging = Some(JsonObject::new());
        context.peer.set_peer_info(request);
        Ok(told)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        // Structured results came with 2025-06-18; older clients are answered with the newest.
        Cow::Borrowed(&SUPPORTED)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools =
            catalogue::of(self.profile()).map(|tool| tool.describe(self.profile())).collect();
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(TOOLS_FRESH_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.find(name).map(|tool| tool.describe(self.profile()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.find(&request.name) else {
            let message =
                format!("there is no tool {:?} in {}", request.name, self.profile().name());
            return Err(ErrorData::invalid_params(message, None));
        };
        let progress = Progress::of(&context);
        let call = match Call::new(Arc::clone(&self.pyro), tool, request.arguments, progress) {
            Ok(call) => call,
            Err(problem) => return Ok(Answer::from(problem).into_result().into()),
        };
        // Before 2026-07-28 a result could not say that it is a task.
        let may_be_task = tool.runs()
            && context.protocol_version().is_some_and(|version| !version.has_initialize())
            && context.client_capabilities().is_some_and(|client| client.supports_tasks());
        let work = async {
            if may_be_task {
                return self.call_or_task(tool, call).await;
            }
            call.answer(tool.name).await.into_result().into()
        };
        let begun = Instant::now();
        tokio::select! {
            response = work => {
                self.log.called(&context, tool.name, begun, &response).await;
                Ok(response)
            }
            // What the call began is dropped with it, which ends it in the guest.
            () = context.ct.cancelled() => {
                Err(ErrorData::internal_error("the call was cancelled", None))
            }
        }
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        // Tasks of ours never ask for anything.
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }

    #[expect(deprecated, reason = "the revisions that have it are still spoken")]
    async fn set_level(
        &self,
        request: rmcp::model::SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if context.protocol_version().is_some_and(|version| !version.has_initialize()) {
            return Err(ErrorData::method_not_found::<SetLevelRequestMethod>());
        }
        self.log.want(request.level);
        Ok(())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(vec![prompts::describe()])
            .with_ttl_ms(TOOLS_FRESH_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != prompts::NAME {
            let message = format!("there is no prompt {:?}", request.name);
            return Err(ErrorData::invalid_params(message, None));
        }
        let arguments = request.arguments.unwrap_or_default();
        let Some(task) = arguments.get(prompts::ARGUMENT).and_then(Value::as_str) else {
            let message = format!("{} is missing", prompts::ARGUMENT);
            return Err(ErrorData::invalid_params(message, None));
        };
        Ok(GetPromptResult::new(vec![prompts::message(task)]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let proposed = match request.r#ref {
            Reference::Resource(_) => {
                let known = request.context.and_then(|context| context.arguments);
                let workspace = known.as_ref().and_then(|known| known.get("workspace_id"));
                let argument = &request.argument;
                let workspace = workspace.map(String::as_str);
                // Who types is not to be bothered with what is wrong elsewhere.
                resources::complete(&self.pyro, &argument.name, &argument.value, workspace)
                    .await
                    .unwrap_or_default()
            }
            // A prompt's task is free text.
            _ => Vec::new(),
        };
        let proposed = CompletionInfo::with_all_values(proposed);
        Ok(CompleteResult::new(proposed.map_err(|error| ErrorData::internal_error(error, None))?))
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        // Clients ask for this when they start: faults are for the first tool to tell.
        let resources = resources::list(&self.pyro).await.unwrap_or_default();
        Ok(ListResourcesResult::with_all_items(resources)
            .with_ttl_ms(0)
            .with_cache_scope(CacheScope::Private))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates())
            .with_ttl_ms(TOOLS_FRESH_MS)
            .with_cache_scope(CacheScope::Public))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        match resources::read(&self.pyro, &request.uri).await {
            Ok(Some(contents)) => Ok(ReadResourceResult::new(vec![contents])
                .with_ttl_ms(0)
                .with_cache_scope(CacheScope::Private)
                .into()),
            Ok(None) => {
                let message = format!("there is no resource {:?}", request.uri);
                let data = serde_json::json!({"uri": request.uri});
                Err(ErrorData::resource_not_found(message, Some(data)))
            }
            Err(problem) => Err(protocol_error(problem, &request.uri)),
        }
    }
}

fn finished(done: Result<CallToolResult, tokio::task::JoinError>) -> CallToolResult {
    done.unwrap_or_else(|error| {
        Answer::from(Problem::from_error("mcp_failed", &error)).into_result()
    })
}

/// A problem where the protocol has no room for a tool's answer.
fn protocol_error(problem: Problem, uri: &str) -> ErrorData {
    let kind = problem.kind;
    let message = problem.to_string();
    let mut data = object(&ErrorBody::from(problem));
    data.insert("uri".to_owned(), uri.into());
    let data = Some(data.into());
    match kind {
        Kind::NotFound => ErrorData::resource_not_found(message, data),
        Kind::Invalid => ErrorData::invalid_params(message, data),
        _ => ErrorData::internal_error(message, data),
    }
}

static SUPPORTED: [ProtocolVersion; 3] =
    [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
