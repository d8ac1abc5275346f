//! What a run is asked for and what it says: options, the summary line of a seed, and how a failure is shown.

use crate::coverage::Coverage;
use crate::run::Run;
use crate::shrink::Less;
use base::ShardId;
use base::io::net::{ClassBytes, Network};
use base::mutant::Mutation;
use base::sometimes::Sometimes;
use base::time::Duration;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How to run seeds.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long faults go on, in simulated time. 60 s.
    pub safety: Duration,
    /// Client operations that must be answered before faults end. 1,000.
    pub ops_min: u64,
    /// Whether there are faults.
    pub faults: bool,
    /// If not empty, the only classes of faults, by the names under which they are counted.
    pub only: Vec<String>,
    /// Networks that are cut between all nodes for as long as faults go on.
    pub cut: Vec<Network>,
    /// Whether some primary hears nobody any more, and is heard, from a moment under load until faults end; all its shards must be led on by others.
    pub deaf: bool,
    /// If not 0, the disk of the first node is so many times slower than the others', which are all alike, for as long as faults go on.
    pub slow_disk: u64,
    /// Whether disks lie about what is durable, which must be found out.
    pub lying_disks: bool,
    /// What is left out of the world.
    pub less: Less,
    /// What is wrong with all machines of the world.
    pub mutation: Mutation,
    /// Lines of the trace to show of a failed seed. 200.
    pub lines: usize,
    /// The commit that is running, to be printed with a failure.
    pub commit: Option<String>,
    /// Milliseconds of real time, from any beginning; for the summary only. The simulator has no clock of its own.
    pub wall_ms: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            safety: Duration::from_secs(60),
            ops_min: 1000,
            faults: true,
            only: Vec::new(),
            cut: Vec::new(),
            deaf: false,
            slow_disk: 0,
            lying_disks: false,
            less: Less::default(),
            mutation: Mutation::NONE,
            lines: 200,
            commit: None,
            wall_ms: || 0,
        }
    }
}

/// Why a seed failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// What was found, by whom.
    pub text: String,
    /// Of which shard, if it is about one.
    pub shard: Option<ShardId>,
    /// The last lines of the trace that concern it.
    pub trace: Vec<String>,
}

impl Failure {
    /// Found by a checker; the shard is the first that its text names.
    pub fn of(text: String) -> Self {
        let named = text.match_indices("vol-").find_map(|(at, _)| {
            let end = text[at..].find(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '/');
            text[at..end.map_or(text.len(), |end| at + end)].parse().ok()
        });
        Self { text, shard: named, trace: Vec::new() }
    }
}

/// What became of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which.
    pub seed: u64,
    /// Of everything that happened, in order.
    pub trace_hash: u64,
    /// How much that was.
    pub events: u64,
    /// Client operations.
    pub asked: u64,
    /// Of those, answered well.
    pub answered: u64,
    /// Faults, by class.
    pub faults: BTreeMap<&'static str, u64>,
    /// Faults and moves, those that were left out included.
    pub disturbances: u64,
    /// Nodes.
    pub nodes: u64,
    /// Volumes.
    pub volumes: u8,
    /// NBD connections that clients opened; none where they ask hosts without.
    pub connections: u64,
    /// Whom they struck in which state.
    pub coverage: Coverage,
    /// Frames damaged on their way, each noticed.
    pub damaged: u64,
    /// Blocks that members gave each other in place of rotten ones.
    pub mended: u64,
    /// Bytes of frames that were sent, by network and class.
    pub sent: ClassBytes,
    /// Learners that were made whole with what had changed while they were away.
    pub by_delta: u64,
    /// Learners that were made whole with everything.
    pub in_full: u64,
    /// Times that nodes took themselves to be isolated.
    pub isolated: u64,
    /// What nodes asked the authority again.
    pub retries: u64,
    /// Epochs beyond the first, over all shards.
    pub elections: u64,
    /// Replicas that the authority put out because their nodes were slow, and those that it left there, since it last started.
    pub slow: (u64, u64),
    /// Simulated time.
    pub simulated: Duration,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.failure.is_some() { "FAILED" } else { "ok" };
        write!(
            f,
            "seed {} {verdict} trace {:016x} events {} ops {} of {} elections {} simulated {} s, faults:",
            self.seed,
            self.trace_hash,
            self.events,
            self.answered,
            self.asked,
            self.elections,
            self.simulated.as_secs()
        )?;
        self.faults.iter().try_for_each(|(name, count)| write!(f, " {name} {count}"))?;
        if self.connections > 0 {
            write!(f, " nbd-connections {}", self.connections)?;
        }
        if self.damaged > 0 {
            write!(f, " damaged-frames {}", self.damaged)?;
        }
        if self.mended > 0 {
            write!(f, " mended-blocks {}", self.mended)?;
        }
        if self.slow != (0, 0) {
            write!(f, " slow put-out {} kept {}", self.slow.0, self.slow.1)?;
        }
        if self.by_delta + self.in_full > 0 {
            write!(f, " learned by-delta {} in-full {}", self.by_delta, self.in_full)?;
        }
        if self.retries > 0 {
            write!(f, " retries {}", self.retries)?;
        }
        if self.isolated > 0 {
            write!(f, " isolated {}", self.isolated)?;
        }
        Ok(())
    }
}

