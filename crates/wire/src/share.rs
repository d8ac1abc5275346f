//! What the replication network takes: which message is of which class, and how many bytes a second of each may leave a node over it.
//!
//! Keepalives, elections and the words around copying always pass; they are few. Of the rest, replication and copies together may take 90 % of
//! the capacity, so that a tenth stays free, and copies half of it. What must wait waits in order behind its own connection and is let go one
//! frame of each connection at a time. One value per node, used by the runtime and by the simulator.

use crate::frame::{self, HEADER_BYTES};
use alloc::collections::{BTreeMap, VecDeque};
use base::Time;
use base::bucket::Bucket;
use base::io::net::{Class, Frame, Network};

/// Bytes a second that a replication network carries for one node unless it is configured otherwise: 1 Gbit/s.
pub const CAPACITY: u64 = 125_000_000;
/// Percent of the capacity for replication and copies together.
const ALL_PERCENT: u64 = 90;
/// Percent of the capacity for copies.
const BULK_PERCENT: u64 = 50;
/// A burst is at least one frame with all the blocks that one may have. A keepalive on another connection waits behind no more than a burst, so it must be short.
const BURST_MIN: u64 = (frame::DATA_BYTES_MAX + (64 << 10)) as u64;
/// The least that a replication network may be said to carry, 100 Mbit/s: over less, a burst would hold keepalives back, both ways together, for as long as makes a peer silent (R9).
pub const CAPACITY_MIN: u64 = 12_500_000;

/// What a message is for. Whatever is unknown between members is theirs.
pub fn class_of(kind: u16) -> Class {
    match kind {
        0..0x10 => Class::Keepalive,
        0x10..0x20 => Class::Client,
        // Deposed, Sync, End, Incomplete, Fetch; WindowEnd, Adopt, Synced, Learn, Learning; Copied, Finish, Learned.
        0x23..=0x27 | 0x29..=0x2d | 0x2f..=0x31 => Class::Control,
        0x2e => Class::Bulk,
        0x20..0x40 => Class::Replication,
        _ => Class::Control,
    }
}

/// Whether a message may go over a network: between nodes everything on both, but what is a client's or the zone's never on the replication network.
pub fn may_ride(network: Network, kind: u16) -> bool {
    network == Network::Primary || kind < 0x10 || (0x20..0x40).contains(&kind)
}

/// What a frame takes of the share: its bytes, and no more than a burst, or it could never go.
fn taken_by(frame: &Frame) -> u64 {
    bytes_of(frame).min(BURST_MIN)
}

/// Bytes of a frame on the wire.
pub fn bytes_of(frame: &Frame) -> u64 {
    (HEADER_BYTES + frame.head.len() + base::payload::len(&frame.data)) as u64
}

/// Holds back what the replication network does not take now, for each connection `K` in order.
#[derive(Debug)]
pub struct Pacer<K> {
    all: Bucket,
    bulk: Bucket,
    held: BTreeMap<K, VecDeque<Frame>>,
    /// Connections with something held, the next to be served first.
    turns: VecDeque<K>,
    bytes: BTreeMap<K, u64>,
}

fn share(capacity: u64, percent: u64) -> Bucket {
    let rate = capacity * percent / 100;
    Bucket::new(rate, (rate / 10).max(BURST_MIN), Time::ZERO)
}

impl<K: Copy + Ord> Default for Pacer<K> {
    fn default() -> Self {
        Self::new(CAPACITY)
    }
}

impl<K: Copy + Ord> Pacer<K> {
    /// For a network of so many bytes a second.
    pub fn new(capacity: u64) -> Self {
        Self {
            all: share(capacity, ALL_PERCENT),
            bulk: share(capacity, BULK_PERCENT),
            held: BTreeMap::new(),
            turns: VecDeque::new(),
            bytes: BTreeMap::new(),
        }
    }

    /// The frame, if it may go at once. Otherwise it is held, and comes by [`Self::release`].
    pub fn offer(&mut self, conn: K, frame: Frame, now: Time) -> Option<Frame> {
        if !self.held.contains_key(&conn) && self.take(&frame, now) {
            return Some(frame);
        }
        if !self.held.contains_key(&conn) {
            self.turns.push_back(conn);
        }
        *self.bytes.entry(conn).or_default() += bytes_of(&frame);
        self.held.entry(conn).or_default().push_back(frame);
        None
    }

    fn take(&mut self, frame: &Frame, now: Time) -> bool {
        let bytes = taken_by(frame);
        match class_of(frame.kind) {
            Class::Bulk => {
                // Never one without the other.
                self.all.ready_at(bytes, now) == Some(now) && self.bulk.take(bytes, now) && self.all.take(bytes, now)
            }
            Class::Replication | Class::Client => self.all.take(bytes, now),
            Class::Control | Class::Keepalive => true,
        }
    }

