//! What a written block says of itself: which volume and block it is of, which attachment wrote it, which connection, and as which of its writes. The
//! rest of the block follows from that, so that a block that is misplaced, damaged, or put together from two writes cannot pass for a whole one.

use base::{BLOCK_BYTES, Rng, VolumeId};
use std::fmt;

const MAGIC: u64 = 0x7365_6177_616c_6c21;
/// Magic, volume, block, generation, io, counter.
const WORDS: usize = 6;
/// Below this a counter shares a value with its connection.
const COUNTER_BITS: u32 = 40;

/// The name of one write of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Of which volume.
    pub volume: VolumeId,
    /// Which block of it.
    pub block: u64,
    /// Under which attachment.
    pub generation: u64,
    /// By which connection; no two ever have the same.
    pub io: u64,
    /// As which of its requests, from 1.
    pub counter: u64,
}

/// Why a block that was read is nobody's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It does not begin as a block that was written here does.
    Foreign,
    /// It is whole, and belongs elsewhere.
    Misplaced(Stamp),
    /// It begins as this write, and differs from that byte on.
    Damaged(Stamp, usize),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => write!(f, "does not begin as anything that was written"),
            Self::Misplaced(stamp) => write!(f, "holds what belongs elsewhere: {stamp:?}"),
            Self::Damaged(stamp, byte) => write!(f, "is not whole from byte {byte} on: {stamp:?}"),
        }
    }
}

impl Stamp {
    /// The number under which a checker knows the write; 0 is zeroes and nobody's.
    pub fn value(&self) -> u64 {
        assert!(self.counter > 0 && self.counter >> COUNTER_BITS == 0, "{self:?}");
        self.io << COUNTER_BITS | self.counter
    }

    /// Fills one block with it.
    pub fn fill(&self, bytes: &mut [u8]) {
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let Self { volume, block, generation, io, counter } = *self;
        let head = [MAGIC, volume.0, block, generation, io, counter];
        let (begin, body) = bytes.split_at_mut(WORDS * 8);
        begin.chunks_exact_mut(8).zip(head).for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
        let mut rng = Rng::new(head.into_iter().fold(0, |seed, word| seed.rotate_left(11) ^ word));
        body.chunks_exact_mut(8).for_each(|place| place.copy_from_slice(&rng.u64().to_le_bytes()));
    }

    /// Reads what `block` of `volume` holds: the value of its write, 0 for zeroes.
    pub fn read(bytes: &[u8], volume: VolumeId, block: u64) -> Result<u64, Unreadable> {
        let mut head = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut next = || head.next().unwrap_or(0);
        let magic = next();
        if magic == 0 && bytes.iter().all(|byte| *byte == 0) {
            return Ok(0);
        }
        let stamp = Self { volume: VolumeId(next()), block: next(), generation: next(), io: next(), counter: next() };
        if magic != MAGIC || stamp.counter == 0 || stamp.counter >> COUNTER_BITS != 0 {
            return Err(Unreadable::Foreign);
        }
        let mut whole = [0; BLOCK_BYTES];
        stamp.fill(&mut whole);
        if let Some(at) = whole.iter().zip(bytes).position(|(a, b)| a != b) {
            return Err(Unreadable::Damaged(stamp, at));
        }
        if (stamp.volume, stamp.block) != (volume, block) {
            return Err(Unreadable::Misplaced(stamp));
        }
        Ok(stamp.value())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOLUME: VolumeId = VolumeId(7);

    fn stamp(block: u64, counter: u64) -> Stamp {
        Stamp { volume: VOLUME, block, generation: 3, io: 5, counter }
    }

    fn block(stamp: Stamp) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        stamp.fill(&mut bytes);
        bytes
    }

    #[test]
    fn a_block_is_read_as_the_write_that_filled_it() {
        assert_eq!(Stamp::read(&[0; BLOCK_BYTES], VOLUME, 9), Ok(0));
        assert_eq!(Stamp::read(&block(stamp(9, 1)), VOLUME, 9), Ok(stamp(9, 1).value()));
        assert_ne!(stamp(9, 1).value(), Stamp { io: 6, ..stamp(9, 1) }.value());
    }

    #[test]
    fn a_misplaced_a_torn_and_a_damaged_block_are_told_apart() {
        let bytes = block(stamp(9, 1));
        assert_eq!(Stamp::read(&bytes, VOLUME, 8), Err(Unreadable::Misplaced(stamp(9, 1))));
        assert_eq!(Stamp::read(&bytes, VolumeId(8), 9), Err(Unreadable::Misplaced(stamp(9, 1))));
        let mut torn = bytes;
        torn[2048..].copy_from_slice(&block(stamp(9, 2))[2048..]);
        assert_eq!(Stamp::read(&torn, VOLUME, 9), Err(Unreadable::Damaged(stamp(9, 1), 2048)));
        let mut flipped = bytes;
        flipped[4095] ^= 1;
        assert_eq!(Stamp::read(&flipped, VOLUME, 9), Err(Unreadable::Damaged(stamp(9, 1), 4095)));
        let mut foreign = bytes;
        foreign[0] ^= 1;
        assert_eq!(Stamp::read(&foreign, VOLUME, 9), Err(Unreadable::Foreign));
        let mut nearly_zero = [0; BLOCK_BYTES];
        nearly_zero[4000] = 1;
        assert_eq!(Stamp::read(&nearly_zero, VOLUME, 9), Err(Unreadable::Foreign));
    }
}
