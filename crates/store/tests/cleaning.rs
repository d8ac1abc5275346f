//! A store that is as full as it may be goes on being overwritten for ever: segments are cleaned, checkpoints free them, nothing is refused, nothing
//! wedges, and every block is what was written last, also after crashes at any point.

mod bench;

use base::log::Record;
use base::time::Duration;
use base::{Rng, ShardId, Time};
use bench::model::pattern;
use bench::{Bench, blocks, disk::Disk, register, shard, stamp};
use store::{Geometry, Phase, Policy};

/// One volume on a full store, and what it holds.
struct World {
    rng: Rng,
    bench: Bench,
    shard: ShardId,
    /// The tag of each block's last write.
    tags: Vec<u64>,
    sequence: u64,
    tag: u64,
}

impl World {
    /// Written once from front to back.
    fn filled(seed: u64, segments: u64, policy: Policy) -> Self {
        Self::fill(seed, Bench::ready_with(segments, policy))
    }

    fn fill(seed: u64, mut bench: Bench) -> Self {
        let (rng, shard) = (Rng::new(seed), shard(1));
        let count = bench.store.space().capacity_bytes / 4096;
        bench.append(shard, register(shard, 1));
        bench.settle();
        let mut world = Self { rng, bench, shard, tags: vec![0; count as usize], sequence: 0, tag: 0 };
        let mut at = 0;
        while at < world.tags.len() {
            let len = world.rng.within(1, 6).min((world.tags.len() - at) as u64);
            world.write(at, len as usize);
            at += len as usize;
            world.work();
        }
        world
    }

    fn write(&mut self, block: usize, len: usize) -> u64 {
        let ticket = self.put(block, len);
        self.bench.commit(self.shard, self.sequence);
        ticket
    }

    /// Not committed.
    fn put(&mut self, block: usize, len: usize) -> u64 {
        self.sequence += 1;
        let tags: Vec<u64> = (1..=len as u64).map(|i| self.tag + i).collect();
        self.tag += len as u64;
        self.tags[block..block + len].copy_from_slice(&tags);
        let record = Record::Data { stamp: stamp(1, self.sequence), block: block as u32, data: blocks(tags) };
        self.bench.append(self.shard, record)
    }

    fn overwrite(&mut self) -> u64 {
        let len = self.rng.within(1, 6) as usize;
        let block = self.rng.below((self.tags.len() - len) as u64) as usize;
        self.write(block, len)
    }

    /// The disk does some of what it was asked, in any order.
    fn work(&mut self) {
        self.bench.work(&mut self.rng);
    }

    /// Everything that was asked for is durable, and every block is right.
    fn check(&mut self) {
        self.bench.settle();
        assert_eq!(*self.bench.store.phase(), Phase::Ready);
        for at in (0..self.tags.len()).step_by(64) {
            let count = 64.min(self.tags.len() - at);
            let ticket = self.bench.ask_read(self.shard, at as u32, count as u32);
            self.bench.settle();
            let read = self.bench.answered(ticket).expect("the store is at rest and the read not answered").unwrap();
            let expected: Vec<u8> = self.tags[at..at + count].iter().flat_map(|&tag| pattern(tag)).collect();
            assert!(read == expected, "blocks {at} and {count} more");
        }
        assert_eq!(self.bench.store.space().used_bytes, self.tags.len() as u64 * 4096);
    }
}

fn policy(rng: &mut Rng) -> Policy {
    Policy {
        batch_payload_bytes_max: [4096, 3 * 4096, 1 << 20][rng.below(3) as usize],
        batches_in_flight_max: rng.within(1, 5) as u32,
        gathered_bytes_min: [0, 2 * 4096, 8 * 4096][rng.below(3) as usize],
        checkpoint_every_segments: rng.within(1, 5) as u32,
        delta_pieces_min: rng.within(1, 8) as u32,
        preallocated: rng.chance(1, 2),
        ..Policy::default()
    }
}

#[test]
fn a_full_store_is_overwritten_many_times_over() {
    for seed in 0..8 {
        let mut rng = Rng::new(seed);
        let policy = policy(&mut rng);
        let mut world = World::filled(seed, rng.within(64, 120), policy);
        world.check();
        let mut before = world.bench.store.activity();
        for round in 0..4 {
            for _ in 0..world.tags.len() / 3 {
                world.overwrite();
                world.work();
            }
            world.check();
            let now = world.bench.store.activity();
            assert!(now.moved_bytes > before.moved_bytes, "seed {seed}, round {round}: nothing was cleaned");
            assert!(now.checkpoint_bytes > before.checkpoint_bytes, "seed {seed}, round {round}: no checkpoint");
            before = now;
            if round % 2 == 1 {
                world.bench = world.bench.reopened();
                world.bench.commit(world.shard, world.sequence);
                before = world.bench.store.activity();
                world.check();
            }
        }
    }
}

