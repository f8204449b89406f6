//! What the official conformance suite wants of a server besides what pyro is: its fixture tools,
//! resources and prompts, on pyro's own transport and middleware.
//!
//! Only in builds with the feature `conformance`. The suite describes each fixture; the names are its.
#![expect(deprecated, reason = "the suite still tests what 2026-07-28 took away")]

use std::{
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use pyro_core::Problem;
use rmcp::{
    ErrorData, RoleServer, ServerHandler,
    model::{
        CallToolRequestParams, CallToolResponse, CallToolResult, ClientCapabilities,
        CompleteRequestParams, CompleteResult, CreateMessageRequestParams, ElicitRequestParams,
        GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation,
        InputRequiredResult, InputResponses, ListPromptsResult, ListResourceTemplatesResult,
        ListResourcesResult, ListToolsResult, LoggingLevel, LoggingMessageNotificationParam,
        PaginatedRequestParams, ProgressNotificationParam, Prompt, ReadResourceRequestParams,
        ReadResourceResponse, ReadResourceResult, Resource, ResourceTemplate, ServerCapabilities,
        ServerConfig, SetLevelRequestParams, SubscribeRequestParams, SubscriptionFilter, Tool,
        UnsubscribeRequestParams,
    },
    service::RequestContext,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::http::{Listening, serve};

/// One red pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";

/// No sound at all.
const WAV: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAEAfAAABAAgAZGF0YQAAAAA=";

/// Serves the fixtures on a free port of loopback until the process is asked to end.
pub fn serve_fixtures(
    state: &Path,
    listening: impl FnOnce(&Listening) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let fixtures = Fixtures { key: Arc::new(RandomState::new()) };
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    serve(move || fixtures.clone(), state, address, listening)
}

#[derive(Clone)]
struct Fixtures {
    /// With what states are sealed that clients carry.
    key: Arc<RandomState>,
}

fn make<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| {
        ErrorData::internal_error(format!("a fixture is not what it should be: {error}"), None)
    })
}

/// A result that is the last word; older revisions are not told.
fn complete(mut result: Value) -> Value {
    result["resultType"] = "complete".into();
    result
}

fn said(text: impl Into<String>) -> Result<CallToolResponse, ErrorData> {
    done(json!({"content": [{"type": "text", "text": text.into()}]}))
}

fn done(result: Value) -> Result<CallToolResponse, ErrorData> {
    Ok(make::<CallToolResult>(complete(result))?.into())
}

fn form(message: &str, field: &str, kind: &str) -> Value {
    let schema = json!({"type": "object", "properties": {field: {"type": kind}},
        "required": [field]});
    json!({"method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema}})
}

fn sample(prompt: &str, most: u32) -> Value {
    json!({"method": "sampling/createMessage", "params": {"maxTokens": most,
        "messages": [{"role": "user", "content": {"type": "text", "text": prompt}}]}})
}

fn roots() -> Value {
    json!({"method": "roots/list", "params": {}})
}

fn required(requests: &Value, state: Option<String>) -> Result<InputRequiredResult, ErrorData> {
    let mut result = json!({"resultType": "input_required", "inputRequests": requests});
    if let Some(state) = state {
        result["requestState"] = state.into();
    }
    make(result)
}

/// The text that a form's answer has in this field.
fn field<'a>(responses: &'a InputResponses, key: &str, field: &str) -> Option<&'a Value> {
    responses.get(key)?.get("content")?.get(field)
}

impl Fixtures {
    fn seal(&self, state: &str) -> String {
        format!("{state}.{:016x}", self.key.hash_one(state))
    }

    fn unseal(&self, sealed: Option<&str>) -> Result<Option<String>, ErrorData> {
        let Some(sealed) = sealed else { return Ok(None) };
        let state = sealed.rsplit_once('.').map_or("", |(state, _)| state);
        if self.seal(state) == sealed {
            return Ok(Some(state.to_owned()));
        }
        Err(ErrorData::invalid_params("requestState is not what this server gave", None))
    }

