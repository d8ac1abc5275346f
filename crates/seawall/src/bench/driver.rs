//! One thread that keeps as many requests in flight over one NBD connection as a row asks for, and measures how long each one takes.
//!
//! It promises that two requests whose order would matter are never in flight together: the later one waits for the earlier, with those
//! behind it. So what each block must hold is always known, and the order of requests is the workload's own. Times are kept in histograms
//! that tell them apart to a thousandth ([`LATENCY_DIGITS`]); the longest is kept as it was.

use super::machine;
use super::rows::Row;
use super::workload::{Contents, Ledger, Op};
use crate::refusal::{Code, Refusal};
use base::BLOCK_BYTES;
use frontend::nbd::client::{Client, Command, Completion, Error};
use hdrhistogram::Histogram;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Significant decimal digits of a time in a histogram: it is told at most a thousandth too great.
pub const LATENCY_DIGITS: u8 = 3;
/// A time above this is told as this, but for the longest.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// I/O of a volume may wait, and is then never failed; nobody waits for it here for longer.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Blocks of one request of the comparison at the end, and how many are in flight.
const COMPARE: (u64, usize) = (32, 8);

/// What was measured of one row.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Which.
    pub row: Row,
    /// How long it was to last; none of a row that ends by itself.
    pub asked: Option<Duration>,
    /// From before the first request to after the last answer.
    pub took: Duration,
    /// Requests that were answered, of either kind.
    pub reads: u64,
    /// See `reads`.
    pub writes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Nanoseconds from before a request was sent to after its answer was received.
    pub latency: Histogram<u64>,
    /// The longest of them.
    pub longest: Duration,
    /// Processor time of the whole machine meanwhile, in microseconds.
    pub busy_us: Option<u64>,
}

/// One request in flight.
struct InFlight {
    cookie: u64,
    op: Op,
    sent: Instant,
}

/// A connection that is measured over.
pub struct Driver {
    client: Client,
    contents: Contents,
    ledger: Ledger,
    in_flight: Vec<InFlight>,
    buffer: Vec<u8>,
    stuck_after: Duration,
}

impl Driver {
    /// Over a connection that is open, for the first so many blocks of what it is to. An I/O that waits for longer than `stuck_after`
    /// ends it.
    pub fn new(client: Client, seed: u64, blocks: u64, stuck_after: Duration) -> Result<Self, Refusal> {
        let (contents, ledger) = (Contents::new(seed), Ledger::new(blocks));
        let new = Self { client, contents, ledger, in_flight: Vec::new(), buffer: Vec::new(), stuck_after };
        new.client.set_timeout(Some(stuck_after)).map_err(|e| new.failed("setting a limit of time", &e))?;
        Ok(new)
    }

    fn failed(&self, doing: &str, error: &Error) -> Refusal {
        let text = match error {
            Error::Io(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => format!(
                "{doing}: an I/O has waited for {:?}; `seawall volume show` says of a volume whether it is stuck, and why",
                self.stuck_after
            ),
            error => {
                format!("{doing}: {error}; see whether the volume is still attached, and what its host's log says")
            }
        };
        Refusal::new(Code::Export, text)
    }

    /// Makes these requests, as many at once as the row asks for, until there are no more or so much time is over. However slow the volume
    /// is, a row has as many as it keeps in flight.
    pub fn run(
        &mut self,
        row: Row,
        mut requests: impl Iterator<Item = Op>,
        asked: Option<Duration>,
    ) -> Result<Figures, Refusal> {
        let depth = row.shape().depth;
        let latency = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS).expect("the bounds are constant");
        let zero = Duration::ZERO;
        let mut figures =
            Figures { row, asked, took: zero, reads: 0, writes: 0, bytes: 0, latency, longest: zero, busy_us: None };
        let busy = machine::busy_us();
        let began = Instant::now();
        let mut now = began;
        let (mut made, mut next) = (0, None);
        loop {
            while self.in_flight.len() < depth && asked.is_none_or(|asked| made < depth || now - began < asked) {
                let Some(op) = next.take().or_else(|| requests.next()) else { break };
                if self.in_flight.iter().any(|other| other.op.meets(&op)) {
                    next = Some(op);
                    break;
                }
                now = self.send(op)?;
                made += 1;
            }
            if self.in_flight.is_empty() {
                break;
            }
            now = self.receive(&mut figures)?;
        }
        figures.took = now - began;
        figures.busy_us = busy.zip(machine::busy_us()).map(|(before, after)| after.saturating_sub(before));
        Ok(figures)
    }

