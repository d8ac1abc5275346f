//! The three checksums of the house.

use crate::{BLOCK_BYTES, ShardId};
use crc_fast::{CrcAlgorithm, Digest, checksum};

/// CRC32C (RFC 3720, Castagnoli) of plain bytes: frames and headers.
pub fn crc32c(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC32C of bytes that lie in several places, as if they lay in one.
pub fn crc32c_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    parts.into_iter().for_each(|part| digest.update(part));
    digest.finalize() as u32
}

/// CRC32C over (shard, block number, bytes): a block that is rotten, stale or misplaced fails alike.
pub fn block(shard: ShardId, block: u32, bytes: &[u8]) -> u32 {
    debug_assert_eq!(bytes.len(), BLOCK_BYTES);
    let mut place = [0u8; 16];
    place[..8].copy_from_slice(&shard.volume.0.to_le_bytes());
    place[8..12].copy_from_slice(&shard.index.to_le_bytes());
    place[12..].copy_from_slice(&block.to_le_bytes());
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&place);
    digest.update(bytes);
    digest.finalize() as u32
}

/// CRC-64/NVME, for chaining headers: sixty-four bits, so that an old header cannot pass for the next by luck.
pub fn chain(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VolumeId;

    #[test]
    fn the_check_values_of_the_catalogue_hold() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(chain(b"123456789"), 0xae8b_1486_0a79_9888);
        assert_eq!(crc32c_parts([&b"1234"[..], b"", b"56789"]), 0xe306_9283);
    }

    #[test]
    fn a_block_in_another_place_has_another_checksum() {
        let bytes = [7u8; BLOCK_BYTES];
        let shard = ShardId { volume: VolumeId(1), index: 0 };
        let here = block(shard, 5, &bytes);
        assert_ne!(here, block(shard, 6, &bytes));
        assert_ne!(here, block(ShardId { index: 1, ..shard }, 5, &bytes));
        assert_ne!(here, block(ShardId { volume: VolumeId(2), index: 0 }, 5, &bytes));
    }
}
