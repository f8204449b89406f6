//! Environments: what is installed, and what could be.

use std::{fs, path::PathBuf};

use pyro_core::EnvironmentName;
use serde::{Deserialize, Serialize};

use crate::{
    CATALOGUE_VERSION, Cache, Digest, Error, Recipe, Result,
    cache::{Building, as_json, write_synced},
    catalogue,
};
pub use crate::{build::build, import::import};

/// The image of an environment in its directory.
pub(crate) const ROOT: &str = "root.squashfs";
const MANIFEST: &str = "manifest.json";

/// An environment whose image is in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstalledEnvironment {
    /// The name it was asked for by.
    pub name: EnvironmentName,
    /// The SHA-256 of the image's data: names the image for good.
    pub digest: Digest,
    /// The image, read-only and never changed.
    pub root: PathBuf,
    /// When this name came to mean this image, in seconds since 1970.
    pub installed_at: u64,
    /// What it was built from under this name; a build with the same inputs is up to date.
    pub inputs: Option<Digest>,
    /// What is in it.
    pub manifest: EnvironmentManifest,
}

/// What came out of a build or an import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Built {
    /// The environment.
    pub environment: InstalledEnvironment,
    /// Nothing had to be done.
    pub up_to_date: bool,
}

/// What is in an image; `manifest.json` beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EnvironmentManifest {
    /// The name under which it was made first.
    pub name: String,
    /// What it is for, for people.
    pub description: String,
    /// The catalogue's version, or the beginning of the digest.
    pub version: String,
    /// The packages that were asked for.
    pub default_packages: Vec<String>,
    /// For example `debian`.
    pub distribution: String,
    /// For example `12`.
    pub distribution_version: String,
    /// All Debian packages in it, by name.
    pub packages: Vec<Package>,
    /// How it came to be.
    pub source: EnvironmentSource,
    /// What a built one was made from: recipe and form, not the packages' versions.
    pub inputs: Option<Digest>,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// The length of the image's data in bytes.
    pub size_bytes: u64,
    /// The length of the tar it was made from, in bytes.
    pub uncompressed_bytes: u64,
}

/// How an environment came to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentSource {
    /// From a recipe of the catalogue.
    Built,
    /// From a tar.
    Imported,
}

/// A Debian package.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An environment as lists show it: field names as in the public contract, section 4.1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the contract says what each field means")]
pub struct EnvironmentSummary {
    pub name: String,
    pub version: String,
    pub description: String,
    pub default_packages: Vec<String>,
    pub distribution: String,
    pub distribution_version: String,
    pub platform: String,
    pub oci_registry: Option<String>,
    pub oci_repository: Option<String>,
    pub oci_reference: Option<String>,
    pub source_digest: Option<Digest>,
    pub compatibility: String,
    pub catalog_version: String,
    pub installed: bool,
    pub cache_dir: String,
    pub install_dir: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub install_manifest: Option<String>,
    /// Whether it can be built here.
    pub built_in: bool,
    /// The image on disk, where there is one.
    pub size_bytes: Option<u64>,
    /// Seconds since 1970, where it is installed.
    pub installed_at: Option<u64>,
    /// Where it is installed.
    pub source: Option<EnvironmentSource>,
    /// All packages, where it is installed and was asked for alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<Package>,
}

/// Which image a name means now.
#[derive(Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub name: EnvironmentName,
    pub digest: Digest,
    pub installed_at: u64,
    pub inputs: Option<Digest>,
}

impl Cache {
    /// The image a name means now; `None` where it is not installed.
    pub fn environment(&self, name: &EnvironmentName) -> Result<Option<InstalledEnvironment>> {
        let path = self.names.path().join(record_file(name));
        let Some(record) = Self::read_record::<NameRecord>(&path)? else { return Ok(None) };
        self.installed(record)
    }

