//! What an inspection shows of a disk and gets out of it: of a sound one all, of a broken one what can be had, and never does it change a byte.

mod bench;

use base::io::disk::{Fault, Op};
use base::{PointId, Rng, ShardId};
use bench::disk::Disk;
use bench::model::{pattern, tag_of};
use bench::{Bench, UUID, copy, data, freeze, register, shard, stamp, thaw, trim};
use std::collections::BTreeMap;
use store::{Extracted, Geometry, Inspection, LogEnd, OpenRefusal, Policy, Report, SegmentUse, SuperblockSeen};

const PREFACE: u64 = 64 << 10;
const SEGMENT: u64 = 64 << 10;

/// Blocks that cannot be had, and what the disk said.
type Bad = Vec<(u32, Option<Fault>)>;

/// An inspection that has come to rest, over a disk that holds it to asking for one read at a time.
struct Inspected {
    inspection: Inspection,
    disk: Disk,
}

impl Inspected {
    fn of(disk: &Disk, geometry: Geometry) -> Self {
        let disk = Disk { flying: vec![], ..disk.clone() };
        let mut inspected = Self { inspection: Inspection::new(geometry), disk };
        while inspected.inspection.report().is_none() {
            inspected.work();
        }
        inspected
    }

    fn work(&mut self) {
        self.inspection.step(&mut self.disk.flying);
        assert!(self.disk.flying.len() <= 1 && self.disk.flying.iter().all(|op| matches!(op, Op::Read { .. })));
        if !self.disk.flying.is_empty() {
            let done = self.disk.perform(0);
            self.inspection.done(done);
        }
    }

    fn report(&self) -> &Report {
        self.inspection.report().unwrap()
    }

    /// The tags of a shard's blocks, and the bad ones.
    fn extract(&mut self, shard: ShardId) -> (BTreeMap<u32, u64>, Bad) {
        self.extract_at(shard, None)
    }

    /// The same at a frozen point.
    fn extract_at(&mut self, shard: ShardId, point: Option<u64>) -> (BTreeMap<u32, u64>, Bad) {
        assert!(self.inspection.extract(shard, point.map(PointId)));
        let (mut tags, mut bad) = (BTreeMap::new(), vec![]);
        loop {
            self.work();
            let Some(found) = self.inspection.extracted() else { return (tags, bad) };
            for one in found {
                match one {
                    Extracted::Data { block, data } => tags.extend((block..).zip(data.chunks(4096).map(tag_of))),
                    Extracted::Bad { block, fault, .. } => bad.push((block, fault)),
                }
            }
        }
    }
}

/// Inspects, and requires that nothing was changed.
fn inspect(bench: &Bench) -> Inspected {
    let inspected = Inspected::of(&bench.disk, bench.geometry);
    assert!(inspected.disk.media == bench.disk.media && inspected.disk.cache == bench.disk.cache);
    inspected
}

fn tags(all: impl IntoIterator<Item = (u32, u64)>) -> BTreeMap<u32, u64> {
    all.into_iter().collect()
}

/// Two shards, the second with a window, and what an extraction must give of each. Old enough to have a checkpoint if the policy makes any.
fn filled(policy: Policy) -> (Bench, [BTreeMap<u32, u64>; 2]) {
    let mut bench = Bench::ready_with(60, policy);
    let mut expected = [BTreeMap::new(), BTreeMap::new()];
    (1..=2).for_each(|n| _ = bench.append(shard(n), register(shard(n), 1)));
    for n in 1..=60 {
        let (a, b) = ((n % 40) as u32, (n % 7 * 3) as u32);
        bench.append(shard(1), data(n, a, [n, n + 1000]));
        bench.append(shard(2), data(n, b, [n + 2000]));
        expected[0].extend([(a, n), (a + 1, n + 1000)]);
        expected[1].insert(b, n + 2000);
        bench.commit(shard(1), n);
        bench.commit(shard(2), n.min(50));
        bench.settle();
    }
    bench.append(shard(1), copy(150, [7777]));
    bench.append(shard(2), trim(61, 3, 4));
    expected[0].insert(150, 7777);
    expected[1].retain(|block, _| !(3..7).contains(block));
    bench.settle();
    (bench, expected)
}