    /// The next frame that may go now, if any may.
    pub fn release(&mut self, now: Time) -> Option<(K, Frame)> {
        for _ in 0..self.turns.len() {
            let conn = self.turns.pop_front()?;
            let Some(frame) = self.held.get_mut(&conn).and_then(VecDeque::pop_front) else { continue };
            if !self.take(&frame, now) {
                self.held.entry(conn).or_default().push_front(frame);
                self.turns.push_back(conn);
                continue;
            }
            if let Some(bytes) = self.bytes.get_mut(&conn) {
                *bytes -= bytes_of(&frame);
            }
            if self.held.get(&conn).is_some_and(VecDeque::is_empty) {
                self.forget(conn);
            } else {
                self.turns.push_back(conn);
            }
            return Some((conn, frame));
        }
        None
    }

    /// When something that is held may go.
    pub fn deadline(&mut self, now: Time) -> Option<Time> {
        let (all, bulk) = (&mut self.all, &mut self.bulk);
        let fronts = self.turns.iter().filter_map(|conn| self.held.get(conn)?.front());
        fronts.fold(None, |soonest, frame| {
            let (bytes, class) = (taken_by(frame), class_of(frame.kind));
            let ready = match class {
                Class::Bulk => all.ready_at(bytes, now).max(bulk.ready_at(bytes, now)),
                Class::Replication | Class::Client => all.ready_at(bytes, now),
                Class::Control | Class::Keepalive => Some(now),
            };
            Time::sooner(soonest, ready)
        })
    }

    /// Bytes that are held for a connection.
    pub fn bytes(&self, conn: K) -> u64 {
        self.bytes.get(&conn).copied().unwrap_or(0)
    }

