//! Looking at everything, in order.

use std::path::PathBuf;

use pyro_core::Problem;
use pyro_image::{Cache, Kernel};
use pyro_vmm::{
    BackendName, Chosen, Findings, HostPrograms, choose,
    kvm::{self, KvmVerdict},
};
use rustix::fs::{Access, access};

use crate::{
    BackendReport, Check, KernelReport, KvmDevice, PlaceReport, ProgramReport, Report, Verdict,
    node, place, proof,
};

/// The platform that pyro runs on.
const PLATFORM: &str = "linux-x86_64";
const FREE_BYTES: u64 = 2 << 30;

/// What is to be examined, and with what.
#[derive(Clone, Debug)]
pub struct Request {
    /// The state directory; it need not exist. None where nothing says where it would be.
    pub state: Option<PathBuf>,
    /// The image cache; it need not exist. None as above.
    pub cache: Option<PathBuf>,
    /// The `pyro` program, which is also the keeper and the probe.
    pub program: PathBuf,
    /// Where the backends' programs are looked for.
    pub search_path: Vec<PathBuf>,
    /// The platform to examine.
    pub platform: String,
    /// The backend that was asked for; `auto` or nothing has one picked.
    pub backend: Option<String>,
    /// The guest agent's program, for the guests that are booted.
    pub agent: &'static [u8],
    /// pyro's version.
    pub version: &'static str,
}

/// Examines this host, which takes some seconds: every backend that can be started is.
pub async fn examine(request: Request) -> Report {
    let is_ours =
        request.platform == PLATFORM && cfg!(all(target_os = "linux", target_arch = "x86_64"));
    let mut checks = vec![if is_ours {
        Check::good("platform", format!("{PLATFORM}, pyro {}", request.version))
    } else {
        Check::new(
            "platform",
            Verdict::Bad,
            format!("{} cannot be examined here; pyro runs on {PLATFORM}", request.platform),
        )
    }];

    let places = [("state", &request.state), ("cache", &request.cache)].map(|(name, path)| {
        let report = place::look(path.as_deref());
        checks.push(place_check(name, &report));
        report
    });
    let [state_directory, cache_directory] = places;

    let cache = request.cache.as_deref();
    if let Some(cache) = cache {
        proof::sweep(cache).await;
    }
    let kvm = kvm_device(kvm::report(&request.program, cache).await);
    checks.push(kvm_check(&kvm));

    let programs = HostPrograms::new(None, request.search_path.iter().cloned());
    let (kernel, environments) = images(&request, cache_directory.writable).await;
    let findings = Findings::new(kvm.report.clone(), &programs);
    let mut backends = Vec::new();
    for backend in BackendName::ALL {
        let report = examine_backend(&request, backend, &findings, kernel.as_ref(), is_ours).await;
        backends.push(report);
    }
    let picked = pick(&request, &findings);
    for report in &backends {
        let is_picked = picked.as_ref().is_ok_and(|chosen| chosen.backend == report.backend);
        checks.push(backend_check(report, is_picked));
    }
    if let Err(problem) = &picked {
        checks.push(Check::problem("backend", Verdict::Bad, problem));
    }
    checks.push(kernel_check(kernel.as_ref()));
    checks.push(environment_check(&environments));
    let programs = distribution_programs(&programs);
    checks.extend(programs.iter().filter_map(program_check));

    let picked = picked.ok().map(|chosen| chosen.backend);
    let healthy = is_ours
        && state_directory.writable
        && backends.iter().any(|report| Some(report.backend) == picked && report.proven);
    let bad = checks.iter().filter(|check| check.verdict == Verdict::Bad);
    Report {
        platform: request.platform,
        version: request.version.into(),
        healthy,
        runtime_ok: healthy,
        issues: bad.map(|check| format!("{}: {}", check.name, check.summary)).collect(),
        backend: picked,
        accelerated: picked.is_some_and(BackendName::is_accelerated),
        kvm,
        backends,
        kernel: kernel.map(|kernel| KernelReport {
            release: kernel.manifest.release,
            package: kernel.manifest.package,
            version: kernel.manifest.version,
            path: kernel.vmlinux,
        }),
        environments,
        programs,
        state_directory,
        cache_directory,
        node: node::look(request.state.as_deref()),
        checks,
    }
}

fn pick(request: &Request, findings: &Findings) -> Result<Chosen, Problem> {
    let asked = request.backend.as_deref().filter(|name| *name != "auto");
    let preference = asked.map(str::parse).transpose().map_err(Problem::from)?;
    choose(preference, findings)
}

async fn examine_backend(
    request: &Request,
    backend: BackendName,
    findings: &Findings,
    kernel: Option<&Kernel>,
    is_ours: bool,
) -> BackendReport {
    let program = findings.program(backend).cloned();
    let version = match &program {
        Some(program) => HostPrograms::version(program).await.map_err(Problem::from),
        None => Ok(String::new()),
    };
    let kernel = request.cache.as_ref().zip(kernel);
    let proof = match (choose(Some(backend), findings), &version, kernel) {
        (Err(problem), ..) => Err(problem),
        (Ok(_), Err(problem), _) => Err(problem.clone()),
        (Ok(_), Ok(_), None) => Err(no_kernel()),
        (Ok(_), ..) if !is_ours => Err(Problem::failed("platform", "not this platform")),
        (Ok(chosen), Ok(_), Some((cache, kernel))) => {
            proof::prove(&request.program, cache, kernel, request.agent, &chosen).await
        }
    };
    BackendReport {
        backend,
        accelerated: backend.is_accelerated(),
        program,
        program_version: version.ok().filter(|version| !version.is_empty()),
        proven: proof.is_ok(),
        problem: proof.as_ref().err().cloned(),
        proof: proof.ok(),
    }
}

