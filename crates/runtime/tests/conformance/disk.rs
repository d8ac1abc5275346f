//! What every disk must do, as functions over a seam: the io_uring one runs them now, a second driver and the simulator's can run
//! them as they are. Knows `base` only.

use base::io::disk::{Done, Fault, Op, OpId};
use base::{BLOCK_BYTES, Payload, Rng};
use std::collections::BTreeMap;

/// A disk under test.
pub trait Subject {
    /// Bytes it has; at least 64 MiB.
    fn capacity(&self) -> u64;
    /// Asks these at once and waits until all have ended.
    fn ask(&mut self, ops: Vec<Op>) -> Vec<Done>;
    /// Stops it and starts it again over the same data.
    fn restart(&mut self);
}

/// All of them, each on a disk that was never written to.
pub fn all<S: Subject>(mut fresh: impl FnMut() -> S) {
    what_was_never_written_reads_as_zeroes(&mut fresh());
    what_is_written_is_read_back(&mut fresh());
    parts_that_lie_anywhere_in_memory_arrive_in_order(&mut fresh());
    many_parts_are_one_write(&mut fresh());
    a_zeroed_range_is_zero_and_nothing_beside_it(&mut fresh());
    a_flush_and_a_durable_write_end(&mut fresh());
    what_was_durable_is_there_after_a_restart(&mut fresh());
    the_end_of_the_disk_is_a_fault_and_harms_nothing(&mut fresh());
    a_random_history_reads_as_its_model(&mut fresh());
}

const BLOCK: u64 = BLOCK_BYTES as u64;

fn one(s: &mut impl Subject, op: Op) -> Result<Payload, Fault> {
    let mut done = s.ask(vec![op]);
    assert_eq!((done.len(), done[0].id), (1, OpId(1)));
    done.remove(0).result
}

fn read(s: &mut impl Subject, block: u64, blocks: u64) -> Vec<u8> {
    let bytes = one(s, Op::Read { id: OpId(1), at: block * BLOCK, len: (blocks * BLOCK) as u32 }).unwrap();
    assert_eq!(bytes.len() as u64, blocks * BLOCK);
    bytes.to_vec()
}

fn write(s: &mut impl Subject, block: u64, parts: Vec<Payload>, durable: bool) {
    let done = one(s, Op::Write { id: OpId(1), at: block * BLOCK, parts, durable }).unwrap();
    assert!(done.is_empty(), "a write that answers with bytes");
}

/// Blocks of bytes that tell where they belong.
fn pattern(blocks: u64, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..blocks * BLOCK / 8).flat_map(|_| rng.u64().to_le_bytes()).collect()
}

fn zeroes(blocks: u64) -> Vec<u8> {
    vec![0; (blocks * BLOCK) as usize]
}

fn what_was_never_written_reads_as_zeroes(s: &mut impl Subject) {
    let last = s.capacity() / BLOCK - 3;
    assert!(read(s, 0, 5) == zeroes(5));
    assert!(read(s, last, 3) == zeroes(3));
    // Also behind what was, and into a buffer that held something else before.
    write(s, 0, vec![pattern(4, 1).into()], false);
    assert!(read(s, 0, 8) == [pattern(4, 1), zeroes(4)].concat());
    assert!(read(s, 4, 4) == zeroes(4));
}

fn what_is_written_is_read_back(s: &mut impl Subject) {
    for (n, blocks) in [1u64, 2, 15, 16, 64, 65, 256, 1024, 5000].into_iter().enumerate() {
        let data = pattern(blocks, n as u64);
        write(s, 7, vec![data.clone().into()], n % 2 == 0);
        assert!(read(s, 7, blocks) == data, "{blocks} blocks");
        assert!(read(s, 6, 1) == zeroes(1));
    }
}

fn parts_that_lie_anywhere_in_memory_arrive_in_order(s: &mut impl Subject) {
    let data = pattern(12, 3);
    for offset in [0, 1, 512, 4095] {
        let shifted: Payload = [vec![0; offset], data.clone()].concat().into();
        let part = |block: usize, blocks: usize| shifted.slice(offset + block * BLOCK_BYTES, blocks * BLOCK_BYTES);
        write(s, 100, vec![part(0, 1), part(1, 4), part(5, 1), part(6, 6)], offset == 512);
        assert!(read(s, 100, 12) == data, "offset {offset}");
    }
}

fn many_parts_are_one_write(s: &mut impl Subject) {
    // More than a kernel takes in one call.
    let data: Payload = pattern(2500, 4).into();
    let parts = (0..2500).map(|n| data.slice(n * BLOCK_BYTES, BLOCK_BYTES)).collect();
    write(s, 10, parts, true);
    assert!(read(s, 10, 2500) == data[..]);
    let zero = (0..2500).map(|_| Payload::zero_block()).collect();
    write(s, 10, zero, false);
    assert!(read(s, 10, 2500) == zeroes(2500));
}

