//! Bodies of requests, and the names, ids and sizes that clients send.
#![no_main]

use std::{fmt::Display, str::FromStr};

use libfuzzer_sys::fuzz_target;
use pyro_api::{
    CreateWorkspace, ExecRequest, PruneWorkspaces, RunRequest, SignalRequest, UpdateWorkspace,
};
use pyro_core::{EnvironmentName, ExecId, LabelKey, LabelValue, WorkspaceId, WorkspaceName};
use serde::{Serialize, de::DeserializeOwned};

fuzz_target!(|input: &[u8]| {
    body::<CreateWorkspace>(input);
    body::<UpdateWorkspace>(input);
    body::<PruneWorkspaces>(input);
    body::<ExecRequest>(input);
    body::<RunRequest>(input);
    body::<SignalRequest>(input);
    let Ok(text) = std::str::from_utf8(input) else { return };
    file_name::<WorkspaceId>(text);
    file_name::<ExecId>(text);
    word::<WorkspaceName>(text);
    file_name::<EnvironmentName>(text);
    word::<LabelKey>(text);
    word::<LabelValue>(text);
});

/// What can be read can be written, and reads the same again.
fn body<T: Serialize + DeserializeOwned>(input: &[u8]) {
    let Ok(body) = serde_json::from_slice::<T>(input) else { return };
    let written = serde_json::to_vec(&body).expect("bodies are plain data");
    let again: T = serde_json::from_slice(&written).expect("what we wrote is well formed");
    assert_eq!(serde_json::to_vec(&again).expect("bodies are plain data"), written);
}

/// What is accepted is taken as it was given, and is one line.
fn word<T: FromStr + Display>(text: &str) -> bool {
    let Ok(word) = text.parse::<T>() else { return false };
    assert_eq!(word.to_string(), text);
    assert!(!text.is_empty() && !text.chars().any(char::is_control));
    true
}

/// What may become a file's name can never lead out of a directory.
fn file_name<T: FromStr + Display>(text: &str) {
    assert!(!word::<T>(text) || !(text.starts_with('.') || text.contains('/')));
}
