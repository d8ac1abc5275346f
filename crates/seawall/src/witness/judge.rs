//! Whether what was seen can be true: every block is one register, and its history must be linearizable (`sim::check::linear`, the judge of
//! the simulated clients too). Knows no connection and no clock: it is given a history.

use sim::check::linear::{self, Access, What};
use sim::clock::Moment;
use std::collections::BTreeMap;

/// What a request was to one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which block.
    pub block: u32,
    /// The generation of the attachment that it was asked under.
    pub generation: u32,
    /// Whether it wrote `value`; otherwise it read it.
    pub is_write: bool,
    /// The write's value; 0 is zeroes.
    pub value: u64,
    /// The request's own number.
    pub op: u64,
    /// Nanoseconds when it was asked.
    pub invoked: u64,
    /// And when it was answered; none of a write that was not, or that failed: it stays possible.
    pub returned: Option<u64>,
}

/// What a history came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Blocks of which something is known.
    pub registers: u64,
    /// Accesses to blocks that were judged.
    pub accesses: u64,
    /// Writes among them that were never answered.
    pub open_writes: u64,
    /// What cannot be true, in words.
    pub anomalies: Vec<String>,
}

/// Judges a history, and puts it in order. `first_answers` says of each generation when its first request was answered: what an older one had not had answered by
/// then may not happen any more (I9).
pub fn judge(history: &mut [Seen], first_answers: &BTreeMap<u32, u64>) -> Verdict {
    history.sort_unstable_by_key(|seen| (seen.block, seen.invoked, seen.op));
    let mut verdict = Verdict::default();
    for of_one in history.chunk_by(|a, b| a.block == b.block) {
        let accesses: Vec<Access> = of_one.iter().map(|seen| access(seen, first_answers)).collect();
        verdict.registers += 1;
        verdict.accesses += accesses.len() as u64;
        verdict.open_writes += of_one.iter().filter(|seen| seen.returned.is_none()).count() as u64;
        if let Err(broken) = linear::check(&accesses) {
            verdict.anomalies.push(format!("block {}: {broken}; {}", of_one[0].block, around(of_one)));
        }
    }
    verdict
}

fn access(seen: &Seen, first_answers: &BTreeMap<u32, u64>) -> Access {
    let what = if seen.is_write { What::Write(seen.value) } else { What::Read(seen.value) };
    let next = first_answers.range(seen.generation + 1..).map(|(_, at)| *at).min();
    Access {
        op: seen.op,
        what,
        invoked: Moment(seen.invoked),
        returned: seen.returned.map(Moment),
        fenced: next.filter(|_| seen.returned.is_none()).map(Moment),
    }
}

/// The last accesses of a register, for whoever looks for the cause.
fn around(history: &[Seen]) -> String {
    let words = |seen: &Seen| {
        let kind = if seen.is_write { "w" } else { "r" };
        let returned = seen.returned.map_or("-".into(), |at| format!("{}", at / 1000));
        format!("{kind}{:x}@g{} {}-{returned}", seen.value, seen.generation, seen.invoked / 1000)
    };
    let last = &history[history.len().saturating_sub(12)..];
    format!("its last accesses, in us: {}", last.iter().map(words).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "w1 0-5" a write of 1 asked at 0 and answered at 5; "r1 6-7"; "w2 8-" never answered; "w2 8- g2" under generation 2.
    fn verdict(text: &str, first_answers: &[(u32, u64)]) -> Verdict {
        let parse = |(op, item): (u64, &str)| {
            let mut words = item.split_whitespace();
            let (what, times) = (words.next().unwrap(), words.next().unwrap());
            let generation = words.next().map_or(1, |word| word[1..].parse().unwrap());
            let (from, to) = times.split_once('-').unwrap();
            let (is_write, value) = (what.starts_with('w'), what[1..].parse().unwrap());
            let returned = (!to.is_empty()).then(|| to.parse().unwrap());
            Seen { block: 3, generation, is_write, value, op, invoked: from.parse().unwrap(), returned }
        };
        let mut history: Vec<Seen> = (0..).zip(text.split(',')).map(parse).collect();
        judge(&mut history, &first_answers.iter().copied().collect())
    }

    fn is_refused(text: &str) -> bool {
        verdict(text, &[]).anomalies.len() == 1
    }

    #[test]
    fn a_history_that_can_be_true_is_let_pass_and_counted() {
        let text = "w1 1-2, r1 3-4, w2 5-9, r1 6-7, r2 7-8, w3 10-, r2 11-12, r3 20-21";
        assert_eq!(verdict(text, &[]), Verdict { registers: 1, accesses: 8, open_writes: 1, anomalies: Vec::new() });
    }

    #[test]
    fn a_lost_write_a_stale_read_and_an_order_that_is_torn_are_refused() {
        assert!(is_refused("w1 1-2, r0 3-4"), "an acknowledged write is gone");
        assert!(is_refused("w1 1-2, w2 3-4, r1 5-6"), "an acknowledged write is gone, and the older is back");
        assert!(is_refused("w1 1-2, w2 3-4, r2 5-6, r1 7-8"), "a read is stale");
        assert!(is_refused("w1 1-9, w2 1-9, r1 10-11, r2 12-13, r1 14-15"), "two readers saw two orders");
        assert!(is_refused("w1 1-, w2 1-, r1 3-4, r2 5-6, r1 7-8"), "though neither write was ever answered");
        assert!(is_refused("r4 3-4"), "nobody wrote that");
    }

    #[test]
    fn what_an_older_generation_left_open_may_not_happen_after_the_newer_one_was_answered() {
        let text = "w1 1-, w2 8-9 g2, r1 11-12 g2";
        assert!(verdict(text, &[(1, 1), (2, 20)]).anomalies.is_empty());
        let late = "w1 1-, w2 10-11 g2, r1 12-13 g2";
        assert_eq!(verdict(late, &[(1, 1)]).anomalies.len(), 0);
        assert_eq!(verdict(late, &[(1, 1), (2, 5)]).anomalies.len(), 1);
    }

    #[test]
    fn blocks_are_judged_apart_and_an_anomaly_names_its_block() {
        let seen = |block, is_write, value, invoked| Seen {
            block,
            generation: 1,
            is_write,
            value,
            op: invoked,
            invoked,
            returned: Some(invoked + 1),
        };
        let mut history = [seen(1, true, 1, 1), seen(2, false, 0, 5), seen(1, false, 0, 7)];
        let verdict = judge(&mut history, &BTreeMap::new());
        assert_eq!((verdict.registers, verdict.accesses), (2, 3));
        assert!(verdict.anomalies.len() == 1 && verdict.anomalies[0].starts_with("block 1: "), "{verdict:?}");
    }
}
