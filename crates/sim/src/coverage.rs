//! Which faults struck whom in which state: what a number of seeds has tried, and what none of them has.
//!
//! A row is a state: of a replica, in the words of ARCHITECTURE.md, of the authority, or of a host. A column is a class of faults. A cell counts how often a fault of
//! the class struck a process while something on it was in the state; weather strikes whoever is on either side of it, and the power of the whole room everybody.

use crate::cluster::{Actor, Cluster};
use crate::faults::{CLASSES, Deed};
use crate::world::Pid;
use base::sometimes::Sometimes;
use std::collections::{BTreeMap, BTreeSet};

/// Every state that a fault must strike in some seed of a hundred, or the seeds are not what they were meant to be.
pub const STATES: [&str; 23] = [
    "Reserved",
    "Learning",
    "Learned",
    "Incomplete",
    "Holding",
    "Restarted",
    "Promised",
    "Backup",
    "Electing: promising",
    "Electing: asking",
    "Electing: loading",
    "Electing: adopting",
    "Electing: fenced",
    "Serving",
    "Serving, teaching",
    "Suspended",
    "Suspended, teaching",
    "node: opening",
    "authority: loading",
    "authority: ready",
    "host: told nothing",
    "host: all goes on",
    "host: something waits",
];

/// States that last so short that a fault strikes them in few of a thousand seeds.
pub const STATES_RARE: [&str; 2] = ["Adopting", "Electing: fetching"];

/// What so few seeds reach that a hundred may reach none of it.
pub const RARE: [Sometimes; 7] = [
    Sometimes::MendFindsLost,
    Sometimes::ElectionFetchesAgain,
    Sometimes::ElectionFindsShort,
    Sometimes::ElectionFindsIncomplete,
    Sometimes::MendWaitsInVain,
    Sometimes::ProposalIsUnsafe,
    Sometimes::PrimaryIsUnaware,
];

/// With so many seeds, what is rare must have been reached too.
pub const SEEDS_FOR_RARE: u64 = 2_000;

/// Where these worlds do not get, and the test that does: room runs short where volumes are larger than disks, metadata are older than what was told where their machine was
/// set back, what is not committed does not rot, and the others want three rare things in a row.
pub const SHOWN: [(Sometimes, &str, &str); 8] = [
    (Sometimes::WriteFindsRoomShort, "replica/tests/room.rs", "a_store_that_stays_full_is_said_to_be"),
    (Sometimes::WriteIsRefusedForRoom, "replica/tests/room.rs", "a_store_that_stays_full_is_said_to_be"),
    (
        Sometimes::ElectionCannotRead,
        "replica/tests/mending.rs",
        "a_window_that_nobody_can_read_is_left_to_somebody_else",
    ),
    (Sometimes::MemberHasLost, "replica/tests/stories.rs", "a_backup_that_lost_what_it_had_confirmed_is_evicted"),
    (
        Sometimes::MemberLostWhatItStated,
        "replica/tests/suspect.rs",
        "a_member_that_loses_something_after_it_stated_its_end_says_so_when_it_is_told_what_to_adopt",
    ),
    (
        Sometimes::LearnWouldLoseAnchor,
        "replica/tests/stories.rs",
        "an_anchor_does_not_become_a_learner_while_the_shard_may_need_it_as_it_is",
    ),
    (Sometimes::MendFindsGone, "replica/tests/mending.rs", "rot_of_what_was_overwritten_meanwhile_is_no_loss"),
    (Sometimes::ProposalIsAhead, "zone/tests/elections.rs", "what_cannot_carry_the_shard_on_is_unsafe"),
];

/// How often a class struck in a state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    struck: BTreeMap<(&'static str, &'static str), u64>,
}

impl Coverage {
    /// A fault of this class is about to do this.
    pub fn strikes(&mut self, class: &'static str, deed: &Deed, cluster: &Cluster) {
        let states: BTreeSet<_> = whom(deed, cluster).into_iter().flat_map(|pid| states_of(cluster, pid)).collect();
        states.into_iter().for_each(|state| *self.struck.entry((state, class)).or_default() += 1);
    }

    /// What another run tried, too.
    pub fn add(&mut self, other: &Self) {
        other.struck.iter().for_each(|(cell, count)| *self.struck.entry(*cell).or_default() += count);
    }

    /// Of a state: how often it was struck, and by which classes never.
    fn of(&self, state: &str) -> (u64, Vec<&'static str>) {
        let count = |class| self.struck.iter().find(|((s, c), _)| (*s, *c) == (state, class)).map_or(0, |(_, n)| *n);
        let never = CLASSES.iter().map(|(_, class)| *class).filter(|class| count(class) == 0).collect();
        (CLASSES.iter().map(|(_, class)| count(class)).sum(), never)
    }

    /// States that nothing struck, and classes that struck nothing, in so many seeds.
    pub fn missed(&self, seeds: u64) -> Vec<String> {
        let rare = STATES_RARE.into_iter().filter(|_| seeds >= SEEDS_FOR_RARE);
        let states = STATES.into_iter().chain(rare).filter(|state| !self.struck.keys().any(|(s, _)| s == state));
        let classes =
            CLASSES.iter().map(|(_, class)| *class).filter(|class| !self.struck.keys().any(|(_, c)| c == class));
        states.map(str::to_owned).chain(classes.map(|class| format!("(anything) by {class}"))).collect()
    }

