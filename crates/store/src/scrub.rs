//! Reads everything that is live once in a set time, and reports what does not match its checksum, so that rot is found while the other copies are good.
//!
//! Segment by segment, evenly over the period: those of the log through a [`Survey`], those of checkpoints piece by piece, and the superblocks at the end of each pass.
//! A block of a shard that is rotten, or that the disk fails to read, is the replica's to mend; of a rotten piece or superblock what is in memory is written again.
//! So it is for the header of a batch that recovery would have to read: the next start would find damage there, and all that was in the batch suspect,
//! though every word of it is in memory; a checkpoint takes its place.
//!
//! A pass has no beginning that is remembered: after a restart the next one begins with the first segment.

use crate::append::Log;
use crate::checkpoint::Checkpoints;
use crate::geometry::{BLOCK, Geometry};
use crate::ops::Ops;
use crate::policy::Policy;
use crate::read::Reads;
use crate::segments::Use;
use crate::shards::Shards;
use crate::survey::Survey;
use base::io::disk::{Fault, Op, OpId};
use base::log::Rot;
use base::time::Duration;
use base::{Payload, StoreUuid, Time, checksum};

/// How far scrubbing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Segments looked at in the pass under way.
    pub segments: u32,
    /// When the last pass ended; none since the opening.
    pub finished: Option<Time>,
    /// Headers that a start would need, pieces of checkpoints and superblocks that were found rotten and written again, or replaced by a checkpoint, since
    /// and by the opening.
    pub rewritten: u64,
}

#[derive(Debug)]
enum Stage {
    /// Until it is time for the next segment.
    Waiting,
    /// A segment is being read; what lies from this block on, and batches behind this one, were not written when that was begun.
    Segment(Survey, u32, u64),
    /// The superblocks are being read: those still to come.
    Superblocks([Option<OpId>; 2]),
}

/// The scrub of one store.
#[derive(Debug)]
pub(crate) struct Scrub {
    geometry: Geometry,
    uuid: StoreUuid,
    period: Duration,
    stage: Stage,
    next_segment: u32,
    due: Option<Time>,
    done: Scrubbed,
}

impl Scrub {
    /// Nothing looked at yet; so much was found rotten by opening.
    pub(crate) fn new(geometry: Geometry, uuid: StoreUuid, policy: Policy, rewritten: u64) -> Self {
        let (period, done) = (policy.scrub_period, Scrubbed { rewritten, ..Scrubbed::default() });
        Self { geometry, uuid, period, stage: Stage::Waiting, next_segment: 0, due: None, done }
    }

    /// How far it is.
    pub(crate) fn scrubbed(&self) -> Scrubbed {
        self.done
    }

