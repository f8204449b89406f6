//! The kernel of every guest: Debian's cloud kernel, taken out of its signed package.
//!
//! Owns what is fetched, what is taken from it and in which order modules are loaded. The package
//! comes from the distribution's archive, through `mmdebstrap` and `apt`, which verify the
//! archive's signature with the distribution's keyring; no host name stands here. A kernel built
//! from source would be published into the same form.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::{Deserialize, Serialize};
use tar::Archive;

use crate::{
    Cache, Digest, Error, Job, Result, bootstrap,
    bzimage::extract_vmlinux,
    cache::{make_directory, write_synced},
    modinfo,
    program::Program,
};

/// The inputs that were tested, in the form of `inputs.lock.toml`.
const LOCK: &str = include_str!("../../../runtime_sources/linux-x86_64/inputs.lock.toml");

/// Depends on the newest kernel of its release.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// What guests need, in the order in which it is loaded; what these need is loaded before them.
const MODULES: [&str; 11] = [
    "virtio_ring",
    "virtio",
    "virtio_mmio",
    "virtio_blk",
    "virtio_console",
    "virtio_rng",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "overlay",
    "squashfs",
    "tun",
];

/// What must be in the kernel itself.
const BUILT_IN: [&str; 1] = ["ext4"];

/// Changes whenever a kernel is taken apart in another way.
const FORMAT: u32 = 1;

const PACKAGE_LIMIT: u64 = 1 << 30;
const FILE_LIMIT: u64 = 256 << 20;

const DPKG_DEB: Program = Program { name: "dpkg-deb", packages: "dpkg" };

/// A kernel in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Names it.
    pub digest: Digest,
    /// The uncompressed kernel, an ELF file.
    pub vmlinux: PathBuf,
    /// The modules in the order in which they are loaded.
    pub modules: Vec<PathBuf>,
    /// Where it came from.
    pub manifest: KernelManifest,
}

/// Where a kernel came from and what belongs to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KernelManifest {
    /// The layout of the directory.
    pub format: u32,
    /// What `uname -r` says in a guest.
    pub release: String,
    /// The binary package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// The SHA-256 of the package file.
    pub package_sha256: Digest,
    /// Whether it is the tested one of the lock file.
    pub locked: bool,
    /// The SHA-256 of `vmlinux`.
    pub vmlinux_sha256: Digest,
    /// The files in `modules/`, in loading order.
    pub modules: Vec<String>,
}

#[derive(Deserialize)]
struct LockFile {
    kernel: LockedKernel,
}

#[derive(Deserialize)]
struct LockedKernel {
    suite: String,
    package: String,
    version: String,
    sha256: Digest,
}

#[derive(Serialize, Deserialize)]
struct Current {
    digest: Digest,
    /// What it was made from: another value means that it is to be made again.
    inputs: Digest,
}

/// A kernel and whether it was there already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BuiltKernel {
    /// The kernel.
    pub kernel: Kernel,
    /// Nothing had to be done.
    pub up_to_date: bool,
}

