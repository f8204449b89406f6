//! Saved machines: which one a start can use, and the making of one that was missing.
//!
//! Made beside everything else, by a VM that belongs to no workspace and ends with this node.

use std::{
    collections::HashSet,
    fs::File,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use pyro_core::Problem;
use pyro_directory::Directory;
use pyro_image::{Cache, Digest, template};
use pyro_vmm::{Chosen, Drives, HostClock, Machine, Saving, Templates as Backend, keeper};
use tokio::sync::watch;

use crate::{error::state_unwritable, platform::blocking};

/// How long the machine that is saved may take; it runs at a low priority.
const PATIENCE: Duration = Duration::from_mins(5);

/// What is known of templates in this node.
#[derive(Debug)]
pub(crate) struct Templates {
    is_wanted: bool,
    /// How many machines are being started now.
    starts: watch::Sender<usize>,
    /// Those that could not be made, or came to nothing: this node does not try them again.
    given_up: Mutex<HashSet<Digest>>,
}

/// A machine is being started; dropped, it is no more.
#[derive(Debug)]
pub(crate) struct Starting(watch::Sender<usize>);

impl Drop for Starting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// What is needed to make a template.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    pub(crate) key: Digest,
    pub(crate) chosen: Chosen,
    pub(crate) machine: Machine,
    pub(crate) clock: HostClock,
}

impl Templates {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, starts: watch::Sender::new(0), given_up: Mutex::default() }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    pub(crate) fn starting(&self) -> Starting {
        self.starts.send_modify(|count| *count += 1);
        Starting(self.starts.clone())
    }

    /// Never uses or makes this one again.
    pub(crate) fn give_up(&self, key: &Digest) {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
    }

    pub(crate) fn is_given_up(&self, key: &Digest) -> bool {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).contains(key)
    }

    /// Makes a template once no machine is being started; whatever fails is logged.
    pub(crate) async fn make(&self, images: Arc<Cache>, program: &Path, missing: Missing) {
        let Some(backend) = missing.chosen.backend.backend().templates() else { return };
        if self.is_given_up(&missing.key) {
            return;
        }
        let _ = self.starts.subscribe().wait_for(|starts| *starts == 0).await;
        let begun = Instant::now();
        let key = missing.key.clone();
        let made = make(images, program, backend, missing);
        let late = || Problem::failed("template_failed", "the machine took too long");
        match tokio::time::timeout(PATIENCE, made).await.unwrap_or_else(|_| Err(late())) {
            Ok(true) => tracing::info!(%key, elapsed = ?begun.elapsed(), "made a template"),
            Ok(false) => tracing::debug!(%key, "somebody else makes a template"),
            Err(problem) => {
                self.give_up(&key);
                tracing::warn!(%key, %problem, "could not make a template");
            }
        }
    }
}

/// Boots a machine, saves it, and keeps what was saved. Whether it was made here.
async fn make(
    images: Arc<Cache>,
    program: &Path,
    backend: &'static dyn Backend,
    missing: Missing,
) -> Result<bool, Problem> {
    let cache = images.clone();
    let prepared = blocking(move || {
        let Some(draft) = template::begin(&cache, &missing.key)? else { return Ok(None) };
        let directory =
            Directory::create(draft.scratch()).map_err(|error| state_unwritable(&error))?;
        let (launch, saving) = launch(backend, &missing, &directory, draft.content())?;
        let text = serde_json::to_vec_pretty(&launch)
            .map_err(|error| Problem::from_error("internal_error", &error))?;
        directory.write_whole("launch.json", &text).map_err(|error| state_unwritable(&error))?;
        Ok(Some((draft, directory, saving)))
    });
    let Some((draft, directory, saving)) = prepared.await.map_err(Problem::from)? else {
        return Ok(false);
    };
    let leash = keeper::start_in_background(program, &directory).await?;
    let mut watch = keeper::Watch::begin(&directory).await?;
    let saved = tokio::select! {
        saved = saving.save() => saved.map_err(Problem::from),
        () = watch.ended() => {
            let said = keeper::exit(&directory)?.map(|exit| exit.last_output).unwrap_or_default();
            let last = said.lines().last().unwrap_or_default().trim().to_owned();
            Err(Problem::failed("template_failed", "the machine ended before it was saved").cause(last))
        }
    };
    // Its end is seen before its directory goes.
    drop(leash);
    watch.ended().await;
    saved?;
    blocking(move || Ok(draft.publish(&images)?)).await.map_err(Problem::from)?;
    Ok(true)
}

/// The machine with drives of its own: of the same sizes, and empty.
fn launch(
    backend: &dyn Backend,
    missing: &Missing,
    directory: &Directory,
    place: &Path,
) -> Result<(pyro_core::Launch, Saving), Problem> {
    let empty = |like: &Path, name: &str| {
        let path = directory.path().join(name);
        let made =
            std::fs::metadata(like).and_then(|like| File::create_new(&path)?.set_len(like.len()));
        made.map_err(|error| state_unwritable(&error))?;
        Ok::<_, Problem>(path)
    };
    let drives = &missing.machine.drives;
    let machine = Machine {
        drives: Drives {
            root: empty(&drives.root, "root.img")?,
            seed: empty(&drives.seed, "seed.img")?,
            workspace: empty(&drives.workspace, "workspace.img")?,
            agent: empty(&drives.agent, "agent.img")?,
        },
        ..missing.machine.clone()
    };
    Ok(backend.launch(&missing.chosen.program, &machine, missing.clock, directory, place)?)
}