/// What is not committed is live twice, so it fills more of the log than is ever promised; for what was taken there is a way to the end all the same.
#[test]
fn what_is_not_committed_may_fill_all_that_is_room() {
    for seed in 0..12 {
        let mut rng = Rng::new(2000 + seed);
        let policy = policy(&mut rng);
        // Segments of 64 to 256 KiB.
        let mut bench = Bench::on(Disk::default(), Geometry::tiny(rng.within(4, 24) << 20), policy);
        bench.settle();
        let mut world = World::fill(seed, bench);
        world.check();
        for round in 0..6 {
            let committed = world.sequence;
            let mut writes = 0;
            // As many at once as the disk is behind, and a few at a time.
            while world.bench.store.space().room_bytes >= 7 * 4096 {
                let len = world.rng.within(1, 6) as usize;
                let block = world.rng.below((world.tags.len() - len) as u64) as usize;
                world.put(block, len);
                writes += 1;
                if world.rng.chance(1, 2) {
                    world.work();
                }
            }
            assert!(writes > 0, "seed {seed}, round {round}: there was no room above what is committed");
            world.bench.settle();
            let last = world.bench.append(world.shard, register(world.shard, 1));
            world.bench.settle();
            assert!(
                world.bench.durable(world.shard) >= last,
                "seed {seed}, round {round}: {writes} writes above {committed} wait for ever"
            );
            world.bench.commit(world.shard, world.sequence);
            world.check();
        }
    }
}

/// The most blocks that were moved in one step while a full store is overwritten, always a write under way, and the disk takes so long for each operation.
fn most_moved_beside_writes(took: Duration) -> u64 {
    let policy =
        Policy { batches_in_flight_max: 2, checkpoint_every_segments: 2, preallocated: true, ..Policy::default() };
    // Segments of half a MiB: a batch must have room for all that may be moved in it.
    let mut bench = Bench::on(Disk::default(), Geometry::tiny(64 << 20), policy);
    bench.settle();
    let mut world = World::fill(1, bench);
    let mut before = 0;
    let mut write = |world: &mut World, took: Duration| {
        let ticket = world.overwrite();
        let mut most = 0;
        loop {
            let moved = world.bench.store.activity().moved_bytes;
            world.bench.step();
            most = most.max(world.bench.store.activity().moved_bytes - moved);
            if world.bench.durable(world.shard) >= before {
                before = ticket;
                return most / 4096;
            }
            world.bench.now += took;
            world.bench.perform(0);
        }
    };
    (0..3000).for_each(|_| _ = write(&mut world, Duration::from_micros(100)));
    (0..200).for_each(|_| _ = write(&mut world, took));
    let most = (0..300).map(|_| write(&mut world, took)).max().unwrap();
    world.check();
    most
}

#[test]
fn the_cleaner_takes_less_of_a_batch_while_the_disk_is_slow_for_those_who_write() {
    let fast = most_moved_beside_writes(Duration::from_micros(100));
    let slow = most_moved_beside_writes(Duration::from_millis(20));
    assert!(slow * 3 < fast * 2 && slow > 0, "{fast} blocks beside a write on a fast disk, {slow} on a slow one");
}

#[test]
fn a_crash_at_any_point_of_cleaning_and_of_a_checkpoint_loses_nothing() {
    let mut crashes = 0;
    for seed in 0..30 {
        let mut rng = Rng::new(1000 + seed);
        let policy = policy(&mut rng);
        let mut world = World::filled(seed, 64, policy);
        world.check();
        for _ in 0..rng.within(100, 300) {
            world.overwrite();
            world.work();
        }
        for _ in 0..12 {
            // All that was asked for is durable; what still goes on is cleaning, checkpoints, and zeroes.
            let ticket = world.bench.append(world.shard, register(world.shard, 1));
            let mut turns = 0;
            while world.bench.durable(world.shard) < ticket {
                world.work();
                turns += 1;
                assert!(turns < 100_000, "seed {seed}: nothing becomes durable any more");
            }
            for _ in 0..rng.below(40) {
                world.work();
            }
            let mut disk = std::mem::take(&mut world.bench.disk);
            if rng.chance(1, 2) {
                disk.lose_power(&mut rng);
            } else {
                disk.lose_process(&mut rng);
            }
            world.bench = Bench::on(disk, world.bench.geometry, world.bench.policy);
            if rng.chance(1, 4) {
                for _ in 0..rng.below(200) {
                    world.bench.store.step(Time::ZERO, &mut world.bench.disk.flying, &mut world.bench.events);
                    if !world.bench.disk.flying.is_empty() {
                        world.bench.perform(0);
                    }
                }
                let mut disk = std::mem::take(&mut world.bench.disk);
                disk.lose_power(&mut rng);
                world.bench = Bench::on(disk, world.bench.geometry, world.bench.policy);
            }
            world.check();
            crashes += 1;
            for _ in 0..rng.within(1, 120) {
                world.overwrite();
                world.work();
            }
        }
    }
    assert_eq!(crashes, 360);
}
