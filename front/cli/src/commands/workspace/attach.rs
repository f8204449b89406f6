//! `pyro workspace attach`.

use super::exec::finish;
use crate::{
    arguments::AttachArguments,
    context::Context,
    error::CommandError,
    session::{self, Wiring},
};

pub(in crate::commands) async fn attach(
    context: &Context,
    arguments: &AttachArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let node = context.node().await?;
    let stream = node
        .attach_exec(&workspace, &arguments.exec, arguments.offset, arguments.interactive)
        .await?;
    let wiring = Wiring {
        stdin: arguments.interactive,
        terminal: arguments.tty,
        collect: printer.json,
        detach_keys: true,
    };
    finish(context, session::carry(stream, wiring, printer).await?)
}
