//! Frozen points: what was committed when a point was frozen is read through it until it is dropped, whatever is written, trimmed, moved, mended or
//! lost in crashes meanwhile; and what no point and nothing else names is free.

mod bench;

use base::log::{Event, POINTS_MAX, PointChange, ReadFault, Record, Standing};
use base::{PointId, Rng, Sequence, ShardId, Time};
use bench::model::pattern;
use bench::{BLOCKS, Bench, blocks, copy, data, freeze, register, shard, stamp, thaw, trim};
use std::collections::BTreeMap;
use store::{FreezeRefusal, Phase, Policy};

/// A store with one shard that has a register.
fn ready(policy: Policy) -> Bench {
    let mut bench = Bench::ready_with(60, policy);
    bench.append(shard(1), register(shard(1), 1));
    bench
}

/// Appends and commits, all of it durable.
fn run(bench: &mut Bench, records: impl IntoIterator<Item = Record>) {
    for record in records {
        let (Record::Data { stamp, .. } | Record::Trim { stamp, .. } | Record::Point { stamp, .. }) = &record else {
            bench.append(shard(1), record);
            continue;
        };
        let through = stamp.sequence.0;
        bench.append(shard(1), record);
        bench.commit(shard(1), through);
    }
    bench.settle();
}

fn used_blocks(bench: &Bench) -> u64 {
    let counted: u64 = bench.store.live_blocks_by_segment().iter().map(|&n| u64::from(n)).sum();
    let used = bench.store.space().used_bytes / 4096;
    assert!(counted >= used, "segments of checkpoints count too");
    used
}

#[test]
fn a_point_is_what_was_committed_through_its_sequence_and_not_what_was_appended() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    run(&mut bench, [data(1, 0, [1, 2, 3])]);
    bench.append(s, data(2, 1, [4]));
    bench.append(s, freeze(3, 7));
    bench.append(s, data(4, 2, [5]));
    bench.settle();
    assert_eq!(bench.read_point(s, 7, 0, 3), None, "it is not committed");
    assert_eq!(bench.window(s, 2).unwrap()[0].point, Some(PointChange::Freeze { id: PointId(7) }));
    bench.commit(s, 4);
    assert_eq!((bench.tags(s, 0, 4), bench.tags_at(s, 7, 0, 4)), (vec![1, 4, 5, 0], vec![1, 4, 3, 0]));
    // One that a later primary's window does not have is gone with it.
    bench.append(s, freeze(5, 8));
    bench.append(s, Record::Cut { above: Sequence(4) });
    run(&mut bench, [data(5, 0, [6])]);
    assert_eq!(bench.read_point(s, 8, 0, 1), None);
    assert_eq!((bench.read_point(shard(9), 7, 0, 1), bench.changes(shard(9), (None, Some(7)), 0, 9)), (None, None));
    assert_eq!(bench.changes(shard(9), (None, None), 0, 9).unwrap().stretches, []);
}

