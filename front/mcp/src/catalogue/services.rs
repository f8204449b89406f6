//! The tools of services.
//!
//! `workspace-core` has what starting, watching and ending a service takes; what few services need
//! is shown in `workspace-full` only, and taken everywhere.

use super::{CWD, Definition, ENV, Field, MAX_BYTES, Nature, SKIP, USER, WORKSPACE};
use crate::{
    Profile,
    parameter::{Parameter, Shape},
};

const NAME: Parameter = Parameter::required("service_name", "");
const WAIT: Parameter = Parameter::optional("wait_seconds", "", Shape::Integer(0, 40, Some(40)));
const ENDED: Parameter =
    Parameter::optional("ended", "wait until it does not run any more", Shape::Flag);
const NO_WAIT: Parameter = Parameter::rare("no_wait", "answer at once", Shape::Flag);
const NO_START: Parameter =
    Parameter::rare("no_start", "fail where the workspace is stopped", Shape::Flag);

const ONLY: Parameter = Parameter::optional("services", "only these", Shape::TextList);

const fn text(name: &'static str, about: &'static str) -> Parameter {
    Parameter::optional(name, about, Shape::Text(None))
}

const fn seconds(name: &'static str, about: &'static str) -> Parameter {
    Parameter::rare(name, about, Shape::Integer(0, 86_400, None))
}

const ONE_SERVICE: &[Field] = &[
    Field("service_name", "string"),
    Field("state", "string"),
    Field("ready", "boolean"),
    Field("exit_code", ""),
    Field("stop_reason", ""),
];
const STARTED: &[Field] = &[
    Field("service_name", "string"),
    Field("state", "string"),
    Field("ready", "boolean"),
    Field("exit_code", ""),
    Field("log_tail", "array"),
];
const SERVICES: &[Field] =
    &[Field("count", "integer"), Field("running_count", "integer"), Field("services", "array")];

