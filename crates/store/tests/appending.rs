//! Batches: what goes into one, when it is durable, what happens when the disk fails or is full.

mod bench;

use base::io::disk::{Done, Fault, Op};
use base::log::{Event, Record, Request};
use base::{Epoch, Payload, Sequence, Time};
use bench::{Bench, blocks, copy, data, register, shard, trim};
use store::{Phase, Policy};

/// How many blocks each write in flight has.
fn sizes(bench: &Bench) -> Vec<usize> {
    let size = |op: &Op| match op {
        Op::Write { parts, .. } => Some(parts.iter().map(|part| part.len() / 4096).sum()),
        _ => None,
    };
    bench.disk.flying.iter().filter_map(size).collect()
}

fn raw() -> Policy {
    Policy { preallocated: true, ..Policy::default() }
}

#[test]
fn all_that_a_step_brought_is_one_write_and_one_answer_for_each_shard() {
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=3 {
        bench.append(shard(1), data(n, n as u32, [n]));
        bench.append(shard(2), data(n, n as u32, [n]));
    }
    bench.step();
    assert_eq!(sizes(&bench), [7], "one header and six blocks");
    bench.perform(0);
    bench.step();
    let events: Vec<String> = bench.events.iter().map(|event| format!("{event:?}")).collect();
    let durable = |n| format!("Durable {{ shard: {}, ticket: 3 }}", shard(n));
    assert_eq!(events, [durable(1), durable(2)]);
}

#[test]
fn payloads_are_written_from_where_they_lie() {
    let mut bench = Bench::ready_with(20, raw());
    let payload = blocks([1, 2]);
    bench.append(shard(1), Record::Copy { block: 0, data: payload.clone() });
    bench.step();
    let Op::Write { parts, durable, .. } = &bench.disk.flying[0] else { panic!("a write") };
    assert_eq!((parts.len(), parts[1].as_ptr()), (2, payload.as_ptr()), "a payload was copied");
    assert!(*durable);
}

#[test]
fn a_batch_is_durable_only_when_all_before_it_are() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=3 {
        bench.append(s, data(n, 0, [n]));
        bench.step();
    }
    bench.perform(2);
    bench.step();
    bench.perform(1);
    bench.step();
    assert_eq!(bench.durable(s), 0);
    bench.perform(0);
    bench.step();
    assert_eq!(bench.durable(s), 3);
    assert_eq!(bench.events.len(), 1, "one answer for all three");
}

#[test]
fn while_all_slots_are_taken_requests_gather() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { batches_in_flight_max: 2, ..raw() });
    for n in 1..=6 {
        bench.append(s, data(n, 0, [n]));
        bench.step();
    }
    assert_eq!(sizes(&bench), [2, 2]);
    bench.perform(0);
    bench.step();
    assert_eq!(sizes(&bench), [2, 5], "the four that gathered");
    bench.settle();
    assert_eq!(bench.durable(s), 6);
}

#[test]
fn while_a_batch_is_written_the_next_gathers_enough_or_waits_for_its_end() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { gathered_bytes_min: 3 * 4096, ..raw() });
    bench.append(s, data(1, 0, [1]));
    bench.step();
    assert_eq!(sizes(&bench), [2], "the first waits for nobody");
    for n in 2..=3 {
        bench.append(s, data(n, 0, [n]));
        bench.step();
        assert_eq!(sizes(&bench), [2], "{n}: too little");
    }
    bench.append(s, data(4, 0, [4]));
    bench.step();
    assert_eq!(sizes(&bench), [2, 4], "enough");
    bench.append(s, data(5, 0, [5]));
    bench.step();
    bench.perform(0);
    bench.step();
    assert_eq!(sizes(&bench), [4], "one is still being written");
    bench.perform(0);
    bench.step();
    assert_eq!(sizes(&bench), [2], "none is");
    bench.settle();
    assert_eq!(bench.durable(s), 5);
}

