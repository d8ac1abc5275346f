//! Is the checker any good? A store that is wrong in one small way is put through the crash states, and they must notice, each time. Which of them did is
//! printed: `cargo test -p store --features mutants --test mutants -- --nocapture`.

mod bench;
mod crash;

use base::Rng;
use base::mutant::{Mutant, Mutation, Room};
use crash::meanwhile::{Order, Scene, go_through, lone_ways, ways};
use crash::pages::Effort;
use crash::world::World;
use crash::{QUICK, acts, short};
use std::panic::{AssertUnwindSafe, catch_unwind};
use store::Policy;

/// Worlds that a mutant is given to be noticed in.
const WORLDS: u64 = 60;

/// Goes through crash states, and panics at one that does not hold.
type Check = (&'static str, fn(Mutation));

/// The quickest first.
const CHECKS: [Check; 7] = [
    ("a bad spot behind where the log ended", |mutation| {
        let policy = Policy { preallocated: true, mutation, ..Policy::default() };
        bench::left_behind::go_through(policy);
        bench::left_behind::fails_once(policy);
    }),
    ("rotten headers", |mutation| {
        short::rot_headers(&short::setup(Policy { mutation, ..Policy::default() }), &acts::sequences(2));
    }),
    ("short sequences", |mutation| {
        let policy = Policy { mutation, ..Policy::default() };
        for setup in [short::setup(policy), short::setup_at_the_turn(policy)] {
            short::go_through(&setup, &acts::sequences(1), true, &QUICK);
            short::go_through(&setup, &acts::sequences(2), false, &Effort { most: 8, ..QUICK });
        }
    }),
    ("a checkpoint that waits", |mutation| {
        let scene = Scene::hot().with(|policy| Policy { mutation, ..policy });
        go_through(&scene, &[Scene::alone(Order::CheckpointLast)], &Effort { most: 3, ..QUICK });
    }),
    ("steps of a checkpoint", |mutation| scene(Scene::checkpoint(), mutation)),
    ("steps of the cleaner", |mutation| scene(Scene::cleaner(), mutation)),
    ("random worlds", |mutation| {
        for seed in 0..WORLDS {
            let mut world = World::new(seed, |policy| Policy { mutation, ..policy });
            let mut rng = Rng::new(seed).split("lives");
            for _ in 0..30 {
                world.live(rng.within(4, 30), 1);
                world.crash();
            }
        }
    }),
];

fn scene(scene: Scene, mutation: Mutation) {
    let scene = scene.with(|policy| Policy { mutation, ..policy });
    go_through(&scene, &lone_ways(40), &Effort { most: 2, ..QUICK });
    for (acts, stride) in [(0, 1), (1, 40)] {
        go_through(&scene, &ways(&scene, acts, stride), &Effort { most: 6, ..QUICK });
    }
}

/// The first check that notices, and what it said.
fn noticed(mutation: Mutation) -> Option<(&'static str, String)> {
    CHECKS.iter().find_map(|(name, check)| {
        let why = catch_unwind(AssertUnwindSafe(|| check(mutation))).err()?;
        let text = why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(ToString::to_string));
        Some((*name, text.unwrap_or_default()))
    })
}

#[test]
fn every_mutant_is_noticed() {
    std::panic::set_hook(Box::new(|_| {}));
    let innocent = noticed(Mutation::default());
    println!("{:28} {innocent:?}", "nothing wrong");
    let mut alive = vec![];
    for mutant in Mutant::ALL.into_iter().filter(|mutant| mutant.room() == Room::Store) {
        let began = std::time::Instant::now();
        let by = noticed(Mutation::of(mutant));
        let took = began.elapsed();
        let (check, why) = by.clone().unwrap_or(("alive", String::new()));
        println!("{}", base::mutant::line(&format!("{mutant:?}"), check, took, &why));
        alive.extend(by.is_none().then_some(mutant));
    }
    _ = std::panic::take_hook();
    assert!(innocent.is_none(), "a store with nothing wrong is taken for a mutant: {innocent:?}");
    assert!(alive.is_empty(), "nothing notices {alive:?}");
}
