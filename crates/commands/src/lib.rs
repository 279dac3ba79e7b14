//! The commands of the program `bantam`.
//!
//! stdout is data, stderr is talk. Exit code 0: done; 1: the request failed; 2: our fault.
#![forbid(unsafe_code)]

mod args;
mod bench;
mod drift;
mod export;
mod grow;
mod inspect;
mod measure;
mod run;
mod shrink;
mod stage;

mod output;
mod progress;
mod values;

use std::panic;
use std::process::ExitCode;
use std::sync::Mutex;

use bantam::{Error, ErrorKind, Result};
use clap::Parser;

use args::{Args, Command};
use output::say;

/// The program: does what its arguments ask for, and says what went wrong. A panic ends it.
pub fn main() -> ExitCode {
    // Nothing here unwinds: the program that is given away is built without (see `crates/cli/build.rs`), and
    // what its hook does is the same in all.
    panic::set_hook(Box::new(|panic| {
        static ENDING: Mutex<()> = Mutex::new(());
        let _only = ENDING.lock();
        std::process::exit(report(&Error::of_panic(panic)).into());
    }));
    match try_main() {
        Ok(code) => code,
        Err(error) => ExitCode::from(report(&error)),
    }
}

/// Says what went wrong and what to do, and tells the exit code.
fn report(error: &Error) -> u8 {
    say(&format!("error: {error}"));
    if let Some(hint) = error.hint() {
        say(&format!("hint: {hint}"));
    } else if error.kind() == ErrorKind::Internal {
        say("hint: this is a fault of bantam; please report it with the command that led to it");
    }
    error.exit_code()
}

fn try_main() -> Result<ExitCode> {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(message) => return Ok(output::usage(&message)),
    };
    let global = &args.global;
    // It has pools of its own, of several sizes.
    if !matches!(args.command, Command::Bench(_)) {
        set_threads(&global.threads)?;
    }
    match &args.command {
        Command::Measure(args) => measure::run(args, global),
        Command::Grow(args) => grow::run(args, global),
        Command::Train(args) => stage::run(args, bantam::StageName::Train, global),
        Command::Prune(args) => stage::run(args, bantam::StageName::Prune, global),
        Command::Quantize(args) => stage::run(args, bantam::StageName::Quantize, global),
        Command::Pack(args) => stage::run(args, bantam::StageName::Pack, global),
        Command::Shrink(args) => shrink::run(args, global),
        Command::Run(args) => run::run(args, global),
        Command::Inspect(args) => inspect::run(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Bench(args) => bench::run(args, global),
        Command::Drift(args) => return drift::run(args, global),
    }?;
    Ok(ExitCode::SUCCESS)
}

fn set_threads(threads: &[usize]) -> Result<()> {
    let threads = match *threads {
        [] => return Ok(()),
        [threads] => threads,
        _ => {
            let message = "expected one number of threads, found several";
            let error = Error::new(ErrorKind::Recipe, message);
            return Err(error.with_hint("bench takes several"));
        }
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| {
        let message = format!("{threads} threads cannot be started: {e}");
        Error::new(ErrorKind::Recipe, message)
    })
}