#[test]
fn a_block_through_a_point_is_what_the_first_of_it_and_the_newer_ones_keeps() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    run(&mut bench, [data(1, 0, [1, 2, 3, 4]), freeze(2, 1), data(3, 0, [5]), data(4, 9, [6]), freeze(5, 2)]);
    run(&mut bench, [data(6, 0, [7]), trim(7, 1, 1), trim(8, 20, 100), freeze(9, 3), data(10, 2, [8]), trim(11, 9, 1)]);
    let read = |bench: &mut Bench| {
        let at = |bench: &mut Bench, point| [bench.tags_at(s, point, 0, 4), bench.tags_at(s, point, 9, 1)].concat();
        let points = [1, 2, 3].map(|point| at(bench, point));
        assert_eq!(points, [[1, 2, 3, 4, 0], [5, 2, 3, 4, 6], [7, 0, 3, 4, 6]]);
        assert_eq!([bench.tags(s, 0, 4), bench.tags(s, 9, 1)].concat(), [7, 0, 8, 4, 0]);
        // Each of eight writes is still read by somebody.
        assert_eq!(used_blocks(bench), 8);
        assert_eq!(bench.changed_blocks(s, (Some(1), Some(2))), [0, 9]);
        assert_eq!(bench.changed_blocks(s, (Some(3), Some(2))), [0, 1]);
        assert_eq!(bench.changed_blocks(s, (None, Some(3))), [0, 2, 3, 9]);
        assert_eq!(bench.changed_blocks(s, (None, None)), [0, 2, 3]);
        assert_eq!(bench.changed_blocks(s, (Some(1), None)), [0, 1, 2, 9]);
        assert_eq!(bench.changed_blocks(s, (Some(2), Some(2))), []);
        // Only of the blocks that were asked about, whatever lies beyond them.
        for (blocks, wanted) in [
            ((0, 3), vec![(0, 1), (2, 1)]),
            ((2, 1), vec![(2, 1)]),
            ((3, 1_000), vec![(3, 1)]),
            ((4, 1_000), vec![]),
            ((1, 0), vec![]),
            ((200, u32::MAX), vec![]),
        ] {
            let changes = bench.changes_in(s, (None, None), blocks, 9).unwrap();
            assert_eq!((changes.stretches, changes.next), (wanted, None), "{blocks:?}");
        }
        let changes = bench.changes_in(s, (Some(1), None), (1, 3), 1).unwrap();
        assert_eq!((changes.stretches, changes.next), (vec![(1, 2)], None), "what lies beyond does not go on, either");
    };
    read(&mut bench);
    let mut bench = bench.reopened();
    let points: Vec<_> = bench.recovered()[0].points.clone();
    assert_eq!(points, [(1, 2), (2, 5), (3, 9)].map(|(point, sequence)| (PointId(point), stamp(1, sequence))));
    bench.commit(s, 11);
    read(&mut bench);
    assert_eq!(bench.changes(s, (Some(1), Some(4)), 0, 9), None);
}

#[test]
fn a_dropped_point_leaves_to_the_older_one_what_that_reads_through_it_and_frees_the_rest() {
    // Which of three is dropped, and how many of the eight blocks are then still read by somebody.
    for (dropped, left) in [(1, 6), (2, 7), (3, 8)] {
        let mut bench = ready(Policy::default());
        let s = shard(1);
        run(&mut bench, [data(1, 0, [1, 2, 3]), freeze(2, 1), data(3, 0, [4, 5]), freeze(4, 2), data(5, 0, [6])]);
        run(&mut bench, [data(6, 130, [7]), freeze(7, 3), data(8, 1, [8])]);
        let all = [(1, [1, 2, 3, 0]), (2, [4, 5, 3, 0]), (3, [6, 5, 3, 7])];
        assert_eq!(used_blocks(&bench), 8);
        run(&mut bench, [thaw(9, dropped), thaw(10, dropped), thaw(11, 99)]);
        for round in 0..2 {
            for (point, expected) in all.iter().filter(|(point, _)| *point != dropped) {
                let read = [bench.tags_at(s, *point, 0, 3), bench.tags_at(s, *point, 130, 1)].concat();
                assert_eq!(read, expected, "{point} after {dropped} was dropped");
            }
            assert_eq!(bench.read_point(s, dropped, 0, 1), None);
            assert_eq!(used_blocks(&bench), left, "after {dropped} was dropped");
            if round == 0 {
                bench.append(s, register(s, 2));
                bench.settle();
                bench = bench.reopened();
            }
        }
        run(&mut bench, (1..=3).map(|point| thaw(11 + point, point)));
        assert_eq!(used_blocks(&bench), 4);
    }
}

#[test]
fn a_second_freeze_of_a_name_changes_nothing_and_a_new_one_after_a_thaw_is_another_point() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    run(&mut bench, [data(1, 0, [1]), freeze(2, 1), data(3, 0, [2]), freeze(4, 1), data(5, 0, [3])]);
    assert_eq!((bench.tags_at(s, 1, 0, 1), used_blocks(&bench)), (vec![1], 2));
    run(&mut bench, [thaw(6, 1), freeze(7, 1), data(8, 0, [4])]);
    assert_eq!((bench.tags_at(s, 1, 0, 1), used_blocks(&bench)), (vec![3], 2));
    bench.append(s, register(s, 2));
    bench.settle();
    let mut bench = bench.reopened();
    assert_eq!(bench.recovered()[0].points, [(PointId(1), stamp(1, 7))]);
    assert_eq!(bench.tags_at(s, 1, 0, 1), [3]);
}

