//! 2011's second failure, tried on a region of three zones: one zone's authority answers after ten minutes while ten times the usual creates hit it, and later all
//! of that zone is gone. What happens to the callers of the other zones is counted, with every mechanism of isolation at work and with each switched off alone.
//!
//! The region, the authorities and the nodes are the real machines, with metadata stores, disks and networks as in any seed. What is invented beside the world are
//! the callers, and the process before the region's machine: so many requests at once, each of which costs its one core some time.

mod bars;
mod callers;
mod edge;
mod tally;
mod town;

pub use bars::{Bar, Missed};
pub use tally::Tally;

use crate::clock::Moment;
use crate::world::Happening;
use base::Rng;
use base::time::Duration;
use callers::{Callers, Kind};
use edge::OWNER;
use region::{Mechanism, Phase, Stage};
use std::collections::BTreeSet;
use town::Town;

/// Its name among the scenarios.
pub const NAME: &str = "region-isolation";

/// A refusal that takes no longer came at once.
pub const AT_ONCE: Duration = Duration::from_millis(100);
/// Five seconds of a clock that may go wrong by a twentieth, and the way back.
pub const IN_TIME: Duration = Duration::from_millis(5500);

/// The alarm that ends a part.
const END: u64 = u64::MAX;

/// A region, its callers, and how long each part lasts.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Zones.
    pub zones: u16,
    /// Storage nodes of each.
    pub nodes: u64,
    /// The zone that gets into trouble.
    pub afflicted: u16,
    /// Requests that the edge holds at once, at most: the connections that the real one has.
    pub edge_max: usize,
    /// What a request costs the edge's core.
    pub cost: Duration,
    /// The mean time between two creates of one zone. As many delete and label, and three times as many read.
    pub create_gap: Duration,
    /// Volumes of each zone before anything is counted.
    pub volumes: usize,
    /// How late the slow authority's answers are.
    pub late_by: Duration,
    /// How long nothing is wrong.
    pub quiet: Duration,
    /// How long the authority is slow.
    pub slow: Duration,
    /// How long the zone is gone.
    pub gone: Duration,
    /// How long nothing is wrong after each.
    pub again: Duration,
}

impl Plan {
    /// The scenario: more than 30,000 calls of other zones in each part that counts, and trouble that lasts longer than its answers are late.
    pub fn full() -> Self {
        Self {
            zones: 3,
            nodes: 3,
            afflicted: 1,
            edge_max: 256,
            cost: Duration::from_millis(1),
            create_gap: Duration::from_millis(125),
            volumes: 100,
            late_by: Duration::from_secs(600),
            quiet: Duration::from_secs(330),
            slow: Duration::from_secs(660),
            gone: Duration::from_secs(330),
            again: Duration::from_secs(60),
        }
    }

    /// A short one, for tests: what is in the first seconds of trouble shows there as well, what is rare does not.
    pub fn small() -> Self {
        let s = Duration::from_secs;
        Self { volumes: 30, quiet: s(10), slow: s(15), gone: s(15), again: s(12), ..Self::full() }
    }
}

/// What callers saw in one part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartTally {
    /// Which.
    pub name: &'static str,
    /// Those of the zones where nothing was wrong.
    pub others: Tally,
    /// Those of the zone in trouble.
    pub afflicted: Tally,
}

/// What came of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// What was switched off.
    pub without: Option<Mechanism>,
    /// Its parts, in order.
    pub parts: Vec<PartTally>,
    /// The most requests that the edge held at once.
    pub most_held: usize,
    /// What the region and the zones did not agree upon in the end.
    pub untrue: Option<String>,
    /// Events of the world.
    pub events: u64,
    /// Of everything that happened, in order.
    pub trace_hash: u64,
}

impl Outcome {
    /// The part of that name.
    pub fn part(&self, name: &str) -> Option<&PartTally> {
        self.parts.iter().find(|part| part.name == name)
    }

    /// The bars that were missed.
    pub fn missed(&self) -> Vec<Missed> {
        bars::missed(self)
    }

    /// Whether it is as it must be: with everything at work nothing is missed, and what is switched off is missed somewhere.
    pub fn is_right(&self) -> bool {
        self.missed().is_empty() == self.without.is_none()
    }

    /// In words and figures.
    pub fn lines(&self) -> Vec<String> {
        let what = self.without.map_or("all at work".to_owned(), |mechanism| format!("without {}", mechanism.name()));
        let (held, events, hash) = (self.most_held, self.events, self.trace_hash);
        let mut lines = vec![format!("{what}: at most {held} requests held, {events} events, trace {hash:016x}")];
        lines.push(format!(
            "  {:<6} {:<9} {:>7} {:>9} {:>9} {:>7}  kinds",
            "part", "zones", "calls", "p50 us", "p99 us", "errors"
        ));
        for part in &self.parts {
            for (crowd, tally) in [("others", &part.others), ("afflicted", &part.afflicted)] {
                let (p50, p99) = (tally.within_us(500), tally.within_us(990));
                let (name, calls, wrong, kinds) = (part.name, tally.calls, tally.wrong(), tally.kinds());
                lines.push(format!("  {name:<6} {crowd:<9} {calls:>7} {p50:>9} {p99:>9} {wrong:>7}  {kinds}"));
            }
        }
        match (self.missed(), self.without) {
            (missed, None) if missed.is_empty() => lines.push("  every bar holds".into()),
            (missed, Some(_)) if missed.is_empty() => {
                lines.push("  nothing comes back: it is not shown to matter".into())
            }
            (missed, _) => lines.extend(missed.iter().map(|missed| format!("  missed {missed}"))),
        }
        lines
    }
}

