//! When requests were answered, and what a client makes of that: how long nothing was, and how long requests took. Plain numbers, in
//! nanoseconds of one clock.

/// What a request was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A read of the probe.
    ProbeRead,
    /// A write of the probe.
    ProbeWrite,
    /// One of the load's.
    Load,
}

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub struct Tick {
    /// When it was asked.
    pub from: u64,
    /// When it was answered.
    pub to: u64,
    /// What it was.
    pub kind: Kind,
}

/// What a span of time looked like to the clients.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// The longest time without an answered read of the probe, or of the probe's writes: whichever is longer.
    pub gap: u64,
    /// That of reads alone.
    pub gap_read: u64,
    /// That of writes alone.
    pub gap_write: u64,
    /// When something was first answered, after the span's beginning; the whole span when nothing was.
    pub first: u64,
    /// Answers to the probe.
    pub probes: u64,
    /// Answers to the load.
    pub loads: u64,
    /// How long the requests took that were answered in it: the median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The longest.
    pub longest: u64,
}

/// Answers come nearly in order: one is at most so much older than another that was noted before it.
const DISORDER: u64 = 1_000_000_000;

/// Looks at the time from `from` to `to`.
pub fn span(ticks: &[Tick], from: u64, to: u64) -> Span {
    let near = ticks.iter().rev().take_while(|tick| tick.to + DISORDER >= from);
    let within: Vec<&Tick> = near.filter(|tick| (from..=to).contains(&tick.to)).collect();
    let gap = |kind| {
        let answers = within.iter().filter(|tick| tick.kind == kind).map(|tick| tick.to);
        let mut edges: Vec<u64> = answers.chain([from, to]).collect();
        edges.sort_unstable();
        edges.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    };
    let (gap_read, gap_write) = (gap(Kind::ProbeRead), gap(Kind::ProbeWrite));
    let mut took: Vec<u64> = within.iter().map(|tick| tick.to - tick.from).collect();
    took.sort_unstable();
    let percentile = |percent: usize| took.get((took.len() * percent / 100).min(took.len().saturating_sub(1)));
    let first = within.iter().map(|tick| tick.to).min().unwrap_or(to);
    let loads = within.iter().filter(|tick| tick.kind == Kind::Load).count() as u64;
    Span {
        gap: gap_read.max(gap_write),
        gap_read,
        gap_write,
        first: first.saturating_sub(from),
        probes: within.len() as u64 - loads,
        loads,
        p50: percentile(50).copied().unwrap_or(0),
        p99: percentile(99).copied().unwrap_or(0),
        longest: percentile(100).copied().unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(from: u64, to: u64, kind: Kind) -> Tick {
        Tick { from, to, kind }
    }

    #[test]
    fn a_gap_is_the_longest_time_without_an_answer_of_one_kind() {
        let ticks = [
            tick(1, 2, Kind::ProbeWrite),
            tick(3, 4, Kind::ProbeRead),
            tick(5, 30, Kind::ProbeWrite),
            tick(11, 12, Kind::ProbeRead),
            tick(31, 32, Kind::Load),
        ];
        let seen = span(&ticks, 0, 40);
        assert_eq!((seen.gap, seen.gap_read, seen.gap_write), (28, 28, 28));
        let seen = span(&ticks, 0, 30);
        assert_eq!((seen.gap_read, seen.gap_write), (18, 28));
        assert_eq!((seen.probes, seen.loads, seen.longest), (4, 0, 25));
        assert_eq!((seen.first, span(&ticks, 5, 30).first, span(&ticks, 33, 40).first), (2, 7, 7));
    }

    #[test]
    fn a_stall_that_has_not_ended_counts_to_the_end_of_the_span() {
        assert_eq!(span(&[], 100, 350).gap, 250);
        let ticks = [tick(90, 110, Kind::ProbeWrite), tick(90, 110, Kind::ProbeRead), tick(400, 401, Kind::ProbeRead)];
        assert_eq!(span(&ticks, 100, 350).gap, 240);
    }

    #[test]
    fn percentiles_are_of_what_was_answered_in_the_span() {
        let ticks: Vec<Tick> = (1..=200).map(|n| tick(1000, 1000 + n, Kind::Load)).collect();
        let seen = span(&ticks, 0, 2000);
        assert_eq!((seen.p50, seen.p99, seen.longest, seen.loads), (101, 199, 200, 200));
        assert_eq!(span(&ticks, 1101, 1101).loads, 1);
    }
}