#[test]
fn a_batch_is_closed_at_its_limits() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { batch_payload_bytes_max: 3 * 4096, ..raw() });
    (1..=7).for_each(|n| {
        bench.append(s, data(n, 0, [n]));
    });
    bench.append(s, data(8, 0, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    bench.step();
    assert_eq!(sizes(&bench), [4, 4, 2, 11], "a write above the limit goes alone");
    bench.settle();
    // Shards: in segments of 64 KiB a header names at most 128.
    for n in 0..200 {
        bench.append(shard(n), trim(100, 0, 1));
    }
    bench.step();
    assert_eq!(sizes(&bench).len(), 2);
    bench.settle();
    assert!((2..200).all(|n| bench.durable(shard(n)) == 1));
}

#[test]
fn a_header_is_as_long_as_it_must_be() {
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=100 {
        bench.append(shard(1), trim(n, 0, 1));
    }
    bench.step();
    assert_eq!(sizes(&bench), [1], "128 bytes, a shard, and a hundred trims of 35 bytes");
    for n in 101..=217 {
        bench.append(shard(1), trim(n, 0, 1));
    }
    bench.step();
    assert_eq!(sizes(&bench), [1, 2]);
    bench.settle();
    assert_eq!(bench.durable(shard(1)), 217);
    let mut bench = bench.reopened();
    assert_eq!(bench.window(shard(1), 0).unwrap().len(), 217);
}

#[test]
fn segments_are_filled_one_after_the_other() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=9 {
        bench.append(s, data(n, 0, [n, n, n]));
        bench.step();
        let at = bench.writes()[0];
        assert_eq!(at, (64 << 10) * (1 + (n - 1) / 4) + (n - 1) % 4 * 16384);
        bench.settle();
    }
    assert_eq!(bench.store.live_blocks_by_segment()[..4], [12, 12, 3, 0]);
}

#[test]
fn a_protected_cache_needs_neither_durable_writes_nor_a_flush() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, Policy { protected_cache: true, ..raw() });
    bench.append(s, register(s, 1));
    bench.step();
    assert!(matches!(bench.disk.flying[..], [Op::Write { durable: false, .. }]));
    bench.settle();
    assert_eq!(bench.durable(s), 1);
    let mut again = bench.reopen();
    while *again.store.phase() == Phase::Opening {
        again.step();
        assert!(!again.disk.flying.iter().any(|op| matches!(op, Op::Flush { .. })));
        if !again.disk.flying.is_empty() {
            again.perform(0);
        }
    }
    assert_eq!(again.recovered().len(), 1);
}

#[test]
fn a_failed_write_poisons_the_store_for_writes_and_not_for_reads() {
    let s = shard(1);
    let mut bench = Bench::ready_with(20, raw());
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1]));
    bench.append(s, data(2, 1, [2]));
    bench.commit(s, 1);
    bench.settle();
    assert_eq!(bench.durable(s), 3);
    for n in 3..=6 {
        bench.append(s, data(n, n as u32, [n]));
        bench.step();
    }
    bench.append(s, copy(50, [50]));
    let read = bench.ask_read(s, 0, 1);
    bench.step();
    assert!(bench.answered(read).is_none(), "it waits behind the copy");
    // The second of four fails.
    bench.disk.refuses_writes = true;
    bench.perform(1);
    bench.disk.refuses_writes = false;
    bench.perform(0);
    bench.settle();
    assert_eq!(*bench.store.phase(), Phase::Poisoned(Fault::Os(5)));
    assert_eq!(bench.durable(s), 3, "nothing is durable any more");
    assert_eq!(bench.answered(read), Some(Ok(bench::model::pattern(1))), "what waited is answered");
    bench.append(s, data(7, 7, [7]));
    bench.append(s, register(s, 2));
    bench.settle();
    assert_eq!((bench.durable(s), bench.writes().len()), (3, 0));
    assert_eq!(bench.tags(s, 0, 2), [1, 0]);
    bench.commit(s, 2);
    assert_eq!(bench.tags(s, 0, 2), [1, 2]);
    let window = bench.window(s, 2).unwrap();
    assert_eq!(window.iter().map(|e| e.stamp.sequence.0).collect::<Vec<_>>(), [3, 4, 5, 6], "for rescue");
    assert_eq!(bench.store.space().room_bytes, 0);
}