#[test]
fn no_more_points_stand_than_a_shard_may_have() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    let most = POINTS_MAX as u64;
    run(&mut bench, (0..most + 3).flat_map(|n| [data(2 * n + 1, 0, [n + 1]), freeze(2 * n + 2, n)]));
    assert_eq!(bench.tags_at(s, most - 1, 0, 1), [most]);
    assert_eq!(bench.read_point(s, most, 0, 1), None);
    assert_eq!(bench.store.refuses_freeze(s), Some(FreezeRefusal::TooManyPoints { most: POINTS_MAX }));
    let bench = &mut bench.reopened();
    assert_eq!(bench.recovered()[0].points.len(), POINTS_MAX);
}

#[test]
fn a_freeze_is_refused_when_its_space_cannot_be_promised() {
    let mut bench = Bench::ready_with(100, Policy::default());
    let s = shard(1);
    assert_eq!(bench.store.refuses_freeze(s), Some(FreezeRefusal::NoShard));
    run(&mut bench, [register(s, 1), data(1, 0, [1, 2, 3])]);
    let (block, capacity) = (4096, bench.store.space().capacity_bytes);
    let volume = u64::from(BLOCKS) * block;
    assert_eq!((bench.store.promised_bytes(), bench.store.refuses_freeze(s)), (volume, None));
    run(&mut bench, [freeze(2, 1), data(3, 0, [4, 5])]);
    // The newest point may come to hold all; a newer one takes that over, and it holds what it holds.
    assert_eq!((bench.store.promised_bytes(), bench.store.refuses_freeze(s)), (2 * volume, None));
    run(&mut bench, [freeze(4, 2)]);
    assert_eq!(bench.store.promised_bytes(), 2 * volume + 2 * block);
    // Other shards take the rest.
    let mut other = 2;
    while bench.store.promised_bytes() + volume <= capacity {
        bench.append(shard(other), register(shard(other), 1));
        bench.settle();
        other += 1;
    }
    run(&mut bench, [data(5, 0, [6])]);
    assert_eq!(bench.store.refuses_freeze(s), None, "another point of this one takes as much as the newest holds");
    let refused = bench.store.refuses_freeze(shard(2)).expect("all is promised");
    let promised_bytes = bench.store.promised_bytes();
    assert_eq!(refused, FreezeRefusal::NoSpace { needed_bytes: volume, promised_bytes, capacity_bytes: capacity });
    let said = [refused, FreezeRefusal::TooManyPoints { most: 64 }, FreezeRefusal::NoShard].map(|why| why.to_string());
    assert!([volume, promised_bytes, capacity].iter().all(|n| said[0].contains(&n.to_string())), "{said:?}");
    assert!(said[1].contains("64") && said[2].contains("not on this disk"), "{said:?}");
}

#[test]
fn copies_and_erasures_leave_what_a_point_has_and_a_restart_forgets_the_points() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    run(
        &mut bench,
        [data(1, 0, [1, 2, 3]), freeze(2, 1), copy(0, [4]), copy(5, [5]), Record::Erase { block: 1, count: 2 }],
    );
    assert_eq!((bench.tags(s, 0, 6), bench.tags_at(s, 1, 0, 6)), (vec![4, 0, 0, 0, 0, 5], vec![1, 2, 3, 0, 0, 0]));
    assert_eq!(bench.changed_blocks(s, (Some(1), None)), [0, 1, 2, 5]);
    run(&mut bench, [Record::Restart { committed: Sequence(40), keeps_marks: false }]);
    assert_eq!((bench.tags(s, 0, 6), bench.read_point(s, 1, 0, 1)), (vec![4, 0, 0, 0, 0, 5], None));
    assert_eq!(used_blocks(&bench), 2);
    let mut bench = bench.reopened();
    assert_eq!((bench.recovered()[0].points.len(), used_blocks(&bench)), (0, 2));
}

#[test]
fn who_has_only_a_part_of_its_shard_freezes_nothing() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    let as_now = |standing| {
        let Record::Register(mut r) = register(s, 2) else { unreachable!() };
        r.standing = standing;
        Record::Register(r)
    };
    run(&mut bench, [data(1, 0, [1]), freeze(2, 1), as_now(Standing::Learning { plan: 1, base: None }), freeze(3, 2)]);
    run(
        &mut bench,
        [as_now(Standing::Learned { plan: 1 }), freeze(4, 3), as_now(Standing::Suspect), freeze(5, 4), thaw(6, 1)],
    );
    let there = [1, 2, 3, 4].map(|point| bench.read_point(s, point, 0, 1).is_some());
    assert_eq!(there, [false, false, true, false]);
}

