//! An invented disk: sparse pages, operations that end late and out of order, a cache that a power cut empties.
//!
//! It promises no more than `base::io::disk` does. A write is kept for certain only when it was `durable` and ended, or when a flush that
//! was asked for after it ended has ended. Of everything else a power cut keeps any version of any page and tears it at
//! 512 bytes; a killed process leaves only its unfinished writes in that state. What can be wrong with it beyond that is in `trouble`.

mod trouble;

pub use trouble::Failing;

use base::io::disk::{Done, Fault, Op, OpId};
use base::map::Map;
use base::time::Duration;
use base::{BLOCK_BYTES, Payload, Rng};
use std::collections::{BTreeMap, BTreeSet};

const PAGE: u64 = BLOCK_BYTES as u64;
const SECTOR: usize = 512;

/// A page's content; none reads as zeroes and takes no memory.
type Page = Option<Payload>;

/// How fast a disk is, in microseconds, before what a fault adds.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Least and most for a read.
    pub read_us: (u64, u64),
    /// Least and most for a write.
    pub write_us: (u64, u64),
    /// Least and most for a flush; a durable write takes one too.
    pub flush_us: (u64, u64),
    /// Nanoseconds per KiB moved.
    pub ns_per_kib: u64,
}

impl Default for Speed {
    /// A data-centre flash drive with a volatile cache.
    fn default() -> Self {
        Self { read_us: (60, 250), write_us: (15, 80), flush_us: (60, 600), ns_per_kib: 400 }
    }
}

impl Speed {
    /// As many times slower.
    #[must_use]
    pub fn slower(self, times: u64) -> Self {
        let slow = |(low, high): (u64, u64)| (low * times, high * times);
        Self {
            read_us: slow(self.read_us),
            write_us: slow(self.write_us),
            flush_us: slow(self.flush_us),
            ns_per_kib: self.ns_per_kib * times,
        }
    }
}

struct Flight {
    op: Op,
    /// For a flush: only what ended before it was asked for is made durable by it.
    asked_at: u64,
}

/// One disk. It outlives the processes that use it.
pub struct Disk {
    capacity: u64,
    durable: Map<u64, Page>,
    /// Versions that ended and are not durable, oldest first, each with the count of writes ended when it did.
    cached: BTreeMap<u64, Vec<(u64, Page)>>,
    ended: u64,
    flights: BTreeMap<u64, Flight>,
    next: u64,
    speed: Speed,
    /// A fault multiplies every delay by this.
    pub slower: u64,
    /// What pages held before they rotted, as long as nothing was written over them.
    rotten: BTreeMap<u64, Payload>,
    /// Of those, pages that are not wrong but cannot be read at all.
    unreadable: BTreeSet<u64>,
    /// A broken promise: whatever is said to be durable only reaches the cache.
    pub lies: bool,
    /// It lied once, so what it holds may be anything.
    has_lied: bool,
    /// How much of what it is asked fails.
    failing: Failing,
    /// Operations that failed since a process began to use it.
    failed: u64,
    /// Nothing ends.
    is_stuck: bool,
    /// What would have ended, in which run of the process.
    held: Vec<(u32, u64)>,
    rng: Rng,
}

/// What an operation takes at most on a disk that is slow for a while. One that is stuck takes longer.
const SLOW_MAX: Duration = Duration::from_secs(8);

impl Disk {
    /// Blank, of `capacity` bytes.
    pub fn new(capacity: u64, speed: Speed, rng: Rng) -> Self {
        assert_eq!(capacity % PAGE, 0, "a disk has whole blocks");
        Self {
            capacity,
            durable: Map::default(),
            cached: BTreeMap::new(),
            ended: 0,
            flights: BTreeMap::new(),
            next: 0,
            speed,
            slower: 1,
            rotten: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            lies: false,
            has_lied: false,
            failing: Failing::default(),
            failed: 0,
            is_stuck: false,
            held: Vec::new(),
            rng,
        }
    }

