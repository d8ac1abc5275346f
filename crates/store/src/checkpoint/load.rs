//! Reads a checkpoint: its root, then its pieces, in their order. Where one copy is not whole the other serves; where neither is, the store is
//! refused by name, since what was in it may have been acknowledged.

use super::piece::{self, Piece};
use super::record;
use super::root::Contents;
use crate::geometry::{Geometry, byte_of};
use crate::ops::Ops;
use crate::refusal::OpenRefusal;
use crate::segments::Use;
use crate::shards::Shards;
use crate::superblock::Superblock;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use base::io::disk::{Fault, Op, OpId};
use base::{BLOCK_BYTES, Payload, StoreUuid};

/// Pieces being read at once.
const READS_MAX: usize = 8;
/// Pieces that are read before those before them were understood.
const AHEAD_MAX: usize = 32;

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) contents: Contents,
    /// The segments that hold its pieces.
    pub(crate) segments: Vec<u32>,
    /// Copies that were not whole.
    pub(crate) rotten: u64,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Progress {
    Going,
    Loaded(Box<Shards>, Loaded),
    Refused(OpenRefusal),
}

/// A piece being read, this copy of it.
#[derive(Debug, Clone, Copy)]
struct Asked {
    number: usize,
    piece: Piece,
    copy: usize,
}

/// A checkpoint being read.
#[derive(Debug)]
pub(crate) struct Loading {
    geometry: Geometry,
    uuid: StoreUuid,
    root: Piece,
    shards: Shards,
    loaded: Loaded,
    /// To be read: the root first, and then what it names.
    waiting: VecDeque<Asked>,
    asked: BTreeMap<OpId, Asked>,
    /// Read, and waiting for those before them.
    read: BTreeMap<usize, Payload>,
    applied: usize,
    refused: Option<OpenRefusal>,
}

impl Loading {
    /// Of the checkpoint that a superblock names, if it names one.
    pub(crate) fn new(superblock: &Superblock) -> Self {
        let root = superblock.root.piece;
        let waiting = (root.blocks > 0).then_some(Asked { number: 0, piece: root, copy: 0 });
        Self {
            geometry: superblock.geometry,
            uuid: superblock.uuid,
            root,
            shards: Shards::new(superblock.geometry),
            loaded: Loaded::default(),
            waiting: waiting.into_iter().collect(),
            asked: BTreeMap::new(),
            read: BTreeMap::new(),
            applied: 0,
            refused: None,
        }
    }

    /// Whether it asked for this.
    pub(crate) fn is_its(&self, op: OpId) -> bool {
        self.asked.contains_key(&op)
    }

    /// A read of its ended.
    pub(crate) fn done(&mut self, op: OpId, result: Result<Payload, Fault>) {
        let asked = self.asked.remove(&op).expect("the disk answers each operation once");
        match result {
            Ok(bytes) if piece::decode(self.uuid, asked.piece.serial, &bytes).is_some() => {
                self.read.insert(asked.number, bytes);
            }
            _ if asked.copy == 0 => {
                self.loaded.rotten += 1;
                self.waiting.push_front(Asked { copy: 1, ..asked });
            }
            _ => {
                let at = asked.piece.places.map(byte_of);
                self.refused.get_or_insert(OpenRefusal::CheckpointDamaged { at });
            }
        }
    }

    /// Goes on as far as what was read allows.
    pub(crate) fn advance(&mut self, ops: &mut Ops<'_>) -> Progress {
        while let Some(bytes) = self.read.remove(&self.applied) {
            let number = self.applied;
            self.applied += 1;
            let body = piece::decode(self.uuid, self.serial(number), &bytes).expect("it was looked at when it came");
            let understood = match number {
                0 => Contents::decode(body, &self.geometry).map(|contents| self.begin(contents)),
                _ => record::apply(&mut self.shards, &self.geometry, body),
            };
            if understood.is_err() {
                let at = self.piece(number).places.map(byte_of);
                self.refused.get_or_insert(OpenRefusal::CheckpointDamaged { at });
            }
        }
        if let Some(refusal) = self.refused.take() {
            return Progress::Refused(refusal);
        }
        let within = |asked: &Asked| asked.number < self.applied + AHEAD_MAX;
        while self.asked.len() < READS_MAX
            && self.waiting.front().is_some_and(within)
            && let Some(asked) = self.waiting.pop_front()
        {
            let id = ops.id();
            let len = asked.piece.blocks * BLOCK_BYTES as u32;
            ops.push(Op::Read { id, at: byte_of(asked.piece.places[asked.copy]), len });
            self.asked.insert(id, asked);
        }
        if !self.asked.is_empty() {
            return Progress::Going;
        }
        let mut shards = core::mem::replace(&mut self.shards, Shards::new(self.geometry));
        let mut loaded = core::mem::take(&mut self.loaded);
        self.settle(&mut shards, &mut loaded);
        Progress::Loaded(Box::new(shards), loaded)
    }

    fn piece(&self, number: usize) -> Piece {
        number.checked_sub(1).map_or(self.root, |i| self.loaded.contents.pieces[i])
    }

    fn serial(&self, number: usize) -> u64 {
        self.piece(number).serial
    }

    fn begin(&mut self, contents: Contents) {
        let pieces = contents.pieces.iter().enumerate();
        self.waiting.extend(pieces.map(|(i, piece)| Asked { number: i + 1, piece: *piece, copy: 0 }));
        self.loaded.contents = contents;
    }

    /// Says of each segment what it is used for: where blocks of shards lie the log, where pieces lie checkpoints. All others hold nothing.
    fn settle(&self, shards: &mut Shards, loaded: &mut Loaded) {
        shards.restored();
        let segments = &mut shards.segments;
        for segment in 0..self.geometry.segments() {
            if segments.live_in(segment) > 0 {
                segments.occupy(segment, 0);
            }
        }
        if let Some(head) = loaded.contents.standing.head {
            segments.occupy(head.segment, head.opened);
        }
        let root = Some(self.root).filter(|root| root.blocks > 0);
        for piece in loaded.contents.pieces.iter().copied().chain(root) {
            for place in piece.places {
                let segment = self.geometry.segment_of(place);
                if segments.used(segment) != Use::Checkpoint {
                    segments.keep(segment);
                    loaded.segments.push(segment);
                }
                segments.name(place, piece.blocks);
            }
        }
    }
}