#[test]
fn a_dropped_shard_frees_what_its_points_hold() {
    let mut bench = ready(Policy::default());
    run(&mut bench, [data(1, 0, [1, 2]), freeze(2, 1), data(3, 0, [3]), freeze(4, 2), data(5, 0, [4]), Record::Drop]);
    assert_eq!(used_blocks(&bench), 0);
    assert_eq!(bench.read_point(shard(1), 1, 0, 1), None);
}

#[test]
fn a_rotten_block_of_a_point_is_named_found_by_its_checksum_scrubbed_and_mended() {
    let mut bench = ready(Policy::default());
    let s = shard(1);
    run(&mut bench, [data(1, 0, [1, 2]), freeze(2, 1), data(3, 0, [3, 4])]);
    assert_eq!((bench.matching(s, 0, 1), bench.matching(s, 0, 3), bench.matching(s, 1, 1)), (Some(1), Some(3), None));
    let rot = bench.rot(s, 1, 2);
    assert_eq!(bench.read_point(s, 1, 0, 2), Some(Err(ReadFault { rotten: vec![rot] })));
    assert_eq!(bench.tags(s, 0, 2), [3, 4]);
    // The scrub comes by.
    while bench.store.scrubbed().finished.is_none() {
        bench.now = bench.store.deadline().expect("a scrub is due").max(bench.now);
        bench.settle();
    }
    assert!(bench.events.iter().any(|event| matches!(event, Event::Corrupt { rot: found, .. } if *found == rot)));
    // A mend that comes too late is nobody's; one that fits is.
    for place in [rot.place + 1000, rot.place] {
        run(&mut bench, [Record::Mend { block: 1, place, data: blocks([2]) }]);
    }
    assert_eq!((bench.tags_at(s, 1, 0, 2), used_blocks(&bench)), (vec![1, 2], 4));
    let mut bench = bench.reopened();
    assert_eq!((bench.tags_at(s, 1, 0, 2), bench.tags(s, 0, 2)), (vec![1, 2], vec![3, 4]));
}

/// A shard that takes half of what may be promised, and its states.
struct World {
    rng: Rng,
    bench: Bench,
    now: Vec<u64>,
    points: Vec<(u64, Vec<u64>)>,
    sequence: u64,
    next_point: u64,
    tag: u64,
}