#[test]
fn a_full_store_says_so_and_goes_on_reading() {
    let s = shard(1);
    // Too few segments to clean, and no checkpoint that would free any: the log ends.
    let mut bench = Bench::ready_with(6, Policy { checkpoint_every_segments: 0, ..raw() });
    bench.append(s, register(s, 1));
    bench.settle();
    let reserve = 2 * (64 << 10);
    let mut written = 0;
    let mut room = bench.store.space().room_bytes;
    assert!(room > 0 && room < 4 * (64 << 10));
    // Within the room that it states, everything is taken; and beyond it, from the reserve, until nothing is left.
    while !bench.store.stalled() {
        let before = room;
        written += 1;
        bench.append(s, data(written, (written % 100) as u32, [written]));
        bench.commit(s, written);
        bench.settle();
        room = bench.store.space().room_bytes;
        assert!(room <= before);
        assert!(bench.durable(s) == written + 1 || bench.store.stalled() && before == 0, "stalled with {before} to go");
    }
    assert_eq!(*bench.store.phase(), Phase::Full);
    assert!(written * 8192 > bench.store.space().capacity_bytes - reserve);
    assert_eq!(bench.durable(s), written, "all but the last");
    let last = written - 1;
    assert_eq!(bench.tags(s, (last % 100) as u32, 1), [last]);
    // A copy waits, a read behind it does not; nor does the window.
    bench.append(s, copy(150, [150]));
    assert_eq!(bench.tags(s, 150, 1), [0]);
    assert_eq!(bench.window(s, 0).unwrap().len(), 0);
    assert_eq!(bench.writes().len(), 0);
    let mut bench = bench.reopened();
    assert_eq!(bench.recovered()[0].end.sequence.0, last);
    bench.append(s, register(s, 2));
    bench.settle();
    assert!(bench.store.stalled(), "opening again makes no room");
}

#[test]
fn segments_ahead_are_zeroed_once_something_was_appended_and_nothing_waits_for_that() {
    let s = shard(1);
    let mut bench = Bench::ready(20);
    assert!(bench.disk.flying.is_empty(), "nothing was appended, nothing is zeroed");
    let mut zeroed = vec![];
    let mut written = vec![];
    for n in 1..=40 {
        bench.append(s, data(n, n as u32, [n, n, n]));
        bench.commit(s, n);
        bench.step();
        // The disk does writes and leaves zeroes for later, but for every third turn.
        for round in 0..2 {
            let is_zero = |op: &Op| matches!(op, Op::Zero { .. });
            if let Some(i) = bench.disk.flying.iter().position(|op| is_zero(op) == (round == 1 && n % 3 == 0)) {
                match &bench.disk.flying[i] {
                    Op::Zero { at, len, .. } => zeroed.push(*at..*at + *len),
                    Op::Write { at, .. } => written.push(*at),
                    _ => panic!("nothing else is asked for"),
                }
                bench.perform(i);
            }
            let zeroing = bench.disk.flying.iter().filter(|op| is_zero(op)).count();
            assert!(zeroing <= 1, "one piece at a time");
            bench.step();
        }
    }
    assert!(zeroed.len() >= 5, "{zeroed:?}");
    bench.settle();
    assert_eq!(bench.durable(s), 40);
    let expected: Vec<u64> = (1..=40).chain([40, 40]).collect();
    assert_eq!(bench.tags(s, 1, 42), expected, "no zeroes over what was written");
}

#[test]
fn a_batch_waits_for_zeroes_that_are_being_written_where_it_goes() {
    let s = shard(1);
    let mut bench = Bench::ready(20);
    bench.append(s, data(1, 0, [1]));
    bench.step();
    let zero = bench.disk.flying.iter().position(|op| matches!(op, Op::Zero { .. })).unwrap();
    let Op::Zero { at, len, .. } = bench.disk.flying[zero] else { panic!() };
    assert_eq!((at, len), (128 << 10, 64 << 10), "the whole next segment");
    bench.perform(0);
    for n in 2..=5 {
        bench.append(s, data(n, 0, [n; 10]));
        bench.step();
    }
    assert_eq!(bench.writes().len(), 1, "the first segment took one; the others wait for the zeroes");
    let zero = bench.disk.flying.iter().position(|op| matches!(op, Op::Zero { .. })).unwrap();
    bench.perform(zero);
    bench.step();
    assert_eq!(bench.writes()[1], 128 << 10);
    bench.settle();
    assert_eq!(bench.durable(s), 5);
}

#[test]
fn a_disk_that_cannot_zero_goes_on() {
    let s = shard(1);
    let mut bench = Bench::ready(20);
    bench.append(s, data(1, 0, [1]));
    bench.step();
    let zero = bench.disk.flying.iter().position(|op| matches!(op, Op::Zero { .. })).unwrap();
    let Op::Zero { id, .. } = bench.disk.flying.remove(zero) else { panic!() };
    bench.store.done(Done { id, result: Err(Fault::Os(95)) });
    bench.settle();
    bench.append(s, data(2, 0, [2]));
    bench.step();
    assert_eq!(bench.disk.flying.len(), 1, "no more zeroes");
    bench.settle();
    assert_eq!((bench.durable(s), bench.store.phase()), (2, &Phase::Ready));
}

