//! Checkpoints: what the log has built in memory, written down so that recovery need not read the log from its beginning, and so that
//! its segments can be written again.
//!
//! ```text
//! begin: all that changed, as it is after batch N ----> pieces and root, each written twice --+--> superblock 0 --> superblock 1 --> published
//!        (taken at once, in memory)                     N durable ---------------------------+                                     (old pieces and
//!                                                                                                                                   retired segments are free)
//! ```
//!
//! A checkpoint is a *base*, which says everything, and *deltas*, each of which says what changed since the one before. When the deltas have grown as long as the
//! base, a new base is written in the background, piece by piece, and takes their place: so a byte of change is written about twice,
//! whatever the store holds. Until both superblocks name the new root nothing of the old checkpoint is touched; a crash at any point leaves one that is whole.
//!
//! Two copies of every piece, in different segments, and two superblocks: one rotten byte takes nothing away.

pub(crate) mod load;
pub(crate) mod piece;
pub(crate) mod record;
mod root;

pub(crate) use load::{Loaded, Loading};
pub(crate) use piece::Piece;
pub(crate) use record::Cutter;
pub(crate) use root::{Contents, Head, Standing};

use crate::geometry::{Geometry, byte_of};
use crate::ops::Ops;
use crate::policy::Policy;
use crate::read::Reads;
use crate::shards::Shards;
use crate::superblock::{self, Root, Superblock};
use crate::survey::Survey;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use base::io::disk::{Op, OpId};
use base::mutant::{Mutant, Mutation};
use base::{BLOCK_BYTES, Payload, ShardId};
use piece::{HEAD_BYTES, blocks_of};
use record::RECORD_BYTES_MAX;

/// Blocks of a piece on large segments.
const PIECE_BLOCKS: u32 = 64;
/// Blocks of log after which a checkpoint is made at the latest, but never less than a segment: what changed is taken in one turn, for which all writes wait,
/// and that is seven milliseconds for so many blocks written at random.
const EVERY_BLOCKS_MAX: u64 = (32 << 20) / BLOCK_BYTES as u64;
/// Free segments that a base leaves to deltas, so that the next checkpoint always finds room.
const LEFT_BY_BASE: u32 = 2;

/// How far a checkpoint under way is.
#[derive(Debug)]
enum Stage {
    Resting,
    /// Taken, and waiting for free segments.
    Placing(Box<Taken>),
    /// Its pieces and its root are being written.
    Writing(Box<Next>),
    /// The superblocks are being written, this one now.
    Naming(Box<Next>, u32),
}

/// What changed, as it was when the log stood there.
#[derive(Debug)]
struct Taken {
    standing: Standing,
    bodies: Vec<Vec<u8>>,
    /// Dead segments that may be written again once the checkpoint is durable.
    retired: Vec<u32>,
}

/// A checkpoint under way.
#[derive(Debug)]
struct Next {
    contents: Contents,
    root: Piece,
    retired: Vec<u32>,
}

/// A base under way.
#[derive(Debug)]
struct Base {
    /// The shards that there were when it was begun, in order.
    shards: Vec<ShardId>,
    /// The shard being written, and its next chunk; none before its state.
    at: (usize, Option<u32>),
    cutter: Cutter,
    pieces: Vec<Piece>,
    /// The deltas that apply on top of it begin at this place of the current pieces.
    deltas_from: usize,
    /// All of it was written.
    whole: bool,
}

/// What a step may look at.
pub(crate) struct Surroundings<'a> {
    pub(crate) shards: &'a mut Shards,
    pub(crate) reads: &'a Reads,
    /// Free segments that are not to be taken: the one that the log names as its next, and the one that is being written with zeroes.
    pub(crate) spared: [u32; 2],
    /// The batch up to which it is durable.
    pub(crate) durable: u64,
}

/// The checkpoints of one store.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    geometry: Geometry,
    every_blocks: u64,
    protected_cache: bool,
    delta_pieces_min: usize,
    mutation: Mutation,
    piece_blocks: u32,
    superblock: Superblock,
    contents: Contents,
    /// The root of the checkpoint that holds.
    root: Piece,
    /// Where the next piece goes, for each copy: a segment, and its blocks that are taken.
    heads: [Option<(u32, u32)>; 2],
    /// The segments that hold pieces.
    segments: Vec<u32>,
    serial: u64,
    stage: Stage,
    base: Option<Base>,
    /// A copy was found rotten: a new base is to be written, whatever the deltas.
    renew: bool,
    /// Writes under way, of the checkpoint and of the base.
    writing: BTreeSet<OpId>,
    writing_base: BTreeSet<OpId>,
    /// Retired segments that may still be being read.
    releasing: Vec<u32>,
    /// Blocks that the log had appended when the last checkpoint was begun.
    begun_at: u64,
    written_blocks: u64,
}

