"""What the node answers, as typed dictionaries.

Written by `python/tools/generate_payloads.py` from `host/node/openapi.json`: do not edit.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

__all__ = [
    "BuildEvent",
    "CreatedSnapshot",
    "DeletedEnvironment",
    "DeletedService",
    "DeletedSnapshot",
    "DeletedWorkspace",
    "DiffEntry",
    "DiffMark",
    "DiffResult",
    "DiffSummary",
    "DiskContent",
    "DiskList",
    "DiskUsage",
    "DownResult",
    "DownService",
    "DownServices",
    "EditedFile",
    "Environment",
    "EnvironmentCatalog",
    "ErrorBody",
    "Exec",
    "ExecList",
    "ExecLogEntry",
    "ExecResult",
    "FileContent",
    "FileEntry",
    "FileList",
    "FileStatus",
    "GivenFile",
    "ImportedEnvironment",
    "ListeningPort",
    "LogBytes",
    "ManifestNeeds",
    "ManifestRequest",
    "NamedEnvFile",
    "NetworkDenied",
    "NetworkLogEntry",
    "NetworkProcess",
    "NetworkStatus",
    "NodeStatus",
    "NodeStopped",
    "PatchResult",
    "PatchSummary",
    "PatchedFile",
    "Port",
    "PortList",
    "PortPublication",
    "PrunedEnvironments",
    "PrunedWorkspaces",
    "PublishPort",
    "PublishPorts",
    "PublishedPort",
    "PublishedPorts",
    "RemovedFile",
    "ResetResult",
    "RestartService",
    "RunResult",
    "SearchMatch",
    "SearchResult",
    "Seed",
    "SeedChoice",
    "Service",
    "ServiceExit",
    "ServiceList",
    "ServiceLogEntry",
    "ServiceLogs",
    "ServiceProbe",
    "SetNetwork",
    "SignalService",
    "Snapshot",
    "SnapshotList",
    "StartService",
    "StartedService",
    "StopService",
    "Terminal",
    "UnpackedFiles",
    "UnpublishPorts",
    "UnpublishedPorts",
    "UpResult",
    "UpService",
    "UpServices",
    "VmCleanup",
    "Workspace",
    "WorkspaceDiskUsage",
    "WorkspaceEvent",
    "WorkspaceLastCommand",
    "WorkspaceList",
    "WorkspaceLogs",
    "WorkspaceReset",
    "WorkspaceSeed",
    "WorkspaceSummary",
    "WrittenFile",
]


class BuildEventProgress(TypedDict):
    """Something is being done."""

    fraction: float | None
    """0 to 1 where it is known."""

    message: str
    """What."""

    type: Literal["progress"]


class BuildEventDone(TypedDict):
    """It is built (or was up to date)."""

    built: bool
    """Whether anything had to be built."""

    environment: Environment
    """What is installed now."""

    type: Literal["done"]


class BuildEventProblem(TypedDict):
    """It failed; nothing was changed."""

    problem: dict[str, Any]
    """Why."""

    type: Literal["problem"]


BuildEvent = BuildEventProgress | BuildEventDone | BuildEventProblem


class CreatedSnapshot(TypedDict):
    """The reply to a create."""

    duration_ms: int
    """How long it took, milliseconds."""

    execution_mode: str
    """`guest_vsock`."""

    snapshot: Snapshot
    """The snapshot."""

    workspace_id: str
    """The workspace."""


class DeletedEnvironment(TypedDict):
    """The reply to a delete of an environment's name."""

    count: int
    """How many that are: one or none."""

    deleted: bool
    """`true`."""

    deleted_environment_dirs: list[str]
    """Its image, unless another name or a workspace needs it."""

    freed_bytes: int | None
    """What that freed on the host's disk, in bytes."""

    name: str
    """The name."""


class DeletedService(TypedDict):
    """The reply to a delete."""

    deleted: bool
    """Always true."""

    service_name: str
    """What was deleted."""

    workspace_id: str
    """Where it was."""


class DeletedSnapshot(TypedDict):
    """The reply to a delete."""

    deleted: bool
    """Always true."""

    snapshot_name: str
    """What was deleted."""

    workspace_id: str
    """The workspace."""


class DeletedWorkspace(TypedDict):
    """The reply to a delete."""

    deleted: bool
    """Always true."""

    reason: str
    """`explicit_delete`."""

    workspace_id: str
    """What was deleted."""


class DiffEntry(TypedDict):
    """A path that is different."""

    artifact_type: str
    """`file`, `directory`, `symlink` or `other`: what it is, or was where it is gone."""

    binary: bool
    """Its content is no text."""

    link_target: str | None
    """Of a symlink."""

    marks: list[DiffMark] | None
    """Why it is worth a second look."""

    mode: str | None
    """Permissions in octal; null where it is gone."""

    old_link_target: str | None
    """Of what was a symlink."""

    old_mode: str | None
    """Permissions it had; null where it is new."""

    old_path: str | None
    """Of a renamed one: the path it had."""

    old_sha256: str | None
    """The same of what it was."""

    old_size_bytes: int | None
    """Bytes it had; null where it is new."""

    path: str
    """Relative to `/workspace`."""

    path_base64: str | None
    """The path's bytes, where they are no UTF-8."""

    sha256: str | None
    """SHA-256 of its content, in hexadecimal, where it is binary or that was asked for."""

    size_bytes: int | None
    """Bytes; null where it is gone."""

    status: str
    """`added`, `modified`, `deleted`, `type_changed`, or `renamed`."""

    text_patch: str | None
    """Its patch, where it is text."""

    text_patch_left_out: bool | None
    """There would be a patch, but it is too long."""


