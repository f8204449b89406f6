//! `pyro serve`: the node in the foreground.

use crate::{
    arguments::ServeArguments,
    assembly::{Assembly, ServeRequest},
    context::Context,
    error::CommandError,
};

pub(crate) fn serve(
    context: &Context,
    assembly: &Assembly,
    arguments: &ServeArguments,
) -> Result<u8, CommandError> {
    (assembly.serve)(ServeRequest {
        state: context.environment.state()?.to_owned(),
        cache: context.environment.cache()?.to_owned(),
        program: context.environment.program()?,
        on_demand: arguments.on_demand,
        ready_fd: arguments.ready_fd,
    })?;
    Ok(0)
}
