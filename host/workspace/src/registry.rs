//! Every workspace of a node: making, finding, and what is shared by all.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pyro_core::{EnvironmentName, Problem, WorkspaceId, WorkspaceName};
use pyro_relay::SystemResolver;
use pyro_store::{Phase, Store, WorkspaceKind, WorkspaceRecord};
use tokio::sync::{RwLockReadGuard, oneshot, watch};
use tokio_util::task::TaskTracker;

use crate::{
    crash::CrashPoint,
    creation::Creation,
    error::WorkspaceError,
    layout::{Layout, occupied_bytes},
    owner::Handle,
    platform::Platform,
    vm::Vm,
    warm::Pool,
};

/// The host's own names.
const HOSTS: &str = "/etc/hosts";

/// How long a node's start waits for what the node before left to be brought in order; beyond that
/// it goes on in the background.
const SETTLE: Duration = Duration::from_secs(10);

/// Where a node works and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state directory.
    pub state: PathBuf,
    /// The image cache.
    pub cache: PathBuf,
    /// The `pyro` binary, which is also the keeper.
    pub program: PathBuf,
    /// The guest agent's binary.
    pub agent: &'static [u8],
    /// Directories searched for VMMs.
    pub search_path: Vec<PathBuf>,
    /// The backend to use where a creation names none; else the host's probe decides.
    pub backend: Option<String>,
    /// Whether machines are started from templates, where the backend can.
    pub instant_start: bool,
    /// How many VMs are started before anybody asks for them.
    pub warm_vms: usize,
    /// For tests: the step at which this node is to die as by `kill -9`.
    pub crash_at: Option<String>,
}

/// What all owners share.
pub(crate) struct Context {
    pub(crate) store: Store,
    pub(crate) layout: Layout,
    pub(crate) platform: Platform,
    pub(crate) crash: CrashPoint,
    pub(crate) tasks: TaskTracker,
    pub(crate) warm: Pool,
    /// What relays are made with; they share one resolver.
    pub(crate) outgoing: pyro_relay::Settings,
    /// Changes whenever an event was kept.
    pub(crate) events: watch::Sender<u64>,
    handles: Mutex<BTreeMap<WorkspaceId, Handle>>,
}

impl fmt::Debug for Context {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Context").field("layout", &self.layout).finish_non_exhaustive()
    }
}

impl Context {
    fn handles(&self) -> MutexGuard<'_, BTreeMap<WorkspaceId, Handle>> {
        // Nothing can panic halfway through a change of the map.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn find(&self, id: WorkspaceId) -> Option<Handle> {
        self.handles().get(&id).cloned()
    }

    pub(crate) fn forget(&self, id: WorkspaceId) {
        self.handles().remove(&id);
    }
}

/// Every workspace of this node.
#[derive(Clone, Debug)]
pub struct Workspaces {
    context: Arc<Context>,
}

impl Workspaces {
    /// Opens the state directory and brings what the node before left in order: adopts VMs that
    /// run, finishes or undoes half-done operations, removes what belongs to nobody.
    ///
    /// The caller holds the node's lock.
    pub async fn open(settings: Settings) -> Result<Self, WorkspaceError> {
        let layout = Layout::new(&settings.state);
        std::fs::create_dir_all(layout.workspaces())
            .map_err(WorkspaceError::file(layout.workspaces()))?;
        // What is in it is for its owner alone, whoever made the directory.
        std::fs::set_permissions(&settings.state, Permissions::from_mode(0o700))
            .map_err(WorkspaceError::file(&settings.state))?;
        let store = Store::open(&layout.database())?;
        let records = store.workspaces()?;
        let context = Arc::new(Context {
            store,
            layout,
            crash: CrashPoint::new(settings.crash_at.clone()),
            warm: Pool::new(settings.warm_vms),
            platform: Platform::open(settings)?,
            tasks: TaskTracker::new(),
            outgoing: pyro_relay::Settings::new(Arc::new(SystemResolver::new(HOSTS))),
            events: watch::Sender::default(),
            handles: Mutex::default(),
        });
        let known: HashSet<_> = records.iter().map(|record| record.id).collect();
        let mut settled = Vec::new();
        for mut record in records {
            if record.is_warm {
                // Whoever kept it for others is gone.
                record.phase = Phase::Deleting;
            }
            let (tell, told) = oneshot::channel();
            let id = record.id;
            let handle = Handle::own(context.clone(), record, tell, false);
            context.handles().insert(id, handle);
            settled.push(told);
        }
        let all = async {
            for told in settled {
                let _ = told.await;
            }
        };
        if tokio::time::timeout(SETTLE, all).await.is_err() {
            tracing::warn!("some workspaces are still being brought in order");
        }
        let workspaces = Self { context };
        workspaces.remove_strays(&known).await;
        Ok(workspaces)
    }

