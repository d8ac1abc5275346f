//! The driver against a server over a pair of sockets, which is right or wrong in a way of its own.

use super::*;
use base::{Generation, Payload};
use frontend::nbd::{Act, Exports, Server, Volumes};
use host::{Busy, Export, Op, Reply, Request};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

const VOLUME: VolumeId = VolumeId(0xabc);
const SIZE: u64 = 2 << 20;
const BLOCKS: u64 = SIZE / BLOCK_BYTES as u64;
const SEED: u64 = 9;

/// How a server is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// One write is acknowledged and not done.
    LosesAWrite,
    /// One byte of one write is another's.
    FlipsAByte,
    /// A write fails.
    Fails,
    /// It goes away.
    Closes,
}

/// A volume in memory. It answers the latest first, as a server may, and keeps note of what was in flight together.
struct Memory {
    bytes: Vec<u8>,
    queue: Vec<Request>,
    replies: Vec<Reply>,
    wrong: Wrong,
    /// Before anything is answered, so many requests must be there.
    hold: usize,
    writes: u64,
    most: usize,
    met: bool,
}

/// The write that goes wrong.
const WRONG_WRITE: u64 = 40;

impl Memory {
    fn run(&mut self) {
        self.most = self.most.max(self.queue.len());
        if self.queue.len() < self.hold {
            return;
        }
        self.hold = 0;
        let spans: Vec<_> = self.queue.iter().map(|request| span(&request.op)).collect();
        for (at, (from, to, writes)) in spans.iter().enumerate() {
            self.met |= spans[..at].iter().any(|(f, t, w)| f < to && from < t && (*w || *writes));
        }
        while let Some(request) = self.queue.pop() {
            let result = self.perform(&request.op);
            self.replies.push(Reply { tag: request.tag, result });
        }
    }

    fn perform(&mut self, op: &Op) -> Result<Vec<Payload>, host::Refusal> {
        let (from, to, writes) = span(op);
        let place = &mut self.bytes[from as usize..to as usize];
        self.writes += u64::from(writes);
        let is_wrong = writes && self.writes == WRONG_WRITE;
        match op {
            Op::Read { .. } => return Ok(vec![Payload::from(place.to_vec())]),
            Op::Write { .. } if is_wrong && self.wrong == Wrong::LosesAWrite => {}
            Op::Write { .. } if is_wrong && self.wrong == Wrong::Fails => return Err(host::Refusal::Invalid),
            Op::Write { data, .. } => place.copy_from_slice(data),
            _ => panic!("nothing else is measured"),
        }
        if is_wrong && self.wrong == Wrong::FlipsAByte {
            place[777] ^= 1;
        }
        Ok(vec![])
    }
}

fn span(op: &Op) -> (u64, u64, bool) {
    match op {
        Op::Read { offset, len } => (*offset, offset + len, false),
        Op::Write { offset, data } => (*offset, offset + data.len() as u64, true),
        _ => panic!("nothing else is measured"),
    }
}

impl Exports for Memory {
    fn find(&self, volume: VolumeId) -> Option<Export> {
        let export = Export { volume, size: self.bytes.len() as u64, generation: Generation(1), read_only: false };
        (volume == VOLUME).then_some(export)
    }
    fn list(&self) -> Vec<Export> {
        self.find(VOLUME).into_iter().collect()
    }
    fn is_informed(&self) -> bool {
        true
    }
}

impl Volumes for Memory {
    fn submit(&mut self, request: Request) -> Result<(), Busy> {
        self.queue.push(request);
        Ok(())
    }
    fn take_replies(&mut self, replies: &mut Vec<Reply>) {
        replies.append(&mut self.replies);
    }
    fn attachments(&self) -> u64 {
        1
    }
}

/// Serves one connection until it ends; what the volume then is.
fn serve(mut socket: UnixStream, wrong: Wrong, hold: usize) -> JoinHandle<Memory> {
    let bytes = vec![0; SIZE as usize];
    let mut memory = Memory { bytes, queue: vec![], replies: vec![], wrong, hold, writes: 0, most: 0, met: false };
    std::thread::spawn(move || {
        let mut server = Server::new();
        server.on_opened(1);
        let mut buffer = vec![0; 4 << 20];
        loop {
            loop {
                let mut acts = vec![];
                for _ in 0..3 {
                    server.pump(&mut memory, &mut acts);
                    memory.run();
                }
                server.pump(&mut memory, &mut acts);
                if acts.is_empty() {
                    break;
                }
                for act in acts {
                    match act {
                        Act::Send { stream, parts, .. } => {
                            if parts.iter().any(|part| socket.write_all(part).is_err()) {
                                return memory;
                            }
                            // What was sent makes room for more answers.
                            server.on_sent(stream, parts.iter().map(|part| part.len() as u64).sum());
                        }
                        Act::Close { .. } => return memory,
                        _ => {}
                    }
                }
            }
            if wrong == Wrong::Closes && memory.writes >= WRONG_WRITE {
                return memory;
            }
            match socket.read(&mut buffer) {
                Ok(0) | Err(_) => return memory,
                Ok(len) => server.on_bytes(1, Payload::from(buffer[..len].to_vec())),
            }
        }
    })
}

