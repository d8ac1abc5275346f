//! What comes in on one connection: bytes into a buffer of the arena, frames out of it, with as little copying as can be.
//!
//! Many frames come out of one receive, as slices of the buffer they arrived in. Blocks are copied into buffers of their own
//! where a disk will want them aligned. When much of a frame's data is still to come, the kernel puts it straight into
//! its final buffer, and what comes next goes into a small one again: who sends so much at once does so again, and all of it that fits into a large
//! buffer would have to be copied out of it. So it does with the rest of what the owner of a stream asked for in one piece. A connection that is quiet keeps a small buffer only.

use crate::arena::{Arena, Buffer};
use crate::ring::How;
use base::Payload;
use base::io::net::Frame;
use bytes::Bytes;
use wire::frame::{BadFrame, HEADER_BYTES, Header, decode};

/// The buffer of a quiet connection.
const SMALL_BYTES: usize = 16 << 10;
/// The buffer of a busy one.
const LARGE_BYTES: usize = 256 << 10;
/// A receive is never offered less than this.
const LEAST_BYTES: usize = 4 << 10;
/// Receives in a row that would have fitted into a small buffer, after which a large one is given back.
const QUIET_AFTER: u32 = 16;
/// With so much of a frame's data missing it is received where it will stay.
const DIRECT_BYTES: usize = 64 << 10;
/// So much of a frame at most is waited for without hearing of its parts: that something comes is a sign of life, too. On 100 Mbit/s it takes 5 ms.
const UNHEARD_BYTES: usize = 64 << 10;

/// The receiving half of a connection. The buffer it fills is the ring's while a receive is in flight.
pub struct Incoming {
    /// Bytes received and not yet taken, then room. None while a receive into it is in flight, or before the first.
    space: Option<Buffer>,
    filled: usize,
    direct: Option<Direct>,
    /// Nothing more was there when the last receive ended.
    dry: bool,
    large: bool,
    quiet: u32,
    /// Whether data is copied into aligned buffers of its own.
    aligned: bool,
}

/// Bytes that are being received into their final buffer.
struct Direct {
    /// The frame whose data they are; none of a stream.
    frame: Option<(Header, Bytes)>,
    len: usize,
    /// None while a receive into it is in flight.
    data: Option<Buffer>,
    filled: usize,
}

impl Incoming {
    /// For a new connection.
    pub fn new(aligned: bool) -> Self {
        Self { space: None, filled: 0, direct: None, dry: false, large: false, quiet: 0, aligned }
    }

    /// How the next receive, to [`Self::target`], is to be done.
    pub fn how(&self) -> How {
        let is_whole = |direct: &Direct| direct.frame.is_none() || direct.len - direct.filled <= UNHEARD_BYTES;
        let whole = self.direct.as_ref().is_some_and(is_whole);
        How { dry: self.dry, whole }
    }

    /// Where the next receive goes: a buffer, and its first byte to fill. Give it back by [`Self::received`].
    pub fn target(&mut self, arena: &Arena) -> (Buffer, usize) {
        if let Some(direct) = &mut self.direct {
            return (direct.data.take().expect("one receive at a time"), direct.filled);
        }
        let wanted = if self.large { LARGE_BYTES } else { SMALL_BYTES };
        if let Some(space) = &mut self.space
            && self.filled == 0
        {
            // Nothing is in it: use all of it again, or another of the right size.
            let whole = space.reclaim();
            if (whole && space.len() != wanted) || space.len() < LEAST_BYTES {
                self.space = None;
            }
        }
        let space = self.space.take().unwrap_or_else(|| arena.take_at_least(wanted));
        if space.len() - self.filled >= LEAST_BYTES {
            return (space, self.filled);
        }
        (self.moved(space, wanted.max(self.filled + LEAST_BYTES), arena), self.filled)
    }

    /// What is filled of `space`, in another buffer of at least `len`.
    fn moved(&self, space: Buffer, len: usize, arena: &Arena) -> Buffer {
        let mut larger = arena.take_at_least(len);
        larger[..self.filled].copy_from_slice(&space[..self.filled]);
        larger
    }

    /// A receive into what [`Self::target`] gave has ended with `len` bytes; nothing more was there if it is `dry`.
    pub fn received(&mut self, buffer: Buffer, len: usize, dry: bool) {
        self.dry = dry;
        if let Some(direct) = &mut self.direct {
            direct.filled += len;
            assert!(direct.filled <= buffer.len(), "more was received than there was room for");
            direct.data = Some(buffer);
            return;
        }
        let offered = buffer.len() - self.filled;
        assert!(len <= offered, "more was received than there was room for");
        self.filled += len;
        self.space = Some(buffer);
        if len == offered {
            self.large = true;
            self.quiet = 0;
        } else if len <= SMALL_BYTES / 2 && self.large {
            self.quiet += 1;
            self.large = self.quiet < QUIET_AFTER;
        } else {
            self.quiet = 0;
        }
    }

    /// What came and was not taken: for the hello.
    pub fn bytes(&self) -> &[u8] {
        self.space.as_ref().map_or(&[], |space| &space[..self.filled])
    }

