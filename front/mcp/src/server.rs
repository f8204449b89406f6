//! The server as the protocol knows it: who it is, which tools it has, and calls of them.

use std::{borrow::Cow, sync::Arc};

use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CacheScope, CallToolRequestParams, CallToolResponse, Implementation, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
    },
    service::RequestContext,
};

use crate::{
    Profile, Settings,
    answer::Answer,
    call::{Call, Pyro},
    catalogue::{self, Definition},
    progress::Progress,
};

/// How long a client may take its list of tools for the present one: as long as this version of
/// the program runs, and it cannot know longer than a day.
const TOOLS_FRESH_MS: u64 = 24 * 3600 * 1000;

const VM_RUN: &str = "pyro runs commands in Linux VMs of their own. vm_run runs one command in a \
    fresh VM and deletes it; nothing is kept, and nothing can touch the user's machine. Exit code, \
    stdout and stderr come back; long output is cut in the middle.";

const WORKSPACE: &str = "pyro gives you Linux VMs of your own. Do anything in them: install, build, \
    run, break; nothing can touch the user's machine.\n\
    The loop: workspace_create once (or find one with workspace_list), then workspace_exec as often \
    as needed; files and installed packages stay, work in /workspace. A command that runs longer \
    than 40 s comes back with running: true; go on with exec_wait. Start servers with detach: true. \
    Output is cut in the middle; read on with exec_wait and its offset, or filter in the command. \
    workspace_delete when the work is done. For one command without traces: vm_run.\n\
    There is no network yet. Errors carry a code and hints that say what to do.";

/// One server; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pyro: Arc<Pyro>,
}

impl Server {
    /// A server that knows where its node would be, and does not look.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { pyro: Arc::new(Pyro::new(settings)) }
    }

    fn profile(&self) -> Profile {
        self.pyro.settings.profile
    }

    fn find(&self, name: &str) -> Option<&'static Definition> {
        catalogue::of(self.profile()).find(|tool| tool.name == name)
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
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

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        // Structured results came with 2025-06-18; older clients are answered with the newest.
        Cow::Borrowed(&SUPPORTED)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = catalogue::of(self.profile()).map(Definition::describe).collect();
        Ok(ListToolsResult::with_all_items(tools)
            .with_ttl_ms(TOOLS_FRESH_MS)
            .with_cache_scope(CacheScope::Public))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        self.find(name).map(Definition::describe)
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
        tokio::select! {
            answer = call.answer(tool.name) => Ok(answer.into_result().into()),
            // What the call began is dropped with it, which ends it in the guest.
            () = context.ct.cancelled() => {
                Err(ErrorData::internal_error("the call was cancelled", None))
            }
        }
    }
}

static SUPPORTED: [ProtocolVersion; 3] =
    [ProtocolVersion::V_2025_06_18, ProtocolVersion::V_2025_11_25, ProtocolVersion::V_2026_07_28];