fn driver(wrong: Wrong, hold: usize) -> (Driver, JoinHandle<Memory>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = serve(theirs, wrong, hold);
    (Driver::new(Client::over_unix(ours, VOLUME).unwrap(), SEED, BLOCKS, STUCK_AFTER).unwrap(), server)
}

fn requests(row: Row, turn: usize, count: usize) -> impl Iterator<Item = workload::Op> {
    Workload::new(row, turn, SEED, BLOCKS).take(count)
}

fn measured(rows: &[Row], seed: u64) -> (Report, Memory) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let server = serve(theirs, Wrong::Nothing, 0);
    let client = Client::over_unix(ours, VOLUME).unwrap();
    let (rows, time) = (rows.to_vec(), Duration::from_millis(50));
    let plan = Plan { rows, time, size: None, seed, verify: true, fills: true, load_1min: None };
    let report = measure(client, "memory".into(), Size(SIZE), plan).unwrap();
    (report, server.join().unwrap())
}

#[test]
fn every_row_is_measured_and_everything_written_is_there() {
    let (report, memory) = measured(&Row::all(), SEED);
    assert_eq!(report.compared, Some(BLOCKS));
    assert!(!memory.met, "two requests that meet were in flight together");
    assert!(memory.most <= 32, "{} in flight", memory.most);
    for (row, figures) in Row::all().into_iter().zip(&report.rows) {
        let shape = row.shape();
        let ios = figures.reads + figures.writes;
        assert_eq!((figures.row, figures.latency.len()), (row, ios));
        assert_eq!(figures.bytes, ios * shape.blocks * BLOCK_BYTES as u64);
        assert_eq!((figures.reads > 0, figures.writes > 0), (shape.reads > 0, shape.reads < 100), "{}", row.name());
        assert!(figures.longest.as_nanos() as u64 <= figures.latency.max() && figures.longest <= figures.took);
    }
    assert_eq!(report.rows[0].writes, SIZE >> 20, "a fill is everything once");
}

#[test]
fn a_row_has_as_many_requests_in_flight_as_it_is_named_for() {
    for row in [Row::ReadQd1, Row::SeqRead, Row::ReadQd32] {
        let depth = row.shape().depth;
        // Nothing is answered before they are all there.
        let (mut driver, server) = driver(Wrong::Nothing, depth);
        driver.run(row, requests(row, 1, depth), None).unwrap();
        driver.close().unwrap();
        assert_eq!(server.join().unwrap().most, depth);
    }
}

#[test]
fn what_a_run_leaves_behind_follows_from_its_seed() {
    let left = |seed| measured(&[Row::Fill], seed).1.bytes;
    assert!(left(1) == left(1));
    assert!(left(1) != left(2));
}

#[test]
fn a_write_that_was_lost_and_a_byte_that_was_flipped_are_noticed() {
    // The version of a row begins at the 23rd byte of a block, since the same request of the row before wrote the same place.
    for (wrong, byte) in [(Wrong::LosesAWrite, 22), (Wrong::FlipsAByte, 777)] {
        let (mut driver, server) = driver(wrong, 0);
        for turn in 0..3 {
            driver.run(Row::SeqWrite, requests(Row::SeqWrite, turn, 16), None).unwrap();
        }
        let refusal = driver.compare().unwrap_err();
        assert_eq!(refusal.code, Code::DidNotHold);
        assert!(refusal.text.contains(&format!("from its byte {byte} on")), "{}", refusal.text);
        drop(driver);
        server.join().unwrap();
    }
}

#[test]
fn a_server_that_fails_or_goes_away_ends_the_run_with_words() {
    let ended = |wrong| {
        let (mut driver, server) = driver(wrong, 0);
        let refusal = driver.run(Row::WriteQd1, requests(Row::WriteQd1, 1, 100), None).unwrap_err();
        drop(driver);
        server.join().unwrap();
        assert_eq!(refusal.code, Code::Export);
        refusal.text
    };
    assert!(ended(Wrong::Fails).starts_with("writing 1 blocks from block "));
    assert!(ended(Wrong::Closes).contains("is still attached"));
}

#[test]
fn an_io_that_is_never_answered_is_not_waited_for_for_ever() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    // It answers when two requests are there, and there is one.
    let server = serve(theirs, Wrong::Nothing, 2);
    let client = Client::over_unix(ours, VOLUME).unwrap();
    let mut driver = Driver::new(client, SEED, BLOCKS, Duration::from_millis(20)).unwrap();
    let refusal = driver.run(Row::ReadQd1, requests(Row::ReadQd1, 1, 1), None).unwrap_err();
    assert_eq!(refusal.code, Code::Export);
    assert!(refusal.text.contains("has waited for 20ms"), "{}", refusal.text);
    drop(driver);
    server.join().unwrap();
}

#[test]
fn no_more_is_touched_than_there_is() {
    let size = |wanted, has| touched(wanted, has, "vol").map_err(|refusal| refusal.code);
    assert_eq!(size(None, 8 << 30), Ok(super::SIZE));
    assert_eq!(size(None, (5 << 20) + 4096), Ok(Size(5 << 20)));
    assert_eq!(size(Some(Size(1 << 20)), 8 << 20), Ok(Size(1 << 20)));
    assert_eq!(size(Some(Size(9 << 20)), 8 << 20), Err(Code::Export));
    assert_eq!(size(None, 4096), Err(Code::Export));
}
