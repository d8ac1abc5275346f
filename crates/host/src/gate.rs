//! The gate before a volume: what its throttle lets pass, and the row of what waits for it.
//!
//! A request pays before it passes, in tokens of two buckets: I/Os, and bytes. It promises:
//! - Over any time no more passes than the rates times that time, and what 50 ms of them save up.
//! - All pass in the order they came. One that costs more than a bucket holds pays in parts, as tokens come, so it passes too, and
//!   nothing behind it overtakes it.
//! - What waits here is not in flight: no shard knows of it, so nobody is blamed for it and it is never called stuck.
//!
//! What counts as how much ([why](../../../docs/decisions/2026-11-25-what-a-throttle-counts.md)):
//!
//! ```text
//!   read, write   one I/O for each 256 KiB begun    each byte asked for, whatever the blocks at its edges cost
//!   trim, zero    one I/O, however long             none: they move no data
//!   map           one I/O, however long             none
//!   flush         none                              none: but it keeps its place in the row
//! ```

use crate::request::{Op, Request};
use alloc::collections::VecDeque;
use base::Time;
use base::bucket::Bucket;
use wire::{Throttle, ThrottledVolume};

/// A read or write of up to so many bytes is one I/O, as for the SSD volumes of EBS.
const IO_BYTES: u64 = 256 << 10;
/// What a bucket saves up: this part of a second of its rate. Short, so that the rates hold over any second to 5 %, and longer than a
/// loaded machine wakes up late.
const BURST_PARTS: u64 = 20;

/// One limit, and what has been saved up under it.
#[derive(Debug)]
struct Limit {
    bucket: Bucket,
    burst: u64,
}

impl Limit {
    /// None where there is no limit.
    fn new(per_s: u64, now: Time) -> Option<Self> {
        let burst = (per_s / BURST_PARTS).max(1);
        (per_s > 0).then(|| Self { bucket: Bucket::new(per_s, burst, now), burst })
    }

    /// Takes what is there of what is owed. When more is worth asking for, if it is not all paid.
    fn pay(&mut self, owed: &mut u64, now: Time) -> Option<Time> {
        *owed -= self.bucket.take_up_to(*owed, now);
        // Half a bucket at most: one that is asked for late has not run over meanwhile.
        let part = (*owed).min((self.burst / 2).max(1));
        (*owed > 0).then(|| self.bucket.ready_at(part, now).expect("a part of what a bucket holds comes in time"))
    }
}

/// A request that has not paid all.
#[derive(Debug)]
struct Waiting {
    request: Request,
    since: Time,
    ios: u64,
    bytes: u64,
}

/// See the page above.
#[derive(Debug)]
pub(crate) struct Gate {
    throttle: Throttle,
    ios: Option<Limit>,
    bytes: Option<Limit>,
    row: VecDeque<Waiting>,
    delayed: u64,
    /// When the first of the row should pay again.
    ready_at: Option<Time>,
}

impl Gate {
    pub(crate) fn new(throttle: Throttle, now: Time) -> Self {
        let (ios, bytes) = (Limit::new(throttle.iops, now), Limit::new(throttle.bytes_per_s, now));
        Self { throttle, ios, bytes, row: VecDeque::new(), delayed: 0, ready_at: None }
    }

    /// Its limits.
    pub(crate) fn throttle(&self) -> Throttle {
        self.throttle
    }

    /// From now on these are the limits. What has been paid stays paid.
    pub(crate) fn change(&mut self, throttle: Throttle, now: Time) {
        self.throttle = throttle;
        (self.ios, self.bytes) = (Limit::new(throttle.iops, now), Limit::new(throttle.bytes_per_s, now));
    }

    /// A request came: it stands at the end of the row.
    pub(crate) fn enter(&mut self, request: Request, now: Time) {
        let (ios, bytes) = cost(&request.op);
        self.row.push_back(Waiting { request, since: now, ios, bytes });
    }

    /// The next that may pass now.
    pub(crate) fn pass(&mut self, now: Time) -> Option<Request> {
        self.ready_at = None;
        let first = self.row.front_mut()?;
        let ios = self.ios.as_mut().and_then(|limit| limit.pay(&mut first.ios, now));
        let bytes = self.bytes.as_mut().and_then(|limit| limit.pay(&mut first.bytes, now));
        // Both must be paid, so it is the later that counts.
        self.ready_at = ios.max(bytes);
        if self.ready_at.is_some() {
            return None;
        }
        let passed = self.row.pop_front()?;
        self.delayed += u64::from(passed.since < now);
        Some(passed.request)
    }

    /// When to look at it again.
    pub(crate) fn ready_at(&self) -> Option<Time> {
        self.ready_at
    }

