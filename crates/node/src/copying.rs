//! How fast this node fills learners, over all its shards (R33, R73): so many bytes a second in full, twice as many by delta, and half of either while those who write to this
//! node are served more slowly for it.
//!
//! A primary that would read the next part of what a learner needs asks for leave. Whoever waits is let go in order: first those whose shard has one copy only, then whoever has waited longest.
//! What was sent is charged when it is sent, so the pace is exact but for one part of each learner, and nobody has to know beforehand how long a part will be.
//!
//! It refuses to know what is copied, and whether the network could carry more.

use crate::Node;
use crate::latency::Latency;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::mutant::Mutant;
use base::time::Duration;
use base::{ShardId, Time};
use replica::EXTENT_BYTES;
use wire::Message;

/// What was not sent in an idle moment may be made up for, of this long.
const CATCH_UP: Duration = Duration::from_millis(20);
/// By delta so many times as much as in full: who comes back is whole again soon, and needs no room.
const DELTA_FACTOR: u64 = 2;

/// When the next part may leave: each pushes it on by as long as its bytes take.
#[derive(Debug, Default)]
struct Pace {
    free_at: Time,
}

fn takes(bytes: u64, per_s: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(per_s.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Pace {
    fn from(&self, now: Time) -> Time {
        self.free_at.max(Time(now.0.saturating_sub(CATCH_UP.as_nanos() as u64)))
    }

    fn charge(&mut self, now: Time, bytes: u64, per_s: u64) {
        self.free_at = self.from(now) + takes(bytes, per_s);
    }

    /// When the next may be read, behind so many that are being read.
    fn next_at(&self, now: Time, being_read: usize, per_s: u64) -> Time {
        self.from(now) + takes(being_read as u64 * EXTENT_BYTES, per_s)
    }
}

/// The budgets, and who waits for them.
#[derive(Debug)]
pub(crate) struct Copying {
    per_s: u64,
    full: Pace,
    delta: Pace,
    /// Who waits, in order of arrival.
    waiting: BTreeMap<ShardId, u64>,
    next: u64,
    /// Who reads, whether by delta.
    reading: BTreeMap<ShardId, bool>,
    wake: Option<Time>,
    pub(crate) latency: Latency,
}

impl Copying {
    pub(crate) fn new(per_s: u64) -> Self {
        Self {
            per_s,
            full: Pace::default(),
            delta: Pace::default(),
            waiting: BTreeMap::new(),
            next: 0,
            reading: BTreeMap::new(),
            wake: None,
            latency: Latency::default(),
        }
    }

    /// What was of this shard is gone.
    pub(crate) fn forget(&mut self, shard: ShardId) {
        self.waiting.remove(&shard);
        self.reading.remove(&shard);
    }

    /// Who waits for leave.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Who has leave and reads.
    pub(crate) fn reading(&self) -> usize {
        self.reading.len()
    }

    pub(crate) fn deadline(&self) -> Option<Time> {
        self.wake
    }

    fn per_s(&self, by_delta: bool) -> u64 {
        let factor = if by_delta { DELTA_FACTOR } else { 1 };
        let all = self.per_s.saturating_mul(factor);
        if self.latency.is_slowed() { all / 2 } else { all }
    }

    fn waits(&mut self, shard: ShardId) {
        let next = self.next;
        self.waiting.entry(shard).or_insert(next);
        self.next += 1;
    }

    fn sent(&mut self, now: Time, shard: ShardId, by_delta: bool, bytes: u64) {
        self.latency.copied();
        self.reading.remove(&shard);
        let per_s = self.per_s(by_delta);
        let pace = if by_delta { &mut self.delta } else { &mut self.full };
        pace.charge(now, bytes, per_s);
    }

    /// Whether one more may be read now; if not, it is looked at again when that may be.
    fn may_go(&mut self, now: Time, by_delta: bool) -> bool {
        let being_read = self.reading.values().filter(|delta| **delta == by_delta).count();
        let pace = if by_delta { &self.delta } else { &self.full };
        let at = pace.next_at(now, being_read, self.per_s(by_delta));
        if at > now {
            self.wake = Time::sooner(self.wake, Some(at));
        }
        at <= now
    }
}

impl Node {
    /// Takes note of how long clients waited.
    pub(crate) fn follow_answers(&mut self) {
        if !self.copying.latency.follows() {
            return;
        }
        for (to, frame) in self.fx.frames.iter().filter(|(to, _)| matches!(to.peer, Peer::Host(_))) {
            let (shard, io, well) = match Message::decode(frame) {
                Ok(Message::Done(m)) => (m.shard, m.io, true),
                Ok(Message::Refused(m)) => (m.shard, m.io, false),
                _ => continue,
            };
            let halved = self.copying.latency.ended(*to, shard, io, well, self.now);
            self.fx.taught.halved += u64::from(halved);
        }
    }

    /// Lets those copy on whose turn it is.
    pub(crate) fn let_copy(&mut self) {
        let (now, free) = (self.now, self.policy.replica.mutation.is(Mutant::CopiesUncharged));
        for (shard, by_delta, bytes) in self.fx.copied.drain(..) {
            self.copying.sent(now, shard, by_delta, if free { 0 } else { bytes });
        }
        self.fx.awaiting_copy.drain(..).for_each(|shard| self.copying.waits(shard));
        self.copying.wake = None;
        if self.copying.waiting.is_empty() {
            return;
        }
        self.fx.taught.halved += u64::from(self.copying.latency.look(now));
        let replicas = &self.replicas;
        self.copying.reading.retain(|shard, _| replicas.get(shard).is_some_and(|r| r.is_reading_extents()));
        let turn = |(shard, number): (&ShardId, &u64)| {
            let wish = replicas.get(shard)?.copy_wish()?;
            Some((!wish.at_risk, *number, *shard, wish.by_delta))
        };
        let mut turns: Vec<_> = self.copying.waiting.iter().filter_map(turn).collect();
        turns.sort_unstable();
        // Who wants nothing any more has not waited.
        self.copying.waiting = turns.iter().map(|(_, number, shard, _)| (*shard, *number)).collect();
        for (_, _, shard, by_delta) in turns {
            if self.copying.may_go(now, by_delta) {
                self.copying.waiting.remove(&shard);
                self.copying.reading.insert(shard, by_delta);
                self.with_leave(shard);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::VolumeId;

    const MIB: u64 = 1 << 20;

    fn shard(volume: u64) -> ShardId {
        ShardId { volume: VolumeId(volume), index: 0 }
    }

    /// One learner is sent parts for ten seconds, as fast as it may be. Bytes.
    fn sent(copying: &mut Copying, by_delta: bool, part: u64) -> u64 {
        let (mut now, until, mut bytes) = (Time(1_000_000_000), Time(11_000_000_000), 0);
        while now < until {
            copying.wake = None;
            if copying.may_go(now, by_delta) {
                copying.sent(now, shard(1), by_delta, part);
                bytes += part;
            } else {
                now = copying.wake.expect("it goes on");
            }
        }
        bytes
    }

    #[test]
    fn the_rate_is_held_whatever_the_size_of_parts_and_a_delta_has_twice_of_it() {
        for part in [4096, 100_000, EXTENT_BYTES] {
            for (by_delta, rate) in [(false, 8 * MIB), (true, 16 * MIB)] {
                let bytes = sent(&mut Copying::new(8 * MIB), by_delta, part);
                let (least, most) = (rate * 10, rate * 10 + rate / 50 + 2 * part);
                assert!((least..=most).contains(&bytes), "{part} {by_delta}: {bytes} of {least} to {most}");
            }
        }
    }

    #[test]
    fn what_is_being_read_counts_before_it_is_sent() {
        let mut copying = Copying::new(EXTENT_BYTES);
        let now = Time(1_000_000_000);
        assert!(copying.may_go(now, false));
        copying.reading.insert(shard(1), false);
        assert!(!copying.may_go(now, false));
        assert!(copying.wake > Some(now), "it is looked at again");
    }
}
