//! Making copies anew takes no more than it was given (R33, R66): a node sends its learners so many bytes a second in full and twice as many by delta, and no more than so
//! many replicas are filled on one node, or by one, at a time.
//!
//! Bytes are counted where frames are sent. A part may leave when all that left before it is paid for, however long it is itself: so each is judged by what was owed
//! before it. A node's clock may run fast by as much as clocks here ever do, and then its second is shorter.

use crate::clock::{DRIFT_PPM_MAX, Moment};
use base::io::net::Frame;
use base::{Configuration, Learner, NodeId, ShardId};
use std::collections::BTreeMap;

const NANOS_PER_S: u128 = 1_000_000_000;
/// What the head of a message may be longer than was reckoned with when its part was let go.
const HEAD_BYTES: u64 = 64 << 10;

/// What was not sent in an idle moment may be made up for, of so many nanoseconds.
const CATCH_UP: u128 = 20_000_000;

/// A node's run, and whether by delta.
type Payer = (NodeId, u32, bool);

/// What nodes sent to learners.
#[derive(Debug, Default)]
pub struct Copies {
    /// Bytes in each second in full; any number, if 0.
    pub per_s: u64,
    /// Until when each has paid for what it sent, in nanoseconds.
    paid_until: BTreeMap<Payer, u128>,
}

impl Copies {
    fn takes(&self, by_delta: bool, bytes: u64) -> u128 {
        let per_s = u128::from(self.per_s) * if by_delta { 2 } else { 1 };
        u128::from(bytes) * NANOS_PER_S * 1_000_000 / (per_s * u128::from(1_000_000 + DRIFT_PPM_MAX))
    }

    /// A run of a node sends a part to a learner.
    pub fn sent(&mut self, at: Moment, node: NodeId, run: u32, by_delta: bool, frame: &Frame) -> Result<(), String> {
        if self.per_s == 0 {
            return Ok(());
        }
        let bytes = wire::frame::HEADER_BYTES + frame.head.len() + base::payload::len(&frame.data);
        let (takes, slack) = (self.takes(by_delta, bytes as u64), self.takes(by_delta, HEAD_BYTES));
        let at = u128::from(at.0);
        let paid_until = self.paid_until.entry((node, run, by_delta)).or_insert(0);
        let owed = paid_until.saturating_sub(at);
        if owed > slack {
            let kind = if by_delta { "by delta" } else { "in full" };
            let ms = owed / 1_000_000;
            return Err(format!("tokens: {node} sends a learner {bytes} bytes {kind}, {ms} ms before it may"));
        }
        *paid_until = at.saturating_sub(CATCH_UP).max(*paid_until) + takes;
        Ok(())
    }
}

/// The most replicas that are filled at a time on one node, and by one.
#[derive(Debug, Clone, Copy)]
pub struct LearnersMax {
    /// On one.
    pub on: u32,
    /// By one.
    pub by: u32,
}

/// Which learners there were when the authority was looked at last.
#[derive(Debug, Default)]
pub struct Learners {
    /// By plan, and by whom it is filled.
    known: BTreeMap<ShardId, (u64, NodeId)>,
    /// What is seen next was there before.
    reads: bool,
}

impl Learners {
    /// The authority reads its metadata: whom it finds learning there it does not let begin, and some may learn of one whom elections made their primary.
    pub fn reads(&mut self) {
        self.reads = true;
    }