    /// What waits, for the authority. The volume is the caller's to name.
    pub(crate) fn report(&self, volume: base::VolumeId, now: Time) -> ThrottledVolume {
        let oldest = self.row.front().map_or(now, |first| first.since);
        let waiting_ms = u64::try_from(now.since(oldest).as_millis()).unwrap_or(u64::MAX);
        ThrottledVolume { volume, waiting: self.row.len() as u32, waiting_ms, delayed: self.delayed }
    }

    /// Whether anything waits.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.row.is_empty()
    }

    /// The volume is closed: what had not passed.
    pub(crate) fn close(self) -> impl Iterator<Item = Request> {
        self.row.into_iter().map(|waiting| waiting.request)
    }
}

/// What a request costs, in I/Os and bytes.
fn cost(op: &Op) -> (u64, u64) {
    match op {
        Op::Read { .. } | Op::Write { .. } => (op.weight().div_ceil(IO_BYTES), op.weight()),
        Op::Trim { .. } | Op::Zero { .. } | Op::Map { .. } => (1, 0),
        Op::Flush => (0, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::Duration;
    use base::{Payload, VolumeId};

    fn read(bytes: u64) -> Op {
        Op::Read { offset: 0, len: bytes }
    }

    #[test]
    fn what_costs_how_much() {
        let kib = 1024;
        for (op, wanted) in [
            (read(1), (1, 1)),
            (read(256 * kib), (1, 256 * kib)),
            (read(256 * kib + 1), (2, 256 * kib + 1)),
            (Op::Write { offset: 3, data: Payload::from(alloc::vec![0; 5000]) }, (1, 5000)),
            (read(32 << 20), (128, 32 << 20)),
            (Op::Trim { offset: 0, len: 1 << 40 }, (1, 0)),
            (Op::Zero { offset: 0, len: 4096 }, (1, 0)),
            (Op::Map { offset: 0, len: 1 << 40 }, (1, 0)),
            (Op::Flush, (0, 0)),
        ] {
            assert_eq!(cost(&op), wanted, "{op:?}");
        }
    }

    /// Passes whatever may, at the times the gate asks for, until `end`; what passed, with when.
    fn run(gate: &mut Gate, from: Time, end: Time) -> alloc::vec::Vec<(Time, Request)> {
        let (mut now, mut passed) = (from, alloc::vec::Vec::new());
        loop {
            while let Some(request) = gate.pass(now) {
                passed.push((now, request));
            }
            match gate.ready_at() {
                Some(at) if at <= end => now = at,
                _ => return passed,
            }
        }
    }

    fn request(tag: u64, op: Op) -> Request {
        Request { volume: VolumeId(1), tag, op }
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn one_that_costs_more_than_a_bucket_holds_passes_in_its_turn() {
        let mut gate = Gate::new(Throttle { iops: 0, bytes_per_s: 1 << 20 }, Time::ZERO);
        [read(4096), read(4 << 20), read(4096), Op::Flush]
            .into_iter()
            .zip(1..)
            .for_each(|(op, tag)| gate.enter(request(tag, op), Time::ZERO));
        let passed = run(&mut gate, Time::ZERO, at(10_000));
        let tags: alloc::vec::Vec<_> = passed.iter().map(|(_, r)| r.tag).collect();
        assert_eq!(tags, [1, 2, 3, 4]);
        assert_eq!(passed[0].0, Time::ZERO);
        let large = passed[1].0;
        assert!(large > at(3_900) && large < at(4_000), "4 MiB at 1 MiB a second, less what was saved up: {large:?}");
        assert_eq!((gate.is_waiting(), gate.delayed), (false, 3));
    }

    #[test]
    fn a_limit_that_is_taken_away_lets_all_pass_and_one_that_is_set_holds_what_comes() {
        let mut gate = Gate::new(Throttle { iops: 1, bytes_per_s: 4096 }, Time::ZERO);
        (1..=50).for_each(|tag| gate.enter(request(tag, read(8192)), Time::ZERO));
        assert!(run(&mut gate, Time::ZERO, at(100)).is_empty());
        assert_eq!(gate.report(VolumeId(1), at(100)).waiting, 50);
        gate.change(Throttle { iops: 10, bytes_per_s: 0 }, at(100));
        assert_eq!(run(&mut gate, at(100), at(1_100)).len(), 12, "one had paid before, and one was saved up");
        gate.change(Throttle::default(), at(1_100));
        assert_eq!(run(&mut gate, at(1_100), at(1_100)).len(), 38);
        let report = gate.report(VolumeId(1), at(1_100));
        assert_eq!((report.waiting, report.waiting_ms, report.delayed), (0, 0, 50));
    }
}