fn never() -> Policy {
    Policy { checkpoint_every_segments: 0, preallocated: true, ..Policy::default() }
}

fn often() -> Policy {
    Policy { checkpoint_every_segments: 1, preallocated: true, ..Policy::default() }
}

/// Where the batch with this number begins; it must be in the log that was walked.
fn at(report: &Report, batch: u64) -> u64 {
    report.batches.iter().find(|b| b.batch == batch).expect("it is in the log").at
}

/// A shard with two points and a window, and what each state has.
fn frozen(policy: Policy) -> (Bench, [BTreeMap<u32, u64>; 3]) {
    let mut bench = Bench::ready_with(60, policy);
    let s = shard(1);
    bench.append(s, register(s, 1));
    let records =
        [data(1, 0, [1, 2, 3]), freeze(2, 1), data(3, 1, [4]), data(4, 150, [5]), freeze(5, 2), data(6, 2, [6])];
    for (record, through) in records.into_iter().zip([1, 2, 3, 4, 5, 5]) {
        bench.append(s, record);
        bench.commit(s, through);
        bench.settle();
    }
    let states = [
        tags([(0, 1), (1, 2), (2, 3)]),
        tags([(0, 1), (1, 4), (2, 3), (150, 5)]),
        tags([(0, 1), (1, 4), (2, 6), (150, 5)]),
    ];
    // So much that a checkpoint is made, if any is; and what is written into the window of one says nothing of a point.
    for n in 1..=40 {
        bench.append(shard(2), data(n, 9, [n + 100]));
        bench.settle();
    }
    (bench, states)
}

#[test]
fn the_frozen_points_of_a_shard_are_shown_and_extracted() {
    for policy in [never(), often()] {
        let (bench, states) = frozen(policy);
        let mut inspected = inspect(&bench);
        let seen = &inspected.report().shards[0];
        let points: Vec<_> = seen.points.iter().map(|p| (p.id.0, p.stamp, p.held_blocks)).collect();
        assert_eq!(
            points,
            [(1, stamp(1, 2), 1), (2, stamp(1, 5), 0)],
            "2 as it was until now is still the shard's own"
        );
        assert_eq!(inspected.report().shards[1].points, []);
        for (point, expected) in [Some(1), Some(2), None].into_iter().zip(states) {
            assert_eq!(inspected.extract_at(shard(1), point), (expected, vec![]), "{point:?}");
        }
        assert!(!inspected.inspection.extract(shard(1), Some(PointId(3))));
        assert!(!inspected.inspection.extract(shard(2), Some(PointId(1))));
    }
}