    /// The path of an image by its digest; `None` where it is not in the cache.
    pub fn environment_root(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.place("environments", digest).join(ROOT)).filter(|root| root.exists())
    }

    /// All environments that are installed or could be built, by name.
    pub fn environments(&self) -> Result<Vec<EnvironmentSummary>> {
        let mut summaries = Vec::new();
        for record in self.name_records()? {
            if let Some(installed) = self.installed(record)? {
                summaries.push(self.summary(&installed));
            }
        }
        for recipe in catalogue() {
            if !summaries.iter().any(|summary| summary.name == recipe.name) {
                summaries.push(self.summary_of_recipe(recipe));
            }
        }
        summaries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(summaries)
    }

    /// One environment with all that is known of it.
    pub fn inspect(&self, name: &EnvironmentName) -> Result<EnvironmentSummary> {
        match (self.environment(name)?, Recipe::of(name.as_str())) {
            (Some(installed), _) => {
                let packages = installed.manifest.packages.clone();
                Ok(EnvironmentSummary { packages, ..self.summary(&installed) })
            }
            (None, Some(recipe)) => Ok(self.summary_of_recipe(recipe)),
            (None, None) => Err(self.unknown(name)),
        }
    }

    /// Takes a name away and tells the digest it meant; the image stays until
    /// [`Cache::prune_environment`] or [`Cache::prune`] finds it unused.
    pub fn remove(&self, name: &EnvironmentName) -> Result<Digest> {
        let Some(installed) = self.environment(name)? else {
            // A name that nobody ever had is told from one that is not installed.
            self.inspect(name)?;
            return Err(Error::NotInstalled { name: name.to_string() });
        };
        self.names.remove(&record_file(name)).map_err(|source| self.unusable(source))?;
        Ok(installed.digest)
    }

    /// The error for a name that nothing has and no recipe makes.
    pub(crate) fn unknown(&self, name: &EnvironmentName) -> Error {
        let known = self.environments().unwrap_or_default();
        let mut known: Vec<_> = known.into_iter().map(|environment| environment.name).collect();
        let more = known.len().saturating_sub(20);
        known.truncate(20);
        if more > 0 {
            known.push(format!("{more} more"));
        }
        Error::UnknownEnvironment { name: name.to_string(), known: known.join(", ") }
    }

    pub(crate) fn name_records(&self) -> Result<Vec<NameRecord>> {
        let directory = self.names.path();
        let unreadable = |source| Error::Read { path: directory.to_owned(), source };
        let mut records = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            // Temporary files begin with a dot, names never do.
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
            if !hidden && path.extension().is_some_and(|extension| extension == "json") {
                records.extend(Self::read_record::<NameRecord>(&path)?);
            }
        }
        Ok(records)
    }

    /// Publishes an image that was made in `building` and gives it its name.
    pub(crate) fn install(
        &self,
        building: &Building,
        name: &EnvironmentName,
        digest: Digest,
        manifest: &EnvironmentManifest,
    ) -> Result<InstalledEnvironment> {
        write_synced(&building.content().join(MANIFEST), &as_json(manifest))?;
        self.publish(building, "environments", &digest)?;
        let record = NameRecord {
            name: name.clone(),
            digest,
            installed_at: manifest.created,
            inputs: manifest.inputs.clone(),
        };
        self.names
            .write_whole(&record_file(name), &as_json(&record))
            .map_err(|source| self.unusable(source))?;
        self.environment(name)?.ok_or_else(|| Error::NotInstalled { name: name.to_string() })
    }

    fn installed(&self, record: NameRecord) -> Result<Option<InstalledEnvironment>> {
        let place = self.place("environments", &record.digest);
        let manifest = Self::read_record(&place.join(MANIFEST))?;
        Ok(manifest.map(|manifest| InstalledEnvironment {
            name: record.name,
            digest: record.digest,
            root: place.join(ROOT),
            installed_at: record.installed_at,
            inputs: record.inputs,
            manifest,
        }))
    }

    fn summary(&self, installed: &InstalledEnvironment) -> EnvironmentSummary {
        let place = self.place("environments", &installed.digest);
        let manifest = &installed.manifest;
        let recipe = Recipe::of(installed.name.as_str());
        EnvironmentSummary {
            name: installed.name.to_string(),
            version: manifest.version.clone(),
            description: recipe
                .map_or_else(|| manifest.description.clone(), |r| r.description.to_owned()),
            default_packages: manifest.default_packages.clone(),
            distribution: manifest.distribution.clone(),
            distribution_version: manifest.distribution_version.clone(),
            source_digest: Some(installed.digest.clone()),
            installed: true,
            install_dir: place.to_string_lossy().into_owned(),
            install_manifest: Some(place.join(MANIFEST).to_string_lossy().into_owned()),
            built_in: recipe.is_some(),
            size_bytes: Some(manifest.size_bytes),
            installed_at: Some(installed.installed_at),
            source: Some(manifest.source),
            ..self.empty_summary()
        }
    }

    fn summary_of_recipe(&self, recipe: &Recipe) -> EnvironmentSummary {
        EnvironmentSummary {
            name: recipe.name.to_owned(),
            version: CATALOGUE_VERSION.to_owned(),
            description: recipe.description.to_owned(),
            default_packages: recipe.packages.iter().map(|&name| name.to_owned()).collect(),
            distribution: "debian".to_owned(),
            distribution_version: recipe.distribution_version.to_owned(),
            install_dir: self.path().join("environments").to_string_lossy().into_owned(),
            built_in: true,
            ..self.empty_summary()
        }
    }

    fn empty_summary(&self) -> EnvironmentSummary {
        EnvironmentSummary {
            name: String::new(),
            version: String::new(),
            description: String::new(),
            default_packages: Vec::new(),
            distribution: String::new(),
            distribution_version: String::new(),
            platform: "linux-x86_64".to_owned(),
            oci_registry: None,
            oci_repository: None,
            oci_reference: None,
            source_digest: None,
            compatibility: ">=4.0.0,<5.0.0".to_owned(),
            catalog_version: CATALOGUE_VERSION.to_owned(),
            installed: false,
            cache_dir: self.path().to_string_lossy().into_owned(),
            install_dir: String::new(),
            install_manifest: None,
            built_in: false,
            size_bytes: None,
            installed_at: None,
            source: None,
            packages: Vec::new(),
        }
    }
}

