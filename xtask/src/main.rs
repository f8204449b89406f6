//! `cargo xtask TASK`: what developers run besides cargo itself. One module per task; this file
//! only dispatches.
//!
//! Refuses to know: anything the product needs at run time.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's program talks")]

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod docs;
mod fuzz;
mod lab;
mod layers;
mod openapi;
mod test;
mod tree;
mod wire;

/// Developer tasks of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Docs(docs::Arguments),
    Fuzz(fuzz::Arguments),
    Lab(lab::Arguments),
    Layers(layers::Arguments),
    Openapi(openapi::Arguments),
    Test(test::Arguments),
    Wire(wire::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Docs(arguments) => docs::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Lab(arguments) => lab::run(&arguments),
        Task::Layers(arguments) => layers::run(&arguments),
        Task::Openapi(arguments) => openapi::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Wire(arguments) => wire::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(125)
    })
}
