//! Memory for data on its way: aligned to 4 KiB, in a few size classes, used again and again.
//!
//! A [`Buffer`] is an exclusive stretch of a block of the arena. It can be cut in two, lent to the ring while the kernel
//! writes into it, and frozen into `Bytes`; when the last part of a block is dropped, on whatever thread, the block is
//! free again. Blocks come from slabs of about 1 MiB mapped on demand; [`Arena::trim`] gives wholly free slabs back to the
//! kernel, so a process at rest is small. What is larger than the largest class is mapped for itself.
//!
//! A fresh buffer holds whatever its last user left there: it is never uninitialised memory, and never assumed to be zero.
#![allow(unsafe_code)]

use bytes::Bytes;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard};

/// Of every block, and the least it holds.
pub const ALIGN: usize = 4096;
const CLASSES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];
const SLAB_BYTES: usize = 1 << 20;

/// The pool. Clones are the same pool.
#[derive(Clone)]
pub struct Arena(Arc<Mutex<Pools>>);

#[derive(Default)]
struct Pools {
    classes: [Class; CLASSES.len()],
    /// Bytes mapped for slabs.
    mapped: usize,
    /// Slabs of which every block is free.
    spare: usize,
}

#[derive(Default)]
struct Class {
    /// By number; none where one was given back.
    slabs: Vec<Option<Slab>>,
    /// Numbers of slabs that have a free block, the one to take from last.
    open: Vec<u32>,
}

struct Slab {
    base: NonNull<u8>,
    /// Places of free blocks.
    free: Vec<u16>,
}

// SAFETY: a slab is plain memory, reached only through the blocks cut from it; its bookkeeping is behind the mutex.
unsafe impl Send for Slab {}

/// One block, taken from the pool until it is dropped.
struct Block {
    pool: Arena,
    base: NonNull<u8>,
    len: usize,
    /// Class, slab and place; none of a block mapped for itself.
    home: Option<(u8, u32, u16)>,
}

// SAFETY: a block is plain memory. It is read and written only through buffers, and no two buffers of a block overlap.
unsafe impl Send for Block {}
// SAFETY: as above; `Block` itself has no method that touches the memory.
unsafe impl Sync for Block {}

/// An exclusive stretch of a block.
pub struct Buffer {
    block: Arc<Block>,
    start: usize,
    end: usize,
}

