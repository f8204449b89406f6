//! Whole files, from text to specifications, and what is said of those that are wrong.

use std::collections::BTreeMap;

use pyro_core::Problem;

use crate::{Manifest, ManifestError, Source, Surroundings, needs, read};

fn around(variables: &[(&str, &str)], env_files: &[(&str, Option<&str>)]) -> Surroundings {
    let owned = |text: &str| text.to_owned();
    Surroundings {
        variables: variables.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
        dot_env: None,
        env_files: env_files.iter().map(|(path, text)| (owned(path), text.map(owned))).collect(),
    }
}

fn of(name: &str, text: &str) -> Result<Manifest, ManifestError> {
    read(Source { name, text }, &around(&[("PORT", "8000")], &[("web.env", Some("A=1\nB=2\n"))]))
}

fn json(manifest: &Manifest) -> serde_json::Value {
    serde_json::to_value(&manifest.services).unwrap()
}

#[test]
fn a_pyro_toml_is_what_flags_of_start_would_say() {
    let text = r#"
[services.web]
command = "exec serve --port $PORT"
cwd = "app"
env = { B = "3", PORT = "${PORT:-80}", N = 1 }
env_file = "web.env"
user = "app:app"
ready_http = "http://127.0.0.1:$PORT/"
ready_timeout_seconds = "1m30s"
ready_interval_ms = 100
on_ready_timeout = "keep"
health = { tcp = "127.0.0.1:${PORT}", interval_seconds = 2.5, retries = 5, on_failure = "report" }
restart = "on-failure"
restart_limit = 3
depends_on = { db = "ready", setup = "completed" }
stop_signal = "INT"
stop_grace_seconds = 1
log_limit_bytes = 1_000_000
[services.setup]
command = ["make", "it"]
[services.db]
command = "db"
readiness = { type = "command", command = "ask $HOST" }
"#;
    let manifest = of("pyro.toml", text).unwrap();
    assert_eq!(manifest.notices, [] as [&str; 0]);
    let services = json(&manifest);
    // Each after those it depends on, else as they stand.
    let names: Vec<_> = manifest.services.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["setup", "db", "web"]);
    let web = &services[2];
    assert_eq!(web["command"], "exec serve --port $PORT", "the shell's own variables are left");
    assert_eq!(web["env"], serde_json::json!({"A": "1", "B": "3", "N": "1", "PORT": "8000"}));
    assert_eq!(web["readiness"]["url"], "http://127.0.0.1:8000/");
    assert_eq!(web["health"]["probe"]["address"], "127.0.0.1:8000");
    assert_eq!(web["ready_timeout_seconds"], 90.0);
    assert_eq!(services[1]["readiness"]["command"], "ask $HOST");
    assert_eq!(services[0]["command"], serde_json::json!(["make", "it"]));
}

