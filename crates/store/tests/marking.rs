//! Marks: which blocks changed since a mark was made is known until it is dropped, through crashes and checkpoints, and only these are given for copying.

mod bench;

use base::Sequence;
use base::log::{Extent, MARKS_MAX, Record, Standing};
use bench::{Bench, copy, data, mark, register, shard, trim};
use store::Policy;

fn run(bench: &mut Bench, records: impl IntoIterator<Item = Record>) {
    records.into_iter().for_each(|record| _ = bench.append(shard(1), record));
    bench.commit(shard(1), 1000);
    bench.settle();
}

/// A shard with blocks 0 to 9, and a mark.
fn marked() -> Bench {
    let mut bench = Bench::ready(20);
    run(&mut bench, [register(shard(1), 1), data(1, 0, 1..=10)]);
    run(&mut bench, [mark(1)]);
    bench
}

fn changed(bench: &mut Bench, since: u64) -> Vec<u32> {
    bench.changed_since(shard(1), Sequence(since)).into_iter().collect()
}

/// The marks that there are after a restart.
fn marks(bench: Bench) -> (Bench, Vec<u64>) {
    let mut bench = bench.reopened();
    let marks = bench.recovered()[0].marks.iter().map(|mark| mark.since.0).collect();
    (bench, marks)
}

#[test]
fn whatever_changes_is_noted_and_what_is_only_in_the_window_is_not() {
    let mut bench = marked();
    assert_eq!(changed(&mut bench, 1), []);
    run(&mut bench, [data(2, 3, [20]), trim(3, 5, 2), copy(8, [21]), Record::Erase { block: 0, count: 1 }]);
    assert_eq!(changed(&mut bench, 1), [0, 3, 5, 6, 8]);
    bench.append(shard(1), data(4, 9, [22]));
    bench.settle();
    assert_eq!(changed(&mut bench, 1), [0, 3, 5, 6, 8]);
    run(&mut bench, [Record::Cut { above: Sequence(4) }]);
    assert_eq!(changed(&mut bench, 1), [0, 3, 5, 6, 8, 9]);
}

#[test]
fn what_is_not_there_is_noted_when_it_is_trimmed_or_erased() {
    // Whoever was away may have it, though this replica never had.
    let mut bench = marked();
    run(&mut bench, [trim(2, 60, 2), Record::Erase { block: 140, count: 1 }]);
    assert_eq!(changed(&mut bench, 1), [60, 61, 140]);
}

#[test]
fn what_is_moved_or_mended_has_not_changed() {
    let mut bench = marked();
    let rot = bench.rot(shard(1), 4, 5);
    assert!(bench.read(shard(1), 4, 1).is_err());
    run(&mut bench, [Record::Mend { block: 4, place: rot.place, data: bench::blocks([5]) }]);
    assert_eq!((bench.tags(shard(1), 4, 1), changed(&mut bench, 1)), (vec![5], vec![]));
}

#[test]
fn an_older_mark_knows_what_newer_ones_do() {
    let mut bench = marked();
    run(&mut bench, [data(2, 3, [20])]);
    run(&mut bench, [mark(2), data(3, 4, [21])]);
    assert_eq!((changed(&mut bench, 1), changed(&mut bench, 2)), (vec![3, 4], vec![4]));
    let (mut bench, row) = marks(bench);
    assert_eq!(row, [1, 2]);
    // The same again, or an older one, changes nothing.
    run(&mut bench, [mark(2), mark(1), data(4, 5, [22])]);
    assert_eq!((changed(&mut bench, 1), changed(&mut bench, 2)), (vec![3, 4, 5], vec![4, 5]));
    run(&mut bench, [Record::Unmark]);
    assert_eq!(marks(bench).1, []);
}

#[test]
fn in_a_full_row_the_oldest_stays_and_forgets_nothing() {
    let mut bench = marked();
    for n in 2..12 {
        run(&mut bench, [data(n, n as u32, [20 + n])]);
        run(&mut bench, [mark(n)]);
    }
    let (mut bench, row) = marks(bench);
    assert_eq!((&row[..], row.len()), (&[1, 5, 6, 7, 8, 9, 10, 11][..], MARKS_MAX));
    assert_eq!(changed(&mut bench, 1), (2..12).collect::<Vec<_>>());
    assert_eq!(changed(&mut bench, 10), [11]);
}

