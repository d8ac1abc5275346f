//! The two blocks that say what a disk is. Both are written, one after the other, so that a write torn by a crash leaves one whole; and nothing that
//! the older of two names is given up before both are new.
//!
//! ```text
//! byte   0      8     12    16     32     40        56         64        72        80        84    88
//!       | magic | ver | crc | uuid | node | cluster | capacity | segment | preface | reserve | 0 | generation |
//! byte  88           96    104              112            120             128              136             140
//!       | generation | run | run began with | root's batch | root's serial | root's 2 places | root's blocks | zeroes to 4096 |
//! ```
//!
//! All that is used lies in the first 512 bytes: a disk writes those wholly or not at all. The checksum (CRC32C of the
//! block with the checksum's own four bytes as zeroes), its place, and the place of the version stay so in every later
//! version, so that an old build can tell "newer" from "damaged".

use crate::checkpoint::Piece;
use crate::geometry::Geometry;
use alloc::vec::Vec;
use base::checksum::crc32c_parts;
use base::codec::{Field as _, Malformed, Reader, Writer};
use base::{BLOCK_BYTES, ClusterId, NodeId, Payload, StoreUuid};

/// The newest version known here.
pub(crate) const VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"SEAWALL\x01";
const CRC_AT: usize = 12;

/// Where the root of the last checkpoint lies, twice; all zero while there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Root {
    /// It says how everything was after this batch.
    pub(crate) batch: u64,
    pub(crate) piece: Piece,
}

/// What a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Superblock {
    pub(crate) uuid: StoreUuid,
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    pub(crate) geometry: Geometry,
    /// Of two copies the greater holds.
    pub(crate) generation: u64,
    /// Counts the openings of the disk.
    pub(crate) run: u64,
    /// The number of the run's first batch: whatever an earlier run wrote from there on was cut.
    pub(crate) run_first: u64,
    pub(crate) root: Root,
}

/// What stands where a superblock should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Copy {
    Whole(Superblock),
    Zeroes,
    Newer(u32),
    Damaged,
}

/// What the two copies mean together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// This one holds.
    Holds(Superblock),
    /// One is whole and of this version, which is later than any that is known here.
    Newer(u32),
    /// Both are all zeroes.
    Blank,
    /// Nothing can be believed.
    Damaged,
}

/// What the two copies mean together.
pub(crate) fn judge(a: Copy, b: Copy) -> Verdict {
    match (a, b) {
        (Copy::Newer(found), _) | (_, Copy::Newer(found)) => Verdict::Newer(found),
        (Copy::Whole(a), Copy::Whole(b)) => Verdict::Holds(if a.generation > b.generation { a } else { b }),
        (Copy::Whole(one), _) | (_, Copy::Whole(one)) => Verdict::Holds(one),
        (Copy::Zeroes, Copy::Zeroes) => Verdict::Blank,
        _ => Verdict::Damaged,
    }
}

/// What a disk says it is, for whoever wants to know before it is opened or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// Nothing was ever formatted here, or its beginning was zeroed.
    Blank,
    /// A store.
    Store {
        /// Which formatting.
        uuid: StoreUuid,
        /// Whose.
        node: NodeId,
        /// Of which cluster.
        cluster: ClusterId,
    },
    /// A store of a later version than any that is known here.
    Newer(u32),
    /// Something, of which nothing can be believed.
    Damaged,
}

/// Bytes at the beginning of a disk that say what it is. As zeroes they say that it is blank.
pub const LABEL_BYTES: usize = 2 * BLOCK_BYTES;

/// Reads the first [`LABEL_BYTES`] of a disk.
pub fn label(bytes: &[u8]) -> Label {
    let (first, second) = bytes.split_at(BLOCK_BYTES.min(bytes.len()));
    match judge(decode(first), decode(second)) {
        Verdict::Holds(Superblock { uuid, node, cluster, .. }) => Label::Store { uuid, node, cluster },
        Verdict::Newer(found) => Label::Newer(found),
        Verdict::Blank => Label::Blank,
        Verdict::Damaged => Label::Damaged,
    }
}