#[test]
fn a_compose_file_is_carried_out_or_said_not_to_be() {
    let text = r#"
name: project
x-base: &base
  restart: unless-stopped
  environment: [A=1, PORT, UNSET]
services:
  web:
    <<: *base
    entrypoint: [run, --fast]
    command: serve "a b" ${PORT}
    working_dir: /srv
    depends_on:
      db: {condition: service_healthy}
      gone: {condition: service_started, required: false}
    expose: ["${NOT_NEEDED:?}"]
    ports: ["${PORT}"]
    profiles: [dev]
    labels: {x: y}
  db:
    command: [db]
    restart: on-failure:3
    stop_grace_period: 1m30s
    healthcheck: {test: [CMD-SHELL, 'ask "$$HOME"'], interval: 2s, timeout: 1s, retries: 4}
"#;
    let manifest = of("compose.yaml", text).unwrap();
    let services = json(&manifest);
    let (db, web) = (&services[0], &services[1]);
    assert_eq!(manifest.ports[&"web".parse().unwrap()][0].guest_port, 8000);
    assert_eq!(web["command"], serde_json::json!(["run", "--fast", "serve", "a b", "8000"]));
    assert_eq!(web["env"], serde_json::json!({"A": "1", "PORT": "8000"}));
    assert_eq!(web["depends_on"], serde_json::json!({"db": "ready"}));
    assert_eq!((&db["restart"], &db["restart_limit"]), (&"on-failure".into(), &3.into()));
    assert_eq!(db["stop_grace_seconds"], 90.0);
    assert_eq!(db["readiness"]["command"], r#"ask "$HOME""#);
    assert_eq!((&db["health"]["retries"], &db["ready_timeout_seconds"]), (&4.into(), &12.0.into()));
    for key in ["expose", "profiles", "labels"] {
        let said = manifest.notices.iter().filter(|notice| notice.starts_with(key));
        assert_eq!(said.count(), 1, "{key}: {:?}", manifest.notices);
    }
}

#[test]
fn both_languages_publish_ports() {
    let ports = |name: &str, text: &str| {
        let manifest = of(name, text).unwrap();
        let ports = manifest.ports.into_values().flatten();
        ports.map(|port| (port.host_port, port.guest_port)).collect::<Vec<_>>()
    };
    let web = "[services.web]\ncommand = 'x'\n";
    let text = r#"published_ports = [80, "8080:80", "0:${PORT}", { guest_port = 81, host_port = 8081 },
        { guest_port = 82 }]"#;
    assert_eq!(
        ports("pyro.toml", &format!("{web}{text}")),
        [(None, 80), (Some(8080), 80), (Some(0), 8000), (Some(8081), 81), (None, 82)]
    );
    assert_eq!(ports("pyro.toml", &format!("{web}published_ports = []")), []);
    for (item, expected) in [
        ("80", (None, 80)),
        ("\"8080:80\"", (Some(8080), 80)),
        ("8080:80/tcp", (Some(8080), 80)),
        ("\"127.0.0.1:8080:80\"", (Some(8080), 80)),
        ("\"127.0.0.1::80\"", (None, 80)),
        ("\"[::1]:8080:80\"", (Some(8080), 80)),
        ("\"::1:8080:80\"", (Some(8080), 80)),
        ("\"localhost:0:80\"", (Some(0), 80)),
        ("{target: 80}", (None, 80)),
        ("{target: 80, published: \"8080\", host_ip: 127.0.0.1, protocol: tcp}", (Some(8080), 80)),
        (
            "{target: 80, published: 8080, mode: host, name: web, app_protocol: http}",
            (Some(8080), 80),
        ),
    ] {
        let text = format!("services:\n  web:\n    command: x\n    ports: [{item}]\n");
        assert_eq!(ports("compose.yaml", &text), [expected], "{item}");
    }
}