class DiffMark(TypedDict):
    """Why a change is worth a second look."""

    code: str
    """Stable: `new_executable`, `link_leaves_tree`, `git_hook`, ..."""

    reason: str
    """The same in words."""


_DiffResult = TypedDict("_DiffResult", {"from": str})


class DiffResult(_DiffResult):
    """What is different."""

    changed: bool
    """Whether anything is."""

    entries: list[DiffEntry]
    """By path."""

    notices: list[str] | None
    """What else there is to say."""

    patch: str
    """The patches of all entries, as `git apply` takes them."""

    summary: DiffSummary
    """Counts."""

    to: str
    """What it is: `now`, or a snapshot's name."""

    truncated: bool
    """There is more than was told, or patches were left out for their length."""

    workspace_id: str
    """The workspace."""


class DiffSummary(TypedDict):
    """Counts of what is different."""

    added: int
    """New."""

    deleted: int
    """Gone."""

    modified: int
    """Changed in content, mode or link."""

    non_text: int
    """Those without."""

    renamed: int
    """Under another name; only where renames were asked for."""

    text_patched: int
    """Those with a patch."""

    total: int
    """All."""

    type_changed: int
    """Something else than it was: a directory that was a file."""


class DiskContent(TypedDict):
    """A file of a stopped workspace, or a part of it."""

    bytes_read: int
    """How many bytes were read."""

    content: str
    """UTF-8, with replacement characters where it is none."""

    content_base64: str | None
    """The content's bytes, where they are no UTF-8."""

    max_bytes: int
    """The most that was to be read."""

    mode: str
    """Permissions in octal."""

    offset: int
    """Of its first byte."""

    path: str
    """Absolute."""

    path_base64: str | None
    """The path's bytes, where they are no UTF-8."""

    size_bytes: int
    """Of the whole file."""

    truncated: bool
    """There is more behind it."""

    workspace_id: str
    """The workspace."""


class DiskList(TypedDict):
    """What is in a directory of a stopped workspace."""

    entries: list[FileEntry]
    """Depth first, siblings sorted by their bytes."""

    path: str
    """Absolute."""

    recursive: bool
    """Whether directories in it were gone into."""

    truncated: bool
    """There is more than was told."""

    workspace_id: str
    """The workspace."""


class DiskUsage(TypedDict):
    """What the host's disk is used for."""

    environments: list[Environment]
    """Each environment."""

    free_bytes: int
    """Bytes still free where the state directory is."""

    image_bytes: int
    """Bytes of environments, kernels and boot files."""

    seed_bytes: int | None
    """Bytes of seeds, which are among those of images."""

    workspace_bytes: int
    """Bytes of all workspaces."""

    workspaces: list[WorkspaceDiskUsage]
    """Each workspace, largest first."""


class DownResult(TypedDict):
    """What came of a down."""

    count: int
    """How many services are told of."""

    services: list[DownService]
    """Each, by name."""

    stopped_count: int
    """How many of them ran."""

    workspace_id: str
    """The workspace."""


class DownService(TypedDict):
    """A service after a down."""

    action: str
    """`stopped`, or `unchanged` where it did not run."""

    service: Service
    """As it stands."""

    service_name: str
    """Its name."""


class DownServices(TypedDict):
    """Stops the services that came from a file."""

    file: str | None
    """From which: its name, or its path in the workspace. Default: from any."""

    services: list[str] | None
    """Only these. Default: all."""


class EditedFile(TypedDict):
    """A file in which text was replaced."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    path: str
    """Absolute."""

    replacements: int
    """How many places were changed."""

    size_bytes: int
    """Of the file as it is now."""

    workspace_id: str
    """The workspace."""


class Environment(TypedDict):
    """An environment."""

    cache_dir: str
    """The image cache."""

    catalog_version: str
    """The catalogue it is from."""

    compatibility: str
    """Which guests it works with."""

    default_packages: list[str]
    """Packages it is known for."""

    description: str
    """What it is for."""

    distribution: str
    """For example `debian`."""

    distribution_version: str
    """For example `12`."""

    install_dir: str
    """Where it is, or would be."""

    install_manifest: dict[str, Any]
    """What is installed; null where it is not."""

    installed: bool
    """Whether it is here."""

    name: str
    """For example `debian:12`."""

    oci_reference: str | None
    """Null: registries come later."""

    oci_registry: str | None
    """Null: registries come later."""

    oci_repository: str | None
    """Null: registries come later."""

    platform: str
    """`linux-x86_64`."""

    size_bytes: int
    """Bytes it occupies on the host."""

    source: str | None
    """`built`, `imported` or null."""

    source_digest: str | None
    """SHA-256 of the root image, once it is installed."""

    version: str
    """Its version."""


class EnvironmentCatalog(TypedDict):
    """The payload of `env list --json`."""

    catalog_version: str
    """The catalogue's version."""

    environments: list[Environment]
    """Catalogue entries first, then imported ones, each sorted by name."""


