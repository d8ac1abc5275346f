//! Crash states of a store: what a loss of power may leave on its disk, and what must be found there.
//!
//! The model is a map of what was acknowledged ([`crate::bench::model`]). After any crash the store holds what some prefix of all that was asked for leaves, with
//! everything acknowledged in it; it goes on from there, power fails once more, and that holds again, so nothing that was cut off comes back.
//!
//! | module | goes through |
//! |---|---|
//! | `acts`, `asked` | what can be asked for, and what each prefix of it leaves |
//! | `pages` | what is left of writes that were not flushed |
//! | `short` | all sequences of few acts, at all crash points |
//! | `meanwhile` | all steps of a checkpoint or the cleaner, with few acts done meanwhile |
//! | `world` | random sequences of many acts, from a seed |
//! | `split` | spreads the work over threads |
//!
//! The tests do as much of it as a minute allows; `cargo run --release -p store --example crashes` does all of it.

// Each test binary uses a part of this.
#![allow(dead_code)]

pub mod acts;
pub mod asked;
pub mod meanwhile;
pub mod pages;
pub mod short;
pub mod split;
pub mod world;

use crate::bench::disk::Disk;
use crate::bench::model::Model;
use crate::bench::{Bench, blocks, data, mark, register, shard, stamp};
use asked::Asked;
use base::log::Record;
use base::{Rng, Sequence, ShardId};
use pages::Effort;
use std::fmt;
use store::{Geometry, Phase, Policy};

/// What fits a minute of the tests.
pub const QUICK: Effort = Effort { full_pages: 4, torn_sectors: &[1, 7], sampled: 4, most: 16 };
/// The same for steps of a checkpoint or the cleaner, with no, one, or two acts meanwhile.
pub const QUICK_MEANWHILE: [Effort; 3] =
    [Effort { most: 12, ..QUICK }, Effort { most: 4, ..QUICK }, Effort { most: 3, ..QUICK }];
/// All boundaries, and all subsets of a write and another.
pub const WHOLE: Effort = Effort { full_pages: 5, torn_sectors: &[1, 2, 3, 4, 5, 6, 7], sampled: 64, most: usize::MAX };

/// For steps of a checkpoint or the cleaner with no, one, or two acts meanwhile; the more acts there are the more points there are.
pub const WHOLE_MEANWHILE: [Effort; 3] = [
    Effort { sampled: 16, torn_sectors: &[1, 4, 7], most: 200, ..WHOLE },
    Effort { sampled: 16, torn_sectors: &[1, 4, 7], most: 12, ..WHOLE },
    Effort { sampled: 16, torn_sectors: &[1, 4, 7], most: 4, ..WHOLE },
];

/// A store at rest, from which many go different ways.
#[derive(Clone)]
pub struct Setup {
    pub disk: Disk,
    pub geometry: Geometry,
    pub policy: Policy,
    pub shards: Vec<ShardId>,
    /// Blocks from each shard's beginning that are touched.
    pub touched: u32,
    /// What it holds.
    pub model: Model,
}

