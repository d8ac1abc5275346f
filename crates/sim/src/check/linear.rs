//! Each block is linearizable (I8, I9): Gibbons and Korach, "Testing shared memories" (1997), for one register.
//!
//! Every written value names its write, so reads fall into *clusters* around their writes. A cluster's zone spans from the first end to the
//! last beginning of its operations. Where the end comes first (a forward zone), the register held that value throughout: two such zones
//! must not overlap, and no other cluster may lie wholly inside one. That is necessary and sufficient, and costs a sort.
//!
//! Zeroes are the exception: the beginning and every trim write them. A read of zeroes is given to its write when only one could have
//! left them; otherwise it is held to lie in the zone of no other value, which is necessary though not sufficient. Zones of zeroes, whoever wrote them, are in nobody's way
//! who wrote or read zeroes.

use crate::clock::Moment;
use std::collections::BTreeMap;
use std::fmt;

/// What was done to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// This value was written; 0 is zeroes.
    Write(u64),
    /// This value was read.
    Read(u64),
}

/// One operation as one register saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// The operation's number.
    pub op: u64,
    /// What was done.
    pub what: What,
    /// When it was asked.
    pub invoked: Moment,
    /// When it was answered; a write that never was stays possible...
    pub returned: Option<Moment>,
    /// ...until then, or for ever.
    pub fenced: Option<Moment>,
}

/// Why a register is not linearizable, with the operations that show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// A read returned what nobody wrote here.
    NeverWritten {
        /// The read.
        read: u64,
    },
    /// A read ended before the write that it returned was asked for.
    FromTheFuture {
        /// The read.
        read: u64,
        /// The write.
        write: u64,
    },
    /// The register would have to hold two values at once: a read was stale, or two reads went back.
    Overlap {
        /// A write whose value was there before and after...
        one: u64,
        /// ...some time at which this one's was too.
        other: u64,
    },
    /// A write, or a read of another value, lies wholly between two sights of one value: an acknowledged write was lost.
    Between {
        /// The write that was seen before and after...
        around: u64,
        /// ...this operation.
        inside: u64,
    },
    /// A read returned zeroes that every possible trim had been overwritten since.
    StaleZeroes {
        /// The read.
        read: u64,
    },
    /// Two writes of one value: the workload is wrong, not the volume.
    ValueTwice {
        /// The second.
        write: u64,
    },
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverWritten { read } => write!(f, "read {read} returned what nobody wrote there"),
            Self::FromTheFuture { read, write } => write!(f, "read {read} returned write {write} before it was asked"),
            Self::Overlap { one, other } => write!(f, "the values of operations {one} and {other} were there at once"),
            Self::Between { around, inside } => {
                write!(f, "the value of operation {around} was seen before and after operation {inside}: it was lost")
            }
            Self::StaleZeroes { read } => write!(f, "read {read} returned zeroes that had been overwritten"),
            Self::ValueTwice { write } => write!(f, "operation {write} wrote a value again"),
        }
    }
}

const NEVER: Moment = Moment(u64::MAX);
/// The number under which the beginning of a register is reported.
pub const BEGINNING: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Cluster {
    op: u64,
    written: Option<Moment>,
    first_end: Moment,
    last_begin: Moment,
    fenced: Moment,
    reads: u32,
    zeroes: bool,
}

impl Cluster {
    fn of(write: &Access) -> Self {
        Self {
            op: write.op,
            written: write.returned,
            first_end: write.returned.unwrap_or(NEVER),
            last_begin: write.invoked,
            fenced: write.fenced.unwrap_or(NEVER),
            reads: 0,
            zeroes: matches!(write.what, What::Write(0) | What::Read(0)),
        }
    }

    fn add(&mut self, read: &Access) {
        // A write that was seen took effect, and no later than its fence.
        let end = read.returned.unwrap_or(NEVER).min(self.fenced);
        self.first_end = self.first_end.min(end);
        self.last_begin = self.last_begin.max(read.invoked);
        self.reads += 1;
    }

