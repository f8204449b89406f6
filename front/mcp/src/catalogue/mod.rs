//! The tools: names, when to use them, what they take and give.
//!
//! All of it is read by models on every turn, so every word must earn its place: a test holds the
//! whole to 12 KB.

use rmcp::model::{Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::{
    Profile,
    parameter::{Parameter, Shape, input_schema},
};

mod files;
mod ports;
mod services;

/// A tool of the contract.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    title: &'static str,
    about: &'static str,
    pub(crate) parameters: &'static [Parameter],
    /// Fields that a caller will look for; there may be more.
    output: &'static [Field],
    nature: Nature,
    /// The smallest profile that has it.
    profile: Profile,
}

/// A field of a payload; one that may be null has no type, so that it needs no union.
#[derive(Clone, Copy, Debug)]
struct Field(&'static str, &'static str);

/// What a tool does to the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nature {
    /// Changes nothing.
    Reads,
    /// Adds or changes, within VMs that are there to be changed.
    Changes,
    /// What it takes away does not come back.
    Destroys,
}

const WORKSPACE: Parameter = Parameter::required("workspace_id", "");
const VM: Parameter = Parameter::required("vm_id", "");
const EXEC: Parameter = Parameter::required("exec_id", "");
const COMMAND: Parameter = Parameter::required("command", "run by /bin/sh -lc");
const TIMEOUT: Parameter = Parameter::optional(
    "timeout_seconds",
    "then the command is ended; 0: never",
    Shape::Integer(0, 86_400, Some(30)),
);
const CWD: Parameter = Parameter::optional("cwd", "", Shape::Text(Some("/workspace")));
const ENV: Parameter = Parameter::optional("env", "", Shape::TextMap);
const USER: Parameter = Parameter::rare("user", "", Shape::Text(Some("root")));
const MAX_BYTES: Parameter =
    Parameter::optional("max_bytes", "", Shape::Integer(1000, 200_000, Some(10_000)));
const ENVIRONMENT: Parameter =
    Parameter::optional("environment", "", Shape::Text(Some("debian:12")));
const VCPU: Parameter = Parameter::optional("vcpu_count", "", Shape::Integer(1, 32, Some(1)));
const MEMORY: Parameter =
    Parameter::optional("mem_mib", "", Shape::Integer(128, 131_072, Some(1024)));
const VM_TTL: Parameter = Parameter::rare("ttl_seconds", "", Shape::Integer(60, 3600, Some(600)));
const NETWORK: Parameter = Parameter::optional("network", "reach what is public", Shape::Flag);
const ALLOW: Parameter = Parameter::optional(
    "network_allow",
    "reach only these: example.org, *.example.com:443, 192.0.2.0/24",
    Shape::TextList,
);
const POLICIES: &[&str] = &["off", "egress", "egress+published-ports"];
const ONE_NETWORK: &[Field] = &[
    Field("network_policy", "string"),
    Field("network_allow", "array"),
    Field("network_enabled", "boolean"),
];
const SKIP: Parameter =
    Parameter::optional("offset", "entries to skip", Shape::Integer(0, 1_000_000, Some(0)));

const OUTPUT: &[Field] = &[
    Field("exit_code", ""),
    Field("stdout", "string"),
    Field("stderr", "string"),
    Field("running", "boolean"),
    Field("exec_id", "string"),
    Field("omitted_bytes", "integer"),
    Field("next_offset", "integer"),
];
const ONE_WORKSPACE: &[Field] =
    &[Field("workspace_id", "string"), Field("name", ""), Field("state", "string")];
const ONE_VM: &[Field] = &[Field("vm_id", "string"), Field("state", "string")];
const DELETED: &[Field] = &[Field("deleted", "boolean")];
const ENVIRONMENTS: &[Field] = &[Field("environments", "array")];

const RUN_PARAMETERS: &[Parameter] =
    &[ENVIRONMENT, COMMAND, VCPU, MEMORY, TIMEOUT, VM_TTL, NETWORK, CWD, ENV, USER, MAX_BYTES];

