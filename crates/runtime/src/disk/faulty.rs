//! A disk for tests, between the world and its [`Disk`]: it fails, is slow, or vanishes on demand ([`super::switch`]), and if it is
//! volatile it keeps writes in this process' memory until they are flushed, so that `kill -9` costs what power loss would. The page
//! cache, and what a disk has inside, outlive a process; without this a build that forgets a flush passes every test that kills.
//!
//! It is part of no release: without the feature `faults` the world has the disk itself.
//!
//! How a volatile disk holds. A write that is not durable ends at once and is only here; reads show it. A durable one goes to the
//! disk and makes nothing else durable. A flush takes what is held when it begins, writes it, and has the disk flush. While
//! that is being written nothing else goes to the disk but reads: of two writes to one block the older must not come last. What
//! is held is bounded; beyond that, writes go to the disk as a cache that is full lets them.

use super::held::Held;
use super::switch::Switch;
use super::test_disk::TestDisk;
use super::{Config, Disk, OpenError, Place, Status};
use crate::ring::{Completion, File};
use crate::turn::{Token, Turn};
use base::io::Input;
use base::io::disk::{Done, Fault, Op, OpId};
use base::{Payload, Time};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Blocks held at most: 256 MiB.
const HELD_BLOCKS_MAX: usize = 64 << 10;

/// An operation that the disk has.
enum Asked {
    /// One of the machine's, under its own name, since when, and what a read must show besides.
    Whole { id: OpId, began: Time, over: Vec<(usize, Bytes)> },
    /// A part of what a flush writes.
    Piece,
}

/// A flush whose writes are under way.
struct Drain {
    id: OpId,
    began: Time,
    pieces: usize,
    failed: Option<Fault>,
}

/// The disk, and what stands before it.
pub(crate) struct Faulty {
    disk: Disk,
    /// None: it is the disk and nothing else.
    kind: Option<TestDisk>,
    switch: Switch,
    held: Held,
    /// What a flush is writing now.
    draining: Held,
    drain: Option<Drain>,
    /// Waits for that.
    later: VecDeque<(Op, Time)>,
    asked: BTreeMap<u64, Asked>,
    next: u64,
    /// Ended, and to be told when a slow disk would.
    slow: BTreeMap<(Time, u64), Done>,
}

impl Faulty {
    /// Opens the disk.
    pub fn open(config: &Config, kind: Option<TestDisk>) -> Result<Self, OpenError> {
        let (disk, switch) = (Disk::open(config)?, Switch::new(&config.path));
        let (held, draining, slow) = (Held::default(), Held::default(), BTreeMap::new());
        let (later, asked) = (VecDeque::new(), BTreeMap::new());
        Ok(Self { disk, kind, switch, held, draining, drain: None, later, asked, next: 0, slow })
    }

    /// How it was opened.
    pub fn status(&self) -> Status {
        self.disk.status()
    }

    /// The file, to be registered with the ring.
    pub fn file(&self) -> &File {
        self.disk.file()
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.slow.keys().next().map(|(at, _)| *at)
    }

    /// Tells what a slow disk has ended by now.
    pub fn tick(&mut self, cx: &mut Turn<'_>) {
        while let Some(first) = self.slow.first_entry().filter(|first| first.key().0 <= cx.now) {
            cx.inbox.push_back(Input::Disk(first.remove()));
        }
    }

    /// Begins an operation.
    pub fn begin(&mut self, op: Op, cx: &mut Turn<'_>) {
        if self.kind.is_none() {
            return self.disk.begin(op, cx);
        }
        self.switch.look(cx.now, cx.log);
        let (id, (at, len)) = (op.id(), op.extent());
        if len > 0 && !self.disk.lies_within(at, len) {
            // The disk refuses it, under its own name.
            return self.disk.begin(op, cx);
        }
        if let Some(fault) = self.switch.fault(&op) {
            return self.end(id, Err(fault), cx.now, cx);
        }
        let lost = self.switch.lost_flush();
        let holds = self.kind == Some(TestDisk::Volatile) && self.held.len() < HELD_BLOCKS_MAX;
        match &op {
            Op::Write { parts, durable, .. } if if *durable { lost } else { holds } => self.held.put(at, parts),
            Op::Zero { .. } if holds => self.held.put_zeroes(at, len),
            Op::Flush { .. } if lost => {}
            _ => return self.pass(op, cx.now, cx),
        }
        self.end(id, Ok(Payload::empty()), cx.now, cx);
    }