/// Runs one seed. A broken invariant of a machine is a failure of the seed, not of the caller.
pub fn run_seed(seed: u64, options: &Options) -> Report {
    run(seed, options, 0)
}

/// The same, with what happened to the world and with what was said in it.
pub(crate) fn run_keeping(seed: u64, options: &Options) -> (Report, Vec<String>, Vec<String>) {
    let mut run = Run::new(seed, options, KEEP_LINES);
    let report = finish(&mut run, seed, options);
    let (said, told) = std::mem::replace(&mut run.cluster.world.trace, crate::trace::Trace::new(0)).into_lines();
    (report, told, said)
}

fn run(seed: u64, options: &Options, keep_lines: usize) -> Report {
    let mut run = Run::new(seed, options, keep_lines);
    let mut report = finish(&mut run, seed, options);
    if let Some(failure) = &mut report.failure {
        let lines = std::mem::replace(&mut run.cluster.world.trace, crate::trace::Trace::new(0)).into_lines();
        failure.trace = concerning(failure.shard, lines.0, options.lines);
    }
    report
}

fn finish(run: &mut Run, seed: u64, options: &Options) -> Report {
    let outcome = catch_unwind(AssertUnwindSafe(|| run.go(options)));
    let failure = match outcome {
        Ok(verdict) => verdict.err(),
        Err(panic) => Some(Failure::of(format!("a broken invariant: {}", words_of(&*panic)))),
    };
    run.report(seed, failure)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no words".to_owned())
}

/// The last lines that name the shard, or what happened to processes and links; all, if no shard is concerned.
fn concerning(shard: Option<ShardId>, lines: Vec<String>, most: usize) -> Vec<String> {
    let name = shard.map(|shard| shard.to_string());
    let other = |line: &str| line.contains("vol-") && name.as_ref().is_some_and(|name| !line.contains(name.as_str()));
    let mut kept: Vec<String> = lines.into_iter().filter(|line| !other(line)).collect();
    kept.drain(..kept.len().saturating_sub(most));
    kept
}

/// Lines kept of a failed seed when it is run again, before they are sifted.
const KEEP_LINES: usize = 2_000_000;

/// A seed that was run twice.
#[derive(Debug)]
pub struct Judged {
    seed: u64,
    held: bool,
    /// What there is to say: a line, and of a failure also why, with the end of its trace.
    pub lines: Vec<String>,
    coverage: Coverage,
    events: u64,
    simulated: Duration,
    took_ms: u64,
}

