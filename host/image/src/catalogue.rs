//! The environments that can be built here, as recipes.

use crate::{Digest, squashfs};

/// Changes whenever a recipe changes what users see.
pub const CATALOGUE_VERSION: &str = "4.0.0";

/// Changes whenever the same recipe gives another image.
const FORMAT: u32 = 2;

/// How a built-in environment is made from Debian packages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recipe {
    /// The environment's name.
    pub name: &'static str,
    /// What it is for, for people.
    pub description: &'static str,
    /// Debian's name of the release.
    pub suite: &'static str,
    /// The number of the release.
    pub distribution_version: &'static str,
    /// What users may count on, beside Debian's required packages.
    pub packages: &'static [&'static str],
}

const BASE: &[&str] = &["bash", "ca-certificates", "coreutils"];

const STANDARD: &[&str] = &[
    "bash",
    "ca-certificates",
    "coreutils",
    "curl",
    "file",
    "git",
    "iproute2",
    "less",
    "nano",
    "procps",
    "psmisc",
    "python3",
    "tzdata",
    "unzip",
    "xz-utils",
];

const BUILD: &[&str] = &[
    "bash",
    "ca-certificates",
    "cmake",
    "coreutils",
    "curl",
    "file",
    "g++",
    "gcc",
    "git",
    "iproute2",
    "less",
    "libc6-dev",
    "make",
    "nano",
    "patch",
    "pkg-config",
    "procps",
    "psmisc",
    "python3",
    "python3-dev",
    "python3-pip",
    "python3-venv",
    "tzdata",
    "unzip",
    "xz-utils",
];

/// All built-in environments.
pub fn catalogue() -> &'static [Recipe] {
    &[
        Recipe {
            name: "debian:12",
            description: "Debian 12 with git, curl and Python 3, for most work.",
            suite: "bookworm",
            distribution_version: "12",
            packages: STANDARD,
        },
        Recipe {
            name: "debian:12-base",
            description: "Debian 12 with a shell, core utilities and certificates.",
            suite: "bookworm",
            distribution_version: "12",
            packages: BASE,
        },
        Recipe {
            name: "debian:12-build",
            description: "Debian 12 with compilers, make, CMake and Python 3 with venv and pip.",
            suite: "bookworm",
            distribution_version: "12",
            packages: BUILD,
        },
    ]
}

impl Recipe {
    /// The recipe of this name.
    pub fn of(name: &str) -> Option<&'static Self> {
        catalogue().iter().find(|recipe| recipe.name == name)
    }

    /// What an image of this recipe is made from, packages' versions aside.
    pub(crate) fn inputs(&self) -> Digest {
        let packages = self.packages.join(",");
        let compression = squashfs::COMPRESSION.join(" ");
        Digest::of_parts(&[
            &FORMAT.to_le_bytes(),
            self.suite.as_bytes(),
            packages.as_bytes(),
            crate::build::CUSTOMIZE.as_bytes(),
            crate::build::PACKAGE_OPTIONS.join("\n").as_bytes(),
            compression.as_bytes(),
            &squashfs::EPOCH.to_le_bytes(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use pyro_core::EnvironmentName;

    use super::*;

    #[test]
    fn recipes_have_valid_names_and_differ_in_their_inputs() {
        let mut inputs = std::collections::BTreeSet::new();
        for recipe in catalogue() {
            recipe.name.parse::<EnvironmentName>().unwrap();
            assert!(recipe.packages.is_sorted(), "{}", recipe.name);
            assert!(inputs.insert(recipe.inputs()), "{}", recipe.name);
        }
        assert!(Recipe::of("debian:12").is_some() && Recipe::of("debian:13").is_none());
    }
}