class ErrorBody(TypedDict):
    """An error as every HTTP route answers it, and as `--json` prints it."""

    causes: list[str] | None
    """The causes alone, outermost first."""

    code: str
    """Stable, in snake_case."""

    error: str
    """One clear line, with its causes."""

    hints: list[str]
    """What to do next."""

    kind: str
    """The family: `invalid`, `not_found`, `conflict`, `not_available` or `failed`."""

    ok: bool
    """Always false."""


class Exec(TypedDict):
    """An exec without its output."""

    cancelled: bool
    """Whether a caller's cancel ended it."""

    command: str
    """The text, or the arguments joined with shell quoting."""

    cpu_seconds: float
    """CPU time it used, seconds."""

    cwd: str
    """Where it was started."""

    detached: bool
    """Whether nobody needs to stay attached."""

    duration_ms: int
    """Start to end, or to now."""

    ended_at: float | None
    """When it ended."""

    exec_id: str
    """Identifies it."""

    exit_code: int | None
    """Null while it runs, when it was lost, and never a guess; 128+N when signal N ended it."""

    left_behind: int
    """Processes it left behind, which were ended with it."""

    lost: str | None
    """Why there is no exit code though it does not run: `workload_restarted`, `vm_died`,
    `workspace_stopped`.
    """

    memory_peak_bytes: int
    """Its largest memory, bytes."""

    network_denied: list[NetworkDenied] | None
    """What the network policy refused to its workspace while it ran, where it ended badly; at most
    three.
    """

    oom_killed: bool
    """Whether the kernel ended a process of it for want of memory."""

    running: bool
    """Whether it still runs."""

    sequence: int
    """1 for the first command since creation or reset."""

    signal: int | None
    """The signal that ended it."""

    started_at: float
    """When it started."""

    stderr_bytes: int
    """Bytes it wrote to stderr, kept or dropped."""

    stdout_bytes: int
    """Bytes it wrote to stdout, kept or dropped."""

    timed_out: bool
    """Whether its timeout ended it."""

    truncated: bool
    """Whether output was dropped from the middle."""

    workspace_id: str
    """Where it ran."""


class ExecList(TypedDict):
    """Every exec the node knows of a workspace, newest last."""

    count: int
    """How many."""

    execs: list[Exec]
    """The execs."""

    running_count: int
    """How many still run."""

    workspace_id: str
    """The workspace."""


class ExecLogEntry(Exec):
    """One command of the logs."""

    execution_mode: str
    """`guest_vsock`."""

    recorded_at: float
    """When it was recorded."""

    stderr: str
    """UTF-8 with replacement; where it is long, its head and tail."""

    stderr_file: str
    """A name for its stderr."""

    stdout: str
    """UTF-8 with replacement; where it is long, its head and tail."""

    stdout_file: str
    """A name for its stdout."""


class ExecResult(Exec):
    """An exec with its output: the payload of `exec --json`."""

    environment: str
    """The workspace's environment."""

    environment_version: str | None
    """Its version."""

    execution_mode: str
    """`guest_vsock`."""

    lossy: bool
    """Whether a byte had to be replaced in either text."""

    stderr: str
    """UTF-8 with replacement."""

    stdout: str
    """UTF-8 with replacement."""


class FileContent(TypedDict):
    """A file's content, or a part of it."""

    bytes_read: int
    """How many bytes were read."""

    content: str
    """UTF-8, with replacement characters where it is none."""

    content_base64: str | None
    """The content's bytes, where they are no UTF-8."""

    execution_mode: str
    """How the guest was reached."""

    max_bytes: int
    """The most that was to be read."""

    mode: str
    """Permissions in octal."""

    notices: list[str] | None
    """What else there is to say."""

    offset: int
    """Of its first byte."""

    path: str
    """Absolute."""

    size_bytes: int
    """Of the whole file."""

    truncated: bool
    """There is more behind it."""

    workspace_id: str
    """The workspace."""


class FileEntry(TypedDict):
    """A name in a workspace."""

    artifact_type: str
    """`file`, `directory`, `symlink`, or `other`: a pipe, a socket, a device."""

    gid: int
    """Its group's number."""

    link_target: str | None
    """Of a symlink, as it stands there."""

    mode: str
    """Its permissions in octal, as `0644`."""

    modified_at: float
    """When it was last modified."""

    path: str
    """Absolute."""

    path_base64: str | None
    """The path's bytes, where they are no UTF-8."""

    size_bytes: int
    """Of its content; 0 of a directory."""

    uid: int
    """Its owner's number."""


class FileList(TypedDict):
    """What is in a directory."""

    entries: list[FileEntry]
    """Depth first, siblings sorted by their bytes."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    path: str
    """Absolute."""

    recursive: bool
    """Whether directories in it were gone into."""

    truncated: bool
    """There is more than was told."""

    workspace_id: str
    """The workspace."""


class FileStatus(FileEntry):
    """What one path stands for."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    workspace_id: str
    """The workspace."""


class GivenFile(TypedDict):
    """A file of services with what it needs of where it lies."""

    dot_env: str | None
    """The text of `.env` beside it: variables where `variables` has none."""

    env_files: dict[str, str | None] | None
    """Texts of the files of variables that it names, by path as it gives them; null: not there."""

    name: str
    """Its name; the ending says what it is: `.toml`, or `.yaml` or `.yml` for a compose file."""

    text: str
    """Its text."""