    /// Takes an operation: its number here, and how long it will take. An operation that no disk could be asked breaks an
    /// invariant of the machine that asked.
    pub fn submit(&mut self, op: Op) -> (u64, Duration) {
        let (at, len) = op.extent();
        if let Op::Write { parts, .. } = &op {
            assert!(parts.iter().all(|part| part.len() % BLOCK_BYTES == 0), "{op:?} has a part that is no whole block");
        }
        assert!(at % PAGE == 0 && len % PAGE == 0, "{op:?} is not in whole blocks");
        assert!(at + len <= self.capacity, "{op:?} ends beyond the disk's {} bytes", self.capacity);
        let delay = self.delay(&op, len);
        let serial = self.next;
        self.next += 1;
        self.flights.insert(serial, Flight { op, asked_at: self.ended });
        (serial, delay)
    }

    fn delay(&mut self, op: &Op, len: u64) -> Duration {
        let speed = self.speed;
        let mut draw = |(low, high): (u64, u64)| self.rng.within(low, high);
        let us = match op {
            Op::Read { .. } => draw(speed.read_us),
            Op::Write { durable: true, .. } => draw(speed.write_us) + draw(speed.flush_us),
            Op::Write { durable: false, .. } | Op::Zero { .. } => draw(speed.write_us),
            Op::Flush { .. } => draw(speed.flush_us),
        };
        // One in a few hundred takes long, as on real drives when they tidy up.
        let tail = if self.rng.chance(1, 300) { 20 } else { 1 };
        let usual = Duration::from_nanos(us * 1000 * tail + len / 1024 * speed.ns_per_kib);
        // It is over when the fault is, or soon after.
        (usual * self.slower as u32).min(SLOW_MAX.max(usual))
    }

    /// Ends an operation; none when a crash forgot it.
    pub fn end(&mut self, serial: u64) -> Option<Done> {
        let Flight { op, asked_at } = self.flights.remove(&serial)?;
        if self.fails(&op) {
            return Some(self.fail(op));
        }
        let done = |id: OpId, bytes: Payload| Some(Done { id, result: Ok(bytes) });
        match op {
            Op::Read { id, at, len } => {
                let bad = self.unreadable.range(at / PAGE..(at + u64::from(len)) / PAGE).next().is_some();
                if bad { Some(Done { id, result: Err(Fault::Os(5)) }) } else { done(id, self.read(at, len)) }
            }
            Op::Write { id, at, parts, durable } => {
                self.ended += 1;
                for (page, content) in pages(at, &parts) {
                    self.put(page, Some(content), durable);
                }
                done(id, Payload::empty())
            }
            Op::Zero { id, at, len } => {
                self.ended += 1;
                (at / PAGE..(at + len) / PAGE).for_each(|page| self.put(page, None, false));
                done(id, Payload::empty())
            }
            Op::Flush { id } => {
                self.settle(asked_at);
                done(id, Payload::empty())
            }
        }
    }

    fn put(&mut self, page: u64, content: Page, durable: bool) {
        self.rotten.remove(&page);
        self.unreadable.remove(&page);
        if durable && !self.lies {
            self.cached.remove(&page);
            self.durable.insert(page, content);
        } else {
            self.cached.entry(page).or_default().push((self.ended, content));
        }
    }

    /// Makes durable what had ended when `through` writes had.
    fn settle(&mut self, through: u64) {
        if self.lies {
            return;
        }
        let durable = &mut self.durable;
        self.cached.retain(|page, versions| {
            let kept = versions.iter().take_while(|(ended, _)| *ended <= through).count();
            if let Some((_, content)) = versions.drain(..kept).next_back() {
                durable.insert(*page, content);
            }
            !versions.is_empty()
        });
    }

    fn page(&self, page: u64) -> Page {
        match self.cached.get(&page).and_then(|versions| versions.last()) {
            Some((_, content)) => content.clone(),
            None => self.durable.get(&page).cloned().flatten(),
        }
    }

    fn read(&self, at: u64, len: u32) -> Payload {
        if u64::from(len) == PAGE {
            return self.page(at / PAGE).unwrap_or(Payload::zero_block());
        }
        let mut bytes = Vec::with_capacity(len as usize);
        for page in at / PAGE..(at + u64::from(len)) / PAGE {
            bytes.extend_from_slice(&self.page(page).unwrap_or(Payload::zero_block()));
        }
        bytes.into()
    }

