//! A queue that says no.

use alloc::collections::VecDeque;

/// First in, first out, up to a capacity given at birth. What does not fit is handed back, so that the caller must name a refusal.
#[derive(Debug, Clone)]
pub struct Bounded<T> {
    items: VecDeque<T>,
    capacity: usize,
}

impl<T> Bounded<T> {
    /// Empty, for at most `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Self { items: VecDeque::new(), capacity }
    }
    /// Appends, or hands the item back when full.
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.items.len() >= self.capacity {
            return Err(item);
        }
        self.items.push_back(item);
        Ok(())
    }
    /// The oldest.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }
    /// How many wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// Oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }
    /// All of them, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.items.drain(..)
    }
}

/// How full something is that others can fill: what a machine says of itself to whoever watches that nothing in it grows without end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// What it holds, in the plural.
    pub what: &'static str,
    /// How many it holds.
    pub now: usize,
    /// How many it may hold.
    pub most: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_hands_the_item_back() {
        let mut q = Bounded::new(2);
        assert_eq!((q.push(1), q.push(2), q.push(3)), (Ok(()), Ok(()), Err(3)));
        assert_eq!(q.pop(), Some(1));
        assert_eq!(q.push(4), Ok(()));
        assert_eq!(q.drain().collect::<alloc::vec::Vec<_>>(), [2, 4]);
    }
}
