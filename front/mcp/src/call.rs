//! One call of a tool: which function does it, and how long it may take.

use std::{future::Future, sync::Arc, time::Duration};

use pyro_client::{ClientError, Node, Selections};
use pyro_core::Problem;
use serde_json::{Map, Value};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use crate::{
    Settings, answer::Answer, arguments::Arguments, catalogue::Definition, disk, exec, exec::Runs,
    file, network, port, progress::Progress, review, service, snapshot, transfer, vm, workspace,
};

/// How long a call waits for what it began before it answers how to go on. Clients give a call a
/// minute or less.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);

/// How much later a call answers that its node leaves without a word.
const AT_LAST: Duration = Duration::from_secs(4);

/// The most that a list may cost, text and document together, bytes.
pub(crate) const LIST_BUDGET: usize = 20_000;

/// What all calls of a server share.
#[derive(Debug)]
pub(crate) struct Pyro {
    pub(crate) settings: Settings,
    node: OnceCell<Arc<Node>>,
    /// One-shot commands that outlast the call that began them.
    pub(crate) runs: Runs,
}

impl Pyro {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, node: OnceCell::new(), runs: Runs::default() }
    }

    /// The node, found or started by the first call that needs it.
    pub(crate) async fn node(&self) -> Result<Arc<Node>, Problem> {
        let connect = || async {
            let location = self.settings.location.clone()?;
            Ok::<_, Problem>(Arc::new(Node::connect_or_start(location).await?))
        };
        self.node.get_or_try_init(connect).await.cloned()
    }
}

/// One call of a tool.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) pyro: Arc<Pyro>,
    pub(crate) arguments: Arguments,
    pub(crate) progress: Progress,
    /// When it must answer; none within a task, which has all the time there is.
    pub(crate) deadline: Option<Instant>,
}

impl Call {
    /// Checks the arguments.
    pub(crate) fn new(
        pyro: Arc<Pyro>,
        tool: &Definition,
        given: Option<Map<String, Value>>,
        progress: Progress,
    ) -> Result<Self, Problem> {
        let arguments = Arguments::check(tool.parameters, given)?;
        Ok(Self { pyro, arguments, progress, deadline: Some(Instant::now() + PATIENCE) })
    }

    /// Does what the tool is for. Dropping it gives the command up that it began.
    pub(crate) async fn answer(self, tool: &'static str) -> Answer {
        let mut notices = self.arguments.notices.clone();
        // The largest of them is the size of all.
        let answering = Box::pin(self.dispatch(tool));
        let answered = match self.deadline {
            Some(deadline) => {
                timeout_at(deadline + AT_LAST, answering).await.unwrap_or_else(|_| Err(no_word()))
            }
            None => answering.await,
        };
        let answer = answered.unwrap_or_else(|problem| {
            // An error says it all itself.
            notices.clear();
            Answer::from(problem)
        });
        answer.with_notices(notices)
    }

    async fn dispatch(&self, tool: &'static str) -> Result<Answer, Problem> {
        match tool {
            "vm_run" => vm::run(self).await,
            "vm_create" => vm::create(self).await,
            "vm_start" => vm::start(self).await,
            "vm_exec" => vm::exec(self).await,
            "vm_stop" => vm::stop(self).await,
            "vm_delete" => vm::delete(self).await,
            "vm_status" => vm::status(self).await,
            "vm_network_info" => vm::network_info(self).await,
            "vm_reap_expired" => Ok(vm::reap_expired()),
            "workspace_create" => workspace::create(self).await,
            "workspace_list" => workspace::list(self).await,
            "workspace_status" => workspace::status(self).await,
            "workspace_update" => workspace::update(self).await,
            "workspace_start" => workspace::start(self).await,
            "workspace_stop" => workspace::stop(self).await,
            "workspace_delete" => workspace::delete(self).await,
            "workspace_network_set" => network::set(self).await,
            "workspace_network_show" => network::show(self).await,
            "workspace_network_log" => network::log(self).await,
            "workspace_sync_push" => transfer::push(self).await,
            "workspace_export" => transfer::export(self).await,
            "workspace_disk_list" => disk::list(self).await,
            "workspace_disk_read" => disk::read(self).await,
            "workspace_disk_export" => disk::export(self).await,
            "workspace_file_list" => file::list(self).await,
            "workspace_file_read" => file::read(self).await,
            "workspace_file_write" => file::write(self).await,
            "workspace_file_edit" => file::edit(self).await,
            "workspace_file_search" => file::search(self).await,
            "workspace_file_stat" => file::stat(self).await,
            "workspace_file_move" => file::rename(self).await,
            "workspace_file_remove" => file::remove(self).await,
            "workspace_file_mkdir" => file::mkdir(self).await,
            "workspace_patch_apply" => file::patch(self).await,
            "workspace_diff" => review::diff(self).await,
            "workspace_reset" => snapshot::reset(self).await,
            "snapshot_create" => snapshot::create(self).await,
            "snapshot_list" => snapshot::list(self).await,
            "snapshot_delete" => snapshot::delete(self).await,
            "workspace_logs" => workspace::logs(self).await,
            "workspace_exec" => exec::exec(self).await,
            "exec_wait" => exec::wait(self).await,
            "exec_list" => exec::list(self).await,
            "exec_signal" => exec::signal(self).await,
            "service_start" => service::start(self).await,
            "service_restart" => service::restart(self).await,
            "service_wait" => service::wait(self).await,
            "service_status" | "service_list" => service::status(self).await,
            "service_logs" => service::logs(self).await,
            "service_stop" => service::stop(self).await,
            "service_signal" => service::signal(self).await,
            "service_delete" => service::delete(self).await,
            "service_up" => service::up(self).await,
            "service_down" => service::down(self).await,
            "workspace_events" => service::events(self).await,
            "port_publish" => port::publish(self).await,
            "port_list" => port::list(self).await,
            "port_unpublish" => port::unpublish(self).await,
            "environment_list" | "vm_list_environments" => workspace::environments(self).await,
            other => unreachable!("{other} is in the catalogue and has no function"),
        }
    }

