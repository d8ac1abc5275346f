//! Requests beside those that clients need: wrong ones, each with the error that it deserves and with bytes behind it where it announces some, and harmless ones.

use super::talk::{APART, Talk};
use super::words::*;
use base::Rng;

/// A request, how many bytes follow it, and the error that it deserves.
pub type Extra = (Request, usize, Option<u32>);

/// One that must be refused, whoever serves the export.
pub fn wrong(talk: &Talk, number: u64, rng: &mut Rng) -> Extra {
    let (size, cookie) = (talk.size, APART + number);
    let is_extended = talk.style() == Style::Extended;
    // Before the end or behind it, and in any case beyond it.
    let len = 512 * rng.within(1, 16);
    let offset = if rng.chance(1, 2) { size - len.min(size) + 512 } else { size + rng.below(1 << 30) };
    let request = |flags, kind, offset, len| Request { flags, kind, cookie, offset, len };
    let beyond = |kind| request(0, kind, offset, len);
    match rng.below(10) {
        0 => (beyond(READ), 0, Some(EINVAL)),
        // The bytes of what is refused come all the same.
        1 | 2 => (beyond(WRITE), len as usize, Some(ENOSPC)),
        3 => (beyond(TRIM), 0, Some(EINVAL)),
        4 => (beyond(WRITE_ZEROES), 0, Some(ENOSPC)),
        5 => (request(0, UNKNOWN, 0, 0), 0, Some(EINVAL)),
        6 => (request(FLAG_UNKNOWN, WRITE, 0, 512), 512, Some(EINVAL)),
        7 => (request(0, READ, 0, 33 << 20), 0, Some(EINVAL)),
        8 if is_extended => (request(PAYLOAD_LEN, READ, 0, len), len as usize, Some(EINVAL)),
        8 => (request(0, FLUSH, 0, 512), 0, Some(EINVAL)),
        // Of no bytes, or without a context.
        _ => (request(0, BLOCK_STATUS, 0, if talk.maps.is_some() { 0 } else { 512 }), 0, Some(EINVAL)),
    }
}

/// One that changes nothing and is done.
pub fn harmless(talk: &Talk, number: u64, rng: &mut Rng) -> Extra {
    let request = |kind, len| Request { flags: 0, kind, cookie: APART + number, offset: 0, len };
    match rng.below(8) {
        0 => (request(CACHE, 512.min(talk.size)), 0, None),
        _ => (request(FLUSH, 0), 0, None),
    }
}

/// An operation of a host, as a request with its bytes.
pub fn right(talk: &Talk, cookie: u64, op: &host::Op, rng: &mut Rng) -> (Request, base::Payload) {
    let is_extended = talk.style() == Style::Extended;
    let mut maybe = |flag: u16| if rng.chance(1, 4) { flag } else { 0 };
    let (kind, flags, offset, len) = match op {
        host::Op::Read { offset, len } if talk.style() != Style::Simple => (READ, maybe(DF), *offset, *len),
        host::Op::Read { offset, len } => (READ, 0, *offset, *len),
        // QEMU leaves the flag out that extended headers want here.
        host::Op::Write { offset, data } if is_extended => {
            (WRITE, PAYLOAD_LEN & !maybe(PAYLOAD_LEN), *offset, data.len() as u64)
        }
        host::Op::Write { offset, data } => (WRITE, 0, *offset, data.len() as u64),
        host::Op::Trim { offset, len } => (TRIM, 0, *offset, *len),
        host::Op::Zero { offset, len } => (WRITE_ZEROES, maybe(NO_HOLE) | maybe(FAST_ZERO), *offset, *len),
        host::Op::Map { offset, len } => (BLOCK_STATUS, maybe(REQ_ONE), *offset, *len),
        host::Op::Flush => (FLUSH, 0, 0, 0),
    };
    let data = if let host::Op::Write { data, .. } = op { data.clone() } else { base::Payload::empty() };
    (Request { flags: flags | maybe(FUA), kind, cookie, offset, len }, data)
}