    /// Removes directories that no record speaks of.
    async fn remove_strays(&self, known: &HashSet<WorkspaceId>) {
        let Ok(entries) = std::fs::read_dir(self.context.layout.workspaces()) else { return };
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<WorkspaceId>().ok());
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            tracing::info!(workspace = %id, "removing a directory that belongs to no workspace");
            if let Some(vm) = Vm::adopt(&self.context.layout.vm(id)) {
                vm.kill().await;
            }
            if let Err(error) = std::fs::remove_dir_all(entry.path()) {
                tracing::warn!(workspace = %id, %error, "could not remove a stray directory");
            }
        }
    }

    /// Makes a workspace and starts it; returns once its guest is ready.
    pub async fn create(&self, creation: Creation) -> Result<Handle, WorkspaceError> {
        let context = &self.context;
        let held = context.platform.images_held.read().await;
        let environment = context.platform.environment(&creation.environment)?;
        let seed = creation.seed.map(|choice| context.platform.seed(choice)).transpose()?;
        let chosen = context.platform.choose(creation.backend.as_deref()).await?;
        let now = now_millis();
        let wanted = WorkspaceRecord {
            id: WorkspaceId::from_random(random_bits()),
            kind: creation.kind,
            name: creation.name,
            labels: creation.labels,
            environment: creation.environment,
            environment_version: environment.version,
            environment_digest: environment.digest,
            vcpus: creation.vcpus,
            memory: creation.memory,
            disk: creation.disk,
            ttl_seconds: creation.ttl_seconds,
            on_expiry: creation.on_expiry,
            backend: chosen.name,
            accelerated: chosen.accelerated,
            created_at: now,
            last_activity_at: now,
            phase: Phase::Creating,
            stop_reason: None,
            stop_detail: None,
            was_started: false,
            command_count: 0,
            last_command: None,
            workload_restarts: 0,
            holds_services: false,
            network: creation.network.record().clone(),
            published: Vec::new(),
            is_warm: false,
            seed,
            checkpoints: pyro_store::Checkpoints::default(),
        };
        // The seed drive of a warm VM is empty, and in use.
        let warm = if wanted.seed.is_none() { self.claim(&wanted).await } else { None };
        let handle = if let Some(handle) = warm { handle } else { self.make(wanted, held).await? };
        self.restock(&handle);
        Ok(handle)
    }

    /// Makes the workspace of a record. The images are held until the record holds them.
    pub(crate) async fn make(
        &self,
        record: WorkspaceRecord,
        held: RwLockReadGuard<'_, ()>,
    ) -> Result<Handle, WorkspaceError> {
        let context = &self.context;
        context.store.save_workspace_durably(&record)?;
        let (tell, told) = oneshot::channel();
        let id = record.id;
        let handle = Handle::own(context.clone(), record, tell, true);
        context.handles().insert(id, handle.clone());
        // From here on the record holds its image.
        drop(held);
        match told.await {
            Ok(Ok(())) => Ok(handle),
            Ok(Err(error)) => {
                context.forget(id);
                Err(error)
            }
            Err(_) => Err(WorkspaceError::Gone(id)),
        }
    }

    pub(crate) fn context(&self) -> &Context {
        &self.context
    }

    /// Every workspace, and one-shot VMs too where asked. Warm VMs are nobody's.
    pub fn all(&self, with_vms: bool) -> Vec<Handle> {
        let handles = self.context.handles();
        let wanted = |handle: &&Handle| {
            let record = &handle.snapshot().record;
            !record.is_warm && (with_vms || record.kind == WorkspaceKind::Workspace)
        };
        handles.values().filter(wanted).cloned().collect()
    }

    /// Finds one by its id, a unique prefix of it (4 characters or more), or its name.
    pub fn find(&self, reference: &str) -> Result<Handle, WorkspaceError> {
        let handles = self.context.handles();
        let is_somebodys = |handle: &&Handle| !handle.snapshot().record.is_warm;
        let by_id = reference.parse().ok().and_then(|id: WorkspaceId| handles.get(&id));
        if let Some(handle) = by_id.filter(is_somebodys) {
            return Ok(handle.clone());
        }
        let name: Option<WorkspaceName> = reference.parse().ok();
        let named =
            handles.values().find(|handle| name.is_some() && handle.snapshot().record.name == name);
        if let Some(handle) = named {
            return Ok(handle.clone());
        }
        let fits = |handle: &&Handle| handle.id.to_string().starts_with(reference);
        let fitting: Vec<_> = if reference.len() >= 4 {
            handles.values().filter(fits).filter(is_somebodys).collect()
        } else {
            Vec::new()
        };
        match fitting.as_slice() {
            [] => Err(WorkspaceError::NotFound(reference.chars().take(160).collect())),
            [one] => Ok((*one).clone()),
            many => Err(WorkspaceError::Ambiguous {
                reference: reference.to_owned(),
                candidates: many.iter().map(|handle| handle.id.to_string()).collect(),
            }),
        }
    }

    /// The images of this node.
    pub fn images(&self) -> Arc<pyro_image::Cache> {
        self.context.platform.images().clone()
    }

    /// Removes images that no name means and no workspace stands on; no machine starts meanwhile.
    pub async fn prune_images(&self) -> Result<pyro_image::Pruned, WorkspaceError> {
        self.with_unused_images(pyro_image::Cache::prune).await
    }

    /// Takes an environment's name away, and its image where nothing else needs it; no machine
    /// starts meanwhile.
    pub async fn delete_environment(
        &self,
        name: EnvironmentName,
    ) -> Result<pyro_image::Pruned, WorkspaceError> {
        self.with_unused_images(move |images, in_use| {
            let image = images.remove(&name)?;
            images.prune_environment(&image, in_use)
        })
        .await
    }

    async fn with_unused_images(
        &self,
        remove: impl FnOnce(
            &pyro_image::Cache,
            &pyro_image::InUse,
        ) -> pyro_image::Result<pyro_image::Pruned>
        + Send
        + 'static,
    ) -> Result<pyro_image::Pruned, WorkspaceError> {
        let context = self.context.clone();
        self.cool_down().await;
        let _held = context.platform.images_held.write().await;
        let mut in_use = pyro_image::InUse::default();
        for handle in context.handles().values() {
            let record = &handle.snapshot().record;
            in_use.environments.extend(record.environment_digest.parse());
            in_use.seeds.extend(record.seed.as_ref().and_then(|seed| seed.digest.parse().ok()));
        }
        let images = self.images();
        let pruned = tokio::task::spawn_blocking(move || remove(&images, &in_use))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        Ok(pruned.map_err(Problem::from)?)
    }

    /// Where tasks go that must be done with before the node ends.
    pub fn tasks(&self) -> &TaskTracker {
        &self.context.tasks
    }
}

