//! Verbs on services.

mod card;
pub(super) mod delete;
pub(super) mod down;
pub(super) mod list;
pub(super) mod logs;
pub(super) mod restart;
pub(super) mod signal;
pub(super) mod start;
pub(super) mod status;
pub(super) mod stop;
pub(super) mod up;
pub(super) mod wait;

/// The name in a path; an empty one, most likely a variable that was not set, would not make one.
fn named(service: &str) -> Result<&str, crate::error::CommandError> {
    if service.is_empty() {
        return Err(pyro_core::Problem::not_found("service_not_found", "there is no service \"\"")
            .hint("`pyro service list WORKSPACE` lists its services")
            .into());
    }
    Ok(service)
}
