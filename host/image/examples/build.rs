//! Builds the kernel and the named environments: `cargo run -p pyro-image --example build -- CACHE
//! [--force] [NAME...]`, or imports the tar on stdin: `... -- CACHE --import NAME`.
#![allow(clippy::print_stdout, clippy::print_stderr, missing_docs)]

use std::{error::Error, path::Path};

use pyro_image::{Cache, Job, Progress, environment, kernel};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let forced = arguments.len();
    arguments.retain(|argument| argument != "--force");
    let force = arguments.len() < forced;
    let (path, rest) = arguments.split_first().ok_or("CACHE [--force] [NAME...]")?;
    let cache = Cache::open(Path::new(path))?;
    let job = Job::new(|progress| match progress {
        Progress::Step { message, fraction } => match fraction {
            Some(fraction) => eprintln!("{:3.0} % {message}", fraction * 100.0),
            None => eprintln!("      {message}"),
        },
        Progress::Notice(notice) => eprintln!("note: {notice}"),
    });
    if let [option, name] = rest
        && option == "--import"
    {
        let built = environment::import(&cache, &name.parse()?, std::io::stdin().lock(), &job)?;
        println!("{}", built.environment.root.display());
        return Ok(());
    }
    let built = kernel::build(&cache, &job, force)?;
    println!("{} (up to date: {})", built.kernel.vmlinux.display(), built.up_to_date);
    for name in rest {
        let built = environment::build(&cache, &name.parse()?, &job, force)?;
        println!("{} (up to date: {})", built.environment.root.display(), built.up_to_date);
    }
    Ok(())
}
