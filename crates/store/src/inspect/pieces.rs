//! The checkpoint, both copies of each piece: what an opening reads only when it must is looked at here always. A piece that is lost does not end
//! it: what the others say is still so.

use super::read::Reading;
use super::report::{CheckpointSeen, PieceSeen};
use crate::buffer::Need;
use crate::checkpoint::{Contents, Piece, piece, record};
use crate::geometry::byte_of;
use crate::refusal::OpenRefusal;
use crate::shards::Shards;
use crate::superblock::Superblock;
use alloc::vec::Vec;
use base::Payload;
use base::io::disk::Op;

/// A checkpoint being looked at.
#[derive(Debug)]
pub(super) struct Pieces {
    superblock: Superblock,
    /// The root first, and then what it names.
    all: Vec<Piece>,
    copy: usize,
    /// A copy of the piece at hand that is whole.
    good: Option<Payload>,
    bad: [bool; 2],
    pub(super) contents: Contents,
    pub(super) shards: Shards,
    pub(super) seen: CheckpointSeen,
    /// Of the first piece that is lost.
    pub(super) lost: Option<OpenRefusal>,
}

impl Pieces {
    /// Of the checkpoint that a superblock names.
    pub(super) fn new(superblock: Superblock) -> Self {
        let root = superblock.root;
        let seen = CheckpointSeen { batch: root.batch, ..CheckpointSeen::default() };
        Self {
            superblock,
            all: Some(root.piece).filter(|root| root.blocks > 0).into_iter().collect(),
            copy: 0,
            good: None,
            bad: [false; 2],
            contents: Contents::default(),
            shards: Shards::new(superblock.geometry),
            seen,
            lost: None,
        }
    }

    /// Every segment that one of them lies in.
    pub(super) fn segments(&self) -> impl Iterator<Item = u32> + '_ {
        self.all.iter().flat_map(|piece| piece.places).map(|place| self.superblock.geometry.segment_of(place))
    }

    /// Goes on; true when all were looked at.
    pub(super) fn step(&mut self, reading: &mut Reading, ops: &mut Vec<Op>) -> bool {
        while let Some(&piece) = self.all.get(self.seen.pieces.len()) {
            let need = Need { place: piece.places[self.copy], blocks: piece.blocks };
            let holds = self.superblock.geometry.holds(need.place, need.blocks);
            let read = if holds { reading.get(need, ops) } else { Some(Ok(Payload::empty())) };
            let Some(read) = read else { return false };
            let whole = read.ok().filter(|bytes| piece::decode(self.superblock.uuid, piece.serial, bytes).is_some());
            self.bad[self.copy] = whole.is_none();
            self.good = self.good.take().or(whole);
            self.copy += 1;
            if self.copy == 2 {
                self.understand(piece);
            }
        }
        true
    }

    fn understand(&mut self, piece: Piece) {
        let Superblock { uuid, geometry, .. } = self.superblock;
        let good = self.good.take();
        let body = good.as_ref().and_then(|bytes| piece::decode(uuid, piece.serial, bytes));
        let understood = match body {
            None => false,
            Some(body) if self.seen.pieces.is_empty() => Contents::decode(body, &geometry).is_ok_and(|contents| {
                self.all.extend(&contents.pieces);
                self.seen.base_pieces = contents.base_pieces;
                self.contents = contents;
                true
            }),
            Some(body) => record::apply(&mut self.shards, &geometry, body).is_ok(),
        };
        let at = piece.places.map(byte_of);
        if !understood {
            self.lost.get_or_insert(OpenRefusal::CheckpointDamaged { at });
        }
        self.seen.pieces.push(PieceSeen { serial: piece.serial, at, blocks: piece.blocks, bad: self.bad });
        (self.copy, self.bad) = (0, [false; 2]);
    }
}
