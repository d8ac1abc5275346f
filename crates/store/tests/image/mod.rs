//! A disk of which anything may have become anything else, opened, read, written on and inspected: shared by the seeded run of the tests and by
//! fuzz/fuzz_targets/image.rs.

use crate::bench::disk::Disk;
use crate::bench::{BLOCKS, Bench, IDENTITY, UUID, copy, data, freeze, mark, register, shard, thaw, trim};
use base::checksum::crc32c_parts;
use base::io::disk::Op;
use base::log::{Event, Record, Request};
use base::{BLOCK_BYTES, PointId, Sequence, ShardId, Time};
use std::sync::LazyLock;
use store::{Blank, Geometry, Inspection, Phase, Policy, Store};

const SEGMENTS: u64 = 12;
/// Steps after which a store that has not come to rest is held to go round for ever.
const STEPS_MAX: usize = 20_000;
/// Bytes that say what becomes of the disk, for each change.
const CHANGE_BYTES: usize = 5;
/// With more changes than this nothing is left to be read.
const CHANGES_MAX: usize = 12;
/// The bytes of a superblock that say of which shape the disk is.
const SHAPE: std::ops::Range<usize> = 56..84;
/// A header of a batch begins so.
const HEADER_MAGIC: &[u8; 8] = b"SWBATCH\x01";

/// A disk with a little of everything: shards, windows, points, marks, what was trimmed, moved and dropped, a checkpoint and a log behind it.
pub static SOUND: LazyLock<Disk> = LazyLock::new(|| {
    let policy = Policy { checkpoint_every_segments: 2, ..Policy::default() };
    let mut bench = Bench::ready_with(SEGMENTS, policy);
    for n in 1..=3 {
        bench.append(shard(n), register(shard(n), 1));
    }
    bench.append(shard(3), copy(7, [70, 71]));
    bench.append(shard(3), mark(0));
    for round in 1..=40 {
        let n = round % 2 + 1;
        bench.append(shard(n), data(round, (round * 7 % 150) as u32, round * 10..round * 10 + 3));
        if round % 9 == 0 {
            bench.append(shard(n), trim(round + 100, 3, 20));
        }
        if round > 4 {
            bench.commit(shard(n), round - 4);
        }
        bench.settle();
    }
    bench.append(shard(1), freeze(200, 5));
    bench.append(shard(1), freeze(201, 6));
    bench.append(shard(1), data(202, 10, [1, 2, 3]));
    bench.commit(shard(1), 202);
    bench.append(shard(1), thaw(203, 5));
    bench.append(shard(3), Record::Drop);
    bench.settle();
    bench.disk.shared()
});

fn geometry() -> Geometry {
    Geometry { segment_bytes: 64 << 10, ..Geometry::tiny((64 << 10) * (SEGMENTS + 1)) }
}

