//! `seawall witness`: a client of one attached volume that others torture. It reads and writes as fast as it is told, probes the volume a thousand times a
//! second, keeps the whole history of what it asked and what it was answered, and says on demand whether that history can be true. `tests/torture` drives
//! it, a command a line on standard input, an answer a line (JSON) on standard output; when its input ends, it ends.
//!
//! | command | answer |
//! |---|---|
//! | `connect GENERATION SOCKET` | opens all connections, under that generation of the attachment: `{"connected": 20}` |
//! | `status` | what was asked and answered so far, what failed, how many connections were lost |
//! | `moved FROM` | whether every connection that lives was answered a request asked after that time |
//! | `between FROM TO` | gaps of the probe and times of the requests that were answered then, in nanoseconds |
//! | `stop` | lets what is in flight end, and closes |
//! | `verify GENERATION SOCKET` | when stopped: reads every block, and judges the whole history |
//!
//! Times are nanoseconds of CLOCK_BOOTTIME, which every process of a computer reads alike. A client that is cut off from its server keeps what it had asked as writes
//! that may still happen; it never asks them again.

mod judge;
mod stamp;
#[cfg(test)]
mod tests;
mod times;
mod worker;

use crate::args::Witness as Args;
use crate::refusal::{Code, Refusal};
use base::{BLOCK_BYTES, Rng};
use frontend::nbd::client::Client;
use judge::Seen;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::BufRead as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use worker::{LANES, Part, Progress, Shared, Task, Worker, now};

/// Between two requests of the probe.
const PROBE_EVERY: u64 = 1_000_000;
/// Connections that look at everything together.
const LOOKERS: u64 = 4;

/// A connection that runs.
struct Running {
    progress: Arc<Progress>,
    thread: JoinHandle<Vec<Seen>>,
}

/// All that one witness knows.
struct Witness {
    args: Args,
    rng: Rng,
    shared: Arc<Shared>,
    running: Vec<Running>,
    history: Vec<Seen>,
    /// Connections made so far.
    made: u64,
    /// Of them, those that were cut off.
    gone: u64,
}

/// Runs it. Its verdicts are answers; its exit status says only that it was understood.
pub fn run(args: Args) -> Result<(), Refusal> {
    let rng = Rng::new(args.seed);
    let shared = Arc::new(Shared::default());
    let mut witness = Witness { args, rng, shared, running: Vec::new(), history: Vec::new(), made: 0, gone: 0 };
    for line in std::io::stdin().lock().lines() {
        let line = line.map_err(|e| Refusal::new(Code::File, format!("standard input cannot be read: {e}")))?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = witness.answer(&words).unwrap_or_else(|why| json!({ "error": why }));
        crate::say(&format!("{answer}\n"));
    }
    Ok(())
}

impl Witness {
    fn answer(&mut self, words: &[&str]) -> Result<Value, String> {
        match words {
            ["connect", generation, socket] => self.connect(number(generation)?, socket),
            ["status"] => Ok(self.status()),
            ["moved", from] => Ok(json!({ "moved": self.moved(number(from)?) })),
            ["between", from, to] => Ok(self.between(number(from)?, number(to)?)),
            ["stop"] => self.stop(),
            ["verify", generation, socket] => self.verify(number(generation)?, socket),
            _ => Err("there is no such command; there are connect, status, moved, between, stop, verify".into()),
        }
    }

    /// All connections of the load and of the probe.
    fn connect(&mut self, generation: u64, socket: &str) -> Result<Value, String> {
        self.must_be_stopped()?;
        let connections = self.args.connections;
        let every = 1_000_000_000 * connections / self.args.rate.max(1);
        let load = Task::Load { depth: self.args.depth, every };
        let probe = (0..LANES).map(|lane| Task::Probe { lane, every: LANES * PROBE_EVERY, offset: lane * PROBE_EVERY });
        let tasks = (0..connections).map(|_| load).chain(probe).collect();
        self.begin(tasks, generation, socket)
    }

