//! The command line alone, without node, keeper and doctor: what the tests of this crate run.

use std::process::ExitCode;

use pyro_cli::{Assembly, Check, DoctorReport, Verdict};
use pyro_core::Problem;

fn main() -> ExitCode {
    pyro_cli::main(
        std::env::args_os().collect(),
        &Assembly {
            serve: |_| Err(Problem::failed("not_assembled", "this is the command line alone")),
            keep: |_| ExitCode::FAILURE,
            probe_kvm: |_| ExitCode::FAILURE,
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
