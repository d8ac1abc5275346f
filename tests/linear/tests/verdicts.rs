//! The simulator's checker of linearizability (`sim::check::linear`, of one register, in the time of a sort) and stateright's (any object, by trying orders) must come to the
//! same verdict on small histories, good ones and broken ones. (Ours is also tested against trying all orders, beside itself.)
//!
//! What of ours can be said in theirs, and how:
//!
//! - *An operation* is a thread of its own, so that only its times order it.
//! - *A write that was never answered* stays in flight: both take it to have happened at some time or not at all.
//! - *A fence* (after which a write that was not answered takes effect no more) is no word of theirs. The history is told once with each such write answered at its fence, and
//!   once without it; it is linearizable if it is so told either way.
//! - *Zeroes*, which trims write again and again: ours is exact while no trim is there, and otherwise only never wrong in calling a history broken. So of histories with trims one half of
//!   the verdict is compared, and how often ours sees what theirs does is counted.
//! - *A value that was written twice* ours refuses to judge: the workload is wrong then. None is made here.

use base::Rng;
use seawall_linear::clock::Moment;
use seawall_linear::linear::{Access, What, check};
use stateright::semantics::register::{Register, RegisterOp, RegisterRet};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester};

/// What theirs says of a history without fences.
fn theirs_of(accesses: &[Access]) -> bool {
    let mut events: Vec<(Moment, bool, &Access)> = Vec::new();
    for access in accesses {
        events.push((access.invoked, false, access));
        events.extend(access.returned.map(|at| (at, true, access)));
    }
    events.sort_by_key(|(at, ends, _)| (*at, *ends));
    let mut tester = LinearizabilityTester::new(Register(0u64));
    for (_, ends, access) in events {
        let (op, ret) = match access.what {
            What::Write(value) => (RegisterOp::Write(value), RegisterRet::WriteOk),
            What::Read(value) => (RegisterOp::Read, RegisterRet::ReadOk(value)),
        };
        if ends {
            tester.on_return(access.op, ret).expect("it was invoked");
        } else {
            tester.on_invoke(access.op, op).expect("each thread does one thing");
        }
    }
    tester.is_consistent()
}

/// What theirs says, each write that is fenced having happened by its fence or not at all.
fn theirs(accesses: &[Access]) -> bool {
    let fenced = accesses.iter().position(|a| a.returned.is_none() && a.fenced.is_some());
    let Some(at) = fenced else { return theirs_of(accesses) };
    let mut without = accesses.to_vec();
    without.remove(at);
    let mut with = accesses.to_vec();
    (with[at].returned, with[at].fenced) = (with[at].fenced, None);
    theirs(&without) || theirs(&with)
}

/// What a history is made of.
struct Mix {
    ops: u64,
    /// Of a hundred writes, so many are trims, so many are never answered, and of these so many are fenced.
    trims: u64,
    lost: u64,
    fenced: u64,
}

/// A history of operations at any times, with reads of whatever is there at a moment within each: linearizable. No two times are alike.
fn good(rng: &mut Rng, mix: &Mix) -> Vec<Access> {
    let moment = |tick: u64, op: u64| Moment(tick * 64 + op);
    let (mut accesses, mut at) = (Vec::new(), Vec::new());
    for op in 0..mix.ops {
        let (begins, takes) = (rng.within(1, 24), rng.within(1, 9));
        let write = rng.chance(1, 2);
        let lost = write && rng.chance(mix.lost, 100);
        let fenced = (lost && rng.chance(mix.fenced, 100)).then(|| moment(begins + takes, 32 + op));
        let returned = (!lost).then(|| moment(begins + takes, 32 + op));
        let value = if rng.chance(mix.trims, 100) { 0 } else { op + 1 };
        let what = if write { What::Write(value) } else { What::Read(0) };
        accesses.push(Access { op, what, invoked: moment(begins, op), returned, fenced });
        // When it takes effect; some of those that were never answered never do.
        let within = begins * 64 + op + 1 + rng.below(takes * 64);
        at.push(if lost && rng.chance(1, 2) { u64::MAX } else { within });
    }
    let mut order: Vec<usize> = (0..accesses.len()).collect();
    order.sort_by_key(|i| at[*i]);
    let mut value = 0;
    for i in order.into_iter().filter(|i| at[*i] < u64::MAX) {
        match &mut accesses[i].what {
            What::Write(written) => value = *written,
            What::Read(read) => *read = value,
        }
    }
    accesses
}