/// How much was gone through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sequences: u64,
    /// Moments at which power failed.
    pub points: u64,
    /// Of these, such whose subsets and tears were all gone through.
    pub whole_points: u64,
    /// Disks that were opened and checked, went on, and were opened and checked again.
    pub states: u64,
    /// Of these, such with a torn page.
    pub torn: u64,
    /// ... with some pieces of a checkpoint written and some not.
    pub half_checkpoints: u64,
    /// ... with two superblocks that differ.
    pub half_named: u64,
    /// ... with a superblock that is damaged.
    pub torn_superblocks: u64,
    /// ... in which a segment that had live blocks, which were moved, is written again.
    pub reused: u64,
    /// ... in which another checkpoint, and which of the cleaner's moves, were made before power failed again.
    pub checkpoints_after: u64,
    pub moves_after: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let Self { sequences, points, whole_points, states, torn, half_checkpoints, half_named, .. } = other;
        let Self { torn_superblocks, reused, checkpoints_after, moves_after, .. } = other;
        self.sequences += sequences;
        self.points += points;
        self.whole_points += whole_points;
        self.states += states;
        self.torn += torn;
        self.half_checkpoints += half_checkpoints;
        self.half_named += half_named;
        self.torn_superblocks += torn_superblocks;
        self.reused += reused;
        self.checkpoints_after += checkpoints_after;
        self.moves_after += moves_after;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences, points, whole_points, states, torn, .. } = self;
        write!(
            f,
            "{sequences} sequences, {points} crash points ({whole_points} in full), {states} states ({torn} torn)"
        )?;
        let Self { half_checkpoints, half_named, torn_superblocks, reused, checkpoints_after, moves_after, .. } = self;
        if checkpoints_after + half_checkpoints > 0 {
            write!(
                f,
                "; {half_checkpoints} with half a checkpoint, {half_named} named by one superblock, {torn_superblocks} with a torn superblock, \
                 {reused} with a moved block's segment written again; then {checkpoints_after} made a checkpoint, {moves_after} moved blocks"
            )?;
        }
        Ok(())
    }
}

/// A shard with a little in its index and in its window, which was marked on the way: what acts are about.
pub fn begin_with_a_little(bench: &mut Bench) {
    let s = shard(1);
    bench.append(s, register(s, 1));
    bench.append(s, data(1, 0, [1, 2, 3, 4]));
    bench.append(s, data(2, 4, [5, 6]));
    bench.commit(s, 1);
    bench.append(s, register(s, 2));
    bench.append(s, mark(1));
    bench.settle();
}

impl Setup {
    /// A store at rest, all of it durable: opened once more, and read.
    pub fn of(bench: Bench, shards: Vec<ShardId>, touched: u32) -> Self {
        let (disk, geometry, policy) = (bench.disk, bench.geometry, bench.policy);
        let empty = Model::default();
        let mut setup = Self { disk, geometry, policy, shards, touched, model: empty };
        let (bench, mut model) = setup.found(setup.disk.clone());
        let little = model.shards.get_mut(&shard(1)).expect("it was begun");
        assert_eq!((little.committed, little.window.len()), (Sequence(1), 1));
        little.last = stamp(1, 1);
        (setup.disk, setup.model) = (bench.disk.shared(), model);
        setup
    }

    /// Opens a disk and reads all that it holds.
    pub fn found(&self, disk: Disk) -> (Bench, Model) {
        let mut bench = Bench::on(disk, self.geometry, self.policy);
        bench.settle();
        assert_eq!(*bench.store.phase(), Phase::Ready);
        let recovered = bench.recovered();
        assert!(recovered.iter().all(|r| !r.suspect), "a loss of power is no damage: {:?}", bench.store.damage());
        let model = Model::read_from(&mut bench, &self.shards, self.touched, &recovered);
        (bench, model)
    }

    /// A disk as a crash left it: what is found is what a prefix leaves. The store goes on, power fails once more, and all of that is found.
    pub fn check(
        &self,
        disk: Disk,
        (asked, acknowledged): (&Asked, usize),
        go_on: impl FnOnce(&mut Bench, &mut Asked),
    ) {
        let (mut bench, held) = self.found(disk);
        let Some(fits) = asked.fits(&held, acknowledged) else {
            panic!("no prefix from {acknowledged} of {} on leaves {held:#?}", asked.len());
        };
        let mut asked = Asked::on(fits);
        go_on(&mut bench, &mut asked);
        assert_eq!(asked.acknowledged(&bench), asked.len(), "a store at rest has all of it durable");
        let mut disk = bench.disk;
        disk.lose_power(&mut Rng::new(1));
        let (_, held) = self.found(disk);
        assert!(asked.fits(&held, asked.len()).is_some(), "and after going on: {held:#?}");
    }
}

/// A write with which a store goes on.
pub fn next_write() -> Record {
    Record::Data { stamp: stamp(3, 50), block: 20, data: blocks([7]) }
}
