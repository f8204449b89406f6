//! What needs the distribution's package archive: run with `--run-ignored all`.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
};

use pyro_image::{Cache, Error, Job, Progress, environment};

/// The processes whose command line mentions this directory.
fn processes_of(directory: &Path) -> Vec<String> {
    let directory = directory.to_str().expect("temporary directories have plain names");
    fs::read_dir("/proc")
        .expect("/proc is mounted")
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(directory))
        .collect()
}

#[test]
#[ignore = "needs the package archive, mmdebstrap and a minute"]
fn a_build_cancelled_while_packages_are_installed_leaves_nothing() {
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    let cache = Cache::open(home.path()).unwrap();
    let handle: Arc<OnceLock<Job>> = Arc::default();
    let last: Arc<Mutex<String>> = Arc::default();
    let job = Job::new({
        let (handle, last) = (Arc::clone(&handle), Arc::clone(&last));
        move |progress| {
            if let Progress::Step { message, .. } = progress {
                if message.starts_with("installing") {
                    handle.get().unwrap().cancel();
                }
                *last.lock().unwrap() = message;
            }
        }
    });
    handle.set(job.clone()).unwrap();
    let result = environment::build(&cache, &"debian:12-base".parse().unwrap(), &job, false);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?} after {last:?}");
    assert_eq!(processes_of(home.path()), [""; 0]);
    let left: Vec<_> = fs::read_dir(home.path().join("building")).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "only the gate: {left:?}");
    assert_eq!(fs::read_dir(home.path().join("environments")).unwrap().count(), 0);
}
