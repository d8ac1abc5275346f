//! Random requests, random orders of completion, crashes of the process and of the power, in the middle of recovery too: what a store
//! holds afterwards is what a prefix of the requests leaves, and everything that was acknowledged is in that prefix. (R15, and the
//! durability that I3 rests on.)

mod bench;
mod crash;

use base::Rng;
use bench::Bench;
use crash::world::{Tally, World};
use store::{Geometry, Phase, Policy};

const SEEDS: u64 = 500;

fn run(seed: u64) -> Tally {
    let mut world = World::new(seed, |policy| policy);
    let mut rng = Rng::new(seed).split("lives");
    for _ in 0..rng.within(2, 40) {
        world.live(rng.within(4, 15), 4);
        world.crash();
    }
    world.settle();
    world.crash();
    world.tally
}

#[test]
fn whatever_was_acknowledged_is_there_after_any_crash() {
    let mut sum = Tally::default();
    for seed in 0..SEEDS {
        let result = std::panic::catch_unwind(|| run(seed));
        sum += result.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    println!("{SEEDS} seeds, {sum:?}");
    let Tally { states, in_recovery, by_pages, mends, point_reads, moved, checkpoints, .. } = sum;
    assert!(states > 8_000 && in_recovery > 1_000 && by_pages > 1_000, "{sum:?}");
    assert!(mends > 500 && moved > 200 && checkpoints > 1_000 && point_reads > 1_000, "{sum:?}");
}

#[test]
fn the_same_seed_does_the_same_to_the_byte() {
    let trace = |seed| {
        let mut world = World::new(seed, |policy| policy);
        (0..60).for_each(|_| {
            world.request();
            world.step();
            world.perform();
        });
        (world.bench.disk.media, format!("{:?}{:?}", world.bench.disk.flying, world.bench.events))
    };
    for seed in 0..10 {
        assert!(trace(seed) == trace(seed), "seed {seed}");
    }
    assert!(trace(1).0 != trace(2).0);
}

#[test]
fn the_geometry_of_the_disk_holds_and_not_the_one_offered() {
    let bench = Bench::ready(20);
    let shape = *bench.store.geometry();
    let other = Geometry { reserve_segments: 3, ..Geometry::tiny(bench.geometry.capacity_bytes * 4) };
    let mut again = Bench::on(bench.disk, other, Policy::default());
    again.settle();
    assert_eq!(*again.store.phase(), Phase::Ready);
    assert_eq!(*again.store.geometry(), shape);
}
