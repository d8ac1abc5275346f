//! What a region must hold to (R56, R60), and whether it did.

use super::{AT_ONCE, Outcome, PartTally};
use std::fmt;

/// One thing that is to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bar {
    /// Other zones' p99 grows by at most 10 % over their quiet one.
    OthersP99,
    /// Of other zones' calls at most one in ten thousand goes wrong.
    OthersErrors,
    /// What the region knows itself is told of the zone in trouble as of any: at most one call in ten thousand goes wrong.
    Reads,
    /// Each call is answered within its five seconds, whatever the answer.
    InTime,
    /// What the zone in trouble cannot do is refused at once: at most one call in a hundred waits in vain.
    AtOnce,
    /// When the trouble is over the zone is as good as before.
    WellAgain,
    /// In the end what the region knows is what the zones have.
    Truth,
}

impl Bar {
    /// As people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OthersP99 => "others-p99",
            Self::OthersErrors => "others-errors",
            Self::Reads => "reads",
            Self::InTime => "in-time",
            Self::AtOnce => "at-once",
            Self::WellAgain => "well-again",
            Self::Truth => "truth",
        }
    }
}

/// A bar that was missed, and by how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Which.
    pub bar: Bar,
    /// In which part.
    pub part: &'static str,
    /// In figures.
    pub by: String,
}

impl fmt::Display for Missed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.bar.name(), self.part, self.by)
    }
}

/// At most one in ten thousand.
fn is_rare(wrong: u64, calls: u64) -> bool {
    wrong * 10_000 <= calls
}

/// What was missed, in order.
pub(super) fn missed(outcome: &Outcome) -> Vec<Missed> {
    let Some(quiet) = outcome.part("quiet") else { return Vec::new() };
    let quiet_us = quiet.others.within_us(990);
    let mut all: Vec<Missed> = outcome.parts.iter().flat_map(|part| missed_in(part, quiet_us)).collect();
    all.extend(outcome.untrue.iter().map(|by| Missed { bar: Bar::Truth, part: "the end", by: by.clone() }));
    all
}

fn missed_in(part: &PartTally, quiet_us: u64) -> Vec<Missed> {
    let (others, afflicted) = (&part.others, &part.afflicted);
    let mut all = Vec::new();
    let mut hold = |bar, holds: bool, by: String| {
        if !holds {
            all.push(Missed { bar, part: part.name, by });
        }
    };
    let trouble = matches!(part.name, "slow" | "gone");
    let p99 = others.within_us(990);
    let grown = format!("{p99} us instead of {quiet_us} us");
    hold(Bar::OthersP99, !trouble || p99 * 10 <= quiet_us * 11, grown);
    let (wrong, calls) = (others.wrong(), others.calls);
    hold(Bar::OthersErrors, is_rare(wrong, calls), format!("{wrong} of {calls}: {}", others.kinds()));
    let (wrong, calls) = (afflicted.reading_errors, afflicted.calls - afflicted.asking);
    hold(Bar::Reads, is_rare(wrong, calls), format!("{wrong} of {calls}"));
    let late = |kind| others.of(kind) + afflicted.of(kind);
    let (late, never) = (late("late"), late("unanswered"));
    hold(Bar::InTime, late + never == 0, format!("{late} late, {never} never answered"));
    let (vain, asking) = (afflicted.waited_in_vain, afflicted.asking);
    let by = format!("{vain} of {asking} waited for more than {} ms for nothing", AT_ONCE.as_millis());
    hold(Bar::AtOnce, vain * 100 <= asking, by);
    let well = part.name.starts_with("again") || part.name == "quiet";
    let (wrong, calls) = (afflicted.wrong(), afflicted.calls);
    hold(Bar::WellAgain, !well || is_rare(wrong, calls), format!("{wrong} of {calls}: {}", afflicted.kinds()));
    all
}
