"""The public surface: what is promised, what is documented, and what the node can do."""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pyro_mcp
import pyro_mcp.api
from pyro_mcp import (
    AsyncFiles,
    AsyncForward,
    AsyncNetwork,
    AsyncPorts,
    AsyncProcess,
    AsyncPyro,
    AsyncService,
    AsyncServices,
    AsyncWorkspace,
    Files,
    Forward,
    Network,
    Ports,
    Process,
    Pyro,
    Service,
    Services,
    Workspace,
)
from pyro_mcp import _calls as calls
from pyro_mcp import _file_calls as files
from pyro_mcp import _wire as wire

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python/src/pyro_mcp"
OPENAPI = json.loads((ROOT / "host/node/openapi.json").read_text())

# The methods that 3.x callers use, with what they may leave out.
CONTRACT = """
list_environments()
pull_environment(environment)
inspect_environment(environment)
prune_environments()
create_vm(*, environment, vcpu_count=1, mem_mib=1024, ttl_seconds=600, network=False, \
allow_host_compat=False)
start_vm(vm_id)
stop_vm(vm_id)
status_vm(vm_id)
exec_vm(vm_id, *, command, timeout_seconds=30)
delete_vm(vm_id)
network_info_vm(vm_id)
reap_expired()
run_in_vm(*, environment, command, vcpu_count=1, mem_mib=1024, timeout_seconds=30, \
ttl_seconds=600, network=False, allow_host_compat=False)
create_workspace(*, environment='debian:12', vcpu_count=1, mem_mib=1024, ttl_seconds=None, \
network_policy='off', allow_host_compat=False, seed_path=None, secrets=None, name=None, labels=None)
list_workspaces()
update_workspace(workspace_id, *, name=None, clear_name=False, labels=None, clear_labels=None)
status_workspace(workspace_id)
stop_workspace(workspace_id)
start_workspace(workspace_id)
delete_workspace(workspace_id)
exec_workspace(workspace_id, *, command, timeout_seconds=30, secret_env=None)
logs_workspace(workspace_id)
push_workspace_sync(workspace_id, source_path, *, dest='/workspace')
export_workspace(workspace_id, path, *, output_path)
diff_workspace(workspace_id)
list_workspace_files(workspace_id, *, path='/workspace', recursive=False)
read_workspace_file(workspace_id, path, *, max_bytes=65536)
apply_workspace_patch(workspace_id, *, patch)
export_workspace_disk(workspace_id, *, output_path)
list_workspace_disk(workspace_id, *, path='/workspace', recursive=False)
read_workspace_disk(workspace_id, path, *, max_bytes=65536)
create_snapshot(workspace_id, snapshot_name)
list_snapshots(workspace_id)
delete_snapshot(workspace_id, snapshot_name)
reset_workspace(workspace_id, *, snapshot='baseline')
start_service(workspace_id, service_name, *, command, cwd='/workspace', readiness=None, \
ready_timeout_seconds=30, ready_interval_ms=500, secret_env=None, published_ports=None)
list_services(workspace_id)
status_service(workspace_id, service_name)
stop_service(workspace_id, service_name)
logs_service(workspace_id, service_name, *, tail_lines=200, all=False)
create_server(*, profile='workspace-full')
"""