    /// The process that used the disk is gone, and with `power` the cache too. Nothing that was in flight will end.
    pub fn crash(&mut self, power: bool) {
        self.held.clear();
        for (_, flight) in std::mem::take(&mut self.flights) {
            match flight.op {
                Op::Write { at, parts, durable, .. } => {
                    for (page, content) in pages(at, &parts) {
                        self.perhaps(page, Some(content), durable && !power);
                    }
                }
                Op::Zero { at, len, .. } => {
                    for page in at / PAGE..(at + len) / PAGE {
                        self.perhaps(page, None, false);
                    }
                }
                Op::Read { .. } | Op::Flush { .. } => {}
            }
        }
        if power {
            for (page, versions) in std::mem::take(&mut self.cached) {
                self.lose_cache(page, versions);
            }
        }
    }

    /// An unfinished write of one page: not done, done, or torn.
    fn perhaps(&mut self, page: u64, content: Page, durable: bool) {
        self.ended += 1;
        match self.rng.below(4) {
            0 => {}
            1 => {
                let torn = self.torn(&self.page(page), &content.clone());
                self.put(page, torn, durable);
            }
            _ => self.put(page, content, durable),
        }
    }

    /// One version of the page survives, or a mixture of two that followed each other.
    fn lose_cache(&mut self, page: u64, versions: Vec<(u64, Page)>) {
        let survivor = self.rng.below(versions.len() as u64 + 1) as usize;
        if survivor == 0 {
            return;
        }
        let new = versions[survivor - 1].1.clone();
        let content = if self.rng.chance(1, 4) {
            let old = match survivor {
                1 => self.durable.get(&page).cloned().flatten(),
                n => versions[n - 2].1.clone(),
            };
            self.torn(&old, &new)
        } else {
            new
        };
        self.durable.insert(page, content);
    }

    /// Some sectors of `new`, the others of `old`.
    fn torn(&mut self, old: &Page, new: &Page) -> Page {
        let (zero, mut mask) = (Payload::zero_block(), self.rng.below(256));
        if self.rng.chance(1, 2) {
            // Most often a tear has one edge: what came first is new, the rest is old.
            mask = (1 << self.rng.below(8)) - 1;
        }
        let (old, new) = (old.as_ref().unwrap_or(&zero), new.as_ref().unwrap_or(&zero));
        let mut bytes = old.to_vec();
        for sector in (0..BLOCK_BYTES / SECTOR).filter(|sector| mask >> sector & 1 == 1) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            bytes[range.clone()].copy_from_slice(&new[range]);
        }
        Some(bytes.into())
    }

    /// Whether operations are in flight.
    pub fn is_busy(&self) -> bool {
        !self.flights.is_empty()
    }
}

fn pages(at: u64, parts: &[Payload]) -> impl Iterator<Item = (u64, Payload)> + '_ {
    let blocks =
        parts.iter().flat_map(|part| (0..part.len() / BLOCK_BYTES).map(|i| part.slice(i * BLOCK_BYTES, BLOCK_BYTES)));
    (at / PAGE..).zip(blocks)
}

