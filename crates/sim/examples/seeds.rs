//! Runs a range of seeds and prints a line for each: `cargo run --release -p sim --example seeds -- 0 100`.
//!
//! `--only kill-node,strand` allows these faults only, `--calm` leaves the faults out, `--lines N` shows more of a failed seed's trace.

use sim::Options;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Instant;

fn wall_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn main() -> ExitCode {
    let mut options = Options { wall_ms, ..Options::default() };
    let mut numbers = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--only" => options.only = args.next().expect("--only takes names").split(',').map(Into::into).collect(),
            "--calm" => options.faults = false,
            "--lines" => options.lines = args.next().and_then(|n| n.parse().ok()).expect("--lines takes a number"),
            number => numbers.push(number.parse::<u64>().expect("usage: seeds FROM TO [--calm] [--lines N]")),
        }
    }
    let [from, to] = numbers[..] else { panic!("usage: seeds FROM TO [--calm] [--lines N]") };
    if sim::main_seeds(from..to, &options, &mut |line| println!("{line}")) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