#[test]
fn a_sound_store_is_shown_whole() {
    let (bench, expected) = filled(often());
    let mut inspected = inspect(&bench);
    let report = inspected.report().clone();
    assert_eq!((&report.refusal, &report.salvage, &report.end), (&None, &None, &LogEnd::End));
    let SuperblockSeen::Whole(superblock) = report.superblocks[0] else { panic!("{:?}", report.superblocks) };
    assert_eq!(
        (superblock.uuid, superblock.geometry, report.superblocks[1]),
        (UUID, bench.geometry, report.superblocks[0])
    );
    let checkpoint = report.checkpoint.as_ref().unwrap();
    assert!(checkpoint.pieces.len() > 1 && checkpoint.pieces.iter().all(|piece| piece.bad == [false; 2]));
    let numbers: Vec<u64> = report.batches.iter().map(|b| b.batch).collect();
    let first = checkpoint.batch + 1;
    assert_eq!(numbers, (first..first + numbers.len() as u64).collect::<Vec<_>>());
    assert!(report.batches.iter().all(|b| b.entries > 0 && b.run == 1));
    let uses = |used| report.segments.iter().filter(|s| s.used == used).count();
    assert!(uses(SegmentUse::Log) > 2 && uses(SegmentUse::Checkpoint) >= 2 && uses(SegmentUse::Free) > 20);
    let live: u64 =
        report.segments.iter().filter(|s| s.used == SegmentUse::Log).map(|s| u64::from(s.live_blocks)).sum();
    assert_eq!(live * 4096, bench.store.space().used_bytes);
    let [one, two] = &report.shards[..] else { panic!("{:?}", report.shards) };
    assert_eq!((one.shard, one.committed.0, one.end, one.window_entries), (shard(1), 60, stamp(1, 60), 0));
    assert_eq!((two.shard, two.committed.0, two.end, two.window_entries), (shard(2), 50, stamp(1, 61), 11));
    assert_eq!((one.blocks, one.chunks, one.suspect), (expected[0].len() as u64, 2, false));
    assert!(one.register.is_some());
    assert_eq!(inspected.inspection.chunk_versions(shard(1)), [(0, stamp(1, 60)), (1, stamp(0, 0))]);
    assert_eq!(inspected.inspection.chunk_versions(shard(3)), []);
    assert!(!inspected.inspection.extract(shard(3), None));
    for (n, expected) in (1..).zip(&expected) {
        assert_eq!(inspected.extract(shard(n)), (expected.clone(), vec![]));
    }
}

#[test]
fn a_torn_tail_is_told_from_the_end() {
    let (mut bench, _) = filled(never());
    let next = |n: u64| data(n, 1, [n]);
    for n in 61..=63 {
        bench.append(shard(1), next(n));
        bench.step();
    }
    // The first of three is lost, the others are there.
    bench.perform(1);
    bench.perform(1);
    let torn = inspect(&bench).report().clone();
    assert_eq!((&torn.end, &torn.refusal), (&LogEnd::TornTail { headers: 2 }, &None));
    assert_eq!(torn.shards[0].end, stamp(1, 60));
    // The payload of the last batch is torn.
    let (mut bench, _) = filled(never());
    bench.append(shard(1), next(61));
    bench.settle();
    let place = bench.find_on_media(&pattern(61)).into_iter().max().unwrap();
    let newest = bench.disk.media.iter().rfind(|(_, block)| **block == pattern(61)).map(|(&p, _)| u64::from(p) * 4096);
    bench.disk.rot(newest.unwrap_or(place), 1);
    assert_eq!(inspect(&bench).report().end, LogEnd::TornTail { headers: 1 });
}

#[test]
fn a_blank_disk_a_newer_one_and_one_that_shrank_are_shown_as_what_they_are() {
    let geometry = Geometry::tiny(1 << 20);
    let blank = Inspected::of(&Disk::default(), geometry).report().clone();
    assert_eq!((blank.refusal, blank.superblocks), (Some(OpenRefusal::Blank), [SuperblockSeen::Zeroes; 2]));
    let (mut bench, expected) = filled(often());
    let smaller = Geometry { capacity_bytes: bench.geometry.capacity_bytes - 4096, ..bench.geometry };
    let mut shrunk = Inspected::of(&bench.disk, smaller);
    assert!(matches!(shrunk.report().refusal, Some(OpenRefusal::Shrunk { .. })));
    assert_eq!(shrunk.extract(shard(1)), (expected[0].clone(), vec![]));
    let block = bench.disk.media.get_mut(&0).unwrap();
    block[8] = 2;
    block[12..16].fill(0);
    let crc = base::checksum::crc32c(block);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
    let newer = inspect(&bench).report().clone();
    assert_eq!(newer.refusal, Some(OpenRefusal::NewerFormat { found: 2, known: 1 }));
    assert_eq!((newer.superblocks[0], newer.end), (SuperblockSeen::Newer(2), LogEnd::NotFollowed));
    let mut nothing = Bench::on(Disk::default(), geometry, Policy::default());
    nothing.disk.media.insert(0, vec![0xef; 4096]);
    let nothing = inspect(&nothing).report().clone();
    assert_eq!((nothing.refusal, nothing.shards.len()), (Some(OpenRefusal::SuperblocksDamaged), 0));
}