    /// Makes a request; when.
    fn send(&mut self, op: Op) -> Result<Instant, Refusal> {
        let (offset, len) = (op.block * BLOCK_BYTES as u64, op.blocks as usize * BLOCK_BYTES);
        if let Some(version) = op.version {
            self.buffer.resize(len, 0);
            for (block, bytes) in (op.block..).zip(self.buffer.chunks_exact_mut(BLOCK_BYTES)) {
                self.contents.fill(bytes, block, version);
            }
        }
        let command = match op.version {
            Some(_) => Command::Write { offset, data: &self.buffer },
            None => Command::Read { offset, len: len as u32 },
        };
        let sent = Instant::now();
        let cookie = self.client.send(command);
        let cookie = cookie.map_err(|e| self.failed(&doing(&op), &e))?;
        self.ledger.note(&op);
        self.in_flight.push(InFlight { cookie, op, sent });
        Ok(sent)
    }

    /// Waits for an answer: which request's, and its bytes if it was a read.
    fn answer(&mut self) -> Result<(InFlight, Vec<u8>), Refusal> {
        let Completion { cookie, result } =
            self.client.receive().map_err(|e| self.failed("waiting for an answer", &e))?;
        let at = self.in_flight.iter().position(|request| request.cookie == cookie);
        let request = self.in_flight.swap_remove(at.expect("the client knows each cookie as in flight"));
        let data = result.map_err(|errno| self.failed(&doing(&request.op), &Error::Failed(errno)))?;
        Ok((request, data))
    }

    /// Waits for an answer and counts it; when it came.
    fn receive(&mut self, figures: &mut Figures) -> Result<Instant, Refusal> {
        let (request, _) = self.answer()?;
        let now = Instant::now();
        let took = now - request.sent;
        figures.latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        figures.longest = figures.longest.max(took);
        figures.bytes += request.op.blocks * BLOCK_BYTES as u64;
        match request.op.version {
            Some(_) => figures.writes += 1,
            None => figures.reads += 1,
        }
        Ok(now)
    }

    /// Reads everything that was written and compares it; how many blocks.
    pub fn compare(&mut self) -> Result<u64, Refusal> {
        let (blocks, depth) = COMPARE;
        let mut compared = 0;
        let mut next = 0;
        loop {
            while self.in_flight.len() < depth && next < self.ledger.blocks() {
                let blocks = blocks.min(self.ledger.blocks() - next);
                self.send(Op { block: next, blocks, version: None })?;
                next += blocks;
            }
            if self.in_flight.is_empty() {
                return Ok(compared);
            }
            let (request, data) = self.answer()?;
            for (block, bytes) in (request.op.block..).zip(data.chunks_exact(BLOCK_BYTES)) {
                let Some(version) = self.ledger.last(block) else { continue };
                if let Some(byte) = self.contents.differs(bytes, block, version) {
                    let text = format!(
                        "block {block} does not hold what was last written to it: it differs from its byte {byte} on; nobody else may \
                         write to a volume that is measured, and if nobody did, keep the volume and report it"
                    );
                    return Err(Refusal::new(Code::DidNotHold, text));
                }
                compared += 1;
            }
        }
    }

    /// Takes leave of the server.
    pub fn close(self) -> Result<(), Refusal> {
        let gone =
            |e: Error| Refusal::new(Code::Export, format!("everything was measured, and then {e}; measure again"));
        self.client.disconnect().map_err(gone)
    }
}

fn doing(op: &Op) -> String {
    let kind = if op.version.is_some() { "writing" } else { "reading" };
    format!("{kind} {} blocks from block {} on failed", op.blocks, op.block)
}