/// Makes the kernel unless it is there; `force` fetches it again.
///
/// Where the archive no longer offers the tested version, the newest one is taken, with a notice.
pub fn build(cache: &Cache, job: &Job, force: bool) -> Result<BuiltKernel> {
    let locked =
        toml::from_str::<LockFile>(LOCK).map_err(|error| Error::LockFile(Box::new(error)))?.kernel;
    let inputs = inputs();
    let _lock = cache.lock("kernel", job)?;
    if let (false, Some(current)) = (force, current(cache)?)
        && current.inputs == inputs
        && let Some(kernel) = installed(cache, current.digest)?
    {
        return Ok(BuiltKernel { kernel, up_to_date: true });
    }
    job.step("fetching the kernel package", 0.0);
    let building = cache.start_building()?;
    let scratch = building.make_scratch()?;
    let content = building.make_content()?;
    let package = fetch(job, &locked, &scratch)?;
    let name = package.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let (package_name, version) = package_of_file(name);
    let package_sha256 = Digest::of_file(&package)
        .map_err(|source| Error::Read { path: package.clone(), source })?;
    let is_locked = package_sha256 == locked.sha256;
    if !is_locked {
        job.notice(format!(
            "the archive offers {package_name} {version}; tested is {} {}",
            locked.package, locked.version
        ));
    }
    job.step("unpacking the kernel package", 0.6);
    let unpacked = unpack(job, &package)?;
    job.step("extracting the kernel", 0.8);
    let vmlinux = extract_vmlinux(job, &unpacked.image, &scratch)?;
    write_synced(&content.join("vmlinux"), &vmlinux)?;
    let modules = content.join("modules");
    make_directory(&modules)?;
    let mut names = Vec::new();
    let mut parts = vec![&*vmlinux];
    for (number, name) in loading_order(&unpacked)?.into_iter().enumerate() {
        let file = format!("{number:02}-{name}.ko");
        write_synced(&modules.join(&file), &unpacked.modules[&name])?;
        parts.push(&unpacked.modules[&name]);
        names.push(file);
    }
    let format = FORMAT.to_le_bytes();
    parts.push(&format);
    let digest = Digest::of_parts(&parts);
    let manifest = KernelManifest {
        format: FORMAT,
        release: unpacked.release.clone(),
        package: package_name,
        version,
        package_sha256,
        locked: is_locked,
        vmlinux_sha256: Digest::of(&vmlinux),
        modules: names,
    };
    write_synced(&content.join("manifest.json"), &crate::cache::as_json(&manifest))?;
    cache.publish(&building, "kernels", &digest)?;
    cache.write_root_record("kernel.json", &Current { digest: digest.clone(), inputs })?;
    job.step(format!("kernel {} is ready", manifest.release), 1.0);
    let kernel = installed(cache, digest)?.ok_or(Error::NoKernel)?;
    Ok(BuiltKernel { kernel, up_to_date: false })
}

impl Cache {
    /// The kernel that new machines boot; `None` where none was built.
    pub fn kernel(&self) -> Result<Option<Kernel>> {
        match current(self)? {
            Some(current) => installed(self, current.digest),
            None => Ok(None),
        }
    }
}

fn current(cache: &Cache) -> Result<Option<Current>> {
    Cache::read_record(&cache.path().join("kernel.json"))
}

fn installed(cache: &Cache, digest: Digest) -> Result<Option<Kernel>> {
    let place = cache.place("kernels", &digest);
    let manifest: Option<KernelManifest> = Cache::read_record(&place.join("manifest.json"))?;
    Ok(manifest.map(|manifest| Kernel {
        digest,
        vmlinux: place.join("vmlinux"),
        modules: manifest.modules.iter().map(|name| place.join("modules").join(name)).collect(),
        manifest,
    }))
}

fn inputs() -> Digest {
    let mut parts: Vec<&[u8]> = vec![LOCK.as_bytes()];
    let format = FORMAT.to_le_bytes();
    parts.push(&format);
    parts.extend(MODULES.iter().map(|name| name.as_bytes()));
    Digest::of_parts(&parts)
}