    /// A write that was neither acknowledged nor seen may never have happened.
    fn happened(&self) -> bool {
        self.written.is_some() || self.reads > 0
    }
}

/// Judges one register.
pub fn check(accesses: &[Access]) -> Result<(), Broken> {
    let mut clusters: BTreeMap<u64, Cluster> = BTreeMap::new();
    let beginning =
        Access { op: BEGINNING, what: What::Write(0), invoked: Moment(0), returned: Some(Moment(0)), fenced: None };
    let mut invoked: BTreeMap<u64, Moment> = BTreeMap::new();
    let mut zeroes = vec![Cluster::of(&beginning)];
    for access in accesses {
        match access.what {
            What::Write(0) => zeroes.push(Cluster::of(access)),
            What::Write(value) => {
                if clusters.insert(value, Cluster::of(access)).is_some() {
                    return Err(Broken::ValueTwice { write: access.op });
                }
                invoked.insert(value, access.invoked);
            }
            What::Read(_) => {}
        }
    }
    for read in accesses {
        let What::Read(value @ 1..) = read.what else { continue };
        let cluster = clusters.get_mut(&value).ok_or(Broken::NeverWritten { read: read.op })?;
        if read.returned.is_some_and(|returned| returned < invoked[&value]) {
            return Err(Broken::FromTheFuture { read: read.op, write: cluster.op });
        }
        cluster.add(read);
    }
    let begins: Vec<Moment> = zeroes.iter().map(|zero| zero.last_begin).collect();
    let overwritten = Overwritten::of(&clusters, &invoked);
    let mut others: Vec<Cluster> = Vec::new();
    for read in accesses.iter().filter(|access| access.what == What::Read(0)) {
        match sources(read, &zeroes, &begins, &overwritten)[..] {
            [] => return Err(Broken::StaleZeroes { read: read.op }),
            [only] => zeroes[only].add(read),
            _ => others.push(Cluster::of(read)),
        }
    }
    let all: Vec<Cluster> = clusters.into_values().chain(zeroes).chain(others).filter(Cluster::happened).collect();
    zones(&all)
}

/// Up to which moment zeroes were certainly overwritten, as a read that begins later sees it.
struct Overwritten {
    /// Ends of other values' writes, and the latest beginning among all that ended by then.
    by_end: Vec<(Moment, Moment)>,
}

impl Overwritten {
    fn of(clusters: &BTreeMap<u64, Cluster>, invoked: &BTreeMap<u64, Moment>) -> Self {
        let happened = clusters.iter().filter(|(_, write)| write.happened());
        let mut by_end: Vec<_> = happened.map(|(value, write)| (write.first_end, invoked[value])).collect();
        by_end.sort();
        let mut latest = Moment(0);
        for (_, begin) in &mut by_end {
            latest = latest.max(*begin);
            *begin = latest;
        }
        Self { by_end }
    }

    /// Zeroes written before this were overwritten by a write that ended before `read` began.
    fn before(&self, read: &Access) -> Moment {
        let ended = self.by_end.partition_point(|(end, _)| *end < read.invoked);
        ended.checked_sub(1).map_or(Moment(0), |i| self.by_end[i].1)
    }
}

/// Which zero writes a read of zeroes may have seen; of many, two.
fn sources(read: &Access, zeroes: &[Cluster], begins: &[Moment], overwritten: &Overwritten) -> Vec<usize> {
    let since = overwritten.before(read);
    let asked = |i: usize| read.returned.is_none_or(|returned| begins[i] <= returned);
    let there = |i: usize| zeroes[i].written.unwrap_or(NEVER) >= since;
    (0..zeroes.len()).rev().filter(|i| asked(*i) && there(*i)).take(2).collect()
}

/// A time throughout which the register held one value.
struct Held {
    op: u64,
    from: Moment,
    to: Moment,
    zeroes: bool,
}