class ImportedEnvironment(Environment):
    """The reply to an import."""

    bytes_read: int
    """Bytes of tar that were read."""


class ListeningPort(TypedDict):
    """Where a process listens."""

    address: str
    """An address of the guest; `0.0.0.0` and `::` mean all."""

    port: int
    """The port."""


class LogBytes(TypedDict):
    """Bytes of both streams."""

    stderr: int
    """Of stderr."""

    stdout: int
    """Of stdout."""


class ManifestNeeds(TypedDict):
    """What a file of services needs of where it lies."""

    env_files: list[NamedEnvFile]
    """Files of variables it names: absolute, or relative to it."""

    variables: list[str]
    """Variables it names."""


class ManifestRequest(TypedDict):
    """Asks what a file of services needs of where it lies."""

    dot_env: str | None
    """The text of `.env` beside it."""

    name: str
    """Its name."""

    text: str
    """Its text."""

    variables: dict[str, str] | None
    """Values of variables, as far as they are known: paths may have some."""


class NamedEnvFile(TypedDict):
    """A file of variables."""

    path: str
    """Where it is."""

    required: bool
    """Whether it is an error where it is not there."""


class NetworkDenied(TypedDict):
    """Something that the network policy refused."""

    hint: str
    """The flag that would allow it, of `pyro create` and `pyro workspace network set`."""

    why: str
    """Why, for people."""


class NetworkLogEntry(TypedDict):
    """Something that a workspace wanted to reach. Repetitions in a row are one entry."""

    address: str | None
    """The address."""

    at: float
    """When; of repetitions the last. Unix seconds."""

    count: int
    """How often, in a row."""

    first_at: float
    """When it was so for the first time. Unix seconds."""

    hint: str | None
    """The flag that would allow it."""

    name: str | None
    """The name that was looked up, that the address belongs to, or that was claimed."""

    port: int | None
    """The port."""

    process: NetworkProcess | None

    protocol: str
    """`tcp` (a connection) or `dns` (a look-up)."""

    reason: str | None
    """Why not, for programs: `network_off`, `not_allowed`, `port_not_allowed`, `special_address`,
    `local_name`, `invalid_name`, `no_server_name`, `other_server_name`, `other_host`,
    `other_protocol`, `malformed`, `policy_changed`, `host_unknown`.
    """

    rule: str | None
    """The rule that let it through."""

    seq: int
    """Grows by one with each entry and each repetition: a cursor."""

    verdict: str
    """`allowed`, `denied`, `failed` (allowed, and it did not work) or `closed` (by a change of the
    policy).
    """

    why: str | None
    """Why not, for people."""


class NetworkProcess(TypedDict):
    """A process of a workspace."""

    name: str
    """What it is called."""

    pid: int
    """Its id within the workspace."""


class NetworkStatus(TypedDict):
    """What a workspace may reach, and what it does."""

    buffer_bytes: int
    """Bytes of memory that its connections take on the host now."""

    bytes_received: int
    """Bytes that came in since the node began."""

    bytes_sent: int
    """Bytes that went out since the node began."""

    closed_connections: int
    """Of a change: connections that it ended, because they no longer fit."""

    connections: int
    """Connections that were opened since the node began."""

    denied: int
    """Connections and look-ups that were refused since the node began."""

    memory_bound_bytes: int
    """The most memory on the host that they can take."""

    network_allow: list[str]
    """What it may reach besides."""

    network_enabled: bool
    """Whether it has a network: its policy, or a rule, lets it reach something."""

    network_policy: str
    """`off`, `egress` or `egress+published-ports`."""

    open_connections: int
    """Connections that are open or being opened."""

    queries: int
    """Look-ups of names since the node began."""

    workspace_id: str
    """Whose it is."""


class NodeStatus(TypedDict):
    """The node as it stands."""

    cache_directory: str
    """The image cache."""

    idle_exit_seconds: int | None
    """Seconds without anything to watch after which it exits; null: never."""

    pid: int
    """Its process."""

    started_at: float
    """When it started."""

    started_count: int
    """Workspaces that are started."""

    state_directory: str
    """Its state directory."""

    version: str
    """pyro's version."""

    warm_count: int
    """VMs that are started and nobody's yet (`PYRO_WARM_VMS`)."""

    workspace_count: int
    """Workspaces there are."""


class NodeStopped(TypedDict):
    """The reply to a stop."""

    pid: int
    """The process that ends."""

    started_count: int
    """Workspaces that go on running without it."""

    stopping: bool
    """Always true."""


class PatchResult(TypedDict):
    """What a patch changed."""

    changed: bool
    """Whether anything is different now."""

    checked: bool
    """It was only looked at what would be."""

    entries: list[PatchedFile]
    """File by file."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    patch: str
    """The patch, as it came."""

    summary: PatchSummary
    """Counts."""

    workspace_id: str
    """The workspace."""


class PatchSummary(TypedDict):
    """Counts of what a patch changed."""

    added: int
    """New ones."""

    deleted: int
    """Those that are gone."""

    modified: int
    """Changed ones, renamed ones with them."""

    total: int
    """Files."""


class PatchedFile(TypedDict):
    """A file that a patch changed."""

    mended_hunks: int
    """Hunks that were found elsewhere than they said, or needed mending."""

    old_path: str | None
    """Of a renamed one."""

    path: str
    """Absolute."""

    status: str
    """`added`, `modified`, `deleted` or `renamed`."""


class Port(TypedDict):
    """A port of a workspace."""

    guest_port: int
    """Its number."""

    listening_addresses: list[str]
    """The guest's addresses on which somebody listens; `0.0.0.0` and `::` mean all."""

    protocol: str
    """`tcp`."""

    published: PortPublication | None

    service: str | None
    """The service that listens on it, or that it is published with; null: none."""