#[test]
fn one_damaged_superblock_and_one_bad_copy_of_each_piece_cost_nothing_and_are_shown() {
    let (mut bench, expected) = filled(often());
    bench.disk.rot(4096 + 100, 3);
    let checkpoint = inspect(&bench).report().checkpoint.clone().unwrap();
    for (n, piece) in checkpoint.pieces.iter().enumerate() {
        bench.disk.rot(piece.at[n % 2] + 60, 1);
    }
    let mut inspected = inspect(&bench);
    let report = inspected.report();
    assert_eq!((&report.refusal, report.superblocks[1]), (&None, SuperblockSeen::Damaged));
    let bad: Vec<[bool; 2]> = report.checkpoint.as_ref().unwrap().pieces.iter().map(|piece| piece.bad).collect();
    assert_eq!(bad, (0..bad.len()).map(|n| [n % 2 == 0, n % 2 == 1]).collect::<Vec<_>>());
    assert_eq!(inspected.extract(shard(1)), (expected[0].clone(), vec![]));
    assert!(bench.reopened().recovered().len() == 2);
}

#[test]
fn a_rotten_or_unreadable_block_is_named_and_all_others_are_given() {
    let (mut bench, mut expected) = filled(often());
    let (block, tag) = (19, 59);
    assert_eq!(expected[0].remove(&block), Some(tag));
    bench.rot(shard(1), block, tag);
    let mut inspected = inspect(&bench);
    assert_eq!(inspected.extract(shard(1)), (expected[0].clone(), vec![(block, None)]));
    assert_eq!(inspected.extract(shard(2)), (expected[1].clone(), vec![]));
    let unreadable = bench.find_on_media(&pattern(60)).unwrap();
    bench.disk.bad_places = vec![(unreadable / 4096) as u32];
    expected[0].remove(&20);
    // The log behind the checkpoint may run through it: that is salvaged, and gives as much.
    let mut inspected = inspect(&bench);
    let (tags, bad) = inspected.extract(shard(1));
    assert_eq!((tags, bad), (expected[0].clone(), vec![(block, None), (20, Some(Fault::Os(5)))]));
}

#[test]
fn a_batch_that_is_rotten_below_what_was_durable_ends_the_chain_and_not_the_inspection() {
    for policy in [never(), often()] {
        let (good, expected) = filled(policy);
        let sound = inspect(&good).report().clone();
        let last = sound.batches.last().unwrap().batch;
        for rotten in sound.batches.iter().map(|b| b.batch).filter(|&batch| batch < last && batch > 1) {
            let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
            bench.disk.rot(at(&sound, rotten) + 50, 0);
            let mut inspected = inspect(&bench);
            let report = inspected.report().clone();
            assert_eq!(report.damage.map(|damage| damage.batch), Some(rotten));
            assert_eq!(report.refusal, None);
            assert_eq!(report.end, LogEnd::Broken);
            let salvage = report.salvage.as_ref().unwrap();
            assert_eq!((salvage.lost.clone(), salvage.all_suspect), (vec![(rotten, rotten)], false), "{rotten}");
            assert_eq!(salvage.batches, last - rotten);
            assert!(report.shards.iter().any(|s| s.suspect));
            // Each block is what it was, or what it was before; or it is missing because nothing else ever wrote it.
            for (n, expected) in (1..).zip(&expected) {
                let (found, bad) = inspected.extract(shard(n));
                assert_eq!(bad, []);
                let wrong = expected.iter().filter(|(block, tag)| found.get(block) != Some(tag)).count();
                assert!(wrong <= 2, "{rotten}: one write is lost");
                assert!(found.len() >= expected.len() - 2);
            }
        }
    }
}

