//! What nobody reads is read all the same, once in a period: rot in it is reported, and what is rotten of checkpoints and superblocks is written again.

mod bench;

use base::Time;
use base::log::{Event, Record, Rot};
use base::time::Duration;
use bench::model::pattern;
use bench::{Bench, blocks, data, register, shard};
use store::{Phase, Policy};

const PERIOD: Duration = Duration::from_secs(1000);

/// A store with a checkpoint and forty blocks.
fn filled() -> Bench {
    let policy = Policy { scrub_period: PERIOD, checkpoint_every_segments: 2, ..Policy::default() };
    let mut bench = Bench::ready_with(64, policy);
    let s = shard(1);
    bench.append(s, register(s, 1));
    for n in 1..=40 {
        bench.append(s, data(n, n as u32, [n]));
        bench.commit(s, n);
        bench.settle();
    }
    assert!(bench.store.activity().checkpoint_bytes > 0);
    bench
}

/// Lets time pass until the scrub has ended another pass; it is told when to step.
fn pass(bench: &mut Bench) -> Duration {
    let (before, begun) = (bench.store.scrubbed().finished, bench.now);
    for _ in 0..1000 {
        bench.settle();
        if bench.store.scrubbed().finished != before {
            return bench.now.since(begun);
        }
        bench.now = bench.store.deadline().expect("it wants to go on");
    }
    panic!("a pass never ends");
}

fn corrupt(bench: &Bench) -> Vec<Rot> {
    let rot = |event: &Event| if let Event::Corrupt { rot, .. } = event { Some(*rot) } else { None };
    bench.events.iter().filter_map(rot).collect()
}

#[test]
fn a_pass_takes_its_period_and_finds_nothing_on_a_sound_disk() {
    let mut bench = filled();
    let writes = bench.disk.media.clone();
    // The first began when the store had less in it.
    pass(&mut bench);
    for _ in 0..3 {
        let took = pass(&mut bench);
        assert!(took <= PERIOD && took.as_secs() >= 500, "{took:?}");
    }
    assert!(corrupt(&bench).is_empty());
    assert_eq!(bench.store.scrubbed().rewritten, 0);
    assert!(bench.disk.media == writes, "a sound disk is only read");
}

#[test]
fn a_rotten_block_that_nobody_reads_is_reported_in_one_pass_and_not_again_once_it_was_mended() {
    let mut bench = filled();
    let at = bench.find_on_media(&pattern(3)).unwrap();
    bench.disk.rot(at + 100, 3);
    pass(&mut bench);
    let found = corrupt(&bench);
    assert_eq!(found.iter().map(|rot| rot.block).collect::<Vec<_>>(), [3]);
    bench.append(shard(1), Record::Mend { block: 3, place: found[0].place, data: blocks([3]) });
    bench.settle();
    bench.events.clear();
    pass(&mut bench);
    assert!(corrupt(&bench).is_empty());
    assert_eq!(bench.tags(shard(1), 3, 1), [3]);
}

#[test]
fn the_segment_that_is_being_written_is_looked_at_when_nothing_is_written() {
    let mut bench = filled();
    let at = bench.find_on_media(&pattern(40)).unwrap();
    bench.disk.rot(at + 7, 3);
    pass(&mut bench);
    pass(&mut bench);
    assert_eq!(corrupt(&bench)[0].block, 40);
}

#[test]
fn what_is_appended_while_its_segment_is_read_is_not_taken_for_rot() {
    let mut bench = filled();
    for n in 41..60 {
        bench.settle();
        bench.now = bench.store.deadline().unwrap();
        bench.step();
        // Whatever is being read now, the write comes between.
        bench.append(shard(1), data(n, n as u32, [n]));
        bench.commit(shard(1), n);
        bench.step();
    }
    pass(&mut bench);
    assert!(corrupt(&bench).is_empty());
}

#[test]
fn what_a_rotten_header_hides_is_looked_at_all_the_same() {
    let mut bench = filled();
    let at = bench.find_on_media(&pattern(3)).unwrap();
    bench.disk.rot(at - 4096 + 20, 0);
    bench.disk.rot(at + 5, 0);
    pass(&mut bench);
    assert_eq!(corrupt(&bench).iter().map(|rot| rot.block).collect::<Vec<_>>(), [3]);
}

