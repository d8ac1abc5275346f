//! The life of a connection's place: taken, used by operations in flight, left, closed, taken again. No socket and no ring in it, so that a test can
//! put every order of events before it.
//!
//! Two dangers live here, and one of them took the storage of a whole region down: what the kernel still does for a connection that is gone
//! must reach nobody else, though its place is taken by another; and its file must stay open until the last of that has ended, or its number is
//! another's while the kernel still uses it. So a place is never given out twice under one generation, and a file leaves the
//! table only when nothing of it is in flight. However many connections end at once, [`CLOSING_MAX`] of them at a time have their operations cancelled;
//! the rest wait in order, and cost nothing but memory meanwhile.

use std::collections::{BTreeMap, VecDeque};

/// Connections that are being closed at a time, at most.
pub const CLOSING_MAX: usize = 8;

/// Names an occupant of a place; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    index: u32,
    generation: u32,
}

/// What has been taken out and is not closed yet.
struct Leaving<F> {
    file: F,
    in_flight: u32,
}

struct Place<T, F> {
    generation: u32,
    inside: Option<(T, Leaving<F>)>,
}

/// What is to be done for a connection that has left.
#[derive(Debug, PartialEq, Eq)]
pub enum Do<F> {
    /// End what it has in flight.
    Cancel(Id),
    /// Nothing of it is in flight: this is the last of its file.
    Close(Id, F),
}

/// A deliberate mistake, for the tests that must find it.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A place is given out again under the generation that it had.
    SameGeneration,
    /// A file is closed when its connection leaves, whatever is in flight.
    EarlyClose,
    /// What ends is taken for the newest occupant's.
    EndsForNewest,
}

/// All connections `T`, each over a file `F`.
pub struct Table<T, F> {
    places: Vec<Place<T, F>>,
    free: Vec<u32>,
    /// Taken out, and their turn to be closed has come.
    closing: BTreeMap<Id, Leaving<F>>,
    /// Taken out, and it has not.
    queue: VecDeque<(Id, Leaving<F>)>,
    /// Those of `closing` of which the caller has still to hear.
    to_do: VecDeque<Do<F>>,
    #[cfg(test)]
    pub mutant: Option<Mutant>,
}

impl<T, F> Default for Table<T, F> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            closing: BTreeMap::new(),
            queue: VecDeque::new(),
            to_do: VecDeque::new(),
            #[cfg(test)]
            mutant: None,
        }
    }
}