/// Every tool whose verb exists, but those of files, services and ports.
const TOOLS: &[Definition] = &[
    Definition {
        name: "vm_run",
        title: "Run a command in a fresh VM",
        about: "Run one command in a new Linux VM that is deleted afterwards. For one-off commands; \
                nothing is kept. For several steps use a workspace.",
        parameters: RUN_PARAMETERS,
        output: OUTPUT,
        nature: Nature::Changes,
        profile: Profile::VmRun,
    },
    Definition {
        name: "workspace_create",
        title: "Create a workspace",
        about: "Create a Linux VM that keeps its files and processes until deleted. Start here when \
                work takes more than one command.",
        parameters: &[
            ENVIRONMENT,
            VCPU,
            MEMORY,
            Parameter::optional(
                "ttl_seconds",
                "stop it after this idle time; default: never",
                Shape::Integer(1, 31_536_000, None),
            ),
            Parameter::optional(
                "network_policy",
                "egress: reach what is public",
                Shape::OneOf(POLICIES),
            ),
            ALLOW,
            Parameter::optional(
                "seed_path",
                "host directory or tar it begins with",
                Shape::Text(None),
            ),
            Parameter::rare("seed_git", "host repository, @REF: what it tracks", Shape::Text(None)),
            Parameter::rare("exclude", "patterns not to seed", Shape::TextList),
            Parameter::rare("respect_ignore", "seed nothing that .gitignore names", Shape::Flag),
            Parameter::optional("name", "to find it again", Shape::Text(None)),
            Parameter::optional("labels", "", Shape::TextMap),
        ],
        output: ONE_WORKSPACE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_exec",
        title: "Run a command in a workspace",
        about: "Run a command in a workspace; a stopped one is started. If it runs longer than 40 s \
                this returns running: true with an exec_id: go on with exec_wait.",
        parameters: &[
            WORKSPACE,
            COMMAND,
            TIMEOUT,
            Parameter::optional(
                "detach",
                "return at once; it runs on (no timeout then)",
                Shape::Flag,
            ),
            CWD,
            ENV,
            USER,
            MAX_BYTES,
        ],
        output: OUTPUT,
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "exec_wait",
        title: "Wait for a command, or read its output",
        about: "Wait for a command that still runs, or read output that was omitted: head and tail \
                of what follows offset. Works for ended commands too.",
        parameters: &[
            WORKSPACE,
            EXEC,
            Parameter::optional(
                "offset",
                "position in the output to read from",
                Shape::Integer(0, i64::MAX >> 11, Some(0)),
            ),
            Parameter::rare("wait_seconds", "", Shape::Integer(0, 40, Some(40))),
            MAX_BYTES,
        ],
        output: OUTPUT,
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "exec_list",
        title: "List commands of a workspace",
        about: "List the commands that run or ran in a workspace, newest first.",
        parameters: &[WORKSPACE, SKIP],
        output: &[Field("count", "integer"), Field("execs", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "exec_signal",
        title: "End or signal a command",
        about: "End a running command and all its processes, or send it one signal.",
        parameters: &[
            WORKSPACE,
            EXEC,
            Parameter::optional(
                "signal",
                "such as INT; default TERM, then KILL",
                Shape::Text(None),
            ),
        ],
        output: &[Field("running", "boolean"), Field("exit_code", "")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_list",
        title: "List workspaces",
        about: "List all workspaces, last used first. Look here before you create another.",
        parameters: &[SKIP],
        output: &[Field("count", "integer"), Field("workspaces", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_status",
        title: "Show a workspace",
        about: "Show one workspace.",
        parameters: &[WORKSPACE],
        output: ONE_WORKSPACE,
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_update",
        title: "Name or label a workspace",
        about: "Change a workspace's name and labels.",
        parameters: &[
            WORKSPACE,
            Parameter::optional("name", "", Shape::Text(None)),
            Parameter::rare("clear_name", "", Shape::Flag),
            Parameter::optional("labels", "to set", Shape::TextMap),
            Parameter::rare("clear_labels", "keys to remove", Shape::TextList),
        ],
        output: ONE_WORKSPACE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_logs",
        title: "Show what was run in a workspace",
        about: "Show the commands of a workspace with their output.",
        parameters: &[WORKSPACE, SKIP, MAX_BYTES],
        output: &[Field("count", "integer"), Field("entries", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_delete",
        title: "Delete a workspace",
        about: "Delete a workspace with everything in it, for good.",
        parameters: &[WORKSPACE],
        output: DELETED,
        nature: Nature::Destroys,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "environment_list",
        title: "List environments",
        about: "List what VMs can start from.",
        parameters: &[],
        output: ENVIRONMENTS,
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_stop",
        title: "Stop a workspace",
        about: "Stop a workspace's VM; its files stay. It starts again when used.",
        parameters: &[WORKSPACE],
        output: ONE_WORKSPACE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_start",
        title: "Start a workspace",
        about: "Start a stopped workspace. Not needed before workspace_exec.",
        parameters: &[
            WORKSPACE,
            Parameter::optional(
                "resume",
                "run services again that ran when it stopped",
                Shape::FlagOn,
            ),
        ],
        output: ONE_WORKSPACE,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_list_environments",
        title: "List environments",
        about: "The same as environment_list.",
        parameters: &[],
        output: ENVIRONMENTS,
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_network_set",
        title: "Change what a workspace may reach",
        about: "Change what a workspace may reach, at once; open connections that no longer fit end.",
        parameters: &[
            WORKSPACE,
            Parameter::optional("network_policy", "", Shape::OneOf(POLICIES)),
            ALLOW,
        ],
        output: ONE_NETWORK,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_network_show",
        title: "Show what a workspace may reach",
        about: "Show a workspace's network policy, and what it does.",
        parameters: &[WORKSPACE],
        output: ONE_NETWORK,
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_network_log",
        title: "Show what a workspace wanted to reach",
        about: "Show what a workspace wanted to reach and what was refused, the newest last.",
        parameters: &[
            WORKSPACE,
            Parameter::optional(
                "after",
                "a seq: only what came later",
                Shape::Integer(0, i64::MAX, Some(0)),
            ),
            MAX_BYTES,
        ],
        output: &[Field("entries", "array"), Field("omitted_count", "integer")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_create",
        title: "Create a VM for one command",
        about: "Create a VM for one vm_exec. It is deleted after that, or when unused for \
                ttl_seconds. vm_run does all in one call.",
        parameters: &[ENVIRONMENT, VCPU, MEMORY, VM_TTL, NETWORK],
        output: ONE_VM,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_start",
        title: "Start a VM",
        about: "Start a VM that was stopped.",
        parameters: &[VM],
        output: ONE_VM,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_exec",
        title: "Run a VM's one command",
        about: "Run a command in a VM of vm_create and delete the VM.",
        parameters: &[VM, COMMAND, TIMEOUT, CWD, ENV, USER, MAX_BYTES],
        output: OUTPUT,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_stop",
        title: "Stop a VM",
        about: "Stop a VM; its files stay.",
        parameters: &[VM],
        output: ONE_VM,
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_delete",
        title: "Delete a VM",
        about: "Delete a VM with everything in it.",
        parameters: &[VM],
        output: DELETED,
        nature: Nature::Destroys,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_status",
        title: "Show a VM",
        about: "Show one VM.",
        parameters: &[VM],
        output: ONE_VM,
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_network_info",
        title: "Show a VM's network",
        about: "Show whether and how a VM is connected.",
        parameters: &[VM],
        output: &[Field("network_enabled", "boolean")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "vm_reap_expired",
        title: "Delete expired VMs",
        about: "VMs are deleted by themselves when they expire; this tells so.",
        parameters: &[],
        output: &[Field("deleted_vm_ids", "array"), Field("count", "integer")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
];

/// The tools of a profile.
pub(crate) fn of(profile: Profile) -> impl Iterator<Item = &'static Definition> {
    TOOLS
        .iter()
        .chain(files::TOOLS)
        .chain(services::TOOLS)
        .chain(ports::TOOLS)
        .filter(move |tool| tool.profile <= profile)
}

impl Definition {
    /// As the protocol has it, for the clients of a profile.
    pub(crate) fn describe(&self, profile: Profile) -> Tool {
        let annotations = ToolAnnotations::new()
            .read_only(self.nature == Nature::Reads)
            .destructive(self.nature == Nature::Destroys)
            .open_world(false);
        let shown = |parameter: &&Parameter| !parameter.rare || profile == Profile::WorkspaceFull;
        let parameters = input_schema(self.parameters.iter().filter(shown));
        Tool::new(self.name, self.about, parameters)
            .with_title(self.title)
            .with_raw_output_schema(self.output_schema().into())
            .with_annotations(annotations)
    }

    /// Whether it runs a command, which may take its time.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.name, "vm_run" | "vm_exec" | "workspace_exec")
    }

    fn output_schema(&self) -> Map<String, Value> {
        let field = |Field(name, shape): &Field| match *shape {
            "" => ((*name).to_owned(), json!({})),
            shape => ((*name).to_owned(), json!({"type": shape})),
        };
        let properties: Map<String, Value> = self.output.iter().map(field).collect();
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        schema.insert("properties".to_owned(), properties.into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, descriptions and input schemas; and everything.
    fn sizes(profile: Profile) -> (usize, usize) {
        let described: Vec<Tool> = of(profile).map(|tool| tool.describe(profile)).collect();
        let short: Vec<Value> = described
            .iter()
            .map(|tool| {
                json!({"name": tool.name, "description": tool.description,
                    "inputSchema": tool.input_schema})
            })
            .collect();
        let size = |document: &dyn erased::Document| document.length();
        (size(&short), size(&described))
    }

    mod erased {
        pub(super) trait Document {
            fn length(&self) -> usize;
        }
        impl<T: serde::Serialize> Document for T {
            fn length(&self) -> usize {
                serde_json::to_vec(self).unwrap().len()
            }
        }
    }

    #[test]
    fn the_everyday_tools_cost_a_model_little() {
        let (short, whole) = sizes(Profile::WorkspaceCore);
        assert!(short < 12 * 1024, "{short} bytes");
        assert!(whole < 24 * 1024, "{whole} bytes");
    }

    fn every_tool() -> Vec<Tool> {
        let profile = Profile::WorkspaceFull;
        of(profile).map(|tool| tool.describe(profile)).collect()
    }

    #[test]
    fn what_models_read_changes_on_purpose_only() {
        let mut shown = String::new();
        for tool in every_tool() {
            let schema = serde_json::to_string(&tool.input_schema).unwrap();
            let about = tool.description.unwrap();
            shown.push_str(&[&tool.name, "\n  ", &about, "\n  ", &schema, "\n"].concat());
        }
        insta::assert_snapshot!("tools", shown);
    }

    #[test]
    fn every_schema_is_flat() {
        for tool in every_tool() {
            let schema = Value::Object((*tool.input_schema).clone());
            assert_eq!(schema["type"], "object", "{}", tool.name);
            for (name, parameter) in schema["properties"].as_object().unwrap() {
                let at = format!("{}.{name}", tool.name);
                let kind =
                    parameter["type"].as_str().unwrap_or_else(|| panic!("{at}: no one type"));
                match kind {
                    "integer" => {
                        assert!(parameter["minimum"].is_i64(), "{at}");
                        assert!(parameter["maximum"].is_i64(), "{at}");
                    }
                    "array" => assert_eq!(parameter["items"]["type"], "string", "{at}"),
                    "object" => {
                        assert_eq!(parameter["additionalProperties"]["type"], "string", "{at}");
                    }
                    "string" | "boolean" => {}
                    other => panic!("{at}: {other}"),
                }
                let required = schema["required"].as_array().is_some_and(|names| {
                    names.iter().any(|required| required.as_str() == Some(name))
                });
                assert!(!(required && parameter.get("default").is_some()), "{at}");
            }
            let words =
                ["anyOf", "oneOf", "allOf", "not", "if", "$ref", "$defs", "format", "const"];
            for schema in [&schema, &Value::Object((*tool.output_schema.unwrap()).clone())] {
                walk(schema, &mut |key, value| {
                    assert!(!words.contains(&key), "{}: {key}", tool.name);
                    assert!(key != "type" || !value.is_array(), "{}: a union of types", tool.name);
                });
                assert!(schema.get("required").is_none_or(Value::is_array));
            }
        }
    }

    fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    visit(key, value);
                    // Names of parameters are no keywords.
                    match value.as_object().filter(|_| key == "properties") {
                        Some(named) => named.values().for_each(|value| walk(value, visit)),
                        None => walk(value, visit),
                    }
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }

    #[test]
    fn only_delete_and_reset_destroy_and_nothing_reaches_out() {
        for tool in every_tool() {
            let annotations = tool.annotations.unwrap();
            let destroys = tool.name.ends_with("_delete") || tool.name == "workspace_reset";
            assert_eq!(annotations.destructive_hint, Some(destroys), "{}", tool.name);
            assert_eq!(annotations.open_world_hint, Some(false));
            if tool.name.ends_with("_exec") || tool.name.ends_with("_run") {
                assert_eq!(annotations.read_only_hint, Some(false));
            }
        }
    }

    #[test]
    fn each_profile_holds_the_one_before_it() {
        let names = |profile| of(profile).map(|tool| tool.name).collect::<Vec<_>>();
        assert_eq!(names(Profile::VmRun), ["vm_run"]);
        let core = names(Profile::WorkspaceCore);
        assert!(core.contains(&"exec_wait") && !core.contains(&"workspace_stop"));
        let full = names(Profile::WorkspaceFull);
        assert!(core.iter().all(|name| full.contains(name)));
    }

    #[test]
    fn descriptions_are_sentences() {
        for tool in of(Profile::WorkspaceFull) {
            assert!(tool.about.ends_with('.'), "{}", tool.name);
            assert!(!tool.title.ends_with('.'), "{}", tool.name);
        }
    }
}
