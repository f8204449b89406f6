//! What VMs are made of here: images, backends, the host's clock. Found once, used by every start.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use pyro_core::{EnvironmentName, Mebibytes, Problem};
use pyro_directory::Directory;
use pyro_image::{Cache, Digest, InstalledEnvironment, Kernel, template};
use pyro_store::{SeedRecord, WorkspaceRecord};
use pyro_vmm::{BackendName, Drives, Findings, HostClock, HostPrograms, Machine, choose, kvm};
use tokio::sync::{OnceCell, RwLock};

use crate::{
    creation::SeedChoice,
    disk::DiskFiles,
    error::{WorkspaceError, state_unwritable},
    layout::Layout,
    registry::Settings,
    template::{Missing, Starting, Templates},
    vm::Vm,
};

/// A backend that was picked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Picked {
    pub(crate) name: String,
    pub(crate) accelerated: bool,
}

/// An environment that was picked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PickedEnvironment {
    pub(crate) digest: String,
    pub(crate) version: Option<String>,
}

/// A machine that is being started.
#[derive(Debug)]
pub(crate) struct Boot {
    pub(crate) way: Way,
    starting: Starting,
}

/// How a machine comes to its agent.
#[derive(Debug)]
pub(crate) enum Way {
    /// It boots; with what would spare the next of its shape that, where that can be.
    Cold(Option<Missing>),
    /// It was saved by this name.
    Restored(Digest),
}

#[derive(Debug)]
pub(crate) struct Platform {
    images: Arc<Cache>,
    settings: Settings,
    programs: HostPrograms,
    clock: OnceCell<HostClock>,
    /// The measured verdict on KVM; the programs are looked for each time, so that one that was
    /// installed meanwhile is found.
    kvm: OnceCell<kvm::KvmReport>,
    initramfs: Arc<Initramfs>,
    templates: Arc<Templates>,
    /// Shared by whoever picks or reads images, held alone by whoever removes some.
    pub(crate) images_held: RwLock<()>,
}

impl Platform {
    pub(crate) fn open(settings: Settings) -> Result<Self, WorkspaceError> {
        let images = Arc::new(Cache::open(&settings.cache).map_err(Problem::from)?);
        let programs = HostPrograms::new(None, settings.search_path.iter().cloned());
        Ok(Self {
            images,
            templates: Arc::new(Templates::new(settings.instant_start)),
            settings,
            programs,
            clock: OnceCell::new(),
            kvm: OnceCell::new(),
            initramfs: Arc::default(),
            images_held: RwLock::new(()),
        })
    }

    pub(crate) fn images(&self) -> &Arc<Cache> {
        &self.images
    }

    /// Picks the backend: the one asked for, else the node's preference, else the best that runs.
    pub(crate) async fn choose(&self, asked: Option<&str>) -> Result<Picked, WorkspaceError> {
        let asked = asked.or(self.settings.backend.as_deref()).filter(|name| *name != "auto");
        let preference = asked.map(str::parse::<BackendName>).transpose().map_err(Problem::from)?;
        let chosen = choose(preference, &self.findings().await)?;
        Ok(Picked {
            name: chosen.backend.to_string(),
            accelerated: chosen.backend.is_accelerated(),
        })
    }

    async fn findings(&self) -> Findings {
        let kvm = self
            .kvm
            .get_or_init(|| kvm::report(&self.settings.program, Some(&self.settings.cache)))
            .await;
        Findings::new(kvm.clone(), &self.programs)
    }

    /// The image an environment's name means now.
    pub(crate) fn environment(
        &self,
        name: &EnvironmentName,
    ) -> Result<PickedEnvironment, WorkspaceError> {
        let installed: Option<InstalledEnvironment> =
            self.images.environment(name).map_err(Problem::from)?;
        let Some(installed) = installed else {
            // An unknown name is told from one that only has to be built.
            self.images.inspect(name).map_err(Problem::from)?;
            let missing = pyro_image::Error::NotInstalled { name: name.to_string() };
            return Err(Problem::from(missing).into());
        };
        Ok(PickedEnvironment {
            digest: installed.digest.to_string(),
            version: Some(installed.manifest.version),
        })
    }

    /// What is kept of a seed that a workspace is to begin with.
    pub(crate) fn seed(&self, choice: SeedChoice) -> Result<SeedRecord, WorkspaceError> {
        let seed = pyro_image::seed::find(&self.images, &choice.digest).map_err(Problem::from)?;
        let Some(seed) = seed else { return Err(WorkspaceError::SeedNotFound(choice.digest)) };
        Ok(SeedRecord {
            digest: seed.digest.to_string(),
            mode: choice.mode,
            path: choice.path,
            entry_count: seed.manifest.entry_count,
            bytes: seed.manifest.bytes,
            reused: choice.reused,
        })
    }

