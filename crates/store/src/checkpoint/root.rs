//! The root of a checkpoint: after which batch it says how everything was, where the log went on, and which pieces belong to it.

use super::piece::{Piece, fold, nth};
use crate::geometry::Geometry;
use alloc::vec::Vec;
use base::codec::{Field as _, Malformed, Reader, Writer};
use base::{ShardId, record};

record! {
    /// Where the log stood.
    #[derive(Default)]
    pub(crate) struct Standing {
        /// The last batch.
        pub(crate) batch: u64,
        /// The hash of its header.
        pub(crate) link: u64,
        /// The segment it lies in, the first batch of that segment, and the first block behind it; none before anything was appended.
        pub(crate) head: Option<Head>,
        /// The segment that follows.
        pub(crate) next_segment: u32,
        /// The shards of the last batch.
        pub(crate) shards: Vec<ShardId>,
    }
}

record! {
    /// The segment that is being written.
    #[derive(Copy)]
    pub(crate) struct Head {
        /// Its number.
        pub(crate) segment: u32,
        /// The number of its first batch.
        pub(crate) opened: u64,
        /// Blocks of it that are taken.
        pub(crate) offset: u32,
    }
}

/// A checkpoint: the pieces in the order in which they apply, and how many of them are its base.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    pub(crate) standing: Standing,
    pub(crate) base_pieces: u32,
    pub(crate) pieces: Vec<Piece>,
}

impl Contents {
    /// Its bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.standing.put(&mut w);
        w.u32(self.base_pieces);
        let rows = fold(&self.pieces);
        w.u32(rows.len() as u32);
        for (first, count) in rows {
            first.put(&mut w);
            w.u32(count);
        }
        w.finish()
    }

    /// From its bytes. Every place in it lies on a disk of this shape.
    pub(crate) fn decode(bytes: &[u8], geometry: &Geometry) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let standing = Standing::take(&mut r)?;
        let base_pieces = r.u32()?;
        let mut pieces = Vec::new();
        let inside = |piece: &Piece| piece.blocks > 0 && piece.places.iter().all(|&p| geometry.holds(p, piece.blocks));
        for _ in 0..r.u32()? {
            let (first, count) = (Piece::take(&mut r)?, r.u32()?);
            for n in 0..count {
                let piece = nth(first, n).filter(inside);
                pieces.push(piece.ok_or(Malformed { what: "root of a checkpoint: a piece beyond the disk" })?);
            }
        }
        r.end("root of a checkpoint: bytes are left over")?;
        // A segment may have been opened for the next batch already.
        let head = standing.head.is_none_or(|head| {
            head.segment < geometry.segments()
                && head.offset <= geometry.segment_blocks()
                && head.opened <= standing.batch.saturating_add(1)
        });
        if !head || base_pieces as usize > pieces.len() {
            return Err(Malformed { what: "root of a checkpoint: numbers that cannot be" });
        }
        Ok(Self { standing, base_pieces, pieces })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use base::VolumeId;

    #[test]
    fn what_is_written_is_read_and_nonsense_is_refused() {
        let geometry = Geometry::tiny(4 << 20);
        let place = |n| geometry.place(n, 2);
        let contents = Contents {
            standing: Standing {
                batch: 9,
                link: 77,
                head: Some(Head { segment: 3, opened: 7, offset: 16 }),
                next_segment: 4,
                shards: vec![ShardId { volume: VolumeId(1), index: 2 }],
            },
            base_pieces: 1,
            pieces: vec![
                Piece { serial: 4, places: [place(5), place(6)], blocks: 3 },
                Piece { serial: 5, places: [place(5) + 3, place(6) + 3], blocks: 3 },
                Piece { serial: 8, places: [place(7), place(8)], blocks: 1 },
            ],
        };
        let read = |c: &Contents| Contents::decode(&c.encode(), &geometry);
        assert_eq!(read(&contents).as_ref(), Ok(&contents));
        assert_eq!(read(&Contents::default()), Ok(Contents::default()));
        let bad = |change: &dyn Fn(&mut Contents)| {
            let mut wrong = contents.clone();
            change(&mut wrong);
            assert!(read(&wrong).is_err(), "{wrong:?}");
        };
        bad(&|c| c.base_pieces = 4);
        bad(&|c| c.pieces[2].places[1] = 1 << 30);
        bad(&|c| c.pieces[0].blocks = 0);
        bad(&|c| c.pieces[1].places[0] = 1);
        bad(&|c| c.standing.head.as_mut().unwrap().segment = 1 << 20);
        let bytes = contents.encode();
        (0..bytes.len()).for_each(|len| assert!(Contents::decode(&bytes[..len], &geometry).is_err(), "{len}"));
    }
}
