//! `pyro shell`: `exec -it WORKSPACE -- bash -l`.

use pyro_api::{Command, ExecRequest};

use super::{wiring, workspace::exec};
use crate::{arguments::ShellArguments, context::Context, error::CommandError, terminal};

pub(super) async fn shell(
    context: &Context,
    arguments: ShellArguments,
) -> Result<u8, CommandError> {
    let mut env = wiring::variables(&arguments.env, &[])?;
    wiring::name_terminal(&mut env);
    let request = ExecRequest {
        command: Command::Arguments(vec!["bash".to_owned(), "-l".to_owned()]),
        cwd: arguments.cwd,
        env,
        user: arguments.user,
        timeout_seconds: None,
        terminal: Some(terminal::size()),
        stdin: true,
        detach: false,
        no_start: arguments.no_start,
    };
    let workspace = context.workspace(&arguments.workspace)?;
    exec::attached(context, &workspace, request).await
}