/// Blocks that the longest record needs.
fn record_blocks() -> u32 {
    blocks_of(RECORD_BYTES_MAX + 13)
}

impl Checkpoints {
    /// Goes on after opening.
    pub(crate) fn new(policy: Policy, superblock: Superblock, loaded: Loaded) -> Self {
        let geometry = superblock.geometry;
        let root = superblock.root.piece;
        let per = u64::from(geometry.segment_blocks());
        // The root is the last piece of its checkpoint, so nothing that counts lies behind it.
        let behind = |copy: usize| {
            let segment = geometry.segment_of(root.places[copy]);
            (segment, root.places[copy] + root.blocks - geometry.place(segment, 0))
        };
        Self {
            geometry,
            every_blocks: (u64::from(policy.checkpoint_every_segments) * per).min(EVERY_BLOCKS_MAX.max(per)),
            protected_cache: policy.protected_cache,
            delta_pieces_min: policy.delta_pieces_min as usize,
            mutation: policy.mutation,
            piece_blocks: (geometry.segment_blocks() / 4).clamp(record_blocks(), PIECE_BLOCKS),
            superblock,
            heads: if root.blocks > 0 { [Some(behind(0)), Some(behind(1))] } else { [None; 2] },
            segments: loaded.segments,
            contents: loaded.contents,
            root,
            // Pieces that were written and never named may lie on the disk; a serial of theirs must not come again.
            serial: superblock.run << 32,
            stage: Stage::Resting,
            base: None,
            renew: loaded.rotten > 0,
            writing: BTreeSet::new(),
            writing_base: BTreeSet::new(),
            releasing: Vec::new(),
            begun_at: 0,
            written_blocks: 0,
        }
    }

    /// Whether a checkpoint is to be begun now, if `appended` blocks were appended.
    pub(crate) fn is_due(&self, appended: u64, urgent: bool) -> bool {
        matches!(self.stage, Stage::Resting)
            && self.every_blocks > 0
            && (appended - self.begun_at >= self.every_blocks
                || urgent
                || self.renew && self.base.is_none()
                || self.base.as_ref().is_some_and(|base| base.whole))
    }

    /// Takes what changed, as it is where the log stands now.
    pub(crate) fn begin(&mut self, shards: &mut Shards, standing: Standing, appended: u64) {
        self.begun_at = appended;
        let mut cutter = Cutter::new(self.body_bytes_max());
        shards.take_changes(&mut cutter);
        let mut retired = shards.segments.retire(standing.head.map(|head| head.segment));
        if self.mutation.is(Mutant::ReusedBeforeCheckpoint) {
            self.releasing.append(&mut retired);
        }
        self.stage = Stage::Placing(Box::new(Taken { standing, bodies: cutter.take(false), retired }));
    }

