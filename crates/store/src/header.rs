//! The header of a batch: the fixed part that makes it a link of the chain, and the body with its entries.
//!
//! ```text
//! byte   0       8     12    16     32    40      48         56                64      68        72
//!       | magic | ver | crc | uuid | run | batch | previous | durable_through | place | segment | incarnation |
//! byte  76             80     81   84              88               92           96         100      104
//!       | next segment | head | 0 | header blocks | payload blocks | body bytes | body crc | shards | previous shards |
//! byte  108       112               120     128
//!       | entries | run began with | segment began with | shards, 12 bytes each | previous batch's shards, 12 bytes each | entries | zeroes |
//! ```
//!
//! The header fills whole blocks; the payload blocks follow it at once. `crc` is CRC32C of bytes 0 to 127 with its own four as
//! zeroes; `body crc` is CRC32C of all that follows, zeroes included. `previous` is CRC-64/NVME of the whole previous header, so that a
//! header can only follow the one it was written after. `place` and `segment` tell a misplaced header, `segment began with`, the number of the first
//! batch in this use of the segment, one of an earlier use, and `run` (the superblock's generation while it was written) one of an earlier process whose tail was cut. `run began with` is the number of
//! the run's first batch: every batch of an earlier run from that number on had been cut.

use crate::entry::{Change, DATA_BYTES};
use alloc::vec::Vec;
use base::checksum::{chain, crc32c, crc32c_parts};
use base::codec::{Field, Malformed, Reader, Writer};
use base::{BLOCK_BYTES, Sequence, ShardId, StoreUuid};

/// Bytes of the fixed part.
pub(crate) const FIXED_BYTES: usize = 128;
/// Bytes of a shard in the tables.
pub(crate) const SHARD_BYTES: usize = 12;
/// Blocks that a header has at most; a longer one was never written.
pub(crate) const HEADER_BLOCKS_MAX: u32 = 64;
/// Blocks that a batch has at most, its header included; a longer one was never written.
pub(crate) const BATCH_BLOCKS_MAX: u32 = 1024;
/// The head that appends what comes from outside. The other one, for what the cleaner moves, is reserved.
pub(crate) const HEAD_HOT: u8 = 0;
/// No segment is known to follow.
pub(crate) const NO_SEGMENT: u32 = u32::MAX;

const MAGIC: &[u8; 8] = b"SWBATCH\x01";
const VERSION: u32 = 1;
const CRC_AT: usize = 12;

/// The fixed part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) uuid: StoreUuid,
    pub(crate) run: u64,
    /// The number of the run's first batch.
    pub(crate) run_first: u64,
    pub(crate) batch: u64,
    pub(crate) previous: u64,
    pub(crate) durable_through: u64,
    pub(crate) place: u32,
    pub(crate) segment: u32,
    /// The number of the first batch in this use of the segment.
    pub(crate) opened: u64,
    pub(crate) next_segment: u32,
    pub(crate) head: u8,
    pub(crate) header_blocks: u32,
    pub(crate) payload_blocks: u32,
    pub(crate) body_bytes: u32,
    pub(crate) body_crc: u32,
    pub(crate) shards: u32,
    pub(crate) previous_shards: u32,
    pub(crate) entries: u32,
}

/// What the body says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) shards: Vec<ShardId>,
    pub(crate) previous_shards: Vec<ShardId>,
    pub(crate) changes: Vec<(ShardId, Sequence, Change)>,
}

/// What the first header of a store has as `previous`.
pub(crate) fn genesis(uuid: StoreUuid) -> u64 {
    chain(&uuid.0.to_le_bytes())
}

/// Bytes of the longest header around a single write of so many blocks.
pub(crate) fn bytes_max(previous_shards: usize, blocks: u32) -> usize {
    FIXED_BYTES + SHARD_BYTES * (1 + previous_shards) + DATA_BYTES + 4 * blocks as usize
}

/// Begins a header of so many blocks: room for the fixed part, then the tables. Entries are to be put behind.
pub(crate) fn begin(header_blocks: u32, shards: &[ShardId], previous_shards: &[ShardId]) -> Writer {
    let mut w = Writer::with_capacity(header_blocks as usize * BLOCK_BYTES);
    w.raw(&[0; FIXED_BYTES]);
    shards.iter().chain(previous_shards).for_each(|shard| shard.put(&mut w));
    w
}

