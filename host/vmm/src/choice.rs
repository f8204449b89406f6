//! Which backend runs a machine on this host.

use std::path::PathBuf;

use pyro_core::Problem;

use crate::{Backend as _, BackendName, Firecracker, HostPrograms, Qemu, kvm::KvmReport};

/// What was found on the host.
#[derive(Clone, PartialEq, Debug)]
pub struct Findings {
    /// Whether KVM can be used.
    pub kvm: KvmReport,
    /// Firecracker's program.
    pub firecracker: Option<PathBuf>,
    /// QEMU's program.
    pub qemu: Option<PathBuf>,
}

impl Findings {
    /// Looks for both programs.
    pub fn new(kvm: KvmReport, programs: &HostPrograms) -> Self {
        Self { kvm, firecracker: Firecracker.find(programs), qemu: Qemu.find(programs) }
    }

    /// A backend's program.
    pub fn program(&self, backend: BackendName) -> Option<&PathBuf> {
        match backend {
            BackendName::Firecracker => self.firecracker.as_ref(),
            BackendName::Qemu => self.qemu.as_ref(),
        }
    }
}

/// A backend that can run, with its program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Which.
    pub backend: BackendName,
    /// Its program.
    pub program: PathBuf,
}

/// Picks the preferred backend, or the best that can run: Firecracker where KVM is usable, else
/// QEMU. A problem says what to type.
pub fn choose(preference: Option<BackendName>, findings: &Findings) -> Result<Chosen, Problem> {
    match preference {
        Some(backend) => try_backend(backend, findings),
        None => match try_backend(BackendName::Firecracker, findings) {
            Ok(chosen) => Ok(chosen),
            Err(first) => try_backend(BackendName::Qemu, findings).map_err(|second| {
                let mut problem = Problem::failed("no_backend", "no virtual machine can run here")
                    .cause(&first)
                    .cause(&second);
                problem.hints = [second.hints, first.hints].concat();
                problem.hint("pyro doctor")
            }),
        },
    }
}

fn try_backend(backend: BackendName, findings: &Findings) -> Result<Chosen, Problem> {
    let kvm = &findings.kvm;
    if backend.is_accelerated() && !kvm.is_usable() {
        let message = format!("{backend} needs KVM, which is not usable here");
        let problem = Problem::failed("kvm_unusable", message).cause(&kvm.detail);
        return Err(match kvm.hint() {
            Some(hint) => problem.hint(hint),
            None => problem,
        });
    }
    match findings.program(backend) {
        Some(program) => Ok(Chosen { backend, program: program.clone() }),
        None => Err(missing(backend)),
    }
}

/// What to say and what to type where a backend's program is missing.
fn missing(backend: BackendName) -> Problem {
    let (code, program, hint) = match backend {
        BackendName::Firecracker => (
            "firecracker_missing",
            "firecracker",
            "put the firecracker program of https://github.com/firecracker-microvm/firecracker \
             into a directory of PATH",
        ),
        BackendName::Qemu => (
            "qemu_missing",
            "qemu-system-x86_64",
            "sudo apt-get install --no-install-recommends qemu-system-x86",
        ),
    };
    Problem::failed(code, format!("{program} is not in PATH")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kvm::KvmVerdict;

    fn findings(verdict: KvmVerdict, firecracker: bool, qemu: bool) -> Findings {
        Findings {
            kvm: KvmReport { verdict, detail: "measured".into(), ratio: None },
            firecracker: firecracker.then(|| "/bin/firecracker".into()),
            qemu: qemu.then(|| "/bin/qemu-system-x86_64".into()),
        }
    }

    #[test]
    fn the_best_that_can_run_is_picked() {
        use BackendName::{Firecracker, Qemu};
        use KvmVerdict::{TooSlow, Usable};
        for (preference, verdict, firecracker, qemu, expected) in [
            (None, Usable, true, true, Ok(Firecracker)),
            (None, Usable, false, true, Ok(Qemu)),
            (None, TooSlow, true, true, Ok(Qemu)),
            (None, TooSlow, true, false, Err("no_backend")),
            (Some(Qemu), Usable, true, true, Ok(Qemu)),
            (Some(Qemu), Usable, true, false, Err("qemu_missing")),
            (Some(Firecracker), Usable, false, true, Err("firecracker_missing")),
            (Some(Firecracker), TooSlow, true, true, Err("kvm_unusable")),
        ] {
            let chosen = choose(preference, &findings(verdict, firecracker, qemu));
            let case = format!("{preference:?} {verdict:?} {firecracker} {qemu}");
            match (chosen, expected) {
                (Ok(chosen), Ok(backend)) => assert_eq!(chosen.backend, backend, "{case}"),
                (Err(problem), Err(code)) => {
                    assert_eq!(problem.code, code, "{case}");
                    assert!(!problem.hints.is_empty(), "{case}");
                }
                (chosen, _) => panic!("{case}: {chosen:?}"),
            }
        }
    }
}