    /// A connection is gone, and what was held for it.
    pub fn forget(&mut self, conn: K) {
        if self.held.remove(&conn).is_some() {
            self.turns.retain(|other| *other != conn);
            self.bytes.remove(&conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KINDS;
    use crate::keepalive::SILENT_AFTER;
    use alloc::vec;
    use alloc::vec::Vec;
    use base::time::Duration;
    use bytes::Bytes;

    fn frame(kind: u16, bytes: usize) -> Frame {
        Frame { kind, head: Bytes::new(), data: vec![vec![0; bytes - HEADER_BYTES].into()] }
    }

    const REPLICATE: u16 = 0x20;
    const SYNC: u16 = 0x24;
    const EXTENT: u16 = 0x2e;

    #[test]
    fn every_message_has_its_class_and_no_client_or_zone_message_rides_the_replication_network() {
        let of = |name: &str| KINDS.iter().find(|(_, n)| *n == name).expect("a message of that name").0;
        for (class, names) in [
            (Class::Client, &["Write", "Read", "Trim", "Done", "Refused", "Locate", "Located"][..]),
            (Class::Replication, &["Replicate", "Replicated", "Committed", "Windowed", "Mend", "Mended"]),
            (Class::Bulk, &["Extent"]),
            (
                Class::Control,
                &["Deposed", "Sync", "End", "Incomplete", "Fetch", "WindowEnd", "Adopt", "Synced", "Copied"],
            ),
            (Class::Control, &["Learn", "Learning", "Finish", "Learned", "Register", "Propose", "CreateVolume"]),
        ] {
            for name in names {
                assert_eq!(class_of(of(name)), class, "{name}");
            }
        }
        for (kind, name) in KINDS {
            let between_nodes = (0x20..0x40).contains(kind);
            assert!(may_ride(Network::Primary, *kind));
            assert_eq!(may_ride(Network::Replication, *kind), between_nodes, "{name}");
        }
        assert!(may_ride(Network::Replication, 0x05));
    }

    /// Bytes of each class that leave in `seconds` when there is always more of it to send.
    fn leave(kinds: &[u16], seconds: u64) -> Vec<u64> {
        let mut pacer = Pacer::new(100_000_000);
        let mut gone = vec![0; kinds.len()];
        let (mut now, end) = (Time::ZERO, Time::ZERO + Duration::from_secs(seconds));
        let mut sent = |conn: usize, frame: &Frame| gone[conn] += bytes_of(frame);
        for (conn, kind) in kinds.iter().enumerate() {
            for _ in 0..4000 {
                if let Some(frame) = pacer.offer(conn, frame(*kind, 1 << 20), now) {
                    sent(conn, &frame);
                }
            }
        }
        while now < end {
            while let Some((conn, frame)) = pacer.release(now) {
                sent(conn, &frame);
            }
            let next = pacer.deadline(now).expect("there is always more");
            assert!(next > now, "a deadline that is now and releases nothing");
            now = next;
        }
        gone
    }

    #[test]
    fn replication_and_copies_leave_a_tenth_free_and_copies_alone_half() {
        let percent = |bytes: u64| bytes / 10_000_000;
        assert_eq!(leave(&[REPLICATE], 10).into_iter().map(percent).collect::<Vec<_>>(), [90]);
        assert_eq!(leave(&[EXTENT], 10).into_iter().map(percent).collect::<Vec<_>>(), [50]);
        let both = leave(&[EXTENT, REPLICATE], 10);
        assert!(both[0] <= 505_000_000 && (890_000_000..=912_000_000).contains(&(both[0] + both[1])), "{both:?}");
    }

    /// The longest that a keepalive of another connection waits at a network of so many bytes a second, into which a node sends as much as it may.
    fn longest_wait(capacity: u64) -> Duration {
        let mut pacer = Pacer::new(capacity);
        let (mut now, mut free_at, mut longest) = (Time::ZERO, Time::ZERO, Duration::ZERO);
        let send = |free_at: &mut Time, frame: &Frame, now: Time| {
            let takes = Duration::from_nanos(bytes_of(frame) * 1_000_000_000 / capacity);
            *free_at = (*free_at).max(now) + takes;
        };
        for (n, kind) in [REPLICATE, EXTENT, REPLICATE].into_iter().cycle().take(60).enumerate() {
            let data = frame(kind, frame::DATA_BYTES_MAX + 100);
            if let Some(data) = pacer.offer(n % 3, data, now) {
                send(&mut free_at, &data, now);
            }
        }
        while let Some(next) = pacer.deadline(now) {
            let ping = pacer.offer(9, frame(0x05, 40), now).expect("a keepalive is never held");
            longest = longest.max(free_at.since(now));
            send(&mut free_at, &ping, now);
            now = next;
            while let Some((_, data)) = pacer.release(now) {
                send(&mut free_at, &data, now);
            }
        }
        longest
    }

    #[test]
    fn behind_a_flood_no_keepalive_waits_there_and_back_for_as_long_as_a_silence_lasts() {
        // R9.
        for capacity in [CAPACITY_MIN, 2 * CAPACITY_MIN, CAPACITY, 10 * CAPACITY] {
            let there_and_back = longest_wait(capacity) * 2;
            assert!(there_and_back < SILENT_AFTER, "{capacity} bytes a second: {there_and_back:?}");
        }
        assert!(longest_wait(CAPACITY_MIN / 2) * 2 >= SILENT_AFTER, "what the least is for");
    }

    #[test]
    fn a_frame_with_a_head_as_large_as_there_can_be_goes_too() {
        let mut pacer = Pacer::new(CAPACITY_MIN);
        let mut now = Time::ZERO;
        let large = || frame(REPLICATE, frame::HEAD_BYTES_MAX + frame::DATA_BYTES_MAX);
        assert!(pacer.offer(1, large(), now).is_some() && pacer.offer(1, large(), now).is_none());
        now = pacer.deadline(now).expect("it may go some time");
        assert!(pacer.release(now).is_some());
    }

    #[test]
    fn elections_and_keepalives_pass_while_replication_waits_and_never_overtake_their_own_connection() {
        let mut pacer = Pacer::new(10_000_000);
        let now = Time::ZERO;
        while pacer.offer(1, frame(REPLICATE, 1 << 20), now).is_some() {}
        assert_eq!(pacer.bytes(1), 1 << 20);
        assert!(pacer.offer(2, frame(SYNC, 200), now).is_some() && pacer.offer(2, frame(0x05, 40), now).is_some());
        assert!(pacer.offer(1, frame(SYNC, 200), now).is_none());
        assert!(pacer.release(now).is_none());
        let later = pacer.deadline(now).unwrap();
        assert_eq!(pacer.release(later).map(|(conn, f)| (conn, f.kind)), Some((1, REPLICATE)));
        assert_eq!(pacer.deadline(later), Some(later));
        assert_eq!(pacer.release(later).map(|(conn, f)| (conn, f.kind)), Some((1, SYNC)));
        assert!(pacer.release(later).is_none() && pacer.deadline(later).is_none() && pacer.bytes(1) == 0);
    }

    #[test]
    fn connections_take_turns_and_one_that_is_gone_holds_nothing() {
        let mut pacer = Pacer::new(10_000_000);
        while pacer.offer(0, frame(REPLICATE, 1 << 20), Time::ZERO).is_some() {}
        for _ in 0..3 {
            assert!(pacer.offer(1, frame(REPLICATE, 1 << 20), Time::ZERO).is_none());
            assert!(pacer.offer(0, frame(REPLICATE, 1 << 20), Time::ZERO).is_none());
        }
        let mut order = Vec::new();
        let mut now = Time::ZERO;
        while order.len() < 4 {
            now = pacer.deadline(now).unwrap();
            order.extend(pacer.release(now).map(|(conn, _)| conn));
        }
        assert_eq!(order, [0, 1, 0, 1]);
        pacer.forget(0);
        assert_eq!(pacer.bytes(0), 0);
        now = pacer.deadline(now).unwrap();
        assert_eq!(pacer.release(now).map(|(conn, _)| conn), Some(1));
        assert!(pacer.deadline(now).is_none());
    }
}