def parameters(method: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    found = dict(inspect.signature(method).parameters)
    found.pop("self", None)
    return found


@pytest.mark.parametrize("line", CONTRACT.strip().splitlines())
def test_the_contract_is_kept(line: str) -> None:
    name, _ = line.split("(", 1)
    space: dict[str, Any] = {}
    exec(f"def {line}: pass", space)
    promised = parameters(space[name])
    ours = parameters(getattr(Pyro, name))
    for parameter, promise in promised.items():
        assert ours[parameter].kind == promise.kind, parameter
        assert ours[parameter].default == promise.default, parameter
    for parameter in ours.keys() - promised.keys():
        assert ours[parameter].kind == inspect.Parameter.KEYWORD_ONLY
        assert ours[parameter].default is not inspect.Parameter.empty


def public(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


@pytest.mark.parametrize(
    ("sync", "other"),
    [
        (Pyro, AsyncPyro),
        (Workspace, AsyncWorkspace),
        (Process, AsyncProcess),
        (Service, AsyncService),
        (Services, AsyncServices),
        (Files, AsyncFiles),
        (Ports, AsyncPorts),
        (Network, AsyncNetwork),
        (Forward, AsyncForward),
    ],
)
def test_asyncio_has_the_same_verbs(sync: type, other: type) -> None:
    assert public(sync) == public(other)
    for name in public(sync):
        one, two = getattr(sync, name), getattr(other, name)
        if callable(one):
            # Coroutines are given their time by asyncio.timeout.
            ours = {k: v.default for k, v in parameters(one).items()}
            if (sync, name) == (Process, "wait"):
                ours.pop("timeout")
            assert ours == {k: v.default for k, v in parameters(two).items()}, name


def test_everything_public_is_documented() -> None:
    for name in pyro_mcp.__all__:
        thing = getattr(pyro_mcp, name)
        if inspect.isclass(thing):
            assert thing.__doc__, name
            for member in public(thing):
                value = inspect.getattr_static(thing, member)
                if callable(value) or isinstance(value, property):
                    assert inspect.getdoc(value), f"{name}.{member}"


def tool(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / f"python/tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_payload_types_are_those_of_the_openapi_document() -> None:
    generator = tool("generate_payloads")
    written = (PACKAGE / "payloads.py").read_text()
    assert written == generator.generate(OPENAPI), "run generate_payloads.py"


@pytest.mark.parametrize(
    "name", ["client.py", "files.py", "network.py", "ports.py", "service.py", "workspace.py"]
)
def test_the_blocking_modules_are_those_for_asyncio(name: str) -> None:
    generator = tool("generate_blocking")
    assert name in generator.MODULES
    assert (PACKAGE / name).read_text() == generator.generate(name), "run generate_blocking.py"


def every_call() -> list[wire.Call]:
    return [
        calls.node_status(),
        calls.stop_node(),
        calls.disk_usage(),
        calls.list_environments(),
        calls.inspect_environment("e"),
        calls.delete_environment("e"),
        calls.build_environment("e", True),
        calls.import_environment("e"),
        calls.prune_environments(),
        calls.list_workspaces(),
        calls.create_workspace(
            calls.creation(
                environment="e",
                vcpu_count=1,
                mem_mib=1,
                disk_mib=1,
                ttl_seconds=1,
                on_expiry="stop",
                network_policy="off",
                network_allow=["a"],
                name="n",
                labels={"a": "b"},
                backend="qemu",
            )
        ),
        calls.prune_workspaces(1, True),
        calls.status_workspace("w"),
        calls.update_workspace("w", "n", False, {"a": "b"}, ["c"]),
        calls.delete_workspace("w"),
        calls.start_workspace("w", no_resume=True),
        calls.stop_workspace("w", 1.0),
        calls.logs_workspace("w"),
        calls.network_workspace("w"),
        calls.set_network_workspace("w", "off", ["a"], add=True),
        calls.network_log_workspace("w", 1, follow=True),
        calls.start_exec(
            "w",
            calls.exec_request(
                ["c"],
                cwd="/",
                env={"a": "b"},
                user="u",
                timeout_seconds=1,
                stdin=True,
                detach=True,
                terminal=(80, 24),
                no_start=True,
            ),
        ),
        calls.list_execs("w"),
        calls.status_exec("w", "e"),
        calls.wait_exec("w", "e", 1),
        calls.signal_exec("w", "e", "TERM"),
        calls.attach_exec("w", "e", 1, True),
        calls.connect_port("w", 80, "localhost", True),
        calls.list_ports("w"),
        calls.publish_ports("w", [80, (0, 81)], "::1"),
        calls.unpublish_ports("w", [80]),
        calls.exec_output("w", "e", 1, 2, "stdout"),
        calls.run_in_vm(calls.creation(environment="e"), calls.exec_request("c")),
        calls.list_services("w"),
        calls.manifest_needs("pyro.toml", "t", "A=1", {"B": "2"}),
        calls.up_services(
            "w",
            file={"name": "pyro.toml", "text": "t", "dot_env": "A=1", "env_files": {"e": None}},
            path="p",
            variables={"A": "b"},
            services=["s"],
            remove_orphans=True,
            no_wait=True,
            timeout_seconds=1,
            no_start=True,
        ),
        calls.down_services("w", ["s"], "pyro.toml"),
        calls.start_service(
            "w",
            calls.service_request(
                "s",
                ["c"],
                cwd="/",
                env={"a": "b"},
                user="u",
                readiness={"type": "notify"},
                ready_timeout_seconds=1,
                ready_interval_ms=1,
                on_ready_timeout="keep",
                restart="always",
                restart_limit=1,
                stop_signal="INT",
                stop_grace_seconds=1,
                health={"probe": {"type": "tcp", "address": "a:1"}},
                depends_on=["t"],
                log_limit_bytes=1,
                published_ports=[{"guest_port": 80}],
                replace=True,
                no_wait=True,
                no_start=True,
            ),
        ),
        calls.status_service("w", "s"),
        calls.stop_service("w", "s", "INT", 1.0),
        calls.restart_service("w", "s", True, True),
        calls.wait_service("w", "s", True, 1.0),
        calls.signal_service("w", "s", 1, True),
        calls.delete_service("w", "s"),
        calls.logs_service("w", "s", tail_lines=1, everything=False, since=1.0, stream="stdout"),
        calls.stream_service_logs(
            "w",
            "s",
            tail_lines=1,
            everything=True,
            since=1.0,
            stream="stdout",
            offset=1,
            follow=True,
        ),
        calls.events_workspace("w", 1, True),
        *every_file_call(),
    ]


# Routes that the program speaks: seeds are packed and sent by it.
BY_THE_PROGRAM = {
    ("POST", "/v1/seeds"),
    ("GET", "/v1/seeds/{fingerprint}"),
}


def every_file_call() -> list[wire.Call]:
    return [
        files.list_files("w", "p", True, 1, True),
        files.status_file("w", b"\xff", True, True),
        files.read_file("w", "p", max_bytes=1, offset=1, first_line=1, line_count=1, no_start=True),
        files.write_file(
            "w", "p", text="t", content=b"c", mode=0o755, create_only=True, no_start=True
        ),
        files.edit_file("w", "p", "a", "b", True, True),
        files.move_file("w", "p", "q", True, True),
        files.remove_file("w", "p", True, True),
        files.make_directory("w", "p", "755", True),
        files.search_files(
            "w",
            "x",
            path="p",
            literal=True,
            ignore_case=True,
            globs=["*.py"],
            context=1,
            max_matches=1,
            everything=True,
            names_only=True,
            no_start=True,
        ),
        files.apply_patch("w", "p", "b", True, True),
        *(
            files.diff_workspace(
                "w",
                paths=["a", "b"],
                renames=True,
                summary_only=True,
                digests=True,
                max_patch_bytes=1,
                max_total_bytes=1,
                since="s",
                until="t",
                no_start=True,
                raw=raw,
            )
            for raw in (False, True)
        ),
        files.push_archive("w", "p", True, True),
        files.export_archive("w", "p", True, ["a", "b"], True),
        files.list_disk("w", "p", True, 1),
        files.read_disk("w", "p", 1, 1),
        files.export_disk("w"),
        files.list_snapshots("w"),
        files.create_snapshot("w", "s"),
        files.delete_snapshot("w", "s"),
        files.reset_workspace("w", "s", True),
    ]


def routes() -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, operations in OPENAPI["paths"].items()
        for method, operation in operations.items()
        if method in {"get", "post", "patch", "put", "delete"}
    }


def route_of(call: wire.Call) -> tuple[str, str]:
    path = call.target.split("?")[0]
    fitting = [
        route
        for method, route in routes()
        if method == call.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", route), path)
    ]
    # A fixed segment goes before one that is named.
    return call.method, min(fitting, key=lambda route: route.count("{"))


def test_every_route_has_a_verb_and_every_verb_a_route() -> None:
    reached = {route_of(call) for call in every_call()}
    assert reached == set(routes()) - {("GET", "/v1/openapi.json")} - BY_THE_PROGRAM


def test_what_is_sent_is_what_the_routes_take() -> None:
    schemas = OPENAPI["components"]["schemas"]
    for call in every_call():
        operation = routes()[route_of(call)]
        names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        query = call.target.partition("?")[2]
        sent = {pair.split("=")[0] for pair in query.split("&") if pair}
        assert sent <= names, call.name
        if isinstance(call.document, dict):
            content = operation["requestBody"]["content"]
            (schema,) = [one["schema"]["$ref"].rsplit("/", 1)[1] for one in content.values()]
            assert call.document.keys() <= schemas[schema]["properties"].keys(), call.name
    # Each parameter of each body is one a caller can give.
    (created,) = [c.document for c in every_call() if c.name == "POST /v1/workspaces"]
    assert created.keys() == schemas["CreateWorkspace"]["properties"].keys() - {"seed"}
    (started,) = [c.document for c in every_call() if c.name == "POST /v1/workspaces/w/execs"]
    assert started.keys() == schemas["ExecRequest"]["properties"].keys()
    (service,) = [c.document for c in every_call() if c.name == "POST /v1/workspaces/w/services"]
    # Refused here already.
    planned = {"secret_env"}
    assert service.keys() == schemas["StartService"]["properties"].keys() - planned
    for call in every_file_call():
        operation = routes()[route_of(call)]
        query = call.target.partition("?")[2]
        sent = {pair.split("=")[0] for pair in query.split("&") if pair}
        names = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        if isinstance(call.document, dict):
            content = operation["requestBody"]["content"]
            (schema,) = [one["schema"]["$ref"].rsplit("/", 1)[1] for one in content.values()]
            sent, names = set(call.document), set(schemas[schema]["properties"])
        # Of each two that tell the same, one goes.
        others = {name for name in names if f"{name}_base64" in names and name not in sent}
        others |= {name for name in names if name.endswith("_base64") and name not in sent}
        # Those of another route with the same query.
        elsewhere = {
            "/files": {"follow"},
            "/files/status": {"recursive", "max_entries"},
        }.get(call.target.partition("?")[0].removeprefix("/v1/workspaces/w"), set())
        assert sent == names - others - elsewhere, call.name
    described = re.findall(
        r"`(\w+)`", schemas["StartService"]["properties"]["service"]["description"]
    )
    assert service["service"].keys() == set(described)


def test_every_code_is_documented() -> None:
    documented = (ROOT / "docs/errors.md").read_text() + (ROOT / "docs/python.md").read_text()
    for path in PACKAGE.glob("*.py"):
        for code in re.findall(r'code="(\w+)"', path.read_text()):
            assert f"`{code}`" in documented, f"{code} of {path.name}"


def test_the_version_is_that_of_the_crates() -> None:
    def version(name: str) -> str:
        found = re.search(r'^version = "(.+)"$', (ROOT / name).read_text(), re.MULTILINE)
        assert found is not None
        return found[1]

    crates, distribution = version("Cargo.toml"), version("pyproject.toml")
    python = re.sub(r"-(a|b|rc)\w*\.", r"\1", crates)
    assert pyro_mcp.__version__ == distribution == python


def test_the_lock_was_made_with_the_default_index() -> None:
    # `uv lock --check` fails where the lock names another index than uv's own default, so it is
    # enough that nothing here names one.
    project = (ROOT / "pyproject.toml").read_text()
    assert not re.search(r"^\[+tool\.uv\.(index|sources)|^[\w-]*index[\w-]* *=", project, re.M)
    lock = (ROOT / "uv.lock").read_text()
    assert len(set(re.findall(r'registry = "([^"]+)"', lock))) == 1
    hosts = set(re.findall(r'url = "([^"]*//[^/"]+)', lock))
    assert len(hosts) == 1, hosts
    # Neither a user's name nor a port: no mirror of somebody's own.
    assert re.fullmatch(r"https://[a-z.]+", *hosts)


def loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {code}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.split())


def test_importing_loads_nothing_that_is_not_used() -> None:
    costly = {"asyncio", "http", "http.client", "subprocess", "ssl", "email", "dataclasses"}
    for statement in ("import pyro_mcp", "import pyro_mcp.api", "from pyro_mcp import Pyro"):
        modules = loaded(statement)
        assert not modules & costly, statement
    assert "socket" not in loaded("import pyro_mcp")


def test_nothing_is_needed_but_the_standard_library() -> None:
    ours = {"pyro_mcp", "typing_extensions"}
    for path in PACKAGE.glob("*.py"):
        for name in re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE):
            assert name in sys.stdlib_module_names | ours, f"{name} in {path.name}"
    assert "typing_extensions" not in loaded("from pyro_mcp import *")


def test_both_names_of_the_package_give_the_same() -> None:
    for name in pyro_mcp.__all__:
        assert getattr(pyro_mcp.api, name) is getattr(pyro_mcp, name)
    with pytest.raises(AttributeError):
        pyro_mcp.nothing  # noqa: B018
    assert "Pyro" in dir(pyro_mcp)


def test_a_rule_that_is_a_text_is_one_rule() -> None:
    one = calls.set_network_workspace("w", None, "a.example", False)
    assert one.document == {"network_allow": ["a.example"], "add": False}
    assert calls.creation(network_allow="a.example") == {"network_allow": ["a.example"]}
    assert calls.creation(network_allow=("a", "b")) == {"network_allow": ["a", "b"]}
