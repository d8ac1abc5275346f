//! A client that believes nothing: it writes blocks whose bytes it can predict, over several NBD connections, and checks every
//! byte that it reads. Each connection has blocks of its own, so what each block must hold is always known exactly: a write
//! that was acknowledged is there, and none may fail.

use super::stamp;
use base::{BLOCK_BYTES, Rng, VolumeId};
use frontend::nbd::client::Client;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Connections, each with one request in flight.
pub const CONNECTIONS: usize = 8;
/// Blocks that belong to one connection in a row (256 KiB).
const RUN_BLOCKS: u64 = 64;
/// Blocks of the largest request of the load (64 KiB).
const REQUEST_BLOCKS_MAX: u64 = 16;
/// Between the requests of one connection, when it is not behind: bounds what the load appends to the logs of the nodes, which
/// are not cleaned yet.
const EVERY: Duration = Duration::from_millis(12);

/// One request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When it was sent, since the load was made.
    pub from: Duration,
    /// When its answer came.
    pub to: Duration,
}

/// Where the volume is offered, and what is in it.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The Unix socket.
    pub socket: PathBuf,
    /// The export.
    pub id: VolumeId,
    /// Blocks of 4 KiB.
    pub blocks: u64,
    /// What its bytes follow from.
    pub seed: u64,
}

/// What was done, over all connections.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes whose write was acknowledged.
    pub written: AtomicU64,
    /// Bytes that were read and were right.
    pub verified: AtomicU64,
}

struct Shared {
    volume: Volume,
    began: Instant,
    counters: Counters,
    stop: AtomicBool,
    samples: Mutex<Vec<Sample>>,
    /// Per connection: when its request in flight was sent, in nanoseconds since the beginning plus one; 0 when none is.
    in_flight: [AtomicU64; CONNECTIONS],
    failure: Mutex<Option<String>>,
    changed: Condvar,
}

/// What each block must hold: how often it was written. One part per connection.
pub struct Ledger {
    parts: Vec<Vec<u32>>,
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<Vec<u32>>>,
}

/// What a connection does until it is told to stop, or until it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Writes all its blocks once, and ends.
    Fill,
    /// Reads and writes at random, at a bounded rate, until stopped.
    Mix,
    /// Reads all its blocks, and ends.
    Check,
}

/// The block at a place among those of connection `k`: runs are dealt out in turn.
fn block_of(k: usize, place: u64) -> u64 {
    (place / RUN_BLOCKS * CONNECTIONS as u64 + k as u64) * RUN_BLOCKS + place % RUN_BLOCKS
}

impl Ledger {
    /// Of a volume never written.
    pub fn new(volume: &Volume) -> Self {
        let per_connection = volume.blocks / CONNECTIONS as u64;
        assert_eq!(per_connection % RUN_BLOCKS * CONNECTIONS as u64 + volume.blocks % CONNECTIONS as u64, 0);
        Self { parts: vec![vec![0; per_connection as usize]; CONNECTIONS] }
    }
}

impl Load {
    /// Begins. The ledger comes back from [`Self::join`].
    pub fn start(volume: &Volume, ledger: Ledger, task: Task) -> Self {
        let shared = Arc::new(Shared {
            volume: volume.clone(),
            began: Instant::now(),
            counters: Counters::default(),
            stop: AtomicBool::new(false),
            samples: Mutex::default(),
            in_flight: Default::default(),
            failure: Mutex::default(),
            changed: Condvar::new(),
        });
        let parts = ledger.parts.into_iter().enumerate();
        let workers = parts.map(|(k, part)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Worker::run(shared, k, part, task))
        });
        Self { workers: workers.collect(), shared }
    }

    /// Now, as samples count it.
    pub fn now(&self) -> Duration {
        self.shared.began.elapsed()
    }

    /// What was done so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Waits until all connections are done, or `wait` has passed; whether they are. Fails when one failed or when a
    /// request has been in flight for longer than `stuck_after`.
    pub fn wait(&self, wait: Duration, stuck_after: Duration) -> Result<bool, String> {
        let until = Instant::now() + wait;
        let mut failure = self.shared.failure.lock().expect("a worker panicked");
        loop {
            if let Some(failure) = failure.as_ref() {
                return Err(failure.clone());
            }
            if self.workers.iter().all(JoinHandle::is_finished) {
                return Ok(true);
            }
            if let Some(oldest) = self.oldest().filter(|oldest| *oldest > stuck_after) {
                return Err(format!("an I/O has been waiting for {:.1} s", oldest.as_secs_f64()));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let tick = left.min(Duration::from_millis(50));
            failure = self.shared.changed.wait_timeout(failure, tick).expect("a worker panicked").0;
        }
    }

    /// For how long the oldest request in flight has been so.
    fn oldest(&self) -> Option<Duration> {
        let now = self.now();
        let sent = self.shared.in_flight.iter().map(|at| at.load(Ordering::Acquire)).filter(|at| *at > 0).min()?;
        Some(now.saturating_sub(Duration::from_nanos(sent - 1)))
    }

    /// The requests that were under way at some moment of this span, shortest first.
    pub fn durations(&self, from: Duration, to: Duration) -> Vec<Duration> {
        let samples = self.shared.samples.lock().expect("a worker panicked");
        let within = samples.iter().filter(|s| s.to >= from && s.from <= to);
        let mut durations: Vec<Duration> = within.map(|s| s.to - s.from).collect();
        durations.sort_unstable();
        durations
    }

    /// Whether a request that was sent after `at` has been answered, on every connection that has none in flight since before.
    pub fn flows_since(&self, at: Duration) -> bool {
        let samples = self.shared.samples.lock().expect("a worker panicked");
        samples.iter().rev().take(4096).any(|s| s.from >= at)
            && self.oldest().is_none_or(|oldest| self.now().saturating_sub(oldest) >= at)
    }

    /// Tells the connections to stop, waits for them, and hands the ledger back.
    pub fn join(self, within: Duration) -> Result<Ledger, String> {
        self.shared.stop.store(true, Ordering::Release);
        if !self.wait(within, within)? {
            return Err(format!("an I/O did not end within {} s", within.as_secs()));
        }
        let parts =
            self.workers.into_iter().map(|w| w.join().map_err(|_| "a connection's thread panicked".to_string()));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        // A connection may have failed after the last look.
        let failure = self.shared.failure.lock().expect("a worker panicked").take();
        failure.map_or(Ok(Ledger { parts }), Err)
    }
}