    /// Looks at all configurations in force. Who began since must have been allowed to; an election may give a new primary more learners than it could have begun with,
    /// also in the turn in which others began.
    pub fn look<'a>(
        &mut self,
        configs: impl Iterator<Item = &'a Configuration>,
        most: LearnersMax,
    ) -> Result<(), String> {
        let learns = |c: &'a Configuration| c.learner.map(|learner| (c, learner));
        let all: Vec<(&Configuration, Learner)> = configs.filter_map(learns).collect();
        let (known, was_there) = (std::mem::take(&mut self.known), std::mem::take(&mut self.reads));
        for (c, learner) in &all {
            self.known.insert(c.shard, (learner.plan, c.primary));
            if was_there || known.get(&c.shard).is_some_and(|(plan, _)| *plan == learner.plan) {
                continue;
            }
            let elected = |other: &Configuration, learner: &Learner| {
                known.get(&other.shard).is_some_and(|(plan, by)| *plan == learner.plan && *by != other.primary)
            };
            let node = learner.member.node;
            let on = all.iter().filter(|(_, other)| other.member.node == node).count();
            let by = all.iter().filter(|(other, l)| other.primary == c.primary && !elected(other, l)).count();
            if on > most.on as usize {
                let shard = c.shard;
                return Err(format!("tokens: {node} is to learn {shard} too, {on} at a time where {} may be", most.on));
            }
            if by > most.by as usize {
                let (primary, shard) = (c.primary, c.shard);
                return Err(format!(
                    "tokens: {primary} is to fill {shard} too, {by} at a time where {} may be",
                    most.by
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::tests::{config, member};
    use super::*;
    use base::{Payload, VolumeId};

    fn part(bytes: usize) -> Frame {
        Frame { kind: 1, head: bytes::Bytes::new(), data: vec![Payload::from(vec![0; bytes])] }
    }

    #[test]
    fn a_part_that_leaves_before_the_last_is_paid_for_is_caught() {
        const S: u64 = 1_000_000_000;
        let mut copies = Copies { per_s: 1 << 20, ..Copies::default() };
        let mut send = |at, run, by_delta| copies.sent(Moment(at), NodeId(1), run, by_delta, &part(1 << 20));
        assert_eq!(send(0, 1, false), Ok(()));
        assert!(send(S * 8 / 10, 1, false).unwrap_err().contains("in full, "));
        assert_eq!(send(S * 8 / 10, 1, true), Ok(()), "by delta is paid for apart");
        assert!(send(S, 1, true).is_err());
        assert_eq!(send(S * 13 / 10, 1, true), Ok(()), "in half the time");
        assert_eq!(send(S * 97 / 100, 1, false), Ok(()), "the fastest clock is that fast");
        assert_eq!(send(S, 2, false), Ok(()), "another run owes nothing");
        copies.per_s = 0;
        (0..9).for_each(|at| assert_eq!(copies.sent(Moment(at), NodeId(1), 1, false, &part(1 << 20)), Ok(())));
    }

    fn filled(volume: u64, primary: u64, learner: u64, plan: u64) -> Configuration {
        let shard = ShardId { volume: VolumeId(volume), index: 0 };
        Configuration {
            shard,
            learner: Some(Learner { member: member(learner), plan }),
            ..config(3, primary, &[primary])
        }
    }

    #[test]
    fn one_learner_more_than_may_be_is_caught_when_it_begins() {
        let most = LearnersMax { on: 2, by: 2 };
        let look = |before: &[Configuration], now: &[Configuration]| {
            let mut learners = Learners::default();
            learners.look(before.iter(), LearnersMax { on: 99, by: 99 }).unwrap();
            learners.look(now.iter(), most)
        };
        let [a, b] = [filled(1, 1, 7, 1), filled(2, 2, 7, 1)];
        assert_eq!(look(&[], &[a.clone(), b.clone()]), Ok(()));
        let third = [a.clone(), b.clone(), filled(3, 3, 7, 1)];
        assert!(look(&[], &third).unwrap_err().contains("node-7 is to learn"));
        let [c, d, e] = [filled(1, 1, 7, 1), filled(2, 1, 8, 1), filled(3, 1, 9, 1)];
        let all = [c.clone(), d.clone(), e.clone()];
        assert!(look(&[c.clone(), d.clone()], &all).unwrap_err().contains("node-1 is to fill"));
        // The third was filled by another, who lost an election.
        assert_eq!(look(&[c.clone(), d, filled(3, 2, 9, 1)], &all), Ok(()));
        // And the second began in the same turn.
        assert_eq!(look(&[c.clone(), filled(3, 2, 9, 1)], &all), Ok(()));
        assert!(look(&[c], &all).is_err());
        // A new run of the authority knows nothing of that, and begins with what it finds.
        let mut learners = Learners::default();
        learners.reads();
        assert_eq!(learners.look(all.iter(), most), Ok(()));
        let more = [&all[..], &[filled(4, 1, 10, 1)]].concat();
        assert!(learners.look(more.iter(), most).is_err());
    }
}
