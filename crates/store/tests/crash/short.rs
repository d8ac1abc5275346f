//! All sequences of few acts, on a store that holds a little: at every crash point, whatever is left of what was in flight.
//!
//! Where a sequence stops and which of its batches were done before its later acts were asked for decides what their headers tell of it; so each
//! act may be asked for after any of those before it are done. Batches are done in their order, and once the newest before the others: that
//! differs from the newest being left in whole only in what the store has been told. Once all are asked for in one step and make one batch.

use super::acts::Act;
use super::asked::Asked;
use super::pages::{Effort, Unflushed};
use super::{Counts, Setup, begin_with_a_little, next_write, split};
use crate::bench::disk::Disk;
use crate::bench::{Bench, copy, shard};
use base::Rng;
use std::collections::BTreeSet;
use store::Policy;

/// Blocks from the shard's beginning that the acts touch.
const TOUCHED: u32 = 24;

/// When what is asked for and done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Schedule {
    /// So many batches are done before each act is asked for.
    done_before: Vec<usize>,
    /// So many before power fails.
    done: usize,
    /// And then the newest.
    newest: bool,
    /// All in one step.
    together: bool,
}

/// A store with little in it.
pub fn setup(policy: Policy) -> Setup {
    let policy = Policy { preallocated: true, ..policy };
    let mut bench = Bench::ready_with(10, Policy { preallocated: true, ..Policy::default() });
    begin_with_a_little(&mut bench);
    Setup { policy, ..Setup::of(bench, vec![shard(1)], TOUCHED) }
}

/// The same where the log has gone round: the run after the next goes on in a segment before the one of the next run, so that of two headers that both
/// fit the chain the later one lies before the earlier.
pub fn setup_at_the_turn(policy: Policy) -> Setup {
    let own = Policy { preallocated: true, checkpoint_every_segments: 1, ..Policy::default() };
    let mut bench = Bench::ready_with(10, own);
    begin_with_a_little(&mut bench);
    let goes_on = |disk: &Disk, bench: &Bench| {
        let mut next = Bench::on(disk.shared(), bench.geometry, own);
        next.settle();
        next.append(shard(1), copy(15, [1]));
        next.step();
        let at = next.writes()[0];
        next.settle();
        (next.disk, at)
    };
    for tag in 1000..1100 {
        bench.append(shard(1), copy(15, [tag, tag, tag]));
        bench.settle();
        let (disk, first) = goes_on(&bench.disk, &bench);
        if goes_on(&disk, &bench).1 < first {
            let policy = Policy { preallocated: true, ..policy };
            return Setup { policy, ..Setup::of(bench, vec![shard(1)], TOUCHED) };
        }
    }
    panic!("the log never goes round");
}

/// Which schedules of a sequence there are: all, or those in which all acts are in flight at once, or each is done before the next.
fn schedules(acts: &[Act], all: bool) -> BTreeSet<Schedule> {
    let batches = |len: usize| acts[..len].iter().filter(|act| act.is_appended()).count();
    let count = batches(acts.len());
    let mut found: Vec<Vec<usize>> = vec![vec![]];
    for at in 0..=acts.len() {
        let longer = |before: Vec<usize>| {
            let from = before.last().copied().unwrap_or(0);
            (from..=batches(at)).map(move |done| [before.as_slice(), &[done]].concat())
        };
        found = found.into_iter().flat_map(longer).collect();
    }
    let is_plain = |done: &[usize]| {
        let (last, before) = done.split_last().expect("the end of the sequence is among them");
        let in_turn = before.iter().enumerate().all(|(at, &done)| done == batches(at).min(*last));
        in_turn || before.iter().all(|&done| done == 0)
    };
    let mut schedules = BTreeSet::new();
    for mut done_before in found.into_iter().filter(|done| all || is_plain(done)) {
        let done = done_before.pop().expect("the end of the sequence is among them");
        for newest in [false, true].into_iter().take(if count - done > 1 { 2 } else { 1 }) {
            schedules.insert(Schedule { done_before: done_before.clone(), done, newest, together: false });
        }
    }
    if count > 1 {
        schedules.insert(Schedule { done_before: vec![0; acts.len()], done: 0, newest: false, together: true });
    }
    schedules
}