#[test]
fn a_port_that_cannot_be_published_is_said_with_its_line_and_a_way_out() {
    let toml = |port: &str| {
        ("pyro.toml", format!("[services.web]\ncommand = 'x'\npublished_ports = {port}\n"), 3)
    };
    let compose = |port: &str| {
        let text = format!("services:\n  web:\n    command: x\n    ports:\n    - {port}\n");
        ("compose.yaml", text, 5)
    };
    for ((name, text, line), part, hint) in [
        (toml("8000"), "a list of ports", "for example"),
        (toml("['x']"), "not \"x\"", "GUEST"),
        (toml("[0]"), "not 0", "GUEST"),
        (toml("['80:80']"), "80 is not a port of the host", "1025"),
        (toml("['127.0.0.1:8080:80']"), "not \"8080:80\"", "HOST:GUEST"),
        (toml("['65536']"), "65536", ""),
        (toml("[{ host_port = 8080 }]"), "needs guest_port", ""),
        (toml("[{ guest_prot = 80 }]"), "guest_prot", "guest_port"),
        (compose("8000-8010"), "8000-8010", "ranges"),
        (compose("\"53:53/udp\""), "udp", "x-ports"),
        (compose("\"0.0.0.0:8080:80\""), "0.0.0.0", "pyro port publish"),
        (compose("\"192.0.2.1:8080:80\""), "192.0.2.1", "pyro port publish"),
        (compose("{target: 80, host_ip: 0.0.0.0}"), "0.0.0.0", "pyro port publish"),
        (compose("{target: 80, protocol: udp}"), "udp", "x-ports"),
        (compose("{published: 8080}"), "needs target", ""),
        (compose("{target: 80, publishd: 8080}"), "publishd", "published"),
        (compose("\"443:443\""), "443 is not a port of the host", "1025"),
        (compose("[80]"), "a list", ""),
    ] {
        let error = of(name, &text).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with(&format!("{name}:{line}: ")), "{told}, not in line {line}");
        assert!(told.contains(part), "{told}: {part}");
        let problem = Problem::from(error);
        assert_eq!(problem.code, "invalid_manifest");
        assert!(problem.hints.join(" ").contains(hint), "{text}: {:?}", problem.hints);
    }
    let both = "[services.a]\ncommand = 'x'\npublished_ports = ['8080:80']\n\
                [services.b]\ncommand = 'x'\npublished_ports = ['8080:80']\n";
    let told = of("pyro.toml", both).unwrap_err().to_string();
    assert!(
        told.starts_with("pyro.toml:4: b publishes port 8080 of the host, as a does"),
        "{told}"
    );
    let many = format!("{:?}", (1..=129).collect::<Vec<_>>());
    assert!(matches!(of("pyro.toml", &toml(&many).1), Err(ManifestError::TooLarge { .. })));
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_a_way_out() {
    let web = "[services.web]\ncommand = 'x'\n";
    let compose = "services:\n  web:\n    command: x\n";
    for (name, text, line, part, hint) in [
        ("pyro.toml", String::new(), 1, "no service", "a service is a table"),
        ("pyro.toml", "[service.web]\n".to_owned(), 1, "service", "services"),
        ("pyro.toml", format!("{web}comand = 'x'\n"), 3, "comand", "command"),
        ("pyro.toml", format!("{web}ready_lgo = '^up$'\n"), 3, "ready_lgo", "ready_log"),
        ("pyro.toml", format!("{web}restart = 'allways'\n"), 3, "allways", "always"),
        ("pyro.toml", format!("{web}depends_on = ['wep']\n"), 1, "not in this file", ""),
        ("pyro.toml", format!("{web}ready_tcp = 'a:1'\nready_log = 'x'\n"), 4, "more than one", ""),
        ("pyro.toml", format!("{web}ready_log = '('\n"), 3, "regular expression", ""),
        (
            "pyro.toml",
            format!("{web}health = {{ retries = 1 }}\n"),
            3,
            "what is asked",
            "for example",
        ),
        ("pyro.toml", "[services.web]\ncwd = 'x'\n".to_owned(), 1, "no command", "shell line"),
        ("pyro.toml", format!("{web}env_file = 'gone.env'\n"), 3, "was not given", "relative"),
        ("pyro.toml", format!("{web}user = '${{USER:?who}}'\n"), 3, "USER is not set: who", ""),
        ("pyro.toml", format!("{web}[services.'a b']\n"), 3, "a b", ""),
        ("compose.yaml", format!("{compose}    image: x\n"), 4, "not in images", "x-image"),
        ("compose.yaml", format!("{compose}    volumes: []\n"), 4, "not supported", "/workspace"),
        (
            "compose.yaml",
            format!("{compose}    envirnoment: []\n"),
            4,
            "envirnoment",
            "environment",
        ),
        ("compose.yaml", "services: {web: {}}\n".to_owned(), 1, "no command", "no image"),
        (
            "compose.yaml",
            "services: {web: {command: x, restart: often}}".to_owned(),
            1,
            "often",
            "",
        ),
    ] {
        let error = of(name, &text).unwrap_err();
        let told = error.to_string();
        assert!(told.starts_with(&format!("{name}:{line}: ")), "{told}, not in line {line}");
        assert!(told.contains(part), "{told}: {part}");
        let problem = Problem::from(error);
        assert_eq!(problem.code, "invalid_manifest");
        assert!(problem.hints.join(" ").contains(hint), "{text}: {:?}", problem.hints);
    }
    assert!(of("Procfile", "web: x").is_err());
}