class PortList(TypedDict):
    """The ports of a workspace, by number."""

    count: int
    """How many."""

    ports: list[Port]
    """One for each place where a port is published, one for each port that is only listened on."""

    workspace_id: str
    """The workspace."""


class PortPublication(TypedDict):
    """Where a port is published, and how that stands."""

    connections: int
    """Connections that go through it now."""

    host: str
    """The host's address; 127.0.0.1 stands for localhost, ::1 too."""

    host_port: int
    """The port of the host."""

    reason: str | None
    """Why it is not listened on."""

    state: str
    """`listening`; `released`: not taken now, and taken again when the workspace or service is
    started; `failed`: it could not be taken.
    """


class PrunedEnvironments(TypedDict):
    """The reply to a prune."""

    count: int
    """How many of them."""

    deleted_environment_dirs: list[str]
    """Images of environments that were deleted."""

    deleted_initramfs_dirs: list[str] | None
    """Initramfs archives that were deleted; they are made again when they are needed."""

    deleted_kernel_dirs: list[str] | None
    """Kernels that were deleted."""

    deleted_seed_dirs: list[str] | None
    """Seeds that were deleted."""

    freed_bytes: int | None
    """What all that freed on the host's disk, in bytes."""


class PrunedWorkspaces(TypedDict):
    """The reply to a prune."""

    count: int
    """How many."""

    deleted_workspace_ids: list[str]
    """What was (or would be) deleted."""

    dry_run: bool
    """Whether it was only said."""

    freed_bytes: int
    """Bytes on the host that this frees."""


class PublishPort(TypedDict):
    """A port that is to be published."""

    guest_port: int
    """The port of the workspace, 1 to 65535."""

    host_port: int | None
    """The port of the host, 1025 to 65535; 0: any that is free; null: the guest's number where it
    can be had, else any.
    """


class PublishPorts(TypedDict):
    """Publishes ports of a workspace on the host: all of them or none."""

    bind: str | None
    """The host's address to listen on; null: localhost, 127.0.0.1 and ::1."""

    ports: list[PublishPort]
    """The ports."""


class PublishedPort(TypedDict):
    """A port of the host that leads to a port of a workspace."""

    guest_port: int
    """The port of the workspace."""

    host: str
    """The host's address; 127.0.0.1 stands for localhost, ::1 too."""

    host_port: int
    """The port of the host."""

    protocol: str
    """`tcp`."""


class PublishedPorts(TypedDict):
    """The reply to a publish."""

    notices: list[str]
    """What the caller should know, for example that others than this host may connect."""

    published_ports: list[PublishedPort]
    """The ports that were asked for, in that order; those that were published before too."""

    workspace_id: str
    """The workspace."""


class RemovedFile(TypedDict):
    """A file or a directory that is gone."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    path: str
    """Absolute."""

    removed: bool
    """Always true."""

    workspace_id: str
    """The workspace."""


class Workspace(TypedDict):
    """A workspace."""

    accelerated: bool
    """Whether hardware virtualisation runs it."""

    activity: str | None
    """What is being done to it: `creating`, `starting`, `stopping`, `resetting`, `deleting`, or
    null.
    """

    allow_host_compat: bool
    """Always false."""

    backend: str
    """`firecracker` or `qemu`."""

    command_count: int
    """Commands since creation or reset."""

    created_at: float
    """When it was made."""

    disk_bytes: int
    """Bytes its disk and its snapshots occupy on the host."""

    disk_mib: int
    """Apparent size of its disk, MiB."""

    environment: str
    """Its environment's name."""

    environment_version: str | None
    """Its environment's version."""

    execution_mode: str
    """`guest_vsock`, or `pending` before its first start."""

    expires_at: float | None
    """When it expires unless it is used before."""

    guest_ip: str | None
    """Its address within itself; null without a network. It cannot be reached by it."""

    labels: dict[str, str]
    """Discovery labels, sorted by key."""

    last_activity_at: float
    """When it was last used."""

    last_command: WorkspaceLastCommand | None

    last_reset_at: float | None
    """When it was last reset."""

    mem_mib: int
    """Memory, MiB."""

    metadata: dict[str, str]
    """Free for the node's notes."""

    name: str | None
    """Discovery name."""

    network_allow: list[str] | None
    """What it may reach besides."""

    network_enabled: bool
    """Whether it has a network: its policy, or a rule, lets it reach something."""

    network_policy: str
    """`off`, `egress` or `egress+published-ports`."""

    on_expiry: str
    """`stop` or `delete`."""

    reset_count: int
    """How often it was reset."""

    running_service_count: int
    """Services that run."""

    secrets: list[dict[str, Any]]
    """Always empty so far."""

    service_count: int
    """Services it has."""

    state: str
    """`started` or `stopped`."""

    stop_detail: str | None
    """More about the stop, one line."""

    stop_reason: str | None
    """Why it is stopped: `requested`, `idle`, `guest_crashed`, `vm_killed`, `keeper_killed`,
    `host_restarted`, `start_failed`; null while it is started.
    """

    tap_name: str | None
    """Always null: there is no interface on the host."""

    ttl_seconds: int | None
    """Idle time after which it expires, seconds."""

    vcpu_count: int
    """Virtual CPUs."""

    workload_restarts: int
    """How often its workload was restarted inside the running VM (`reboot`, or its init died)."""

    workspace_id: str
    """Identifies it."""

    workspace_path: str
    """`/workspace`."""

    workspace_seed: WorkspaceSeed
    """What `/workspace` began with."""


