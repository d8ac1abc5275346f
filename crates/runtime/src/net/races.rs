//! The table of connections in every order of events: threads play the kernel, which ends operations when it likes, while the loop closes and opens
//! connections over file numbers that are used again as soon as they are free. Explored by shuttle.
//!
//! What must hold: what a connection is given was read from its own socket; nothing that came on a socket while its connection lived is lost to
//! another; no file is closed under an operation; and in the end every file is closed.

use super::table::{Do, Id, Mutant, Table};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;
use std::collections::{BTreeMap, VecDeque};

/// Rounds of opening and closing, connections at a time, operations of each, and threads that end them.
const ROUNDS: u32 = 3;
const CONNS: usize = 2;
const OPERATIONS: usize = 2;
const KERNELS: usize = 2;
/// Schedules that are tried.
const SCHEDULES: usize = 4000;

/// The kernel's side: which socket each number is, what is to be done, what was done.
#[derive(Default)]
struct Kernel {
    sockets: BTreeMap<u32, u32>,
    next_socket: u32,
    asked: VecDeque<(Id, u32)>,
    /// Which operation, and the socket it read from; none when it was cancelled.
    done: VecDeque<(Id, u32, Option<u32>)>,
    over: bool,
}

impl Kernel {
    /// Opens a socket under the lowest number that is free, as kernels do.
    fn open(&mut self) -> (u32, u32) {
        let number = (0..).find(|n| !self.sockets.contains_key(n)).expect("there are numbers enough");
        self.next_socket += 1;
        self.sockets.insert(number, self.next_socket);
        (number, self.next_socket)
    }

    /// Ends the next operation, by whatever is behind its number now.
    fn work(&mut self) -> bool {
        let Some((id, number)) = self.asked.pop_front() else { return !self.over };
        let socket = *self.sockets.get(&number).expect("an operation on a number that is nobody's");
        self.done.push_back((id, number, Some(socket)));
        true
    }

    fn cancel(&mut self, id: Id) {
        let (cancelled, left): (VecDeque<_>, VecDeque<_>) = self.asked.drain(..).partition(|(other, _)| *other == id);
        self.asked = left;
        self.done.extend(cancelled.into_iter().map(|(id, number)| (id, number, None)));
    }
}

/// The loop's side. A connection knows which socket it was made over.
struct Loop {
    kernel: Arc<Mutex<Kernel>>,
    table: Table<u32, u32>,
}

impl Loop {
    fn open(&mut self) -> Id {
        let (number, socket) = self.kernel.lock().unwrap().open();
        let id = self.table.insert(socket, number);
        for _ in 0..OPERATIONS {
            self.table.begins(id);
            self.kernel.lock().unwrap().asked.push_back((id, number));
        }
        id
    }

    /// Takes what ended and does what is to be done for those that left.
    fn turn(&mut self) {
        let done = std::mem::take(&mut self.kernel.lock().unwrap().done);
        for (id, _, read) in done {
            if let (Some(conn), Some(read)) = (self.table.get(id), read) {
                assert_eq!(*conn, read, "a connection was given what came on another's socket");
            }
            self.table.ends(id);
        }
        while let Some(act) = self.table.next_to_do() {
            let mut kernel = self.kernel.lock().unwrap();
            match act {
                Do::Cancel(id) => kernel.cancel(id),
                Do::Close(_, number) => {
                    let busy = kernel.asked.iter().any(|(_, other)| *other == number);
                    assert!(!busy, "a file was closed under an operation");
                    assert!(kernel.sockets.remove(&number).is_some(), "a file was closed twice");
                }
            }
        }
    }
}

fn story(mutant: Option<Mutant>) {
    let kernel: Arc<Mutex<Kernel>> = Arc::default();
    let threads: Vec<_> = (0..KERNELS)
        .map(|_| {
            let kernel = kernel.clone();
            thread::spawn(move || {
                while kernel.lock().unwrap().work() {
                    thread::yield_now();
                }
            })
        })
        .collect();
    let mut here = Loop { kernel: kernel.clone(), table: Table::default() };
    here.table.mutant = mutant;
    for _ in 0..ROUNDS {
        let ids: Vec<Id> = (0..CONNS).map(|_| here.open()).collect();
        here.turn();
        // All of them at once, and others in their places before what they had in flight has ended.
        ids.into_iter().for_each(|id| assert!(here.table.remove(id).is_some()));
        here.turn();
    }
    while here.table.leaving() != (0, 0) {
        here.turn();
        thread::yield_now();
    }
    here.turn();
    kernel.lock().unwrap().over = true;
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(kernel.lock().unwrap().sockets.is_empty(), "a file was never closed");
}

#[test]
fn no_order_of_closes_late_ends_and_reuse_hurts_anybody() {
    shuttle::check_random(|| story(None), SCHEDULES);
    shuttle::check_pct(|| story(None), SCHEDULES, 3);
}

#[test]
#[should_panic] // By what a connection is given or by what it is said to have in flight, whichever comes first.
fn a_place_given_out_again_under_its_old_name_is_found() {
    shuttle::check_random(|| story(Some(Mutant::SameGeneration)), SCHEDULES);
}

#[test]
#[should_panic = "a file was closed under an operation"]
fn a_file_closed_too_early_is_found() {
    shuttle::check_random(|| story(Some(Mutant::EarlyClose)), SCHEDULES);
}

#[test]
#[should_panic]
fn an_end_counted_for_whoever_has_the_place_now_is_found() {
    shuttle::check_random(|| story(Some(Mutant::EndsForNewest)), SCHEDULES);
}
