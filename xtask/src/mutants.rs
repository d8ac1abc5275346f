//! `cargo xtask mutants`: every machine is made wrong in one small way after the other, and what should notice is asked to: the crash states of the store,
//! the exploration of replicas, stories of nodes, walks of the authority, isolation of the region's zones, and seeds of the simulator for what none of these has shown. Each of these prints a line for each mutant; here they become one table.

use crate::say;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

/// What notices beside the simulator: its name, and the package whose test `mutants` it is.
const OTHERS: [(&str, &str); 5] = [
    ("crash states", "store"),
    ("exploration", "replica"),
    ("stories", "node"),
    ("walks", "zone"),
    ("isolation", "region"),
];

/// Mutants that cannot be told from the original, and why.
const SAME: [(&str, &str); 1] = [(
    "OwnTailKept",
    "a new primary never has entries beyond the window that it fetches: each member of its epoch was asked, and who had adopted less than another was no member then, so it has learned since",
)];

/// Of a hundred mutants so many must be shown.
const SHOWN_PER_CENT: usize = 95;

/// A line of a table: `NAME  by whom  SECONDS s  why`.
#[derive(Debug, PartialEq)]
struct Line {
    mutant: String,
    /// Who showed it; none if nobody did.
    by: Option<String>,
    seconds: f64,
}

/// Reads a line, if it is of a table.
fn read(line: &str) -> Option<Line> {
    // Behind what tests that run beside it print of their own.
    let line = line.trim_start_matches('.');
    let (left, _) = line.split_once(" s  ").or_else(|| Some((line.strip_suffix(" s")?, "")))?;
    let (left, seconds) = left.rsplit_once(' ')?;
    let (mutant, by) = left.trim().split_once(' ')?;
    let is_name =
        mutant.chars().all(|c| c.is_ascii_alphanumeric()) && mutant.starts_with(|c: char| c.is_ascii_uppercase());
    let (seconds, by) = (seconds.parse().ok()?, by.trim());
    is_name.then(|| Line { mutant: mutant.to_owned(), by: (by != "alive").then(|| by.to_owned()), seconds })
}

/// Who showed which mutant soonest.
#[derive(Default)]
struct Table(BTreeMap<String, Option<(String, f64)>>);

impl Table {
    fn add(&mut self, whose: &str, line: Line) {
        let known = self.0.entry(line.mutant).or_default();
        if let Some(by) = line.by.filter(|_| known.as_ref().is_none_or(|(_, seconds)| line.seconds < *seconds)) {
            *known = Some((format!("{whose}, {by}"), line.seconds));
        }
    }

    fn shown(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, by)| by.is_some()).map(|(mutant, _)| mutant.as_str())
    }

    fn alive(&self) -> Vec<&str> {
        self.0.iter().filter(|(_, by)| by.is_none()).map(|(mutant, _)| mutant.as_str()).collect()
    }

    /// The middle one's seconds.
    fn median(&self) -> f64 {
        let mut seconds: Vec<f64> = self.0.values().flatten().map(|(_, seconds)| *seconds).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or_default()
    }

    /// Whether enough are shown. What is the same as the original counts for neither.
    fn holds(&self) -> bool {
        let alive = self.alive().iter().filter(|mutant| SAME.iter().all(|(same, _)| same != *mutant)).count();
        let all = self.0.keys().filter(|mutant| SAME.iter().all(|(same, _)| same != mutant)).count();
        (all - alive) * 100 >= all * SHOWN_PER_CENT
    }
}

/// Runs cargo, shows what it prints of tables, and keeps it.
fn gather(root: &Path, whose: &str, words: &[&str], table: &mut Table) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(words).current_dir(root).stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|why| format!("cargo cannot be started: {why}"))?;
    let out = child.stdout.take().expect("it was piped");
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        if let Some(read) = read(&line) {
            say(format_args!("{whose:<13} {line}"));
            table.add(whose, read);
        }
    }
    // Whether somebody is alive is judged here, of all together.
    child.wait().map(drop).map_err(|why| format!("{whose}: {why}"))
}