    /// The marks that a number of seeds must reach.
    pub fn wanted(seeds: u64) -> impl Iterator<Item = Sometimes> {
        let shown = |mark: &Sometimes| SHOWN.iter().any(|(elsewhere, ..)| elsewhere == mark);
        Sometimes::ALL.into_iter().filter(move |mark| !shown(mark) && (seeds >= SEEDS_FOR_RARE || !RARE.contains(mark)))
    }

    /// A line for each state.
    pub fn lines(&self) -> Vec<String> {
        let known = STATES.into_iter().chain(STATES_RARE);
        let others: BTreeSet<_> = self
            .struck
            .keys()
            .map(|cell| cell.0)
            .filter(|state| !STATES.contains(state) && !STATES_RARE.contains(state))
            .collect();
        let line = |state: &'static str| {
            let (times, never) = self.of(state);
            let by = CLASSES.len() - never.len();
            let rest = if never.is_empty() { String::new() } else { format!("; never by {}", never.join(", ")) };
            format!("{state:<22} struck {times:>8} times by {by:>2} classes of {}{rest}", CLASSES.len())
        };
        known.chain(others).map(line).collect()
    }
}

/// Whom it strikes.
fn whom(deed: &Deed, cluster: &Cluster) -> Vec<Pid> {
    match deed {
        Deed::Kill(pid, ..) | Deed::Freeze(pid, _) | Deed::LoseDisk(pid, _) => vec![*pid],
        Deed::SlowDisk(pid, ..) | Deed::FailDisk(pid, ..) | Deed::StickDisk(pid, _) => vec![*pid],
        Deed::Weather(troubles, _) => {
            let under = |pid: &Pid| troubles.iter().any(|t| t.from.has(*pid) || t.to.has(*pid));
            cluster.servants().into_iter().filter(under).collect()
        }
        Deed::Part(a, b) => vec![*a, *b],
        Deed::Break(_) | Deed::Damage(..) | Deed::Strand(_) => cluster.servants(),
        Deed::Rot | Deed::Blackout(_) => cluster.nodes.clone(),
        Deed::Meta(..) => vec![cluster.zone],
        // It strikes later, as something else.
        Deed::Aim(..) => vec![],
    }
}

fn states_of(cluster: &Cluster, pid: Pid) -> Vec<&'static str> {
    match cluster.world.machine(pid) {
        Some(Actor::Node(node)) if !node.is_ready() => vec!["node: opening"],
        Some(Actor::Node(node)) => node.replicas().map(|(_, replica)| replica.called()).collect(),
        Some(Actor::Zone(zone)) if *zone.phase() == zone::Phase::Ready => vec!["authority: ready"],
        Some(Actor::Zone(_)) => vec!["authority: loading"],
        Some(Actor::Host(front)) if !front.host.is_informed() => vec!["host: told nothing"],
        Some(Actor::Host(front)) if front.host.stuck().next().is_some() => vec!["host: something waits"],
        Some(Actor::Host(_)) => vec!["host: all goes on"],
        Some(Actor::Operator(_)) | None => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Shape;
    use base::Rng;
    use base::time::Duration;

    #[test]
    fn what_was_struck_is_counted_and_what_was_not_is_named() {
        let mut rng = Rng::new(1);
        let shape = Shape::draw(&mut rng, CLASSES.len());
        let mut cluster = Cluster::new(&rng, &shape, 0);
        cluster.start(cluster.zone);
        cluster.start(cluster.nodes[0]);
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missed(100).len(), STATES.len() + CLASSES.len());
        assert_eq!(coverage.missed(SEEDS_FOR_RARE).len(), STATES.len() + STATES_RARE.len() + CLASSES.len());
        coverage.strikes("kill-zone", &Deed::Kill(cluster.zone, false, Duration::ZERO), &cluster);
        coverage.strikes("kill-node", &Deed::Kill(cluster.nodes[1], false, Duration::ZERO), &cluster);
        coverage.strikes("aim", &Deed::Blackout(None), &cluster);
        let mut twice = coverage.clone();
        twice.add(&coverage);
        assert_eq!(twice.of("authority: loading").0, 2);
        assert_eq!(twice.of("node: opening"), (2, CLASSES.iter().map(|c| c.1).filter(|c| *c != "aim").collect()));
        assert_eq!(twice.missed(1).len(), STATES.len() - 2 + CLASSES.len() - 2);
        assert!(twice.lines()[18].contains("loading") && twice.lines()[18].contains("2 times by  1 classes"));
    }

    #[test]
    fn what_no_seed_reaches_is_reached_by_the_test_that_is_named() {
        for (mark, file, test) in SHOWN {
            let path = format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"));
            let text = std::fs::read_to_string(&path).expect("the file is there");
            let from = text.find(&format!("fn {test}()")).unwrap_or_else(|| panic!("{file} has no {test}"));
            let body = &text[from..from + text[from..].find("\n}\n").expect("it ends")];
            assert!(body.contains(&format!("Sometimes::{mark:?}.count()")), "{test} does not look for {mark:?}");
        }
        let (few, many): (Vec<_>, Vec<_>) = (Coverage::wanted(1).collect(), Coverage::wanted(SEEDS_FOR_RARE).collect());
        assert_eq!((few.len() + RARE.len(), many.len() + SHOWN.len()), (many.len(), Sometimes::ALL.len()));
    }
}