    pub(crate) async fn node(&self) -> Result<Arc<Node>, Problem> {
        self.pyro.node().await
    }

    /// The workspace that the call names; `@` is resolved here, all else by the node.
    pub(crate) fn workspace(&self, parameter: &str) -> Result<String, Problem> {
        let given = self.arguments.required(parameter);
        if given.is_empty() {
            return Err(Problem::not_found("workspace_not_found", "there is no workspace \"\"")
                .hint("workspace_list shows those there are"));
        }
        if given != "@" {
            return Ok(given.to_owned());
        }
        let settings = &self.pyro.settings;
        if let Some(workspace) = &settings.current_workspace {
            return Ok(workspace.clone());
        }
        let found = match &settings.current_directory {
            Some(directory) => {
                let state = settings.location.clone()?.state;
                Selections::open(&state)?.find(directory)?
            }
            None => None,
        };
        found.map(|(_, workspace)| workspace).ok_or_else(|| {
            Problem::invalid("no_current_workspace", "@ means no workspace here")
                .hint("workspace_list shows those there are; give a name or an id")
        })
    }

    /// Waits for an effect that goes on without the call, should it take longer than a call may.
    pub(crate) async fn within<T: Send + 'static>(
        &self,
        what: &str,
        effect: impl Future<Output = Result<T, ClientError>> + Send + 'static,
    ) -> Result<T, Problem> {
        let effect = tokio::spawn(effect);
        let Some(deadline) = self.deadline else {
            return Ok(joined(effect.await)?);
        };
        match timeout_at(deadline, effect).await {
            Ok(done) => Ok(joined(done)?),
            Err(_) => Err(Problem::failed(
                "call_timeout",
                format!("{what} takes longer than {} s and goes on", PATIENCE.as_secs()),
            )
            .hint("workspace_list and workspace_status show how it stands")),
        }
    }
}

/// The node is there and says nothing, which no call of a healthy one comes near.
fn no_word() -> Problem {
    let seconds = (PATIENCE + AT_LAST).as_secs();
    Problem::failed("call_timeout", format!("the node said nothing for {seconds} s"))
        .hint("call again; on the host: pyro node status, and the log beside its socket")
}

/// What a task of ours gave.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    joined.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => unreachable!("nobody aborts it"),
    })
}

#[cfg(test)]
mod tests {
    use pyro_client::NodeLocation;

    use super::*;
    use crate::{
        Profile, catalogue,
        parameter::{Parameter, Shape},
    };

    #[tokio::test(start_paused = true)]
    async fn a_node_that_says_nothing_is_told_before_a_client_gives_up() {
        let state = tempfile::tempdir().unwrap();
        std::fs::create_dir(state.path().join("given")).unwrap();
        // Its queue takes the connections; nobody ever answers.
        let _deaf = tokio::net::UnixListener::bind(state.path().join("node.sock")).unwrap();
        let location = NodeLocation {
            state: state.path().to_owned(),
            cache: state.path().to_owned(),
            program: None,
        };
        let settings = Settings {
            profile: Profile::WorkspaceFull,
            location: Ok(location),
            backend: None,
            current_workspace: None,
            current_directory: None,
            allowed_paths: vec![state.path().to_owned()],
            git_environment: Vec::new(),
        };
        let pyro = Arc::new(Pyro::new(settings));
        for tool in catalogue::of(Profile::WorkspaceFull) {
            let given = tool.parameters.iter().filter(|parameter| parameter.required);
            let value = |parameter: &Parameter| match (parameter.name, parameter.shape) {
                (_, Shape::Ports) => "80",
                ("output_path", _) => "new",
                _ => "given",
            };
            let given = given
                .map(|parameter| (parameter.name.to_owned(), value(parameter).into()))
                .collect();
            let progress = Progress::unheard();
            let call = Call::new(Arc::clone(&pyro), tool, Some(given), progress).unwrap();
            let begun = Instant::now();
            let answer = call.answer(tool.name).await;
            assert!(begun.elapsed() < Duration::from_secs(45), "{}", tool.name);
            // The one that needs no node.
            if tool.name != "vm_reap_expired" {
                assert!(answer.failed && answer.text.contains("call_timeout"), "{}", tool.name);
            }
        }
    }
}