    /// The tools that need the client's input, in as many rounds as they take.
    fn with_input(
        &self,
        request: &CallToolRequestParams,
        capabilities: &ClientCapabilities,
    ) -> Result<CallToolResponse, ErrorData> {
        let state = self.unseal(request.request_state.as_deref())?;
        let none = InputResponses::new();
        let responses = request.input_responses.as_ref().unwrap_or(&none);
        let name = form("What is your name?", "name", "string");
        let again = |requests: Value, state: Option<&str>| {
            Ok(required(&requests, state.map(|state| self.seal(state)))?.into())
        };
        match request.name.trim_start_matches("test_input_required_result_") {
            "elicitation" => match field(responses, "user_name", "name").and_then(Value::as_str) {
                Some(name) => said(format!("Hello, {name}!")),
                None => again(json!({"user_name": name}), None),
            },
            "sampling" => match responses.get("capital_question") {
                Some(answer) => said(format!("The model said: {answer}")),
                None => again(
                    json!({"capital_question": sample("What is the capital of France?", 100)}),
                    None,
                ),
            },
            "list_roots" => match responses.get("client_roots") {
                Some(answer) => said(format!("The roots are: {answer}")),
                None => again(json!({"client_roots": roots()}), None),
            },
            "request_state" | "tampered_state" => match (state, responses.get("confirm")) {
                (Some(_), Some(_)) => said("state-ok"),
                _ => again(
                    json!({"confirm": form("Please confirm", "ok", "boolean")}),
                    Some("confirming"),
                ),
            },
            "multiple_inputs" => {
                let keys = ["user_name", "greeting", "client_roots"];
                if state.is_some() && keys.iter().all(|key| responses.contains_key(*key)) {
                    return said("all inputs came");
                }
                again(
                    json!({"user_name": name, "greeting": sample("Generate a greeting", 50),
                        "client_roots": roots()}),
                    Some("asking"),
                )
            }
            "multi_round" => match state.as_deref() {
                Some("second") if responses.contains_key("step2") => said("both steps are done"),
                Some("first") if responses.contains_key("step1") => again(
                    json!({"step2": form("Step 2: What is your favorite color?", "color", "string")}),
                    Some("second"),
                ),
                _ => again(
                    json!({"step1": form("Step 1: What is your name?", "name", "string")}),
                    Some("first"),
                ),
            },
            "capabilities" => {
                if !responses.is_empty() {
                    return said("the input came");
                }
                let mut requests = Map::new();
                if capabilities.elicitation.is_some() {
                    requests.insert("user_name".to_owned(), name);
                }
                if capabilities.sampling.is_some() {
                    requests.insert("greeting".to_owned(), sample("Generate a greeting", 50));
                }
                if capabilities.roots.is_some() {
                    requests.insert("client_roots".to_owned(), roots());
                }
                if requests.is_empty() {
                    return said("the client can be asked for nothing");
                }
                again(requests.into(), None)
            }
            other => Err(ErrorData::invalid_params(format!("there is no tool {other:?}"), None)),
        }
    }

    async fn elicit(
        &self,
        context: &RequestContext<RoleServer>,
        message: &str,
        schema: Value,
        told: &str,
    ) -> Result<CallToolResponse, ErrorData> {
        let params: ElicitRequestParams =
            make(json!({"mode": "form", "message": message, "requestedSchema": schema}))?;
        match context.peer.create_elicitation(params).await {
            Ok(result) => {
                let action = serde_json::to_value(&result.action).unwrap_or_default();
                let content = serde_json::to_value(&result.content).unwrap_or_default();
                let action = action.as_str().unwrap_or_default().to_owned();
                said(format!("{told}: action={action}, content={content}"))
            }
            Err(error) => done(json!({"isError": true,
                "content": [{"type": "text", "text": error.to_string()}]})),
        }
    }
}

const NAMES: [&str; 25] = [
    "test_simple_text",
    "test_image_content",
    "test_audio_content",
    "test_embedded_resource",
    "test_multiple_content_types",
    "test_error_handling",
    "test_tool_with_progress",
    "test_tool_with_logging",
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    "test_missing_capability",
    "test_streaming_elicitation",
    "test_logging_tool",
    "test_reconnection",
    "test_input_required_result_elicitation",
    "test_input_required_result_sampling",
    "test_input_required_result_list_roots",
    "test_input_required_result_request_state",
    "test_input_required_result_tampered_state",
    "test_input_required_result_multiple_inputs",
    "test_input_required_result_multi_round",
    "test_input_required_result_capabilities",
    "json_schema_2020_12_tool",
];

fn schema(name: &str) -> Value {
    let text = |field: &str| json!({"type": "object", "properties": {field: {"type": "string"}}, "required": [field]});
    match name {
        "test_sampling" => text("prompt"),
        "test_elicitation" => text("message"),
        "json_schema_2020_12_tool" => json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
            "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"},
                "contactMethod": {"type": "string", "enum": ["phone", "email"]},
                "phone": {"type": "string"}, "email": {"type": "string"}},
            "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
            "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
            "then": {"required": ["phone"]},
            "else": {"required": ["email"]},
            "additionalProperties": false,
        }),
        _ => json!({"type": "object", "properties": {}}),
    }
}

