//! Whether a zone is worth asking. It opens when nothing of several commands came back in time, and lets one probe through after a while, or when the link is there
//! again; what becomes of that decides.
//!
//! ```text
//!            so many failures in a row                    a while, or a new link
//!   Closed ------------------------------> Open --------------------------------> one probe
//!     ^                                     ^                                      |    |
//!     |                                     '---------- no answer in time ---------'    |
//!     '-------------------------------- any answer -------------------------------------'
//! ```
//!
//! It refuses to know what a probe is: the first command that is said, whether somebody waits for it or not.

use base::Time;
use base::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All may pass.
    Closed { failures: u32 },
    /// None passes before then.
    Open { until: Time },
    /// One may pass, or has passed; without an answer by then it failed.
    Probing { said: bool, until: Time },
}

/// Of one class of operations of one zone.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    state: State,
    /// Failures in a row after which it opens.
    after: u32,
    /// How long it stays open.
    rests: Duration,
    /// How long a probe is waited for.
    patience: Duration,
}

impl Breaker {
    /// Closed.
    pub(crate) fn new(after: u32, rests: Duration, patience: Duration) -> Self {
        Self { state: State::Closed { failures: 0 }, after, rests, patience }
    }

    /// Whether all may pass.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// Time goes on, whoever looks and when.
    fn look(&mut self, now: Time) {
        // What became of a probe nobody heard, if its link went or the truth had to be read again: it failed when its time was over.
        if let State::Probing { said: true, until } = self.state
            && until <= now
        {
            self.state = State::Open { until: until + self.rests };
        }
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::Probing { said: false, until: now + self.patience };
        }
    }

    /// Whether a command may be said; it is counted as said.
    pub(crate) fn say(&mut self, now: Time) -> bool {
        self.look(now);
        match self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::Probing { said: true, .. } => false,
            State::Probing { said: false, .. } => {
                self.state = State::Probing { said: true, until: now + self.patience };
                true
            }
        }
    }

    /// Whether somebody may wait. `idle`: nothing else could be the probe. Whoever is let in by that is it, and has a while to be said.
    pub(crate) fn admits(&mut self, now: Time, idle: bool) -> bool {
        self.look(now);
        match self.state {
            State::Closed { .. } => true,
            State::Open { .. } => false,
            State::Probing { said, .. } => !said && idle,
        }
    }

    /// Something was answered.
    pub(crate) fn is_answered(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// Something was not answered in time.
    pub(crate) fn fails(&mut self, now: Time) {
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.after => State::Closed { failures: failures + 1 },
            State::Closed { .. } | State::Probing { said: true, .. } => State::Open { until: now + self.rests },
            // What fails late, of what was said before, says nothing new.
            other => other,
        };
    }

    /// The link is there again: it is tried at once.
    pub(crate) fn is_reached(&mut self, now: Time) {
        if !self.is_closed() {
            self.state = State::Probing { said: false, until: now + self.patience };
        }
    }

    /// When a probe may pass that may not now; none when it may, or when all may.
    pub(crate) fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Closed { .. } | State::Probing { said: false, .. } => None,
            State::Open { until } | State::Probing { said: true, until } => Some(until),
        }
    }
}
