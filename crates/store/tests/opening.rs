//! What is opened and what is refused, and by which name: superblocks, torn tails, and rot.

mod bench;

use base::io::disk::{Fault, Op};
use base::{ClusterId, NodeId, Rng, StoreUuid, checksum};
use bench::disk::Disk;
use bench::model::pattern;
use bench::{Bench, IDENTITY, UUID, data, register, shard};
use store::{Blank, Geometry, Identity, OpenRefusal, Phase, Policy, Store};

/// The preface of the tests' geometry.
const PREFACE: u64 = 64 << 10;
const SEGMENT: u64 = 64 << 10;

fn open(disk: Disk, identity: Identity, geometry: Geometry, blank: Blank) -> (Phase, Disk) {
    let mut bench = Bench::on(disk, geometry, Policy::default());
    bench.store = Store::new(identity, geometry, blank, Policy::default());
    bench.settle();
    (bench.store.phase().clone(), bench.disk)
}

/// Opens a disk that must be refused, and requires that nothing on it was changed.
fn refusal(disk: &Disk, identity: Identity, geometry: Geometry, blank: Blank) -> OpenRefusal {
    let (phase, after) = open(disk.clone(), identity, geometry, blank);
    assert!(after.media == disk.media && after.cache == disk.cache, "a refused disk was changed");
    let Phase::Refused(refusal) = phase else { panic!("{phase:?} is not a refusal") };
    refusal
}

fn refused(bench: &Bench) -> OpenRefusal {
    refusal(&bench.disk, IDENTITY, bench.geometry, Blank::Refuse)
}

