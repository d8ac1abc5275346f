//! The header that stands before every message on a connection.
//!
//! ```text
//!  0      4      6      8        12       16       20       24       28       32
//!  +------+------+------+--------+--------+--------+--------+--------+--------+------------+------------+
//!  | magic| ver. | kind | head   | data   | head   | data   | zero   | header | head bytes | data bytes |
//!  | SWL1 | u16  | u16  | length | length | crc32c | crc32c |        | crc32c | ...        | ...        |
//!  +------+------+------+--------+--------+--------+--------+--------+--------+------------+------------+
//! ```
//!
//! All little-endian. The header's checksum is over its first 28 bytes; it is checked before any length is believed. Data of no bytes has
//! checksum 0.

use crate::VERSION;
use alloc::vec::Vec;
use base::Payload;
use base::checksum::{crc32c, crc32c_parts};
use base::io::net::Frame;
use core::fmt;

/// Bytes of a header.
pub const HEADER_BYTES: usize = 32;
/// The largest head. Configurations of many shards are sent in several messages.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// The largest data: one I/O.
pub const DATA_BYTES_MAX: usize = base::IO_BLOCKS_MAX as usize * base::BLOCK_BYTES;

const MAGIC: [u8; 4] = *b"SWL1";

/// A header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Which message.
    pub kind: u16,
    /// Bytes of its fields.
    pub head_len: usize,
    /// Bytes of its blocks.
    pub data_len: usize,
    head_crc: u32,
    data_crc: u32,
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadFrame {
    /// Not our magic: somebody else's protocol.
    Magic([u8; 4]),
    /// Another version of ours.
    Version(u16),
    /// The header's checksum does not hold.
    HeaderChecksum,
    /// The head's checksum does not hold.
    HeadChecksum,
    /// The data's checksum does not hold.
    DataChecksum,
    /// A length above the bounds.
    TooLong {
        /// Bytes of the head.
        head: usize,
        /// Bytes of data.
        data: usize,
    },
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic(m) => write!(f, "the peer does not speak Seawall (its first bytes are {m:02x?})"),
            Self::Version(v) => write!(f, "the peer speaks protocol version {v}, this build speaks {VERSION}"),
            Self::HeaderChecksum => f.write_str("a frame header arrived damaged"),
            Self::HeadChecksum => f.write_str("the fields of a frame arrived damaged"),
            Self::DataChecksum => f.write_str("the blocks of a frame arrived damaged"),
            Self::TooLong { head, data } => {
                write!(
                    f,
                    "a frame claims {head} and {data} bytes; at most {HEAD_BYTES_MAX} and {DATA_BYTES_MAX} are allowed"
                )
            }
        }
    }
}

/// The header of a frame about to be sent.
pub fn encode(frame: &Frame) -> [u8; HEADER_BYTES] {
    let data_len = base::payload::len(&frame.data);
    debug_assert!(frame.head.len() <= HEAD_BYTES_MAX && data_len <= DATA_BYTES_MAX);
    let data_crc = if data_len == 0 { 0 } else { crc32c_parts(frame.data.iter().map(|p| &p[..])) };
    let mut h = [0u8; HEADER_BYTES];
    h[..4].copy_from_slice(&MAGIC);
    h[4..6].copy_from_slice(&VERSION.to_le_bytes());
    h[6..8].copy_from_slice(&frame.kind.to_le_bytes());
    h[8..12].copy_from_slice(&(frame.head.len() as u32).to_le_bytes());
    h[12..16].copy_from_slice(&(data_len as u32).to_le_bytes());
    h[16..20].copy_from_slice(&crc32c(&frame.head).to_le_bytes());
    h[20..24].copy_from_slice(&data_crc.to_le_bytes());
    let header_crc = crc32c(&h[..28]);
    h[28..].copy_from_slice(&header_crc.to_le_bytes());
    h
}

/// Reads a header; nothing in it is believed before its checksum holds.
pub fn decode(h: &[u8; HEADER_BYTES]) -> Result<Header, BadFrame> {
    let u32_at = |at: usize| u32::from_le_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let magic = [h[0], h[1], h[2], h[3]];
    if magic != MAGIC {
        return Err(BadFrame::Magic(magic));
    }
    if u32_at(28) != crc32c(&h[..28]) {
        return Err(BadFrame::HeaderChecksum);
    }
    let version = u16::from_le_bytes([h[4], h[5]]);
    if version != VERSION {
        return Err(BadFrame::Version(version));
    }
    let (head_len, data_len) = (u32_at(8) as usize, u32_at(12) as usize);
    if head_len > HEAD_BYTES_MAX || data_len > DATA_BYTES_MAX {
        return Err(BadFrame::TooLong { head: head_len, data: data_len });
    }
    let kind = u16::from_le_bytes([h[6], h[7]]);
    Ok(Header { kind, head_len, data_len, head_crc: u32_at(16), data_crc: u32_at(20) })
}

impl Header {
    /// Bytes of the whole frame.
    pub fn frame_len(&self) -> usize {
        HEADER_BYTES + self.head_len + self.data_len
    }

    /// Joins the header to what followed it.
    pub fn into_frame(self, head: bytes::Bytes, data: Payload) -> Result<Frame, BadFrame> {
        debug_assert_eq!((head.len(), data.len()), (self.head_len, self.data_len));
        if crc32c(&head) != self.head_crc {
            return Err(BadFrame::HeadChecksum);
        }
        if !data.is_empty() && crc32c(&data) != self.data_crc {
            return Err(BadFrame::DataChecksum);
        }
        let data = if data.is_empty() { Vec::new() } else { alloc::vec![data] };
        Ok(Frame { kind: self.kind, head, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn sample() -> Frame {
        let data = alloc::vec![Payload::from(alloc::vec![1; 100]), Payload::from(alloc::vec![2; 50])];
        Frame { kind: 0x77, head: Bytes::from_static(b"fields"), data }
    }

    #[test]
    fn a_frame_survives_the_wire() {
        let frame = sample();
        let header = decode(&encode(&frame)).unwrap();
        assert_eq!(header.frame_len(), 32 + 6 + 150);
        let joined: Vec<u8> = frame.data.iter().flat_map(|p| p.to_vec()).collect();
        let back = header.into_frame(frame.head.clone(), joined.clone().into()).unwrap();
        assert_eq!((back.kind, &back.head, &back.data[0][..]), (0x77, &frame.head, &joined[..]));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let frame = sample();
        let good = encode(&frame);
        for bit in 0..HEADER_BYTES * 8 {
            let mut bad = good;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        let header = decode(&good).unwrap();
        assert_eq!(
            header.into_frame(Bytes::from_static(b"fieldz"), alloc::vec![1; 150].into()),
            Err(BadFrame::HeadChecksum)
        );
        assert_eq!(header.into_frame(frame.head, alloc::vec![1; 150].into()), Err(BadFrame::DataChecksum));
    }

    #[test]
    fn another_version_is_refused_by_its_number() {
        let mut h = encode(&sample());
        h[4] = 9;
        let crc = crc32c(&h[..28]);
        h[28..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(decode(&h), Err(BadFrame::Version(9)));
    }
}
