//! Removing images that nothing needs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{Cache, Digest, Error, Result, cache::remove_tree, environment::ROOT};

/// What must stay whatever else is true: the digests workspaces hold.
#[derive(Clone, Default, Debug)]
pub struct InUse {
    /// Environments.
    pub environments: BTreeSet<Digest>,
    /// Kernels.
    pub kernels: BTreeSet<Digest>,
    /// Seeds.
    pub seeds: BTreeSet<Digest>,
}

/// What was removed.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Pruned {
    /// The directories of environments.
    pub environments: Vec<PathBuf>,
    /// The directories of kernels.
    pub kernels: Vec<PathBuf>,
    /// The directories of initramfs archives.
    pub initramfs: Vec<PathBuf>,
    /// The directories of seeds.
    pub seeds: Vec<PathBuf>,
    /// What that freed on disk, in bytes.
    pub freed_bytes: u64,
}

impl Cache {
    /// Removes images that no name means and no workspace holds, kernels other than the current
    /// one and seeds that no workspace holds, and every initramfs (each is made again when it is needed).
    /// An image with a second link is held by a workspace, maybe of another state directory.
    ///
    /// The caller must not start a machine at the same time.
    pub fn prune(&self, in_use: &InUse) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let environments = self.needed_environments(in_use)?;
        let mut kernels = in_use.kernels.clone();
        kernels.extend(self.kernel()?.map(|kernel| kernel.digest));
        let freed = &mut pruned.freed_bytes;
        pruned.environments =
            self.sweep("environments", |digest| !environments.contains(digest), freed)?;
        pruned.kernels = self.sweep("kernels", |digest| !kernels.contains(digest), freed)?;
        pruned.initramfs = self.sweep("boot", |_| true, freed)?;
        pruned.seeds =
            self.sweep(crate::seed::KIND, |digest| !in_use.seeds.contains(digest), freed)?;
        // Empty disks to copy from: small, made anew in milliseconds, and of no interest by name.
        self.sweep("disks", |_| true, freed)?;
        // Saved machines likewise, though not as small.
        self.sweep(crate::template::KIND, |_| true, freed)?;
        Ok(pruned)
    }

    /// Removes one image, unless a name means it or a workspace holds it; the caller as above.
    pub fn prune_environment(&self, image: &Digest, in_use: &InUse) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        let needed = self.needed_environments(in_use)?;
        let unused = |digest: &Digest| digest == image && !needed.contains(digest);
        pruned.environments = self.sweep("environments", unused, &mut pruned.freed_bytes)?;
        Ok(pruned)
    }

    fn needed_environments(&self, in_use: &InUse) -> Result<BTreeSet<Digest>> {
        let mut needed = in_use.environments.clone();
        needed.extend(self.name_records()?.into_iter().map(|record| record.digest));
        Ok(needed)
    }

    /// Removes all of a kind that is unused. A directory disappears under its name before its content
    /// is removed, so that nobody ever sees half of it.
    fn sweep(
        &self,
        kind: &str,
        is_unused: impl Fn(&Digest) -> bool,
        freed: &mut u64,
    ) -> Result<Vec<PathBuf>> {
        let directory = self.path().join(kind);
        let unreadable = |source| Error::Read { path: directory.clone(), source };
        let mut removed = Vec::new();
        for entry in fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            let digest = path.file_name().and_then(|name| name.to_str());
            let digest = digest.and_then(|name| name.parse::<Digest>().ok());
            // What is not ours is left alone.
            if digest.is_none_or(|digest| !is_unused(&digest)) || is_linked(&path) {
                continue;
            }
            let building = self.start_building()?;
            let doomed = building.content();
            fs::rename(&path, &doomed)
                .map_err(|source| Error::Remove { path: path.clone(), source })?;
            *freed += allocated(&doomed);
            remove_tree(&doomed)?;
            removed.push(path);
        }
        removed.sort();
        Ok(removed)
    }
}

/// Whether a workspace, of whatever state directory, holds the image by a link of its own.
fn is_linked(directory: &Path) -> bool {
    let linked = |name: &str| {
        let image = fs::symlink_metadata(directory.join(name));
        image.is_ok_and(|image| std::os::unix::fs::MetadataExt::nlink(&image) > 1)
    };
    linked(ROOT) || linked(crate::seed::IMAGE)
}

/// The bytes a directory's files take on disk.
pub(crate) fn allocated(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => allocated(&entry.path()),
            Ok(metadata) => std::os::unix::fs::MetadataExt::blocks(&metadata) * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use pyro_core::{EnvironmentName, Problem};

    use super::*;
    use crate::{Job, environment::import};

    fn tar_with(content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder.append_data(&mut header, "bin/sh", content).unwrap();
        builder.into_inner().unwrap()
    }

    #[test]
    fn only_what_nobody_names_or_holds_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let name: EnvironmentName = "mine".parse().unwrap();
        let mut digests = Vec::new();
        for content in [b"held", b"lost", b"used"] {
            let built = import(&cache, &name, &*tar_with(content), &Job::silent()).unwrap();
            digests.push(built.environment.digest);
        }
        fs::create_dir(home.path().join("environments/not-a-digest")).unwrap();
        let held = BTreeSet::from([digests[0].clone()]);
        let in_use = InUse { environments: held, ..InUse::default() };
        let pruned = cache.prune(&in_use).unwrap();
        assert_eq!(pruned.environments, [cache.place("environments", &digests[1])]);
        assert!(pruned.freed_bytes > 0);
        assert!(cache.environment_root(&digests[0]).is_some());
        assert_eq!(cache.environment(&name).unwrap().unwrap().digest, digests[2]);
        assert_eq!(cache.prune(&in_use).unwrap(), Pruned::default());
        cache.remove(&name).unwrap();
        let linked = home.path().join("link");
        fs::hard_link(cache.environment_root(&digests[2]).unwrap(), &linked).unwrap();
        let pruned = cache.prune(&InUse::default()).unwrap();
        assert_eq!(pruned.environments, [cache.place("environments", &digests[0])]);
        fs::remove_file(linked).unwrap();
        assert_eq!(cache.prune(&InUse::default()).unwrap().environments.len(), 1);
        assert!(home.path().join("environments/not-a-digest").exists());
    }

    #[test]
    fn one_image_goes_when_its_last_name_goes_and_takes_no_other_along() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let named = |name: &str| name.parse::<EnvironmentName>().unwrap();
        let make = |name: &str, content: &[u8]| {
            let tar = tar_with(content);
            import(&cache, &named(name), &*tar, &Job::silent()).unwrap().environment.digest
        };
        let unnamed = make("a", b"first");
        let digest = make("a", b"second");
        assert_eq!(make("b", b"second"), digest);
        let prune = || cache.prune_environment(&digest, &InUse::default()).unwrap().environments;
        assert_eq!(cache.remove(&named("a")).unwrap(), digest);
        assert!(prune().is_empty(), "b means it");
        assert_eq!(cache.remove(&named("b")).unwrap(), digest);
        assert_eq!(prune(), [cache.place("environments", &digest)]);
        assert!(cache.environment_root(&unnamed).is_some());

        let unknown = Problem::from(cache.remove(&named("b")).unwrap_err());
        assert_eq!(unknown.code, "environment_unknown");
        let missing = Problem::from(cache.remove(&named("debian:12")).unwrap_err());
        assert_eq!(missing.code, "environment_not_installed");
        make("mine", b"first");
        let unknown = Problem::from(cache.inspect(&named("nope")).unwrap_err());
        assert!(unknown.hints[0].contains("debian:12-build, mine;"), "{unknown:?}");
    }
}
