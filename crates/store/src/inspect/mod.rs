//! Looks at a disk and changes nothing: what is on it, whoever it belongs to, and as much as can be had of what an opening refuses.
//!
//! ```text
//! Superblocks --one holds--> Pieces --all whole--> Firsts --> Walking --the chain ends--------------------------> Done --> Extracting
//!      |                       |                                 |                                                 ^
//!      +--both damaged--+      +--one is lost---+                +--durable batch missing--> Survey --> Log -------+
//!                       v                       v                                                        ^
//!                     Guess ----------------> Survey --> History, merged with the pieces that are left --+
//! ```
//!
//! While the chain holds this is what an opening does, by the same code (`walk`), up to where that would begin to write. Where it does not, every
//! header on the disk is gathered (`survey`) and those that were not cut are replayed in their order (`replay`); [`Report::salvage`] says so, and each
//! shard says whether it may lack something. It asks for one read at a time and never for anything else.

mod extract;
mod merge;
mod pieces;
mod read;
mod replay;
mod report;
mod survey;

pub use report::{
    BatchSeen, CheckpointSeen, Extracted, LogEnd, PieceSeen, Report, Salvage, SegmentSeen, SegmentUse, ShardSeen,
    SuperblockFields, SuperblockSeen,
};

use crate::checkpoint::Standing;
use crate::geometry::{Geometry, byte_of};
use crate::header::Fixed;
use crate::refusal::OpenRefusal;
use crate::shards::Shards;
use crate::superblock::{self, Copy, Root, Superblock, VERSION, Verdict};
use crate::walk::{Need, Next, Trace, Walk};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use base::io::disk::{Done, Op};
use base::log::Stamp;
use base::{ClusterId, NodeId, ShardId};
use extract::Extraction;
use pieces::Pieces;
use read::Reading;
use replay::Replay;
use survey::Survey;

#[derive(Debug)]
enum Stage {
    Superblocks(Vec<Copy>),
    /// Looking at the first block of each segment for the name of the store.
    Guess(u32),
    Pieces(Box<Pieces>),
    Firsts(Box<Walk>, u32),
    Walking(Box<Walk>),
    Survey(Box<Survey>, Box<Shards>),
    /// Up to where the checkpoint stands, if there is one: what headers say, and what the pieces said.
    History(Box<Replay>, Box<Shards>, Box<Shards>),
    Log(Box<Replay>, Box<Shards>),
    Done(Box<Shards>),
    Extracting(Box<Extraction>, Box<Shards>),
    Over,
}

/// The inspection of one disk.
#[derive(Debug)]
pub struct Inspection {
    reading: Reading,
    stage: Stage,
    superblock: Superblock,
    standing: Standing,
    /// The segments that pieces lie in.
    piece_segments: BTreeSet<u32>,
    /// A piece of the checkpoint is lost, or what would lead to it.
    blind: bool,
    report: Report,
}

impl Inspection {
    /// Of a disk of this shape. Only its capacity matters, unless both superblocks are damaged: then it is taken for the shape that the disk was formatted with.
    pub fn new(offered: Geometry) -> Self {
        let superblock = Superblock {
            uuid: Default::default(),
            node: NodeId(0),
            cluster: ClusterId(0),
            geometry: offered,
            generation: 0,
            run: 0,
            run_first: 0,
            root: Root::default(),
        };
        let report = Report {
            superblocks: [SuperblockSeen::Damaged; 2],
            geometry: offered,
            checkpoint: None,
            segments: Vec::new(),
            batches: Vec::new(),
            end: LogEnd::NotFollowed,
            refusal: None,
            damage: None,
            salvage: None,
            shards: Vec::new(),
        };
        Self {
            reading: Reading::default(),
            stage: Stage::Superblocks(Vec::new()),
            superblock,
            standing: Standing::default(),
            piece_segments: BTreeSet::new(),
            blind: false,
            report,
        }
    }

