//! Lines that a thread of its own writes, so many a second at most: whoever has something to say never waits for standard error, which may be a pipe that nobody
//! reads.
//!
//! A line that finds no room in the queue, or comes when the second's lines are used up, is left out. How many were is said in a line as soon as one may be written.

use super::line_at;
use crate::StartError;
use crate::clock::{Wall, monotonic};
use base::Time;
use base::bucket::Bucket;
use base::time::Duration;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Lines that wait for the thread, at most.
const LINES_MAX: usize = 1024;

/// A log of many lines. Dropping it writes what still waits, as far as the second allows.
#[derive(Debug)]
pub struct Queue {
    lines: Option<SyncSender<(Wall, String)>>,
    left_out: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// For the lines of `me`.
    pub fn new(me: &dyn Display, lines_per_s_max: u64) -> Result<Self, StartError> {
        let me = me.to_string();
        Self::with(lines_per_s_max, move |at, text| line_at(at, &me, format_args!("{text}")))
    }

    fn with(lines_per_s_max: u64, write: impl FnMut(Wall, &str) + Send + 'static) -> Result<Self, StartError> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let left_out = Arc::new(AtomicU64::new(0));
        let writer = Writer {
            bucket: Bucket::new(lines_per_s_max, lines_per_s_max, monotonic()),
            left_out: left_out.clone(),
            told: 0,
            write,
        };
        let spawned = std::thread::Builder::new().name("log".into()).spawn(move || writer.run(&waiting));
        let thread = spawned.map_err(|why| StartError::System { what: "the thread of the log", why })?;
        Ok(Self { lines: Some(lines), left_out, thread: Some(thread) })
    }

    /// Has a line written, or leaves it out. Never waits.
    pub fn say(&self, text: String) {
        let taken = self.lines.as_ref().is_some_and(|lines| lines.try_send((Wall::now(), text)).is_ok());
        if !taken {
            self.left_out.fetch_add(1, Relaxed);
        }
    }

    /// Lines that were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the hook.
            let _ = thread.join();
        }
    }
}

/// The end that writes.
struct Writer<W> {
    bucket: Bucket,
    left_out: Arc<AtomicU64>,
    /// How many of those were told of.
    told: u64,
    write: W,
}

impl<W: FnMut(Wall, &str)> Writer<W> {
    fn run(mut self, waiting: &Receiver<(Wall, String)>) {
        loop {
            let next = match self.owes_until(monotonic()) {
                None => waiting.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(wait) => waiting.recv_timeout(wait),
            };
            match next {
                Ok((at, text)) => self.line(at, &text, monotonic()),
                Err(RecvTimeoutError::Timeout) => self.tell(monotonic()),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        // The last word is always written: what is left out after it is nothing.
        self.tell_anyway();
    }

    /// How long until it may be said how many lines were left out, if any were.
    fn owes_until(&mut self, now: Time) -> Option<Duration> {
        (self.left_out.load(Relaxed) > self.told)
            .then(|| self.bucket.ready_at(1, now).map_or(Duration::from_secs(1), |at| at.since(now)))
    }

    fn line(&mut self, at: Wall, text: &str, now: Time) {
        self.tell(now);
        if self.bucket.take(1, now) {
            (self.write)(at, text);
        } else {
            self.left_out.fetch_add(1, Relaxed);
        }
    }

    /// Says how many were left out, if any were and a line may be written.
    fn tell(&mut self, now: Time) {
        if self.left_out.load(Relaxed) > self.told && self.bucket.take(1, now) {
            self.tell_anyway();
        }
    }

    fn tell_anyway(&mut self) {
        let left_out = self.left_out.load(Relaxed);
        if left_out > self.told {
            (self.write)(Wall::now(), &format!("lines left out={}", left_out - self.told));
            self.told = left_out;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    fn writer(lines_per_s_max: u64, written: &Arc<Mutex<Vec<String>>>) -> Writer<impl FnMut(Wall, &str) + use<>> {
        let written = written.clone();
        let write = move |_: Wall, text: &str| written.lock().unwrap().push(text.to_string());
        let bucket = Bucket::new(lines_per_s_max, lines_per_s_max, Time::ZERO);
        Writer { bucket, left_out: Arc::default(), told: 0, write }
    }

    #[test]
    fn a_storm_of_lines_is_as_many_as_the_second_allows_and_a_count() {
        let written = Arc::default();
        let mut w = writer(3, &written);
        (0..10).for_each(|n| w.line(Wall::now(), &n.to_string(), Time::ZERO));
        assert_eq!(*written.lock().unwrap(), ["0", "1", "2"]);
        let wait = w.owes_until(Time::ZERO).unwrap();
        w.tell(Time::ZERO + wait);
        assert_eq!(*written.lock().unwrap(), ["0", "1", "2", "lines left out=7"]);
        assert_eq!(w.owes_until(Time::ZERO + wait), None);
        // A second later the count is behind, and everything is written again.
        let later = Time::ZERO + Duration::from_secs(2);
        w.line(Wall::now(), "later", later);
        assert_eq!(written.lock().unwrap()[4..], ["later"]);
    }

    #[test]
    fn whoever_says_something_does_not_wait_for_a_writer_that_stands_still() {
        let (let_go, stands) = channel::<()>();
        let written = Arc::new(AtomicU64::new(0));
        let count = written.clone();
        let queue = Queue::with(u64::MAX >> 32, move |_, _| {
            let _ = stands.recv();
            count.fetch_add(1, Relaxed);
        });
        let queue = queue.unwrap();
        let said = 3 * LINES_MAX as u64;
        (0..said).for_each(|n| queue.say(n.to_string()));
        let left_out = queue.left_out();
        assert!(left_out >= said - LINES_MAX as u64 - 1, "{left_out}");
        drop(let_go);
        drop(queue);
        // One more tells how many were left out.
        assert_eq!(written.load(Relaxed), said - left_out + 1);
    }
}