#[test]
fn rotten_superblocks_and_pieces_are_written_again() {
    let magic = |bench: &Bench, magic: &[u8]| -> Vec<u64> {
        let media = bench.disk.media.iter().filter(|(_, block)| block.starts_with(magic));
        media.map(|(place, _)| u64::from(*place) * 4096).collect()
    };
    for superblock in [0, 4096] {
        let mut bench = filled();
        bench.disk.rot(superblock + 40, 2);
        pass(&mut bench);
        assert_eq!(bench.store.scrubbed().rewritten, 1);
        pass(&mut bench);
        assert_eq!(bench.store.scrubbed().rewritten, 1);
        bench.disk.rot(4096 - superblock + 40, 2);
        assert_eq!(*bench.reopened().store.phase(), Phase::Ready);
    }
    let mut bench = filled();
    let pieces = magic(&bench, b"SWCHECK\x01");
    assert!(pieces.len() >= 4);
    pieces.iter().for_each(|piece| bench.disk.rot(piece + 60, 1));
    pass(&mut bench);
    // Those of the first copy were met; before its turn came the second had been given up for new ones.
    assert!(bench.store.scrubbed().rewritten >= 2);
    pass(&mut bench);
    let mut bench = bench.reopened();
    bench.commit(shard(1), 40);
    assert_eq!(bench.tags(shard(1), 1, 40), (1..=40).collect::<Vec<u64>>());
}

#[test]
fn a_rotten_header_that_a_start_would_need_is_replaced_by_a_checkpoint_and_others_are_not_missed() {
    let header = |bench: &Bench, tag: u64| bench.find_on_media(&pattern(tag)).unwrap() - 4096;
    let mut bench = filled();
    // Behind the checkpoint: the block's batch is its own.
    let at = header(&bench, 39);
    bench.disk.rot(at + 20, 0);
    assert!(bench.reopen().damaged(), "without the scrub it is damage");
    let mut bench = filled();
    bench.disk.rot(at + 20, 0);
    pass(&mut bench);
    pass(&mut bench);
    assert_eq!((bench.store.scrubbed().rewritten, corrupt(&bench).len()), (1, 0));
    pass(&mut bench);
    assert_eq!(bench.store.scrubbed().rewritten, 1, "once");
    assert!(!bench.reopen().damaged());
    // Covered by the checkpoint.
    let mut bench = filled();
    let at = header(&bench, 3);
    bench.disk.rot(at + 20, 0);
    pass(&mut bench);
    assert_eq!(bench.store.scrubbed().rewritten, 0);
    let mut bench = bench.reopened();
    bench.commit(shard(1), 40);
    assert_eq!(bench.tags(shard(1), 1, 40), (1..=40).collect::<Vec<u64>>());
}

#[test]
fn what_opening_found_rotten_of_its_own_is_counted() {
    let mut bench = filled();
    bench.disk.rot(4096 + 40, 2);
    let is_piece = |block: &[u8]| block.starts_with(b"SWCHECK\x01");
    let pieces =
        bench.disk.media.iter().filter(|(_, block)| is_piece(block)).map(|(&place, _)| u64::from(place) * 4096);
    // One copy of each is enough; of which the first is read.
    let lowest = pieces.min().unwrap();
    bench.disk.rot(lowest + 60, 1);
    let bench = bench.reopened();
    let found = bench.store.scrubbed().rewritten;
    assert!((1..=2).contains(&found), "the superblock, and a piece if that is of the checkpoint that holds: {found}");
    assert_eq!(bench.reopened().store.scrubbed().rewritten, 0);
}

#[test]
fn without_a_period_nothing_is_scrubbed() {
    let mut bench = Bench::ready_with(20, Policy { scrub_period: Duration::ZERO, ..Policy::default() });
    bench.now = Time::ZERO + Duration::from_secs(1 << 30);
    bench.settle();
    assert_eq!((bench.store.deadline(), bench.store.scrubbed().finished), (None, None));
}