const S: ShardId = ShardId { volume: base::VolumeId(1), index: 0 };

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let policy = Policy {
            checkpoint_every_segments: rng.within(1, 5) as u32,
            delta_pieces_min: rng.within(1, 6) as u32,
            dissolved_chunks_per_step: 1,
            batches_in_flight_max: rng.within(1, 4) as u32,
            gathered_bytes_min: [0, 2 * 4096, 8 * 4096][rng.below(3) as usize],
            ..Policy::default()
        };
        let bench = Bench::ready_with(rng.within(64, 90), policy);
        let blocks = bench.store.space().capacity_bytes / 4096 / 2;
        let now = vec![0; blocks as usize];
        let mut world = Self { rng, bench, now, points: vec![], sequence: 0, next_point: 0, tag: 0 };
        world.bench.append(S, register(S, 1));
        world
    }

    fn append(&mut self, record: impl FnOnce(u64) -> Record) {
        self.sequence += 1;
        self.bench.append(S, record(self.sequence));
        self.bench.commit(S, self.sequence);
    }

    fn act(&mut self) {
        let len = self.rng.within(1, 6) as usize;
        let block = self.rng.below((self.now.len() - len) as u64) as usize;
        match self.rng.below(60) {
            0 => {
                // The points, all together, may hold as much as the shard.
                let versions = |points: &[(u64, Vec<u64>)]| points.len() * self.now.len();
                if versions(&self.points) < 3 * self.now.len() {
                    self.next_point += self.rng.below(2);
                    if !self.points.iter().any(|(id, _)| *id == self.next_point) {
                        self.points.push((self.next_point, self.now.clone()));
                    }
                    let id = self.next_point;
                    self.append(|sequence| freeze(sequence, id));
                }
            }
            1 | 2 if !self.points.is_empty() => {
                let i = self.rng.below(self.points.len() as u64) as usize;
                let (id, _) = self.points.remove(i);
                self.append(|sequence| thaw(sequence, id));
            }
            3..=5 => {
                self.now[block..block + len].fill(0);
                self.append(|sequence| trim(sequence, block as u32, len as u32));
            }
            _ => {
                let tags: Vec<u64> = (1..=len as u64).map(|i| self.tag + i).collect();
                self.tag += len as u64;
                self.now[block..block + len].copy_from_slice(&tags);
                self.append(|sequence| data(sequence, block as u32, tags));
            }
        }
        // Never more than may be promised: as many versions of blocks as the store has room for.
        while self.versions() as u64 > self.bench.store.space().capacity_bytes / 4096 - 8 {
            let (id, _) = self.points.remove(0);
            self.append(|sequence| thaw(sequence, id));
        }
    }

    /// Versions of blocks that some state has.
    fn versions(&self) -> usize {
        let states = || self.points.iter().map(|(_, tags)| tags).chain([&self.now]);
        let mut all: Vec<(usize, u64)> = states().flat_map(|tags| tags.iter().copied().enumerate()).collect();
        all.retain(|(_, tag)| *tag != 0);
        all.sort_unstable();
        all.dedup();
        all.len()
    }

    fn work(&mut self) {
        self.bench.work(&mut self.rng);
    }

    fn crash(&mut self) {
        let ticket = self.bench.append(S, register(S, 1));
        for turn in 0.. {
            if self.bench.durable(S) >= ticket {
                break;
            }
            self.work();
            assert!(turn < 100_000, "nothing becomes durable any more");
        }
        (0..self.rng.below(40)).for_each(|_| self.work());
        let mut disk = std::mem::take(&mut self.bench.disk);
        if self.rng.chance(1, 2) {
            disk.lose_power(&mut self.rng);
        } else {
            disk.lose_process(&mut self.rng);
        }
        self.bench = Bench::on(disk, self.bench.geometry, self.bench.policy);
        self.check();
    }

    fn check(&mut self) {
        self.bench.settle();
        assert_eq!(*self.bench.store.phase(), Phase::Ready);
        let states: BTreeMap<Option<u64>, &Vec<u64>> =
            self.points.iter().map(|(id, tags)| (Some(*id), tags)).chain([(None, &self.now)]).collect();
        for (point, tags) in states {
            for at in (0..tags.len()).step_by(200) {
                let count = 200.min(tags.len() - at) as u32;
                let read = match point {
                    Some(point) => self.bench.read_point(S, point, at as u32, count).expect("the point stands"),
                    None => self.bench.read(S, at as u32, count),
                };
                let bytes = |&tag: &u64| if tag == 0 { vec![0; 4096] } else { pattern(tag) };
                let expected: Vec<u8> = tags[at..at + count as usize].iter().flat_map(bytes).collect();
                assert!(read.unwrap() == expected, "{point:?}: blocks {at} and {count} more");
            }
        }
        assert_eq!(self.bench.store.space().used_bytes, self.versions() as u64 * 4096);
    }
}

#[test]
fn points_stay_what_they_were_while_the_cleaner_moves_their_blocks_checkpoints_are_made_and_machines_crash() {
    let (mut crashes, mut moved, mut thawed) = (0, 0, 0);
    for seed in 0..12 {
        let mut world = World::new(seed);
        for round in 0..10 {
            for _ in 0..world.rng.within(50, 300) {
                let before = world.points.len();
                world.act();
                thawed += usize::from(world.points.len() < before);
                world.work();
            }
            moved += world.bench.store.activity().moved_bytes;
            if round % 2 == 0 {
                world.crash();
                crashes += 1;
            } else {
                world.check();
            }
        }
        assert!(world.bench.store.deadline().is_none_or(|at| at > Time::ZERO));
    }
    println!("{crashes} crashes, {moved} bytes moved, {thawed} points dropped");
    assert!(crashes == 60 && moved > 1 << 20 && thawed > 50, "{crashes}, {moved}, {thawed}");
}