struct Worker {
    shared: Arc<Shared>,
    k: usize,
    versions: Vec<u32>,
    client: Client,
    buffer: Vec<u8>,
}

impl Worker {
    fn run(shared: Arc<Shared>, k: usize, versions: Vec<u32>, task: Task) -> Vec<u32> {
        let volume = shared.volume.clone();
        let client = match Client::connect_unix(&volume.socket, volume.id) {
            Ok(client) => client,
            Err(e) => {
                shared.fail(format!("connection {k} cannot be opened: {e}"));
                return versions;
            }
        };
        let mut worker = Self { shared, k, versions, client, buffer: Vec::new() };
        let outcome = match task {
            Task::Fill => worker.each_run(|w, place| w.write(place, RUN_BLOCKS)),
            Task::Check => worker.each_run(|w, place| w.read(place, RUN_BLOCKS)),
            Task::Mix => worker.mix(),
        };
        let Self { shared, versions, client, .. } = worker;
        let outcome = outcome.and_then(|()| client.disconnect().map_err(|e| format!("disconnecting failed: {e}")));
        if let Err(what) = outcome {
            shared.fail(format!("connection {k}: {what}"));
        }
        shared.changed.notify_all();
        versions
    }

    /// Goes to its end without looking at `stop`: half a check proves nothing.
    fn each_run(&mut self, act: impl Fn(&mut Self, u64) -> Result<(), String>) -> Result<(), String> {
        let runs = self.versions.len() as u64 / RUN_BLOCKS;
        for run in 0..runs {
            act(self, run * RUN_BLOCKS)?;
        }
        Ok(())
    }

    fn mix(&mut self) -> Result<(), String> {
        let mut rng = Rng::new(self.shared.volume.seed).split("mix");
        for _ in 0..self.k {
            rng = rng.split("next");
        }
        let runs = self.versions.len() as u64 / RUN_BLOCKS;
        while !self.shared.stop.load(Ordering::Acquire) {
            let began = Instant::now();
            let count = rng.within(1, REQUEST_BLOCKS_MAX);
            let place = rng.below(runs) * RUN_BLOCKS + rng.below(RUN_BLOCKS - count + 1);
            if rng.chance(1, 2) {
                self.write(place, count)?;
            } else {
                self.read(place, count)?;
            }
            let rest = EVERY.saturating_sub(began.elapsed());
            if !rest.is_zero() {
                std::thread::park_timeout(rest);
            }
        }
        Ok(())
    }

    /// Runs one request with its clock on.
    fn timed<T>(&mut self, request: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T, String> {
        let from = self.shared.began.elapsed();
        self.shared.in_flight[self.k].store(from.as_nanos() as u64 + 1, Ordering::Release);
        let result = request(self);
        self.shared.in_flight[self.k].store(0, Ordering::Release);
        let to = self.shared.began.elapsed();
        self.shared.samples.lock().expect("a worker panicked").push(Sample { from, to });
        result
    }

    fn write(&mut self, place: u64, count: u64) -> Result<(), String> {
        let block = block_of(self.k, place);
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(count as usize * BLOCK_BYTES, 0);
        for (i, bytes) in (0..count).zip(buffer.chunks_exact_mut(BLOCK_BYTES)) {
            let version = &mut self.versions[(place + i) as usize];
            *version += 1;
            stamp::fill(bytes, self.shared.volume.seed, block + i, *version);
        }
        let at = block * BLOCK_BYTES as u64;
        let result = self.timed(|w| {
            w.client.write(at, &buffer).map_err(|e| format!("writing {count} blocks from block {block} on failed: {e}"))
        });
        self.shared.counters.written.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        self.buffer = buffer;
        result
    }

    fn read(&mut self, place: u64, count: u64) -> Result<(), String> {
        let block = block_of(self.k, place);
        let (at, len) = (block * BLOCK_BYTES as u64, count as u32 * BLOCK_BYTES as u32);
        let data = self.timed(|w| {
            w.client.read(at, len).map_err(|e| format!("reading {count} blocks from block {block} on failed: {e}"))
        })?;
        for (i, bytes) in (0..count).zip(data.chunks(BLOCK_BYTES)) {
            let version = self.versions[(place + i) as usize];
            if let Some(byte) = stamp::differs(bytes, self.shared.volume.seed, block + i, version) {
                return Err(format!(
                    "block {} does not hold what was written to it (its write number {version}): it differs from byte {byte} on",
                    block + i
                ));
            }
        }
        if data.len() != len as usize {
            return Err(format!("reading {count} blocks from block {block} on gave {} bytes", data.len()));
        }
        self.shared.counters.verified.fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Shared {
    fn fail(&self, what: String) {
        self.failure.lock().expect("a worker panicked").get_or_insert(what);
        self.changed.notify_all();
    }
}