/// Runs all of it, or the simulator alone when mutants are named. Whether enough are shown.
///
/// # Errors
/// Cargo cannot be started, or no table came of it.
pub fn run(root: &Path, rest: &[&str]) -> Result<bool, String> {
    let mut table = Table::default();
    let is_named = rest.iter().any(|word| word.starts_with(|c: char| c.is_ascii_uppercase()));
    for (whose, package) in OTHERS.into_iter().filter(|_| !is_named) {
        let test = [
            "test",
            "--release",
            "-q",
            "-p",
            package,
            "--features",
            "mutants",
            "--test",
            "mutants",
            "--",
            "--nocapture",
        ];
        gather(root, whose, &test, &mut table)?;
    }
    // A seed takes longer than any of these: it is asked only for what nobody has shown.
    let shown: Vec<&str> = table.shown().collect();
    let without = shown.join(",");
    let without: &[&str] = if shown.is_empty() { &[] } else { &["--without", &without] };
    let simulator = ["run", "--release", "-q", "-p", "sim", "--features", "mutants", "--example", "mutants", "--"];
    gather(root, "simulator", &[&simulator, without, rest].concat(), &mut table)?;
    if table.0.is_empty() {
        return Err("no mutant was tried; what went wrong stands above".to_owned());
    }
    let (all, alive) = (table.0.len(), table.alive());
    say(format_args!(
        "{} of {all} shown, the middle one within {:.1} s of one processor",
        all - alive.len(),
        table.median()
    ));
    for mutant in &alive {
        let same = SAME.iter().find(|(same, _)| same == mutant).map_or("", |(_, why)| why);
        say(format_args!("alive: {mutant}{}{same}", if same.is_empty() { "" } else { ", as it must be: " }));
    }
    Ok(table.holds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tables_are_read_and_others_are_not() {
        let line = |mutant: &str, by: Option<&str>, seconds| {
            Some(Line { mutant: mutant.to_owned(), by: by.map(str::to_owned), seconds })
        };
        assert_eq!(
            read("StaleLearn       seed 23        6.7 s  convergence: 60s after"),
            line("StaleLearn", Some("seed 23"), 6.7)
        );
        assert_eq!(read("SyncedTwice      alive         31.2 s"), line("SyncedTwice", None, 31.2));
        assert_eq!(
            read("DropLeaks        steps of the cleaner    0.2 s  it leaks"),
            line("DropLeaks", Some("steps of the cleaner"), 0.2)
        );
        assert_eq!(
            read("...ReleasedTooEarly   its story    0.0 s  "),
            line("ReleasedTooEarly", Some("its story"), 0.0)
        );
        for other in ["running 1 test", "52 of 94 shown by one of 60 seeds each, within 2.6 s  of it", "", "x s  y"] {
            assert_eq!(read(other), None, "{other}");
        }
    }

    #[test]
    fn the_soonest_counts_and_who_cannot_be_told_from_the_original_does_not() {
        let mut table = Table::default();
        let line = |mutant: &str, by: Option<&str>, seconds| Line {
            mutant: mutant.to_owned(),
            by: by.map(str::to_owned),
            seconds,
        };
        table.add("simulator", line("A", Some("seed 9"), 5.0));
        table.add("simulator", line("B", None, 60.0));
        table.add("walks", line("A", Some("seed 1"), 0.5));
        table.add("walks", line("A", Some("seed 2"), 9.0));
        assert_eq!(table.0["A"], Some(("walks, seed 1".to_owned(), 0.5)));
        assert_eq!((table.shown().collect::<Vec<_>>(), table.alive(), table.holds()), (vec!["A"], vec!["B"], false));
        table.add("crash states", line("B", Some("short sequences"), 1.0));
        table.add("simulator", line("OwnTailKept", None, 1.0));
        assert_eq!((table.alive(), table.holds(), table.median()), (vec!["OwnTailKept"], true, 1.0));
    }
}
