//! The tools of files, of what changed, and of snapshots.

use super::{Definition, Field, MAX_BYTES, Nature, SKIP, WORKSPACE};
use crate::{
    Profile,
    parameter::{Parameter, Shape},
};

const PATH: Parameter = Parameter::required("path", "");
const WITHIN: Parameter = Parameter::optional("path", "", Shape::Text(Some("/workspace")));
const NAME: Parameter = Parameter::required("snapshot_name", "");

const fn flag(name: &'static str, about: &'static str) -> Parameter {
    Parameter::optional(name, about, Shape::Flag)
}

const fn rare(name: &'static str, about: &'static str) -> Parameter {
    Parameter::rare(name, about, Shape::Flag)
}

const fn line(name: &'static str, about: &'static str) -> Parameter {
    Parameter::optional(name, about, Shape::Integer(1, 1_000_000_000, None))
}

/// Every tool of files, changes and snapshots.
pub(super) const TOOLS: &[Definition] = &[
    Definition {
        name: "workspace_file_list",
        title: "List files",
        about: "List a directory.",
        parameters: &[WORKSPACE, WITHIN, flag("recursive", ""), SKIP],
        output: &[Field("count", "integer"), Field("entries", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_file_read",
        title: "Read a file",
        about: "Read a file, or a part.",
        parameters: &[
            WORKSPACE,
            PATH,
            Parameter::optional("offset", "", Shape::Integer(0, i64::MAX >> 11, None)),
            line("first_line", ""),
            line("line_count", ""),
            MAX_BYTES,
        ],
        output: &[
            Field("content", "string"),
            Field("truncated", "boolean"),
            Field("next_offset", "integer"),
        ],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_file_write",
        title: "Write a file",
        about: "Write a whole file.",
        parameters: &[
            WORKSPACE,
            PATH,
            Parameter::required("text", ""),
            Parameter::rare("mode", "in octal", Shape::Text(None)),
            Parameter::rare("create_only", "fail where it is there", Shape::Flag),
        ],
        output: &[Field("path", "string"), Field("size_bytes", "integer")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_file_edit",
        title: "Replace text in a file",
        about: "Replace a text that is in a file exactly once.",
        parameters: &[
            WORKSPACE,
            PATH,
            Parameter::required("old", ""),
            Parameter::required("new", ""),
            flag("replace_all", "wherever it is"),
        ],
        output: &[Field("replacements", "integer")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_file_search",
        title: "Search files",
        about: "Find lines that match a regex.",
        parameters: &[
            WORKSPACE,
            Parameter::required("pattern", ""),
            WITHIN,
            rare("literal", ""),
            rare("ignore_case", ""),
            Parameter::optional("globs", "*.py, !test_*", Shape::TextList),
            Parameter::rare("context", "lines", Shape::Integer(0, 20, Some(0))),
            rare("names_only", ""),
            Parameter::rare("max_matches", "", Shape::Integer(1, 10_000, Some(200))),
            Parameter::rare("all", "also what is ignored or hidden", Shape::Flag),
            SKIP,
        ],
        output: &[Field("count", "integer"), Field("matches", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_file_stat",
        title: "Look at a file",
        about: "Show what is at a path: kind, size, mode, link.",
        parameters: &[WORKSPACE, PATH, flag("follow", "what a link leads to")],
        output: &[Field("artifact_type", "string"), Field("size_bytes", "integer")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_file_move",
        title: "Move a file",
        about: "Move or rename a file or directory.",
        parameters: &[WORKSPACE, PATH, Parameter::required("to", ""), flag("replace", "")],
        output: &[Field("path", "string")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_file_remove",
        title: "Remove a file",
        about: "Remove a file, or with recursive a directory.",
        parameters: &[WORKSPACE, PATH, flag("recursive", "")],
        output: &[Field("removed", "boolean")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_file_mkdir",
        title: "Make a directory",
        about: "Make a directory with those it lies in.",
        parameters: &[WORKSPACE, PATH, Parameter::optional("mode", "octal", Shape::Text(None))],
        output: &[Field("path", "string")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_sync_push",
        title: "Bring files from the host",
        about: "Copy a host directory or tar into a workspace.",
        parameters: &[
            WORKSPACE,
            Parameter::required("source_path", ""),
            Parameter::optional("dest", "", Shape::Text(Some("/workspace"))),
            Parameter::rare("delete", "remove what the source has not", Shape::Flag),
            Parameter::rare("exclude", "patterns to leave out", Shape::TextList),
            Parameter::rare("respect_ignore", "nothing that .gitignore names", Shape::Flag),
        ],
        output: &[Field("workspace_sync", "object")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_export",
        title: "Take files to the host",
        about: "Copy a file or directory to a new host path.",
        parameters: &[
            WORKSPACE,
            PATH,
            Parameter::required("output_path", ""),
            Parameter::rare("changed", "only what changed", Shape::Flag),
            Parameter::rare("format", "", Shape::OneOf(&["dir", "tar", "tar.zst"])),
        ],
        output: &[Field("output_path", "string"), Field("entry_count", "integer")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_disk_list",
        title: "List files of a stopped workspace",
        about: "List a directory of a stopped workspace without starting it.",
        parameters: &[WORKSPACE, WITHIN, flag("recursive", ""), SKIP],
        output: &[Field("count", "integer"), Field("entries", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_disk_read",
        title: "Read a file of a stopped workspace",
        about: "Read a file of a stopped workspace without starting it.",
        parameters: &[
            WORKSPACE,
            PATH,
            Parameter::optional("offset", "", Shape::Integer(0, i64::MAX >> 11, None)),
            MAX_BYTES,
        ],
        output: &[Field("content", "string"), Field("truncated", "boolean")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_disk_export",
        title: "Export a stopped workspace's disk",
        about: "Write a stopped workspace's disk to a new host file, as ext4.",
        parameters: &[WORKSPACE, Parameter::required("output_path", "")],
        output: &[Field("bytes_written", "integer")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "workspace_diff",
        title: "Show what changed",
        about: "Show what changed in /workspace, the risky first.",
        parameters: &[
            WORKSPACE,
            Parameter::optional("paths", "only these", Shape::TextList),
            flag("summary_only", "no patches"),
            rare("all", "nothing folded"),
            Parameter::rare("renames", "tell moved files as renamed", Shape::Flag),
            Parameter::rare("from", "snapshot or baseline", Shape::Text(Some("baseline"))),
            Parameter::rare("to", "snapshot or now", Shape::Text(Some("now"))),
            SKIP,
            MAX_BYTES,
        ],
        output: &[
            Field("changed", "boolean"),
            Field("summary", "object"),
            Field("entries", "array"),
            Field("marked", "array"),
        ],
        nature: Nature::Reads,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_patch_apply",
        title: "Apply a patch",
        about: "Apply a unified diff, all or nothing.",
        parameters: &[
            WORKSPACE,
            Parameter::required("patch", ""),
            rare("check", "change nothing"),
            Parameter::rare("base", "what its names are in", Shape::Text(Some("/workspace"))),
        ],
        output: &[Field("changed", "boolean"), Field("entries", "array")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "workspace_reset",
        title: "Reset a workspace",
        about: "Go back to a snapshot; all since is lost.",
        parameters: &[
            WORKSPACE,
            Parameter::optional("snapshot", "", Shape::Text(Some("baseline"))),
            Parameter::rare("no_resume", "forget services that ran", Shape::Flag),
        ],
        output: &[Field("workspace_reset", "object")],
        nature: Nature::Destroys,
        profile: Profile::WorkspaceCore,
    },
    Definition {
        name: "snapshot_create",
        title: "Take a snapshot",
        about: "Keep the disk of a workspace as it is now, for workspace_reset.",
        parameters: &[WORKSPACE, NAME],
        output: &[Field("snapshot", "object")],
        nature: Nature::Changes,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "snapshot_list",
        title: "List snapshots",
        about: "List the snapshots of a workspace, the baseline first, then the newest.",
        parameters: &[WORKSPACE, SKIP],
        output: &[Field("count", "integer"), Field("snapshots", "array")],
        nature: Nature::Reads,
        profile: Profile::WorkspaceFull,
    },
    Definition {
        name: "snapshot_delete",
        title: "Delete a snapshot",
        about: "Delete a snapshot, for good.",
        parameters: &[WORKSPACE, NAME],
        output: &[Field("snapshot_name", "string"), Field("deleted", "boolean")],
        nature: Nature::Destroys,
        profile: Profile::WorkspaceFull,
    },
];