/// The times of forward zones, in order and apart. Those of zeroes that overlap are one: what was there was zeroes.
fn held(mut forward: Vec<&Cluster>) -> Result<Vec<Held>, Broken> {
    forward.sort_by_key(|c| (c.first_end, c.last_begin));
    let mut all: Vec<Held> = Vec::new();
    for c in forward {
        match all.last_mut().filter(|last| c.first_end < last.to) {
            Some(last) if last.zeroes && c.zeroes => last.to = last.to.max(c.last_begin),
            Some(last) => return Err(Broken::Overlap { one: last.op, other: c.op }),
            None => all.push(Held { op: c.op, from: c.first_end, to: c.last_begin, zeroes: c.zeroes }),
        }
    }
    Ok(all)
}

fn zones(clusters: &[Cluster]) -> Result<(), Broken> {
    let (forward, backward): (Vec<&Cluster>, Vec<&Cluster>) = clusters.iter().partition(|c| c.first_end < c.last_begin);
    let held = held(forward)?;
    for cluster in backward {
        // Its zone runs from its last begin to its first end; those times are apart, so only one can hold it.
        let before = held.partition_point(|zone| zone.from < cluster.last_begin);
        if let Some(zone) = before.checked_sub(1).map(|i| &held[i])
            && cluster.first_end < zone.to
            && !(zone.zeroes && cluster.zeroes)
        {
            return Err(Broken::Between { around: zone.op, inside: cluster.op });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "w1 0-5" a write of 1 asked at 0 and answered at 5; "r1 6-7"; "w2 8-" never answered; "w2 8-/20" fenced at 20.
    fn history(text: &str) -> Vec<Access> {
        let parse = |(op, item): (u64, &str)| {
            let (what, times) = item.trim().split_once(' ').unwrap();
            let (times, fence) = times.split_once('/').map_or((times, None), |(t, f)| (t, Some(f)));
            let (from, to) = times.split_once('-').unwrap();
            let moment = |text: &str| Moment(text.parse().unwrap());
            let value = what[1..].parse().unwrap();
            let what = if what.starts_with('w') { What::Write(value) } else { What::Read(value) };
            let returned = (!to.is_empty()).then(|| moment(to));
            Access { op, what, invoked: moment(from), returned, fenced: fence.map(moment) }
        };
        (0..).zip(text.split(',')).map(parse).collect()
    }

    fn verdict(text: &str) -> Result<(), Broken> {
        check(&history(text))
    }

    #[test]
    fn what_one_register_could_do_is_allowed() {
        for good in [
            "r0 1-2",
            "w1 1-2, r1 3-4",
            "w1 1-5, r0 2-3, r1 4-6",
            "w1 1-5, w2 2-6, r1 7-8",
            "w1 1-5, w2 2-6, r2 7-8",
            "w1 1-, r0 5-6, r1 10-11",
            "w1 1-, w2 3-4, r2 5-6, r1 7-8",
            "w1 1-, w2 3-, r2 5-6, r1 7-8",
            "w1 1-2, w0 3-4, r0 5-6",
            "w1 1-2, w0 3-, r1 5-6, r0 7-8",
            "w1 1-2, w0 3-9, r0 4-5, r0 6-7",
            "w0 1-2, w1 3-4, w0 5-6, r0 7-8",
            "w1 1-/6, r1 7-8",
            "w1 1-10, r1 2-3, r0 2-4",
            // A read of zeroes that may be the beginning's, within the time of those that a trim left.
            "w0 193-353, w4 67-419, r0 389-485, r0 448-608",
            "w0 193-/353, w4 67-419, r0 389-485, r0 448-608",
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn a_lost_write_is_caught() {
        assert_eq!(verdict("w1 1-2, w2 3-4, r1 5-6"), Err(Broken::Between { around: 0, inside: 1 }));
        assert_eq!(verdict("w1 1-2, r0 3-4"), Err(Broken::StaleZeroes { read: 1 }));
        assert_eq!(verdict("w1 1-2, w0 3-4, r1 5-6"), Err(Broken::Between { around: 0, inside: 1 }));
        assert_eq!(verdict("w0 1-2, w1 3-4, w0 5-6, w2 7-8, r0 9-10"), Err(Broken::StaleZeroes { read: 4 }));
    }

    #[test]
    fn a_read_that_goes_back_is_caught() {
        assert!(verdict("w1 1-2, w2 3-9, r2 4-5, r1 6-7").is_err());
        assert!(verdict("w1 1-9, r1 2-3, r0 4-5").is_err());
        assert!(verdict("w1 1-, w2 2-, r1 3-4, r2 5-6, r1 7-8").is_err(), "though neither was ever answered");
        assert!(verdict("w1 1-2, w0 3-9, r0 4-5, r1 6-7").is_err());
    }

    #[test]
    fn two_values_at_once_are_caught() {
        // A deposed primary still answers while its successor serves.
        let split = "w1 1-2, w2 3-4, r2 5-6, r1 7-8, r2 9-10";
        assert!(verdict(split).is_err());
        assert!(verdict("w1 1-, w2 1-, r1 3-4, r2 3-4, r1 5-6, r2 5-6").is_err());
    }

    #[test]
    fn a_value_from_nowhere_and_one_from_the_future_are_caught() {
        assert_eq!(verdict("w1 1-2, r9 3-4"), Err(Broken::NeverWritten { read: 1 }));
        assert_eq!(verdict("r1 1-2, w1 3-4"), Err(Broken::FromTheFuture { read: 0, write: 1 }));
        assert_eq!(verdict("w1 1-2, w1 3-4"), Err(Broken::ValueTwice { write: 1 }));
    }

    #[test]
    fn a_write_that_takes_effect_after_its_fence_is_caught() {
        // The old attachment's write 1 was overtaken by write 2 of the new one, answered at 10, and came later still.
        assert_eq!(verdict("w1 1-, w2 8-10, r2 11-12, r1 13-14"), Ok(()));
        assert!(verdict("w1 1-/10, w2 8-10, r2 11-12, r1 13-14").is_err());
        assert_eq!(verdict("w1 1-/10, w2 8-10, r1 13-14"), Ok(()), "it may still be the later of the two");
        assert!(verdict("w1 1-/10, w2 11-12, r1 13-14").is_err());
    }

    /// Tries all orders: slow, and right by definition.
    fn by_definition(accesses: &[Access]) -> bool {
        fn go(left: &mut Vec<Access>, value: u64) -> bool {
            // What nobody must have seen may be left out.
            if left.iter().all(|a| a.returned.is_none()) {
                return true;
            }
            let latest = left.iter().filter_map(|a| a.returned).min().unwrap_or(NEVER);
            for i in 0..left.len() {
                let access = left[i];
                if access.invoked > latest {
                    continue;
                }
                let next = match access.what {
                    What::Write(v) => v,
                    What::Read(v) if v == value => v,
                    What::Read(_) => continue,
                };
                left.swap_remove(i);
                let found = go(left, next);
                left.push(access);
                let last = left.len() - 1;
                left.swap(i, last);
                if found {
                    return true;
                }
            }
            false
        }
        go(&mut accesses.to_vec(), 0)
    }

    #[test]
    fn the_verdict_is_that_of_trying_all_orders() {
        let mut rng = base::Rng::new(1);
        let (mut good, mut bad) = (0, 0);
        for round in 0..20_000 {
            let mut next = 1;
            let accesses: Vec<Access> = (0..rng.within(2, 7))
                .map(|op| {
                    let invoked = rng.below(12);
                    let ends = invoked + rng.within(1, 6);
                    let write = rng.chance(1, 2);
                    let what = if write {
                        next += 1;
                        What::Write(next - 1)
                    } else {
                        What::Read(rng.below(4))
                    };
                    let returned = (!write || rng.chance(3, 4)).then_some(Moment(ends * 16 + op));
                    Access { op, what, invoked: Moment(invoked * 16 + 8 + op), returned, fenced: None }
                })
                .collect();
            let truth = by_definition(&accesses);
            assert_eq!(check(&accesses).is_ok(), truth, "round {round}: {accesses:?}");
            if truth { good += 1 } else { bad += 1 }
        }
        assert!(good > 1000 && bad > 1000, "both verdicts were tried: {good} good, {bad} bad");
    }
}
