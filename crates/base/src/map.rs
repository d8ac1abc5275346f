//! Hash maps whose order does not depend on the run: a simulated world must repeat itself to the byte.

use core::hash::{BuildHasherDefault, Hasher};

/// A hash map with a fixed hasher. Never iterate over one where order can be seen; keep a `BTreeMap` for that.
pub type Map<K, V> = hashbrown::HashMap<K, V, BuildHasherDefault<Fold>>;
/// A hash set with a fixed hasher.
pub type Set<K> = hashbrown::HashSet<K, BuildHasherDefault<Fold>>;

/// A multiply-fold hasher for small keys that no stranger chooses (ids, block numbers).
#[derive(Default, Clone, Copy)]
pub struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        // The table takes its tag from the top bits and its slot from the low ones: both must depend on all input.
        let folded = u128::from(self.0).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (folded >> 64) as u64 ^ folded as u64
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u64(&mut self, v: u64) {
        self.0 = (self.0.rotate_left(23) ^ v).wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    fn write_u32(&mut self, v: u32) {
        self.write_u64(u64::from(v));
    }
    fn write_u8(&mut self, v: u8) {
        self.write_u64(u64::from(v));
    }
    fn write_usize(&mut self, v: usize) {
        self.write_u64(v as u64);
    }
}
