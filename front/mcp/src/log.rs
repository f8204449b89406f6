//! Log messages for clients that ask for them: one line for each call, as it ended.
//!
//! Only for the revisions that begin with `initialize`: the next one deprecates log messages. Who asked
//! for no level is told nothing, and nothing of a command's own is ever in a line.
#![expect(deprecated, reason = "the revisions that have it are still spoken")]

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Instant,
};

use rmcp::{
    RoleServer,
    model::{
        CallToolResponse, CallToolResult, ContentBlock, LoggingLevel,
        LoggingMessageNotificationParam,
    },
    service::RequestContext,
};
use serde_json::json;

/// No level: less important than any there is.
const NOTHING: u8 = u8::MAX;

/// What one client wants to be told.
#[derive(Debug)]
pub(crate) struct Log {
    least: AtomicU8,
}

impl Default for Log {
    fn default() -> Self {
        Self { least: AtomicU8::new(NOTHING) }
    }
}

impl Log {
    /// From now on, this and what is more important.
    pub(crate) fn want(&self, least: LoggingLevel) {
        self.least.store(least as u8, Ordering::Relaxed);
    }

    /// Tells how a call went.
    pub(crate) async fn called(
        &self,
        context: &RequestContext<RoleServer>,
        tool: &str,
        begun: Instant,
        response: &CallToolResponse,
    ) {
        let CallToolResponse::Complete(result) = response else { return };
        let level = level(result);
        if (level as u8) < self.least.load(Ordering::Relaxed) {
            return;
        }
        let took = begun.elapsed().as_millis();
        let data = json!({"tool": tool, "message": first_line(result), "took_ms": took});
        let told = LoggingMessageNotificationParam::new(level, data).with_logger("pyro");
        // A client that went hears of nothing any more.
        let _ = context.peer.notify_logging_message(told).await;
    }
}

fn level(result: &CallToolResult) -> LoggingLevel {
    if result.is_error == Some(true) { LoggingLevel::Warning } else { LoggingLevel::Info }
}

/// What an answer begins with: how a call went, in our words.
fn first_line(result: &CallToolResult) -> &str {
    let text = result.content.first().and_then(ContentBlock::as_text);
    text.and_then(|content| content.text.lines().next()).unwrap_or_default()
}
