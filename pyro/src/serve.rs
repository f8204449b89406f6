//! `pyro serve`: the node, with everything it needs from outside.

use std::{env, fs, io::Write, os::fd::OwnedFd, path::PathBuf, time::Duration};

use pyro_cli::ServeRequest;
use pyro_core::Problem;
use pyro_node::{NodeSettings, Ready};
use pyro_workspace::Settings;

use crate::{AGENT, log};

/// How long a node that was started on demand stays with nothing to watch.
const IDLE_EXIT: Duration = Duration::from_mins(1);
/// The most VMs that may be started before anybody asks for one.
const MOST_WARM: usize = 64;

/// Serves until stopped, or until idle where it was started on demand.
#[expect(clippy::disallowed_methods, reason = "a main reads the environment")]
pub(crate) fn serve(request: ServeRequest) -> Result<(), Problem> {
    let filter = env::var("PYRO_LOG").ok();
    if request.on_demand {
        log::to_file(&request.state, filter.as_deref()).map_err(|error| {
            Problem::from_error("state_unusable", &error)
                .hint("check the state directory's permissions: PYRO_HOME, else XDG_STATE_HOME")
        })?;
    } else {
        log::to_stderr(filter.as_deref());
    }
    // The descriptor is a pipe of ours; opening it anew needs no trust in its number.
    let pipe = request
        .ready_fd
        .map(|number| fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{number}")));
    let pipe = pipe.transpose().map_err(|error| Problem::from_error("invalid_ready_fd", &error))?;
    let numbers = match numbers() {
        Ok(numbers) => numbers,
        Err(problem) => {
            if let (Some(mut pipe), Ok(line)) = (pipe, serde_json::to_string(&problem)) {
                // Who waits for this node is told.
                let _ = writeln!(pipe, "{line}");
            }
            return Err(problem);
        }
    };
    let settings = NodeSettings {
        workspace: Settings {
            state: request.state,
            cache: request.cache,
            program: request.program,
            agent: AGENT,
            search_path: search_path(),
            // A client of a node on demand says itself what it prefers.
            backend: env::var("PYRO_BACKEND").ok().filter(|_| !request.on_demand),
            instant_start: env::var("PYRO_INSTANT_START").ok().is_none_or(|value| value != "0"),
            warm_vms: numbers.warm_vms,
            crash_at: env::var("PYRO_TEST_CRASH_AT").ok(),
        },
        idle_exit: Some(numbers.idle_exit).filter(|_| request.on_demand),
        ready: Ready { pipe, notify_socket: env::var_os("NOTIFY_SOCKET").map(PathBuf::from) },
        listener: listener_of_service_manager()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error("node_failed", &error))?;
    runtime.block_on(pyro_node::run(settings))?;
    Ok(())
}

/// What is set by numbers.
struct Numbers {
    idle_exit: Duration,
    warm_vms: usize,
}

#[expect(clippy::disallowed_methods, reason = "a main reads the environment")]
fn numbers() -> Result<Numbers, Problem> {
    let idle_exit = match env::var("PYRO_IDLE_EXIT_SECONDS") {
        Ok(seconds) => Duration::from_secs(seconds.parse().map_err(|_| {
            Problem::invalid("invalid_limit", "PYRO_IDLE_EXIT_SECONDS is not a number of seconds")
        })?),
        Err(_) => IDLE_EXIT,
    };
    let warm_vms = match env::var("PYRO_WARM_VMS") {
        Ok(count) => count.parse().ok().filter(|count| *count <= MOST_WARM).ok_or_else(|| {
            let message = format!("PYRO_WARM_VMS is not a number from 0 to {MOST_WARM}");
            Problem::invalid("invalid_limit", message)
        })?,
        Err(_) => 0,
    };
    Ok(Numbers { idle_exit, warm_vms })
}

/// Where VMMs are looked for: PATH, then where they are put by hand.
#[expect(clippy::disallowed_methods, reason = "a main reads the environment")]
pub(crate) fn search_path() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/bin", "/usr/bin", "/opt/firecracker"];
    env::split_paths(&path).chain(more.map(PathBuf::from)).collect()
}

/// The socket of a service manager's socket activation (sd_listen_fds(3)), if there is one.
fn listener_of_service_manager() -> Result<Option<OwnedFd>, Problem> {
    let taken = listenfd::ListenFd::from_env().take_unix_listener(0);
    let listener = taken.map_err(|error| Problem::from_error("invalid_listen_fd", &error))?;
    Ok(listener.map(OwnedFd::from))
}