    /// Takes the first `len` of [`Self::bytes`].
    pub fn consume(&mut self, len: usize) {
        if len > 0 {
            drop(self.cut(len));
        }
    }

    /// Whether all that came was taken.
    pub fn is_idle(&self) -> bool {
        self.filled == 0 && self.direct.is_none()
    }

    /// The next `len` bytes of a stream are wanted as one piece, which begins with `begun`. All that came was taken, and no receive is in flight.
    pub fn gather(&mut self, begun: &[u8], len: usize, arena: &Arena) {
        assert!(self.is_idle(), "something came that was not taken");
        let mut data = arena.take(len);
        data[..begun.len()].copy_from_slice(begun);
        self.direct = Some(Direct { frame: None, len, data: Some(data), filled: begun.len() });
        self.large = false;
    }

    /// All that came, for a stream that has no frames; nothing of what is wanted as one piece before all of it is there.
    pub fn take_all(&mut self) -> Payload {
        if let Some(direct) = self.direct.take_if(|direct| direct.filled == direct.len) {
            return Payload(direct.data.expect("no receive is in flight now").freeze());
        }
        if self.filled == 0 { Payload::empty() } else { Payload(self.cut(self.filled)) }
    }

    fn cut(&mut self, len: usize) -> Bytes {
        self.filled = self.filled.checked_sub(len).expect("no more is taken than came");
        self.space.as_mut().expect("what came lies in a buffer").split_to(len).freeze()
    }

    /// Takes all frames that are whole, in order.
    pub fn frames(&mut self, arena: &Arena, out: &mut Vec<Frame>) -> Result<(), BadFrame> {
        if let Some(direct) = self.direct.take_if(|direct| direct.filled == direct.len) {
            let data = direct.data.expect("no receive is in flight now").freeze();
            let (header, head) = direct.frame.expect("a connection of frames gathers nothing else");
            out.push(header.into_frame(head, Payload(data))?);
        }
        if self.direct.is_some() {
            return Ok(());
        }
        let (mut headers, mut at) = (Vec::new(), 0);
        let mut begun = None;
        while let Some(bytes) = self.bytes()[at..].first_chunk::<HEADER_BYTES>() {
            let header = decode(bytes)?;
            if self.filled - at < header.frame_len() {
                begun = Some(header);
                break;
            }
            at += header.frame_len();
            headers.push(header);
        }
        if at > 0 {
            let whole = self.cut(at);
            let mut at = 0;
            for header in headers {
                let head = whole.slice(at + HEADER_BYTES..at + HEADER_BYTES + header.head_len);
                let data = whole.slice(at + HEADER_BYTES + header.head_len..at + header.frame_len());
                at += header.frame_len();
                let data = if self.aligned && !data.is_empty() { arena.copy(&data).freeze() } else { data };
                out.push(header.into_frame(head, Payload(data))?);
            }
        }
        if let Some(header) = begun {
            self.prepare(header, arena);
        }
        Ok(())
    }

    /// Makes room for the rest of a frame that has begun.
    fn prepare(&mut self, header: Header, arena: &Arena) {
        let before_data = HEADER_BYTES + header.head_len;
        let space = self.space.as_ref().expect("a header lies in it").len();
        let missing = header.frame_len() - self.filled;
        let fits = header.frame_len() <= space;
        let worth = header.data_len >= LEAST_BYTES && (missing >= DIRECT_BYTES || !fits);
        if self.filled >= before_data && worth {
            let head = self.cut(before_data).slice(HEADER_BYTES..);
            let mut data = arena.take(header.data_len);
            let have = self.filled;
            data[..have].copy_from_slice(self.bytes());
            self.consume(have);
            let len = header.data_len;
            self.large &= missing < DIRECT_BYTES;
            self.direct = Some(Direct { frame: Some((header, head)), len, data: Some(data), filled: have });
        } else if !fits {
            // So much that whatever comes next of it can be told apart; the data itself may still go its own way.
            let needed = if worth { before_data + LEAST_BYTES } else { header.frame_len() };
            if space < needed {
                let old = self.space.take().expect("looked at just now");
                let wanted = if self.large { LARGE_BYTES } else { SMALL_BYTES };
                self.space = Some(self.moved(old, needed.max(wanted), arena));
            }
        }
    }
}