fn record_file(name: &EnvironmentName) -> String {
    format!("{name}.json")
}

/// The packages in Debian's package database (`/var/lib/dpkg/status`), by name.
pub(crate) fn packages(status: &[u8]) -> Vec<Package> {
    let status = String::from_utf8_lossy(status);
    let field = |paragraph: &str, name: &str| {
        paragraph
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter(|paragraph| {
            field(paragraph, "Status").is_some_and(|status| status.ends_with(" installed"))
        })
        .filter_map(|paragraph| {
            Some(Package {
                name: field(paragraph, "Package")?,
                version: field(paragraph, "Version")?,
            })
        })
        .collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages
}

/// A value of an `os-release` file, or nothing.
pub(crate) fn os_release(content: &[u8], key: &str) -> String {
    String::from_utf8_lossy(content)
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']).chars().filter(|c| !c.is_control()).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_packages_are_read_from_the_package_database() {
        let status = b"Package: zlib1g\nStatus: install ok installed\nVersion: 1:1.2\n\n\
            Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
            Package: bash\nStatus: install ok installed\nDescription: x\n more\nVersion: 5.2\n";
        let found = packages(status);
        let found: Vec<_> = found.iter().map(|p| (&*p.name, &*p.version)).collect();
        assert_eq!(found, [("bash", "5.2"), ("zlib1g", "1:1.2")]);
        assert!(packages(b"\xff\xfe").is_empty());
    }

    #[test]
    fn os_release_values_are_unquoted() {
        let content = b"NAME=\"Alpine Linux\"\nID=alpine\nVERSION_ID=3.20\n";
        assert_eq!(os_release(content, "NAME"), "Alpine Linux");
        assert_eq!(os_release(content, "ID"), "alpine");
        assert_eq!(os_release(content, "VERSION"), "");
    }

    #[test]
    fn what_can_be_built_is_listed_before_anything_is() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let list = cache.environments().unwrap();
        let names: Vec<_> = list.iter().map(|summary| &*summary.name).collect();
        assert_eq!(names, ["debian:12", "debian:12-base", "debian:12-build"]);
        assert!(list.iter().all(|summary| !summary.installed && summary.built_in));
        let unknown = cache.inspect(&"nothing".parse().unwrap()).unwrap_err();
        assert_eq!(unknown.code(), "environment_unknown");
        let absent = cache.remove(&"debian:12".parse().unwrap()).unwrap_err();
        assert_eq!(absent.code(), "environment_not_installed");
    }
}