/// A store with some batches, each of one write of one block.
fn filled(writes: u64) -> Bench {
    let s = shard(1);
    let mut bench = Bench::ready(30);
    bench.append(s, register(s, 1));
    bench.settle();
    for n in 1..=writes {
        bench.append(s, data(n, n as u32, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    bench
}

/// Tags of the first blocks after opening the disk again.
fn reopened_tags(bench: Bench, count: u32) -> Vec<u64> {
    let mut again = bench.reopened();
    again.commit(shard(1), 99);
    again.tags(shard(1), 1, count)
}

/// Committed or not, what was written up to here is found.
fn ends_at(bench: Bench, end: u64) -> Bench {
    let mut again = bench.reopened();
    let recovered = again.recovered();
    assert_eq!(recovered.len(), 1);
    assert_eq!(recovered[0].end.sequence.0, end);
    again
}

#[test]
fn a_blank_disk_is_formatted_only_when_that_was_asked_for() {
    let geometry = Geometry::tiny(1 << 20);
    let blank = Disk::default();
    assert_eq!(refusal(&blank, IDENTITY, geometry, Blank::Refuse), OpenRefusal::Blank);
    let (phase, disk) = open(blank, IDENTITY, geometry, Blank::Format { uuid: UUID });
    assert_eq!(phase, Phase::Ready);
    // Another uuid is ignored: the disk has its own.
    let mut bench = Bench::on(disk, geometry, Policy::default());
    bench.store = Store::new(IDENTITY, geometry, Blank::Format { uuid: StoreUuid(99) }, Policy::default());
    assert_eq!(bench.store.uuid(), StoreUuid(0));
    bench.settle();
    assert_eq!((bench.store.phase(), bench.store.uuid()), (&Phase::Ready, UUID));
}

#[test]
fn a_disk_too_small_for_the_reserve_is_not_formatted() {
    let geometry = Geometry::tiny(PREFACE + 3 * SEGMENT);
    let found = refusal(&Disk::default(), IDENTITY, geometry, Blank::Format { uuid: UUID });
    let (capacity_bytes, least_bytes) = (geometry.capacity_bytes, PREFACE + 4 * SEGMENT);
    assert_eq!(found, OpenRefusal::TooSmall { capacity_bytes, least_bytes });
    let enough = Geometry::tiny(least_bytes);
    assert_eq!(open(Disk::default(), IDENTITY, enough, Blank::Format { uuid: UUID }).0, Phase::Ready);
}

#[test]
fn a_disk_of_another_node_cluster_or_size_is_refused() {
    let bench = filled(1);
    let node = Identity { node: NodeId(2), ..IDENTITY };
    let found = refusal(&bench.disk, node, bench.geometry, Blank::Format { uuid: UUID });
    assert_eq!(found, OpenRefusal::OtherNode { found: NodeId(1), expected: NodeId(2) });
    let cluster = Identity { cluster: ClusterId(5), ..IDENTITY };
    let found = refusal(&bench.disk, cluster, bench.geometry, Blank::Refuse);
    assert_eq!(found, OpenRefusal::OtherCluster { found: IDENTITY.cluster, expected: ClusterId(5) });
    let formatted_bytes = bench.geometry.capacity_bytes;
    let smaller = Geometry { capacity_bytes: formatted_bytes - 1, ..bench.geometry };
    let found = refusal(&bench.disk, IDENTITY, smaller, Blank::Refuse);
    assert_eq!(found, OpenRefusal::Shrunk { formatted_bytes, capacity_bytes: formatted_bytes - 1 });
}

#[test]
fn one_damaged_superblock_is_no_matter_and_two_are() {
    for place in [0, 1] {
        let mut bench = filled(3);
        bench.disk.rot(place * 4096 + 100, 3);
        assert_eq!(reopened_tags(bench, 4), [1, 2, 3, 0]);
    }
    let mut bench = filled(3);
    bench.disk.rot(100, 3);
    bench.disk.rot(4096 + 100, 3);
    assert_eq!(refused(&bench), OpenRefusal::SuperblocksDamaged);
    let mut foreign = Disk::default();
    foreign.media.insert(0, vec![0xef; 4096]);
    let found = refusal(&foreign, IDENTITY, bench.geometry, Blank::Format { uuid: UUID });
    assert_eq!(found, OpenRefusal::SuperblocksDamaged);
}

#[test]
fn a_superblock_of_a_newer_version_is_refused_by_its_version() {
    for place in [0u32, 1] {
        let mut bench = filled(1);
        let block = bench.disk.media.get_mut(&place).unwrap();
        block[8] = 2;
        block[12..16].fill(0);
        let crc = checksum::crc32c(block);
        block[12..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(refused(&bench), OpenRefusal::NewerFormat { found: 2, known: 1 });
    }
}

#[test]
fn an_unreadable_disk_is_refused_where_it_matters_and_only_there() {
    let mut bench = filled(3);
    bench.disk.bad_places = vec![0];
    bench = bench.reopened();
    bench.disk.bad_places = vec![0, 1];
    assert_eq!(refused(&bench), OpenRefusal::Unreadable { at: 0, fault: Fault::Os(5) });
    // A segment that was never used.
    let place = |segment: u64, block: u64| ((PREFACE + segment * SEGMENT) / 4096 + block) as u32;
    bench.disk.bad_places = vec![place(29, 0)];
    assert_eq!(open(bench.disk.clone(), IDENTITY, bench.geometry, Blank::Refuse).0, Phase::Ready);
    // One that is free, behind the log.
    bench.disk.bad_places = vec![place(1, 5)];
    assert_eq!(open(bench.disk.clone(), IDENTITY, bench.geometry, Blank::Refuse).0, Phase::Ready);
    for bad in [place(0, 0), place(0, 3)] {
        bench.disk.bad_places = vec![bad];
        let found = refused(&bench);
        assert!(matches!(found, OpenRefusal::Unreadable { fault: Fault::Os(5), .. }), "{bad}: {found:?}");
    }
    bench.disk.bad_places.clear();
    bench.disk.reads_short = true;
    assert_eq!(refused(&bench), OpenRefusal::Unreadable { at: 0, fault: Fault::Short });
}

#[test]
fn every_refusal_says_what_where_and_what_to_do() {
    let all = [
        (OpenRefusal::Blank, "allow it to be formatted"),
        (OpenRefusal::TooSmall { capacity_bytes: 1, least_bytes: 2 }, "a larger file or device"),
        (OpenRefusal::NewerFormat { found: 2, known: 1 }, "version 2"),
        (OpenRefusal::OtherNode { found: NodeId(3), expected: NodeId(4) }, "belongs to node-3 and not to node-4"),
        (OpenRefusal::OtherCluster { found: ClusterId(3), expected: ClusterId(4) }, "correct the path"),
        (OpenRefusal::SuperblocksDamaged, "bytes 0 and 4096"),
        (OpenRefusal::Shrunk { formatted_bytes: 8, capacity_bytes: 4 }, "its full size"),
        (OpenRefusal::Unreadable { at: 77, fault: Fault::Os(5) }, "byte 77"),
        (OpenRefusal::CheckpointDamaged { at: [4096, 8192] }, "both of its copies (bytes 4096 and 8192)"),
    ];
    for (refusal, part) in all {
        let text = refusal.to_string();
        assert!(text.contains(part) && text.contains("; "), "{text}");
    }
}

#[test]
fn a_torn_tail_is_cut_and_the_log_goes_on_after_it() {
    let s = shard(1);
    let mut bench = filled(5);
    bench.append(s, data(6, 6, [6, 6, 6]));
    bench.step();
    let torn = bench.writes()[0];
    // The header is whole, the payload is not: only its checksums tell.
    let flying = bench::disk::written(&bench.disk.flying.remove(0));
    for (place, bytes) in &flying[..3] {
        bench.disk.media.insert(*place, bytes.clone());
    }
    let mut bench = ends_at(bench, 5);
    bench.append(s, data(6, 6, [60]));
    bench.step();
    assert!(bench.writes()[0] >= PREFACE + SEGMENT && torn < PREFACE + SEGMENT, "goes on in a fresh segment");
    bench.settle();
    // The torn one becomes whole, as if a lost sector had come back: it stays cut.
    bench.disk.media.extend(flying);
    let mut bench = ends_at(bench, 6);
    bench.commit(s, 6);
    assert_eq!(bench.tags(s, 1, 7), [1, 2, 3, 4, 5, 60, 0]);
}

#[test]
fn a_batch_that_was_written_before_a_torn_one_is_cut_with_it() {
    let s = shard(1);
    let mut bench = filled(5);
    for n in 6..=8 {
        bench.append(s, data(n, n as u32, [n]));
        bench.step();
    }
    // The third is done, the second torn, the first done.
    bench.perform(2);
    bench.perform(0);
    bench.step();
    assert_eq!(bench.durable(s), 7, "the register and six writes");
    let mut bench = ends_at(bench, 6);
    bench.append(s, data(7, 7, [70]));
    bench.settle();
    let mut bench = ends_at(bench, 7);
    bench.commit(s, 7);
    assert_eq!(bench.tags(s, 5, 5), [5, 6, 70, 0, 0]);
}

#[test]
fn repeated_crashes_that_each_leave_a_torn_tail_lose_nothing() {
    let s = shard(1);
    let mut bench = filled(2);
    for round in 3..12 {
        bench.append(s, data(round, round as u32, [round]));
        bench.settle();
        for n in 1..=3 {
            bench.append(s, data(round + n, 50, [1000 + round]));
            bench.step();
        }
        // Of the three in flight the first is lost, the others are whole.
        bench.perform(2);
        bench.perform(1);
        bench = ends_at(bench, round);
        // And recovery itself is cut short, at its first write.
        let mut again = bench.reopen();
        let mark = |op: &Op| matches!(op, Op::Write { .. });
        while !again.disk.flying.iter().any(mark) {
            again.step();
            if !again.disk.flying.iter().any(mark) {
                again.perform(0);
            }
        }
        again.disk.lose_power(&mut Rng::new(round));
        bench = ends_at(again, round);
    }
    bench.commit(s, 99);
    assert_eq!(bench.tags(s, 1, 12), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0]);
}

#[test]
fn what_recovery_found_in_a_dead_process_s_cache_is_made_durable_before_it_counts() {
    let s = shard(1);
    let mut bench = filled(2);
    bench.append(s, data(3, 3, [3]));
    bench.step();
    let batch = bench::disk::written(&bench.disk.flying.remove(0));
    bench.disk.cache.extend(batch);
    let mut bench = ends_at(bench, 3);
    bench.disk.lose_power(&mut Rng::new(1));
    assert!(bench.disk.cache.is_empty());
    ends_at(bench, 3);
}

#[test]
fn a_disk_that_takes_no_writes_is_opened_for_rescue() {
    let mut bench = filled(3);
    bench.disk.refuses_writes = true;
    let mut bench = bench.reopen();
    bench.settle();
    assert_eq!(*bench.store.phase(), Phase::Poisoned(Fault::Os(5)));
    assert_eq!(bench.recovered().len(), 1);
    assert_eq!(bench.tags(shard(1), 1, 3), [1, 2, 0], "the third is in the window: its commit was not carried");
    bench.commit(shard(1), 3);
    assert_eq!(bench.tags(shard(1), 1, 3), [1, 2, 3]);
    let mut blank = Bench::on(Disk { refuses_writes: true, ..Disk::default() }, bench.geometry, bench.policy);
    blank.settle();
    assert_eq!(*blank.store.phase(), Phase::Poisoned(Fault::Os(5)));
}

#[test]
fn formatting_cut_short_leaves_a_disk_that_can_be_formatted() {
    for seed in 0..40 {
        for performed in 0..6 {
            let mut bench = Bench::on(Disk::default(), Geometry::tiny(1 << 20), Policy::default());
            bench.step();
            for _ in 0..performed.min(4) {
                if !bench.disk.flying.is_empty() {
                    bench.perform(0);
                    bench.step();
                }
            }
            bench.disk.lose_power(&mut Rng::new(seed));
            bench.reopened();
        }
    }
}

/// Where each batch of one block begins: the register's, then one for each write.
fn batch_at(n: u64) -> u64 {
    // The first batch is a header alone; segments take eight of the others, less what the first leaves them.
    if n == 0 {
        return PREFACE;
    }
    let (before, per_segment) = (7, 8);
    if n <= before {
        PREFACE + 4096 + (n - 1) * 8192
    } else {
        let n = n - before - 1;
        PREFACE + SEGMENT * (1 + n / per_segment) + n % per_segment * 8192
    }
}

/// Opens a store that lost one batch: that is told, its shard is suspect, and what comes after it is there all the same.
fn is_suspect(mut bench: Bench, lost: u64, at: u64) -> Bench {
    bench.settle();
    assert_eq!(*bench.store.phase(), Phase::Ready);
    let segment = ((at - PREFACE) / SEGMENT) as u32;
    assert_eq!(bench.store.damage(), Some(store::Damage { batch: lost, segment, at }));
    let recovered = bench.store.recovered();
    // The first batch held the register, without which nobody knows of the shard.
    assert_eq!(recovered.iter().map(|r| r.suspect).collect::<Vec<_>>(), if lost == 1 { vec![] } else { vec![true] });
    bench
}

#[test]
fn a_rotten_header_below_what_was_durable_makes_its_shard_suspect_and_is_never_cut_silently() {
    let writes = 20;
    let good = filled(writes);
    // Batch n + 1 holds write n; that batch k was durable is told by all headers from k + 1 on.
    for n in 0..writes {
        let at = batch_at(n);
        for bit in [(at + 50, 0), (at + 130, 7), (at + 4095, 1)] {
            let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
            bench.disk.rot(bit.0, bit.1);
            let mut bench = is_suspect(bench.reopen(), n + 1, at);
            // All others are there, whether they came before it or after.
            bench.commit(shard(1), writes);
            for other in (1..writes).filter(|w| *w != n) {
                assert_eq!(bench.tags(shard(1), other as u32, 1), [other], "write {n} bit {bit:?}");
            }
        }
    }
    // The last one: nobody knows that it was durable, so it looks like a torn tail.
    let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
    bench.disk.rot(batch_at(writes) + 50, 0);
    ends_at(bench, writes - 1);
}

#[test]
fn a_tail_that_was_cut_does_not_take_the_place_of_a_run_whose_first_header_rots() {
    let s = shard(1);
    // Writes in each run: the first run ends with a torn batch and whole ones after it, the second begins where that was cut.
    for (whole_after, second) in [(0, 2), (1, 2), (2, 2), (2, 3), (3, 5), (3, 9)] {
        for rot in [50, 3000] {
            let mut bench = filled(3);
            for n in 0..=whole_after {
                bench.append(s, data(4 + n, 4, [40 + n]));
                bench.step();
            }
            // Of the torn one the header is whole, so that the chain could go on through it.
            let torn = bench::disk::written(&bench.disk.flying.remove(0));
            bench.disk.media.insert(torn[0].0, torn[0].1.clone());
            (0..whole_after).for_each(|_| bench.perform(0));
            let mut bench = ends_at(bench, 3);
            for n in 0..second {
                bench.append(s, data(4 + n, 4, [400 + n]));
                bench.settle();
            }
            assert_eq!(bench.durable(s), second);
            let at = PREFACE + SEGMENT;
            bench.disk.rot(at + rot, 1);
            let mut bench = is_suspect(bench.reopen(), 5, at);
            // What was cut does not come back; what the second run wrote behind its lost batch does.
            bench.commit(s, 99);
            let tags = bench.tags(s, 4, 1)[0];
            assert!(!(40..50).contains(&tags), "{whole_after} {second}: {tags}");
            assert_eq!(tags, 400 + second - 1, "{whole_after} {second}");
        }
    }
}

#[test]
fn a_tail_that_was_cut_stays_cut_though_it_became_whole_and_the_next_run_began_with_a_torn_batch() {
    let s = shard(1);
    // Of the next run nothing remains, or all but its first batch.
    for remains in [false, true] {
        let mut bench = filled(3);
        bench.append(s, data(4, 4, [40]));
        bench.step();
        let torn = bench::disk::written(&bench.disk.flying.remove(0));
        let mut bench = ends_at(bench, 3);
        for (n, tag) in [(4, 400), (5, 500)] {
            bench.append(s, data(n, n as u32, [tag]));
            bench.step();
        }
        let second = bench.disk.flying.iter().rposition(|op| matches!(op, Op::Write { .. })).unwrap();
        if remains {
            bench.perform(second);
        }
        bench.disk.flying.clear();
        bench.disk.media.extend(torn);
        let mut bench = ends_at(bench, 3);
        bench.append(s, data(4, 4, [4000]));
        bench.settle();
        ends_at(bench, 4);
    }
}

#[test]
fn a_header_that_was_lost_altogether_is_missed() {
    let good = filled(20);
    for n in 0..20 {
        let mut bench = Bench::on(good.disk.clone(), good.geometry, good.policy);
        bench.disk.media.remove(&((batch_at(n) / 4096) as u32));
        let bench = bench.reopened();
        assert_eq!(bench.store.damage().map(|damage| damage.batch), Some(n + 1), "write {n}");
    }
}

#[test]
fn a_rotten_payload_below_what_was_durable_is_found_by_the_read_and_hurts_nothing_else() {
    let mut bench = filled(20);
    let at = bench.find_on_media(&pattern(4)).unwrap();
    bench.disk.rot(at + 77, 2);
    let mut bench = ends_at(bench, 20);
    assert_eq!(bench.tags(shard(1), 1, 3), [1, 2, 3]);
    assert_eq!(bench.tags(shard(1), 5, 15), (5..20).collect::<Vec<u64>>());
    assert!(bench.read(shard(1), 1, 8).is_err());
}

#[test]
fn a_misdirected_batch_is_missed_where_it_should_be() {
    let mut bench = filled(6);
    let from = (batch_at(4) / 4096) as u32;
    let to = ((PREFACE + 9 * SEGMENT) / 4096) as u32;
    for i in 0..2 {
        let block = bench.disk.media.remove(&(from + i)).unwrap();
        bench.disk.media.insert(to + i, block);
    }
    is_suspect(bench.reopen(), 5, batch_at(4));
}

#[test]
fn a_rotten_payload_that_only_a_batch_behind_the_tear_knows_durable_is_not_cut() {
    let s = shard(1);
    let mut bench = filled(4);
    for n in 5..=6 {
        bench.append(s, data(n, n as u32, [n]));
        bench.step();
    }
    // The first is lost, the second is whole and says that all before them was durable.
    let second = bench.disk.flying.iter().rposition(|op| matches!(op, Op::Write { .. })).unwrap();
    bench.perform(second);
    let at = bench.find_on_media(&pattern(4)).unwrap();
    bench.disk.rot(at, 0);
    let mut bench = ends_at(bench, 4);
    bench.commit(s, 4);
    assert_eq!(bench.tags(s, 1, 3), [1, 2, 3]);
    let fault = bench.read(s, 4, 1).unwrap_err();
    assert!(matches!(&fault, base::log::ReadFault { rotten } if rotten[0].block == 4), "{fault:?}");
}

#[test]
fn what_recovery_reads_of_the_log_is_bounded_by_checkpoints_however_long_it_is() {
    let s = shard(1);
    let policy = Policy { checkpoint_every_segments: 3, ..Policy::default() };
    let mut bench = Bench::ready_with(60, policy);
    bench.append(s, register(s, 1));
    let mut read = Vec::new();
    for n in 1..=600 {
        bench.append(s, data(n, n as u32 % 100, [n]));
        bench.commit(s, n);
        bench.settle();
        if n % 100 == 0 {
            bench = bench.reopened();
            read.push(bench.store.recovery().log_bytes);
        }
    }
    // The segments between two checkpoints, and the one that was being written.
    assert!(read.iter().all(|&bytes| (4096..=4 * SEGMENT).contains(&bytes)), "{read:?}");
    let all = bench.store.recovery();
    assert!(all.read_bytes > all.log_bytes + 2 * 4096, "{all:?}");
}