/// A disk that refuses everything: what a machine without a disk is answered.
pub fn absent(op: &Op) -> Done {
    Done { id: op.id(), result: Err(Fault::Os(19)) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn disk(seed: u64) -> Disk {
        Disk::new(1 << 20, Speed::default(), Rng::new(seed))
    }

    pub(crate) fn page_of(byte: u8) -> Payload {
        vec![byte; BLOCK_BYTES].into()
    }

    pub(crate) fn write(disk: &mut Disk, page: u64, byte: u8, durable: bool) -> u64 {
        disk.submit(Op::Write { id: OpId(1), at: page * PAGE, parts: vec![page_of(byte)], durable }).0
    }

    pub(crate) fn read(disk: &mut Disk, page: u64) -> Payload {
        let (serial, _) = disk.submit(Op::Read { id: OpId(2), at: page * PAGE, len: BLOCK_BYTES as u32 });
        disk.end(serial).unwrap().result.unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_the_rest_is_zeroes() {
        let mut disk = disk(1);
        let parts = vec![page_of(1), vec![2; 2 * BLOCK_BYTES].into()];
        let (serial, delay) = disk.submit(Op::Write { id: OpId(7), at: 0, parts, durable: false });
        assert!(delay > Duration::ZERO);
        assert!(disk.end(serial).is_some_and(|done| done.id == OpId(7) && done.result.is_ok()));
        let (serial, _) = disk.submit(Op::Read { id: OpId(8), at: 0, len: 4 * BLOCK_BYTES as u32 });
        let bytes = disk.end(serial).unwrap().result.unwrap();
        assert_eq!([bytes[0], bytes[4096], bytes[3 * 4096 - 1], bytes[3 * 4096]], [1, 2, 2, 0]);
        let (serial, _) = disk.submit(Op::Zero { id: OpId(9), at: 4096, len: 4096 });
        disk.end(serial);
        assert_eq!((read(&mut disk, 0)[0], read(&mut disk, 1)[0], read(&mut disk, 2)[0]), (1, 0, 2));
    }

    #[test]
    fn a_power_cut_keeps_what_was_durable_and_any_part_of_the_rest() {
        let mut outcomes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let mut disk = disk(seed);
            for (page, byte, durable) in [(0, 1, true), (1, 1, true), (2, 2, false), (1, 3, false), (1, 4, false)] {
                let serial = write(&mut disk, page, byte, durable);
                disk.end(serial);
            }
            disk.crash(true);
            assert_eq!(read(&mut disk, 0), page_of(1), "seed {seed}");
            let one = read(&mut disk, 1);
            assert!(one.chunks(SECTOR).all(|s| [1, 3, 4].contains(&s[0]) && s.iter().all(|b| *b == s[0])));
            outcomes.insert(one.chunks(SECTOR).map(|s| s[0]).collect::<Vec<_>>());
        }
        for whole in [1, 3, 4] {
            assert!(outcomes.contains(&vec![whole; 8]), "version {whole} survives in some world");
        }
        assert!(outcomes.len() > 10, "and tears are seen: {}", outcomes.len());
    }

    #[test]
    fn a_flush_keeps_what_had_ended_when_it_was_asked_for_and_nothing_later() {
        let mut lost = 0;
        for seed in 0..100 {
            let mut disk = disk(seed);
            let first = write(&mut disk, 0, 1, false);
            disk.end(first);
            let (flush, _) = disk.submit(Op::Flush { id: OpId(3) });
            let second = write(&mut disk, 1, 2, false);
            disk.end(second);
            disk.end(flush);
            disk.crash(true);
            assert_eq!(read(&mut disk, 0), page_of(1), "seed {seed}");
            lost += u32::from(read(&mut disk, 1) != page_of(2));
        }
        assert!(lost > 10, "a write after the flush was asked for can be lost: {lost}");
    }

    #[test]
    fn a_lying_disk_loses_what_it_said_was_durable() {
        let lost = |seed| {
            let mut disk = disk(seed);
            disk.lies = true;
            let serial = write(&mut disk, 0, 1, true);
            disk.end(serial);
            let (flush, _) = disk.submit(Op::Flush { id: OpId(3) });
            disk.end(flush);
            disk.crash(true);
            read(&mut disk, 0) != page_of(1)
        };
        assert!((0..50).filter(|seed| lost(*seed)).count() > 10);
    }

    #[test]
    fn a_killed_process_loses_only_what_was_in_flight() {
        let mut torn = 0;
        for seed in 0..100 {
            let mut disk = disk(seed);
            let ended = write(&mut disk, 0, 1, false);
            disk.end(ended);
            let flying = write(&mut disk, 1, 2, true);
            disk.crash(false);
            assert!(disk.end(flying).is_none() && !disk.is_busy());
            assert_eq!(read(&mut disk, 0), page_of(1));
            let page = read(&mut disk, 1);
            torn += u32::from(page.chunks(SECTOR).any(|s| s[0] == 0) && page.chunks(SECTOR).any(|s| s[0] == 2));
        }
        assert!(torn > 5);
    }

    #[test]
    #[should_panic(expected = "beyond the disk")]
    fn a_write_beyond_the_end_is_a_broken_invariant() {
        write(&mut disk(1), 256, 1, true);
    }
}