class ResetResult(Workspace):
    """A workspace that was reset, and what to."""

    workspace_reset: WorkspaceReset
    """What it was reset to."""


class RestartService(TypedDict):
    """Begins a new run of a service."""

    no_start: bool | None
    """Do not start a stopped workspace for this; fail instead."""

    no_wait: bool | None
    """Answer at once, rather than when it is ready or cannot be any more."""


class RunResult(ExecResult):
    """The payload of `run --json`."""

    cleanup: VmCleanup
    """What became of the VM."""

    vm_id: str
    """The VM, deleted by now."""


class SearchMatch(TypedDict):
    """A line that was found, or one beside it."""

    context: bool
    """It only stands beside one that was found."""

    line: str
    """Without its end; of a very long one a part."""

    line_number: int | None
    """1 for the first; null where only names were asked for."""

    path: str
    """Absolute."""

    path_base64: str | None
    """The path's bytes, where they are no UTF-8."""


class SearchResult(TypedDict):
    """Lines that were found."""

    count: int
    """How many lines, or names, were found."""

    execution_mode: str
    """How the guest was reached."""

    files_searched: int
    """How many files were looked into."""

    matches: list[SearchMatch]
    """By path and line."""

    notices: list[str] | None
    """What else there is to say."""

    path: str
    """Where was looked."""

    pattern: str
    """What for."""

    truncated: bool
    """There may be more than was told."""

    workspace_id: str
    """The workspace."""


class Seed(TypedDict):
    """A seed of this node."""

    bytes_written: int
    """Bytes of file content, without holes."""

    entry_count: int
    """Files, directories and links."""

    image_bytes: int
    """Bytes of its image."""

    reused: bool
    """Whether it was there before."""

    seed: str
    """Its digest."""


class SeedChoice(TypedDict):
    """The seed that a workspace begins with."""

    digest: str
    """Its digest."""

    mode: str
    """`directory`, `tar_archive` or `git`: what it was made from."""

    reused: bool | None
    """Whether it was there, so that nothing was sent; as it is to be shown."""

    seed_path: str | None
    """Where that lay, as it is to be shown; the node does not look there."""


class Service(TypedDict):
    """A service."""

    command: str
    """The text, or the arguments joined with shell quoting."""

    cpu_seconds: float
    """CPU time of this run."""

    cwd: str
    """Where it is started."""

    depends_on: dict[str, str]
    """What it needs of others: `started`, `ready` or `completed`."""

    detail: str | None
    """More about it, one line."""

    ended_at: float | None
    """When it ended."""

    execution_mode: str
    """`guest_vsock`."""

    exit_code: int | None
    """Of the newest run, once it ended; 128+N when signal N ended it."""

    health: str | None
    """`passing` or `failing`; null where nobody looks, or not yet."""

    last_exit: ServiceExit | None

    last_probe: ServiceProbe | None

    listening_ports: list[ListeningPort]
    """Addresses and ports its processes listen on."""

    log_bytes: LogBytes
    """Bytes it wrote, kept or dropped."""

    memory_bytes: int
    """Memory of all its processes."""

    pid: int | None
    """Its main process, as its workspace sees it."""

    published_ports: list[PublishedPort]
    """Ports that are published on the host for as long as it runs."""

    readiness: dict[str, Any] | None
    """How it is found out that it is ready."""

    ready: bool
    """Whether a probe of this run passed, or it needs none and has run for a moment."""

    ready_at: float | None
    """When that was ready."""

    restart_count: int
    """Restarts by policy since it was last started."""

    restart_policy: str
    """`no`, `on-failure`, `always` or `unless-stopped`."""

    revision: int
    """Counts its state changes, each of which is an event: who follows them and sees every number
    has missed none.
    """

    service_name: str
    """Its name."""

    source: str | None
    """The file it was last started from by `up`; null where it was started by itself."""

    started_at: float | None
    """Beginning of its newest run."""

    state: str
    """`starting`, `running`, `backoff`, `exited`, `failed` or `stopped`."""

    status_text: str | None
    """What it last said of itself (sd_notify)."""

    stop_reason: str | None
    """Why it does not run: `process_exited_before_ready`, `readiness_timeout`, `sigterm`,
    `sigkill` (or another signal that was asked for), `workspace_stopped`, `workspace_crashed`,
    `health_check_failed`, `restart_limit`, `dependency_failed`, `start_failed`, or how the
    workspace's machine ended. Null while it runs, and where it ended by itself.
    """

    stopping: bool
    """Whether it is being stopped."""

    waiting_for: list[str]
    """Those that hold it up."""

    workspace_id: str
    """Where it is."""