impl<T, F> Table<T, F> {
    #[cfg(test)]
    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Puts one in, with nothing in flight.
    pub fn insert(&mut self, value: T, file: F) -> Id {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place { generation: 0, inside: None });
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        assert!(place.inside.is_none(), "a place was given out twice");
        place.inside = Some((value, Leaving { file, in_flight: 0 }));
        Id { index, generation: place.generation }
    }

    fn inside(&mut self, id: Id) -> Option<&mut (T, Leaving<F>)> {
        let place = &mut self.places[id.index as usize];
        place.inside.as_mut().filter(|_| place.generation == id.generation)
    }

    /// One of them, unless it is gone.
    pub fn get(&mut self, id: Id) -> Option<&mut T> {
        self.inside(id).map(|(value, _)| value)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.places.iter().filter_map(|place| place.inside.as_ref()).map(|(value, _)| value)
    }

    /// An operation of a connection begins.
    pub fn begins(&mut self, id: Id) {
        self.inside(id).expect("only who is there begins something").1.in_flight += 1;
    }

    /// An operation of a connection, that may be gone by now, ended.
    pub fn ends(&mut self, id: Id) {
        #[cfg(test)]
        let id = if self.is(Mutant::EndsForNewest) {
            Id { generation: self.places[id.index as usize].generation, ..id }
        } else {
            id
        };
        if let Some((_, leaving)) = self.inside(id) {
            return leaving.ended();
        }
        if let Some(leaving) = self.closing.get_mut(&id) {
            leaving.ended();
            if leaving.in_flight == 0 {
                let Leaving { file, .. } = self.closing.remove(&id).expect("found just now");
                self.to_do.push_back(Do::Close(id, file));
                self.go_on();
            }
        } else if let Some((_, leaving)) = self.queue.iter_mut().find(|(other, _)| *other == id) {
            leaving.ended();
        }
    }

    /// Takes one out; its file is closed in its turn, when nothing of it is in flight any more.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.inside(id)?;
        let place = &mut self.places[id.index as usize];
        let (value, leaving) = place.inside.take()?;
        #[cfg(test)]
        let stays = self.mutant == Some(Mutant::SameGeneration);
        #[cfg(not(test))]
        let stays = false;
        if !stays {
            place.generation = place.generation.wrapping_add(1);
        }
        self.free.push(id.index);
        #[cfg(test)]
        if self.is(Mutant::EarlyClose) {
            self.to_do.push_back(Do::Close(id, leaving.file));
            return Some(value);
        }
        self.queue.push_back((id, leaving));
        self.go_on();
        Some(value)
    }

    /// Lets those whose turn has come be closed.
    fn go_on(&mut self) {
        while self.closing.len() < CLOSING_MAX
            && let Some((id, leaving)) = self.queue.pop_front()
        {
            if leaving.in_flight == 0 {
                self.to_do.push_back(Do::Close(id, leaving.file));
                continue;
            }
            self.closing.insert(id, leaving);
            self.to_do.push_back(Do::Cancel(id));
        }
    }

    /// What is to be done next for those that have left.
    pub fn next_to_do(&mut self) -> Option<Do<F>> {
        self.to_do.pop_front()
    }

    /// How many are being closed, and how many wait for that.
    pub fn leaving(&self) -> (usize, usize) {
        (self.closing.len(), self.queue.len())
    }
}

impl<F> Leaving<F> {
    fn ended(&mut self) {
        self.in_flight = self.in_flight.checked_sub(1).expect("an operation ended that was not begun");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_has_another_name_and_what_comes_late_is_nobodys() {
        let mut table = Table::default();
        let first = table.insert('a', 10);
        table.begins(first);
        assert_eq!(table.remove(first), Some('a'));
        assert_eq!((table.next_to_do(), table.leaving()), (Some(Do::Cancel(first)), (1, 0)));
        let second = table.insert('b', 11);
        assert!(second.index == first.index && second != first);
        assert_eq!(
            (table.get(first).copied(), table.get(second).copied(), table.remove(first)),
            (None, Some('b'), None)
        );
        table.ends(first);
        assert_eq!((table.next_to_do(), table.next_to_do()), (Some(Do::Close(first, 10)), None));
        assert_eq!(table.iter().collect::<Vec<_>>(), [&'b']);
    }

    #[test]
    fn however_many_end_at_once_eight_are_closed_at_a_time_in_order() {
        let mut table = Table::default();
        let ids: Vec<Id> = (0..100).map(|n| table.insert(n, n)).collect();
        ids.iter().for_each(|id| (0..2).for_each(|_| table.begins(*id)));
        ids.iter().for_each(|id| assert!(table.remove(*id).is_some()));
        assert_eq!(table.leaving(), (CLOSING_MAX, 100 - CLOSING_MAX));
        // One whose operations end by themselves before its turn is closed in its turn, without more.
        (0..2).for_each(|_| table.ends(ids[20]));
        let (mut cancelled, mut closed) = (Vec::new(), Vec::new());
        while let Some(act) = table.next_to_do() {
            match act {
                Do::Cancel(id) => {
                    cancelled.push(id);
                    (0..2).for_each(|_| table.ends(id));
                }
                Do::Close(_, file) => closed.push(file),
            }
            assert!(table.leaving().0 <= CLOSING_MAX);
        }
        assert_eq!((closed.len(), cancelled.len(), table.leaving()), (100, 99, (0, 0)));
        assert!(cancelled.is_sorted_by_key(|id| id.index));
    }

    #[test]
    #[should_panic = "an operation ended that was not begun"]
    fn an_operation_that_ends_twice_is_noticed() {
        let mut table = Table::default();
        let id = table.insert((), ());
        table.begins(id);
        table.ends(id);
        table.ends(id);
    }
}
