//! Reads that the disk fails: only the blocks that are bad by themselves are rotten, they are mended like those whose bytes are wrong, and a disk that
//! reads nothing any more is given up.

mod bench;

use base::io::disk::{Fault, Op};
use base::log::{Event, ReadFault, Record, Rot};
use base::time::Duration;
use base::{Payload, checksum};
use bench::model::{pattern, tag_of};
use bench::{Bench, blocks, copy, data, register, shard, stamp};
use store::{OpenRefusal, Phase, Policy};

const EIO: Fault = Fault::Os(5);

fn raw() -> Policy {
    Policy { preallocated: true, ..Policy::default() }
}

/// A store with blocks 0 to 9 of a shard, tags 1 to 10, side by side.
fn ten() -> Bench {
    let mut bench = Bench::ready_with(20, raw());
    bench.append(shard(1), register(shard(1), 1));
    bench.append(shard(1), copy(0, 1..=10));
    bench.settle();
    bench
}

/// The disk fails to read the block with this tag from now on: how that is to be said.
fn break_one(bench: &mut Bench, block: u32, tag: u64) -> Rot {
    let place = (bench.find_on_media(&pattern(tag)).expect("it is on the disk") / 4096) as u32;
    bench.disk.bad_places.push(place);
    Rot { block, crc: checksum::block(shard(1), block, &pattern(tag)), place }
}

/// Lengths in blocks of the reads in flight.
fn asked(bench: &Bench) -> Vec<u32> {
    let len = |op: &Op| if let Op::Read { len, .. } = op { Some(len / 4096) } else { None };
    bench.disk.flying.iter().filter_map(len).collect()
}

fn corrupt(bench: &Bench) -> Vec<Rot> {
    let rot = |event: &Event| if let Event::Corrupt { rot, .. } = event { Some(*rot) } else { None };
    bench.events.iter().filter_map(rot).collect()
}

#[test]
fn of_a_large_read_that_fails_only_the_bad_blocks_are_rotten_and_they_are_mended_elsewhere() {
    let s = shard(1);
    let mut bench = ten();
    let bad = vec![break_one(&mut bench, 3, 4), break_one(&mut bench, 7, 8)];
    let ticket = bench.ask_read(s, 0, 10);
    bench.step();
    assert_eq!(asked(&bench), [10]);
    bench.perform(0);
    bench.step();
    assert_eq!(asked(&bench), [1; 10], "each by itself");
    bench.settle();
    assert_eq!(bench.answered(ticket), Some(Err(ReadFault { rotten: bad.clone() })));
    assert_eq!(bench.store.reads_failed(), 3);
    for (rot, tag) in bad.iter().zip([4, 8]) {
        bench.append(s, Record::Mend { block: rot.block, place: rot.place, data: blocks([tag]) });
    }
    bench.settle();
    // The bad places are as bad as before, and nobody reads them.
    assert_eq!(bench.tags(s, 0, 10), (1..=10).collect::<Vec<u64>>());
    assert_eq!(bench.store.reads_failed(), 3);
}

#[test]
fn what_failed_in_large_and_is_read_block_by_block_is_answered_as_if_nothing_had_been() {
    let s = shard(1);
    let mut bench = ten();
    // In the middle of the run, so that some of it is of one extent and some of another.
    bench.append(s, copy(5, [16]));
    bench.settle();
    for what in 0..2 {
        break_one(&mut bench, 1, 2);
        let ticket = if what == 0 { bench.ask_read(s, 0, 10) } else { bench.ask_extents(s, 0, 10) };
        bench.step();
        bench.perform(0);
        bench.disk.bad_places.clear();
        bench.settle();
        let parts = match bench.answer(ticket) {
            Some(Event::Blocks { parts, .. }) => parts.unwrap(),
            Some(Event::Extents { extents, .. }) => extents.unwrap().into_iter().filter_map(|e| e.data).collect(),
            other => panic!("{other:?}"),
        };
        let tags = parts.iter().flat_map(|part: &Payload| part.chunks(4096).map(tag_of).collect::<Vec<_>>());
        assert_eq!(tags.collect::<Vec<_>>(), [1, 2, 3, 4, 5, 16, 7, 8, 9, 10]);
    }
    assert_eq!(bench.store.reads_failed(), 2);
}

#[test]
fn bad_bytes_and_bad_reads_are_told_together() {
    let s = shard(1);
    let mut bench = ten();
    let wrong = bench.rot(s, 2, 3);
    let bad = break_one(&mut bench, 6, 7);
    assert_eq!(bench.read(s, 0, 10), Err(ReadFault { rotten: vec![wrong, bad] }));
    assert_eq!(bench.extents(s, 4, 6).unwrap_err(), ReadFault { rotten: vec![bad] });
    assert_eq!(bench.tags(s, 3, 3), [4, 5, 6], "what is beside them is not touched");
}