fn a_zeroed_range_is_zero_and_nothing_beside_it(s: &mut impl Subject) {
    // Not a multiple of any piece it may be cut into.
    let data = pattern(3000, 5);
    write(s, 0, vec![data.clone().into()], false);
    one(s, Op::Zero { id: OpId(1), at: 3 * BLOCK, len: 2501 * BLOCK }).unwrap();
    let edge = |blocks: usize| blocks * BLOCK_BYTES;
    assert!(read(s, 0, 3000) == [&data[..edge(3)], &zeroes(2501), &data[edge(2504)..]].concat());
    one(s, Op::Zero { id: OpId(1), at: 0, len: BLOCK }).unwrap();
    assert!(read(s, 0, 2)[..] == [&zeroes(1)[..], &data[edge(1)..edge(2)]].concat());
}

fn a_flush_and_a_durable_write_end(s: &mut impl Subject) {
    let ids = |done: Vec<Done>| {
        let mut ids: Vec<u64> = done
            .into_iter()
            .map(|d| {
                assert!(d.result.unwrap().is_empty());
                d.id.0
            })
            .collect();
        ids.sort();
        ids
    };
    let write = |id: u64, durable: bool| {
        let parts = vec![Payload::from(pattern(1, id))];
        Op::Write { id: OpId(id), at: id * BLOCK, parts, durable }
    };
    let ops =
        vec![write(1, false), Op::Flush { id: OpId(2) }, write(3, true), Op::Flush { id: OpId(4) }, write(5, true)];
    assert_eq!(ids(s.ask(ops)), [1, 2, 3, 4, 5]);
}

fn what_was_durable_is_there_after_a_restart(s: &mut impl Subject) {
    write(s, 1, vec![pattern(2, 6).into()], true);
    write(s, 9, vec![pattern(2, 7).into()], false);
    one(s, Op::Flush { id: OpId(1) }).unwrap();
    s.restart();
    assert!(read(s, 1, 2) == pattern(2, 6) && read(s, 9, 2) == pattern(2, 7));
    assert!(read(s, 3, 6) == zeroes(6));
}

fn the_end_of_the_disk_is_a_fault_and_harms_nothing(s: &mut impl Subject) {
    let last = s.capacity() - BLOCK;
    write(s, last / BLOCK, vec![pattern(1, 8).into()], true);
    let parts = || vec![Payload::from(pattern(2, 9))];
    for at in [last, last + BLOCK, u64::MAX - 4095] {
        assert!(one(s, Op::Read { id: OpId(1), at, len: 8192 }).is_err(), "read at {at}");
        assert!(one(s, Op::Write { id: OpId(1), at, parts: parts(), durable: true }).is_err(), "write at {at}");
        assert!(one(s, Op::Zero { id: OpId(1), at, len: 8192 }).is_err(), "zero at {at}");
    }
    assert!(read(s, last / BLOCK, 1) == pattern(1, 8));
}

/// Rounds of operations that do not overlap, all in flight at once, against a map of blocks.
fn a_random_history_reads_as_its_model(s: &mut impl Subject) {
    let (mut rng, mut model) = (Rng::new(11), BTreeMap::<u64, u64>::new());
    const SPAN: u64 = 40;
    for round in 0..60u64 {
        let mut ops = Vec::new();
        let mut expected = BTreeMap::new();
        for lane in 0..16 {
            let (block, blocks) = (lane * SPAN + rng.below(20), rng.within(1, 20));
            let id = OpId(lane);
            let at = block * BLOCK;
            match rng.below(4) {
                0 => {
                    ops.push(Op::Zero { id, at, len: blocks * BLOCK });
                    model.retain(|b, _| !(block..block + blocks).contains(b));
                }
                1 | 2 => {
                    let data: Vec<u8> = (block..block + blocks).flat_map(|b| pattern(1, round * 10_000 + b)).collect();
                    let (cut, durable) = (rng.below(blocks) as usize * BLOCK_BYTES, rng.chance(1, 4));
                    let data: Payload = data.into();
                    let parts = vec![data.slice(0, cut), data.slice(cut, data.len() - cut)];
                    ops.push(Op::Write { id, at, parts, durable });
                    model.extend((block..block + blocks).map(|b| (b, round * 10_000 + b)));
                }
                _ => {
                    ops.push(Op::Read { id, at, len: (blocks * BLOCK) as u32 });
                    let content = |b: u64| model.get(&b).map_or_else(|| zeroes(1), |seed| pattern(1, *seed));
                    expected.insert(lane, (block..block + blocks).flat_map(content).collect::<Vec<u8>>());
                }
            }
        }
        if rng.chance(1, 10) {
            ops.push(Op::Flush { id: OpId(99) });
        }
        let count = ops.len();
        let done = s.ask(ops);
        assert_eq!(done.len(), count);
        for d in done {
            let bytes = d.result.unwrap();
            assert!(bytes[..] == expected.remove(&d.id.0).unwrap_or_default(), "round {round}, lane {}", d.id.0);
        }
    }
}
