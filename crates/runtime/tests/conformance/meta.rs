//! What every metadata store must do, as functions over a seam: the embedded one runs them now, etcd and the simulator's can
//! run them as they are. Knows `base` only.

use base::Revision;
use base::io::meta::{Done, Guard, Op, OpId, Outcome, Pair};
use bytes::Bytes;

/// A store under test.
pub trait Subject {
    /// Asks these at once and waits for all answers, in the order of the ops.
    fn ask(&mut self, ops: Vec<Op>) -> Vec<Done>;
    /// Stops it and starts it again over the same data.
    fn restart(&mut self);
}

/// All of them, each on a store that is empty.
pub fn all<S: Subject>(mut empty: impl FnMut() -> S) {
    what_is_written_is_read_with_its_revision(&mut empty());
    a_prefix_bounds_a_range(&mut empty());
    a_guard_that_does_not_hold_changes_nothing(&mut empty());
    guards_see_what_came_before_in_the_same_batch(&mut empty());
    deleting_makes_a_key_absent_and_takes_a_revision(&mut empty());
    a_write_of_nothing_only_looks(&mut empty());
    what_was_acknowledged_survives_a_restart_and_revisions_go_on(&mut empty());
    a_large_value_and_many_keys_fit(&mut empty());
}

fn write(id: u64, guards: &[(&str, u64)], puts: &[(&str, Option<&str>)]) -> Op {
    let guards = guards.iter().map(|(k, r)| Guard { key: k.to_string(), revision: Revision(*r) }).collect();
    let puts = puts.iter().map(|(k, v)| (k.to_string(), v.map(|v| Bytes::copy_from_slice(v.as_bytes())))).collect();
    Op::Write { id: OpId(id), guards, puts }
}

fn range(id: u64, prefix: &str) -> Op {
    Op::Range { id: OpId(id), prefix: prefix.into() }
}

fn one(s: &mut impl Subject, op: Op) -> Outcome {
    let mut done = s.ask(vec![op]);
    assert_eq!(done.len(), 1);
    done.remove(0).outcome
}

fn written(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Written(revision) => revision.0,
        other => panic!("not written: {other:?}"),
    }
}

fn pairs(s: &mut impl Subject, prefix: &str) -> (Vec<(String, String, u64)>, u64) {
    match one(s, range(99, prefix)) {
        Outcome::Pairs { pairs, at } => {
            let plain = |p: Pair| (p.key, String::from_utf8(p.value.to_vec()).unwrap(), p.revision.0);
            (pairs.into_iter().map(plain).collect(), at.0)
        }
        other => panic!("no pairs: {other:?}"),
    }
}

fn triple(key: &str, value: &str, revision: u64) -> (String, String, u64) {
    (key.into(), value.into(), revision)
}

fn what_is_written_is_read_with_its_revision(s: &mut impl Subject) {
    assert_eq!(pairs(s, ""), (vec![], 0));
    let first = written(one(s, write(1, &[("a", 0)], &[("a", Some("1")), ("b", Some("2"))])));
    assert!(first > 0);
    let second = written(one(s, write(2, &[("a", first)], &[("a", Some("3"))])));
    assert!(second > first);
    assert_eq!(pairs(s, ""), (vec![triple("a", "3", second), triple("b", "2", first)], second));
}

fn a_prefix_bounds_a_range(s: &mut impl Subject) {
    let keys = ["a", "vol", "vol/1", "vol/10", "vol/2", "vol0", "w"];
    for key in keys.iter().rev() {
        written(one(s, write(1, &[], &[(key, Some(key))])));
    }
    let names = |(pairs, _): (Vec<(String, String, u64)>, u64)| pairs.into_iter().map(|p| p.0).collect::<Vec<_>>();
    assert_eq!(names(pairs(s, "vol/")), ["vol/1", "vol/10", "vol/2"]);
    assert_eq!(names(pairs(s, "")), keys);
    assert_eq!(names(pairs(s, "x")), [""; 0]);
}

