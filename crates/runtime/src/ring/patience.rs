//! Whether to look a while before going to sleep.
//!
//! To wake a thread on a processor that is idle costs an interrupt between the two, and in a virtual machine two exits: 55 us until it runs and 20 us of the
//! time of whoever wakes it were measured, against 5 us when it looks by itself. So a loop whose waits are short looks for what comes before it sleeps (competitive spinning;
//! Karlin, Li, Manasse and Owicki, SOSP 1991). It gives the processor away at each look to whoever wants it.
//!
//! It does so only where it helps:
//! - Most of its last waits were short, and none was a pause. A loop at rest, which wakes for a few messages of its own now and then, does not look at all.
//! - Few things come at once. Where many do, what wakes one brings more with it, and rest makes the next batch larger.
//! - Nobody else has work: when the processor was away for long, it does not try again for a while.

use std::time::{Duration, Instant};

/// How long it looks at most. What a disk takes for one flushed write, and so what a write alone waits for at each hop, fits; a tenth of it helps nobody who waits for a disk.
const LOOK: Duration = Duration::from_micros(300);
/// What it takes to be woken, at the least: a wait in sleep that was no longer than both might have been a look.
const WAKING: Duration = Duration::from_micros(60);
/// Of the last eight waits so many must have been short.
const SHORT_OF_EIGHT: u32 = 5;
/// A wait of so long is a pause: what was before it says nothing of what comes now. The timers and keepalives of a process at rest lie further apart, what a
/// busy disk takes does not.
const PAUSE: Duration = Duration::from_millis(10);
/// Things that one turn brings on the average, in sixteenths: with more it does not look. One request alone brings one thing a turn.
const CROWD: u32 = 20;
/// So many bytes are as much to do as one thing more.
const MUCH_BYTES: usize = 16 << 10;
/// The processor was somebody else's for so long.
const AWAY: Duration = Duration::from_micros(500);
/// Then nobody looks for so long.
const REST: Duration = Duration::from_millis(20);

/// See the page above.
#[derive(Debug)]
pub struct Patience {
    /// Whether each of the last eight waits was short; the last is the lowest bit.
    short: u8,
    /// The average of what a turn brings, in sixteenths.
    crowd: u32,
    /// Until then it does not look.
    rests_until: Option<Instant>,
}

impl Patience {
    /// Of a loop that has not waited yet.
    pub fn new() -> Self {
        Self { short: 0, crowd: 0, rests_until: None }
    }

    /// How long to look now.
    pub fn look(&mut self, now: Instant) -> Duration {
        if self.rests_until.is_some_and(|until| now >= until) {
            self.rests_until = None;
        }
        let pays = self.short.count_ones() >= SHORT_OF_EIGHT && self.crowd <= CROWD && self.rests_until.is_none();
        if pays { LOOK } else { Duration::ZERO }
    }

    /// So many things came with one turn, with so many bytes.
    pub fn brought(&mut self, count: usize, bytes: usize) {
        let count = count.saturating_add(bytes / MUCH_BYTES).min(64) as u32 * 16;
        self.crowd = (self.crowd * 7 + count) / 8;
    }

    /// A wait ended after so long; in sleep or not.
    pub fn waited(&mut self, took: Duration, slept: bool) {
        if took >= PAUSE {
            self.short = 0;
            return;
        }
        let might_have_been = if slept { LOOK + WAKING } else { LOOK };
        self.short = self.short << 1 | u8::from(took <= might_have_been);
    }

    /// The processor was given away at `since`, and has come back just now.
    pub fn came_back(&mut self, since: Instant, now: Instant) {
        if now - since >= AWAY {
            self.rests_until = Some(now + REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_micros(30);
    const LATE: Duration = Duration::from_millis(3);

    fn after(waits: &[Duration]) -> Patience {
        let mut patience = Patience::new();
        waits.iter().for_each(|took| patience.waited(*took, true));
        patience
    }

    #[test]
    fn who_waits_shortly_looks_and_who_waits_long_sleeps() {
        let now = Instant::now();
        assert_eq!(Patience::new().look(now), Duration::ZERO);
        assert_eq!(after(&[SOON; 4]).look(now), Duration::ZERO);
        assert_eq!(after(&[SOON; 5]).look(now), LOOK);
        let mut busy = after(&[SOON; 8]);
        (0..3).for_each(|_| busy.waited(LATE, true));
        assert_eq!(busy.look(now), LOOK, "three long ones among eight");
        busy.waited(LATE, true);
        assert_eq!(busy.look(now), Duration::ZERO);
    }

    #[test]
    fn what_was_before_a_pause_says_nothing() {
        let now = Instant::now();
        let mut patience = after(&[SOON; 8]);
        patience.waited(PAUSE - SOON, true);
        assert_eq!(patience.look(now), LOOK, "long, but no pause");
        patience.waited(PAUSE, true);
        assert_eq!(patience.look(now), Duration::ZERO);
        (0..4).for_each(|_| patience.waited(SOON, true));
        assert_eq!(patience.look(now), Duration::ZERO, "the messages of a process at rest");
        patience.waited(SOON, true);
        assert_eq!(patience.look(now), LOOK);
    }

    #[test]
    fn a_sleep_is_short_by_what_the_waking_takes_longer() {
        let now = Instant::now();
        let between = LOOK + WAKING;
        assert_eq!(after(&[between; 8]).look(now), LOOK);
        let mut awake = Patience::new();
        (0..8).for_each(|_| awake.waited(between, false));
        assert_eq!(awake.look(now), Duration::ZERO);
    }

    #[test]
    fn where_much_comes_at_once_nobody_looks() {
        let now = Instant::now();
        let mut patience = after(&[SOON; 8]);
        (0..40).for_each(|_| patience.brought(1, 4096));
        assert_eq!(patience.look(now), LOOK);
        (0..40).for_each(|_| patience.brought(2, 4096));
        assert_eq!(patience.look(now), Duration::ZERO);
        (0..40).for_each(|_| patience.brought(1, 4096));
        assert_eq!(patience.look(now), LOOK);
        (0..40).for_each(|_| patience.brought(1, 128 << 10));
        assert_eq!(patience.look(now), Duration::ZERO, "one large thing is many");
        (0..1000).for_each(|_| patience.brought(usize::MAX, 1 << 20));
        assert_eq!(patience.look(now), Duration::ZERO);
    }

    #[test]
    fn who_loses_the_processor_to_work_rests() {
        let (now, mut patience) = (Instant::now(), after(&[SOON; 8]));
        patience.came_back(now, now + SOON);
        assert_eq!(patience.look(now + SOON), LOOK);
        patience.came_back(now, now + LATE);
        assert_eq!(patience.look(now + LATE), Duration::ZERO);
        assert_eq!(patience.look(now + LATE + REST), LOOK);
    }
}
