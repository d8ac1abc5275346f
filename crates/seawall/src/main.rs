//! The one binary: parses what was typed, wires the rooms of the house to the real world, prints. It owns no logic of storage.
//!
//! Exit status: 0 done, 1 refused or failed with one line on standard error, 2 wrong usage.

mod args;
mod authority;
mod bench;
mod config;
mod daemon;
mod demo;
mod describe;
mod dev;
mod format;
mod inspect;
mod later;
mod operate;
mod points;
mod process;
mod rebuild;
mod refusal;
mod region;
mod simulate;
mod slowness;
mod table;
mod temporary;
mod witness;

use args::{Cli, Command, Daemon, Inspect, ZoneOperation};
use clap::Parser as _;
use refusal::Refusal;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            // Seen before the command line is understood, so that every command has it alike.
            if std::env::args_os().any(|word| word == "--json") {
                say(&format!("{}\n", refusal.json()));
            }
            eprintln!("{refusal}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Refusal> {
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Dev(args) => dev::run(args),
        Command::Volume(command) => operate::volume(command),
        Command::Attach(args) => operate::attach(&args),
        Command::Detach(args) => operate::detach(&args),
        Command::Node(args) => match args.command {
            Some(operation) => operate::node(operation),
            None => daemon_or_example(&args.daemon, daemon::node::run, config::node_example),
        },
        Command::Zone(args) => match args.command {
            Some(ZoneOperation::Status { target }) => operate::zone(&target),
            Some(ZoneOperation::Rebuild(args)) => rebuild::run(&args),
            Some(ZoneOperation::Switch(_)) => Err(later::refuse("seawall zone switch", "nothing replaces it yet")),
            Some(ZoneOperation::Freeze(_)) => Err(later::refuse("seawall zone freeze", "nothing replaces it yet")),
            None => daemon_or_example(&args.daemon, daemon::zone::run, config::zone_example),
        },
        Command::Host(args) => daemon_or_example(&args, daemon::host::run, config::host_example),
        Command::Sim(args) => simulate::run(&args),
        Command::Witness(args) => witness::run(args),
        Command::Region(args) => daemon_or_example(&args, daemon::region::run, config::region::region_example),
        Command::Inspect(Inspect::Store(args)) => inspect::run(&args),
        Command::Replay(_) => Err(later::refuse("seawall replay", "try the simulator with `seawall sim`")),
        Command::Whatif(_) => Err(later::refuse("seawall whatif", "try the simulator with `seawall sim`")),
        Command::Bench(args) => bench::run(&args),
    }
}

fn daemon_or_example(
    args: &Daemon,
    run: fn(&Path) -> Result<(), Refusal>,
    example: fn() -> String,
) -> Result<(), Refusal> {
    match &args.config {
        Some(path) => run(path),
        None => {
            say(&example());
            Ok(())
        }
    }
}

/// Prints for whoever reads standard output. A reader that went away, such as `head`, is no failure of ours.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