fn a_guard_that_does_not_hold_changes_nothing(s: &mut impl Subject) {
    let at = written(one(s, write(1, &[], &[("a", Some("1"))])));
    let conflict = |key: &str| Outcome::Conflict { key: key.into() };
    assert_eq!(one(s, write(2, &[("a", 0)], &[("a", Some("2"))])), conflict("a"));
    assert_eq!(one(s, write(3, &[("a", at + 1)], &[("a", Some("2"))])), conflict("a"));
    assert_eq!(one(s, write(4, &[("a", at), ("b", 5)], &[("a", None), ("b", Some("2"))])), conflict("b"));
    assert_eq!(pairs(s, ""), (vec![triple("a", "1", at)], at));
}

fn guards_see_what_came_before_in_the_same_batch(s: &mut impl Subject) {
    let done = s.ask(vec![
        write(1, &[("a", 0)], &[("a", Some("1"))]),
        write(2, &[("a", 0)], &[("a", Some("2"))]),
        range(3, ""),
        write(4, &[("b", 0)], &[("b", Some("3"))]),
        range(5, "b"),
    ]);
    assert_eq!(done.iter().map(|d| d.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let first = written(done[0].outcome.clone());
    assert_eq!(done[1].outcome, Outcome::Conflict { key: "a".into() });
    let second = written(done[3].outcome.clone());
    assert!(second > first);
    let pair = |key: &str, value: &'static str, revision: u64| Pair {
        key: key.into(),
        value: Bytes::from_static(value.as_bytes()),
        revision: Revision(revision),
    };
    assert_eq!(done[2].outcome, Outcome::Pairs { pairs: vec![pair("a", "1", first)], at: Revision(first) });
    assert_eq!(done[4].outcome, Outcome::Pairs { pairs: vec![pair("b", "3", second)], at: Revision(second) });
}

fn deleting_makes_a_key_absent_and_takes_a_revision(s: &mut impl Subject) {
    let at = written(one(s, write(1, &[], &[("a", Some("1"))])));
    let gone = written(one(s, write(2, &[("a", at)], &[("a", None)])));
    assert!(gone > at);
    assert_eq!(pairs(s, ""), (vec![], gone));
    assert_eq!(one(s, write(3, &[("a", at)], &[("a", Some("2"))])), Outcome::Conflict { key: "a".into() });
    let again = written(one(s, write(4, &[("a", 0)], &[("a", Some("2")), ("never", None)])));
    assert_eq!(pairs(s, ""), (vec![triple("a", "2", again)], again));
}

fn a_write_of_nothing_only_looks(s: &mut impl Subject) {
    let at = written(one(s, write(1, &[], &[("a", Some("1"))])));
    assert_eq!(written(one(s, write(2, &[("a", at)], &[]))), at);
    assert_eq!(one(s, write(3, &[("a", 0)], &[])), Outcome::Conflict { key: "a".into() });
    assert_eq!(pairs(s, "").1, at);
}

fn what_was_acknowledged_survives_a_restart_and_revisions_go_on(s: &mut impl Subject) {
    let first = written(one(s, write(1, &[], &[("a", Some("1"))])));
    let last = written(one(s, write(2, &[], &[("b", Some("2")), ("a", None)])));
    s.restart();
    assert_eq!(pairs(s, ""), (vec![triple("b", "2", last)], last));
    assert!(first < last && last < written(one(s, write(3, &[("b", last)], &[("b", Some("3"))]))));
    s.restart();
    assert_eq!(pairs(s, "b").0[0].1, "3");
}

fn a_large_value_and_many_keys_fit(s: &mut impl Subject) {
    let large = "x".repeat(300_000);
    let ops = (0..500).map(|n| write(n, &[], &[(&format!("k{n:04}"), Some(if n == 250 { &large } else { "v" }))]));
    let done = s.ask(ops.collect());
    let revisions: Vec<u64> = done.into_iter().map(|d| written(d.outcome)).collect();
    assert!(revisions.windows(2).all(|w| w[0] < w[1]));
    let (pairs, at) = pairs(s, "k");
    assert_eq!((pairs.len(), pairs[250].1.len(), at), (500, 300_000, revisions[499]));
}