    /// Goes on as far as it can.
    pub(crate) fn step(&mut self, s: Surroundings<'_>, ops: &mut Ops<'_>) {
        let Surroundings { shards, reads, spared, durable } = s;
        match core::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::Placing(taken) => self.place(*taken, shards, spared, ops),
            Stage::Writing(next) if self.may_be_named(&next, durable) => {
                self.superblock.generation += 1;
                self.superblock.root = Root { batch: next.contents.standing.batch, piece: next.root };
                self.name(next, 0, ops);
            }
            Stage::Naming(next, 0) if self.writing.is_empty() && !self.mutation.is(Mutant::OneSuperblock) => {
                self.name(next, 1, ops);
            }
            Stage::Naming(next, _) if self.writing.is_empty() => self.publish(*next, shards),
            waiting => self.stage = waiting,
        }
        let is_read = |segment: &u32| reads.touch(self.geometry.place(*segment, 0), self.geometry.segment_blocks());
        for segment in self.releasing.extract_if(.., |segment| !is_read(segment)) {
            shards.segments.free_retired(segment);
        }
        self.write_base(shards, spared, ops);
    }

    /// Whether all that a superblock would name is on the disk.
    fn may_be_named(&self, next: &Next, durable: u64) -> bool {
        let written = self.writing.is_empty() || self.mutation.is(Mutant::NamedBeforeWritten);
        written && (durable >= next.contents.standing.batch || self.mutation.is(Mutant::NamedBeforeItsBatch))
    }

    /// Something of the checkpoint or a superblock was found rotten: all of it is written again.
    pub(crate) fn renew(&mut self) {
        self.renew = true;
    }

    /// The last batch that the checkpoint covers.
    pub(crate) fn covered(&self) -> u64 {
        self.contents.standing.batch
    }

    /// Whether these are the bytes of the superblock as it is now, or as it is just being written.
    pub(crate) fn is_superblock(&self, bytes: &[u8]) -> bool {
        let naming = matches!(self.stage, Stage::Naming(..));
        naming || matches!(superblock::decode(bytes), superblock::Copy::Whole(read) if read == self.superblock)
    }

    /// Copies of pieces that lie in a segment and are not whole there.
    pub(crate) fn rotten_in(&self, survey: &Survey) -> u64 {
        let root = Some(self.root).filter(|root| root.blocks > 0);
        let all = self.contents.pieces.iter().copied().chain(root);
        let here = all.flat_map(|piece| piece.places.map(|place| (piece, place)));
        let here = here.filter(|(_, place)| self.geometry.segment_of(*place) == survey.segment());
        let is_whole = |(piece, place): &(Piece, u32)| {
            let bytes = survey.blocks(*place, piece.blocks);
            bytes.is_some_and(|bytes| piece::decode(self.superblock.uuid, piece.serial, &bytes).is_some())
        };
        here.filter(|copy| !is_whole(copy)).count() as u64
    }

    /// A write ended, if it was one of these.
    pub(crate) fn done(&mut self, op: OpId) -> bool {
        self.writing.remove(&op) || self.writing_base.remove(&op)
    }

    /// Segments that it holds.
    pub(crate) fn segments_held(&self) -> u64 {
        self.segments.len() as u64
    }

    /// Blocks written since the opening.
    pub(crate) fn written_blocks(&self) -> u64 {
        self.written_blocks
    }

    /// Finds places for pieces and root, and writes them.
    fn place(&mut self, taken: Taken, shards: &mut Shards, spared: [u32; 2], ops: &mut Ops<'_>) {
        let base = self.base.as_ref().filter(|base| base.whole);
        let (base_pieces, mut pieces) = match base {
            Some(base) if self.mutation.is(Mutant::DeltasForgotten) => (base.pieces.len(), base.pieces.clone()),
            Some(base) => (base.pieces.len(), [&base.pieces, &self.contents.pieces[base.deltas_from..]].concat()),
            None => (self.contents.base_pieces as usize, self.contents.pieces.clone()),
        };
        // Not longer than the true root: its pieces have no places yet, and those that lie apart take the most room.
        let apart = Piece { serial: u64::MAX, places: [0; 2], blocks: 0 };
        pieces.extend(taken.bodies.iter().map(|_| apart));
        let contents =
            Contents { standing: taken.standing.clone(), base_pieces: base_pieces as u32, pieces: pieces.clone() };
        let root_bytes = contents.encode().len() + taken.bodies.len() * 2 * size_of::<Piece>();
        let blocks = taken.bodies.iter().map(|body| blocks_of(body.len())).chain([blocks_of(root_bytes)]);
        let usable = shards.segments.free_but(spared);
        if self.segments_for(blocks) > usable {
            self.stage = Stage::Placing(Box::new(taken));
            return;
        }
        if base.is_some() {
            (self.base, self.renew) = (None, false);
        }
        pieces.truncate(pieces.len() - taken.bodies.len());
        for body in &taken.bodies {
            pieces.push(self.write(body, shards, spared, ops));
        }
        let contents = Contents { pieces, ..contents };
        let root = self.write(&contents.encode(), shards, spared, ops);
        let deltas = contents.pieces.len() - base_pieces;
        if self.base.is_none() && (deltas > base_pieces.max(self.delta_pieces_min) || self.renew) {
            let (shards, deltas_from) = (shards.ids(), contents.pieces.len());
            let cutter = Cutter::new(self.body_bytes_max());
            self.base = Some(Base { shards, at: (0, None), cutter, pieces: Vec::new(), deltas_from, whole: false });
        }
        self.stage = Stage::Writing(Box::new(Next { contents, root, retired: taken.retired }));
    }

    /// How many segments must be begun for pieces of these blocks.
    fn segments_for(&self, blocks: impl Iterator<Item = u32> + Clone) -> u32 {
        let per = self.geometry.segment_blocks();
        let begun = |head: &Option<(u32, u32)>| {
            let mut left = head.map_or(0, |(_, offset)| per - offset);
            let mut segments = 0;
            for blocks in blocks.clone() {
                if blocks > left {
                    (segments, left) = (segments + 1, per);
                }
                left -= blocks.min(left);
            }
            segments
        };
        self.heads.iter().map(begun).sum()
    }

    /// Writes a piece twice. There is room: it was looked for before.
    fn write(&mut self, body: &[u8], shards: &mut Shards, spared: [u32; 2], ops: &mut Ops<'_>) -> Piece {
        let blocks = blocks_of(body.len());
        assert!(blocks <= self.geometry.segment_blocks(), "a piece of {blocks} blocks does not fit a segment");
        self.serial += 1;
        let bytes = piece::encode(self.superblock.uuid, self.serial, body);
        let places = [0, 1].map(|copy| self.take_place(copy, blocks, shards, spared));
        for place in places {
            let op = self.put(place, bytes.clone(), ops);
            self.writing.insert(op);
        }
        Piece { serial: self.serial, places, blocks }
    }

    fn take_place(&mut self, copy: usize, blocks: u32, shards: &mut Shards, spared: [u32; 2]) -> u32 {
        let per = self.geometry.segment_blocks();
        let (segment, offset) = match self.heads[copy] {
            Some((segment, offset)) if offset + blocks <= per => (segment, offset),
            _ => {
                let segment = shards.segments.take(spared).expect("a free segment was looked for before");
                self.segments.push(segment);
                (segment, 0)
            }
        };
        self.heads[copy] = Some((segment, offset + blocks));
        let place = self.geometry.place(segment, offset);
        shards.segments.name(place, blocks);
        place
    }

    fn put(&mut self, place: u32, bytes: Payload, ops: &mut Ops<'_>) -> OpId {
        self.written_blocks += u64::from(bytes.blocks());
        let id = ops.id();
        ops.push(Op::Write { id, at: byte_of(place), parts: vec![bytes], durable: !self.protected_cache });
        id
    }

    fn name(&mut self, next: Box<Next>, superblock: u32, ops: &mut Ops<'_>) {
        let op = self.put(superblock, self.superblock.encode(), ops);
        self.writing.insert(op);
        self.stage = Stage::Naming(next, superblock);
    }

    /// The new checkpoint holds: what only the old one named is free.
    fn publish(&mut self, next: Next, shards: &mut Shards) {
        let kept: BTreeSet<u64> = next.contents.pieces.iter().map(|piece| piece.serial).collect();
        let old_root = Some(self.root).filter(|root| root.blocks > 0);
        let gone = self.contents.pieces.iter().copied().filter(|piece| !kept.contains(&piece.serial)).chain(old_root);
        for piece in gone {
            piece.places.iter().for_each(|&place| shards.segments.forget(place, piece.blocks));
        }
        self.root = next.root;
        let heads = self.heads.map(|head| head.map(|(segment, _)| segment));
        let segments = &mut shards.segments;
        let is_empty = |segment: &u32| segments.live_in(*segment) == 0 && !heads.contains(&Some(*segment));
        let empty: Vec<u32> = self.segments.extract_if(.., |segment| is_empty(segment)).collect();
        empty.into_iter().for_each(|segment| segments.give_back(segment));
        self.releasing.extend(next.retired);
        self.contents = next.contents;
    }

    fn body_bytes_max(&self) -> usize {
        self.piece_blocks as usize * BLOCK_BYTES - HEAD_BYTES
    }

    /// Writes the next piece of a base under way, one at a time.
    fn write_base(&mut self, shards: &mut Shards, spared: [u32; 2], ops: &mut Ops<'_>) {
        let usable = shards.segments.free_but(spared).saturating_sub(LEFT_BY_BASE);
        let has_room = self.segments_for([self.piece_blocks; 2].into_iter()) <= usable;
        let Some(mut base) = self.base.take() else { return };
        if !base.whole && self.writing_base.is_empty() {
            while base.at.0 < base.shards.len() && base.cutter.bodies() < 2 {
                base.at = match shards.tell(base.shards[base.at.0], base.at.1, &mut base.cutter) {
                    Some(chunk) => (base.at.0, Some(chunk)),
                    None => (base.at.0 + 1, None),
                };
            }
            let ended = base.at.0 == base.shards.len();
            base.whole = ended && base.cutter.bodies() == 0;
            if has_room {
                let before = core::mem::take(&mut self.writing);
                for body in base.cutter.take(!ended) {
                    base.pieces.push(self.write(&body, shards, spared, ops));
                }
                self.writing_base = core::mem::replace(&mut self.writing, before);
            }
        }
        self.base = Some(base);
    }
}