#[test]
fn a_refused_store_drops_requests_and_stays_silent() {
    let bench = Bench::ready(20);
    let identity = store::Identity { node: base::NodeId(9), ..bench::IDENTITY };
    let mut other = Bench::on(bench.disk, bench.geometry, bench.policy);
    other.store = store::Store::new(identity, bench.geometry, store::Blank::Refuse, bench.policy);
    assert_eq!(other.store.deadline(), Some(Time::ZERO), "it wants to be opened");
    let read = other.ask_read(shard(1), 0, 1);
    other.append(shard(1), register(shard(1), 1));
    other.settle();
    assert!(matches!(other.store.phase(), Phase::Refused(_)));
    assert!(other.answered(read).is_none() && other.events.is_empty());
    assert_eq!(other.store.space(), store::Space::default());
    assert!(other.store.live_blocks_by_segment().is_empty());
    other.store.done(Done { id: base::io::disk::OpId(77), result: Ok(Payload::empty()) });
    other.settle();
}

#[test]
fn requests_that_come_while_opening_wait_for_it() {
    let s = shard(1);
    let bench = Bench::ready(20);
    let mut bench = bench.reopen();
    bench.append(s, data(1, 3, [3]));
    bench.commit(s, 1);
    let read = bench.ask_read(s, 3, 1);
    bench.settle();
    assert_eq!(bench.durable(s), 1);
    assert_eq!(bench.answered(read), Some(Ok(bench::model::pattern(3))));
}

#[test]
fn a_commit_is_carried_by_the_next_entry_of_its_shard() {
    let s = shard(1);
    let mut bench = Bench::ready(20);
    bench.append(s, register(s, 1));
    (1..=3).for_each(|n| {
        bench.append(s, data(n, n as u32, [n]));
    });
    bench.settle();
    bench.commit(s, 2);
    bench.settle();
    let mut bench = bench.reopened();
    assert_eq!(bench.recovered()[0].committed, Sequence(0), "nothing carried it");
    bench.commit(s, 2);
    bench.append(s, register(s, 4));
    bench.settle();
    let mut bench = bench.reopened();
    let found = bench.recovered();
    assert_eq!((found[0].committed, found[0].register.promised), (Sequence(2), Epoch(4)));
    assert_eq!(found[0].end, bench::stamp(1, 3));
    assert!(bench.recovered().is_empty(), "given once");
}

fn broken(record: Record) {
    let mut bench = Bench::ready(20);
    bench.append(shard(1), record);
    bench.step();
}

#[test]
#[should_panic(expected = "does not fit a segment")]
fn a_write_larger_than_a_segment_is_a_broken_invariant() {
    broken(data(1, 0, 1..=16));
}

#[test]
#[should_panic(expected = "parts of blocks")]
fn a_write_of_part_of_a_block_is_a_broken_invariant() {
    broken(Record::Copy { block: 0, data: blocks([1]).slice(0, 100) });
}

#[test]
#[should_panic(expected = "beyond the last block")]
fn a_write_beyond_the_last_block_is_a_broken_invariant() {
    broken(data(1, u32::MAX, [1, 2]));
}

#[test]
#[should_panic(expected = "no blocks")]
fn a_trim_of_nothing_is_a_broken_invariant() {
    broken(trim(1, 0, 0));
}

#[test]
#[should_panic(expected = "which nobody asked for")]
fn an_end_of_an_operation_that_nobody_asked_for_is_a_broken_invariant() {
    let mut bench = Bench::ready(20);
    bench.store.done(Done { id: base::io::disk::OpId(9999), result: Ok(Payload::empty()) });
    bench.step();
}

#[test]
fn events_of_a_step_name_each_shard_once_though_several_batches_ended() {
    let mut bench = Bench::ready_with(20, raw());
    for n in 1..=3 {
        bench.append(shard(2), data(n, 0, [n]));
        bench.append(shard(1), data(n, 0, [n]));
        bench.step();
    }
    (0..3).for_each(|_| bench.perform(0));
    bench.step();
    let tickets: Vec<_> = bench
        .events
        .iter()
        .map(|event| if let Event::Durable { shard, ticket } = event { (*shard, *ticket) } else { panic!() })
        .collect();
    assert_eq!(tickets, [(shard(1), 3), (shard(2), 3)]);
    bench.store.request(Request::Commit { shard: shard(9), through: Sequence(4) });
    bench.step();
    assert!(bench.recovered().is_empty());
}