#[test]
fn a_mark_that_is_not_here_stands_for_everything() {
    let mut bench = marked();
    let (extents, next) = bench.extents_since(shard(1), Sequence(7), 0, 20);
    let first = &extents.unwrap()[0];
    assert_eq!((first.block, first.count, next), (0, 10, None));
    assert_eq!((bench.measure(shard(1), Some(Sequence(7))), bench.measure(shard(1), None)), (10, 10));
    assert_eq!((bench.measure(shard(2), None), bench.measure(shard(1), Some(Sequence(1)))), (0, 0));
}

#[test]
fn a_few_blocks_are_given_at_once_however_they_lie() {
    let mut bench = marked();
    (0..60).step_by(2).for_each(|block| _ = bench.append(shard(1), data(2 + u64::from(block), block, [block.into()])));
    run(&mut bench, [trim(100, 70, 100)]);
    let (extents, next) = bench.extents_since(shard(1), Sequence(1), 3, 20);
    let extents = extents.unwrap();
    assert!(extents.iter().map(|e| e.block).eq((4..44).step_by(2)) && extents.iter().all(|e| e.data.is_some()));
    assert_eq!(next, Some(44));
    let (extents, next) = bench.extents_since(shard(1), Sequence(1), 44, 20);
    let extents = extents.unwrap();
    assert!(matches!(extents.last(), Some(Extent { block: 70, count: 100, data: None })));
    assert_eq!((extents.len(), next), (9, None));
}

#[test]
fn a_restart_keeps_the_marks_if_it_is_to_and_a_drop_never() {
    let mut bench = marked();
    let restart = |keeps_marks| Record::Restart { committed: Sequence(40), keeps_marks };
    run(&mut bench, [data(2, 3, [20])]);
    run(&mut bench, [restart(true), copy(6, [21])]);
    assert_eq!(changed(&mut bench, 1), [3, 6]);
    run(&mut bench, [restart(false)]);
    let (mut bench, row) = marks(bench);
    assert_eq!(row, []);
    run(&mut bench, [mark(40), Record::Drop, register(shard(1), 1)]);
    assert_eq!(marks(bench).1, []);
}

#[test]
fn marks_and_what_changed_since_outlive_checkpoints_and_restarts() {
    let mut bench = Bench::ready_with(20, Policy { checkpoint_every_segments: 1, ..Policy::default() });
    run(&mut bench, [register(shard(1), 1), data(1, 0, 1..=10)]);
    run(&mut bench, [mark(1), trim(2, 190, 1)]);
    let (mut tag, mut checkpoints) = (100, 0);
    for round in 0..12 {
        run(&mut bench, (0..8).map(|i| data(10 + 8 * round + i, 20 + i as u32, [tag + i])));
        tag += 8;
        if round == 5 {
            run(&mut bench, [mark(60)]);
        }
        checkpoints += u64::from(bench.store.activity().checkpoint_bytes > 0);
        bench = bench.reopened();
    }
    assert!(checkpoints > 0);
    run(&mut bench, [data(500, 150, [tag])]);
    // Which carries the commit into the log.
    run(&mut bench, [register(shard(1), 2)]);
    bench = bench.reopened();
    let rows: Vec<u32> = (20..28).chain([150]).collect();
    assert_eq!(changed(&mut bench, 1), [&rows[..], &[190]].concat());
    assert_eq!(changed(&mut bench, 60), rows);
}

#[test]
fn a_learner_that_builds_upon_what_it_has_is_suspect_when_some_of_it_is_lost() {
    let learning = |base: Option<u64>| {
        let Record::Register(mut register) = register(shard(1), 1) else { unreachable!() };
        register.standing = Standing::Learning { plan: 1, base: base.map(Sequence) };
        Record::Register(register)
    };
    for (base, suspect) in [(Some(1), true), (None, false)] {
        let mut bench = marked();
        run(&mut bench, [learning(base)]);
        run(&mut bench, [copy(6, [30])]);
        run(&mut bench, [copy(7, [31])]);
        let at = bench.find_on_media(&bench::model::pattern(30)).expect("it is on the disk");
        bench.disk.rot(at - 4096, 3);
        let mut bench = bench.reopened();
        assert_eq!(bench.recovered()[0].suspect, suspect, "{base:?}");
    }
}
