//! Making an environment of any root file system's tar, such as `docker export` writes.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use pyro_core::EnvironmentName;

use crate::{
    Built, Cache, Digest, EnvironmentManifest, EnvironmentSource, Error, Job, Recipe, Result,
    build::now,
    digest::Digesting,
    environment::{self, ROOT},
    squashfs::{self, Times},
};

/// How an archive becomes an image. Changed with it: one archive made otherwise is another image.
const FORM: &[u8] = b"import 1";

/// Imports a tar (plain, gzip or zstd, told by its first bytes) under a name that is not in the
/// catalogue; a name that is installed then means the new image.
///
/// The archive is streamed, never unpacked. It must hold a shell or at least one executable file;
/// the directories guests mount over (`/proc`, `/workspace`, ...) are added where they are missing.
pub fn import(
    cache: &Cache,
    name: &EnvironmentName,
    source: impl Read,
    job: &Job,
) -> Result<Built> {
    if Recipe::of(name.as_str()).is_some() {
        return Err(Error::ReservedName { name: name.to_string() });
    }
    let _lock = cache.lock(&format!("environment-{name}"), job)?;
    job.step("reading the archive", None);
    let building = cache.start_building()?;
    let image = building.make_content()?.join(ROOT);
    let mut archive = Digesting::new(decompress(source)?);
    let survey = squashfs::from_tar(job, &mut archive, &image, Times::Kept, &|bytes| {
        job.step(format!("packing, {} MiB", bytes >> 20), None);
    })?;
    job.step("sealing", None);
    let size_bytes = squashfs::seal(&image)?;
    // Not that of the image, where directories without an entry have the time of this import.
    let digest = Digest::of_parts(&[FORM, archive.into_digest().as_str().as_bytes()]);
    let before = cache.environment(name)?;
    let pretty = environment::os_release(&survey.os_release, "PRETTY_NAME");
    let manifest = EnvironmentManifest {
        name: name.to_string(),
        description: if pretty.is_empty() {
            "Imported root file system.".to_owned()
        } else {
            format!("Imported root file system: {pretty}.")
        },
        version: digest.as_str()[..12].to_owned(),
        default_packages: Vec::new(),
        distribution: environment::os_release(&survey.os_release, "ID"),
        distribution_version: environment::os_release(&survey.os_release, "VERSION_ID"),
        packages: environment::packages(&survey.dpkg_status),
        source: EnvironmentSource::Imported,
        inputs: None,
        created: now(),
        size_bytes,
        uncompressed_bytes: survey.bytes,
    };
    let up_to_date = before.is_some_and(|before| before.digest == digest);
    let environment = cache.install(&building, name, digest, &manifest)?;
    job.step(format!("{name} is ready"), 1.0);
    Ok(Built { environment, up_to_date })
}

fn decompress<'a>(source: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let mut source = BufReader::with_capacity(1 << 18, source);
    let beginning = loop {
        match source.fill_buf() {
            Ok(beginning) => break beginning,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Archive(error)),
        }
    };
    match beginning {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(source))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Ok(Box::new(zstd::Decoder::with_buffer(source).map_err(Error::Archive)?))
        }
        _ => Ok(Box::new(source)),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("cache, with a blank")).unwrap();
        (home, cache)
    }

    /// What `docker export` of a small image gives: no entry for the root, no `./`.
    fn exported() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let files: [(&[u8], &[u8], u32); 4] = [
            (b"bin/sh", b"\x7fELF and so on", 0o755),
            (b"etc/os-release", b"ID=tiny\nVERSION_ID=\"1\"\nPRETTY_NAME=\"Tiny 1\"\n", 0o644),
            (b"srv/caf\xe9", b"not UTF-8", 0o640),
            (b"srv/zeros", &[0; 3000], 0o600),
        ];
        for (path, content, mode) in files {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
            header.set_size(content.len() as u64);
            header.set_mode(mode);
            header.set_uid(1234);
            header.set_mtime(1_000_000_000);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn leftovers(cache: &Cache) -> usize {
        fs::read_dir(cache.path().join("building")).unwrap().count() - 1
    }

    #[test]
    fn an_export_becomes_an_environment_whatever_its_compression() {
        let (_home, cache) = cache();
        let tar = exported();
        let name: EnvironmentName = "tiny".parse().unwrap();
        let imported = import(&cache, &name, &*tar, &Job::silent()).unwrap();
        assert!(!imported.up_to_date);
        let environment = cache.environment(&name).unwrap().unwrap();
        assert_eq!(environment, imported.environment);
        assert_eq!(environment.manifest.distribution, "tiny");
        assert_eq!(fs::metadata(&environment.root).unwrap().len(), crate::READ_ONLY_IMAGE_BYTES);
        let listing = Command::new("unsquashfs").arg("-lln").arg(&environment.root).output();
        let listing = listing.unwrap().stdout;
        let has = |text: &[u8]| listing.windows(text.len()).any(|window| window == text);
        assert!(has(b"srv/caf\xe9") && has(b"1234/0"), "{}", listing.escape_ascii());
        assert!(has(b"/proc\n") && has(b"/workspace\n") && has(b"drwxrwxrwt 0/0"));
        assert!(listing.starts_with(b"drwxr-xr-x 0/0"));

        let mut gzip = flate2::read::GzEncoder::new(&*tar, flate2::Compression::fast());
        let mut gzipped = Vec::new();
        gzip.read_to_end(&mut gzipped).unwrap();
        for compressed in [gzipped, zstd::encode_all(&*tar, 1).unwrap()] {
            let again = import(&cache, &name, &*compressed, &Job::silent()).unwrap();
            assert_eq!(again.environment.digest, environment.digest);
            assert!(again.up_to_date);
        }
        assert_eq!(leftovers(&cache), 0);
    }

    #[test]
    fn a_refused_import_leaves_nothing_and_changes_nothing() {
        let (_home, cache) = cache();
        let name: EnvironmentName = "tiny".parse().unwrap();
        let tar = exported();
        let first = import(&cache, &name, &*tar, &Job::silent()).unwrap().environment;
        for bad in [&b"no archive at all"[..], &tar[..700], &[0x1f, 0x8b, 1, 2, 3], &[]] {
            import(&cache, &name, bad, &Job::silent()).unwrap_err();
        }
        assert_eq!(cache.environment(&name).unwrap().unwrap(), first);
        let reserved = import(&cache, &"debian:12".parse().unwrap(), &*tar, &Job::silent());
        assert_eq!(reserved.unwrap_err().code(), "environment_name_reserved");
        assert_eq!(leftovers(&cache), 0);
    }

    #[test]
    fn a_cancelled_import_stops_in_the_middle() {
        struct CancelAfter<'a>(&'a Job, usize);
        impl Read for CancelAfter<'_> {
            fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
                if self.1 == 0 {
                    self.0.cancel();
                    return Ok(into.len().min(512));
                }
                self.1 -= 1;
                let mut header = tar::Header::new_gnu();
                header.set_path("bin/endless").unwrap();
                header.set_size(60 << 30);
                header.set_mode(0o755);
                header.set_cksum();
                into[..512].copy_from_slice(header.as_bytes());
                Ok(512)
            }
        }
        let (_home, cache) = cache();
        let job = Job::silent();
        let result = import(&cache, &"x".parse().unwrap(), CancelAfter(&job, 1), &job);
        assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
        assert_eq!(leftovers(&cache), 0);
    }
}