impl Superblock {
    pub(crate) fn encode(&self) -> Payload {
        let mut w = Writer::with_capacity(BLOCK_BYTES);
        w.raw(MAGIC);
        w.u32(VERSION);
        w.u32(0);
        w.u128(self.uuid.0);
        w.u64(self.node.0);
        w.u128(self.cluster.0);
        w.u64(self.geometry.capacity_bytes);
        w.u64(self.geometry.segment_bytes);
        w.u64(self.geometry.preface_bytes);
        w.u32(self.geometry.reserve_segments);
        w.u32(0);
        w.u64(self.generation);
        w.u64(self.run);
        w.u64(self.run_first);
        w.u64(self.root.batch);
        self.root.piece.put(&mut w);
        let mut bytes: Vec<u8> = w.finish();
        assert!(bytes.len() <= 512, "a superblock must fit one sector");
        bytes.resize(BLOCK_BYTES, 0);
        let crc = crc_of(&bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        Payload::from(bytes)
    }
}

/// Over the block with zeroes where the checksum stands.
fn crc_of(block: &[u8]) -> u32 {
    crc32c_parts([&block[..CRC_AT], &[0; 4], &block[CRC_AT + 4..]])
}

/// Says what a block read from place 0 or 1 is.
pub(crate) fn decode(block: &[u8]) -> Copy {
    if block.len() != BLOCK_BYTES {
        return Copy::Damaged;
    }
    if block.iter().all(|&byte| byte == 0) {
        return Copy::Zeroes;
    }
    let Ok((version, crc, body)) = split(block) else { return Copy::Damaged };
    if crc != crc_of(block) {
        return Copy::Damaged;
    }
    if version > VERSION {
        return Copy::Newer(version);
    }
    match fields(body) {
        Ok(superblock) if version == VERSION && superblock.geometry.is_sound() => Copy::Whole(superblock),
        _ => Copy::Damaged,
    }
}

fn split(block: &[u8]) -> Result<(u32, u32, &[u8]), Malformed> {
    let mut r = Reader::new(block);
    if r.raw(8)? != MAGIC {
        return Err(Malformed { what: "superblock: another magic" });
    }
    let (version, crc) = (r.u32()?, r.u32()?);
    Ok((version, crc, r.raw(r.left())?))
}

fn fields(body: &[u8]) -> Result<Superblock, Malformed> {
    let mut r = Reader::new(body);
    let uuid = StoreUuid(r.u128()?);
    let node = NodeId(r.u64()?);
    let cluster = ClusterId(r.u128()?);
    let (capacity_bytes, segment_bytes, preface_bytes) = (r.u64()?, r.u64()?, r.u64()?);
    let reserve_segments = r.u32()?;
    r.u32()?;
    let generation = r.u64()?;
    let (run, run_first) = (r.u64()?, r.u64()?);
    let root = Root { batch: r.u64()?, piece: Piece::take(&mut r)? };
    let geometry = Geometry { capacity_bytes, segment_bytes, preface_bytes, reserve_segments };
    Ok(Superblock { uuid, node, cluster, geometry, generation, run, run_first, root })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn sample() -> Superblock {
        Superblock {
            uuid: StoreUuid(7),
            node: NodeId(3),
            cluster: ClusterId(9),
            geometry: Geometry::tiny(1 << 20),
            generation: 5,
            run: 4,
            run_first: 77,
            root: Root { batch: 70, piece: Piece { serial: 9, places: [40, 80], blocks: 2 } },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(decode(&sample().encode()), Copy::Whole(sample()));
        assert_eq!(decode(&Payload::zero_block()), Copy::Zeroes);
    }

    #[test]
    fn every_flipped_bit_of_the_first_sector_and_a_short_block_are_damage() {
        let good = sample().encode();
        for bit in 0..512 * 8 {
            let mut bytes = good.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), Copy::Damaged, "bit {bit}");
        }
        assert_eq!(decode(&good[..512]), Copy::Damaged);
    }

    #[test]
    fn a_label_says_whose_a_disk_is_also_when_one_of_its_two_blocks_is_gone() {
        let (block, zeroes) = (sample().encode().to_vec(), vec![0; BLOCK_BYTES]);
        let store = Label::Store { uuid: StoreUuid(7), node: NodeId(3), cluster: ClusterId(9) };
        assert_eq!(label(&[&block[..], &block[..]].concat()), store);
        assert_eq!(label(&[&zeroes[..], &block[..]].concat()), store);
        assert_eq!(label(&[&zeroes[..], &zeroes[..]].concat()), Label::Blank);
        assert_eq!(label(&vec![1; LABEL_BYTES]), Label::Damaged);
        assert_eq!(label(&block), Label::Store { uuid: StoreUuid(7), node: NodeId(3), cluster: ClusterId(9) });
        assert_eq!(label(&[]), Label::Damaged);
    }

    #[test]
    fn a_newer_version_is_told_from_damage_and_nonsense_is_damage() {
        let rewritten = |change: &dyn Fn(&mut [u8])| {
            let mut bytes = sample().encode().to_vec();
            change(&mut bytes);
            let crc = crc_of(&bytes);
            bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
            decode(&bytes)
        };
        assert_eq!(rewritten(&|b| b[8] = 2), Copy::Newer(2));
        assert_eq!(rewritten(&|b| b[8] = 0), Copy::Damaged);
        assert_eq!(rewritten(&|b| b[72..80].fill(0)), Copy::Damaged);
    }
}