/// Every tool of services.
pub(super) const TOOLS: &[Definition] = &[
    Definition {
        name: "service_start",
        title: "Start a service",
        about: "Start a server, worker or database that runs on by itself, and wait until it is \
                ready. Give at most one ready_ probe; it is made inside the workspace. A failed \
                start tells exit code and last output. After 40 s this returns state starting: go \
                on with service_wait.",
        parameters: &[
            WORKSPACE,
            Parameter::required("service_name", "yours to choose, such as web"),
            super::COMMAND,
            CWD,
            ENV,
            USER,
            text("ready_tcp", "HOST:PORT"),
            text("ready_http", "URL that answers 200-399"),
            text("ready_file", "path that exists"),
            text("ready_command", "shell line that ends with 0"),
            text("ready_log", "regex that a line of output matches"),
            Parameter::rare("ready_notify", "it says READY=1 (sd_notify)", Shape::Flag),
            Parameter::optional(
                "ready_timeout_seconds",
                "then it is stopped",
                Shape::Integer(1, 86_400, Some(30)),
            ),
            Parameter::rare(
                "ready_interval_ms",
                "the longest time between two tries",
                Shape::Integer(1, 3_600_000, Some(500)),
            ),
            Parameter::rare("on_ready_timeout", "", Shape::OneOf(&["stop", "keep"])),
            Parameter::optional(
                "restart",
                "when it ends",
                Shape::OneOf(&["no", "on-failure", "always", "unless-stopped"]),
            ),
            Parameter::rare(
                "restart_limit",
                "in a row; default: 10",
                Shape::Integer(1, 1_000_000, None),
            ),
            Parameter::optional(
                "depends_on",
                "services that must be ready first; or NAME:started, NAME:completed",
                Shape::TextList,
            ),
            Parameter::rare(
                "health_tcp",
                "health_ probes go on every 10 s; 3 failures restart it",
                Shape::Text(None),
            ),
            Parameter::rare("health_http", "", Shape::Text(None)),
            Parameter::rare("health_command", "", Shape::Text(None)),
            Parameter::rare("health_file", "", Shape::Text(None)),
            seconds("health_interval_seconds", ""),
            seconds("health_timeout_seconds", "of one look"),
            Parameter::rare(
                "health_retries",
                "failures in a row that count",
                Shape::Integer(1, 1000, None),
            ),
            seconds("health_start_period_seconds", "failures do not count yet"),
            Parameter::rare("health_action", "", Shape::OneOf(&["restart", "report"])),
            Parameter::rare("stop_signal", "default: TERM", Shape::Text(None)),
            seconds("stop_grace_seconds", "then KILL; default: 5"),
            Parameter::rare(
                "log_limit_bytes",
                "kept of each stream",
                Shape::Integer(64 << 10, 1 << 30, None),
            ),
            Parameter::optional(
                "published_ports",
                "on the host while it runs: GUEST or HOST:GUEST",
                Shape::Ports,
            ),
            Parameter::optional("replace", "stop it where it runs differently", Shape::Flag),
            NO_WAIT,
            NO_START,
        ],
        output: STARTED,
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "service_status",
        title: "Show services",
        about: "Show a service: state, ports, last probe, why it does not run; without \
                service_name all.",
        parameters: &[WORKSPACE, text("service_name", ""), SKIP],
        output: ONE_SERVICE,
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "service_logs",
        title: "Read a service's output",
        about: "Show the last lines of a service's output, or with offset read on from there. Works \
                for ended services too.",
        parameters: &[
            WORKSPACE,
            NAME,
            Parameter::optional(
                "tail_lines",
                "of each stream",
                Shape::Integer(0, 1_000_000, Some(200)),
            ),
            Parameter::optional("all", "rather than the last lines", Shape::Flag),
            Parameter::optional(
                "offset",
                "position to read from",
                Shape::Integer(0, i64::MAX >> 11, None),
            ),
            Parameter::rare("stream", "", Shape::OneOf(&["combined", "stdout", "stderr"])),
            Parameter::rare("since", "Unix seconds", Shape::Integer(0, 1 << 40, None)),
            MAX_BYTES,
        ],
        output: &[
            Field("stdout", "string"),
            Field("stderr", "string"),
            Field("omitted_bytes", "integer"),
            Field("next_offset", "integer"),
        ],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "service_stop",
        title: "Stop a service",
        about: "End a service and all its processes; its log stays.",
        parameters: &[
            WORKSPACE,
            NAME,
            Parameter::rare("signal", "rather than its own", Shape::Text(None)),
            seconds("grace_seconds", "then KILL, rather than after its own"),
        ],
        output: ONE_SERVICE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "service_wait",
        title: "Wait for a service",
        about: "Wait until a service is ready; without service_name all that are starting or run. \
                Ending the call leaves them as they are.",
        parameters: &[WORKSPACE, text("service_name", ""), ENDED, WAIT],
        output: STARTED,
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "service_list",
        title: "List services",
        about: "List the services of a workspace by name.",
        parameters: &[WORKSPACE, SKIP],
        output: SERVICES,
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "service_restart",
        title: "Restart a service",
        about: "End a service, start it anew and wait until it is ready, as service_start does.",
        parameters: &[WORKSPACE, NAME, NO_WAIT, NO_START],
        output: STARTED,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "service_signal",
        title: "Signal a service",
        about: "Send a signal to a service.",
        parameters: &[
            WORKSPACE,
            NAME,
            Parameter::required("signal", "such as HUP"),
            Parameter::optional(
                "whole_tree",
                "to every process of it, not only to its main process's group",
                Shape::Flag,
            ),
        ],
        output: ONE_SERVICE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "service_delete",
        title: "Delete a service",
        about: "Stop a service and drop its record and log, for good.",
        parameters: &[WORKSPACE, NAME],
        output: &[Field("service_name", "string"), Field("deleted", "boolean")],
        nature: Nature::Destroys,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "service_up",
        title: "Bring up services from a file",
        about: "Make a workspace's services what a pyro.toml or compose file in it says, and wait \
                until they are ready; those that run so are left alone. After 40 s go on with \
                service_wait.",
        parameters: &[
            WORKSPACE,
            text("path", "in the workspace; default: pyro.toml or compose.yaml in /workspace"),
            ONLY,
            Parameter::optional("env", "values of variables that it names", Shape::TextMap),
            Parameter::optional(
                "remove_orphans",
                "stop those that are not in it any more",
                Shape::Flag,
            ),
            NO_WAIT,
            NO_START,
        ],
        output: &[
            Field("count", "integer"),
            Field("failed_count", "integer"),
            Field("timed_out", "boolean"),
            Field("services", "array"),
        ],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "service_down",
        title: "Stop services from a file",
        about: "Stop the services that came from a file, those that others need last.",
        parameters: &[WORKSPACE, text("path", "of the file; default: any"), ONLY],
        output: &[
            Field("count", "integer"),
            Field("stopped_count", "integer"),
            Field("services", "array"),
        ],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_events",
        title: "Show what happened to services",
        about: "Show the state changes of a workspace's services after a cursor, oldest first: a \
                page, and the cursor to go on from.",
        parameters: &[
            WORKSPACE,
            Parameter::optional("after", "cursor", Shape::Integer(0, i64::MAX >> 11, Some(0))),
            Parameter::optional(
                "wait_seconds",
                "for the next one, where there is none",
                Shape::Integer(0, 40, Some(0)),
            ),
        ],
        output: &[
            Field("events", "array"),
            Field("next_after", "integer"),
            Field("more", "boolean"),
        ],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
];
