//! Power fails at every step of checkpoints and of the cleaner, while a few acts are done at every step of them.
//!
//! A *scene* is a store at rest in which writes to one shard are about to set that off. They are asked for at a fixed pace; the acts, to another shard whose blocks lie
//! among those that are moved, all at one step. The disk does one operation a step: always the oldest, or always the newest, so that what the log
//! writes ends before what the checkpoint writes, and the other way round; or the checkpoint's as late as can be.

use super::acts::Act;
use super::asked::Asked;
use super::pages::{Effort, Left, Unflushed};
use super::{Counts, Setup, begin_with_a_little, split};
use crate::bench::disk::{Disk, written};
use crate::bench::{BLOCKS, Bench, data, register, shard};
use base::io::disk::{Op, OpId};
use base::log::Register;
use base::{Rng, Sequence, ShardId};
use std::collections::BTreeSet;
use store::{Phase, Policy};

/// What begins a piece of a checkpoint.
const PIECE: &[u8] = b"SWCHECK\x01";
/// The shard that is written to.
const WRITTEN: u64 = 2;
/// Steps after which a scene has come to an end.
const STEPS_MAX: usize = 2_000;

/// A store at rest, and what is to happen.
pub struct Scene {
    pub name: &'static str,
    pub setup: Setup,
    /// First block and number of blocks of each write.
    writes: Vec<(u32, u32)>,
    /// Steps from one to the next.
    pace: usize,
    /// Segments, by their first places, with blocks that will have to be moved or overwritten before they are written again.
    in_use: Vec<u32>,
}

/// Whether it writes a piece or a superblock.
fn is_of_checkpoint(op: &Op) -> bool {
    written(op).first().is_some_and(|(place, bytes)| *place < 2 || bytes.starts_with(PIECE))
}

/// Which operation the disk does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    OldestFirst,
    NewestFirst,
    /// What a checkpoint writes waits as long as anything else is done or will be asked for.
    CheckpointLast,
    /// So many writes of checkpoints are done, and the next takes as long as all else: the pieces of a base wait for nothing, and nothing for them.
    OneLate(usize),
}

impl Order {
    /// Which of these operations, if any; `seen` are those of checkpoints so far, and `over` says that nothing more will be asked for.
    fn next(self, flying: &[Op], seen: &mut BTreeSet<OpId>, over: bool) -> Option<usize> {
        let ids = flying.iter().filter(|op| is_of_checkpoint(op)).filter_map(|op| match op {
            Op::Write { id, .. } => Some(*id),
            _ => None,
        });
        seen.extend(ids);
        let late = match self {
            Self::OldestFirst => return (!flying.is_empty()).then_some(0),
            Self::NewestFirst => return flying.len().checked_sub(1),
            Self::CheckpointLast => None,
            Self::OneLate(nth) => seen.iter().nth(nth),
        };
        let waits = |op: &Op| match (self, op) {
            (Self::CheckpointLast, op) => is_of_checkpoint(op),
            (_, Op::Write { id, .. }) => late == Some(id),
            _ => false,
        };
        let first = flying.iter().position(|op| !waits(op));
        first.or((over && !flying.is_empty()).then_some(0))
    }
}

/// What a scene is made of.
struct Shape {
    segments: u64,
    /// Blocks of the shard that is written.
    blocks: u32,
    /// Writes before it, and in it, and how many steps from one of these to the next.
    overwrites: usize,
    meanwhile: usize,
    pace: usize,
    policy: Policy,
}

/// One way through a scene.
#[derive(Clone, Debug)]
pub struct Way {
    pub acts: Vec<Act>,
    /// The step at which they are asked for.
    pub at: usize,
    /// The steps from there on at which power fails.
    pub steps: usize,
    pub order: Order,
}

fn policy() -> Policy {
    Policy { preallocated: true, checkpoint_every_segments: 1, delta_pieces_min: 1, ..Policy::default() }
}

/// Writes to the shard of a scene: the next sequence, and all before it is committed.
fn write(bench: &mut Bench, asked: &mut Asked, block: u32, count: u32) {
    let s = shard(WRITTEN);
    let end = asked.model().shards.get(&s).map_or(0, |s| s.end().sequence.0);
    asked.commit(bench, s, Sequence(end));
    let tag = 10_000 + end * 10;
    asked.append(bench, s, data(end + 1, block, (0..u64::from(count)).map(|i| tag + i)));
}

/// Some writes within the first `blocks`.
fn writes(rng: &mut Rng, count: usize, blocks: u32) -> Vec<(u32, u32)> {
    let one = |rng: &mut Rng| {
        let len = rng.within(1, 4) as u32;
        (rng.below(u64::from(blocks - len)) as u32, len)
    };
    (0..count).map(|_| one(rng)).collect()
}

