//! Which tools a server offers.

use std::str::FromStr;

use pyro_core::Problem;

/// A set of tools; each holds the one before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Profile {
    /// One-shot commands only.
    VmRun,
    /// What an agent works with every day.
    #[default]
    WorkspaceCore,
    /// Every verb there is.
    WorkspaceFull,
}

impl Profile {
    /// All of them, smallest first.
    pub const ALL: [Self; 3] = [Self::VmRun, Self::WorkspaceCore, Self::WorkspaceFull];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VmRun => "vm-run",
            Self::WorkspaceCore => "workspace-core",
            Self::WorkspaceFull => "workspace-full",
        }
    }
}

impl FromStr for Profile {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|profile| profile.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Problem::invalid("invalid_profile", format!("{text:?} is not a profile"))
                .hint(format!("the profiles are: {names}"))
        })
    }
}
