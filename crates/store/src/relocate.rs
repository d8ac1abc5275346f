//! Moves: blocks that were written again elsewhere, with the same bytes, because their segment is cleaned or they lay rotten.
//!
//! The index, the window and the frozen points are the only ones that say where a block lies; a move changes that and nothing else. Nobody's version changes, no
//! frozen point keeps the old place, and whoever was overwritten, trimmed or dropped meanwhile stays so.

use crate::chunk::Cell;
use crate::segments::Segments;
use crate::shards::Shard;
use base::CHUNK_BLOCKS;
use base::mutant::{Mutant, Mutation};

/// Blocks from `block` on were written again from `place` on. Each that is still where it was moved from, in the index, the window or a frozen point, lies there from now on;
/// the new places of the others are named by nobody. What lies one behind the other stays a run.
pub(crate) fn relocate(
    s: &mut Shard,
    segments: &mut Segments,
    (block, place): (u32, u32),
    froms: &[u32],
    crcs: &[u32],
    mutation: Mutation,
) {
    let in_index = |s: &Shard, i: usize| {
        let mut named = None;
        s.index.each(block + i as u32, 1, &mut |_, cell| named = cell);
        named == Some(Cell { place: froms[i], crc: crcs[i] }) || named.is_some() && mutation.is(Mutant::MovedAnyway)
    };
    let mut i = 0;
    while i < crcs.len() {
        let run = (i..crcs.len()).take_while(|&i| in_index(s, i)).count();
        let (first, to) = (block + i as u32, place + i as u32);
        if run > 0 {
            segments.name(to, run as u32);
            s.index.relocate(first, to, &crcs[i..i + run], None, &mut |place, count| segments.forget(place, count));
            i += run;
        } else {
            let from = Cell { place: froms[i], crc: crcs[i] };
            let points = &mut s.index.points;
            if s.window.relocate(first, from, to)
                || points.relocate(first / CHUNK_BLOCKS, first % CHUNK_BLOCKS, from, to)
            {
                segments.name(to, 1);
                segments.forget(froms[i], 1);
            }
            i += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::entry::{Change, Crcs};
    use crate::shards::tests::{Bench, SHARD, bench, stamp};
    use base::Sequence;

    impl Bench {
        /// Moves blocks from `block` on, which lie at these offsets with these checksums, to offset `to` and behind.
        fn relocate(&mut self, block: u32, to: u32, from: &[(u32, u32)]) {
            let place = |offset| self.geometry.place(0, offset);
            let froms = from.iter().map(|&(offset, _)| place(offset)).collect();
            let crcs = from.iter().map(|&(_, crc)| crc).collect();
            let change = Change::Move { frozen_by: Sequence(0), block, place: place(to), froms, crcs };
            self.shards.apply(SHARD, self.shards.committed(SHARD), change);
        }
    }

    #[test]
    fn a_move_takes_the_blocks_that_are_still_where_it_found_them() {
        let mut b = bench();
        (1..=4).for_each(|n| b.data(1, u64::from(n), 6 + n, n));
        b.commit(4);
        let version = |b: &Bench| b.shards.get(SHARD).unwrap().index.version(0);
        let before = version(&b);
        // 7 is where it was; of 8 the place is another, of 9 the checksum, 10 is trimmed meanwhile, and 11 was never written.
        b.trim(5, 10, 1);
        b.commit(5);
        b.relocate(7, 9, &[(1, 1), (1, 2), (3, 4), (4, 4), (5, 5)]);
        assert_eq!([7, 8, 9, 10, 11].map(|block| b.at(block)), [Some(9), Some(2), Some(3), None, None]);
        assert_eq!((b.live(), version(&b).unwrap().sequence), (3, Sequence(5)));
        assert_eq!(before.unwrap().sequence, Sequence(4));
        b.relocate(7, 5, &[(9, 1), (2, 2), (3, 3)]);
        assert_eq!([7, 8, 9].map(|block| b.at(block)), [Some(5), Some(6), Some(7)]);
        assert_eq!((b.live(), version(&b).unwrap().sequence), (3, Sequence(5)), "a move is no write");
    }

    #[test]
    fn a_move_in_the_window_keeps_its_entry_and_goes_into_the_index_with_it() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.commit(1);
        let place = b.geometry.place(0, 2);
        let crcs = Crcs::Many([2, 3, 4].into());
        let change = Change::Data { stamp: stamp(1, 2), block: 6, place, crcs };
        b.shards.apply(SHARD, Sequence(1), change);
        b.relocate(6, 9, &[(1, 1), (3, 3)]);
        assert_eq!((b.at(7), b.live()), (Some(1), 4), "the committed block has another checksum and stays");
        b.commit(2);
        assert_eq!(([6, 7, 8].map(|block| b.at(block)), b.live()), ([Some(2), Some(10), Some(4)], 3));
        assert_eq!(b.standing(), (2, stamp(1, 2)));
        // An entry that was moved and then cut frees what it names now.
        let crcs = Crcs::Many([5, 6].into());
        let place = b.geometry.place(0, 5);
        b.shards.apply(SHARD, Sequence(2), Change::Data { stamp: stamp(1, 3), block: 0, place, crcs });
        b.relocate(1, 11, &[(6, 6)]);
        b.shards.apply(SHARD, Sequence(2), Change::Cut { above: Sequence(2) });
        assert_eq!((b.at(0), b.live()), (None, 3));
    }

    #[test]
    fn a_move_of_a_shard_that_is_gone_brings_nothing_back() {
        let mut b = bench();
        b.data(1, 1, 7, 1);
        b.shards.apply(SHARD, Sequence(1), Change::Drop);
        b.relocate(7, 2, &[(1, 1)]);
        assert!((b.live(), b.shards.get(SHARD).is_none()) == (0, true));
    }
}