#[test]
fn two_lost_batches_make_every_shard_suspect_and_an_unread_one_is_as_good_as_rotten() {
    let (mut bench, _) = filled(never());
    let sound = inspect(&bench).report().clone();
    let (a, b) = (at(&sound, 20), at(&sound, 21));
    bench.disk.rot(a, 0);
    bench.disk.bad_places = vec![(b / 4096) as u32];
    let report = inspect(&bench).report().clone();
    let salvage = report.salvage.unwrap();
    assert_eq!((salvage.lost, salvage.all_suspect, salvage.unreadable_blocks), (vec![(20, 21)], true, 1));
    assert!(report.shards.iter().all(|s| s.suspect));
    // And a header that is whole while its body is not.
    let (mut bench, _) = filled(never());
    bench.disk.rot(a + 200, 0);
    assert_eq!(inspect(&bench).report().salvage.clone().unwrap().lost, [(20, 20)]);
}

#[test]
fn a_lost_piece_or_root_is_made_up_for_by_what_headers_still_say() {
    let (good, expected) = filled(often());
    let pieces = inspect(&good).report().checkpoint.clone().unwrap().pieces;
    for lost in &pieces {
        let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
        lost.at.iter().for_each(|at| bench.disk.rot(at + 60, 1));
        let mut inspected = inspect(&bench);
        let report = inspected.report();
        assert_eq!(report.refusal, Some(OpenRefusal::CheckpointDamaged { at: lost.at }));
        assert_eq!(report.end, LogEnd::NotFollowed);
        assert!(report.shards.iter().all(|s| s.suspect) && report.salvage.as_ref().unwrap().lost.is_empty());
        for (n, expected) in (1..).zip(&expected) {
            // No segment was used twice here, so every header is there.
            assert_eq!(inspected.extract(shard(n)), (expected.clone(), vec![]), "{lost:?}");
        }
    }
}

#[test]
fn without_superblocks_the_headers_name_the_store() {
    let (mut bench, expected) = filled(often());
    bench.disk.media.insert(0, vec![1; 4096]);
    bench.disk.media.insert(1, vec![2; 4096]);
    let mut inspected = inspect(&bench);
    assert_eq!(inspected.report().refusal, Some(OpenRefusal::SuperblocksDamaged));
    assert_eq!(inspected.report().shards.len(), 2);
    for (n, expected) in (1..).zip(&expected) {
        assert_eq!(inspected.extract(shard(n)), (expected.clone(), vec![]));
    }
    bench.disk.bad_places = vec![0, 1];
    let report = inspect(&bench).report().clone();
    assert_eq!(report.refusal, Some(OpenRefusal::Unreadable { at: 0, fault: Fault::Os(5) }));
}

/// Overwrites so much that segments are cleaned and used again; what each block then holds.
fn cleaned() -> (Bench, BTreeMap<u32, u64>) {
    let mut bench = Bench::ready_with(40, Policy { checkpoint_every_segments: 2, ..Policy::default() });
    let mut rng = Rng::new(7);
    let mut expected = BTreeMap::new();
    bench.append(shard(1), register(shard(1), 1));
    for n in 1..=1500 {
        let block = if n <= 150 { n as u32 } else { rng.below(30) as u32 * 5 };
        bench.append(shard(1), data(n, block, [n]));
        bench.commit(shard(1), n);
        expected.insert(block, n);
        bench.settle();
    }
    assert!(bench.store.activity().moved_bytes > 0, "segments were cleaned");
    (bench, expected)
}

