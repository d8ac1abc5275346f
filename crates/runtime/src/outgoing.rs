//! What waits to be sent on one connection: gathered through a turn, handed to the ring as one vectored send.
//!
//! Headers and small pieces are packed one behind the other; blocks are passed on where they lie. At most one send is in
//! flight; what comes meanwhile gathers behind it.

use crate::ring::PARTS_MAX;
use base::Payload;
use base::io::net::Frame;
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;

/// Pieces below this are packed rather than passed on: copying them is cheaper than another part.
const PACKED_BELOW: usize = 1024;
/// Bytes in one send at most, so that a slow connection does not pin all that waits.
const SEND_BYTES_MAX: usize = 4 << 20;
/// Room taken for packing at once.
const PACK_BYTES: usize = 8 << 10;

/// The queue of one connection.
#[derive(Default)]
pub struct Outgoing {
    /// Packed and not yet cut into a part.
    pack: BytesMut,
    parts: VecDeque<Bytes>,
    /// Bytes in `pack` and `parts`, and in what is in flight.
    bytes: usize,
    in_flight: bool,
}

impl Outgoing {
    /// Appends a frame, header and all. Returns its bytes.
    pub fn frame(&mut self, frame: Frame) -> usize {
        let before = self.bytes;
        self.packed(&wire::frame::encode(&frame));
        self.part(frame.head);
        frame.data.into_iter().for_each(|Payload(data)| self.part(data));
        self.bytes - before
    }

    /// Appends bytes as they are.
    pub fn part(&mut self, part: Bytes) {
        if part.len() < PACKED_BELOW {
            return self.packed(&part);
        }
        self.cut_pack();
        self.bytes += part.len();
        self.parts.push_back(part);
    }

    /// Appends a copy of bytes.
    pub fn packed(&mut self, bytes: &[u8]) {
        if self.pack.capacity() - self.pack.len() < bytes.len() {
            self.cut_pack();
            self.pack.reserve(PACK_BYTES.max(bytes.len()));
        }
        self.pack.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    fn cut_pack(&mut self) {
        if !self.pack.is_empty() {
            self.parts.push_back(self.pack.split().freeze());
        }
    }

    /// Bytes that are not yet known to be sent.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Parts for one send, when there is something to send and nothing in flight.
    pub fn begin(&mut self) -> Option<Vec<Bytes>> {
        if self.in_flight || self.bytes == 0 {
            return None;
        }
        self.cut_pack();
        let mut bytes = 0;
        let fits = |part: &&Bytes| {
            bytes += part.len();
            bytes <= SEND_BYTES_MAX
        };
        let count = self.parts.iter().take(PARTS_MAX).take_while(fits).count().max(1);
        self.in_flight = true;
        Some(self.parts.drain(..count).collect())
    }

    /// The send of `parts` ended after `sent` bytes: the rest goes first next time. Returns whether all is sent.
    pub fn ended(&mut self, parts: Vec<Bytes>, sent: usize) -> bool {
        assert!(self.in_flight, "a send ended that was not begun");
        self.in_flight = false;
        let mut left = sent;
        let mut rest = Vec::new();
        for mut part in parts {
            let gone = left.min(part.len());
            left -= gone;
            part.advance(gone);
            if !part.is_empty() {
                rest.push(part);
            }
        }
        assert_eq!(left, 0, "more was sent than was handed in");
        rest.into_iter().rev().for_each(|part| self.parts.push_front(part));
        self.bytes -= sent;
        self.bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: usize, data: &[usize]) -> Frame {
        let data = data.iter().map(|&len| vec![7; len].into()).collect();
        Frame { kind: 0x10, head: vec![5; head].into(), data }
    }

    fn all(out: &mut Outgoing) -> (Vec<u8>, usize) {
        let (mut bytes, mut sends) = (Vec::new(), 0);
        while let Some(parts) = out.begin() {
            assert!(parts.len() <= PARTS_MAX && out.begin().is_none());
            let whole: Vec<u8> = parts.concat();
            // Half of it, to see that the rest follows.
            let sent = whole.len().div_ceil(2);
            bytes.extend_from_slice(&whole[..sent]);
            out.ended(parts, sent);
            sends += 1;
        }
        (bytes, sends)
    }

    #[test]
    fn frames_come_out_in_order_however_sends_are_cut_short() {
        let (mut out, mut expected) = (Outgoing::default(), Vec::new());
        for n in 0..3000usize {
            let f = frame(n % 90, &[[0, 4096, 100, 1023][n % 4], [1024, 0][n % 2]]);
            expected.extend_from_slice(&wire::frame::encode(&f));
            expected.extend_from_slice(&f.head);
            f.data.iter().for_each(|p| expected.extend_from_slice(p));
            out.frame(f);
        }
        assert_eq!(out.bytes(), expected.len());
        let (bytes, _) = all(&mut out);
        assert!(bytes == expected && out.bytes() == 0);
    }

    #[test]
    fn the_small_frames_of_a_turn_are_one_part() {
        let mut out = Outgoing::default();
        (0..50).for_each(|_| assert!(out.frame(frame(60, &[])) > 60));
        assert_eq!(out.begin().unwrap().len(), 1);
    }

    #[test]
    fn one_send_holds_a_bounded_number_of_bytes_and_at_least_one_part() {
        let mut out = Outgoing::default();
        out.part(vec![1; SEND_BYTES_MAX + 1].into());
        (0..8).for_each(|_| out.part(vec![2; 1 << 20].into()));
        let lens = std::iter::from_fn(|| {
            let parts = out.begin()?;
            let len: usize = parts.iter().map(Bytes::len).sum();
            out.ended(parts, len);
            Some(len)
        });
        assert_eq!(lens.collect::<Vec<_>>(), [SEND_BYTES_MAX + 1, 4 << 20, 4 << 20]);
    }
}