    /// Goes on: asks for a read, or for none when it is done.
    pub fn step(&mut self, ops: &mut Vec<Op>) {
        loop {
            let before = ops.len();
            let stage = core::mem::replace(&mut self.stage, Stage::Over);
            self.stage = self.go(stage, ops);
            let rests = match &self.stage {
                Stage::Done(_) => true,
                Stage::Extracting(extraction, _) => !extraction.out.is_empty(),
                _ => false,
            };
            if rests || ops.len() > before || self.reading.is_under_way() {
                return;
            }
        }
    }

    /// A read ended.
    pub fn done(&mut self, done: Done) {
        self.reading.done(done);
    }

    /// What was found, when all was looked at.
    pub fn report(&self) -> Option<&Report> {
        matches!(self.stage, Stage::Done(_) | Stage::Extracting(..)).then_some(&self.report)
    }

    /// Begins to read the blocks of a shard; false if there is none of this name. To be asked when the report is there.
    pub fn extract(&mut self, shard: ShardId) -> bool {
        let Stage::Done(shards) = core::mem::replace(&mut self.stage, Stage::Over) else {
            panic!("extracting begins when the report is there and no other extraction is under way");
        };
        let Some(extraction) = shards.get(shard).map(|s| Extraction::new(shard, s, self.superblock.geometry)) else {
            self.stage = Stage::Done(shards);
            return false;
        };
        self.stage = Stage::Extracting(Box::new(extraction), shards);
        true
    }

    /// What was extracted since the last call; none when the extraction is over.
    pub fn extracted(&mut self) -> Option<Vec<Extracted>> {
        let Stage::Extracting(extraction, _) = &mut self.stage else { return None };
        Some(core::mem::take(&mut extraction.out))
    }

    /// The chunks (512 KiB) of a shard of which a block is written, with the stamp of the last committed write or trim of each; zero where all was copied.
    pub fn chunk_versions(&self, shard: ShardId) -> Vec<(u32, Stamp)> {
        let (Stage::Done(shards) | Stage::Extracting(_, shards)) = &self.stage else { return Vec::new() };
        let index = shards.get(shard).map(|s| &s.index);
        let chunks = index.into_iter().flat_map(|index| {
            let after = |chunk: &u32| index.next_chunk(chunk + 1);
            core::iter::successors(index.next_chunk(0), after).filter_map(|n| Some((n, index.version(n)?)))
        });
        chunks.collect()
    }

    fn go(&mut self, stage: Stage, ops: &mut Vec<Op>) -> Stage {
        match stage {
            Stage::Superblocks(copies) => self.superblocks(copies, ops),
            Stage::Guess(segment) => self.guess(segment, ops),
            Stage::Pieces(mut pieces) => {
                if pieces.step(&mut self.reading, ops) {
                    self.loaded(*pieces)
                } else {
                    Stage::Pieces(pieces)
                }
            }
            Stage::Firsts(walk, segment) => self.firsts(walk, segment, ops),
            Stage::Walking(walk) => self.walking(walk, ops),
            Stage::Survey(mut survey, shards) => {
                if survey.step(&mut self.reading, ops) {
                    self.surveyed(*survey, shards)
                } else {
                    Stage::Survey(survey, shards)
                }
            }
            Stage::History(mut replay, mut told, mut pieced) => {
                let through = self.standing.batch;
                if replay.step(through, &mut told, &mut self.reading, ops) {
                    replay.skip_to(through);
                    merge::merge(&mut pieced, &told, &|place| replay.batch_of(place));
                    pieced.restored();
                    Stage::Log(replay, pieced)
                } else {
                    Stage::History(replay, told, pieced)
                }
            }
            Stage::Log(mut replay, mut shards) => {
                if replay.step(u64::MAX, &mut shards, &mut self.reading, ops) {
                    self.salvaged(*replay, shards)
                } else {
                    Stage::Log(replay, shards)
                }
            }
            Stage::Extracting(mut extraction, shards) => {
                let shard = shards.get(extraction.shard).expect("it was there when the extraction began");
                // What was found must be taken before more is read, and before the end.
                if extraction.out.is_empty()
                    && extraction.step(shard, &mut self.reading, ops)
                    && extraction.out.is_empty()
                {
                    Stage::Done(shards)
                } else {
                    Stage::Extracting(extraction, shards)
                }
            }
            rest @ (Stage::Done(_) | Stage::Over) => rest,
        }
    }

