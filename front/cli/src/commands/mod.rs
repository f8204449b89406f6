//! What each verb does: `commands/<noun>/<verb>.rs`, the everyday ones of a workspace included.

pub(crate) mod completions;
mod demo;
mod df;
pub(crate) mod doctor;
mod env;
mod file;
pub(crate) mod mcp;
mod node;
mod port;
mod review;
mod run;
pub(crate) mod serve;
mod service;
mod shell;
mod snapshot;
mod use_workspace;
mod wiring;
mod workspace;

use crate::{
    arguments::{
        EnvVerb, FileVerb, NetworkVerb, NodeVerb, PatchVerb, PortVerb, ServiceVerb, SnapshotVerb,
        Verb, WorkspaceVerb,
    },
    context::Context,
    error::CommandError,
};

/// Does what a parsed command line says, and tells the exit code.
pub(crate) async fn dispatch(context: &Context, verb: Verb) -> Result<u8, CommandError> {
    match verb {
        Verb::Run(arguments) => run::run(context, arguments).await,
        Verb::Shell(arguments) => shell::shell(context, arguments).await,
        Verb::Workspace(verb) | Verb::WorkspaceGroup { verb } => on_workspace(context, verb).await,
        Verb::Env { verb } => match verb {
            EnvVerb::List(_) => env::list::list(context).await,
            EnvVerb::Inspect(arguments) => env::inspect::inspect(context, &arguments).await,
            EnvVerb::Build(arguments) => env::build::build(context, &arguments).await,
            EnvVerb::Import(arguments) => env::import::import(context, &arguments).await,
            EnvVerb::Delete(arguments) => env::delete::delete(context, &arguments).await,
            EnvVerb::Prune(_) => env::prune::prune(context).await,
        },
        Verb::Use(arguments) => use_workspace::use_workspace(context, &arguments).await,
        Verb::Df(_) => df::df(context).await,
        Verb::Demo => demo::demo(context).await,
        Verb::Node { verb } => match verb {
            NodeVerb::Status(_) => node::status::status(context).await,
            NodeVerb::Stop(_) => node::stop::stop(context).await,
        },
        Verb::Doctor(_) | Verb::Serve(_) | Verb::Mcp { .. } | Verb::Completions(_) => {
            unreachable!("these run without an event loop of ours")
        }
    }
}

async fn on_workspace(context: &Context, verb: WorkspaceVerb) -> Result<u8, CommandError> {
    match verb {
        WorkspaceVerb::Create(arguments) => workspace::create::create(context, arguments).await,
        WorkspaceVerb::Exec(arguments) => workspace::exec::exec(context, arguments).await,
        WorkspaceVerb::List(arguments) => workspace::list::list(context, &arguments).await,
        WorkspaceVerb::Status(arguments) => workspace::status::status(context, &arguments).await,
        WorkspaceVerb::Update(arguments) => workspace::update::update(context, arguments).await,
        WorkspaceVerb::Ps(arguments) => workspace::ps::ps(context, &arguments).await,
        WorkspaceVerb::Kill(arguments) => workspace::kill::kill(context, arguments).await,
        WorkspaceVerb::Wait(arguments) => workspace::wait::wait(context, &arguments).await,
        WorkspaceVerb::Attach(arguments) => workspace::attach::attach(context, &arguments).await,
        WorkspaceVerb::Logs(arguments) => workspace::logs::logs(context, &arguments).await,
        WorkspaceVerb::Start(arguments) => workspace::start::start(context, &arguments).await,
        WorkspaceVerb::Stop(arguments) => workspace::stop::stop(context, &arguments).await,
        WorkspaceVerb::Delete(arguments) => workspace::delete::delete(context, &arguments).await,
        WorkspaceVerb::Prune(arguments) => workspace::prune::prune(context, &arguments).await,
        WorkspaceVerb::Service { verb } => on_service(context, verb).await,
        WorkspaceVerb::File { verb } => on_file(context, verb).await,
        WorkspaceVerb::Diff(arguments) => review::diff::diff(context, arguments).await,
        WorkspaceVerb::Patch { verb: PatchVerb::Apply(arguments) } => {
            review::patch::apply(context, arguments).await
        }
        WorkspaceVerb::Snapshot { verb } => match verb {
            SnapshotVerb::Create(arguments) => snapshot::create::create(context, &arguments).await,
            SnapshotVerb::List(arguments) => snapshot::list::list(context, &arguments).await,
            SnapshotVerb::Delete(arguments) => snapshot::delete::delete(context, &arguments).await,
        },
        WorkspaceVerb::Reset(arguments) => workspace::reset::reset(context, &arguments).await,
        WorkspaceVerb::Network { verb } => match verb {
            NetworkVerb::Set(arguments) => workspace::network::set(context, arguments).await,
            NetworkVerb::Show(arguments) => workspace::network::show(context, &arguments).await,
            NetworkVerb::Log(arguments) => workspace::network::log(context, &arguments).await,
        },
        WorkspaceVerb::Events(arguments) => workspace::events::events(context, &arguments).await,
        WorkspaceVerb::Forward(arguments) => workspace::forward::forward(context, arguments).await,
        WorkspaceVerb::Port { verb } => match verb {
            PortVerb::Publish(arguments) => port::publish::publish(context, arguments).await,
            PortVerb::List(arguments) => port::list::list(context, &arguments).await,
            PortVerb::Unpublish(arguments) => port::unpublish::unpublish(context, &arguments).await,
        },
    }
}

async fn on_file(context: &Context, verb: FileVerb) -> Result<u8, CommandError> {
    match verb {
        FileVerb::List(arguments) => file::list::list(context, &arguments).await,
        FileVerb::Read(arguments) => file::read::read(context, &arguments).await,
        FileVerb::Write(arguments) => file::write::write(context, arguments).await,
        FileVerb::Edit(arguments) => file::edit::edit(context, arguments).await,
        FileVerb::Stat(arguments) => file::list::stat(context, &arguments).await,
        FileVerb::Move(arguments) => file::arrange::rename(context, &arguments).await,
        FileVerb::Remove(arguments) => file::arrange::remove(context, &arguments).await,
        FileVerb::Mkdir(arguments) => file::arrange::mkdir(context, arguments).await,
        FileVerb::Search(arguments) => file::search::search(context, arguments).await,
    }
}

async fn on_service(context: &Context, verb: ServiceVerb) -> Result<u8, CommandError> {
    match verb {
        ServiceVerb::Start(arguments) => service::start::start(context, *arguments).await,
        ServiceVerb::List(arguments) => service::list::list(context, &arguments).await,
        ServiceVerb::Status(arguments) => service::status::status(context, &arguments).await,
        ServiceVerb::Logs(arguments) => service::logs::logs(context, &arguments).await,
        ServiceVerb::Stop(arguments) => service::stop::stop(context, &arguments).await,
        ServiceVerb::Restart(arguments) => service::restart::restart(context, &arguments).await,
        ServiceVerb::Wait(arguments) => service::wait::wait(context, &arguments).await,
        ServiceVerb::Signal(arguments) => service::signal::signal(context, &arguments).await,
        ServiceVerb::Up(arguments) => service::up::up(context, arguments).await,
        ServiceVerb::Down(arguments) => service::down::down(context, arguments).await,
        ServiceVerb::Delete(arguments) => service::delete::delete(context, &arguments).await,
    }
}
