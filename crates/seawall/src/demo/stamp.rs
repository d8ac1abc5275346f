//! What a block must hold: bytes that follow from a seed, the block's number and how often it was written. Every byte of a
//! block depends on all three, so a block that is old, misplaced or damaged cannot pass for the right one.

use base::BLOCK_BYTES;
use base::Rng;

/// Fills `bytes`, one block, with what `block` holds after its `version`-th write. A block never written (0) is zeroes.
pub fn fill(bytes: &mut [u8], seed: u64, block: u64, version: u32) {
    assert_eq!(bytes.len(), BLOCK_BYTES);
    if version == 0 {
        return bytes.fill(0);
    }
    let mut rng = Rng::new(seed ^ block.rotate_left(32) ^ u64::from(version).rotate_left(12));
    for word in bytes.chunks_exact_mut(8) {
        word.copy_from_slice(&rng.u64().to_le_bytes());
    }
}

/// The first byte of a block that is not as it must be.
pub fn differs(bytes: &[u8], seed: u64, block: u64, version: u32) -> Option<usize> {
    let mut expected = [0; BLOCK_BYTES];
    fill(&mut expected, seed, block, version);
    (bytes != expected).then(|| expected.iter().zip(bytes).position(|(a, b)| a != b).unwrap_or(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_block_another_version_and_one_flipped_bit_are_noticed() {
        let mut bytes = [0; BLOCK_BYTES];
        assert_eq!(differs(&bytes, 1, 5, 0), None);
        fill(&mut bytes, 1, 5, 2);
        assert_eq!(differs(&bytes, 1, 5, 2), None);
        for (seed, block, version) in [(2, 5, 2), (1, 6, 2), (1, 5, 1), (1, 5, 3), (1, 5, 0)] {
            assert!(differs(&bytes, seed, block, version).is_some(), "{seed} {block} {version}");
        }
        bytes[4095] ^= 0x10;
        assert_eq!(differs(&bytes, 1, 5, 2), Some(4095));
    }
}