fn map(len: usize) -> NonNull<u8> {
    // SAFETY: an anonymous private mapping at a place the kernel chooses touches no memory of ours.
    let base = unsafe {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    assert!(base != libc::MAP_FAILED, "no memory for a buffer of {len} bytes: {}", std::io::Error::last_os_error());
    NonNull::new(base.cast()).expect("the kernel maps nothing at address zero")
}

/// Takes a mapping of `map` back.
fn unmap(base: NonNull<u8>, len: usize) {
    // SAFETY: the callers own the whole mapping and nothing refers to it any more.
    let result = unsafe { libc::munmap(base.as_ptr().cast(), len) };
    assert_eq!(result, 0, "a mapping of the arena was not its own");
}

impl Class {
    fn take(&mut self, class: usize, mapped: &mut usize, spare: &mut usize) -> (NonNull<u8>, u32, u16) {
        if self.open.is_empty() {
            let blocks = (SLAB_BYTES / CLASSES[class]) as u16;
            let slab = Slab { base: map(SLAB_BYTES), free: (0..blocks).rev().collect() };
            *mapped += SLAB_BYTES;
            *spare += 1;
            let number = self.slabs.iter().position(Option::is_none).unwrap_or(self.slabs.len());
            if number == self.slabs.len() {
                self.slabs.push(None);
            }
            self.slabs[number] = Some(slab);
            self.open.push(number as u32);
        }
        let number = *self.open.last().expect("a slab was just opened");
        let slab = self.slabs[number as usize].as_mut().expect("an open slab is mapped");
        if slab.free.len() == SLAB_BYTES / CLASSES[class] {
            *spare -= 1;
        }
        let place = slab.free.pop().expect("an open slab has a free block");
        if slab.free.is_empty() {
            self.open.pop();
        }
        // SAFETY: `place` is below the number of blocks in the slab, so the result lies within its mapping.
        (unsafe { slab.base.add(usize::from(place) * CLASSES[class]) }, number, place)
    }
}

impl Arena {
    /// An empty one: nothing is mapped yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Pools::default())))
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        // Nothing panics between a take and its bookkeeping but a failed map, which leaves the pools as they were.
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A buffer of exactly `len` bytes, aligned to 4 KiB, holding anything.
    pub fn take(&self, len: usize) -> Buffer {
        assert!(len > 0, "a buffer of no bytes was asked for");
        let mut buffer = self.take_at_least(len);
        buffer.end = len;
        buffer
    }

    /// A whole block of at least `len` bytes.
    pub fn take_at_least(&self, len: usize) -> Buffer {
        let block = match CLASSES.iter().position(|&bytes| bytes >= len) {
            Some(class) => {
                let mut pools = self.pools();
                let Pools { classes, mapped, spare } = &mut *pools;
                let (base, slab, place) = classes[class].take(class, mapped, spare);
                Block { pool: self.clone(), base, len: CLASSES[class], home: Some((class as u8, slab, place)) }
            }
            None => {
                let len = len.next_multiple_of(ALIGN);
                Block { pool: self.clone(), base: map(len), len, home: None }
            }
        };
        let end = block.len;
        Buffer { block: Arc::new(block), start: 0, end }
    }

    /// A copy of `bytes`, aligned.
    pub fn copy(&self, bytes: &[u8]) -> Buffer {
        let mut buffer = self.take(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }

    /// Gives wholly free slabs back to the kernel. Returns whether any was.
    pub fn trim(&self) -> bool {
        let mut pools = self.pools();
        let mut given_back = 0;
        for (class, bytes) in pools.classes.iter_mut().zip(CLASSES) {
            for (number, slot) in class.slabs.iter_mut().enumerate() {
                if slot.as_ref().is_some_and(|slab| slab.free.len() == SLAB_BYTES / bytes) {
                    let slab = slot.take().expect("looked at just now");
                    unmap(slab.base, SLAB_BYTES);
                    class.open.retain(|&open| open as usize != number);
                    given_back += SLAB_BYTES;
                }
            }
        }
        pools.mapped -= given_back;
        pools.spare = 0;
        given_back > 0
    }

    /// Whether [`Self::trim`] would give anything back.
    pub fn has_spare(&self) -> bool {
        self.pools().spare > 0
    }

    /// Bytes mapped for slabs now.
    pub fn mapped(&self) -> usize {
        self.pools().mapped
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        // Every block holds the pool, so none is out.
        for slab in self.classes.iter_mut().flat_map(|class| class.slabs.drain(..)).flatten() {
            unmap(slab.base, SLAB_BYTES);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let Some((class, number, place)) = self.home else {
            return unmap(self.base, self.len);
        };
        let mut pools = self.pool.pools();
        let Pools { classes, spare, .. } = &mut *pools;
        let blocks = SLAB_BYTES / CLASSES[usize::from(class)];
        let class = &mut classes[usize::from(class)];
        let slab = class.slabs[number as usize].as_mut().expect("a slab with a block out is never given back");
        if slab.free.is_empty() {
            class.open.push(number);
        }
        slab.free.push(place);
        if slab.free.len() == blocks {
            *spare += 1;
        }
    }
}

impl Buffer {
    /// Cuts off the first `len` bytes; this keeps the rest.
    pub fn split_to(&mut self, len: usize) -> Self {
        assert!(len <= self.len(), "a buffer of {} bytes was cut at {len}", self.len());
        let start = self.start;
        self.start += len;
        Self { block: self.block.clone(), start, end: start + len }
    }

    /// The whole block again, if no other part of it is in use.
    pub fn reclaim(&mut self) -> bool {
        let Some(block) = Arc::get_mut(&mut self.block) else { return false };
        (self.start, self.end) = (0, block.len);
        true
    }

    /// As bytes that can be shared, and will not change any more.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the stretch lies within the block, is initialised (mapped memory begins as zeroes), and no other buffer
        // overlaps it, so nobody writes to it while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.block.base.as_ptr().add(self.start), self.end - self.start) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for reading; and this buffer is the only one for its stretch, so the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.base.as_ptr().add(self.start), self.end - self.start) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_their_blocks_are_used_again() {
        let arena = Arena::new();
        for len in [1, 4096, 4097, 16 << 10, 100_000, 256 << 10, 1 << 20, (1 << 20) + 1] {
            let buffer = arena.take(len);
            assert_eq!((buffer.len(), buffer.as_ptr() as usize % ALIGN), (len, 0), "{len}");
        }
        let mapped = arena.mapped();
        for _ in 0..10_000 {
            drop(arena.take(4096));
            drop(arena.take(1 << 20));
        }
        assert_eq!(arena.mapped(), mapped);
    }

    #[test]
    fn parts_of_a_block_do_not_see_each_other_and_free_it_together() {
        let arena = Arena::new();
        let mut rest = arena.take_at_least(16 << 10);
        assert_eq!(rest.len(), 16 << 10);
        let mut front = rest.split_to(100);
        front.fill(1);
        rest.fill(2);
        let front = front.freeze();
        assert!(!rest.reclaim());
        assert!(front.iter().all(|&b| b == 1) && rest.iter().all(|&b| b == 2));
        let slice = front.slice(10..20);
        drop(front);
        assert!(!rest.reclaim());
        drop(slice);
        assert!(rest.reclaim());
        assert_eq!(rest.len(), 16 << 10);
    }

    #[test]
    fn what_is_free_goes_back_to_the_kernel_and_what_is_not_stays() {
        let arena = Arena::new();
        let kept: Vec<_> = (0..3).map(|n| arena.copy(&[n; 10])).collect();
        let burst: Vec<_> = (0..40).map(|_| arena.take(256 << 10)).collect();
        assert_eq!(arena.mapped(), 11 << 20);
        assert!(!arena.has_spare() && !arena.trim());
        drop(burst);
        assert!(arena.has_spare() && arena.trim() && !arena.has_spare());
        assert_eq!(arena.mapped(), 1 << 20);
        assert!(kept.iter().zip(0..).all(|(buffer, n)| buffer[..] == [n; 10]));
        assert_eq!(arena.take(256 << 10).len(), 256 << 10);
    }

    #[test]
    fn bytes_may_be_dropped_on_another_thread() {
        let arena = Arena::new();
        let bytes: Vec<_> = (0..1000).map(|_| arena.copy(b"abc").freeze()).collect();
        let mapped = arena.mapped();
        let sum = std::thread::spawn(move || bytes.iter().map(|b| b.len()).sum::<usize>()).join().unwrap();
        assert_eq!(sum, 3000);
        let again: Vec<_> = (0..1000).map(|_| arena.take(4096)).collect();
        assert_eq!((again.len(), arena.mapped()), (1000, mapped));
    }
}