impl Scene {
    /// A shard of so many blocks written from front to back and then overwritten at random, on so many segments.
    fn new(name: &'static str, shape: Shape) -> Self {
        let Shape { segments, blocks, overwrites, meanwhile, pace, policy } = shape;
        let mut rng = Rng::new(segments);
        let mut bench = Bench::ready_with(segments, policy);
        begin_with_a_little(&mut bench);
        let s = shard(WRITTEN);
        let mut asked = Asked::on(super::Model::default());
        asked.append(&mut bench, s, register(s, 1));
        for block in (0..blocks).step_by(4) {
            write(&mut bench, &mut asked, block, 4.min(blocks - block));
        }
        for (block, count) in writes(&mut rng, overwrites, blocks) {
            write(&mut bench, &mut asked, block, count);
            bench.settle();
        }
        asked.commit(&mut bench, s, Sequence(u64::MAX));
        asked.append(&mut bench, s, register(s, 2));
        bench.settle();
        let setup = Setup::of(bench, vec![shard(1), s], BLOCKS);
        let bench = setup.found(setup.disk.clone()).0;
        let per = (setup.geometry.segment_bytes / 4096) as u32;
        let first = (setup.geometry.preface_bytes / 4096) as u32;
        let live = bench.store.live_blocks_by_segment();
        let in_use = (0..).zip(live).filter(|(_, live)| *live > 0).map(|(segment, _)| first + segment * per).collect();
        Self { name, setup, writes: writes(&mut rng, meanwhile, blocks), pace, in_use }
    }

    /// Few segments, which are not cleaned: checkpoints, and segments that die by themselves.
    pub fn checkpoint() -> Self {
        Self::new(
            "checkpoint",
            Shape { segments: 24, blocks: 24, overwrites: 60, meanwhile: 14, pace: 3, policy: policy() },
        )
    }

    /// As many as are cleaned, most of them written: the cleaner, and checkpoints that free what it emptied.
    pub fn cleaner() -> Self {
        Self::new(
            "cleaner",
            Shape { segments: 34, blocks: 150, overwrites: 500, meanwhile: 40, pace: 3, policy: policy() },
        )
    }

    /// A few blocks that are overwritten all the time, so that whole segments of the log behind the last checkpoint die, and more of that than there are
    /// segments. While a checkpoint waits the log must not go round into what recovery would still read.
    pub fn hot() -> Self {
        let policy = Policy { checkpoint_every_segments: 3, ..policy() };
        Self::new("hot", Shape { segments: 34, blocks: 8, overwrites: 20, meanwhile: 180, pace: 1, policy })
    }

    /// One way without acts.
    pub fn alone(order: Order) -> Way {
        Way { acts: vec![], at: 0, steps: STEPS_MAX, order }
    }

    /// The same with a mutation.
    pub fn with(mut self, policy: impl FnOnce(Policy) -> Policy) -> Self {
        self.setup.policy = policy(self.setup.policy);
        self
    }

    /// How many steps it has without acts.
    pub fn steps(&self) -> usize {
        let way = Self::alone(Order::OldestFirst);
        let mut steps = 0;
        self.play(&way, |_, _, step| {
            steps = step + 1;
            true
        });
        steps
    }

    /// Plays it, and shows each step before the disk does the next operation, to its end or as long as somebody wants to see it.
    fn play(&self, way: &Way, mut show: impl FnMut(&Bench, &Asked, usize) -> bool) {
        let mut bench = Bench::on(self.setup.disk.clone(), self.setup.geometry, self.setup.policy);
        bench.step();
        while *bench.store.phase() == Phase::Opening {
            bench.perform(0);
            bench.step();
        }
        let mut asked = Asked::on(self.setup.model.clone());
        let (mut writes, mut late) = (self.writes.iter(), BTreeSet::new());
        for step in 0..STEPS_MAX {
            let next = if step % self.pace == 0 { writes.next() } else { None };
            if let Some(&(block, count)) = next {
                write(&mut bench, &mut asked, block, count);
            }
            if step == way.at {
                way.acts.iter().enumerate().for_each(|(n, act)| act.ask(n, &mut bench, &mut asked));
            }
            bench.step();
            if !show(&bench, &asked, step) {
                return;
            }
            if bench.disk.flying.is_empty() && writes.len() == 0 && step >= way.at {
                return;
            }
            if let Some(at) = way.order.next(&bench.disk.flying, &mut late, writes.len() == 0) {
                bench.perform(at);
            }
        }
        panic!("{}: the store never comes to rest", self.name);
    }