/// The same, with one or two things changed that may break it.
fn spoiled(rng: &mut Rng, mix: &Mix) -> Vec<Access> {
    let mut accesses = good(rng, mix);
    for _ in 0..rng.within(1, 2) {
        let values: Vec<u64> =
            accesses.iter().filter_map(|a| if let What::Write(v) = a.what { Some(v) } else { None }).collect();
        let some = rng.pick(&values).copied().unwrap_or(0);
        let i = rng.below(mix.ops) as usize;
        match &mut accesses[i].what {
            What::Read(value) => *value = if rng.chance(1, 8) { 999 } else { some },
            // What was there before it began was not asked for yet; what ends sooner overlaps less.
            What::Write(_) => {
                let later = accesses[i].invoked.0 + 64 * rng.below(8);
                let most = accesses[i].returned.or(accesses[i].fenced).map_or(u64::MAX, |to| to.0 - 1);
                if later < most {
                    accesses[i].invoked = Moment(later);
                }
            }
        }
    }
    accesses
}

/// For whoever has to find out who is right.
fn words(accesses: &[Access]) -> String {
    let one = |a: &Access| {
        let (what, value) = match a.what {
            What::Write(value) => ('w', value),
            What::Read(value) => ('r', value),
        };
        let at = |moment: Option<Moment>| moment.map_or(String::new(), |moment| moment.0.to_string());
        let fence = a.fenced.map_or(String::new(), |fence| format!("/{}", fence.0));
        format!("{what}{value} {}-{}{fence}", a.invoked.0, at(a.returned))
    };
    accesses.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Compares on so many histories: how many were good, how many broken, and how many of the broken ones ours saw.
fn compare(seed: u64, rounds: u32, mix: impl Fn(&mut Rng) -> Mix) -> (u32, u32, u32) {
    let mut rng = Rng::new(seed);
    let (mut sound, mut broken, mut seen) = (0, 0, 0);
    for round in 0..rounds {
        let mix = mix(&mut rng);
        let whole = rng.chance(1, 3);
        let accesses = if whole { good(&mut rng, &mix) } else { spoiled(&mut rng, &mix) };
        let (ours, theirs) = (check(&accesses), theirs(&accesses));
        assert!(
            theirs || !whole,
            "round {round}: a history that was made of a register is none to theirs: {}",
            words(&accesses)
        );
        assert!(ours.is_ok() || !theirs, "round {round}: ours alone calls it broken, {ours:?}: {}", words(&accesses));
        let (of, found) = if theirs { (&mut sound, 0) } else { (&mut broken, u32::from(ours.is_err())) };
        *of += 1;
        seen += found;
    }
    (sound, broken, seen)
}

#[test]
fn without_trims_both_come_to_the_same_verdict() {
    let (sound, broken, seen) = compare(1, 20_000, |rng| Mix { ops: rng.within(2, 9), trims: 0, lost: 20, fenced: 0 });
    assert_eq!(seen, broken, "every history that theirs calls broken");
    assert!(sound > 8_000 && broken > 3_000, "{sound} good, {broken} broken");
}

#[test]
fn a_fence_is_what_it_is_said_to_be() {
    let (sound, broken, seen) = compare(2, 12_000, |rng| Mix { ops: rng.within(2, 8), trims: 0, lost: 40, fenced: 60 });
    assert_eq!(seen, broken, "every history that theirs calls broken");
    assert!(sound > 5_000 && broken > 2_000, "{sound} good, {broken} broken");
}

#[test]
fn with_trims_ours_never_calls_broken_what_is_not_and_sees_most_of_what_is() {
    let (sound, broken, seen) =
        compare(3, 40_000, |rng| Mix { ops: rng.within(2, 9), trims: 30, lost: 20, fenced: 30 });
    println!("of {broken} broken histories with trims ours sees {seen}");
    assert!(sound > 10_000 && broken > 5_000, "{sound} good, {broken} broken");
    assert!(seen * 100 >= broken * 99, "ours sees {seen} of {broken} broken histories");
}