/// Runs a seed twice: it must hold, and be the same to the byte.
pub fn judge_seed(seed: u64, options: &Options) -> Judged {
    let start = (options.wall_ms)();
    let report = run_seed(seed, options);
    let again = run(seed, options, if report.failure.is_some() { KEEP_LINES } else { 0 });
    let took_ms = (options.wall_ms)() - start;
    let mut lines = vec![format!("{report}, twice in {took_ms} ms")];
    let repeats = report.trace_hash == again.trace_hash;
    if !repeats {
        lines.push(format!("seed {seed} is not repeatable: its second run has trace {:016x}", again.trace_hash));
    } else if let Some(failure) = &again.failure {
        let commit = options.commit.as_deref().unwrap_or("unknown");
        lines.push(format!("seed {seed} at commit {commit}: {}", failure.text));
        lines.extend(failure.trace.iter().map(|line| format!("  {line}")));
    }
    let held = repeats && again.failure.is_none();
    let Report { coverage, events, simulated, .. } = report;
    Judged { seed, held, lines, coverage, events, simulated, took_ms }
}

/// What many seeds came to.
#[derive(Debug, Default)]
pub struct Tally {
    total: usize,
    failed: Vec<u64>,
    coverage: Coverage,
    events: u64,
    simulated: Duration,
    took_ms: u64,
}

impl Tally {
    /// One seed more.
    pub fn add(&mut self, judged: &Judged) {
        self.total += 1;
        self.failed.extend(Some(judged.seed).filter(|_| !judged.held));
        self.coverage.add(&judged.coverage);
        self.events += judged.events;
        self.simulated += judged.simulated;
        self.took_ms += judged.took_ms;
    }

    /// Whether all held.
    pub fn held(&self) -> bool {
        self.failed.is_empty()
    }

    /// What no fault of any of them struck, and where none of the machines ever was.
    pub fn missed(&self) -> Vec<String> {
        let seeds = self.total as u64;
        let never = Coverage::wanted(seeds).filter(|mark| mark.count() == 0).map(|mark| format!("{mark:?}"));
        self.coverage.missed(seeds).into_iter().chain(never).collect()
    }

    /// What was tried, at which pace, and what came of it. Each seed was run twice.
    pub fn lines(&self, wall_ms: u64) -> Vec<String> {
        let mut lines = self.coverage.lines();
        lines
            .extend(Sometimes::ALL.iter().map(|mark| format!("{:<24} {:>8} times", format!("{mark:?}"), mark.count())));
        let missed = self.missed();
        if !missed.is_empty() {
            lines.push(format!("never: {}", missed.join(", ")));
        }
        let (took, simulated) = (self.took_ms.max(1), 2 * self.simulated.as_millis() as u64);
        lines.push(format!(
            "{} events a second of one core, {} times real time",
            2 * self.events * 1000 / took,
            simulated / took
        ));
        let held = self.total - self.failed.len();
        let failed = &self.failed;
        lines.push(format!("{held} of {} seeds held, each run twice, in {wall_ms} ms; failed: {failed:?}", self.total));
        lines
    }
}

/// Runs seeds one after the other and prints all there is to say of them. Says whether all held.
pub fn main_seeds(seeds: Range<u64>, options: &Options, print: &mut dyn FnMut(&str)) -> bool {
    let (mut tally, began) = (Tally::default(), (options.wall_ms)());
    for seed in seeds {
        let judged = judge_seed(seed, options);
        judged.lines.iter().for_each(|line| print(line));
        tally.add(&judged);
    }
    tally.lines((options.wall_ms)() - began).iter().for_each(|line| print(line));
    tally.held()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_finds_the_shard_it_is_about_and_its_lines() {
        let failure = Failure::of("R18: node-1 served vol-0000000000000000a/2 in epoch 3".into());
        assert_eq!(failure.shard, Some("vol-0000000000000000a/2".parse().unwrap()));
        assert_eq!(Failure::of("nothing of a shard".into()).shard, None);
        let lines = ["node-1 starts", "x vol-0000000000000000a/2 y", "x vol-0000000000000000a/1 y", "zone is killed"];
        let lines = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        assert_eq!(concerning(failure.shard, lines(), 10).len(), 3);
        assert_eq!(concerning(failure.shard, lines(), 1), ["zone is killed"]);
        assert_eq!(concerning(None, lines(), 10).len(), 4);
    }
}
