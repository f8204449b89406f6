//! Building a catalogue's environment from Debian packages.

use std::{
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use pyro_core::EnvironmentName;

use crate::{
    Built, CATALOGUE_VERSION, Cache, Digest, EnvironmentManifest, EnvironmentSource, Error, Job,
    Recipe, Result,
    bootstrap::{self, Watch},
    catalogue,
    environment::{self, ROOT},
    squashfs::{self, Times},
};

/// What packages leave out in images, now and when guests install more.
pub(crate) const PACKAGE_OPTIONS: [&str; 6] = [
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    // Only while the image is made: what is half-made is thrown away.
    "force-unsafe-io",
];

/// The last touches; `$1` is the root. Bytecode is compiled once here, and never checked against
/// its source in a guest, where starting Python is expensive.
pub(crate) const CUSTOMIZE: &str = r#"set -e
cd "$1"
mkdir -p workspace
printf 'pyro\n' > etc/hostname
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' > etc/hosts
: > etc/resolv.conf
: > etc/machine-id
rm -f var/lib/dbus/machine-id var/log/wtmp var/log/btmp var/log/lastlog var/log/faillog
rm -f var/cache/debconf/*-old var/lib/dpkg/*-old etc/passwd- etc/group- etc/shadow- etc/gshadow-
sed -i '/^force-unsafe-io$/d' etc/dpkg/dpkg.cfg.d/99mmdebstrap
if [ -x usr/bin/python3 ]; then
    for library in usr/lib/python3*; do
        chroot . python3 -m compileall -q -f --invalidation-mode unchecked-hash \
            "/$library" > /dev/null 2>&1 || true
    done
fi
"#;

fn not_in_catalogue(name: &EnvironmentName) -> Error {
    let known: Vec<&str> = catalogue().iter().map(|recipe| recipe.name).collect();
    Error::NotInCatalogue { name: name.to_string(), known: known.join(", ") }
}

/// Builds an environment of the catalogue, unless one made from the same inputs is installed;
/// `force` builds it in any case, with the packages the archive has now.
pub fn build(cache: &Cache, name: &EnvironmentName, job: &Job, force: bool) -> Result<Built> {
    let recipe = Recipe::of(name.as_str()).ok_or_else(|| not_in_catalogue(name))?;
    let inputs = recipe.inputs();
    let _lock = cache.lock(&format!("environment-{name}"), job)?;
    if let (false, Some(environment)) = (force, cache.environment(name)?)
        && environment.inputs.as_ref() == Some(&inputs)
    {
        return Ok(Built { environment, up_to_date: true });
    }
    job.step("starting", 0.0);
    let building = cache.start_building()?;
    let scratch = building.make_scratch()?;
    let image = building.make_content()?.join(ROOT);
    let watch = Mutex::new(Watch::default());
    let watcher = job.clone();
    let mut bootstrap = bootstrap::start(
        job,
        &scratch,
        |command| {
            command.arg("--variant=minbase");
            command.arg(format!("--include={}", recipe.packages.join(",")));
            command.args(PACKAGE_OPTIONS.map(|option| format!("--dpkgopt={option}")));
            command.arg(format!("--customize-hook={CUSTOMIZE}")).arg(recipe.suite);
        },
        move |line| {
            let told = watch.lock().ok().and_then(|mut watch| watch.line(line));
            if let Some((message, fraction)) = told {
                watcher.step(message, fraction);
            }
        },
    )?;
    let packed =
        squashfs::from_tar(job, bootstrap.take_stdout(), &image, Times::Clamped, &|bytes| {
            job.step(format!("packing, {} MiB", bytes >> 20), 0.85);
        });
    // A bootstrap that fails cuts its tar short: its own error is the cause.
    let survey = match (bootstrap.finish(), packed) {
        (Ok(()), packed) => packed?,
        (Err(error), _) => return Err(error),
    };
    job.step("sealing", 0.95);
    let digest =
        Digest::of_file(&image).map_err(|source| Error::Read { path: image.clone(), source })?;
    let size_bytes = squashfs::seal(&image)?;
    let manifest = EnvironmentManifest {
        name: recipe.name.to_owned(),
        description: recipe.description.to_owned(),
        version: CATALOGUE_VERSION.to_owned(),
        default_packages: recipe.packages.iter().map(|&name| name.to_owned()).collect(),
        distribution: "debian".to_owned(),
        distribution_version: recipe.distribution_version.to_owned(),
        packages: environment::packages(&survey.dpkg_status),
        source: EnvironmentSource::Built,
        inputs: Some(inputs),
        created: now(),
        size_bytes,
        uncompressed_bytes: survey.bytes,
    };
    let environment = cache.install(&building, name, digest, &manifest)?;
    job.step(format!("{name} is ready"), 1.0);
    Ok(Built { environment, up_to_date: false })
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
