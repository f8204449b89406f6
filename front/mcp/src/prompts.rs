//! The one prompt: what a person types so that a task is done in a workspace.

use rmcp::model::{Prompt, PromptArgument, PromptMessage, Role};

/// Its name.
pub(crate) const NAME: &str = "workspace";

/// What it takes.
pub(crate) const ARGUMENT: &str = "task";

/// As the protocol has it.
pub(crate) fn describe() -> Prompt {
    let task =
        PromptArgument::new(ARGUMENT).with_description("what is to be done").with_required(true);
    Prompt::new(NAME, Some("Do a task in a Linux VM of its own"), Some(vec![task]))
        .with_title("Work in a Linux VM")
}

/// What the model is told.
pub(crate) fn message(task: &str) -> PromptMessage {
    let told = format!(
        "Do the following in a pyro workspace, a Linux VM of its own, and nothing of it on my \
         machine:\n\n{task}\n\nLook with workspace_list whether there is a workspace for it already; \
         otherwise make one with workspace_create and give it a name that says what it is for. Work \
         with workspace_exec in /workspace; servers and the like are services, service_start. When you are done, tell me the workspace's name and what \
         you did, and leave the workspace as it is."
    );
    PromptMessage::new_text(Role::User, told)
}
