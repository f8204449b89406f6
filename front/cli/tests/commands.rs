//! What a person sees of the commands that are no streams, and what programs get.
#![allow(clippy::unwrap_used)]

mod fake_node;

use fake_node::{E, FakeNode, W, exec, summary, workspace};
use pyro_api::{
    DeletedEnvironment, DeletedWorkspace, DiskUsage, Environment, EnvironmentCatalog, Exec,
    ExecList, ExecLogEntry, ImportedEnvironment, NodeStatus, PrunedEnvironments, PrunedWorkspaces,
    WorkspaceDiskUsage, WorkspaceList, WorkspaceLogs, WorkspaceSummary,
};
use serde_json::json;

macro_rules! see {
    ($name:expr, $node:expr, $($word:expr),+) => {
        insta::with_settings!({ filters => vec![
            (r#""(created_at|last_activity_at)": [0-9.]+"#, r#""$1": [TIME]"#),
            (r"process [0-9]+", "process [PID]"),
        ], omit_expression => true }, {
            insta::assert_snapshot!($name, $node.see(&[$($word),+]));
        })
    };
}

fn stopped() -> WorkspaceSummary {
    WorkspaceSummary {
        workspace_id: "0000000000bb".parse().unwrap(),
        name: None,
        labels: [].into(),
        state: "stopped".into(),
        stop_reason: Some("guest_crashed".into()),
        environment: "debian:12-build".into(),
        ..summary()
    }
}

fn environment(name: &str, installed: bool) -> Environment {
    Environment {
        name: name.into(),
        version: "1".into(),
        description: "Debian 12 with git".into(),
        default_packages: vec!["git".into(), "curl".into()],
        distribution: "debian".into(),
        distribution_version: "12".into(),
        platform: "linux-x86_64".into(),
        oci_registry: None,
        oci_repository: None,
        oci_reference: None,
        source_digest: installed.then(|| "abc".into()),
        compatibility: "any".into(),
        catalog_version: "1".into(),
        installed,
        cache_dir: "/c".into(),
        install_dir: "/c/e".into(),
        install_manifest: None,
        size_bytes: if installed { 120 << 20 } else { 0 },
        source: installed.then(|| "built".into()),
    }
}

fn lists() -> FakeNode {
    let workspaces = vec![summary(), stopped()];
    FakeNode::new().json("GET /v1/workspaces", WorkspaceList { count: 2, workspaces })
}

fn ended(sequence: u64, how: impl FnOnce(&mut Exec)) -> Exec {
    let mut ended = Exec { sequence, running: false, exit_code: Some(0), ..exec().exec };
    ended.duration_ms = 61_000;
    how(&mut ended);
    ended
}

#[test]
fn create() {
    let node = FakeNode::new().json("POST /v1/workspaces", workspace());
    see!("create", node, "create", "debian:12", "--name", "web", "--label", "team=web");
    see!("create_json", node, "workspace", "create", "--json");
    see!(
        "create_id_only",
        node,
        "create",
        "--id-only",
        "--cpus",
        "2",
        "-m",
        "2g",
        "--ttl-seconds",
        "30m",
        "--on-expiry",
        "delete",
        "--backend",
        "auto"
    );
    let heard = node.heard.lock().unwrap();
    assert_eq!(heard[0].1["environment"], "debian:12");
    assert_eq!(heard[0].1["labels"], json!({"team": "web"}));
    assert_eq!(heard[1].1["environment"], json!(null));
    let asked = &heard[2].1;
    for (field, value) in [
        ("vcpu_count", json!(2)),
        ("mem_mib", json!(2048)),
        ("ttl_seconds", json!(1800)),
        ("on_expiry", json!("delete")),
        ("backend", json!(null)),
    ] {
        assert_eq!(asked[field], value, "{field}");
    }
}

#[test]
fn list() {
    let node = lists();
    see!("list", node, "list");
    see!("list_json", node, "ls", "--json", "--state", "stopped");
    see!("list_quiet", node, "ls", "-q", "--label", "team=web");
}

#[test]
fn status_and_update() {
    let mut changed = workspace();
    changed.name = Some("api".into());
    changed.state = "stopped".into();
    changed.stop_reason = Some("vm_killed".into());
    let node = FakeNode::new()
        .json("GET /v1/workspaces/web", workspace())
        .json("PATCH /v1/workspaces/web", changed);
    see!("status", node, "status", "web");
    see!("update", node, "update", "web", "--name", "api", "--clear-label", "team");
    see!("update_nothing", node, "update", "web");
}

#[test]
fn ps_kill_and_logs() {
    let execs = vec![
        ended(1, |exec| exec.exit_code = Some(2)),
        ended(2, |exec| (exec.exit_code, exec.lost) = (None, Some("vm_died".into()))),
        ended(3, |exec| (exec.signal, exec.timed_out) = (Some(15), true)),
        Exec { sequence: 4, detached: true, command: "sleep\n60".into(), ..exec().exec },
    ];
    let entry = ExecLogEntry {
        exec: execs[0].clone(),
        execution_mode: "guest_vsock".into(),
        recorded_at: 1.0,
        stdout_file: "1.stdout".into(),
        stderr_file: "1.stderr".into(),
        stdout: "built\n".into(),
        stderr: "no newline".into(),
    };
    let workspace_id = W.parse().unwrap();
    let list = ExecList { workspace_id, count: 4, running_count: 1, execs };
    let kill = format!("POST /v1/workspaces/web/execs/{E}/signal");
    let node = FakeNode::new()
        .json("GET /v1/workspaces/web/execs", list)
        .json(&kill, ended(1, |exec| (exec.signal, exec.cancelled) = (Some(15), true)))
        .json(
            "GET /v1/workspaces/web/logs",
            WorkspaceLogs { workspace_id, count: 1, entries: vec![entry] },
        );
    insta::with_settings!({ filters => vec![(r"[0-9]+ d ago", "[AGO]")] }, {
        insta::assert_snapshot!("ps", node.see(&["ps", "web"]));
    });
    see!("kill", node, "kill", "web", E, "--signal", "INT");
    assert_eq!(node.heard.lock().unwrap().last().unwrap().1["signal"], "INT");
    see!("logs", node, "workspace", "logs", "web");
}

#[test]
fn exec_detached() {
    let node = FakeNode::new().json("POST /v1/workspaces/web/execs", exec());
    see!("exec_detached", node, "exec", "--detach", "web", "--", "sleep", "60");
    see!("exec_detached_json", node, "exec", "-d", "--json", "web", "sleep", "60");
    assert_eq!(node.heard.lock().unwrap()[0].1["detach"], true);
}

#[test]
fn delete_and_prune() {
    let deleted = DeletedWorkspace {
        workspace_id: W.parse().unwrap(),
        deleted: true,
        reason: "explicit_delete".into(),
    };
    let pruned = PrunedWorkspaces {
        deleted_workspace_ids: vec![W.parse().unwrap()],
        count: 1,
        freed_bytes: 5 << 20,
        dry_run: true,
    };
    let node = FakeNode::new()
        .json("DELETE /v1/workspaces/web", &deleted)
        .json("DELETE /v1/workspaces/api", &deleted)
        .refuses(
            "DELETE /v1/workspaces/x",
            404,
            "workspace_not_found",
            "there is no workspace \"x\"",
            &["see them with: pyro list"],
        )
        .json("POST /v1/workspaces/prune", pruned);
    see!("delete", node, "rm", "web", "api");
    see!("delete_json", node, "delete", "web", "--json");
    see!("delete_goes_on_after_a_failure", node, "rm", "x", "web");
    see!("prune", node, "workspace", "prune", "--older-than", "7d", "--dry-run");
    let heard = node.heard.lock().unwrap();
    let asked = json!({"older_than_seconds": 604_800, "dry_run": true});
    assert_eq!(heard.last().unwrap().1, asked);
}

fn deleted_environment(name: &str, image: Option<&str>) -> DeletedEnvironment {
    DeletedEnvironment {
        name: name.into(),
        deleted: true,
        deleted_environment_dirs: image.into_iter().map(str::to_owned).collect(),
        count: usize::from(image.is_some()),
        freed_bytes: if image.is_some() { 5 << 20 } else { 0 },
    }
}

#[test]
fn environments() {
    let imported = ImportedEnvironment { environment: environment("py", true), bytes_read: 99 };
    let catalog = EnvironmentCatalog {
        catalog_version: "1".into(),
        environments: vec![environment("debian:12", true), environment("debian:12-base", false)],
    };
    let done =
        json!({"type": "done", "environment": environment("debian:12", true), "built": false});
    let progress = json!({"type": "progress", "message": "Unpacking", "fraction": 0.5});
    let failed = json!({"type": "problem", "problem": {
        "kind": "failed", "code": "no_space", "message": "cannot write the image",
        "causes": ["No space left on device"], "hints": ["pyro df"],
    }});
    let node = FakeNode::new()
        .json("GET /v1/environments", catalog)
        .json("GET /v1/environments/debian:12", environment("debian:12", true))
        .json("POST /v1/environments/py/import", imported)
        .json(
            "POST /v1/environments/prune",
            PrunedEnvironments {
                deleted_environment_dirs: vec!["/c/old".into()],
                count: 1,
                deleted_initramfs_dirs: vec!["/c/boot".into()],
                deleted_seed_dirs: Vec::new(),
                freed_bytes: 66 << 20,
                ..PrunedEnvironments::default()
            },
        )
        .json("DELETE /v1/environments/py", deleted_environment("py", Some("/c/py")))
        .json("DELETE /v1/environments/held", deleted_environment("held", None))
        .on("DELETE /v1/environments/nope", |_, stream| {
            let error = json!({"ok": false, "error": "there is no environment \"nope\"",
                "code": "environment_unknown", "kind": "not_found", "causes": [],
                "hints": ["there are: debian:12"]});
            fake_node::reply(stream, 404, &error.to_string());
        })
        .on("POST /v1/environments/debian:12/build", move |_, stream| {
            fake_node::reply(stream, 200, &format!("{progress}\n{done}\n"));
        })
        .on("POST /v1/environments/debian:12/build?force=true", move |_, stream| {
            fake_node::reply(stream, 200, &format!("{failed}\n"));
        });
    std::fs::write(node.home.path().join("root.tar"), "tar").unwrap();
    see!("env_list", node, "env", "list");
    see!("env_inspect", node, "env", "inspect", "debian:12");
    see!("env_build", node, "env", "build", "debian:12");
    see!("env_pull_json", node, "env", "pull", "debian:12", "--json");
    see!("env_build_failed", node, "env", "build", "debian:12", "--force");
    see!("env_import", node, "env", "import", "py", "root.tar");
    see!("env_import_absent", node, "env", "import", "py", "absent.tar");
    see!("env_prune", node, "env", "prune");
    see!("env_prune_json", node, "env", "prune", "--json");
    see!("env_delete", node, "env", "delete", "py", "nope", "held");
    see!("env_delete_json", node, "env", "delete", "py", "--json");
    see!("env_delete_several_json", node, "env", "rm", "py", "held", "--json");
}

#[test]
fn df_and_node() {
    let usage = DiskUsage {
        seed_bytes: 0,
        image_bytes: 300 << 20,
        workspace_bytes: 5 << 20,
        free_bytes: 40 << 30,
        workspaces: vec![WorkspaceDiskUsage {
            workspace_id: W.parse().unwrap(),
            name: Some("web".into()),
            disk_bytes: 3 << 20,
            record_bytes: 2 << 20,
        }],
        environments: vec![environment("debian:12", true)],
    };
    let status = NodeStatus {
        version: "4".into(),
        pid: 77,
        started_at: workspace().created_at,
        state_directory: "/s".into(),
        cache_directory: "/c".into(),
        workspace_count: 2,
        started_count: 1,
        warm_count: 0,
        idle_exit_seconds: Some(60),
    };
    let node = FakeNode::new()
        .json("GET /v1/df", usage)
        .json("GET /v1/node", status)
        .json("POST /v1/node/stop", json!({"pid": 77, "stopping": true, "started_count": 1}));
    see!("df", node, "df");
    see!("node_status", node, "node", "status");
    see!("node_stop", node, "node", "stop");
    see!("doctor", node, "doctor");
    see!("doctor_json", node, "doctor", "--json");
    std::fs::remove_file(node.home.path().join("state/node.sock")).unwrap();
    see!("node_status_absent", node, "node", "status");
    see!("node_stop_absent", node, "node", "stop");
}

#[test]
fn at_means_what_was_chosen() {
    let node = FakeNode::new()
        .json("GET /v1/workspaces/web", workspace())
        .json(&format!("GET /v1/workspaces/{W}"), workspace())
        .json("GET /v1/workspaces/other", workspace());
    see!("at_unset", node, "status", "@");
    see!("use", node, "use", "web");
    see!("use_shown", node, "use");
    assert_eq!(node.code(&["status", "@"]), 0);
    let below = node.home.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let last = || node.heard.lock().unwrap().last().unwrap().0.clone();
    assert!(node.command(&["status", "@"]).current_dir(&below).status().unwrap().success());
    assert_eq!(last(), format!("GET /v1/workspaces/{W}"));
    node.command(&["status", "@"]).env("PYRO_WORKSPACE", "other").output().unwrap();
    assert_eq!(last(), "GET /v1/workspaces/other");
    assert_eq!(node.code(&["use", "--clear"]), 0);
    assert_eq!(node.code(&["status", "@"]), 1);
}

#[test]
fn errors_are_told_the_same_way_everywhere() {
    let node = FakeNode::new().refuses(
        "GET /v1/workspaces/w",
        409,
        "workspace_ambiguous",
        "\"w\" is the beginning of 2 ids",
        &["web (0000000000aa)", "api (0000000000bb)"],
    );
    see!("error", node, "status", "w");
    see!("error_json", node, "status", "--json", "w");
    see!("usage", node, "workspace", "statsu", "w");
    see!("usage_json", node, "workspace", "list", "--stat", "x", "--json");
    see!("usage_of_exec", node, "exec", "--timeout-seconds", "1x", "web", "ls");
    see!("not_available", node, "workspace", "shell", "open", "w", "--json");
    see!("not_available_flag", node, "create", "--secret", "A=b");
    let error = "there is no environment \"git\"";
    let node = node.refuses("POST /v1/run", 404, "environment_unknown", error, &[]);
    see!("environment_left_out", node, "run", "git", "--version");
}

#[test]
fn every_exit_code_is_the_tables() {
    let node = FakeNode::new();
    for (code, line) in [
        (0, "--version"),
        (0, "--help"),
        (0, "run --help"),
        (0, "completions bash"),
        (2, ""),
        (2, "nonsense"),
        (2, "create --nonsense"),
        (2, "create --mem-mib 2x"),
        (2, "create --on-expiry explode"),
        (2, "list --state gone"),
        (2, "workspace"),
        (2, "use w --clear"),
        (2, "env build"),
        (125, "run"),
        (125, "run --nonsense -- x"),
        (125, "run debian:12 --"),
        (125, "exec"),
        (125, "workspace exec --cpus 1 w x"),
        (125, "exec w -t --json -- x"),
        (125, "exec @ -- ls"),
        (125, "exec w --env =x -- ls"),
        (125, "exec w --env-file absent -- ls"),
        (125, "exec w --secret-env A -- ls"),
        (125, "shell"),
        (125, "attach w"),
        (125, "ws wait w"),
        (1, "status @"),
        (1, "create --secret A=b"),
        (1, "mcp serve"),
        (1, "service up w -f absent.toml"),
        (2, "service up w -f a.toml --path b"),
        (2, "port publish w"),
        (2, "port publish w 0"),
        (2, "port publish w 1:2:3"),
        (2, "port publish w 127.0.0.1:80 [::1]:81"),
        (2, "port publish w 80 --bind x"),
        (2, "port unpublish w 0"),
        (2, "service start w web --publish x -- ls"),
        (2, "service start w"),
        (2, "service start w web"),
        (2, "service start w web --ready-tcp a:1 --ready-file b -- ls"),
        (1, "ws sync push w d"),
        (2, "snapshot create w"),
        (1, "serve"),
        (1, "doctor"),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(node.code(&words), code, "pyro {line}");
    }
}

#[test]
fn defaults_come_from_flags_then_the_environment_then_the_file() {
    let node = FakeNode::new().json("POST /v1/workspaces", workspace());
    let config = node.home.path().join(".config/pyro");
    std::fs::create_dir_all(&config).unwrap();
    let file = "backend = \"firecracker\"\nmem_mib = \"2g\"\nenvironment = \"py\"\n";
    std::fs::write(config.join("config.toml"), file).unwrap();
    let asked = |arguments: &[&str], backend: &str| {
        node.command(arguments).env("PYRO_BACKEND", backend).output().unwrap();
        let asked = node.heard.lock().unwrap().last().unwrap().1.clone();
        (asked["backend"].clone(), asked["mem_mib"].clone(), asked["environment"].clone())
    };
    assert_eq!(asked(&["create"], ""), (json!("firecracker"), json!(2048), json!("py")));
    let flags = ["create", "x", "-m", "512"];
    assert_eq!(asked(&flags, "qemu"), (json!("qemu"), json!(512), json!("x")));
    let flags = ["create", "--backend", "auto"];
    assert_eq!(asked(&flags, "qemu"), (json!(null), json!(2048), json!("py")));
    std::fs::write(config.join("config.toml"), "mem_mb = 5\n").unwrap();
    see!("config_mistake", node, "create");
    see!("config_mistake_doctor", node, "doctor");
}

#[test]
fn variables_come_from_files_and_flags_and_here() {
    let node = FakeNode::new().json("POST /v1/workspaces/w/execs", exec());
    let file = "# comment\nA=1\n\nB=x=y z\nHERE\n";
    std::fs::write(node.home.path().join("vars"), file).unwrap();
    let arguments =
        ["exec", "-d", "w", "--env-file", "vars", "-e", "A=2", "-e", "ABSENT", "--", "env"];
    let mut command = node.command(&arguments);
    assert!(command.env("HERE", "h").output().unwrap().status.success());
    let asked = node.heard.lock().unwrap()[0].1["env"].clone();
    assert_eq!(asked, json!({"A": "2", "B": "x=y z", "HERE": "h"}));
}

#[test]
fn a_shell_completes_workspaces_as_they_are() {
    let node = lists();
    let mut command = node.command(&["--", "pyro", "exec", ""]);
    let shell = [("COMPLETE", "bash"), ("_CLAP_COMPLETE_INDEX", "2"), ("_CLAP_IFS", "\n")];
    let seen = command.envs(shell).output().unwrap();
    let seen = String::from_utf8(seen.stdout).unwrap();
    assert!(seen.contains("web") && seen.contains("0000000000bb"), "{seen}");
}

#[test]
fn a_file_of_services_is_sent_with_what_it_names_and_what_came_of_it_is_told() {
    let answer = json!({
        "workspace_id": W, "file": "pyro.toml", "count": 2, "failed_count": 1, "timed_out": false,
        "failure": {"ok": false, "error": "service web is not as it should be",
            "code": "services_failed", "hints": [], "kind": "failed", "causes": []},
        "notices": ["labels (of web) is ignored"],
        "services": [
            {"service_name": "old", "action": "orphaned", "service": null, "log_tail": [],
                "failure": null},
            {"service_name": "web", "action": "failed", "service": null, "log_tail": ["no port"],
                "failure": {"ok": false, "error": "service web ended with exit code 3",
                    "code": "service_exited", "hints": [], "kind": "failed", "causes": []}},
        ],
    });
    let needs = json!({"variables": ["PORT", "GONE"],
        "env_files": [{"path": "web.env", "required": true}]});
    let node = FakeNode::new()
        .json("POST /v1/manifests/needs", needs)
        .json(&format!("POST /v1/workspaces/{W}/services/up"), answer);
    for (name, text) in [("pyro.toml", "[services]"), (".env", "A=1"), ("web.env", "B=2")] {
        std::fs::write(node.home.path().join(name), text).unwrap();
    }
    let mut up = node.command(&["service", "up", W, "web", "--env", "STAGE=test"]);
    let output = up.env("PORT", "80").env("UNNAMED", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let heard = node.heard.lock().unwrap();
    let (_, sent) = heard.iter().find(|(line, _)| line.ends_with("/services/up")).unwrap();
    assert_eq!(sent["variables"], json!({"STAGE": "test", "PORT": "80"}));
    assert_eq!(sent["services"], json!(["web"]));
    assert_eq!(
        sent["file"],
        json!({"name": "pyro.toml", "text": "[services]", "dot_env": "A=1",
            "env_files": {"web.env": "B=2"}})
    );
    drop(heard);
    let (stdout, stderr) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(stdout.contains("web      failed    -"), "{stdout}");
    for part in [
        "note: labels (of web) is ignored",
        "error: service web ended with exit code 3",
        "  | no port",
        "--remove-orphans",
    ] {
        assert!(stderr.contains(part), "{part} in {stderr}");
    }
    let json = node.command(&["service", "up", W, "--json"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["ok"], &json["code"]), (&false.into(), &"services_failed".into()));
}

#[test]
fn services_are_listed_with_where_their_ports_are_published() {
    let service = |name: &str, state: &str, ports: &serde_json::Value| {
        let pid = (state == "running").then_some(7);
        json!({"workspace_id": W, "service_name": name, "state": state, "ready": pid.is_some(),
            "command": "x", "cwd": "/workspace", "execution_mode": "guest_vsock", "stopping": false,
            "published_ports": ports, "restart_count": 0, "restart_policy": "no", "depends_on": {},
            "waiting_for": [], "listening_ports": [{"address": "127.0.0.1", "port": 8000}],
            "memory_bytes": 13_000_000, "cpu_seconds": 0.31, "pid": pid, "ready_at": pid,
            "log_bytes": {"stdout": 0, "stderr": 0}, "revision": 4})
    };
    let port = |host_port: u16, guest_port: u16| {
        json!({"host": "127.0.0.1", "host_port": host_port, "guest_port": guest_port,
            "protocol": "tcp"})
    };
    let both = json!([port(8000, 8000), port(40001, 9000)]);
    let web = service("web", "running", &both);
    let idle = service("idle", "stopped", &json!([port(8001, 8001)]));
    let list = |services: serde_json::Value| {
        let count = services.as_array().unwrap().len();
        json!({"workspace_id": W, "count": count, "running_count": 1, "services": services})
    };
    let mut has_services = workspace();
    (has_services.service_count, has_services.running_service_count) = (2, 1);
    let up = |service: &serde_json::Value| {
        json!({"service_name": service["service_name"], "action": "unchanged", "service": service,
            "log_tail": [], "failure": null})
    };
    let route = format!("GET /v1/workspaces/{W}/services");
    let node = FakeNode::new()
        .json(&route, list(json!([idle, web])))
        .json("GET /v1/workspaces/web", has_services)
        .json(
            &format!("POST /v1/workspaces/{W}/services/up"),
            json!({"workspace_id": W, "file": "pyro.toml", "count": 1, "failed_count": 0,
                "services": [up(&web)], "timed_out": false, "failure": null, "notices": []}),
        );
    see!("service_list_published", node, "service", "list", W);
    see!("status_published", node, "status", "web");
    see!("service_up_published", node, "service", "up", W, "--path", "pyro.toml");
    // Where none is published there is no column for it.
    let node = FakeNode::new().json(&route, list(json!([idle])));
    see!("service_list", node, "service", "list", W);
}

#[test]
fn ports_are_published_listed_and_taken_back() {
    let port = json!({"host": "127.0.0.1", "host_port": 8080, "guest_port": 80, "protocol": "tcp"});
    let open = json!({"host": "::", "host_port": 8000, "guest_port": 8000, "protocol": "tcp"});
    let published = json!({"workspace_id": W, "published_ports": [port, open],
        "notices": ["whoever reaches :: of this host reaches these ports of the workspace"]});
    let row = |guest_port: u16, service: Option<&str>, addresses: &[&str], place| {
        json!({"guest_port": guest_port, "protocol": "tcp", "service": service,
            "listening_addresses": addresses, "published": place})
    };
    let place = |host_port: u16, state: &str, reason: Option<&str>, connections: u32| {
        json!({"host": "127.0.0.1", "host_port": host_port, "state": state, "reason": reason,
            "connections": connections})
    };
    let failed = Some("port 127.0.0.1:9000 of this host is taken");
    let list = json!({"workspace_id": W, "count": 4, "ports": [
        row(80, Some("web"), &["0.0.0.0", "::"], place(8080, "listening", None, 2)),
        row(90, Some("api"), &[], place(9090, "released", Some("service api does not run"), 0)),
        row(5432, None, &["127.0.0.1"], json!(null)),
        row(9000, None, &[], place(9000, "failed", failed, 0)),
    ]});
    let node = FakeNode::new()
        .json(&format!("POST /v1/workspaces/{W}/ports"), published)
        .json(&format!("GET /v1/workspaces/{W}/ports"), list)
        .json(
            &format!("POST /v1/workspaces/{W}/ports/unpublish"),
            json!({"workspace_id": W, "unpublished_ports": [port]}),
        );
    see!("port_publish", node, "port", "publish", W, "[::]:8080:80", "[::]:0:8000");
    see!("port_list", node, "port", "list", W);
    see!("port_list_json", node, "ws", "port", "ls", W, "--json");
    see!("port_unpublish", node, "port", "unpublish", W, "8080");
    let heard = node.heard.lock().unwrap();
    let asked = json!({"ports": [{"guest_port": 80, "host_port": 8080},
        {"guest_port": 8000, "host_port": 0}], "bind": "::"});
    assert_eq!(heard[0].1, asked);
    assert_eq!(heard.last().unwrap().1, json!({"ports": [8080]}));
}

#[test]
fn what_ports_are_is_told_in_full() {
    let node = FakeNode::new();
    see!("help_forward", node, "forward", "--help");
    see!("help_port", node, "port", "--help");
    see!("help_port_publish", node, "port", "publish", "--help");
}
