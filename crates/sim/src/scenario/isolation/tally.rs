//! What callers saw, part by part and crowd by crowd: how many, how long, and what went wrong.

use super::edge::Told;
use base::time::Duration;
use region::Refusal;
use std::collections::BTreeMap;

/// Of one part and one crowd of callers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Microseconds of each call that was answered.
    took_us: Vec<u64>,
    /// Calls, by what was wrong with them.
    pub errors: BTreeMap<&'static str, u64>,
    /// Of these, calls that no zone has to be asked for.
    pub reading_errors: u64,
    /// Of these, calls that were told no later than so.
    pub waited_in_vain: u64,
    /// Calls.
    pub calls: u64,
    /// Of these, calls that change something for which a zone has to be asked.
    pub asking: u64,
}

/// What was wrong with a call that was answered, if anything was.
pub(super) fn kind_of(told: &Told) -> Option<&'static str> {
    Some(match told {
        Told::Answer(_) => return None,
        Told::EdgeFull => "edge-full",
        Told::NotFound => "not-found",
        Told::Refused(Refusal::Busy { zone: Some(_) }) => "zone-busy",
        Told::Refused(Refusal::Busy { zone: None }) => "region-busy",
        Told::Refused(Refusal::TimedOut { .. }) => "timed-out",
        Told::Refused(Refusal::NoRoom(_)) => "no-room",
        Told::Refused(Refusal::Zone(_)) => "zone-cannot",
        Told::Refused(Refusal::Unknown) => "unknown",
        Told::Refused(_) => "other",
    })
}

impl Tally {
    /// A call ended so, after so long; `asks` whether a zone had to be asked.
    pub(super) fn add(&mut self, took: Option<Duration>, error: Option<&'static str>, asks: bool, in_vain: bool) {
        self.calls += 1;
        self.asking += u64::from(asks);
        self.took_us.extend(took.map(|took| took.as_micros() as u64));
        self.waited_in_vain += u64::from(in_vain && asks);
        if let Some(error) = error {
            *self.errors.entry(error).or_default() += 1;
            self.reading_errors += u64::from(!asks);
        }
    }

    /// The time within which so many of a thousand answered calls were answered, in microseconds.
    pub fn within_us(&self, permille: usize) -> u64 {
        let mut took = self.took_us.clone();
        took.sort_unstable();
        let at = (took.len() * permille).div_ceil(1000).saturating_sub(1);
        took.get(at).copied().unwrap_or_default()
    }

    /// Calls that went wrong.
    pub fn wrong(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Those of a kind.
    pub fn of(&self, kind: &str) -> u64 {
        self.errors.get(kind).copied().unwrap_or_default()
    }

    /// In words.
    pub fn kinds(&self) -> String {
        let kinds: Vec<String> = self.errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        kinds.join(", ")
    }
}
