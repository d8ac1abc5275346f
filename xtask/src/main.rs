//! `cargo xtask`: reads what is wanted, does it, and says in the exit status whether it held (0 yes, 1 no, 2 wrong usage).

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage:
  cargo xtask ci [--require-all] [STAGE ...]   run all stages, or those named; --require-all: a skip is a failure
  cargo xtask ci --list                        the stages and what each one does
  cargo xtask tidy                             the rules of the house that no compiler knows
  cargo xtask torture [WHAT] [OPTION ...]      real processes killed, stopped, cut off, over bad disks; --help says more
  cargo xtask fuzz [TARGET ...] [--seconds N]  anything at all said to what reads bytes from outside
  cargo xtask mutants [MUTANT ...] [--seeds N] [--jobs N]
                                               machines made wrong in one small way each: who shows it, and how soon
  cargo xtask aws-model [--check] [--wheel FILE]
                                               the shapes of crates/api from AWS's public models; --check: compare only
  cargo xtask bench --against REV [--rounds N] [--rows ROW,ROW] [--seconds S] [--size SIZE] [--seed N] [--json]
                                               this tree and another revision, measured in turn

A stage of scripts can be narrowed to one: cargo xtask ci e2e/qemu_img";

fn root() -> PathBuf {
    // This package lies directly under the root.
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| ".".into(), Path::to_path_buf)
}

fn tidy() -> bool {
    match xtask::tidy::Tree::open(&root()) {
        Ok(tree) => xtask::tidy::print(&xtask::tidy::check(&tree)),
        Err(e) => {
            eprintln!("xtask: the tree at {} cannot be read: {e}", root().display());
            false
        }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let held = match words.as_slice() {
        ["ci", rest @ ..] => match xtask::ci::Wanted::parse(rest) {
            Ok(wanted) => xtask::ci::run(&root(), &wanted),
            Err(why) => {
                eprintln!("xtask: {why}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["tidy"] => tidy(),
        ["torture", rest @ ..] => xtask::torture::run(&root(), rest).unwrap_or_else(|why| {
            eprintln!("xtask: {why}");
            false
        }),
        ["mutants", rest @ ..] => xtask::mutants::run(&root(), rest).unwrap_or_else(|why| {
            eprintln!("xtask: {why}");
            false
        }),
        ["fuzz", rest @ ..] => match xtask::fuzz::Wanted::parse(rest) {
            Ok(wanted) => xtask::fuzz::run(&root(), &wanted).unwrap_or_else(|why| {
                eprintln!("xtask: {why}");
                false
            }),
            Err(why) => {
                eprintln!("xtask: {why}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["aws-model", rest @ ..] => match xtask::aws_model::Wanted::parse(rest) {
            Ok(wanted) => xtask::aws_model::run(&root(), &wanted).unwrap_or_else(|why| {
                eprintln!("xtask: {why}");
                false
            }),
            Err(why) => {
                eprintln!("xtask: {why}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["bench", rest @ ..] => match xtask::bench::Wanted::parse(rest) {
            Ok(wanted) => xtask::bench::run(&root(), &wanted).map_err(|why| eprintln!("xtask: {why}")).is_ok(),
            Err(why) => {
                eprintln!("xtask: {why}\n\n{USAGE}");
                return ExitCode::from(2);
            }
        },
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            true
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
