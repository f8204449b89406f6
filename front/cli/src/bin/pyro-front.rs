//! The command line alone, without node, keeper and doctor: what the tests of this crate run.

use std::process::ExitCode;

use pyro_cli::{Assembly, Check, DoctorReport, McpSnippet, Verdict};
use pyro_core::Problem;

fn main() -> ExitCode {
    pyro_cli::main(
        std::env::args_os().collect(),
        &Assembly {
            serve: |_| Err(Problem::failed("not_assembled", "this is the command line alone")),
            keep: |_| ExitCode::FAILURE,
            probe_kvm: |_| ExitCode::FAILURE,
            mcp: |_| Err(Problem::failed("not_assembled", "this is the command line alone")),
            mcp_snippet: |request| {
                Ok(McpSnippet {
                    text: format!("{} {}\n", request.client, request.profile),
                    hint: "paste it".to_owned(),
                    payload: serde_json::json!({"client": request.client}),
                })
            },
            doctor: |request| {
                Ok(DoctorReport {
                    usable: false,
                    payload: serde_json::json!({"platform": request.platform, "runtime_ok": false}),
                    checks: vec![Check {
                        name: "kvm".to_owned(),
                        verdict: Verdict::Bad,
                        summary: "there is none".to_owned(),
                        hints: vec!["buy a computer".to_owned()],
                    }],
                })
            },
        },
    )
}