impl Handle {
    /// Bytes its workspace disk and its snapshots occupy on the host. Blocking, but cheap.
    pub fn disk_bytes(&self) -> u64 {
        let layout = &self.context.layout;
        let disks = [layout.disk(self.id), layout.next_disk(self.id), layout.last_disk(self.id)];
        let snapshots = occupied_bytes(&layout.snapshots(self.id));
        disks.iter().map(|disk| occupied_bytes(disk)).sum::<u64>() + snapshots
    }

    /// Bytes of its agent disk and of the records kept for it. Blocking.
    pub fn record_bytes(&self) -> u64 {
        let layout = &self.context.layout;
        occupied_bytes(&layout.agent_disk(self.id))
            + occupied_bytes(&layout.execs(self.id))
            + occupied_bytes(&layout.services(self.id))
    }
}

/// Unix time in milliseconds.
pub(crate) fn now_millis() -> u64 {
    now_nanos() / 1_000_000
}

/// Unix time in nanoseconds.
pub(crate) fn now_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Random bytes from the kernel.
pub(crate) fn entropy() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    let flags = rustix::rand::GetRandomFlags::empty();
    // Up to 256 bytes come whole and without error once the pool is ready, which it is long since.
    let filled = rustix::rand::getrandom(bytes.as_mut_slice(), flags).unwrap_or(0);
    bytes.truncate(filled);
    bytes
}