    /// Makes both writable disks of a workspace.
    pub(crate) async fn create_disks(
        &self,
        layout: &Layout,
        record: &WorkspaceRecord,
    ) -> Result<(), WorkspaceError> {
        let directory = layout.workspace(record.id);
        let (disk, agent) = (layout.disk(record.id), layout.agent_disk(record.id));
        let execs = layout.execs(record.id);
        let size = record.disk;
        let root = self.images.environment_root(&root_digest(record)?);
        let link = layout.root_link(record.id);
        let missing = missing_image(record);
        let seed = seed_digest(record)?;
        let seed_link = layout.seed_link(record.id);
        let missing_seed = missing_seed(record);
        let images = self.images.clone();
        blocking(move || {
            Directory::create(directory.clone())
                .and_then(|_| Directory::create(execs))
                .map_err(|error| state_unwritable(&error))?;
            hold(root.ok_or_else(|| missing.clone())?, &link, missing)?;
            if let Some(digest) = seed {
                let seed = pyro_image::seed::find(&images, &digest)?;
                let seed = seed.ok_or_else(|| missing_seed.clone())?;
                hold(seed.image, &seed_link, missing_seed)?;
            }
            pyro_image::disk::create_workspace(&images, &disk, size)?;
            pyro_image::disk::create_agent(&images, &agent)?;
            Ok(())
        })
        .await
    }

    /// Where the disks of a workspace are, as they are when it is started.
    pub(crate) async fn disk_files(
        &self,
        layout: &Layout,
        record: &WorkspaceRecord,
    ) -> Result<DiskFiles, WorkspaceError> {
        let _held = self.images_held.read().await;
        let images = self.images.clone();
        let digest = root_digest(record)?;
        let (link, workspace) = (layout.root_link(record.id), layout.disk(record.id));
        let missing = missing_image(record);
        let (seed, seed_link) = (seed_digest(record)?, layout.seed_link(record.id));
        let missing_seed = missing_seed(record);
        blocking(move || {
            let linked = || Some(link).filter(|link| link.exists());
            let root = images.environment_root(&digest).or_else(linked).ok_or(missing)?;
            let seed = seed_image(&images, seed, seed_link, missing_seed)?;
            Ok(DiskFiles { root, seed, workspace })
        })
        .await
    }

    /// Makes an empty workspace disk.
    pub(crate) async fn create_workspace_disk(
        &self,
        path: PathBuf,
        size: Mebibytes,
    ) -> Result<(), WorkspaceError> {
        let images = self.images.clone();
        blocking(move || Ok(pyro_image::disk::create_workspace(&images, &path, size)?)).await
    }

    /// Starts the VMM under its keeper, from a template where there is one and one may be used.
    /// The guest is not asked yet.
    pub(crate) async fn launch(
        &self,
        layout: &Layout,
        record: &WorkspaceRecord,
        use_template: bool,
    ) -> Result<(Vm, Boot), WorkspaceError> {
        let starting = self.templates.starting();
        let _held = self.images_held.read().await;
        let name: BackendName = record.backend.parse().map_err(Problem::from)?;
        let chosen = choose(Some(name), &self.findings().await)?;
        let clock = self.host_clock().await?;
        let images = self.images.clone();
        let (agent, initramfs) = (self.settings.agent, self.initramfs.clone());
        let digest = root_digest(record)?;
        let link = layout.root_link(record.id);
        let missing = missing_image(record);
        let seed = seed_digest(record)?;
        let seed_link = layout.seed_link(record.id);
        let missing_seed = missing_seed(record);
        let (disk, agent_disk) = (layout.disk(record.id), layout.agent_disk(record.id));
        let (vcpus, memory) = (record.vcpus, record.memory);
        let place = layout.vm(record.id);
        let templates = self.templates.clone();
        let (directory, way) = blocking(move || {
            let kernel = images.kernel()?.ok_or(pyro_image::Error::NoKernel)?;
            let linked = || Some(link).filter(|link| link.exists());
            let root = images.environment_root(&digest).or_else(linked).ok_or(missing)?;
            let seed = seed_image(&images, seed, seed_link, missing_seed)?;
            let machine = Machine {
                vcpus,
                memory,
                initramfs: initramfs.of(&images, &kernel, agent)?,
                kernel: kernel.vmlinux,
                drives: Drives { root, seed, workspace: disk, agent: agent_disk },
            };
            let directory = fresh_directory(place)?;
            let backend = chosen.backend.backend();
            let saves = backend.templates().filter(|_| templates.is_wanted());
            let key = match saves {
                None => None,
                Some(saves) => {
                    Some(template::key(&saves.shape(&chosen.program, &machine, clock)?))
                }
            };
            let usable = key.as_ref().filter(|key| use_template && !templates.is_given_up(key));
            let found = usable.and_then(|key| {
                template::find(&images, key).unwrap_or_else(|error| {
                    tracing::warn!(%key, %error, "a template cannot be used");
                    None
                })
            });
            let (launch, way) = match (saves, key, found) {
                (Some(saves), Some(key), Some(found)) => {
                    let launch = saves.restore(&chosen.program, &machine, clock, &found)?;
                    (launch, Way::Restored(key))
                }
                (_, key, _) => {
                    let launch = backend
                        .launch(&chosen.program, &machine, clock, &directory)
                        .map_err(Problem::from)?;
                    (launch, Way::Cold(key.map(|key| Missing { key, chosen, machine, clock })))
                }
            };
            let text = serde_json::to_vec_pretty(&launch)
                .map_err(|error| Problem::from_error("internal_error", &error))?;
            let unwritable = |error| state_unwritable(&error);
            directory.write_whole("launch.json", &text).map_err(unwritable)?;
            Vm::note_boot(&directory).map_err(unwritable)?;
            Ok((directory, way))
        })
        .await?;
        pyro_vmm::keeper::start(&self.settings.program, &directory).await.map_err(Problem::from)?;
        Ok((Vm::at(directory), Boot { way, starting }))
    }