/// Ends a header: fills in the fixed part, checksums and zeroes. Gives its bytes and their link of the chain.
pub(crate) fn end(w: Writer, mut fixed: Fixed) -> (Vec<u8>, u64) {
    let mut bytes = w.finish();
    fixed.body_bytes = (bytes.len() - FIXED_BYTES) as u32;
    assert!(bytes.len() <= fixed.header_blocks as usize * BLOCK_BYTES, "a header is longer than it was measured");
    bytes.resize(fixed.header_blocks as usize * BLOCK_BYTES, 0);
    fixed.body_crc = crc32c(&bytes[FIXED_BYTES..]);
    bytes[..FIXED_BYTES].copy_from_slice(&fixed.encode());
    let link = chain(&bytes);
    (bytes, link)
}

fn crc_of(fixed: &[u8]) -> u32 {
    crc32c_parts([&fixed[..CRC_AT], &[0; 4], &fixed[CRC_AT + 4..FIXED_BYTES]])
}

impl Fixed {
    fn encode(&self) -> [u8; FIXED_BYTES] {
        let mut w = Writer::with_capacity(FIXED_BYTES);
        w.raw(MAGIC);
        w.u32(VERSION);
        w.u32(0);
        w.u128(self.uuid.0);
        [self.run, self.batch, self.previous, self.durable_through].iter().for_each(|&v| w.u64(v));
        [self.place, self.segment, 0, self.next_segment].iter().for_each(|&v| w.u32(v));
        w.raw(&[self.head, 0, 0, 0]);
        [self.header_blocks, self.payload_blocks, self.body_bytes, self.body_crc].iter().for_each(|&v| w.u32(v));
        [self.shards, self.previous_shards, self.entries].iter().for_each(|&v| w.u32(v));
        w.u64(self.run_first);
        w.u64(self.opened);
        let mut bytes: [u8; FIXED_BYTES] = w.finish().try_into().expect("the fields above are 128 bytes");
        let crc = crc_of(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the fixed part at the start of a block; none if it is not whole, not of this format, or of impossible size.
    pub(crate) fn decode(block: &[u8]) -> Option<Self> {
        let bytes = block.get(..FIXED_BYTES)?;
        if &bytes[..8] != MAGIC {
            return None;
        }
        let fixed = Self::take(&bytes[8..]).ok()?;
        let crc = u32::from_le_bytes(bytes[CRC_AT..CRC_AT + 4].try_into().expect("four bytes"));
        let tables =
            u64::from(fixed.shards) * SHARD_BYTES as u64 + u64::from(fixed.previous_shards) * SHARD_BYTES as u64;
        let possible = crc == crc_of(bytes)
            && (1..=HEADER_BLOCKS_MAX).contains(&fixed.header_blocks)
            && fixed.payload_blocks <= BATCH_BLOCKS_MAX
            && fixed.blocks() <= BATCH_BLOCKS_MAX
            && fixed.body_bytes as usize <= fixed.header_blocks as usize * BLOCK_BYTES - FIXED_BYTES
            && tables <= u64::from(fixed.body_bytes)
            && fixed.durable_through < fixed.batch
            && fixed.run_first <= fixed.batch
            && (1..=fixed.batch).contains(&fixed.opened);
        possible.then_some(fixed)
    }

    fn take(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        if r.u32()? != VERSION {
            return Err(Malformed { what: "batch header: another version" });
        }
        r.u32()?;
        let uuid = StoreUuid(r.u128()?);
        let (run, batch, previous, durable_through) = (r.u64()?, r.u64()?, r.u64()?, r.u64()?);
        let (place, segment, _, next_segment) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let head = r.u8()?;
        r.raw(3)?;
        let (header_blocks, payload_blocks, body_bytes, body_crc) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let (shards, previous_shards, entries) = (r.u32()?, r.u32()?, r.u32()?);
        let (run_first, opened) = (r.u64()?, r.u64()?);
        Ok(Self {
            uuid,
            run,
            run_first,
            batch,
            previous,
            durable_through,
            place,
            segment,
            opened,
            next_segment,
            head,
            header_blocks,
            payload_blocks,
            body_bytes,
            body_crc,
            shards,
            previous_shards,
            entries,
        })
    }

    /// Blocks of the whole batch.
    pub(crate) fn blocks(&self) -> u32 {
        self.header_blocks + self.payload_blocks
    }

    /// Reads the body out of the whole header's bytes; none if it is not whole.
    pub(crate) fn body(&self, header: &[u8]) -> Option<Body> {
        debug_assert_eq!(header.len(), self.header_blocks as usize * BLOCK_BYTES);
        let body = &header[FIXED_BYTES..];
        if crc32c(body) != self.body_crc {
            return None;
        }
        self.take_body(&body[..self.body_bytes as usize]).ok()
    }

    fn take_body(&self, bytes: &[u8]) -> Result<Body, Malformed> {
        let mut r = Reader::new(bytes);
        let list = |r: &mut Reader<'_>, len: u32| (0..len).map(|_| ShardId::take(r)).collect::<Result<Vec<_>, _>>();
        let shards = list(&mut r, self.shards)?;
        let previous_shards = list(&mut r, self.previous_shards)?;
        let first = self.place + self.header_blocks;
        let mut place = first;
        let mut changes = Vec::new();
        for _ in 0..self.entries {
            let (shard, committed, change) = Change::take(&mut r, &mut place)?;
            let shard =
                *shards.get(usize::from(shard)).ok_or(Malformed { what: "log entry: of a shard not in its table" })?;
            changes.push((shard, committed, change));
        }
        r.end("batch header: bytes are left over")?;
        if place - first != self.payload_blocks {
            return Err(Malformed { what: "batch header: entries and payload disagree" });
        }
        Ok(Body { shards, previous_shards, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Crcs;
    use alloc::vec;
    use base::VolumeId;

    fn sample() -> (Fixed, Vec<u8>, u64) {
        let shards = [ShardId { volume: VolumeId(1), index: 0 }, ShardId { volume: VolumeId(2), index: 1 }];
        let fixed = Fixed {
            uuid: StoreUuid(5),
            run: 2,
            run_first: 9,
            batch: 9,
            previous: 77,
            durable_through: 8,
            place: 40,
            segment: 1,
            opened: 7,
            next_segment: 2,
            head: HEAD_HOT,
            header_blocks: 1,
            payload_blocks: 2,
            body_bytes: 0,
            body_crc: 0,
            shards: 2,
            previous_shards: 1,
            entries: 2,
        };
        let mut w = begin(1, &shards, &shards[1..]);
        Change::Copy { block: 3, place: 41, crcs: Crcs::Many([1, 2].into()) }.put(&mut w, 1, Sequence(4));
        Change::Drop.put(&mut w, 0, Sequence(5));
        let (bytes, link) = end(w, fixed);
        (Fixed::decode(&bytes).expect("whole"), bytes, link)
    }

    #[test]
    fn a_header_reads_as_it_was_written() {
        let (fixed, bytes, link) = sample();
        assert_eq!((fixed.batch, fixed.previous, fixed.place, fixed.blocks()), (9, 77, 40, 3));
        assert_eq!(link, chain(&bytes));
        let body = fixed.body(&bytes).expect("whole");
        assert_eq!(body.shards.len(), 2);
        assert_eq!(body.previous_shards, [ShardId { volume: VolumeId(2), index: 1 }]);
        let copy = Change::Copy { block: 3, place: 41, crcs: Crcs::Many([1, 2].into()) };
        assert_eq!(body.changes, [(body.shards[1], Sequence(4), copy), (body.shards[0], Sequence(5), Change::Drop)]);
    }

    #[test]
    fn no_flipped_bit_of_a_header_goes_unseen() {
        let (_, good, _) = sample();
        for byte in 0..good.len() {
            for bit in [0, 3, 7] {
                let mut bytes = good.clone();
                bytes[byte] ^= 1 << bit;
                let read = Fixed::decode(&bytes).and_then(|fixed| fixed.body(&bytes));
                assert_eq!(read, None, "byte {byte} bit {bit}");
            }
        }
        assert_eq!(Fixed::decode(&good[..100]), None);
    }

    #[test]
    fn a_well_sealed_lie_about_sizes_is_refused() {
        let (fixed, bytes, _) = sample();
        let sealed = |lie: Fixed| {
            let mut bytes = bytes.clone();
            bytes[..FIXED_BYTES].copy_from_slice(&lie.encode());
            Fixed::decode(&bytes).and_then(|fixed| fixed.body(&bytes))
        };
        assert!(sealed(fixed).is_some());
        for lie in [
            Fixed { header_blocks: 0, ..fixed },
            Fixed { header_blocks: 65, ..fixed },
            Fixed { payload_blocks: u32::MAX, ..fixed },
            Fixed { payload_blocks: 3, ..fixed },
            Fixed { body_bytes: 4000, ..fixed },
            Fixed { body_bytes: fixed.body_bytes + 1, ..fixed },
            Fixed { shards: u32::MAX, ..fixed },
            Fixed { shards: 1, previous_shards: 2, ..fixed },
            Fixed { entries: 3, ..fixed },
            Fixed { durable_through: 9, ..fixed },
            Fixed { run_first: 10, ..fixed },
        ] {
            assert_eq!(sealed(lie), None, "{lie:?}");
        }
        let empty = vec![0; BLOCK_BYTES];
        assert_eq!(Fixed::decode(&empty), None);
    }
}
