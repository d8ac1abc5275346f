//! The metadata context `base:allocation`: which stretches of a volume are written. A block that is not reads as zeroes, and is called a hole; the room for it
//! is promised all the same.

use super::contexts::ALLOCATION_ID;
use super::protocol::*;
use super::request::Header;
use base::{BLOCK_BYTES, Payload};

/// Bytes of a volume that one answer describes at most; who asked for more asks on.
pub(super) const MAP_BYTES_MAX: u64 = 1 << 30;
/// Stretches that one answer names at most.
const STRETCHES_MAX: usize = 1 << 15;
/// Bytes of the longest answer.
pub(super) const REPLY_BYTES_MAX: u64 = 8 + 16 * STRETCHES_MAX as u64;

/// The body of an answer: a number for the context, and lengths and states, of 64 bits each or of 32. Without a gap from the offset that was asked about on.
pub(super) fn describe(header: &Header, bits: &[Payload], is_wide: bool) -> Vec<u8> {
    let most = if header.flags & CMD_FLAG_REQ_ONE != 0 { 1 } else { STRETCHES_MAX };
    let stretches = stretches(header.offset, header.len.min(MAP_BYTES_MAX), bits, most);
    let mut body = Vec::with_capacity(8 + 16 * stretches.len());
    body.extend_from_slice(&ALLOCATION_ID.to_be_bytes());
    if is_wide {
        body.extend_from_slice(&(stretches.len() as u32).to_be_bytes());
    }
    for (len, is_written) in stretches {
        let state = if is_written { 0 } else { STATE_HOLE | STATE_ZERO };
        if is_wide {
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(&u64::from(state).to_be_bytes());
        } else {
            let len = u32::try_from(len).expect("an answer describes less than 4 GiB");
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(&state.to_be_bytes());
        }
    }
    body
}

/// Lengths in bytes, and whether it is written there, of `len` bytes from `offset` on; neighbours differ.
fn stretches(offset: u64, len: u64, bits: &[Payload], most: usize) -> Vec<(u64, bool)> {
    const BLOCK: u64 = BLOCK_BYTES as u64;
    let mut bits =
        bits.iter().flat_map(|part| part.iter()).flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    let mut row: Vec<(u64, bool)> = Vec::new();
    let (mut at, end) = (offset, offset + len);
    while at < end {
        let is_written = bits.next().expect("the host has a bit for each block that was asked about");
        let next = ((at / BLOCK + 1) * BLOCK).min(end);
        let is_full = row.len() >= most;
        match row.last_mut() {
            Some((len, before)) if *before == is_written => *len += next - at,
            _ if is_full => break,
            _ => row.push((next - at, is_written)),
        }
        at = next;
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_stretches_of_bytes() {
        let bits = |bytes: &[u8]| vec![Payload::from(bytes.to_vec())];
        let block = BLOCK_BYTES as u64;
        for (offset, len, row, most, wanted) in [
            (0, 3 * block, bits(&[0b011]), 9, vec![(2 * block, true), (block, false)]),
            (100, 50, bits(&[1]), 9, vec![(50, true)]),
            (block - 1, 2, bits(&[0b10]), 9, vec![(1, false), (1, true)]),
            (block + 512, 2 * block, bits(&[0b101]), 9, vec![(block - 512, true), (block, false), (512, true)]),
            (0, 3 * block, bits(&[0b101]), 2, vec![(block, true), (block, false)]),
            (0, 3 * block, bits(&[0b011]), 1, vec![(2 * block, true)]),
            (0, 16 * block, vec![bits(&[0xff]).remove(0), bits(&[0xff]).remove(0)], 9, vec![(16 * block, true)]),
        ] {
            assert_eq!(stretches(offset, len, &row, most), wanted, "{offset} {len} {most}");
        }
    }
}