#[cfg(test)]
mod any;

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut bytes = wire::frame::encode(frame).to_vec();
        bytes.extend_from_slice(&frame.head);
        frame.data.iter().for_each(|p| bytes.extend_from_slice(p));
        bytes
    }

    fn sample(rng: &mut Rng, n: usize) -> Frame {
        let len = *rng.pick(&[0, 0, 0, 1, 100, 4096, 5000, 65_536, 200_000, 1 << 20]).unwrap();
        let head = if rng.chance(1, 100) { 1 << 20 } else { rng.below(200) as usize };
        let seed = rng.u64() as u8;
        let fill = |len: usize| (0..len).map(|i| (i / 7) as u8 ^ seed).collect::<Vec<u8>>();
        let data = if len == 0 { vec![] } else { vec![fill(len).into()] };
        Frame { kind: n as u16, head: fill(head).into(), data }
    }

    /// Feeds `bytes` through as a socket would, in pieces of at most `piece`.
    fn feed(incoming: &mut Incoming, arena: &Arena, bytes: &[u8], mut piece: impl FnMut() -> usize) -> Vec<Frame> {
        let (mut at, mut frames) = (0, Vec::new());
        while at < bytes.len() {
            let (mut buffer, from) = incoming.target(arena);
            let len = piece().min(buffer.len() - from).min(bytes.len() - at);
            buffer[from..from + len].copy_from_slice(&bytes[at..at + len]);
            at += len;
            incoming.received(buffer, len, false);
            incoming.frames(arena, &mut frames).unwrap();
        }
        frames
    }

    #[test]
    fn frames_of_every_size_survive_every_cut_of_the_stream() {
        for (seed, aligned) in [(1, false), (2, true), (3, false), (4, true)] {
            let mut rng = Rng::new(seed);
            let sent: Vec<Frame> = (0..300).map(|n| sample(&mut rng, n)).collect();
            let bytes: Vec<u8> = sent.iter().flat_map(encoded).collect();
            let (arena, mut incoming) = (Arena::new(), Incoming::new(aligned));
            let got = feed(&mut incoming, &arena, &bytes, || match rng.below(4) {
                0 => rng.within(1, 50) as usize,
                1 => rng.within(1, 5000) as usize,
                _ => usize::MAX,
            });
            assert_eq!(got.len(), sent.len());
            assert!(got == sent, "seed {seed}");
            let unaligned = got.iter().flat_map(|f| &f.data).any(|p| !(p.as_ptr() as usize).is_multiple_of(4096));
            assert_eq!(unaligned, !aligned);
            assert!(incoming.bytes().is_empty());
            drop(got);
        }
    }

    /// A seeded run of what fuzz/fuzz_targets/frames.rs tries without end.
    #[test]
    fn whatever_comes_in_whatever_pieces_what_is_sound_of_it_arrives() {
        let (mut rng, mut came) = (Rng::new(6), 0);
        for _ in 0..400 {
            let bytes: Vec<u8> = (0..2 + rng.below(24)).map(|_| rng.u64() as u8).collect();
            came += super::any::receive_anything(&bytes);
        }
        assert!(came > 200, "{came} frames came");
    }

    #[test]
    fn a_frame_cut_byte_by_byte_still_arrives() {
        let frame = Frame { kind: 9, head: vec![1; 40].into(), data: vec![vec![2; 4096].into()] };
        let (arena, mut incoming) = (Arena::new(), Incoming::new(true));
        let got = feed(&mut incoming, &arena, &encoded(&frame), || 1);
        assert!(got == [frame]);
    }

    #[test]
    fn a_quiet_connection_gives_its_large_buffer_back() {
        let (arena, mut incoming) = (Arena::new(), Incoming::new(false));
        let big = Frame { kind: 1, head: Bytes::new(), data: vec![vec![3; 6_000].into()] };
        let stream: Vec<u8> = (0..200).flat_map(|_| encoded(&big)).collect();
        feed(&mut incoming, &arena, &stream, || usize::MAX);
        assert_eq!(incoming.target_len(&arena), LARGE_BYTES);
        // What goes straight to where it stays does not need one.
        let mut other = Incoming::new(true);
        let large = Frame { kind: 1, head: Bytes::new(), data: vec![vec![3; 128 << 10].into()] };
        feed(&mut other, &arena, &(0..20).flat_map(|_| encoded(&large)).collect::<Vec<u8>>(), || usize::MAX);
        assert_eq!(other.target_len(&arena), SMALL_BYTES);
        let small = encoded(&Frame { kind: 2, head: vec![0; 8].into(), data: vec![] });
        for _ in 0..QUIET_AFTER {
            feed(&mut incoming, &arena, &small, || usize::MAX);
        }
        assert_eq!(incoming.target_len(&arena), SMALL_BYTES);
    }

    impl Incoming {
        fn target_len(&mut self, arena: &Arena) -> usize {
            let (buffer, at) = self.target(arena);
            let len = buffer.len() - at;
            self.received(buffer, 0, false);
            len
        }
    }

    #[test]
    fn damage_is_noticed_and_a_length_is_not_believed_before_its_checksum() {
        let frame = Frame { kind: 9, head: vec![1; 40].into(), data: vec![vec![2; 300_000].into()] };
        for at in [0, 5, 9, 13, 20, 33, 100, 200_000] {
            let mut bytes = encoded(&frame);
            bytes[at] ^= 1;
            let (arena, mut incoming) = (Arena::new(), Incoming::new(false));
            let (mut sent, mut result) = (0, Ok(()));
            while sent < bytes.len() && result.is_ok() {
                let (mut buffer, from) = incoming.target(&arena);
                let len = (buffer.len() - from).min(bytes.len() - sent);
                buffer[from..from + len].copy_from_slice(&bytes[sent..sent + len]);
                sent += len;
                incoming.received(buffer, len, false);
                result = incoming.frames(&arena, &mut Vec::new());
            }
            assert!(result.is_err(), "byte {at}");
        }
    }
}