#[test]
fn what_the_cleaner_moved_is_found_with_and_without_a_checkpoint() {
    let (mut bench, expected) = cleaned();
    let mut inspected = inspect(&bench);
    assert_eq!((inspected.report().refusal.clone(), inspected.extract(shard(1))), (None, (expected.clone(), vec![])));
    let pieces = inspected.report().checkpoint.clone().unwrap().pieces;
    pieces[0].at.iter().for_each(|at| bench.disk.rot(at + 60, 1));
    let mut inspected = inspect(&bench);
    assert!(matches!(inspected.report().refusal, Some(OpenRefusal::CheckpointDamaged { .. })));
    assert_eq!(inspected.extract(shard(1)), (expected, vec![]));
}

#[test]
fn the_points_of_a_shard_are_made_up_for_by_what_headers_still_say() {
    let (good, states) = frozen(often());
    let pieces = inspect(&good).report().checkpoint.clone().unwrap().pieces;
    for lost in &pieces {
        let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
        lost.at.iter().for_each(|at| bench.disk.rot(at + 60, 1));
        let mut inspected = inspect(&bench);
        assert_eq!(inspected.report().end, LogEnd::NotFollowed);
        for (point, expected) in [Some(1), Some(2), None].into_iter().zip(&states) {
            assert_eq!(inspected.extract_at(shard(1), point), (expected.clone(), vec![]), "{lost:?} {point:?}");
        }
    }
}

/// The same as [`cleaned`] with points that are frozen, moved and dropped meanwhile; what each state then holds.
fn cleaned_with_points(seed: u64) -> (Bench, BTreeMap<Option<u64>, BTreeMap<u32, u64>>) {
    let mut bench = Bench::ready_with(40, Policy { checkpoint_every_segments: 2, ..Policy::default() });
    let mut rng = Rng::new(seed);
    let mut states = BTreeMap::from([(None, BTreeMap::new())]);
    bench.append(shard(1), register(shard(1), 1));
    for n in 1..=1500 {
        let block = rng.below(40) as u32 * 5;
        let record = match n {
            300 | 900 | 1400 => {
                states.insert(Some(n), states[&None].clone());
                freeze(n, n)
            }
            1000 => {
                states.remove(&Some(300));
                thaw(n, 300)
            }
            _ => {
                states.get_mut(&None).unwrap().insert(block, n);
                data(n, block, [n])
            }
        };
        bench.append(shard(1), record);
        bench.commit(shard(1), n);
        bench.settle();
    }
    assert!(bench.store.activity().moved_bytes > 0, "segments were cleaned");
    (bench, states)
}

#[test]
fn what_the_cleaner_moved_of_a_point_is_never_taken_for_what_is_there_now() {
    for seed in 0..8 {
        let (good, states) = cleaned_with_points(seed);
        let mut inspected = inspect(&good);
        assert_eq!(inspected.report().refusal, None);
        for (point, expected) in &states {
            assert_eq!(inspected.extract_at(shard(1), *point), (expected.clone(), vec![]), "{point:?}");
        }
        let pieces = inspected.report().checkpoint.clone().unwrap().pieces;
        for lost in &pieces {
            let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
            lost.at.iter().for_each(|at| bench.disk.rot(at + 60, 1));
            let mut inspected = inspect(&bench);
            let (mut now, bad) = inspected.extract(shard(1));
            // A piece that is lost may leave a place in memory that was written again since; that shows when it is read, and is said.
            let rotten = bad.into_iter().map(|(block, fault)| {
                assert_eq!(fault, None);
                (block, states[&None][&block])
            });
            now.extend(rotten);
            assert_eq!(&now, &states[&None], "seed {seed}");
        }
    }
}