    fn superblocks(&mut self, mut copies: Vec<Copy>, ops: &mut Vec<Op>) -> Stage {
        while copies.len() < 2 {
            let need = Need { place: copies.len() as u32, blocks: 1 };
            let Some(read) = self.reading.get(need, ops) else { return Stage::Superblocks(copies) };
            if let (Err(fault), None) = (&read, &self.report.refusal) {
                self.report.refusal = Some(OpenRefusal::Unreadable { at: byte_of(need.place), fault: *fault });
            }
            copies.push(read.map_or(Copy::Damaged, |bytes| superblock::decode(&bytes)));
        }
        self.report.superblocks = [copies[0], copies[1]].map(report::superblock);
        let unreadable = self.report.refusal.take();
        match superblock::judge(copies[0], copies[1]) {
            Verdict::Holds(superblock) => {
                let capacity_bytes = self.report.geometry.capacity_bytes;
                let formatted_bytes = superblock.geometry.capacity_bytes;
                if formatted_bytes > capacity_bytes {
                    self.report.refusal = Some(OpenRefusal::Shrunk { formatted_bytes, capacity_bytes });
                }
                (self.superblock, self.report.geometry) = (superblock, superblock.geometry);
                Stage::Pieces(Box::new(Pieces::new(superblock)))
            }
            Verdict::Newer(found) => self.end(OpenRefusal::NewerFormat { found, known: VERSION }),
            Verdict::Blank => self.end(OpenRefusal::Blank),
            Verdict::Damaged => {
                self.refuse(unreadable.unwrap_or(OpenRefusal::SuperblocksDamaged));
                Stage::Guess(0)
            }
        }
    }

    /// The first reason is the one that an opening would give.
    fn refuse(&mut self, refusal: OpenRefusal) {
        self.report.refusal.get_or_insert(refusal);
    }

    fn end(&mut self, refusal: OpenRefusal) -> Stage {
        self.refuse(refusal);
        Stage::Done(Box::new(Shards::new(self.report.geometry)))
    }

    /// With both superblocks gone a header that lies where it says it lies names the store, and shows that the shape is the right one.
    fn guess(&mut self, segment: u32, ops: &mut Vec<Op>) -> Stage {
        let geometry = self.superblock.geometry;
        if segment == geometry.segments() {
            return Stage::Done(Box::new(Shards::new(geometry)));
        }
        let place = geometry.place(segment, 0);
        let Some(read) = self.reading.get(Need { place, blocks: 1 }, ops) else { return Stage::Guess(segment) };
        let fixed = read.ok().and_then(|block| Fixed::decode(&block));
        match fixed.filter(|fixed| (fixed.segment, fixed.place) == (segment, place)) {
            None => Stage::Guess(segment + 1),
            Some(fixed) => {
                self.superblock.uuid = fixed.uuid;
                self.blind = true;
                self.survey(0, Box::new(Shards::new(geometry)))
            }
        }
    }

    fn survey(&self, floor: u64, shards: Box<Shards>) -> Stage {
        let Superblock { uuid, geometry, run, run_first, .. } = self.superblock;
        // Without a superblock nothing is known of the last run; it counts as one that cut nothing.
        let run = if run == 0 { (0, 1) } else { (run, run_first) };
        Stage::Survey(Box::new(Survey::new(uuid, geometry, run, floor)), shards)
    }

    fn loaded(&mut self, pieces: Pieces) -> Stage {
        self.piece_segments = pieces.segments().collect();
        let Pieces { contents, mut shards, seen, lost, .. } = pieces;
        self.report.checkpoint = Some(seen).filter(|seen| !seen.pieces.is_empty());
        self.standing = contents.standing;
        // If the root is lost, the superblock still says how far it went.
        self.standing.batch = self.standing.batch.max(self.superblock.root.batch);
        if let Some(refusal) = lost {
            self.refuse(refusal);
            self.blind = true;
            return self.survey(0, Box::new(shards));
        }
        shards.restored();
        Stage::Firsts(Box::new(Walk::new(&self.superblock, shards, &self.standing).traced()), 0)
    }

