//! One line on standard error for each event worth one, with wall time; and never a flood of them.

mod queue;

pub use queue::Queue;

use crate::clock::Wall;
use base::Time;
use base::bucket::Bucket;
use base::map::Map;
use base::time::Duration;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;

/// Lines about one subject at once; afterwards one each [`EVERY`].
const BURST: u64 = 5;
/// Between lines about one subject, when it never stops.
const EVERY: Duration = Duration::from_secs(1);
/// Subjects remembered. Beyond that all are forgotten at once, which costs a few lines too many.
const SUBJECTS_MAX: usize = 1024;

/// Writes a line about `me`. For what happens once; what may happen often goes through a [`Log`], what happens all the time through a [`Queue`].
pub fn line(me: &dyn fmt::Display, text: fmt::Arguments<'_>) {
    line_at(Wall::now(), me, text);
}

fn line_at(at: Wall, me: &dyn fmt::Display, text: fmt::Arguments<'_>) {
    // Nobody can be told that standard error is gone.
    let _ = writeln!(std::io::stderr(), "{at} {me} {text}");
}

/// A log that limits what is said about each subject, so that a storm of resets is a few lines and a count.
pub struct Log {
    me: String,
    subjects: Map<u64, Subject>,
}

struct Subject {
    bucket: Bucket,
    withheld: u64,
}

impl Log {
    /// For the lines of `me`.
    pub fn new(me: &dyn fmt::Display) -> Self {
        Self { me: me.to_string(), subjects: Map::default() }
    }

    /// Whether a line about `subject` may be written now, and how many were withheld since the last.
    fn admit(&mut self, subject: &impl Hash, now: Time) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        subject.hash(&mut hasher);
        if self.subjects.len() >= SUBJECTS_MAX {
            self.subjects.clear();
        }
        let bucket = || Bucket::new(1_000 / EVERY.as_millis() as u64, BURST, now);
        let subject = self.subjects.entry(hasher.finish()).or_insert_with(|| Subject { bucket: bucket(), withheld: 0 });
        if subject.bucket.take(1, now) {
            Some(std::mem::take(&mut subject.withheld))
        } else {
            subject.withheld += 1;
            None
        }
    }

    /// Writes a line about `subject`, unless there were too many about it just now.
    pub fn say(&mut self, subject: &impl Hash, now: Time, text: fmt::Arguments<'_>) {
        match self.admit(subject, now) {
            Some(0) => line(&self.me, text),
            Some(withheld) => line(&self.me, format_args!("{text} ({withheld} lines like it were withheld)")),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_about_one_peer_is_a_few_lines_and_another_peer_is_still_heard() {
        let mut log = Log::new(&"test");
        let written = (0..10_000).filter(|_| log.admit(&"peer", Time::ZERO).is_some()).count();
        assert_eq!(written, 5);
        assert_eq!(log.admit(&"other", Time::ZERO), Some(0));
        assert_eq!(log.admit(&"peer", Time::ZERO + Duration::from_secs(1)), Some(9995));
    }

    #[test]
    fn the_subjects_remembered_are_bounded() {
        let mut log = Log::new(&"test");
        (0..10 * SUBJECTS_MAX).for_each(|n| assert!(log.admit(&n, Time::ZERO).is_some()));
        assert!(log.subjects.len() <= SUBJECTS_MAX);
    }
}