#[test]
fn a_tail_that_was_cut_is_not_salvaged() {
    let (mut bench, mut expected) = filled(never());
    bench.append(shard(1), data(61, 1, [6100]));
    bench.append(shard(2), data(62, 100, [6200]));
    bench.step();
    let torn = bench::disk::written(&bench.disk.flying.remove(0));
    let mut bench = bench.reopened();
    for n in 61..=70 {
        bench.append(shard(1), data(n, 1, [n]));
        bench.settle();
        expected[0].insert(1, n);
    }
    // What was cut becomes whole, and the new run's second batch rots.
    bench.disk.media.extend(torn);
    let sound = inspect(&bench).report().clone();
    let second = sound.batches.iter().filter(|b| b.run == 2).nth(1).unwrap();
    bench.disk.rot(second.at, 0);
    let mut inspected = inspect(&bench);
    assert_eq!(inspected.report().salvage.as_ref().unwrap().lost, [(second.batch, second.batch)]);
    assert_eq!(inspected.extract(shard(1)), (expected[0].clone(), vec![]));
    assert_eq!(inspected.extract(shard(2)).0, expected[1]);
}

#[test]
fn batches_above_what_is_known_durable_are_salvaged_as_far_as_they_are_whole() {
    let (mut bench, mut expected) = filled(never());
    // Damage below, so that headers are gone by; and of three batches in flight the second is torn.
    let sound = inspect(&bench).report().clone();
    bench.disk.rot(at(&sound, 30), 0);
    for n in 61..=63 {
        bench.append(shard(1), data(n, 60 + n as u32, [n + 50_000]));
        bench.step();
    }
    while !bench.disk.flying.is_empty() {
        bench.perform(0);
    }
    let torn = bench.find_on_media(&pattern(50_062)).unwrap();
    bench.disk.rot(torn, 0);
    let mut inspected = inspect(&bench);
    let (found, _) = inspected.extract(shard(1));
    expected[0].insert(121, 50_061);
    let beyond =
        |tags: &BTreeMap<u32, u64>| tags.range(120..130).map(|(&block, &tag)| (block, tag)).collect::<Vec<_>>();
    assert_eq!(beyond(&found), tags([(121, 50_061)]).into_iter().collect::<Vec<_>>());
    // The same with the second one's header gone.
    bench.disk.rot(torn - 4096, 0);
    assert_eq!(beyond(&inspect(&bench).extract(shard(1)).0), [(121, 50_061)]);
    assert_eq!((PREFACE, SEGMENT), (bench.geometry.preface_bytes, bench.geometry.segment_bytes));
}

#[test]
fn whatever_is_damaged_nothing_comes_out_that_was_not_written_at_its_place() {
    let (filled, _) = filled(often());
    let (cleaned, _) = cleaned();
    for (bench, n) in [(filled, 1..=2), (cleaned, 1..=1)] {
        let used: Vec<u32> =
            bench.disk.media.iter().filter(|(_, b)| b.iter().any(|&x| x != 0)).map(|(&p, _)| p).collect();
        // Headers, pieces and superblocks, which are few, are hit as often as payloads.
        let is_payload = |place: &u32| bench.disk.media[place][..8] == bench.disk.media[place][8..16];
        let (payloads, rest): (Vec<u32>, Vec<u32>) = used.iter().partition(|place| is_payload(place));
        for seed in 0..150 {
            let mut rng = Rng::new(seed);
            let mut broken = Bench::on(bench.disk.clone(), bench.geometry, bench.policy);
            for _ in 0..rng.within(1, 12) {
                let from = if rng.chance(1, 2) { &payloads } else { &rest };
                let place = from[rng.below(from.len() as u64) as usize];
                match rng.below(3) {
                    0 => broken.disk.bad_places.push(place),
                    1 => _ = broken.disk.media.remove(&place),
                    _ => broken.disk.rot(u64::from(place) * 4096 + rng.below(300), 0),
                }
            }
            let mut inspected = inspect(&broken);
            let shards: Vec<ShardId> = inspected.report().shards.iter().map(|s| s.shard).collect();
            assert!(shards.iter().all(|s| n.clone().any(|n| shard(n) == *s)));
            for shard in shards {
                // `tag_of` itself requires that somebody wrote it, the checksum that it was there.
                inspected.extract(shard);
            }
        }
    }
}