/// The kernel and the environments in the cache. A cache that is not there is not made.
async fn images(request: &Request, is_writable: bool) -> (Option<Kernel>, Vec<String>) {
    let cache = request.cache.clone();
    let look = move || {
        let Some(cache) = cache.filter(|cache| is_writable && cache.is_dir()) else {
            return (None, Vec::new());
        };
        let Ok(cache) = Cache::open(&cache) else { return (None, Vec::new()) };
        let kernel = cache.kernel().ok().flatten();
        let environments = cache.environments().unwrap_or_default();
        let installed = environments.into_iter().filter(|environment| environment.installed);
        (kernel, installed.map(|environment| environment.name.clone()).collect())
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_default()
}

fn kvm_device(report: kvm::KvmReport) -> KvmDevice {
    let may = |access_kind| access(kvm::DEVICE, access_kind).is_ok();
    KvmDevice {
        exists: may(Access::EXISTS),
        readable: may(Access::READ_OK),
        writable: may(Access::WRITE_OK),
        usable: report.is_usable(),
        report,
    }
}

fn kvm_check(kvm: &KvmDevice) -> Check {
    let report = &kvm.report;
    let mut check = match report.verdict {
        KvmVerdict::Usable => Check::good("kvm", format!("usable: {}", report.detail)),
        _ => Check::new("kvm", Verdict::Notice, format!("not usable: {}", report.detail)),
    };
    check.hints.extend(report.hint().map(str::to_owned));
    check
}

fn place_check(name: &str, report: &PlaceReport) -> Check {
    let variable = if name == "state" { "PYRO_HOME" } else { "PYRO_CACHE_DIR" };
    let Some(path) = &report.path else {
        let problem = report.problem.as_deref().unwrap_or_default();
        return Check::new(name, Verdict::Bad, format!("nobody knows where it is: {problem}"))
            .hint(format!("set HOME, or name it with {variable}"));
    };
    let path = path.display();
    match (&report.problem, report.free_bytes) {
        (Some(problem), _) => Check::new(name, Verdict::Bad, format!("{path}: {problem}"))
            .hint(format!("set {variable} to a directory that you can write to")),
        (None, Some(free)) if free < FREE_BYTES => {
            let summary = format!("{path}, only {} MiB free", free >> 20);
            Check::new(name, Verdict::Notice, summary).hint("pyro df")
        }
        (None, Some(free)) => Check::good(name, format!("{path}, {} GiB free", free >> 30)),
        (None, None) => Check::good(name, path.to_string()),
    }
}

fn backend_check(report: &BackendReport, is_picked: bool) -> Check {
    let name = report.backend.as_str();
    match (&report.proof, &report.problem) {
        (Some(proof), _) => {
            let version = report.program_version.as_deref().unwrap_or("unknown version");
            let picked = if is_picked { "picked" } else { "not picked" };
            let seconds = proof.boot_seconds;
            let summary = format!("{version}; booted a guest in {seconds:.1} s; {picked}");
            Check::good(name, summary)
        }
        (None, Some(problem)) => {
            let verdict = if is_picked { Verdict::Bad } else { Verdict::Notice };
            Check::problem(name, verdict, problem)
        }
        (None, None) => Check::new(name, Verdict::Notice, "not examined"),
    }
}

fn no_kernel() -> Problem {
    Problem::failed("no_kernel", "there is no kernel for guests yet")
        .hint("pyro env build debian:12")
}

fn kernel_check(kernel: Option<&Kernel>) -> Check {
    match kernel {
        Some(kernel) => {
            let manifest = &kernel.manifest;
            Check::good("kernel", format!("{} ({})", manifest.release, manifest.package))
        }
        None => Check::problem("kernel", Verdict::Bad, &no_kernel()),
    }
}

fn environment_check(environments: &[String]) -> Check {
    if environments.is_empty() {
        Check::new("environments", Verdict::Notice, "none yet").hint("pyro env build debian:12")
    } else {
        Check::good("environments", environments.join(", "))
    }
}

fn distribution_programs(programs: &HostPrograms) -> Vec<ProgramReport> {
    [
        ("mke2fs", "e2fsprogs", "workspace create"),
        ("mksquashfs", "squashfs-tools", "workspace create, env build, env import"),
        ("mmdebstrap", "mmdebstrap", "env build"),
        ("dpkg-deb", "dpkg", "env build"),
        ("xz", "xz-utils", "env build"),
    ]
    .map(|(name, package, needed_for)| ProgramReport {
        name,
        // These stand outside the PATH of users who are not root.
        path: programs
            .find(name)
            .or_else(|| HostPrograms::new(None, ["/usr/sbin".into(), "/sbin".into()]).find(name)),
        package,
        needed_for,
    })
    .into()
}

fn program_check(report: &ProgramReport) -> Option<Check> {
    if report.path.is_some() {
        return None;
    }
    let summary = format!("not installed, needed for {}", report.needed_for);
    let hint = format!("sudo apt-get install {}", report.package);
    Some(Check::new(report.name, Verdict::Notice, summary).hint(hint))
}
