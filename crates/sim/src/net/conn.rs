//! One connection: two pipes of packets, each ordered, as TCP gives them, and the state of its two ends.
//!
//! A connection belongs to two runs of two processes. What arrives at an end that is closed, or at another run, is forgotten.

use crate::clock::Moment;
use crate::world::Pid;
use base::io::net::{Frame, Lane, Network, Peer};
use base::time::Duration;
use base::{Payload, Time};
use bytes::Bytes;
use std::collections::VecDeque;
use wire::frame::{self, BadFrame, HEADER_BYTES};

/// Names a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Which end: the one that opened it.
pub const OPENER: usize = 0;
/// Which end: the one that was called.
pub const ACCEPTOR: usize = 1;

/// What travels. The hello is abridged to its three messages: the keys are the runtime's.
#[derive(Debug, Clone)]
pub enum Packet {
    /// Opener to acceptor: who I am and whom I mean.
    Hello,
    /// Acceptor to opener: it is me.
    Welcome,
    /// Opener to acceptor: and this is me.
    Proof,
    /// A message, as bytes.
    Frame(Box<Letter>),
    /// A keepalive, with the sender's clock.
    Ping(Time),
    /// Its echo.
    Pong(Time),
    /// The other end closed or died.
    Reset,
    /// Nobody listens at that address.
    Refused,
}

/// A frame as it travels: bytes, in which a bit may have been flipped.
#[derive(Debug, Clone)]
pub struct Letter {
    header: [u8; HEADER_BYTES],
    head: Bytes,
    data: Payload,
    /// Whether the world damaged it, to be sure that it is noticed.
    pub damaged: bool,
}

impl Letter {
    /// Encodes a frame.
    pub fn seal(frame: Frame) -> Self {
        let header = frame::encode(&frame);
        let mut parts = frame.data;
        let data = match parts.len() {
            0 => Payload::empty(),
            1 => parts.swap_remove(0),
            _ => {
                let mut whole = Vec::with_capacity(base::payload::len(&parts));
                parts.iter().for_each(|part| whole.extend_from_slice(part));
                whole.into()
            }
        };
        Self { header, head: frame.head, data, damaged: false }
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        HEADER_BYTES + self.head.len() + self.data.len()
    }

    /// Whether it has no bytes; never, for a header always travels.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Flips one bit.
    pub fn damage(&mut self, bit: usize) {
        let flip = |bytes: &[u8], bit: usize| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        };
        let (head_at, data_at) = (HEADER_BYTES * 8, (HEADER_BYTES + self.head.len()) * 8);
        if bit < head_at {
            self.header[bit / 8] ^= 1 << (bit % 8);
        } else if bit < data_at {
            self.head = flip(&self.head, bit - head_at).into();
        } else {
            self.data = flip(&self.data, bit - data_at).into();
        }
        self.damaged = true;
    }

    /// The frame, if nothing happened to its bytes.
    pub fn open(self) -> Result<Frame, BadFrame> {
        let header = frame::decode(&self.header)?;
        if (header.head_len, header.data_len) != (self.head.len(), self.data.len()) {
            return Err(BadFrame::HeaderChecksum);
        }
        header.into_frame(self.head, self.data)
    }

    /// A number that differs when any byte does.
    pub fn fingerprint(&self) -> u64 {
        u64::from_le_bytes(self.header[24..].try_into().expect("eight bytes"))
    }
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub struct End {
    /// Whose.
    pub pid: Pid,
    /// In which run of it.
    pub run: u32,
    /// Whether it still wants what arrives.
    pub open: bool,
}

/// Packets under way, each with its time of arrival, which never goes back. Most of the time there is one, which lies here and not elsewhere in memory.
#[derive(Debug, Default)]
pub struct Flow {
    first: Option<(Moment, Packet)>,
    more: VecDeque<(Moment, Packet)>,
}

impl Flow {
    /// How many there are.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// When the next arrives.
    pub fn next_at(&self) -> Option<Moment> {
        self.first.as_ref().map(|(at, _)| *at)
    }

    /// One more is sent.
    pub fn push(&mut self, at: Moment, packet: Packet) {
        match &self.first {
            None => self.first = Some((at, packet)),
            Some(_) => self.more.push_back((at, packet)),
        }
    }

    /// The next.
    pub fn pop(&mut self) -> Option<Packet> {
        let (_, packet) = self.first.take()?;
        self.first = self.more.pop_front();
        Some(packet)
    }

    /// Keeps the next `count`.
    pub fn truncate(&mut self, count: usize) {
        self.more.truncate(count.saturating_sub(1));
        if count == 0 {
            self.first = None;
        }
    }
}

/// One direction.
#[derive(Debug, Default)]
pub struct Pipe {
    /// Under way.
    pub queue: Flow,
    /// When the last one arrives.
    pub last: Moment,
    /// Whether an arrival is on the heap.
    pub scheduled: bool,
}

/// A connection.
#[derive(Debug)]
pub struct Conn {
    /// Opener and acceptor.
    pub ends: [End; 2],
    /// Whom the opener took the acceptor for: who speaks to several authorities has a name for each, and each hears itself called the zone.
    pub called: Peer,
    /// What for; none when it carries keepalives only.
    pub lane: Option<Lane>,
    /// Over which network.
    pub network: Network,
    /// What its path takes beyond others'.
    pub longer: Duration,
    /// `pipes[end]` carries what that end sends.
    pub pipes: [Pipe; 2],
}

impl Conn {
    /// Which end a run of a process is, if it is one and still open.
    pub fn end_of(&self, pid: Pid, run: u32) -> Option<usize> {
        (0..2).find(|end| self.ends[*end].pid == pid && self.ends[*end].run == run && self.ends[*end].open)
    }

    /// Whether nothing can come of it any more.
    pub fn is_over(&self) -> bool {
        self.ends.iter().all(|end| !end.open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_arrives_in_order_as_far_as_it_is_not_cut_off() {
        let mut flow = Flow::default();
        assert!(flow.is_empty() && flow.pop().is_none());
        (0..4).for_each(|n| flow.push(Moment(n), Packet::Ping(Time(n))));
        assert_eq!((flow.len(), flow.next_at()), (4, Some(Moment(0))));
        flow.truncate(3);
        let stamp = |packet| if let Some(Packet::Ping(Time(stamp))) = packet { Some(stamp) } else { None };
        assert_eq!([0, 1, 2].map(|_| stamp(flow.pop())), [0, 1, 2].map(Some));
        assert!(flow.pop().is_none());
        flow.push(Moment(9), Packet::Hello);
        flow.truncate(0);
        assert!(flow.is_empty());
    }

    #[test]
    fn a_letter_arrives_whole_or_is_noticed() {
        let data = vec![Payload::from(vec![1; 40]), Payload::from(vec![2; 24])];
        let frame = Frame { kind: 0x10, head: Bytes::from_static(b"some fields"), data };
        let letter = Letter::seal(frame);
        let back = letter.clone().open().unwrap();
        assert_eq!(
            (back.kind, &back.head[..], back.data.len(), back.data[0].len()),
            (0x10, &b"some fields"[..], 1, 64)
        );
        for bit in 0..letter.len() * 8 {
            let mut bad = letter.clone();
            bad.damage(bit);
            assert!(bad.open().is_err(), "bit {bit}");
        }
    }
}