    fn firsts(&mut self, mut walk: Box<Walk>, mut segment: u32, ops: &mut Vec<Op>) -> Stage {
        let geometry = self.superblock.geometry;
        while segment < geometry.segments() {
            let need = Need { place: geometry.place(segment, 0), blocks: 1 };
            match self.reading.get(need, ops) {
                None => return Stage::Firsts(walk, segment),
                Some(Ok(bytes)) => walk.first(segment, &bytes),
                // If it is of importance, the walk meets it again.
                Some(Err(_)) => {}
            }
            segment += 1;
        }
        walk.begin();
        Stage::Walking(walk)
    }

    fn walking(&mut self, mut walk: Box<Walk>, ops: &mut Vec<Op>) -> Stage {
        let refusal = loop {
            match walk.advance() {
                Next::Done => break None,
                Next::Read(need) => match self.reading.get(need, ops) {
                    None => return Stage::Walking(walk),
                    Some(Ok(bytes)) => walk.read(bytes),
                    Some(Err(fault)) => break Some(OpenRefusal::Unreadable { at: byte_of(need.place), fault }),
                },
            }
        };
        self.report.damage = walk.damage();
        let (shards, last, Trace { batches, torn }) = walk.surrender(self.report.damage.is_some());
        self.report.batches = batches.iter().map(replay::seen).collect();
        let shards = Box::new(shards);
        if refusal.is_some() || self.report.damage.is_some() {
            refusal.into_iter().for_each(|refusal| self.refuse(refusal));
            return self.survey(last, shards);
        }
        self.report.end = if torn == 0 { LogEnd::End } else { LogEnd::TornTail { headers: torn } };
        self.finish(&shards, None);
        Stage::Done(shards)
    }

    fn surveyed(&mut self, mut survey: Survey, shards: Box<Shards>) -> Stage {
        let last = self.report.batches.last().map_or(if self.blind { 0 } else { self.standing.batch }, |b| b.batch);
        let durable = survey.durable.max(self.standing.batch);
        let mut replay = Replay::new(survey.found(), last, durable, self.blind);
        replay.salvage.unreadable_blocks = survey.unreadable_blocks;
        if self.blind {
            let told = Shards::new(self.superblock.geometry);
            Stage::History(Box::new(replay), Box::new(told), shards)
        } else {
            Stage::Log(Box::new(replay), shards)
        }
    }

    fn salvaged(&mut self, mut replay: Replay, shards: Box<Shards>) -> Stage {
        replay.close();
        if self.blind {
            replay.salvage.all_suspect = true;
            if self.standing.batch == 0 {
                // Where the log began that is behind the checkpoint nobody knows, so nobody knows what of it is missing.
                replay.salvage.lost.clear();
            }
        }
        self.report.end = if self.blind { LogEnd::NotFollowed } else { LogEnd::Broken };
        self.report.batches.append(&mut replay.batches);
        self.report.salvage = Some(replay.salvage);
        self.finish(&shards, Some(&replay.suspects));
        Stage::Done(shards)
    }

    /// Says what is in memory now.
    fn finish(&mut self, shards: &Shards, suspects: Option<&BTreeSet<ShardId>>) {
        let geometry = self.superblock.geometry;
        let head = self.report.batches.last().map(|b| b.segment).or(self.standing.head.map(|head| head.segment));
        let segment = |number: u32| SegmentSeen {
            used: if self.piece_segments.contains(&number) {
                SegmentUse::Checkpoint
            } else if shards.segments.live_in(number) > 0 || head == Some(number) {
                SegmentUse::Log
            } else {
                SegmentUse::Free
            },
            live_blocks: shards.segments.live_in(number),
            first_batch: shards.segments.opened(number),
        };
        self.report.segments = (0..geometry.segments()).map(segment).collect();
        let all = self.report.salvage.as_ref().is_some_and(|salvage| salvage.all_suspect);
        let seen = |id: ShardId| {
            let shard = shards.get(id)?;
            let suspect = all || suspects.is_some_and(|suspects| suspects.contains(&id));
            Some(report::shard(id, shard, suspect))
        };
        self.report.shards = shards.ids().into_iter().filter_map(seen).collect();
    }
}