    /// A start has gone well: what it missed is made in the background.
    pub(crate) fn has_started(&self, boot: Boot) {
        drop(boot.starting);
        let Way::Cold(Some(missing)) = boot.way else { return };
        let (templates, images) = (self.templates.clone(), self.images.clone());
        let program = self.settings.program.clone();
        // Not one of the tasks that are waited for: it ends with the node.
        tokio::spawn(async move { templates.make(images, &program, missing).await });
    }

    /// A machine came from this template to nothing, and went well without it.
    pub(crate) async fn discard(&self, key: Digest) {
        self.templates.give_up(&key);
        let images = self.images.clone();
        let removed = blocking(move || Ok(template::remove(&images, &key)?)).await;
        if let Err(error) = removed {
            tracing::warn!(%error, "a template cannot be removed");
        }
    }

    async fn host_clock(&self) -> Result<HostClock, WorkspaceError> {
        let cache = self.settings.cache.clone();
        let measured = self
            .clock
            .get_or_try_init(|| {
                blocking(move || HostClock::of_this_boot(&cache).map_err(Problem::from))
            })
            .await?;
        Ok(*measured)
    }
}

/// The last initramfs that was used, and the kernel it is for: its name is a digest of the whole
/// agent, which a boot need not wait for each time.
#[derive(Debug, Default)]
struct Initramfs(Mutex<Option<(Digest, PathBuf)>>);

impl Initramfs {
    fn of(&self, images: &Cache, kernel: &Kernel, agent: &[u8]) -> pyro_image::Result<PathBuf> {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, path)) = last.filter(|(of, path)| *of == kernel.digest && path.exists()) {
            return Ok(path);
        }
        let path = pyro_image::initramfs::build(images, kernel, agent)?;
        let found = Some((kernel.digest.clone(), path.clone()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(path)
    }
}

fn root_digest(record: &WorkspaceRecord) -> Result<Digest, WorkspaceError> {
    let parsed = record.environment_digest.parse();
    Ok(parsed.map_err(|error: pyro_image::InvalidDigest| {
        Problem::from_error("environment_missing", &error)
    })?)
}

/// Holds an image for a workspace by a link, where the file systems allow it.
fn hold(image: PathBuf, link: &Path, missing: Problem) -> Result<(), Problem> {
    match std::fs::hard_link(image, link) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing),
        Err(error) => {
            tracing::debug!(%error, "an image cannot be linked");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn seed_digest(record: &WorkspaceRecord) -> Result<Option<Digest>, WorkspaceError> {
    let parsed = record.seed.as_ref().map(|seed| seed.digest.parse()).transpose();
    Ok(parsed
        .map_err(|error: pyro_image::InvalidDigest| Problem::from_error("seed_missing", &error))?)
}

fn missing_seed(record: &WorkspaceRecord) -> Problem {
    let id = record.id;
    Problem::failed("seed_missing", format!("the seed that workspace {id} began with is gone"))
        .hint("make a new workspace from the same files")
}

/// What `/workspace` begins with: the workspace's own link to it, else what the cache has.
fn seed_image(
    images: &Cache,
    seed: Option<Digest>,
    link: PathBuf,
    missing: Problem,
) -> Result<PathBuf, Problem> {
    Ok(match seed {
        None => pyro_image::seed::empty(images)?,
        Some(_) if link.exists() => link,
        Some(digest) => pyro_image::seed::find(images, &digest)?.ok_or(missing)?.image,
    })
}

fn missing_image(record: &WorkspaceRecord) -> Problem {
    Problem::failed(
        "environment_missing",
        format!(
            "the image of {} that workspace {} stands on is gone",
            record.environment, record.id
        ),
    )
    .hint(format!("pyro env build {}, and a new workspace", record.environment))
}

/// An empty keeper's directory; what an ended VM left there goes.
fn fresh_directory(place: PathBuf) -> Result<Directory, Problem> {
    match std::fs::remove_dir_all(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(state_unwritable(&error));
        }
        _ => {}
    }
    Directory::create(place).map_err(|error| state_unwritable(&error))
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, WorkspaceError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(WorkspaceError::Told),
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}