#[test]
fn a_circle_is_named() {
    let text = "[services.a]\ncommand = 'x'\ndepends_on = ['b']\n\
                [services.b]\ncommand = 'x'\ndepends_on = ['c']\n\
                [services.c]\ncommand = 'x'\ndepends_on = ['b']\n";
    let told = of("pyro.toml", text).unwrap_err().to_string();
    assert!(told.contains("b -> c -> b"), "{told}");
}

#[test]
fn what_is_too_large_is_refused() {
    let long = format!("[services.web]\ncommand = '{}'\n", "x".repeat(1 << 20));
    assert!(matches!(of("pyro.toml", &long), Err(ManifestError::TooLarge { .. })));
    let many: Vec<_> = (0..257).map(|at| format!("[services.s{at}]\ncommand = 'x'\n")).collect();
    assert!(matches!(of("pyro.toml", &many.concat()), Err(ManifestError::TooLarge { .. })));
    let big = "x".repeat(200 << 10);
    let text = format!(
        "[services.web]\ncommand = 'x'\nenv = {{ {} }}\n",
        (0..30).map(|at| format!("A{at} = '$BIG'")).collect::<Vec<_>>().join(", ")
    );
    let around = around(&[("BIG", &big)], &[]);
    let refused = read(Source { name: "pyro.toml", text: &text }, &around);
    assert!(matches!(refused, Err(ManifestError::TooLarge { .. })));
}

#[test]
fn a_file_says_what_it_needs_of_where_it_lies() {
    let text = r#"
services:
  web:
    command: $RUN
    env_file: ["${STAGE}.env", {path: own.env, required: false}]
    environment: [PASSED]
x-other: ${NOT_LOOKED_AT}
"#;
    let source = Source { name: "compose.yaml", text };
    let needed = needs(source, &BTreeMap::default(), Some("STAGE=test")).unwrap();
    let names: Vec<_> = needed.variables.iter().map(String::as_str).collect();
    assert_eq!(names, ["PASSED", "RUN", "STAGE"]);
    let files: Vec<_> = needed.env_files.iter().map(|it| (it.path.as_str(), it.required)).collect();
    assert_eq!(files, [("test.env", true), ("own.env", false)]);
}

proptest::proptest! {
    /// Made of what files are made of, in any order.
    #[test]
    fn no_text_is_more_than_refused(words in proptest::collection::vec(0..WORDS.len(), 0..60)) {
        let text: String = words.iter().map(|at| WORDS[*at]).collect();
        for name in ["pyro.toml", "compose.yaml"] {
            let source = Source { name, text: &text };
            let needed = needs(source, &BTreeMap::default(), Some(&text)).unwrap_or_default();
            let env_files = needed.env_files.into_iter().map(|it| (it.path, Some(text.clone())));
            let around = Surroundings {
                dot_env: Some(text.clone()),
                env_files: env_files.collect(),
                ..Surroundings::default()
            };
            if let Ok(manifest) = read(source, &around) {
                proptest::prop_assert!(!manifest.services.is_empty());
            }
        }
    }
}

const WORDS: [&str; 55] = [
    "services",
    "[services.a]\n",
    "[services.b]\n",
    "services:\n",
    "  a:\n",
    "  b:\n",
    "    ",
    "command",
    "entrypoint",
    "env",
    "environment",
    "env_file",
    "health",
    "healthcheck",
    "test",
    "depends_on",
    "restart",
    "ready_log",
    "image",
    "x-y",
    "ports",
    "published_ports",
    "8080:80",
    "target",
    "a",
    "b",
    "é",
    "1",
    "1m",
    "-1",
    "true",
    " = ",
    ": ",
    ":\n",
    "=",
    "[",
    "]",
    "{ ",
    " }",
    ", ",
    "\"",
    "'",
    "\n",
    "\n  ",
    "- ",
    "#",
    "&x ",
    "*x",
    "<<: ",
    "$A",
    "${A",
    ":-",
    "}",
    "|\n",
    "\t",
];
