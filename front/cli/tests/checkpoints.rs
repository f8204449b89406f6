//! What a person sees of snapshots and resets, and what is asked of the node for them.
#![allow(clippy::unwrap_used)]

mod fake_node;

use fake_node::{FakeNode, W, workspace};
use pyro_api::{ResetResult, WorkspaceReset};
use serde_json::{Value, json};

fn snapshot(name: &str, frozen_ms: f64) -> Value {
    json!({"workspace_id": W, "snapshot_name": name, "kind": "named", "created_at": 1.0e9,
        "entry_count": 1234, "bytes_written": 7 << 20, "deletable": true, "frozen_ms": frozen_ms,
        "by_reflink": false})
}

#[test]
fn snapshots_are_taken_listed_and_deleted() {
    let created = |frozen_ms| {
        json!({"workspace_id": W, "snapshot": snapshot("one", frozen_ms), "duration_ms": 90,
            "execution_mode": "guest_vsock"})
    };
    let list = json!({"workspace_id": W, "count": 1, "snapshots": [snapshot("one", 1.0)]});
    let deleted = json!({"workspace_id": W, "snapshot_name": "one", "deleted": true});
    let node = FakeNode::new()
        .json("POST /v1/workspaces/web/snapshots", created(41.6))
        .json("POST /v1/workspaces/cold/snapshots", created(0.0))
        .json("GET /v1/workspaces/web/snapshots", list)
        .json("DELETE /v1/workspaces/web/snapshots/one", deleted);
    insta::with_settings!({ filters => vec![(r"[0-9]+ d ago", "[AGO]")] }, {
        insta::assert_snapshot!("create", node.see(&["snapshot", "create", "web", "one"]));
        insta::assert_snapshot!("create_stopped", node.see(&["ws", "snapshot", "create", "cold", "one"]));
        insta::assert_snapshot!("list", node.see(&["snapshot", "ls", "web"]));
        insta::assert_snapshot!("delete", node.see(&["snapshot", "rm", "web", "one"]));
    });
    let heard = node.heard.lock().unwrap();
    assert!(heard.iter().any(|(_, body)| body == &json!({"snapshot_name": "one"})), "{heard:?}");
}

#[test]
fn a_workspace_is_reset_to_its_baseline_unless_told_otherwise() {
    let result = ResetResult {
        workspace: workspace(),
        workspace_reset: WorkspaceReset {
            snapshot_name: "baseline".into(),
            kind: "baseline".into(),
            destination: "/workspace".into(),
            entry_count: 0,
            bytes_written: 0,
            duration_ms: 900,
        },
    };
    let node = FakeNode::new().json("POST /v1/workspaces/web/reset", result);
    insta::assert_snapshot!("reset", node.see(&["reset", "web"]));
    let asked = |words: &[&str]| {
        node.code(words);
        node.heard.lock().unwrap().last().unwrap().1.clone()
    };
    assert_eq!(asked(&["reset", "web"]), json!({"snapshot": "baseline", "no_resume": false}));
    let words = ["ws", "reset", "web", "--snapshot", "one", "--no-resume", "--json"];
    assert_eq!(asked(&words), json!({"snapshot": "one", "no_resume": true}));
}
