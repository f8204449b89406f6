//! Snapshots: take, list and delete them, and reset a workspace to one.

use pyro_api::{CreateSnapshot, ResetWorkspace, Snapshot};
use pyro_core::Problem;
use serde_json::json;

use crate::{
    answer::{Answer, object},
    call::Call,
    exec::fitting,
    workspace,
};

fn line(snapshot: &Snapshot) -> String {
    let mib = snapshot.bytes_written >> 20;
    format!(
        "{}  {}  {} entries, {mib} MiB\n",
        snapshot.snapshot_name, snapshot.kind, snapshot.entry_count
    )
}

/// `snapshot_create`.
pub(crate) async fn create(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let snapshot_name = call.arguments.required("snapshot_name").to_owned();
    let request = CreateSnapshot { snapshot_name };
    let take = async move { node.create_snapshot(&workspace, &request).await };
    let made = call.within("taking the snapshot", take).await?;
    let text = format!(
        "took {}of workspace {}\nnext: workspace_reset(workspace_id=\"{}\", snapshot=\"{}\") goes \
         back to it",
        line(&made.snapshot).replace('\n', " "),
        made.workspace_id,
        made.workspace_id,
        made.snapshot.snapshot_name
    );
    Ok(Answer::new(text, &made))
}

/// `snapshot_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let list = call.node().await?.snapshots(&workspace).await?;
    let mut text = format!("{} snapshots of workspace {}\n", list.count, list.workspace_id);
    let shown = list.snapshots.iter().skip(call.arguments.number("offset"));
    let entries = shown.map(|snapshot| (line(snapshot), object(snapshot)));
    let (snapshots, omitted) = fitting(entries, &mut text, call);
    let document = json!({"workspace_id": list.workspace_id, "count": list.count,
        "snapshots": snapshots, "omitted_count": omitted});
    Ok(Answer::new(text, &document))
}

/// `snapshot_delete`.
pub(crate) async fn delete(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let name = call.arguments.required("snapshot_name").to_owned();
    let delete = async move { node.delete_snapshot(&workspace, &name).await };
    let gone = call.within("deleting the snapshot", delete).await?;
    let text = format!("deleted snapshot {} of {}", gone.snapshot_name, gone.workspace_id);
    Ok(Answer::new(text, &gone))
}

/// `workspace_reset`.
pub(crate) async fn reset(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = ResetWorkspace {
        snapshot: call.arguments.text("snapshot").map(str::to_owned),
        no_resume: call.arguments.flag("no_resume"),
    };
    call.progress.tell("resetting the workspace").await;
    let reset = async move { node.reset_workspace(&workspace, &request).await };
    let done = call.within("the reset", reset).await?;
    let to = &done.workspace_reset;
    let shown = workspace::shown(&done.workspace).text;
    let text = format!(
        "reset to {} ({}): {} entries, {} MiB\n{shown}",
        to.snapshot_name,
        to.kind,
        to.entry_count,
        to.bytes_written >> 20
    );
    Ok(Answer::new(text, &done))
}