#[test]
fn a_read_that_is_cut_short_is_one_that_failed() {
    let s = shard(1);
    let mut bench = ten();
    bench.disk.reads_short = true;
    let Err(ReadFault { rotten }) = bench.read(s, 0, 3) else { panic!("nothing was read") };
    assert_eq!(rotten.iter().map(|rot| rot.block).collect::<Vec<_>>(), [0, 1, 2]);
    bench.disk.reads_short = false;
    assert_eq!(bench.tags(s, 0, 3), [1, 2, 3]);
}

#[test]
fn entries_of_the_window_that_cannot_be_read_are_mended_where_they_are() {
    let s = shard(1);
    let mut bench = ten();
    bench.append(s, data(1, 20, [21, 22, 23]));
    bench.settle();
    let bad = break_one(&mut bench, 21, 22);
    assert_eq!(bench.window(s, 0).unwrap_err(), ReadFault { rotten: vec![bad] });
    bench.append(s, Record::Mend { block: 21, place: bad.place, data: blocks([22]) });
    let entries = bench.window(s, 0).unwrap();
    assert_eq!((entries[0].stamp, entries[0].data.as_deref()), (stamp(1, 1), Some(&blocks([21, 22, 23])[..])));
}

#[test]
fn a_peer_is_told_that_a_block_cannot_be_read_here_either_and_given_another_copy_of_it() {
    let s = shard(1);
    let mut bench = ten();
    let bad = break_one(&mut bench, 0, 1);
    let ticket = bench.ask_matching(s, 0, bad.crc);
    bench.settle();
    let answer = bench.answer(ticket);
    let Some(Event::Matching { data: None, rotten, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!(rotten, [bad]);
    // The same bytes once more, in the window.
    bench.append(s, data(1, 0, [1]));
    bench.settle();
    assert_eq!(bench.matching(s, 0, 1), Some(1));
}

#[test]
fn whatever_block_of_the_log_cannot_be_read_a_store_opens_whole_or_not_at_all() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { checkpoint_every_segments: u32::MAX, ..raw() });
    bench.append(s, register(s, 1));
    for n in 1..=80 {
        bench.append(s, data(n, n as u32, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    let places: Vec<u32> = bench.disk.media.keys().copied().filter(|place| *place > 1).collect();
    let (mut opened, mut refused) = (0, 0);
    for bad in places {
        let mut bench = Bench::on(bench.disk.clone(), bench.geometry, bench.policy);
        bench.disk.bad_places = vec![bad];
        bench.settle();
        match bench.store.phase() {
            Phase::Refused(OpenRefusal::Unreadable { at, fault: EIO }) => {
                assert_eq!(*at, u64::from(bad) * 4096, "it is named");
                refused += 1;
            }
            Phase::Ready => {
                let [found] = &bench.recovered()[..] else { panic!("one shard") };
                assert_eq!((found.end, found.suspect), (stamp(1, 80), false), "block {bad} of the disk");
                bench.commit(s, 80);
                for n in 1..=80 {
                    match bench.read(s, n as u32, 1) {
                        Ok(bytes) => assert_eq!(tag_of(&bytes), n),
                        Err(ReadFault { rotten }) => assert_eq!((rotten[0].block, rotten[0].place), (n as u32, bad)),
                    }
                }
                opened += 1;
            }
            other => panic!("block {bad} of the disk: {other:?}"),
        }
    }
    // The payloads of all batches that a later header proves durable; of the others, and of headers, nobody could tell.
    assert!(opened >= 79 && refused >= 80, "{opened} opened, {refused} refused");
}

#[test]
fn a_bad_spot_in_what_is_free_behind_the_log_makes_shards_suspect_and_refuses_nothing() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, register(s, 1));
    for n in 1..=3 {
        bench.append(s, data(n, n as u32, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    let end = bench.disk.media.keys().copied().max().unwrap() + 1;
    for (behind, refuses) in [(0, true), (1, false), (5, false)] {
        let mut bench = Bench::on(bench.disk.clone(), bench.geometry, bench.policy);
        bench.disk.bad_places = vec![end + behind];
        bench.settle();
        if refuses {
            // There the next batch would begin.
            let refusal = OpenRefusal::Unreadable { at: u64::from(end) * 4096, fault: EIO };
            assert_eq!(*bench.store.phase(), Phase::Refused(refusal));
            continue;
        }
        assert_eq!(*bench.store.phase(), Phase::Ready);
        let [found] = &bench.recovered()[..] else { panic!("one shard") };
        assert!(found.suspect && found.end == stamp(1, 3), "{found:?}");
    }
}

#[test]
fn a_bad_spot_behind_where_a_log_once_ended_refuses_nothing_later_and_who_did_not_say_that_he_knows_is_suspect_again() {
    bench::left_behind::go_through(raw());
}

#[test]
fn a_read_that_fails_once_while_a_store_is_opened_costs_nothing() {
    bench::left_behind::fails_once(raw());
}

#[test]
fn a_bad_spot_in_the_header_that_comes_next_is_not_taken_for_free_space() {
    let mut bench = Bench::ready_with(20, raw());
    let first = shard(1);
    bench.append(first, register(first, 1));
    bench.append(first, data(1, 1, [1]));
    bench.settle();
    let end = bench.disk.media.keys().copied().max().unwrap() + 1;
    // Many shards are made at once: their batch is all header. Who took its second block for free space would not know of one of them.
    for n in 2..=400 {
        bench.append(shard(n), register(shard(n), 1));
    }
    bench.settle();
    let last = bench.disk.media.keys().copied().max().unwrap();
    assert!(last > end, "a header of several blocks");
    for bad in end..=last {
        let mut bench = Bench::on(bench.disk.clone(), bench.geometry, bench.policy);
        bench.disk.bad_places = vec![bad];
        bench.settle();
        let refusal = OpenRefusal::Unreadable { at: u64::from(bad) * 4096, fault: EIO };
        assert_eq!(*bench.store.phase(), Phase::Refused(refusal), "{bad} of {end}..={last}");
    }
}

#[test]
fn opening_gives_a_disk_up_that_reads_nothing_of_the_log() {
    let mut bench = Bench::ready_with(20, Policy { reads_failed_max: 4, ..raw() });
    bench.append(shard(1), register(shard(1), 1));
    bench.append(shard(1), copy(0, 1..=10));
    bench.settle();
    let first = (bench.find_on_media(&pattern(1)).unwrap() / 4096) as u32;
    bench.disk.bad_places = (first..first + 8).collect();
    let mut bench = bench.reopen();
    let mut reads = 0;
    while !matches!(bench.store.phase(), Phase::Refused(_)) {
        bench.step();
        let failed = bench.disk.flying.len();
        (0..failed).for_each(|_| bench.perform(0));
        reads += asked(&bench).len() + failed;
    }
    let refusal = OpenRefusal::Unreadable { at: u64::from(first) * 4096, fault: EIO };
    assert_eq!(*bench.store.phase(), Phase::Refused(refusal));
    // Two superblocks, the first blocks of twenty segments, the log in large, its header, and four blocks.
    assert!(reads <= 2 + 20 + 1 + 1 + 4, "{reads}");
}

/// A store with a checkpoint and forty blocks, which is scrubbed.
fn scrubbed() -> Bench {
    let scrub_period = Duration::from_secs(1000);
    let policy = Policy { scrub_period, checkpoint_every_segments: 2, ..Policy::default() };
    let mut bench = Bench::ready_with(64, policy);
    bench.append(shard(1), register(shard(1), 1));
    for n in 1..=40 {
        bench.append(shard(1), data(n, n as u32, [n]));
        bench.commit(shard(1), n);
        bench.settle();
    }
    assert!(bench.store.activity().checkpoint_bytes > 0);
    bench
}

/// Lets time pass until the scrub has ended another pass.
fn pass(bench: &mut Bench) {
    let before = bench.store.scrubbed().finished;
    for _ in 0..1000 {
        bench.settle();
        if bench.store.scrubbed().finished != before {
            return;
        }
        bench.now = bench.store.deadline().expect("it wants to go on");
    }
    panic!("a pass never ends");
}

#[test]
fn the_scrub_reports_the_blocks_that_cannot_be_read_and_no_others() {
    let mut bench = scrubbed();
    let bad = break_one(&mut bench, 3, 3);
    // A header that cannot be read hides nothing.
    bench.disk.bad_places.push((bench.find_on_media(&pattern(9)).unwrap() / 4096) as u32 - 1);
    pass(&mut bench);
    assert_eq!(corrupt(&bench), [bad]);
    bench.append(shard(1), Record::Mend { block: 3, place: bad.place, data: blocks([3]) });
    bench.settle();
    bench.events.clear();
    pass(&mut bench);
    assert!(corrupt(&bench).is_empty());
}

#[test]
fn superblocks_and_pieces_of_checkpoints_that_cannot_be_read_are_written_again() {
    for superblock in [0, 1] {
        let mut bench = scrubbed();
        bench.disk.bad_places = vec![superblock];
        pass(&mut bench);
        assert_eq!(bench.store.scrubbed().rewritten, 1);
    }
    let mut bench = scrubbed();
    let is_piece = |block: &[u8]| block.starts_with(b"SWCHECK\x01");
    bench.disk.bad_places = bench.disk.media.iter().filter(|(_, block)| is_piece(block)).map(|(&p, _)| p).collect();
    assert!(bench.disk.bad_places.len() >= 4);
    pass(&mut bench);
    assert!(bench.store.scrubbed().rewritten >= 2);
    let mut bench = bench.reopened();
    bench.commit(shard(1), 40);
    assert_eq!(bench.tags(shard(1), 1, 40), (1..=40).collect::<Vec<u64>>());
}

#[test]
fn what_the_cleaner_cannot_read_it_reports_and_leaves_where_it_is() {
    let mut bench = Bench::ready_with(64, Policy { checkpoint_every_segments: 2, ..raw() });
    let s = shard(1);
    bench.append(s, register(s, 1));
    // A block that stays, in a segment of others that do not, on a store that is nearly full.
    let full = bench.store.space().capacity_bytes / 4096 - 8;
    for n in 1..=full {
        bench.append(s, data(n, n as u32 - 1, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    let bad = break_one(&mut bench, 0, 1);
    for n in full + 1..4 * full {
        bench.append(s, data(n, 1 + (n * 7 % (full - 1)) as u32, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    assert!(corrupt(&bench).contains(&bad));
    assert_eq!(bench.read(s, 0, 1), Err(ReadFault { rotten: vec![bad] }));
    bench.append(s, Record::Mend { block: 0, place: bad.place, data: blocks([1]) });
    assert_eq!(bench.tags(s, 0, 1), [1]);
}

#[test]
fn a_disk_that_reads_nothing_any_more_is_given_up_and_one_with_many_bad_spots_is_not() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { reads_failed_max: 12, ..raw() });
    bench.append(s, register(s, 1));
    for n in 0..4 {
        bench.append(s, copy(n * 10, u64::from(n) * 10 + 1..=u64::from(n) * 10 + 10));
    }
    bench.settle();
    // Every other block is bad, again and again: none of it is a row.
    for tag in (2..=40).step_by(2) {
        break_one(&mut bench, tag as u32 - 1, tag);
    }
    for _ in 0..3 {
        let Err(ReadFault { rotten }) = bench.read(s, 0, 40) else { panic!("half of it is bad") };
        assert_eq!(rotten.len(), 20);
    }
    assert_eq!(*bench.store.phase(), Phase::Ready);
    let durable = bench.append(s, copy(50, [50]));
    bench.settle();
    // From here on all of it.
    for tag in (1..=40).step_by(2) {
        break_one(&mut bench, tag as u32 - 1, tag);
    }
    let Err(ReadFault { rotten }) = bench.read(s, 0, 40) else { panic!("all of it is bad") };
    assert_eq!(rotten.len(), 40, "who asked is answered");
    assert_eq!(*bench.store.phase(), Phase::Unreadable(EIO));
    // As when a write had failed: nothing is appended, and reads go on for rescue.
    bench.append(s, copy(60, [60]));
    bench.settle();
    assert_eq!((bench.durable(s), bench.tags(s, 50, 1)), (durable, vec![50]));
    assert_eq!((bench.tags(s, 60, 1), bench.store.space().room_bytes), (vec![0], 0));
    // Nor does a write that fails now make anything else of it.
    assert_eq!(*bench.store.phase(), Phase::Unreadable(EIO));
}

#[test]
fn what_was_in_flight_when_the_disk_was_given_up_is_not_declared_durable() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { reads_failed_max: 1, ..raw() });
    bench.append(s, copy(0, [1]));
    bench.settle();
    break_one(&mut bench, 0, 1);
    let durable = bench.durable(s);
    bench.ask_read(s, 0, 1);
    bench.append(s, copy(1, [2]));
    bench.step();
    let is_read = |op: &Op| matches!(op, Op::Read { .. });
    let read = bench.disk.flying.iter().position(is_read).expect("the read is in flight");
    bench.perform(read);
    bench.disk.refuses_writes = true;
    bench.settle();
    assert_eq!(*bench.store.phase(), Phase::Unreadable(EIO), "the first failure is the one that is told");
    assert_eq!(bench.durable(s), durable);
}
