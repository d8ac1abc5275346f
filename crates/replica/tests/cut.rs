//! Two shards of a volume frozen as of one moment, under a client that writes to them by turns, each time when it was told of the write before: in every order
//! of its writes and the authority's steps, what both points have together is what there was at one moment.

mod world;

use base::PointId;
use base::log::PointChange;
use std::time::Duration;
use wire::PointStep;
use world::World;

/// One volume of two shards, each of three copies, and its client.
struct Volume {
    shards: [World; 2],
    /// The last write, to shard n % 2, and its I/O there.
    last: Option<(u8, u64)>,
}

/// What is done between two writes.
#[derive(Clone, Copy)]
enum Step {
    Order(usize, PointStep),
    /// A freeze without anything held.
    Alone(usize),
    /// A shard's primary holds no longer.
    TimeOut(usize),
}

/// In the order of the phases, each with the shards in either order.
fn orders(phases: &[fn(usize) -> Step]) -> Vec<Vec<Step>> {
    let mut all = vec![vec![]];
    for phase in phases {
        let of = |order: [usize; 2]| order.map(phase);
        let longer = |steps: &Vec<Step>| {
            [[0, 1], [1, 0]].map(|order| steps.iter().copied().chain(of(order)).collect::<Vec<Step>>())
        };
        all = all.iter().flat_map(longer).collect();
    }
    all
}

impl Volume {
    fn new() -> Self {
        Self { shards: [World::serving(), World::serving()], last: None }
    }

    /// The client writes the next number, if it was told of the last.
    fn write(&mut self) {
        let number = match self.last {
            Some((number, io)) if self.shards[usize::from(number % 2)].done(io).is_none() => return,
            Some((number, _)) => number + 1,
            None => 1,
        };
        let io = self.shards[usize::from(number % 2)].write(1, 1, 5, number);
        self.last = Some((number, io));
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Order(shard, step) => self.shards[shard].order(1, 1, 1, step, None),
            Step::Alone(shard) => _ = self.shards[shard].change_point(1, PointChange::Freeze { id: PointId(1) }),
            Step::TimeOut(shard) => self.shards[shard].wait(Duration::from_millis(100)),
        }
    }

    /// Whether both primaries say that they held until they were released.
    fn was_held(&self) -> bool {
        let released =
            |w: &World| w.told.last().is_some_and(|(_, s)| s.step == PointStep::Release && s.refused.is_none());
        self.shards.iter().all(released)
    }

    /// Whether the two points have what there was at one moment: no number without the one before it.
    fn is_one_moment(&mut self) -> bool {
        let [even, odd] = [0, 1].map(|i| {
            self.shards[i].wait(Duration::from_millis(100));
            self.shards[i].frozen(2, 1, 5).expect("it was frozen")
        });
        even.abs_diff(odd) == 1 || (even, odd) == (0, 0)
    }
}

/// Runs every order of some steps, with up to so many writes begun before each; gives (was held, is one moment) of each run.
fn runs(orders: &[Vec<Step>], most: usize) -> Vec<(bool, bool)> {
    let mut found = vec![];
    for steps in orders {
        for choice in 0..(most + 1).pow(steps.len() as u32) {
            let mut volume = Volume::new();
            let mut writes = choice;
            for step in steps {
                (0..writes % (most + 1)).for_each(|_| volume.write());
                writes /= most + 1;
                volume.take(*step);
            }
            volume.write();
            found.push((volume.was_held(), volume.is_one_moment()));
        }
    }
    found
}

const HELD: [fn(usize) -> Step; 3] = [
    |shard| Step::Order(shard, PointStep::Hold),
    |shard| Step::Order(shard, PointStep::Freeze),
    |shard| Step::Order(shard, PointStep::Release),
];

#[test]
fn held_shards_are_frozen_as_of_one_moment() {
    let found = runs(&orders(&HELD), 2);
    assert_eq!(found.len(), 8 * 729);
    assert!(found.iter().all(|run| *run == (true, true)), "{} are not", found.iter().filter(|r| !r.1).count());
}

#[test]
fn shards_that_are_not_held_are_not() {
    let found = runs(&orders(&[Step::Alone]), 2);
    assert!(found.iter().any(|(_, one)| !one) && found.iter().any(|(_, one)| *one), "{found:?}");
}

#[test]
fn a_shard_that_let_go_too_early_says_so_and_without_that_the_points_would_not_be_one_moment() {
    let with_time_out = |steps: Vec<Step>| {
        // After its own freeze and before the other's, or after both.
        let first = if let Step::Order(shard, _) = steps[2] { shard } else { unreachable!("it begins with orders") };
        [3, 4].map(|at| {
            let mut steps = steps.clone();
            steps.insert(at, Step::TimeOut(first));
            steps
        })
    };
    let orders: Vec<Vec<Step>> = orders(&HELD).into_iter().take(4).flat_map(with_time_out).collect();
    let found = runs(&orders, 1);
    assert!(found.iter().all(|(held, _)| !held));
    assert!(found.iter().any(|(_, one)| !one));
}
