//! Who may be called now. At most [`OPENING_MAX`] connections of this side are being opened at a time, the hello included; the rest wait in order.
//!
//! Calls that nobody answers must not keep others from being made. So while somebody waits, a call that has not been answered for as long as makes
//! a peer silent gives its place up; and lines whose last call was not answered take half of the places at most.

use super::line::Line;
use super::table::Id;
use base::Time;
use base::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use wire::keepalive::SILENT_AFTER;

/// Connections that are being opened at a time, at most.
pub const OPENING_MAX: usize = 8;
/// Of those, of lines whose last call was not answered.
const HOPELESS_MAX: usize = OPENING_MAX / 2;

struct Call {
    id: Id,
    at: Time,
    hopeless: bool,
}

/// Calls under way, oldest first, and lines that wait.
#[derive(Default)]
pub struct Opening {
    calls: Vec<Call>,
    /// Lines with hope and without, each in order.
    waiting: [VecDeque<Line>; 2],
    known: BTreeSet<Line>,
}

impl Opening {
    fn has_place(&self, hopeless: bool) -> bool {
        let of_its_kind = self.calls.iter().filter(|call| call.hopeless).count();
        self.calls.len() < OPENING_MAX && (!hopeless || of_its_kind < HOPELESS_MAX)
    }

    /// Whether a line may be opened now. If not it waits, once.
    pub fn admits(&mut self, line: Line, hopeless: bool) -> bool {
        if self.known.contains(&line) {
            return false;
        }
        if self.has_place(hopeless) && self.waiting[usize::from(hopeless)].is_empty() {
            return true;
        }
        self.known.insert(line);
        self.waiting[usize::from(hopeless)].push_back(line);
        false
    }

    /// A call is made.
    pub fn begins(&mut self, id: Id, hopeless: bool, now: Time) {
        self.calls.push(Call { id, at: now, hopeless });
    }

    /// A connection is open or gone; maybe it was being opened.
    pub fn ends(&mut self, id: Id) {
        self.calls.retain(|call| call.id != id);
    }

    /// The next line that may be opened now, of those that waited; and whether it is without hope.
    pub fn next_line(&mut self) -> Option<(Line, bool)> {
        let hopeless =
            [false, true].into_iter().find(|h| self.has_place(*h) && !self.waiting[usize::from(*h)].is_empty())?;
        let line = self.waiting[usize::from(hopeless)].pop_front()?;
        self.known.remove(&line);
        Some((line, hopeless))
    }

    /// The call that gives its place up now, if one must.
    pub fn gives_way(&self, now: Time) -> Option<Id> {
        if self.waiting.iter().all(VecDeque::is_empty) {
            return None;
        }
        self.calls.first().filter(|call| now.since(call.at) >= SILENT_AFTER).map(|call| call.id)
    }

    /// When to look whether one must.
    pub fn deadline(&self) -> Option<Time> {
        let waits = self.waiting.iter().any(|line| !line.is_empty());
        self.calls.first().filter(|_| waits).map(|call| call.at + SILENT_AFTER)
    }

    /// How many are being opened, and how many wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.calls.len(), self.known.len())
    }
}

/// Breaks of connections in the last while: many at once are mended one after the other.
#[derive(Default)]
pub struct Breaks {
    since: Option<Time>,
    count: u64,
}

/// Breaks within so long are one event.
const TOGETHER: Duration = Duration::from_millis(100);
/// So many of them are mended at once: what one process that ends takes with it.
const FEW: u64 = 4;
/// Beyond that, each break spreads the next ones over so much more time.
const EACH: Duration = Duration::from_millis(1);

impl Breaks {
    /// One more. How long to wait at most before it is mended.
    pub fn one_more(&mut self, now: Time) -> Duration {
        if self.since.is_none_or(|since| now.since(since) >= TOGETHER) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count += 1;
        EACH * self.count.saturating_sub(FEW).min(1000) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::Table;
    use super::*;
    use base::NodeId;
    use base::io::net::{Link, Peer};

    fn line(n: u64) -> Line {
        Line::Link(Link::to(Peer::Node(NodeId(n))))
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn eight_are_opened_at_a_time_and_the_rest_wait_once_and_in_order() {
        let (mut opening, mut table) = (Opening::default(), Table::<(), ()>::default());
        let mut ids = Vec::new();
        for n in 0..20 {
            if opening.admits(line(n), false) {
                ids.push(table.insert((), ()));
                opening.begins(ids[n as usize], false, at(0));
            }
            assert!(!opening.admits(line(19), false) || n < 8);
        }
        assert_eq!((ids.len(), opening.counts()), (8, (8, 12)));
        assert!(opening.next_line().is_none());
        for (n, id) in ids.iter().enumerate() {
            opening.ends(*id);
            let (next, hopeless) = opening.next_line().unwrap();
            assert!(!hopeless && (next == line(19) || next < line(8 + n as u64 + 1)));
            let id = table.insert((), ());
            opening.begins(id, hopeless, at(1));
        }
        assert_eq!(opening.counts(), (8, 4));
    }

    #[test]
    fn calls_that_nobody_answers_leave_half_of_the_places_and_give_theirs_up_while_somebody_waits() {
        let (mut opening, mut table) = (Opening::default(), Table::<(), ()>::default());
        let mut call = |opening: &mut Opening, hopeless, ms| {
            let id = table.insert((), ());
            opening.begins(id, hopeless, at(ms));
            id
        };
        let mut ask = |opening: &mut Opening, lines: core::ops::Range<u64>, hopeless, ms| {
            let admitted = |n: &u64| {
                let admitted = opening.admits(line(*n), hopeless);
                if admitted {
                    call(opening, hopeless, ms);
                }
                admitted
            };
            lines.filter(admitted).count()
        };
        assert_eq!(ask(&mut opening, 0..20, true, 0), 4);
        assert_eq!(ask(&mut opening, 20..40, false, 1), 4);
        assert_eq!((opening.gives_way(at(249)), opening.deadline()), (None, Some(at(250))));
        let first = opening.gives_way(at(250)).unwrap();
        opening.ends(first);
        assert_eq!(opening.next_line(), Some((line(24), false)), "those with hope first");
        call(&mut opening, false, 250);
        let second = opening.gives_way(at(251)).unwrap();
        assert!(second != first);
        // Nobody waits: nobody gives way.
        let mut alone = Opening::default();
        call(&mut alone, false, 0);
        assert_eq!((alone.gives_way(at(9999)), alone.deadline()), (None, None));
    }

    #[test]
    fn a_few_breaks_are_mended_at_once_and_a_thousand_over_a_second() {
        let mut breaks = Breaks::default();
        let waits: Vec<Duration> = (0..1004).map(|_| breaks.one_more(at(5))).collect();
        assert!(waits[..4].iter().all(Duration::is_zero));
        assert_eq!((waits[4], waits[1003]), (Duration::from_millis(1), Duration::from_secs(1)));
        assert_eq!(breaks.one_more(at(105)), Duration::ZERO);
    }
}