/// Lets it happen once, without this mechanism.
pub fn run(plan: &Plan, without: Option<Mechanism>, seed: u64) -> Outcome {
    let rng = Rng::new(seed).split("isolation");
    let mut course =
        Course { plan, town: Town::new(&rng, plan, without), callers: Callers::new(rng.split("callers"), plan) };
    course.boot();
    course.part("quiet", plan.quiet);
    course.callers.storms = true;
    course.rings(Callers::storm(plan));
    course.town.make_late(plan.afflicted, Some(plan.late_by));
    course.part("slow", plan.slow);
    course.town.make_late(plan.afflicted, None);
    course.callers.storms = false;
    course.recovers("again", plan.again);
    course.callers.storms = true;
    course.rings(Callers::storm(plan));
    course.town.end_zone(plan.afflicted);
    course.part("gone", plan.gone);
    course.town.start_zone(plan.afflicted);
    course.callers.storms = false;
    course.recovers("again2", plan.again);
    course.ends();
    let census = course.town.world.census();
    Outcome {
        without,
        most_held: course.town.edge().most_held,
        untrue: course.untrue(),
        parts: course.callers.tallies,
        events: census.events,
        trace_hash: course.town.world.trace.hash(),
    }
}

struct Course<'a> {
    plan: &'a Plan,
    town: Town,
    callers: Callers,
}

impl Course<'_> {
    fn rings(&mut self, alarm: u64) {
        let now = self.town.world.now();
        self.town.world.alarm(now, alarm);
    }

    /// Goes on for so long.
    fn pass(&mut self, how_long: Duration) {
        let until = self.town.world.now() + how_long;
        self.town.world.alarm(until, END);
        loop {
            match self.town.world.go_on() {
                Happening::Alarm(END) => return,
                Happening::Alarm(stream) => {
                    let next: Option<Moment> = self.callers.comes(&mut self.town, self.plan, stream);
                    if let Some(at) = next {
                        self.town.world.alarm(at, stream);
                    }
                }
                Happening::Turned(_) => self.callers.hear(&mut self.town),
            }
        }
    }

    fn begins(&mut self, name: &'static str) {
        self.callers.part = self.callers.tallies.len();
        self.callers.tallies.push(PartTally { name, ..PartTally::default() });
    }

    fn part(&mut self, name: &'static str, how_long: Duration) {
        self.begins(name);
        self.pass(how_long);
    }

    /// The trouble is over. Half of the time is given to the zone to be well again; what is counted is the rest.
    fn recovers(&mut self, name: &'static str, how_long: Duration) {
        self.begins("after");
        self.pass(how_long / 2);
        self.part(name, how_long / 2);
    }

    /// All processes run, and there are volumes.
    fn boot(&mut self) {
        self.begins("boot");
        for _ in 0..200 {
            self.pass(Duration::from_millis(50));
            if self.town.is_up() && *self.town.edge().region().phase() == Phase::Ready {
                break;
            }
        }
        for _ in 0..self.plan.volumes {
            (0..self.plan.zones).for_each(|zone| self.callers.asks(&mut self.town, zone, Kind::Create));
            self.pass(Duration::from_millis(20));
        }
        self.pass(Duration::from_secs(2));
        // One after the other, so that they do not all ring at once.
        for stream in Callers::streams(self.plan) {
            self.rings(stream);
            self.pass(Duration::from_millis(7));
        }
    }

    /// Nobody comes any more, and what was begun comes to its end.
    fn ends(&mut self) {
        self.callers.storms = false;
        let until = self.town.world.now() + Duration::from_secs(20);
        self.town.world.alarm(until, END);
        loop {
            match self.town.world.go_on() {
                Happening::Alarm(END) => break,
                Happening::Alarm(_) => {}
                Happening::Turned(_) => self.callers.hear(&mut self.town),
            }
        }
        self.callers.end();
    }

    /// What the region and the zones do not agree upon, now that nothing is under way.
    fn untrue(&mut self) -> Option<String> {
        for zone in 0..self.plan.zones {
            let kept = self.town.volumes(zone);
            let of_zone = |volume: &&region::Volume| volume.shape.zone.0 == zone;
            let edge = self.town.edge();
            let known: BTreeSet<_> = edge.region().volumes(OWNER, None).filter(of_zone).map(|v| v.id).collect();
            let open = edge.region().volumes(OWNER, None).filter(of_zone).filter(|v| v.stage != Stage::There).count();
            let (only_known, only_kept) = (known.difference(&kept).count(), kept.difference(&known).count());
            if (only_known, only_kept, open) != (0, 0, 0) {
                return Some(format!(
                    "zone {zone}: {only_known} volumes are known and not kept, {only_kept} kept and not known, {open} not settled"
                ));
            }
        }
        None
    }
}