/// Gets the package file into the directory: the tested version, or else the newest.
fn fetch(job: &Job, locked: &LockedKernel, directory: &Path) -> Result<PathBuf> {
    // The hook runs outside the (empty) root, with the signed package lists just fetched. Its
    // files leave by the tar on stdout, which also works across a user namespace.
    let hook = format!(
        r#"set -e
        mkdir "$1/kernel"
        cd "$1/kernel"
        export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
        apt-get download {package}={version} || {{
            newest=$(apt-cache depends --important {META_PACKAGE} |
                sed -n 's/^.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
            apt-get download "${{newest:?no kernel}}"
        }}
        rm -rf "$1/var""#,
        package = locked.package,
        version = locked.version,
    );
    let mut running = bootstrap::start(
        job,
        directory,
        |command| {
            command.args(["--variant=custom", "--skip=cleanup"]);
            command.arg(format!("--extract-hook={hook}")).arg(&locked.suite);
        },
        |_| (),
    )?;
    let mut stdout = running.take_stdout();
    let package = keep_package(&mut stdout, directory);
    // Read to the end in any case: a program whose output is cut off fails for that alone.
    let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    running.finish()?;
    package?.ok_or(Error::NoKernelPackage { package: META_PACKAGE })
}

/// Keeps the package of a tar that holds one.
fn keep_package(tar: impl Read, directory: &Path) -> Result<Option<PathBuf>> {
    let mut archive = Archive::new(tar);
    let mut kept = None;
    for entry in archive.entries().map_err(Error::Archive)? {
        let mut entry = entry.map_err(Error::Archive)?;
        let path = entry.path_bytes().into_owned();
        let Some(name) = path.strip_prefix(b"./kernel/") else { continue };
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if !name.contains('/') && name.starts_with("linux-image-") {
            let path = directory.join(name);
            let mut write = || {
                let mut file = std::fs::File::create_new(&path)?;
                std::io::copy(&mut entry.by_ref().take(PACKAGE_LIMIT), &mut file)
            };
            write().map_err(|source| Error::Write { path: path.clone(), source })?;
            kept = Some(path);
        }
    }
    Ok(kept)
}

/// The package and version in a name like `NAME_VERSION_amd64.deb`.
fn package_of_file(name: &str) -> (String, String) {
    let mut parts = name.split('_');
    let package = parts.next().unwrap_or_default();
    // apt writes the colon of an epoch as %3a.
    let version = parts.next().unwrap_or_default().replace("%3a", ":");
    (package.to_owned(), version)
}

/// What is needed of a kernel package.
#[derive(Default)]
struct Unpacked {
    release: String,
    image: Vec<u8>,
    /// By name, with `_` for `-`.
    modules: BTreeMap<String, Vec<u8>>,
    /// The paths of what is built in, one per line.
    built_in: String,
}

fn unpack(job: &Job, package: &Path) -> Result<Unpacked> {
    let mut running = DPKG_DEB.start(
        job,
        |command| {
            command.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped());
        },
        |_| (),
    )?;
    let mut stdout = running.take_stdout();
    let unpacked = read_package(&mut stdout);
    let _ = std::io::copy(&mut stdout, &mut std::io::sink());
    running.finish()?;
    unpacked
}

fn read_package(tar: impl Read) -> Result<Unpacked> {
    let mut archive = Archive::new(tar);
    let mut unpacked = Unpacked::default();
    for entry in archive.entries().map_err(Error::Archive)? {
        let mut entry = entry.map_err(Error::Archive)?;
        let path = entry.path_bytes().into_owned();
        let Ok(path) = std::str::from_utf8(&path) else { continue };
        let path = path.trim_start_matches("./");
        let mut content = || {
            let mut content = Vec::new();
            entry.by_ref().take(FILE_LIMIT).read_to_end(&mut content).map_err(Error::Archive)?;
            Ok::<_, Error>(content)
        };
        if let Some(release) = path.strip_prefix("boot/vmlinuz-") {
            release.clone_into(&mut unpacked.release);
            unpacked.image = content()?;
        } else if path.ends_with("/modules.builtin") {
            unpacked.built_in = String::from_utf8_lossy(&content()?).into_owned();
        } else if path.contains("/kernel/")
            && let Some(name) = module_name(path)
        {
            let content = content()?;
            unpacked.modules.insert(name, content);
        }
    }
    if unpacked.image.is_empty() {
        return Err(Error::KernelImage { reason: "the package has no /boot/vmlinuz".to_owned() });
    }
    Ok(unpacked)
}