fn defaults() -> Value {
    json!({"type": "object", "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    }})
}

fn enums() -> Value {
    let titled = |titles: [&str; 3]| {
        let numbered = titles.iter().zip(1..);
        let choice = |(title, number): (&&str, i32)| json!({"const": format!("value{number}"), "title": title});
        numbered.map(choice).collect::<Vec<_>>()
    };
    let options = ["option1", "option2", "option3"];
    json!({"type": "object", "properties": {
        "untitledSingle": {"type": "string", "enum": options},
        "titledSingle": {"type": "string",
            "oneOf": titled(["First Option", "Second Option", "Third Option"])},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
        "titledMulti": {"type": "array",
            "items": {"anyOf": titled(["First Choice", "Second Choice", "Third Choice"])}},
    }})
}

impl ServerHandler for Fixtures {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_prompts()
            .enable_completions()
            .enable_logging()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("pyro-conformance", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tool = |name: &'static str| {
            let schema = schema(name).as_object().cloned().unwrap_or_default();
            Tool::new(name, format!("The suite's fixture {name}"), schema)
        };
        Ok(ListToolsResult::with_all_items(NAMES.map(tool).into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let capabilities = context.client_capabilities().unwrap_or_default();
        let argument = |name: &str| {
            let arguments = request.arguments.as_ref();
            arguments.and_then(|all| all.get(name)?.as_str()).unwrap_or_default().to_owned()
        };
        let image = json!({"type": "image", "data": PNG, "mimeType": "image/png"});
        match request.name.as_ref() {
            "test_simple_text" => said("This is a simple text response for testing."),
            "test_image_content" => done(json!({"content": [image]})),
            "test_audio_content" => done(json!({"content": [
                {"type": "audio", "data": WAV, "mimeType": "audio/wav"}]})),
            "test_embedded_resource" => done(json!({"content": [{"type": "resource", "resource": {
                "uri": "test://embedded-resource", "mimeType": "text/plain",
                "text": "This is an embedded resource content."}}]})),
            "test_multiple_content_types" => done(json!({"content": [
                {"type": "text", "text": "Multiple content types test:"},
                image,
                {"type": "resource", "resource": {"uri": "test://mixed-content-resource",
                    "mimeType": "application/json", "text": r#"{"test":"data","value":123}"#}},
            ]})),
            "test_error_handling" => done(json!({"isError": true, "content": [{"type": "text",
                "text": "This tool intentionally returns an error for testing"}]})),
            "test_tool_with_progress" => {
                for progress in [0.0, 50.0, 100.0] {
                    if let Some(token) = context.meta.get_progress_token() {
                        let told = ProgressNotificationParam::new(token, progress);
                        let _ = context.peer.notify_progress(told.with_total(100.0)).await;
                    }
                }
                said("done")
            }
            "test_tool_with_logging" | "test_logging_tool" => {
                let modern = context.protocol_version().is_some_and(|it| !it.has_initialize());
                let lines =
                    ["Tool execution started", "Tool processing data", "Tool execution completed"];
                for line in lines {
                    if !modern || context.meta.log_level().is_some() {
                        let told =
                            LoggingMessageNotificationParam::new(LoggingLevel::Info, line.into());
                        let _ = context.peer.notify_logging_message(told).await;
                    }
                }
                said("done")
            }
            "test_sampling" => {
                let asked = sample(&argument("prompt"), 100);
                let params: CreateMessageRequestParams = make(asked["params"].clone())?;
                match context.peer.create_message(params).await {
                    Ok(result) => {
                        let message = serde_json::to_value(&result).unwrap_or_default();
                        said(format!("LLM response: {}", message["content"]["text"]))
                    }
                    Err(error) => done(json!({"isError": true,
                        "content": [{"type": "text", "text": error.to_string()}]})),
                }
            }
            "test_elicitation" => {
                let schema = json!({"type": "object", "required": ["username", "email"],
                    "properties": {
                        "username": {"type": "string", "description": "User's response"},
                        "email": {"type": "string", "description": "User's email address"}}});
                self.elicit(&context, &argument("message"), schema, "User response").await
            }
            "test_elicitation_sep1034_defaults" => {
                self.elicit(&context, "Defaults", defaults(), "Elicitation completed").await
            }
            "test_elicitation_sep1330_enums" => {
                self.elicit(&context, "Choices", enums(), "Elicitation completed").await
            }
            "test_missing_capability" if capabilities.sampling.is_none() => {
                let needed = ClientCapabilities::builder().enable_sampling().build();
                Err(ErrorData::missing_required_client_capability(needed))
            }
            "test_streaming_elicitation" if request.input_responses.is_none() => {
                let asked = form("What is your name?", "name", "string");
                Ok(required(&json!({"user_name": asked}), None)?.into())
            }
            "test_missing_capability"
            | "test_streaming_elicitation"
            | "test_reconnection"
            | "json_schema_2020_12_tool" => said("done"),
            _ => self.with_input(&request, &capabilities),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let resource = |name: &str, kind: &str| {
            Resource::new(format!("test://{name}"), name).with_mime_type(kind)
        };
        Ok(ListResourcesResult::with_all_items(vec![
            resource("static-text", "text/plain"),
            resource("static-binary", "image/png"),
            resource("watched-resource", "text/plain"),
        ]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        let template = ResourceTemplate::new("test://template/{id}/data", "template");
        Ok(ListResourceTemplatesResult::with_all_items(vec![
            template.with_mime_type("application/json"),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        let id = uri.strip_prefix("test://template/").and_then(|it| it.strip_suffix("/data"));
        let contents = match (uri, id) {
            ("test://static-text", _) => json!({"uri": uri, "mimeType": "text/plain",
                "text": "This is the content of the static text resource."}),
            ("test://watched-resource", _) => {
                json!({"uri": uri, "mimeType": "text/plain", "text": "watched"})
            }
            ("test://static-binary", _) => {
                json!({"uri": uri, "mimeType": "image/png", "blob": PNG})
            }
            (_, Some(id)) => {
                let data = json!({"id": id, "templateTest": true,
                    "data": format!("Data for ID: {id}")});
                json!({"uri": uri, "mimeType": "application/json", "text": data.to_string()})
            }
            _ => {
                let message = format!("there is no resource {uri:?}");
                return Err(ErrorData::resource_not_found(message, Some(json!({"uri": uri}))));
            }
        };
        Ok(make::<ReadResourceResult>(complete(json!({"contents": [contents]})))?.into())
    }

    async fn subscribe(
        &self,
        _: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(
        &self,
        _: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        requested: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(requested.clone())
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        if context.protocol_version().is_some_and(|version| !version.has_initialize()) {
            return Err(ErrorData::method_not_found::<rmcp::model::SetLevelRequestMethod>());
        }
        Ok(())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        make(json!({"resultType": "complete",
            "completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": false}}))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        let prompt = |(name, arguments): (&str, &[&str])| {
            let argument = |name: &&str| json!({"name": name, "required": true});
            let arguments: Vec<Value> = arguments.iter().map(argument).collect();
            make::<Prompt>(
                json!({"name": name, "description": "A fixture", "arguments": arguments}),
            )
        };
        let prompts: [(&str, &[&str]); 5] = [
            ("test_simple_prompt", &[]),
            ("test_prompt_with_arguments", &["arg1", "arg2"]),
            ("test_prompt_with_embedded_resource", &["resourceUri"]),
            ("test_prompt_with_image", &[]),
            ("test_input_required_result_prompt", &[]),
        ];
        let prompts = prompts.into_iter().map(prompt).collect::<Result<_, _>>()?;
        Ok(ListPromptsResult::with_all_items(prompts))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let argument = |name: &str| {
            let arguments = request.arguments.as_ref();
            arguments.and_then(|all| all.get(name)?.as_str()).unwrap_or_default().to_owned()
        };
        let user = |content: Value| json!({"role": "user", "content": content});
        let text = |text: String| user(json!({"type": "text", "text": text}));
        let messages = match request.name.as_str() {
            "test_simple_prompt" => vec![text("This is a simple prompt for testing.".to_owned())],
            "test_prompt_with_arguments" => vec![text(format!(
                "Prompt with arguments: arg1='{}', arg2='{}'",
                argument("arg1"),
                argument("arg2")
            ))],
            "test_prompt_with_embedded_resource" => vec![
                user(json!({"type": "resource", "resource": {"uri": argument("resourceUri"),
                    "mimeType": "text/plain", "text": "Embedded resource content for testing."}})),
                text("Please process the embedded resource above.".to_owned()),
            ],
            "test_prompt_with_image" => vec![
                user(json!({"type": "image", "data": PNG, "mimeType": "image/png"})),
                text("Please analyze the image above.".to_owned()),
            ],
            "test_input_required_result_prompt" => {
                let none = InputResponses::new();
                let responses = request.input_responses.as_ref().unwrap_or(&none);
                let Some(context) = field(responses, "user_context", "context") else {
                    let asked = form("What context should the prompt use?", "context", "string");
                    return Ok(required(&json!({"user_context": asked}), None)?.into());
                };
                vec![text(format!("In this context: {context}"))]
            }
            other => {
                let message = format!("there is no prompt {other:?}");
                return Err(ErrorData::invalid_params(message, None));
            }
        };
        Ok(make::<GetPromptResult>(complete(json!({"messages": messages})))?.into())
    }
}