/// Gives a block that says what it is the checksum of what it says, so that what stands behind the checksum is looked at too.
fn seal(block: &mut [u8]) {
    const AT: usize = 12;
    /// Of a header: bytes of its fixed part, where that says how long its body is, and where the checksum of that stands.
    const FIXED: usize = 128;
    const BODY_BYTES: usize = 92;
    const BODY_CRC: usize = 96;
    let is_header = &block[..8] == HEADER_MAGIC;
    let len = if is_header { FIXED } else { BLOCK_BYTES };
    if is_header {
        let bytes = u32::from_le_bytes(block[BODY_BYTES..BODY_BYTES + 4].try_into().expect("four bytes")) as usize;
        let crc = crc32c_parts([&block[FIXED..(FIXED + bytes).min(BLOCK_BYTES)]]);
        block[BODY_CRC..BODY_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    }
    let crc = crc32c_parts([&block[..AT], &[0; 4], &block[AT + 4..len]]);
    block[AT..AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Changes the disk as `bytes` say, five at a time: which block, where in it, into what, and how.
fn spoil(disk: &mut Disk, bytes: &[u8]) {
    let places: Vec<u32> = disk.all_durable().map(|(place, _)| place).collect();
    for change in bytes.chunks_exact(CHANGE_BYTES).take(CHANGES_MAX) {
        let place = places[usize::from(u16::from_le_bytes([change[0], change[1]])) % places.len()];
        let other = places[usize::from(change[3]) % places.len()];
        let mut block = disk.durable(place);
        // Most of what a block means stands at its start.
        let at = usize::from(change[2]) * if change[4] & 0x80 == 0 { 1 } else { 16 };
        match change[4] % 8 {
            0 => block.fill(0),
            1 => block = disk.durable(other),
            2 => block[BLOCK_BYTES / 2..].fill(change[3]),
            3 => disk.bad_places.push(place),
            4 | 5 => {
                block[at] = change[3];
                // A shape that no disk here has is refused at once, and inspected for as long as it would be large.
                if place > 1 || !SHAPE.contains(&at) {
                    seal(&mut block);
                }
            }
            _ => block[at] ^= change[3].max(1),
        }
        disk.media.insert(place, block);
    }
}

/// Opens it and goes on with it. Whether it opened.
pub fn open_anything(bytes: &[u8]) -> bool {
    let mut disk = SOUND.clone();
    spoil(&mut disk, bytes);
    inspect(disk.clone());
    let mut user =
        User { store: Store::new(IDENTITY, geometry(), Blank::Format { uuid: UUID }, Policy::default()), disk };
    user.settle();
    let opened = *user.store.phase() == Phase::Ready;
    for found in user.store.recovered() {
        user.use_shard(found.shard, found.end.sequence);
    }
    if opened {
        user.store.audit().expect("what recovery counts is what it found");
    }
    opened
}

/// Whoever opened the store.
struct User {
    store: Store,
    disk: Disk,
}

impl User {
    fn settle(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for step in 0..STEPS_MAX {
            self.store.step(Time(step as u64 * 1_000_000), &mut self.disk.flying, &mut events);
            if !self.disk.flying.is_empty() {
                let done = self.disk.perform(0);
                self.store.done(done);
            } else if self.store.deadline() != Some(Time::ZERO) {
                return events;
            }
        }
        panic!("the store never comes to rest");
    }

    /// Reads all that there is of a shard, and appends to it if it can be appended to.
    fn use_shard(&mut self, shard: ShardId, end: Sequence) {
        let (ticket, block, count) = (1, 0, BLOCKS.min(base::IO_BLOCKS_MAX));
        self.store.request(Request::Read { shard, ticket, block, count });
        self.store.request(Request::ReadExtents { shard, ticket, since: Some(Sequence(0)), block, count });
        self.store.request(Request::ReadWindow { shard, ticket, above: Sequence(0) });
        self.store.request(Request::ReadPoint { shard, ticket, point: PointId(6), block, count });
        let events = self.settle();
        assert!(events.iter().any(|event| matches!(event, Event::Blocks { .. })), "a read is always answered");
        let sequence = end.0.checked_add(1);
        if let Some(sequence) = sequence.filter(|_| *self.store.phase() == Phase::Ready) {
            self.store.request(Request::Append { shard, ticket: 1, record: data(sequence, 5, [9]) });
            self.store.request(Request::Commit { shard, through: Sequence(sequence) });
            self.settle();
        }
    }
}

fn inspect(mut disk: Disk) {
    let mut inspection = Inspection::new(geometry());
    let work = |inspection: &mut Inspection, disk: &mut Disk| {
        inspection.step(&mut disk.flying);
        assert!(disk.flying.iter().all(|op| matches!(op, Op::Read { .. })), "an inspection only reads");
        while !disk.flying.is_empty() {
            let done = disk.perform(0);
            inspection.done(done);
        }
    };
    for _ in 0..STEPS_MAX {
        work(&mut inspection, &mut disk);
        if inspection.report().is_some() {
            break;
        }
    }
    let report = inspection.report().expect("an inspection ends").clone();
    for seen in &report.shards {
        inspection.chunk_versions(seen.shard);
        assert!(inspection.extract(seen.shard, None), "what is shown can be extracted");
        for _ in 0..STEPS_MAX {
            work(&mut inspection, &mut disk);
            if inspection.extracted().is_none() {
                break;
            }
        }
    }
}