/// Does the acts, up to the crash.
fn until_the_crash(setup: &Setup, acts: &[Act], schedule: &Schedule) -> (Bench, Asked) {
    let mut bench = Bench::on(setup.disk.clone(), setup.geometry, setup.policy);
    bench.settle();
    let mut asked = Asked::on(setup.model.clone());
    let mut done = 0;
    let mut perform = |bench: &mut Bench, until: usize| {
        while done < until {
            bench.perform(0);
            bench.step();
            done += 1;
        }
    };
    for (n, (act, &done_before)) in acts.iter().zip(&schedule.done_before).enumerate() {
        perform(&mut bench, done_before);
        act.ask(n, &mut bench, &mut asked);
        if !schedule.together {
            bench.step();
        }
    }
    bench.step();
    perform(&mut bench, schedule.done);
    if schedule.newest {
        bench.perform(bench.disk.flying.len() - 1);
        bench.step();
    }
    (bench, asked)
}

fn check(setup: &Setup, acts: &[Act], schedule: &Schedule, effort: &Effort) -> Counts {
    let (bench, asked) = until_the_crash(setup, acts, schedule);
    let acknowledged = asked.acknowledged(&bench);
    let durable = bench.disk.shared();
    let unflushed = Unflushed::of(&bench.disk, effort);
    let all = unflushed.all_left(effort, &mut Rng::new(acts.len() as u64));
    let whole = unflushed.is_small(effort) && all.len() < effort.most;
    let mut counts = Counts { points: 1, whole_points: u64::from(whole), ..Counts::default() };
    for left in &all {
        let about = || format!("{acts:?}, {schedule:?}, {left:?}");
        split::about(about, || {
            setup.check(unflushed.lay(&durable, left), (&asked, acknowledged), |bench, asked| {
                asked.append(bench, shard(1), next_write());
                bench.settle();
            });
        });
        counts.states += 1;
        counts.torn += u64::from(left.torn.is_some());
    }
    counts
}

/// Goes through these sequences.
pub fn go_through(setup: &Setup, sequences: &[Vec<Act>], all_schedules: bool, effort: &Effort) -> Counts {
    split::over(sequences, |acts| {
        let mut counts = Counts { sequences: 1, ..Counts::default() };
        for schedule in schedules(acts, all_schedules) {
            counts += check(setup, acts, &schedule, effort);
        }
        counts
    })
}

/// All batches of these sequences are durable and a bit of a header rots: unless it is the last one's, of which nobody knows whether it was acknowledged, it
/// is damage, and the shard is suspect. It is never taken for a torn tail.
pub fn rot_headers(setup: &Setup, sequences: &[Vec<Act>]) -> Counts {
    split::over(sequences, |acts| {
        let mut counts = Counts { sequences: 1, ..Counts::default() };
        let mut bench = Bench::on(setup.disk.clone(), setup.geometry, setup.policy);
        bench.settle();
        let mut asked = Asked::on(setup.model.clone());
        let mut headers = vec![];
        for (n, act) in acts.iter().enumerate() {
            act.ask(n, &mut bench, &mut asked);
            bench.step();
            headers.extend(bench.writes().into_iter().map(|at| (n, at)));
            bench.settle();
        }
        headers.pop();
        for (n, at) in headers {
            // What is dropped later has lost nothing.
            let suspect = !acts[n + 1..].contains(&Act::DropAndRegister);
            let mut disk = bench.disk.shared();
            disk.rot(at + 17, 3);
            let mut rotten = Bench::on(disk, setup.geometry, setup.policy);
            rotten.settle();
            let suspects = rotten.recovered().iter().any(|r| r.suspect);
            let found = (rotten.store.damage().is_some(), suspects);
            assert_eq!(found, (true, suspect), "{acts:?}, header at {at}: rot was taken for a torn tail");
            counts.states += 1;
        }
        counts
    })
}