    /// Gives an operation to the disk, or lets it wait for the flush that is being written.
    fn pass(&mut self, op: Op, began: Time, cx: &mut Turn<'_>) {
        let (id, (at, len)) = (op.id(), op.extent());
        let mut over = Vec::new();
        match op {
            Op::Read { .. } => over = self.draining.over(at, len).chain(self.held.over(at, len)).collect(),
            _ if self.drain.is_some() => return self.later.push_back((op, began)),
            Op::Flush { .. } if self.held.len() > 0 => return self.drain(id, began, cx),
            Op::Write { .. } | Op::Zero { .. } => self.held.forget(at, len),
            Op::Flush { .. } => {}
        }
        self.ask(op, Asked::Whole { id, began, over }, cx);
    }

    /// Begins a flush of what is held.
    fn drain(&mut self, id: OpId, began: Time, cx: &mut Turn<'_>) {
        self.draining = std::mem::take(&mut self.held);
        let runs = self.draining.runs();
        self.drain = Some(Drain { id, began, pieces: runs.len(), failed: None });
        for (at, parts) in runs {
            self.ask(Op::Write { id, at, parts, durable: false }, Asked::Piece, cx);
        }
    }

    /// Asks the disk, under a number of our own.
    fn ask(&mut self, mut op: Op, asked: Asked, cx: &mut Turn<'_>) {
        self.next += 1;
        let (Op::Read { id, .. } | Op::Write { id, .. } | Op::Zero { id, .. } | Op::Flush { id }) = &mut op;
        *id = OpId(self.next);
        self.asked.insert(self.next, asked);
        self.disk.begin(op, cx);
    }

    /// Takes a completion of the ring. What ends is told through the inbox, except where there is nothing but the disk.
    pub fn completed(&mut self, token: Place, completion: Completion<Token>, cx: &mut Turn<'_>) -> Option<Done> {
        let done = self.disk.completed(token, completion, cx)?;
        if self.kind.is_none() {
            return Some(done);
        }
        match self.asked.remove(&done.id.0).expect("the disk ends what it was asked") {
            Asked::Whole { id, began, over } => {
                let result = done.result.map(|bytes| shown(bytes, &over, cx));
                self.end(id, result, began, cx);
            }
            Asked::Piece => self.written(done.result.err(), cx),
        }
        None
    }

    /// A piece of a flush is written, or is not.
    fn written(&mut self, failed: Option<Fault>, cx: &mut Turn<'_>) {
        let drain = self.drain.as_mut().expect("a piece belongs to a flush");
        drain.pieces -= 1;
        drain.failed = drain.failed.take().or(failed);
        let Some(drain) = self.drain.take_if(|drain| drain.pieces == 0) else { return };
        self.draining = Held::default();
        match drain.failed {
            Some(fault) => self.end(drain.id, Err(fault), drain.began, cx),
            None => {
                let asked = Asked::Whole { id: drain.id, began: drain.began, over: Vec::new() };
                self.ask(Op::Flush { id: drain.id }, asked, cx);
            }
        }
        while self.drain.is_none()
            && let Some((op, began)) = self.later.pop_front()
        {
            self.pass(op, began, cx);
        }
    }

    /// Tells how an operation ended, as soon as a disk as slow as this one would.
    fn end(&mut self, id: OpId, result: Result<Payload, Fault>, began: Time, cx: &mut Turn<'_>) {
        let result = if self.switch.gone() { Err(Fault::Os(libc::ENODEV)) } else { result };
        let done = Done { id, result };
        let more = cx.now.since(began) * (self.switch.slow() - 1);
        if more.is_zero() {
            return cx.inbox.push_back(Input::Disk(done));
        }
        self.next += 1;
        self.slow.insert((cx.now + more, self.next), done);
    }
}

/// What was read, with what is newer laid over it.
fn shown(bytes: Payload, over: &[(usize, Bytes)], cx: &Turn<'_>) -> Payload {
    if over.is_empty() {
        return bytes;
    }
    let mut copy = cx.arena.copy(&bytes);
    for (at, block) in over {
        copy[*at..*at + block.len()].copy_from_slice(block);
    }
    Payload(copy.freeze())
}

