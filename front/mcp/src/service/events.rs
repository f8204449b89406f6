//! What happened to a workspace's services: a page of state changes after a cursor.

use std::fmt::Write as _;

use pyro_api::WorkspaceEvent;
use pyro_client::{ClientError, Node};
use pyro_core::Problem;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::{card, patience};
use crate::{
    answer::Answer,
    call::{Call, LIST_BUDGET},
    output::cost,
};

/// What fits into a result of what there is after a cursor.
struct Page {
    text: String,
    events: Vec<Value>,
    next_after: u64,
    more: bool,
}

impl Page {
    fn new(after: u64) -> Self {
        Self { text: String::new(), events: Vec::new(), next_after: after, more: false }
    }

    /// Takes one more; `false` where the page is full.
    fn take(&mut self, event: &WorkspaceEvent, left: &mut usize) -> bool {
        let (line, document) = shown(event);
        let document = Value::Object(document);
        let price = cost(&line) + document.to_string().len();
        if price > *left {
            self.more = true;
            return false;
        }
        *left -= price;
        self.next_after = event.cursor;
        self.text.push_str(&line);
        self.events.push(document);
        true
    }
}

fn shown(event: &WorkspaceEvent) -> (String, Map<String, Value>) {
    let what = match event.event.as_str() {
        "service_deleted" => "deleted".to_owned(),
        _ => card::standing(&event.service),
    };
    let line =
        format!("{}  {:.3}  {}  {what}\n", event.cursor, event.at, event.service.service_name);
    let mut document = Map::new();
    document.insert("cursor".to_owned(), event.cursor.into());
    document.insert("at".to_owned(), event.at.into());
    document.insert("event".to_owned(), event.event.clone().into());
    document.insert("service".to_owned(), card::document(&event.service).into());
    (line, document)
}

/// Reads what there is.
async fn page(node: &Node, workspace: &str, after: u64) -> Result<Page, ClientError> {
    let mut page = Page::new(after);
    let mut left = LIST_BUDGET;
    let mut events = node.events(workspace, after, false).await?;
    while let Some(event) = events.next().await? {
        if !page.take(&event, &mut left) {
            break;
        }
    }
    Ok(page)
}

/// Waits until there is something after a cursor, or the time is over.
async fn any(
    node: &Node,
    workspace: &str,
    after: u64,
    until: Instant,
) -> Result<bool, ClientError> {
    let next = async {
        let mut events = node.events(workspace, after, true).await?;
        Ok(events.next().await?.is_some())
    };
    timeout_at(until, next).await.unwrap_or(Ok(false))
}

/// `workspace_events`.
pub(crate) async fn events(call: &Call) -> Result<Answer, Problem> {
    let workspace = call.workspace("workspace_id")?;
    let after = call.arguments.integer("after").unwrap_or_default();
    let (wait, until) = patience(call);
    let node = call.node().await?;
    let mut page = page(&node, &workspace, after).await?;
    if page.events.is_empty() && !wait.is_zero() {
        call.progress.tell("waiting for something to happen").await;
        if any(&node, &workspace, after, until).await? {
            page = self::page(&node, &workspace, after).await?;
        }
    }
    let Page { text: lines, events, next_after, more } = page;
    let mut text = format!("{} state changes after cursor {after}\n{lines}", events.len());
    let what = if more { "there are more" } else { "that is all so far" };
    let next = format!("workspace_events(workspace_id=\"{workspace}\", after={next_after})");
    let _ = writeln!(text, "--- {what}; go on with: {next}");
    let document = json!({"count": events.len(), "events": events, "next_after": next_after,
        "more": more, "next": next});
    Ok(Answer::new(text, &document))
}