class ServiceExit(TypedDict):
    """How a run ended."""

    ended_at: float
    """When."""

    exit_code: int | None
    """Null when a signal ended it."""

    oom_killed: bool
    """Whether the kernel ended a process of it for want of memory."""

    signal: int | None
    """The signal that ended it."""


class ServiceList(TypedDict):
    """The services of a workspace, by name."""

    count: int
    """How many."""

    running_count: int
    """How many run."""

    services: list[Service]
    """The services."""

    workspace_id: str
    """The workspace."""


class ServiceLogEntry(TypedDict):
    """A piece of a log: one document of the NDJSON stream."""

    at_micros: int
    """When it came, microseconds since the Unix epoch."""

    hex: str | None
    """The bytes in hexadecimal, where they are not UTF-8."""

    offset: int
    """Position of its first byte in both streams together."""

    stream: str
    """`stdout` or `stderr`."""

    text: str | None
    """UTF-8; null where it is none."""


class ServiceLogs(Service):
    """A service with the end of its log."""

    stderr: str
    """UTF-8 with replacement."""

    stdout: str
    """UTF-8 with replacement."""

    tail_lines: int | None
    """How many lines of each were asked for; null: all."""

    truncated: bool
    """Whether there was more than this."""


class ServiceProbe(TypedDict):
    """What a probe saw."""

    at: float
    """When."""

    result: str
    """In words."""


class SetNetwork(TypedDict):
    """Changes what a workspace may reach, at once."""

    add: bool | None
    """Keep the rules that there are and add these."""

    network_allow: list[str] | None
    """What it may reach besides: names, wildcards, addresses or networks, each with a port or
    without.
    """

    network_policy: str | None
    """`off`, `egress` or `egress+published-ports`; null: as it is with `add`, else `off`."""


class SignalService(TypedDict):
    """Sends a signal to a service."""

    signal: str
    """A name with or without `SIG`, or a number."""

    whole_tree: bool | None
    """To every process of it, rather than to its main process's group."""


class Snapshot(TypedDict):
    """What a workspace's disk was at some time."""

    by_reflink: bool
    """Whether it shares its blocks with the workspace's disk, as some file systems can."""

    bytes_written: int
    """Bytes of it that are in use."""

    created_at: float
    """When it was taken."""

    deletable: bool
    """Whether it can be deleted: all but the baseline."""

    entry_count: int
    """Files, directories and links on its disk, the disk's own among them."""

    frozen_ms: float
    """How long whoever wrote to the disk was held up for it, milliseconds."""

    kind: str
    """`named`, or `baseline`: what the workspace was when it was made."""

    snapshot_name: str
    """Its name."""

    workspace_id: str
    """The workspace."""


class SnapshotList(TypedDict):
    """The snapshots of a workspace: the baseline first, then the newest first."""

    count: int
    """How many."""

    snapshots: list[Snapshot]
    """The snapshots."""

    workspace_id: str
    """The workspace."""


class StartService(TypedDict):
    """Starts a service. One that runs as it should is left alone; one that ended gets a new run."""

    no_start: bool | None
    """Do not start a stopped workspace for this; fail instead."""

    no_wait: bool | None
    """Answer at once, rather than when it is ready or cannot be any more."""

    published_ports: list[PublishPort] | None
    """Ports that are published on the host for as long as it runs; none: as they were."""

    replace: bool | None
    """Where it runs as something else: stop that and start this."""

    secret_env: dict[str, str] | None
    """Not available yet."""

    service: dict[str, Any]
    """What it is: `name`, `command` and, as wanted, `cwd`, `env`, `user`, `readiness`,
    `ready_timeout_seconds`, `ready_interval_ms`, `on_ready_timeout`, `restart`,
    `restart_limit`, `stop_signal`, `stop_grace_seconds`, `health`, `depends_on`,
    `log_limit_bytes`.
    """


class StartedService(Service):
    """What came of a start, a restart or a wait."""

    failure: ErrorBody | None

    log_tail: list[str]
    """Where it did not become ready: its last lines of output."""

    notices: list[str]
    """What the caller should know, for example that the workspace was started for it."""

    unchanged: bool
    """It ran already, as it should."""


class StopService(TypedDict):
    """Stops a service."""

    grace_seconds: float | None
    """Another time between it and KILL; 0: KILL at once."""

    signal: str | None
    """Another signal than its own: a name with or without `SIG`, or a number."""


class Terminal(TypedDict):
    """A terminal's size in characters."""

    columns: int
    """Columns."""

    rows: int
    """Rows."""


class UnpackedFiles(TypedDict):
    """What became of files that were sent."""

    bytes_written: int
    """Bytes of content."""

    destination: str
    """Where they are, absolute."""

    entry_count: int
    """How many names."""

    execution_mode: str
    """How the guest was reached."""

    notices: list[str] | None
    """What else there is to say."""

    removed_count: int
    """Names that were removed, because they did not come."""

    workspace_id: str
    """The workspace."""


class UnpublishPorts(TypedDict):
    """Takes published ports back: all of them or none."""

    ports: list[int]
    """Ports of the host; a number that is none of these is a port of the workspace."""


class UnpublishedPorts(TypedDict):
    """The reply to an unpublish."""

    unpublished_ports: list[PublishedPort]
    """What is not published any more."""

    workspace_id: str
    """The workspace."""


