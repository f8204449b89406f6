//! What a call answers: a text for the model and a document for programs, each complete.

use pyro_api::ErrorBody;
use pyro_core::Problem;
use rmcp::model::{CallToolResult, ContentBlock, Resource};
use serde::Serialize;
use serde_json::{Map, Value};

/// What a call answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    /// For the model.
    pub(crate) text: String,
    /// For programs: the payload of the contract.
    pub(crate) document: Map<String, Value>,
    /// Where more can be read; never the only way to it.
    pub(crate) links: Vec<Resource>,
    /// Whether the call did not do what it was asked to.
    pub(crate) failed: bool,
}

impl Answer {
    /// An answer with a payload of the API.
    pub(crate) fn new(text: String, payload: &impl Serialize) -> Self {
        Self { text, document: object(payload), ..Self::default() }
    }

    /// Puts notices before the text and into the document, after those that are there.
    pub(crate) fn with_notices(mut self, notices: Vec<String>) -> Self {
        if !notices.is_empty() {
            self.text.insert_str(0, &format!("note: {}\n", notices.join("\nnote: ")));
            let told = self.document.entry("notices").or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(told) = told {
                told.extend(notices.into_iter().map(Value::from));
            }
        }
        self
    }

    /// As the protocol has it.
    pub(crate) fn into_result(self) -> CallToolResult {
        let mut content = vec![ContentBlock::text(self.text)];
        content.extend(self.links.into_iter().map(ContentBlock::resource_link));
        let mut result = if self.failed {
            CallToolResult::error(content)
        } else {
            CallToolResult::success(content)
        };
        result.structured_content = Some(Value::Object(self.document));
        result
    }
}

/// An error: message, code and every hint are in the text as well as in the document.
impl From<Problem> for Answer {
    fn from(mut problem: Problem) -> Self {
        if let Some(hint) = for_a_model(&problem.code) {
            problem.hints = vec![hint.to_owned()];
        }
        let mut text = format!("error: {problem}\ncode: {}", problem.code);
        for hint in &problem.hints {
            text.push_str("\nhint: ");
            text.push_str(hint);
        }
        Self { text, document: object(&ErrorBody::from(problem)), failed: true, ..Self::default() }
    }
}

/// What a model does where a person would type a command.
fn for_a_model(code: &str) -> Option<&'static str> {
    Some(match code {
        "workspace_not_found" => "workspace_list shows those there are",
        "workspace_ambiguous" | "exec_ambiguous" => "give more characters of the id",
        "exec_not_found" => "exec_list shows those there are",
        "exec_ended" => "exec_wait shows what it printed",
        "exec_lost" => "exec_wait shows what it printed; run it again",
        "too_many_execs" => "end some with exec_signal",
        "service_not_found" => "service_status without service_name shows those there are",
        "service_already_running" => "replace: true stops it and starts it as it is asked for now",
        "service_not_running" => "service_status shows why; service_start starts it",
        "service_needed" => "service_stop these first",
        "dependency_not_found" => "service_start that one first",
        "too_many_services" => "delete those that are not needed any more",
        "manifest_not_found" => {
            "write a pyro.toml to /workspace with workspace_exec, or say with path where it is"
        }
        "snapshot_not_found" => "baseline is there always; snapshot_list shows the others",
        "snapshot_exists" => "take another name, or snapshot_delete it first",
        "invalid_service_name" => "for example: web-2",
        "invalid_update" => "give name, clear_name, labels or clear_labels",
        _ => return None,
    })
}

/// A payload as a map.
pub(crate) fn object(payload: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(payload) {
        Ok(Value::Object(map)) => map,
        other => unreachable!("payloads are objects of plain data: {other:?}"),
    }
}
