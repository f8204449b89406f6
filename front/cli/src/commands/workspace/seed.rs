//! Making a workspace that begins with files: how far that is, and what is worth knowing of them.

use std::time::Duration;

use pyro_api::{CreateWorkspace, Workspace};
use pyro_client::{GitSeed, Node, SeedFiles, SeedProgress, SeedReport, SeedRequest};
use tokio::sync::watch;

use crate::{
    arguments::SeedArguments, environment::Environment, error::CommandError, output::units,
    printer::Printer, progress::Progress,
};

/// How often a person is told how far it is.
const TICK: Duration = Duration::from_millis(100);

/// The seed that flags ask for.
pub(super) fn request(arguments: SeedArguments) -> Option<SeedRequest> {
    let SeedArguments { seed_path, exclude, respect_ignore, seed_git } = arguments;
    if let Some(repository) = seed_git {
        let environment = Environment::of_git();
        return Some(SeedRequest::Git(GitSeed { repository, environment }));
    }
    let path = seed_path?;
    Some(SeedRequest::Files(SeedFiles { path, excludes: exclude, respect_ignore }))
}

/// A workspace that begins with files, as JSON: with what is worth knowing of them.
#[derive(serde::Serialize)]
pub(super) struct Seeded {
    #[serde(flatten)]
    pub(super) workspace: Workspace,
    seed_report: SeedReport,
}

/// Makes the workspace, and tells on stderr what it began with.
pub(super) async fn create(
    printer: Printer,
    node: &Node,
    request: &CreateWorkspace,
    seed: &SeedRequest,
    doing: &str,
) -> Result<Seeded, CommandError> {
    let (tell, mut told) = watch::channel(SeedProgress::Surveying);
    let making = node.create_seeded_workspace(request, seed, move |progress| {
        tell.send_replace(progress);
    });
    let (workspace, report) = if printer.shows_progress() {
        let mut progress = Progress::steps(printer);
        tokio::pin!(making);
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                made = &mut making => break made,
                _ = tick.tick() => {
                    let (message, fraction) = shown(*told.borrow_and_update(), doing);
                    progress.step(&message, fraction);
                }
            }
        }
    } else {
        making.await
    }?;
    tell_of(printer, &workspace, &report);
    Ok(Seeded { workspace, seed_report: report })
}

fn shown(progress: SeedProgress, doing: &str) -> (String, Option<f64>) {
    match progress {
        SeedProgress::Fetching => ("Cloning the repository".to_owned(), None),
        SeedProgress::Surveying => ("Looking at the files".to_owned(), None),
        SeedProgress::Sending { bytes, total: None } => {
            (format!("Sending the files: {}", units::bytes(bytes)), None)
        }
        SeedProgress::Sending { bytes, total: Some(total) } => {
            let message =
                format!("Sending the files: {} of {}", units::bytes(bytes), units::bytes(total));
            (message, Some(bytes as f64 / total.max(1) as f64))
        }
        SeedProgress::Creating => (doing.to_owned(), Some(1.0)),
    }
}

fn tell_of(printer: Printer, workspace: &Workspace, report: &SeedReport) {
    let seed = &workspace.workspace_seed;
    let entries = counted(seed.entry_count, "entry", "entries");
    let known = if seed.reused { ", known from before" } else { "" };
    printer.step(&format!(
        "/workspace begins with {entries}, {}{known}",
        units::bytes(seed.bytes_written)
    ));
    if report.uncommitted {
        printer.notice("changes that are not committed were not taken");
    }
    if report.ignored_entries > 0 {
        let ignored = counted(report.ignored_entries, "entry", "entries");
        let size = units::bytes(report.ignored_bytes);
        if report.respected_ignore {
            printer.notice(&format!("left out by ignore files: {ignored}, {size}"));
        } else {
            printer.notice(&format!("taken although ignore files name it: {ignored}, {size}"));
            printer.hint("leave them out with --respect-ignore");
        }
    }
    if report.skipped > 0 {
        let skipped = counted(report.skipped, "socket or device", "sockets or devices");
        printer.notice(&format!("left out: {skipped}"));
    }
    if report.changed > 0 {
        let changed = counted(report.changed, "file", "files");
        printer.notice(&format!("{changed} changed while being read; what was there was taken"));
    }
    if report.sensitive_count > 0 {
        let mut names = report.sensitive.join(", ");
        let more = report.sensitive_count.saturating_sub(report.sensitive.len() as u64);
        if more > 0 {
            names = format!("{names} and {more} more");
        }
        printer.notice(&format!("files that may hold secrets were taken: {names}"));
        printer.hint("leave them out with --exclude");
    }
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