    /// Goes one way and lets power fail at its steps.
    pub fn go(&self, way: &Way, effort: &Effort) -> Counts {
        let mut counts = Counts { sequences: 1, ..Counts::default() };
        let mut last = None;
        self.play(way, |bench, asked, step| {
            let acknowledged = asked.acknowledged(bench);
            let flying = bench.disk.flying.iter().filter_map(|op| match op {
                Op::Write { id, .. } => Some(*id),
                _ => None,
            });
            // What only reads changed, the disk does not remember.
            let now = (acknowledged, flying.collect::<Vec<_>>(), bench.store.activity());
            let is_new = last.replace(now.clone()) != Some(now);
            if is_new && (way.at..way.at + way.steps).contains(&step) {
                let about = || format!("{}, {way:?}, crash at step {step}", self.name);
                split::about(about, || counts += self.crash(bench, (asked, acknowledged), step, effort));
            }
            step < way.at + way.steps
        });
        counts
    }

    fn crash(&self, bench: &Bench, (asked, acknowledged): (&Asked, usize), step: usize, effort: &Effort) -> Counts {
        let durable = bench.disk.shared();
        let unflushed = Unflushed::of(&bench.disk, effort);
        let all = unflushed.all_left(effort, &mut Rng::new(step as u64));
        let whole = unflushed.is_small(effort) && all.len() < effort.most;
        let mut counts = Counts { points: 1, whole_points: u64::from(whole), ..Counts::default() };
        for left in &all {
            let disk = unflushed.lay(&durable, left);
            self.count(&mut counts, &disk, &unflushed, left);
            split::about(
                || format!("{left:?}"),
                || {
                    self.setup.check(disk, (asked, acknowledged), |bench, asked| {
                        go_on(bench, asked);
                        let done = bench.store.activity();
                        counts.checkpoints_after += u64::from(done.checkpoint_bytes > 0);
                        counts.moves_after += u64::from(done.moved_bytes > 0);
                    });
                },
            );
        }
        counts
    }

    fn count(&self, counts: &mut Counts, disk: &Disk, unflushed: &Unflushed, left: &Left) {
        counts.states += 1;
        counts.torn += u64::from(left.torn.is_some());
        counts.half_checkpoints += u64::from(unflushed.is_half(left, |page| page.bytes.starts_with(PIECE)));
        counts.half_named += u64::from(disk.durable(0) != disk.durable(1));
        counts.torn_superblocks += u64::from(unflushed.is_torn(left, |page| page.place < 2));
        let begun_again = |place: &u32| disk.durable(*place)[..512] != self.setup.disk.durable(*place)[..512];
        counts.reused += u64::from(self.in_use.iter().any(begun_again));
    }
}

/// More than a segment of writes: another checkpoint, and what the cleaner does for it.
fn go_on(bench: &mut Bench, asked: &mut Asked) {
    let s: ShardId = shard(1);
    let Some(Register { promised, .. }) = asked.model().shards[&s].register.clone() else {
        panic!("it has a register")
    };
    asked.append(bench, s, register(s, promised.0 + 1));
    for i in 0..6 {
        write(bench, asked, i * 5, 3);
    }
    bench.settle();
}

/// Steps at which power fails after so many acts were asked for: what they bring has come to its end by then.
const STEPS_AFTER: [usize; 3] = [STEPS_MAX, 16, 8];

/// Ways through a scene with each sequence of so many acts, asked for at every `stride`th step. What is before that step is the same as with fewer acts.
pub fn ways(scene: &Scene, acts: usize, stride: usize) -> Vec<Way> {
    let all = scene.steps();
    let steps = STEPS_AFTER[acts];
    let starts: Vec<usize> = (0..if acts == 0 { 1 } else { all }).step_by(stride).collect();
    let mut ways = vec![];
    for (i, acts) in super::acts::sequences(acts).into_iter().enumerate() {
        // With a stride the sequences take turns.
        for &at in &starts {
            let at = if acts.is_empty() { at } else { at + i % stride };
            for order in [Order::OldestFirst, Order::NewestFirst, Order::CheckpointLast] {
                ways.push(Way { acts: acts.clone(), at, steps, order });
            }
        }
    }
    ways
}

/// Without acts: each order, and each of the first writes of a checkpoint late.
pub fn lone_ways(late: usize) -> Vec<Way> {
    let orders = [Order::OldestFirst, Order::NewestFirst, Order::CheckpointLast].into_iter();
    orders.chain((0..late).map(Order::OneLate)).map(Scene::alone).collect()
}

/// Goes through them.
pub fn go_through(scene: &Scene, ways: &[Way], effort: &Effort) -> Counts {
    split::over(ways, |way| scene.go(way, effort))
}
