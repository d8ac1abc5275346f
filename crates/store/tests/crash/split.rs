//! Spreads work over the processor's cores. What comes out does not depend on how many there are.

use super::Counts;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Does each item, in about their order. The first that panics ends all.
pub fn over<T: Sync>(items: &[T], work: impl Fn(&T) -> Counts + Sync) -> Counts {
    let threads = thread::available_parallelism().map_or(1, |n| n.get());
    let (next, sum, panicked) = (AtomicUsize::new(0), Mutex::new(Counts::default()), Mutex::new(None));
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            match catch_unwind(AssertUnwindSafe(|| work(item))) {
                Ok(counts) => *sum.lock().expect("nobody panics with it") += counts,
                Err(why) => {
                    next.store(items.len(), Ordering::Relaxed);
                    *panicked.lock().expect("nobody panics with it") = Some(why);
                }
            }
        }
    };
    thread::scope(|scope| (0..threads).for_each(|_| _ = scope.spawn(worker)));
    if let Some(why) = panicked.into_inner().expect("nobody panics with it") {
        resume_unwind(why);
    }
    sum.into_inner().expect("nobody panics with it")
}

/// Says what was being done if it panics.
pub fn about<T>(what: impl Fn() -> String, work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied());
        panic!("{}: {}", what(), text.unwrap_or("panicked"));
    })
}
