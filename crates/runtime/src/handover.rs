//! Things handed from other threads to the application that a [`crate::World`] drives: a bounded queue, and a wake for each thing.
//!
//! What was given before a step begins is taken in that step or a later one, in the order in which each thread gave it; the world takes a turn though
//! nothing else came, and costs nothing while nothing is given. It refuses to know what is handed over.

use crate::os::Waker;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// The end that gives; for as many threads as want one.
#[derive(Debug)]
pub struct Giver<T> {
    queue: SyncSender<T>,
    waker: Waker,
}

impl<T> Clone for Giver<T> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), waker: self.waker.clone() }
    }
}

/// The end that takes: the application's.
#[derive(Debug)]
pub struct Taker<T> {
    queue: Receiver<T>,
    capacity: usize,
    waker: Waker,
}

/// Why a thing was not handed over, and the thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotGiven<T> {
    /// So many wait that there is no room for one more.
    Full(T),
    /// Nobody takes any more.
    Gone(T),
}

/// A queue for so many things, to the application of the world that this waker wakes ([`crate::World::waker`]).
pub fn handover<T>(capacity: usize, waker: Waker) -> (Giver<T>, Taker<T>) {
    assert!(capacity > 0, "a queue without room hands nothing over");
    let (queue, end) = sync_channel(capacity);
    (Giver { queue, waker: waker.clone() }, Taker { queue: end, capacity, waker })
}

impl<T> Giver<T> {
    /// Hands it over, or gives it back at once. Never waits.
    pub fn give(&self, thing: T) -> Result<(), NotGiven<T>> {
        self.queue.try_send(thing).map_err(|why| match why {
            TrySendError::Full(thing) => NotGiven::Full(thing),
            TrySendError::Disconnected(thing) => NotGiven::Gone(thing),
        })?;
        self.waker.wake();
        Ok(())
    }
}

impl<T> Taker<T> {
    /// What was given and not yet taken, in order; as many at most as the queue has room for, so that no flood of them holds a
    /// step up. If more is left, the world is woken again for it.
    pub fn take(&mut self) -> Vec<T> {
        let taken: Vec<_> = self.queue.try_iter().take(self.capacity).collect();
        if taken.len() == self.capacity {
            self.waker.wake();
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_or_no_taker_is_given_back() {
        let (giver, mut taker) = handover(2, Waker::new().unwrap().0);
        assert_eq!((giver.give(1), giver.give(2), giver.give(3)), (Ok(()), Ok(()), Err(NotGiven::Full(3))));
        assert_eq!((taker.take(), taker.take()), (vec![1, 2], vec![]));
        drop(taker);
        assert_eq!(giver.clone().give(4), Err(NotGiven::Gone(4)));
    }

    #[test]
    fn a_queue_that_was_full_wakes_once_more_for_what_may_be_left() {
        let (waker, end) = Waker::new().unwrap();
        let (giver, mut taker) = handover(2, waker);
        let mut end = std::fs::File::from(end);
        let mut wakes = || {
            let mut count = [0; 8];
            std::io::Read::read_exact(&mut end, &mut count).unwrap();
            u64::from_ne_bytes(count)
        };
        giver.give(1).unwrap();
        taker.take();
        assert_eq!(wakes(), 1);
        giver.give(2).unwrap();
        giver.give(3).unwrap();
        taker.take();
        assert_eq!(wakes(), 3);
    }
}