    /// When it wants to go on.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.due.filter(|_| matches!(self.stage, Stage::Waiting))
    }

    /// Goes on as far as it is time.
    pub(crate) fn step(
        &mut self,
        now: Time,
        shards: &Shards,
        log: &Log,
        reads: &mut Reads,
        checkpoints: &mut Checkpoints,
        ops: &mut Ops<'_>,
    ) {
        if self.period == Duration::ZERO {
            return;
        }
        match &mut self.stage {
            Stage::Waiting => {
                if self.due.is_none() {
                    self.due = Some(now + self.gap(shards));
                }
                if self.due.is_some_and(|due| due <= now) {
                    self.begin(now, shards, log, ops);
                }
            }
            Stage::Segment(survey, end, through) => {
                survey.read_on(u64::MAX, ops);
                if survey.is_read() {
                    check(survey, (*end, *through), shards, reads, checkpoints, &mut self.done);
                    self.done.segments += 1;
                    self.rest(now, shards);
                }
            }
            Stage::Superblocks([None, None]) => {
                self.done = Scrubbed { segments: 0, finished: Some(now), ..self.done };
                self.rest(now, shards);
            }
            Stage::Superblocks(_) => {}
        }
    }

    /// A read ended, if it was one of these.
    pub(crate) fn done(&mut self, op: OpId, result: &Result<Payload, Fault>, checkpoints: &mut Checkpoints) -> bool {
        match &mut self.stage {
            Stage::Waiting => false,
            Stage::Segment(survey, ..) => survey.done(op, result),
            Stage::Superblocks(reading) => {
                let Some(read) = reading.iter_mut().find(|id| **id == Some(op)) else { return false };
                *read = None;
                if !result.as_ref().is_ok_and(|bytes| checkpoints.is_superblock(bytes)) {
                    checkpoints.renew();
                    self.done.rewritten += 1;
                }
                true
            }
        }
    }

    /// Between two segments.
    fn gap(&self, shards: &Shards) -> Duration {
        let used = u64::from(self.geometry.segments() - shards.segments.free()).max(1);
        Duration::from_nanos(self.period.as_nanos() as u64 / (used + 2))
    }

    fn rest(&mut self, now: Time, shards: &Shards) {
        self.stage = Stage::Waiting;
        self.due = Some(now + self.gap(shards));
    }

    fn begin(&mut self, now: Time, shards: &Shards, log: &Log, ops: &mut Ops<'_>) {
        let (segments, settled, head) = (&shards.segments, log.settled_before(), log.durable_head());
        let is_head = |segment: u32| head.is_some_and(|(head, _)| head == segment);
        // What is just being appended is young; another pass will meet it.
        let fit = |segment: &u32| match segments.used(*segment) {
            Use::Log => {
                let durable = settled.is_some_and(|s| segments.opened(*segment) < s) || is_head(*segment);
                segments.live_in(*segment) > 0 && durable
            }
            Use::Checkpoint => true,
            Use::Free | Use::Retired => false,
        };
        if let Some(segment) = (self.next_segment..self.geometry.segments()).find(fit) {
            self.next_segment = segment + 1;
            let mut survey = Survey::new(self.geometry, self.uuid, segment, 1);
            survey.read_on(u64::MAX, ops);
            let end = head.filter(|(head, _)| *head == segment).map_or(self.geometry.segment_blocks(), |(_, end)| end);
            self.stage = Stage::Segment(survey, end, log.durable_through());
        } else if settled.is_none() {
            self.rest(now, shards);
        } else {
            self.next_segment = 0;
            let ids = [0, 1].map(|place| {
                let id = ops.id();
                ops.push(Op::Read { id, at: place * BLOCK, len: BLOCK as u32 });
                Some(id)
            });
            self.stage = Stage::Superblocks(ids);
        }
    }
}

/// Holds a segment that was read to what is known of it now.
fn check(
    survey: &Survey,
    (end, through): (u32, u64),
    shards: &Shards,
    reads: &mut Reads,
    checkpoints: &mut Checkpoints,
    done: &mut Scrubbed,
) {
    let rotten = match shards.segments.used(survey.segment()) {
        Use::Log => {
            for (named, bytes) in survey.live(shards).into_iter().filter(|(named, _)| survey.offset_of(named) < end) {
                if bytes.is_none_or(|bytes| checksum::block(named.shard, named.block, &bytes) != named.crc) {
                    reads.found(named.shard, Rot { block: named.block, crc: named.crc, place: named.place });
                }
            }
            lost_headers(survey, through, shards, checkpoints.covered())
        }
        Use::Checkpoint => checkpoints.rotten_in(survey),
        Use::Free | Use::Retired => 0,
    };
    if rotten > 0 {
        checkpoints.renew();
        done.rewritten += rotten;
    }
}

/// How many batches of a segment recovery would read, and cannot: those behind the last one that the checkpoint covers, up to `through`. The numbers of
/// batches have no gaps, and a segment holds all from that with which it was opened up to the next.
fn lost_headers(survey: &Survey, through: u64, shards: &Shards, covered: u64) -> u64 {
    let segments = &shards.segments;
    let opened = segments.opened(survey.segment());
    let taken = (0..segments.count()).filter(|segment| matches!(segments.used(*segment), Use::Log | Use::Retired));
    let next = taken.map(|segment| segments.opened(segment)).filter(|other| *other > opened).min();
    let batches = opened.max(covered + 1)..next.unwrap_or(u64::MAX).min(through + 1);
    let whole = survey.batches(shards).iter().filter(|batch| batches.contains(batch)).count() as u64;
    batches.end.saturating_sub(batches.start).saturating_sub(whole)
}
