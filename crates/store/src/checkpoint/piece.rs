//! The bytes of a piece: what a checkpoint is written in, each piece twice, the two in different segments.
//!
//! ```text
//! byte 0       8     12    16     32       40     44     48
//!     | magic | ver | crc | uuid | serial | blocks | bytes | body ... | zeroes to the end of the last block
//! ```
//!
//! `crc` is CRC32C of the whole piece with its own four bytes as zeroes. Every piece has a serial number of its own, so one that was
//! written where an earlier one lay cannot be taken for it.

use alloc::vec::Vec;
use base::checksum::crc32c_parts;
use base::codec::{Malformed, Reader, Writer};
use base::{BLOCK_BYTES, Payload, StoreUuid, record};

const MAGIC: &[u8; 8] = b"SWCHECK\x01";
const VERSION: u32 = 1;
const CRC_AT: usize = 12;

/// Bytes before the body.
pub(crate) const HEAD_BYTES: usize = 48;

record! {
    /// Where a piece lies: the same bytes in two places.
    #[derive(Copy, Default)]
    pub(crate) struct Piece {
        /// Its serial number, from 1.
        pub(crate) serial: u64,
        /// The places of its two copies.
        pub(crate) places: [u32; 2],
        /// Its blocks.
        pub(crate) blocks: u32,
    }
}

/// The blocks that a body takes.
pub(crate) fn blocks_of(body_bytes: usize) -> u32 {
    (HEAD_BYTES + body_bytes).div_ceil(BLOCK_BYTES) as u32
}

fn crc_of(bytes: &[u8]) -> u32 {
    crc32c_parts([&bytes[..CRC_AT], &[0; 4], &bytes[CRC_AT + 4..]])
}

/// The bytes of a piece.
pub(crate) fn encode(uuid: StoreUuid, serial: u64, body: &[u8]) -> Payload {
    let blocks = blocks_of(body.len());
    let mut w = Writer::with_capacity(blocks as usize * BLOCK_BYTES);
    w.raw(MAGIC);
    w.u32(VERSION);
    w.u32(0);
    w.u128(uuid.0);
    w.u64(serial);
    w.u32(blocks);
    w.u32(body.len() as u32);
    w.raw(body);
    let mut bytes = w.finish();
    bytes.resize(blocks as usize * BLOCK_BYTES, 0);
    let crc = crc_of(&bytes);
    bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    Payload::from(bytes)
}

/// The body of a piece, if these bytes are the piece that is meant and whole.
pub(crate) fn decode(uuid: StoreUuid, serial: u64, bytes: &[u8]) -> Option<&[u8]> {
    let body = take(uuid, serial, bytes).ok()?;
    let crc = u32::from_le_bytes(bytes[CRC_AT..CRC_AT + 4].try_into().expect("four bytes"));
    (crc == crc_of(bytes)).then_some(body)
}

fn take(uuid: StoreUuid, serial: u64, bytes: &[u8]) -> Result<&[u8], Malformed> {
    let mut r = Reader::new(bytes);
    let fits = r.raw(8)? == MAGIC && r.u32()? == VERSION;
    r.u32()?;
    let own = r.u128()? == uuid.0 && r.u64()? == serial && r.u32()? as usize * BLOCK_BYTES == bytes.len();
    if !fits || !own {
        return Err(Malformed { what: "piece of a checkpoint: another one" });
    }
    let len = r.u32()? as usize;
    r.raw(len)
}

/// Puts pieces in a list that is short where many lie one behind the other: (first piece, how many).
pub(crate) fn fold(pieces: &[Piece]) -> Vec<(Piece, u32)> {
    let mut rows: Vec<(Piece, u32)> = Vec::new();
    for piece in pieces {
        if let Some((first, count)) = rows.last_mut()
            && nth(*first, *count) == Some(*piece)
        {
            *count += 1;
        } else {
            rows.push((*piece, 1));
        }
    }
    rows
}

/// The piece that lies so many behind the first of a row; none beyond what numbers reach.
pub(crate) fn nth(first: Piece, n: u32) -> Option<Piece> {
    let skip = n.checked_mul(first.blocks)?;
    let places = [first.places[0].checked_add(skip)?, first.places[1].checked_add(skip)?];
    Some(Piece { serial: first.serial.checked_add(u64::from(n))?, places, ..first })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const UUID: StoreUuid = StoreUuid(7);

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for len in [0, 1, BLOCK_BYTES - HEAD_BYTES, BLOCK_BYTES, 3 * BLOCK_BYTES] {
            let body = vec![0xa5; len];
            let bytes = encode(UUID, 5, &body);
            assert_eq!(bytes.blocks(), blocks_of(len));
            assert_eq!(decode(UUID, 5, &bytes), Some(&body[..]));
            assert_eq!((decode(UUID, 6, &bytes), decode(StoreUuid(8), 5, &bytes)), (None, None));
            assert_eq!(decode(UUID, 5, &bytes[..bytes.len() - 1]), None);
        }
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let good = encode(UUID, 5, b"the body");
        for bit in 0..good.len() * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(UUID, 5, &bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn rows_of_pieces_are_folded_and_unfolded() {
        let piece = |serial, a, b, blocks| Piece { serial, places: [a, b], blocks };
        let all =
            [piece(1, 10, 50, 4), piece(2, 14, 54, 4), piece(3, 18, 58, 4), piece(5, 22, 62, 4), piece(6, 26, 66, 1)];
        let rows = fold(&all);
        assert_eq!(rows, [(all[0], 3), (all[3], 1), (all[4], 1)]);
        let unfolded: Vec<Piece> = rows.iter().flat_map(|(first, n)| (0..*n).filter_map(|i| nth(*first, i))).collect();
        assert_eq!(unfolded, all);
        assert_eq!(nth(piece(1, u32::MAX - 3, 0, 4), 1), None);
    }
}