#[cfg(test)]
#[path = "../../tests/conformance/disk.rs"]
mod conformance;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::{ALIGN, Arena};
    use crate::counters::Counters;
    use crate::log::Log;
    use crate::ring::{Driver, Ring};
    use base::io::Inbox;
    use base::time::Duration;
    use std::path::PathBuf;
    use std::time::Instant;

    /// A disk for tests with a loop around it.
    struct Bench {
        ring: Ring<Token>,
        arena: Arena,
        counters: Counters,
        log: Log,
        inbox: Inbox,
        disk: Faulty,
        config: Config,
        kind: Option<TestDisk>,
    }

    impl Drop for Bench {
        fn drop(&mut self) {
            std::fs::remove_file(&self.config.path).unwrap();
            let _ = std::fs::remove_file(self.faults());
        }
    }

    const CAPACITY: u64 = 64 << 20;

    impl Bench {
        fn new(kind: Option<TestDisk>) -> Self {
            let path = std::env::temp_dir().join(format!("seawall-faulty-{:x}", crate::entropy_u64()));
            let config = Config { path, capacity_bytes: CAPACITY, create: true };
            let disk = Faulty::open(&config, kind).unwrap();
            assert!(disk.status().created);
            let (mut ring, arena, counters) = (Ring::new(Driver::Auto).unwrap().0, Arena::new(), Counters::default());
            ring.register(disk.file());
            Self { ring, arena, counters, log: Log::new(&"bench"), inbox: Inbox::new(), disk, config, kind }
        }

        fn faults(&self) -> PathBuf {
            format!("{}.faults", self.config.path.display()).into()
        }

        /// Has the file say this, and makes sure that it is heard.
        fn say(&mut self, faults: &str) {
            std::fs::write(self.faults(), faults).unwrap();
            self.disk.switch.look_now(crate::monotonic(), &mut self.log);
        }

        fn with<R>(&mut self, f: impl FnOnce(&mut Faulty, &mut Turn<'_>) -> R) -> R {
            let Self { ring, arena, counters, log, inbox, disk, .. } = self;
            let now = crate::monotonic();
            f(disk, &mut Turn { now, ring, arena, counters, log, inbox })
        }

        fn begin(&mut self, ops: Vec<Op>) {
            ops.into_iter().for_each(|op| self.with(|disk, turn| disk.begin(op, turn)));
        }

        /// Waits until so many have ended.
        fn until(&mut self, count: usize) -> Vec<Done> {
            let (mut all, mut done) = (Vec::new(), Vec::new());
            let deadline = Instant::now() + Duration::from_secs(20);
            loop {
                self.with(|disk, turn| disk.tick(turn));
                for completion in done.drain(..) {
                    let completion: Completion<Token> = completion;
                    let Token::Disk(place) = completion.token else { panic!("only the disk is here") };
                    let ended = self.with(|disk, turn| disk.completed(place, completion, turn));
                    all.extend(ended);
                }
                all.extend(self.inbox.drain(..).map(|input| match input {
                    Input::Disk(done) => done,
                    other => panic!("{other:?}"),
                }));
                if all.len() >= count {
                    return all;
                }
                assert!(Instant::now() < deadline, "{} of {count} operations ended", all.len());
                self.ring.turn(Some(Duration::from_millis(1)), &mut done).unwrap();
            }
        }

        fn ask(&mut self, op: Op) -> Result<Payload, Fault> {
            self.begin(vec![op]);
            self.until(1).remove(0).result
        }

        /// What a process that was killed leaves to the next.
        fn kill(&mut self) {
            self.ring = Ring::new(Driver::Auto).unwrap().0;
            let path = std::env::temp_dir().join(format!("seawall-faulty-{:x}", crate::entropy_u64()));
            let nowhere = Config { path: path.clone(), ..self.config.clone() };
            self.disk = Faulty::open(&nowhere, None).unwrap();
            std::fs::remove_file(path).unwrap();
            self.disk = Faulty::open(&self.config, self.kind).unwrap();
        }
    }

    impl conformance::Subject for Bench {
        fn capacity(&self) -> u64 {
            CAPACITY
        }
        fn ask(&mut self, ops: Vec<Op>) -> Vec<Done> {
            let count = ops.len();
            self.begin(ops);
            self.until(count)
        }
        fn restart(&mut self) {
            self.kill();
        }
    }

    #[test]
    fn every_disk_for_tests_does_what_every_disk_must_while_nothing_is_asked_of_it() {
        for kind in [None, Some(TestDisk::Plain), Some(TestDisk::Volatile)] {
            conformance::all(|| Bench::new(kind));
        }
    }

    const ID: OpId = OpId(1);
    const BLOCK: u64 = ALIGN as u64;

    fn write(block: u64, byte: u8, durable: bool) -> Op {
        Op::Write { id: ID, at: block * BLOCK, parts: vec![vec![byte; ALIGN].into()], durable }
    }

    fn read(bench: &mut Bench, blocks: u64) -> Vec<u8> {
        let bytes = bench.ask(Op::Read { id: ID, at: 0, len: (blocks * BLOCK) as u32 }).unwrap();
        bytes.chunks(ALIGN).map(|block| block[0]).collect()
    }

    #[test]
    fn a_volatile_disk_loses_what_was_not_flushed_and_nothing_else() {
        let mut bench = Bench::new(Some(TestDisk::Volatile));
        bench.ask(write(0, 1, false)).unwrap();
        bench.ask(write(1, 1, false)).unwrap();
        bench.ask(Op::Flush { id: ID }).unwrap();
        bench.ask(write(0, 2, false)).unwrap();
        bench.ask(write(2, 2, false)).unwrap();
        // It makes itself durable, and not what came before.
        bench.ask(write(3, 3, true)).unwrap();
        bench.ask(Op::Zero { id: ID, at: BLOCK, len: BLOCK }).unwrap();
        assert_eq!(read(&mut bench, 5), [2, 0, 2, 3, 0]);
        bench.kill();
        assert_eq!(read(&mut bench, 5), [1, 1, 0, 3, 0]);
    }

    #[test]
    fn a_plain_disk_for_tests_keeps_everything_through_a_kill() {
        let mut bench = Bench::new(Some(TestDisk::Plain));
        bench.ask(write(0, 1, false)).unwrap();
        bench.kill();
        assert_eq!(read(&mut bench, 1), [1]);
    }

    #[test]
    fn a_flush_that_is_lost_says_that_it_was_done_and_a_kill_shows_that_it_was_not() {
        for kind in [TestDisk::Plain, TestDisk::Volatile] {
            let mut bench = Bench::new(Some(kind));
            bench.ask(write(0, 1, true)).unwrap();
            bench.say("lost-flush");
            bench.ask(write(0, 2, true)).unwrap();
            bench.ask(write(1, 2, false)).unwrap();
            bench.ask(Op::Flush { id: ID }).unwrap();
            assert_eq!(read(&mut bench, 2), [2, 2]);
            bench.kill();
            let left = if kind == TestDisk::Plain { 2 } else { 0 };
            assert_eq!(read(&mut bench, 2), [1, left]);
        }
    }

    #[test]
    fn writes_and_reads_beside_a_flush_see_the_newest_and_keep_their_order() {
        let mut bench = Bench::new(Some(TestDisk::Volatile));
        for round in 1..=50u8 {
            // Held, being written, written past it, held again; all in flight at once.
            bench.begin((0..8).map(|block| write(block, round, false)).collect());
            let look = Op::Read { id: OpId(9), at: 0, len: 8 * ALIGN as u32 };
            let flush = || Op::Flush { id: ID };
            bench.begin(vec![flush(), look.clone(), write(8, round, true), write(9, round, false), flush(), look]);
            let done = bench.until(14);
            for looked in done.iter().filter(|done| done.id == OpId(9)) {
                assert!(looked.result.as_ref().unwrap().iter().all(|byte| *byte == round), "round {round}");
            }
            bench.begin(vec![write(0, 100 + round, true)]);
            bench.until(1)[0].result.as_ref().unwrap();
            if round % 10 == 0 {
                bench.kill();
            }
            let mut left = vec![round; 10];
            left[0] = 100 + round;
            assert_eq!(read(&mut bench, 10), left);
        }
    }

    #[test]
    fn what_fails_on_demand_fails_by_its_kind_and_after_its_count() {
        let mut bench = Bench::new(Some(TestDisk::Plain));
        let eio = |result: Result<Payload, Fault>| matches!(result, Err(Fault::Os(libc::EIO)));
        let look = || Op::Read { id: ID, at: 0, len: 4096 };
        bench.say("fail read after 2");
        assert!(bench.ask(look()).is_ok() && bench.ask(look()).is_ok() && eio(bench.ask(look())));
        assert!(bench.ask(write(0, 1, true)).is_ok());
        bench.say("fail write");
        assert!(eio(bench.ask(write(0, 1, false))) && bench.ask(Op::Flush { id: ID }).is_ok());
        bench.say("fail flush");
        assert!(eio(bench.ask(Op::Flush { id: ID })) && eio(bench.ask(write(0, 1, true))));
        bench.say("");
        assert!(bench.ask(look()).is_ok() && bench.ask(Op::Flush { id: ID }).is_ok());
    }

    #[test]
    fn a_flush_whose_writes_fail_fails() {
        let mut bench = Bench::new(Some(TestDisk::Volatile));
        bench.begin(vec![write(0, 1, false), write(5, 1, false)]);
        bench.until(2);
        bench.with(|disk, turn| {
            disk.drain(ID, turn.now, turn);
            disk.written(Some(Fault::Os(libc::EIO)), turn);
        });
        // Of the two that the disk ends now the flush needed one more.
        let deadline = Instant::now() + Duration::from_secs(20);
        let (mut done, mut ended) = (Vec::new(), Vec::new());
        while ended.is_empty() {
            assert!(Instant::now() < deadline, "the flush never ended");
            bench.ring.turn(Some(Duration::from_millis(10)), &mut done).unwrap();
            for completion in done.drain(..) {
                let Token::Disk(place) = completion.token else { panic!("only the disk is here") };
                if bench.disk.drain.is_some() {
                    bench.with(|disk, turn| disk.completed(place, completion, turn));
                }
            }
            ended.extend(bench.inbox.drain(..));
        }
        assert!(matches!(&ended[0], Input::Disk(Done { id: ID, result: Err(Fault::Os(libc::EIO)) })));
    }

    #[test]
    fn a_disk_that_vanishes_takes_with_it_what_was_under_way_and_does_not_come_back() {
        let mut bench = Bench::new(Some(TestDisk::Plain));
        bench.begin(vec![write(0, 1, true)]);
        bench.say("gone");
        assert!(matches!(bench.until(1)[0].result, Err(Fault::Os(libc::ENODEV))));
        bench.say("");
        for op in [write(0, 1, false), Op::Flush { id: ID }, Op::Read { id: ID, at: 0, len: 4096 }] {
            assert!(matches!(bench.ask(op), Err(Fault::Os(libc::ENODEV))));
        }
    }

    #[test]
    fn a_slow_disk_takes_its_time_as_many_times_as_was_asked() {
        let mut bench = Bench::new(Some(TestDisk::Plain));
        bench.say("slow 10000");
        // However fast the disk is, ten thousand times a microsecond is ten milliseconds.
        let began = Instant::now();
        bench.begin(vec![write(0, 1, true)]);
        let deadline = loop {
            let mut done = Vec::new();
            bench.ring.turn(Some(Duration::from_millis(100)), &mut done).unwrap();
            assert!(began.elapsed() < Duration::from_secs(20), "a write never ended");
            for completion in done {
                let Token::Disk(place) = completion.token else { panic!("only the disk is here") };
                assert!(bench.with(|disk, turn| disk.completed(place, completion, turn)).is_none());
            }
            if let Some(at) = bench.disk.deadline() {
                break at;
            }
        };
        assert!(bench.inbox.is_empty() && deadline > crate::monotonic());
        bench.with(|disk, turn| {
            turn.now = deadline;
            disk.tick(turn);
        });
        assert_eq!((bench.inbox.len(), bench.disk.deadline()), (1, None));
    }

    #[test]
    fn disks_for_tests_are_known_by_name_and_another_name_is_told_which_there_are() {
        assert_eq!(("plain".parse(), "volatile".parse()), (Ok(TestDisk::Plain), Ok(TestDisk::Volatile)));
        let error = "soft".parse::<TestDisk>().unwrap_err().to_string();
        assert_eq!(error, "\"soft\" is no disk for tests; there are \"plain\", \"volatile\"");
    }
}
