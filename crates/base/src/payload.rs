//! Bytes of blocks on their way through the house.

use bytes::Bytes;
use core::fmt;
use core::ops::Deref;

/// A counted slice of somebody's memory: cloning and slicing copy nothing. In production it lies in the runtime's
/// aligned arena; a driver that needs alignment copies a payload that is not.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload(pub Bytes);

/// One block of zeroes, to read where nothing was written.
static ZERO_BLOCK: [u8; crate::BLOCK_BYTES] = [0; crate::BLOCK_BYTES];

impl Payload {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Bytes::new())
    }

    /// One block of zeroes; shares static memory.
    pub const fn zero_block() -> Self {
        Self(Bytes::from_static(&ZERO_BLOCK))
    }

    /// The bytes from `at`, `len` of them. Out of range is a broken invariant.
    #[must_use]
    pub fn slice(&self, at: usize, len: usize) -> Self {
        Self(self.0.slice(at..at + len))
    }

    /// Whole blocks in it.
    pub fn blocks(&self) -> u32 {
        (self.0.len() / crate::BLOCK_BYTES) as u32
    }
}

impl Deref for Payload {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<alloc::vec::Vec<u8>> for Payload {
    fn from(v: alloc::vec::Vec<u8>) -> Self {
        Self(Bytes::from(v))
    }
}

/// By length and checksum: what is in it is somebody's secret, and whether two are the same is all that a reader of a trace asks.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, {:08x})", self.0.len(), crate::checksum::crc32c(&self.0))
    }
}

/// Bytes in a row of payloads.
pub fn len(parts: &[Payload]) -> usize {
    parts.iter().map(|p| p.len()).sum()
}