/// Random bits for an id.
pub(crate) fn random_bits() -> u64 {
    let bytes = entropy();
    bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pyro_core::{ExecId, ExitStatus};
    use pyro_store::{ExecRecord, ExecState};

    use super::*;

    /// A stopped workspace's record, as a node before left it.
    fn stopped(id: u64, name: Option<&str>) -> WorkspaceRecord {
        WorkspaceRecord {
            id: WorkspaceId::from_random(id),
            kind: WorkspaceKind::Workspace,
            name: name.map(|name| name.parse().unwrap()),
            labels: BTreeMap::new(),
            environment: "debian:12".parse().unwrap(),
            environment_version: None,
            environment_digest: "0".repeat(64),
            vcpus: pyro_core::VcpuCount::ONE,
            memory: pyro_core::Mebibytes::new(256),
            disk: pyro_core::Mebibytes::new(1024),
            ttl_seconds: None,
            on_expiry: pyro_store::OnExpiry::Stop,
            backend: "qemu".into(),
            accelerated: false,
            created_at: 1,
            last_activity_at: 1,
            phase: Phase::Stopped,
            stop_reason: None,
            stop_detail: None,
            was_started: true,
            command_count: 0,
            last_command: None,
            workload_restarts: 0,
            holds_services: false,
            network: pyro_store::NetworkRecord::default(),
            published: Vec::new(),
            is_warm: false,
            seed: None,
            checkpoints: pyro_store::Checkpoints::default(),
        }
    }

    /// An exec's record, of the workspace 7.
    fn ended(id: u64) -> ExecRecord {
        ExecRecord {
            id: ExecId::from_random(id),
            workspace: WorkspaceId::from_random(7),
            sequence: 1,
            command: "true".into(),
            cwd: "/workspace".into(),
            detached: false,
            state: ExecState::Ended(ExitStatus::Code(0)),
            timed_out: false,
            cancelled: false,
            oom_killed: false,
            started_at: 1,
            ended_at: Some(2),
            duration_micros: 1000,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_from: 0,
            dropped_to: 0,
            left_behind: 0,
            memory_peak_bytes: 0,
            cpu_micros: 0,
            output_kept: true,
            network_denied: Vec::new(),
        }
    }

    /// The workspaces of a state directory that a node before left so.
    async fn found(home: &Path, records: &[WorkspaceRecord], execs: &[ExecRecord]) -> Workspaces {
        let state = home.join("state");
        std::fs::create_dir(&state).unwrap();
        let store = Store::open(&Layout::new(&state).database()).unwrap();
        for record in records {
            store.save_workspace_durably(record).unwrap();
        }
        for exec in execs {
            store.save_exec(exec).unwrap();
        }
        drop(store);
        Workspaces::open(Settings {
            state,
            cache: home.join("cache"),
            program: "/nonexistent/pyro".into(),
            agent: b"",
            search_path: Vec::new(),
            backend: None,
            instant_start: false,
            warm_vms: 0,
            crash_at: None,
        })
        .await
        .unwrap()
    }

    #[tokio::test]
    async fn a_prefix_that_fits_two_execs_is_told_with_both() {
        let home = tempfile::tempdir().unwrap();
        let execs = [ended(0xabcd_1111_1111), ended(0xabcd_2222_2222)];
        let workspaces = found(home.path(), &[stopped(7, None)], &execs).await;
        let workspace = workspaces.find("000000000007").unwrap();
        let ambiguous = Problem::from(workspace.find_exec("abcd").unwrap_err());
        assert_eq!(ambiguous.code, "exec_ambiguous");
        for id in ["abcd11111111", "abcd22222222"] {
            assert!(ambiguous.message.contains(id), "{ambiguous}");
        }
        assert_eq!(workspace.find_exec("abcd2").unwrap(), execs[1]);
        let short = Problem::from(workspace.find_exec("abc").unwrap_err());
        assert_eq!(short.code, "exec_not_found", "too short for a prefix");
    }

    #[tokio::test]
    async fn a_prefix_that_fits_two_is_told_with_both_and_a_name_goes_before_it() {
        let home = tempfile::tempdir().unwrap();
        let records = [(0xabcd_1111_1111, None), (0xabcd_2222_2222, None), (7, Some("abcd2"))];
        let records = records.map(|(id, name)| stopped(id, name));
        let workspaces = found(home.path(), &records, &[]).await;
        let problem = |reference| Problem::from(workspaces.find(reference).unwrap_err());
        let ambiguous = problem("abcd");
        assert_eq!(ambiguous.code, "workspace_ambiguous");
        for id in ["abcd11111111", "abcd22222222"] {
            assert!(ambiguous.message.contains(id), "{ambiguous}");
            assert_eq!(workspaces.find(id).unwrap().id().to_string(), id);
        }
        assert_eq!(workspaces.find("abcd1").unwrap().id().to_string(), "abcd11111111");
        assert_eq!(workspaces.find("abcd2").unwrap().id().to_string(), "000000000007");
        assert_eq!(problem("abc").code, "workspace_not_found", "too short for a prefix");
    }
}