class UpResult(TypedDict):
    """What came of an up."""

    count: int
    """How many services are told of."""

    failed_count: int
    """How many of them are not as they should be."""

    failure: ErrorBody | None

    file: str
    """The file, as its services know it."""

    notices: list[str]
    """What the caller should know, for example what of the file was ignored."""

    services: list[UpService]
    """Each, after those it depends on; then orphans."""

    timed_out: bool
    """Whether the time to wait was over first."""

    workspace_id: str
    """The workspace."""


class UpService(TypedDict):
    """What was done about a service."""

    action: str
    """`started`, `restarted`, `unchanged`, `failed`; of one that is not in the file any more
    `orphaned`, or `stopped`.
    """

    failure: ErrorBody | None

    log_tail: list[str]
    """Where it did not become ready: its last lines of output."""

    service: Service | None

    service_name: str
    """Its name."""


class UpServices(TypedDict):
    """Makes the services of a workspace what a file declares: those that run as they should are
    left
    """

    file: GivenFile | None

    no_start: bool | None
    """Do not start a stopped workspace for this; fail instead."""

    no_wait: bool | None
    """Answer at once, rather than when each is ready or cannot be any more."""

    path: str | None
    """Where it is in the workspace instead; a relative path is under `/workspace`. Default: the
    first of `pyro.toml`, `compose.yaml`, `compose.yml`, `docker-compose.yaml` and
    `docker-compose.yml` that is there. Files it names are read beside it.
    """

    remove_orphans: bool | None
    """Stop those that came from the file before and are not in it any more."""

    services: list[str] | None
    """Only these, and those they depend on. Default: all."""

    timeout_seconds: float | None
    """Wait for so many seconds at most. Default: for as long as each may take."""

    variables: dict[str, str] | None
    """Values of variables that it names."""


class VmCleanup(TypedDict):
    """What became of a one-shot VM."""

    deleted: bool
    """Always true."""

    reason: str
    """`post_exec_cleanup`."""

    vm_id: str
    """The VM."""


class WorkspaceDiskUsage(TypedDict):
    """What one workspace occupies on the host."""

    disk_bytes: int
    """Bytes of its workspace disk."""

    name: str | None
    """Its name."""

    record_bytes: int
    """Bytes of its agent disk and of the records kept for it."""

    workspace_id: str
    """The workspace."""


class WorkspaceEvent(TypedDict):
    """A state change: one document of the NDJSON stream."""

    at: float
    """When it happened."""

    cursor: int
    """Where to go on from: give it as `after`."""

    event: str
    """`service_changed` or `service_deleted`."""

    service: Service
    """The service after it."""


class WorkspaceLastCommand(TypedDict):
    """The newest finished command."""

    command: str
    """As `exec` shows it."""

    cwd: str
    """Where it was started."""

    duration_ms: int
    """Start to end."""

    execution_mode: str
    """`guest_vsock`."""

    exit_code: int | None
    """Null when it was lost."""

    sequence: int
    """1 for the first."""


class WorkspaceList(TypedDict):
    """All workspaces: most recently used first."""

    count: int
    """How many."""

    workspaces: list[WorkspaceSummary]
    """The workspaces."""


class WorkspaceLogs(TypedDict):
    """The commands of a workspace with their output, since creation or reset."""

    count: int
    """How many."""

    entries: list[ExecLogEntry]
    """Oldest first."""

    workspace_id: str
    """The workspace."""


class WorkspaceReset(TypedDict):
    """What a workspace was reset to."""

    bytes_written: int
    """Bytes of it that are in use."""

    destination: str
    """`/workspace`."""

    duration_ms: int
    """How long it took, milliseconds."""

    entry_count: int
    """Files, directories and links on that disk."""

    kind: str
    """`baseline` or `named`."""

    snapshot_name: str
    """The snapshot."""


class WorkspaceSeed(TypedDict):
    """What `/workspace` began with."""

    bytes_written: int
    """Bytes of file content."""

    destination: str
    """`/workspace`."""

    entry_count: int
    """Files, directories and links."""

    mode: str
    """`empty`, `directory`, `tar_archive` or `git`."""

    reused: bool | None
    """Whether that was there before, so that nothing was sent."""

    seed_digest: str | None
    """Which seed it is; null where it is empty."""

    seed_path: str | None
    """Where it came from."""


class WorkspaceSummary(TypedDict):
    """A workspace in a list."""

    activity: str | None
    """What is being done to it."""

    backend: str
    """`firecracker` or `qemu`."""

    command_count: int
    """Commands since creation or reset."""

    created_at: float
    """When it was made."""

    environment: str
    """Its environment's name."""

    expires_at: float | None
    """When it expires unless it is used before."""

    labels: dict[str, str]
    """Discovery labels."""

    last_activity_at: float
    """When it was last used."""

    name: str | None
    """Discovery name."""

    running_service_count: int
    """Services that run."""

    service_count: int
    """Services it has."""

    state: str
    """`started` or `stopped`."""

    stop_reason: str | None
    """Why it is stopped."""

    workspace_id: str
    """Identifies it."""


class WrittenFile(TypedDict):
    """A file that was written."""

    bytes_written: int
    """Of what was sent."""

    execution_mode: str
    """How the guest was reached."""

    mode: str
    """Permissions in octal."""

    notices: list[str] | None
    """What else there is to say."""

    path: str
    """Absolute."""

    size_bytes: int
    """Of the file."""

    workspace_id: str
    """The workspace."""