    fn begin(&mut self, tasks: Vec<Task>, generation: u64, socket: &str) -> Result<Value, String> {
        let generation = u32::try_from(generation).map_err(|_| "no volume has so many generations")?;
        let open = |_: &Task| Client::connect_unix(socket, self.args.volume).map_err(|e| e.to_string());
        let clients = tasks.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        self.shared.stop.store(false, Ordering::Release);
        for (task, client) in tasks.into_iter().zip(clients) {
            self.made += 1;
            let (io, progress, shared) = (self.made, Arc::new(Progress::default()), Arc::clone(&self.shared));
            let (rng, volume) = (self.rng.split(&io.to_string()), self.args.volume);
            // One liar is enough, and the probe never is.
            let lie = self.args.lie.filter(|_| matches!(task, Task::Load { .. }));
            let seen_by = Arc::clone(&progress);
            let work = move || {
                let part = Part { shared: &shared, progress: &seen_by, volume, generation, io, task, lie };
                Worker::new(part, client, rng).run()
            };
            let named = std::thread::Builder::new().name(format!("connection {io}"));
            let thread = named.spawn(work).map_err(|e| format!("no thread for a connection: {e}"))?;
            self.running.push(Running { progress, thread });
        }
        Ok(json!({ "connected": self.running.len() }))
    }

    fn must_be_stopped(&self) -> Result<(), String> {
        if self.running.is_empty() { Ok(()) } else { Err("it is connected; stop it first".into()) }
    }

    fn status(&self) -> Value {
        let lost = self.running.iter().filter(|r| r.progress.is_gone.load(Ordering::Acquire)).count();
        let failures = self.shared.failures.lock().expect("a worker panicked");
        json!({
            "now": now(),
            "connected": self.running.len(),
            "lost": lost,
            "lost_before": self.gone,
            "answered": self.shared.ticks.lock().expect("a worker panicked").len(),
            "errors": self.shared.errors.load(Ordering::Relaxed),
            "failures": failures.0,
            "first_failures": failures.1,
        })
    }

    fn moved(&self, from: u64) -> bool {
        let lives = |r: &&Running| !r.progress.is_gone.load(Ordering::Acquire);
        let moved = |r: &Running| r.progress.answered_from.load(Ordering::Acquire) >= from;
        !self.running.is_empty() && self.running.iter().filter(lives).all(moved)
    }

    fn between(&self, from: u64, to: u64) -> Value {
        let seen = times::span(&self.shared.ticks.lock().expect("a worker panicked"), from, to);
        json!({
            "gap": seen.gap,
            "gap_read": seen.gap_read,
            "gap_write": seen.gap_write,
            "first": seen.first,
            "probes": seen.probes,
            "loads": seen.loads,
            "p50": seen.p50,
            "p99": seen.p99,
            "longest": seen.longest,
        })
    }

    fn stop(&mut self) -> Result<Value, String> {
        self.shared.stop.store(true, Ordering::Release);
        for running in self.running.drain(..) {
            running.thread.thread().unpark();
            self.history.extend(running.thread.join().map_err(|_| "a connection's thread panicked")?);
            self.gone += u64::from(running.progress.is_gone.load(Ordering::Acquire));
        }
        Ok(json!({ "stopped": true, "lost_before": self.gone }))
    }

    fn verify(&mut self, generation: u64, socket: &str) -> Result<Value, String> {
        self.must_be_stopped()?;
        let began = now();
        let size = Client::connect_unix(socket, self.args.volume).map_err(|e| e.to_string())?.size();
        let blocks = size / BLOCK_BYTES as u64;
        let looks = (0..LOOKERS).map(|n| Task::Look { from: blocks * n / LOOKERS, to: blocks * (n + 1) / LOOKERS });
        let lost_before = self.gone;
        self.begin(looks.collect(), generation, socket)?;
        self.stop()?;
        if self.gone > lost_before {
            return Err("the connection was lost while everything was read".into());
        }
        let first_answers: BTreeMap<u32, u64> = self.shared.first_answers.lock().expect("a worker panicked").clone();
        let verdict = judge::judge(&mut self.history, &first_answers);
        let failures = self.shared.failures.lock().expect("a worker panicked");
        Ok(json!({
            "blocks": blocks,
            "registers": verdict.registers,
            "accesses": verdict.accesses,
            "open_writes": verdict.open_writes,
            "answered": self.shared.ticks.lock().expect("a worker panicked").len(),
            "errors": self.shared.errors.load(Ordering::Relaxed),
            "failures": failures.0,
            "first_failures": failures.1,
            "anomalies": verdict.anomalies.len(),
            "first_anomalies": verdict.anomalies.iter().take(5).collect::<Vec<_>>(),
            "took_ms": (now() - began) / 1_000_000,
        }))
    }
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word:?} is not a number"))
}
