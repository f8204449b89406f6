//! Doctor on hosts where nothing works.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use pyro_doctor::{Report, Request, Verdict, examine};

fn request(root: &Path) -> Request {
    Request {
        state: Some(root.join("state")),
        cache: Some(root.join("cache")),
        program: "/nonexistent/pyro".into(),
        search_path: Vec::new(),
        platform: "linux-x86_64".into(),
        backend: None,
        agent: b"",
        version: "4",
    }
}

async fn report(change: impl FnOnce(&mut Request)) -> Report {
    let root = tempfile::tempdir().unwrap();
    let mut request = request(root.path());
    change(&mut request);
    examine(request).await
}

fn hints(report: &Report, name: &str) -> Vec<String> {
    let check = report.checks.iter().find(|check| check.name == name).unwrap();
    assert_ne!(check.verdict, Verdict::Good, "{check:?}");
    check.hints.clone()
}

#[tokio::test]
async fn a_host_with_nothing_is_told_what_to_type() {
    let report = report(|_| {}).await;
    assert!(!report.healthy && !report.runtime_ok);
    assert_eq!(report.backend, None);
    assert!(report.backends.iter().all(|backend| !backend.proven));
    assert!(hints(&report, "backend").iter().any(|hint| hint.contains("apt-get install")));
    assert_eq!(hints(&report, "kernel"), ["pyro env build debian:12"]);
    assert_eq!(hints(&report, "environments"), ["pyro env build debian:12"]);
    assert!(!report.node.running);
    assert!(!report.issues.is_empty());
    serde_json::to_value(&report).unwrap();
}

#[tokio::test]
async fn directories_that_cannot_be_used_are_named() {
    let report = report(|request| {
        request.state = Some("/dev/null/state".into());
        request.cache = Some("/proc/none/cache".into());
    })
    .await;
    assert!(!report.healthy);
    assert!(hints(&report, "state")[0].contains("PYRO_HOME"));
    assert!(hints(&report, "cache")[0].contains("PYRO_CACHE_DIR"));
}

#[tokio::test]
async fn a_user_without_a_home_is_examined_all_the_same() {
    let report = report(|request| (request.state, request.cache) = (None, None)).await;
    assert!(!report.healthy && !report.backends.is_empty());
    assert!(hints(&report, "state")[0].contains("PYRO_HOME"));
    assert!(hints(&report, "cache")[0].contains("PYRO_CACHE_DIR"));
    assert!(report.issues.iter().any(|issue| issue.contains("HOME is not set")));
    let told = serde_json::to_value(&report).unwrap();
    assert!(told["state_directory"]["path"].is_null(), "{told}");
}

#[tokio::test]
async fn what_was_asked_for_decides() {
    let odd = report(|request| request.backend = Some("xen".into())).await;
    let check = odd.checks.iter().find(|check| check.name == "backend").unwrap();
    assert!(check.summary.contains("\"xen\" is not a backend"), "{}", check.summary);

    let other = report(|request| request.platform = "linux-aarch64".into()).await;
    assert!(!other.healthy);
    assert!(other.issues[0].contains("linux-aarch64"), "{:?}", other.issues);
}

#[tokio::test]
async fn a_program_that_does_not_work_is_not_believed() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let program = root.path().join("qemu-system-x86_64");
    std::fs::write(&program, "#!/bin/sh\nexit 1\n").unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let mut request = request(root.path());
    request.search_path = vec![root.path().into()];
    let report = examine(request).await;
    let qemu = report.backends.iter().find(|found| found.backend.as_str() == "qemu").unwrap();
    assert_eq!(qemu.program.as_deref(), Some(&*program));
    assert!(!qemu.proven);
    assert_eq!(qemu.problem.as_ref().unwrap().code, "version_unknown");
}