/// The name of the module at a path.
fn module_name(path: &str) -> Option<String> {
    path.rsplit('/').next()?.strip_suffix(".ko").map(modinfo::normal)
}

/// All needed modules, each after those it needs.
fn loading_order(unpacked: &Unpacked) -> Result<Vec<String>> {
    let built_in: BTreeSet<String> = unpacked.built_in.lines().filter_map(module_name).collect();
    if let Some(missing) = BUILT_IN.iter().find(|name| !built_in.contains(**name)) {
        return Err(Error::MissingModule { module: (*missing).to_owned() });
    }
    let mut order = Vec::new();
    for name in MODULES {
        append(name, unpacked, &built_in, &mut order, 0)?;
    }
    Ok(order)
}

fn append(
    name: &str,
    unpacked: &Unpacked,
    built_in: &BTreeSet<String>,
    order: &mut Vec<String>,
    depth: usize,
) -> Result<()> {
    if built_in.contains(name) || order.iter().any(|loaded| loaded == name) {
        return Ok(());
    }
    let missing = || Error::MissingModule { module: name.to_owned() };
    // A circle of modules could never be loaded.
    if depth > 16 {
        return Err(missing());
    }
    let content = unpacked.modules.get(name).ok_or_else(missing)?;
    for needed in modinfo::dependencies(content).ok_or_else(missing)? {
        append(&needed, unpacked, built_in, order, depth + 1)?;
    }
    order.push(name.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::tests::module;

    fn unpacked(modules: &[(&str, &str)], built_in: &str) -> Unpacked {
        let modules = modules
            .iter()
            .map(|(name, needs)| {
                (modinfo::normal(name), module(format!("depends={needs}\0").as_bytes()))
            })
            .collect();
        Unpacked { modules, built_in: built_in.to_owned(), ..Unpacked::default() }
    }

    const DEBIAN: [(&str, &str); 12] = [
        ("virtio_ring", "virtio"),
        ("virtio", ""),
        ("virtio_mmio", "virtio,virtio_ring"),
        ("virtio_blk", "virtio_ring,virtio"),
        ("virtio_console", "virtio_ring,virtio"),
        ("virtio-rng", "rng-core,virtio"),
        ("vsock", ""),
        ("vmw_vsock_virtio_transport_common", "vsock"),
        ("vmw_vsock_virtio_transport", "vmw_vsock_virtio_transport_common,virtio"),
        ("overlay", ""),
        ("squashfs", ""),
        ("tun", ""),
    ];

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let built_in = "kernel/fs/ext4/ext4.ko\nkernel/drivers/char/hw_random/rng-core.ko\n";
        let order = loading_order(&unpacked(&DEBIAN, built_in)).unwrap();
        let place = |name: &str| order.iter().position(|n| n == name).unwrap();
        assert_eq!(order.len(), DEBIAN.len());
        assert!(place("virtio") < place("virtio_ring"));
        assert!(place("vsock") < place("vmw_vsock_virtio_transport_common"));
    }

    #[test]
    fn a_kernel_that_lacks_something_is_refused_by_name() {
        let missing = |unpacked: &Unpacked| loading_order(unpacked).unwrap_err().to_string();
        assert!(missing(&unpacked(&DEBIAN, "")).contains("ext4"));
        let without = unpacked(&DEBIAN, "kernel/fs/ext4/ext4.ko\n");
        assert!(missing(&without).contains("rng_core"));
    }

    #[test]
    fn package_files_tell_package_and_version() {
        let (package, version) = package_of_file("linux-image-6.1.0-9-x_1%3a6.1.2-3_amd64.deb");
        assert_eq!((&*package, &*version), ("linux-image-6.1.0-9-x", "1:6.1.2-3"));
    }

    #[test]
    fn the_lock_file_is_readable() {
        let locked = toml::from_str::<LockFile>(LOCK).unwrap().kernel;
        assert!(locked.package.starts_with("linux-image-") && !locked.version.is_empty());
    }
}
