//! Worlds that are gone through, each for what it shows: small ones whole by the tests, large ones whole by the example.

use super::choices::Choice;
use super::setup::Setup;

/// One of them.
pub struct Scene {
    pub name: &'static str,
    pub setup: Setup,
    /// The tests see all of it, and not only the nearest states.
    pub whole: bool,
}

const fn scene(name: &'static str, setup: Setup) -> Scene {
    Scene { name, setup, whole: true }
}

const fn large(name: &'static str, setup: Setup) -> Scene {
    Scene { name, setup, whole: false }
}

const PAIR: Setup = Setup::PAIR;
/// Disks that are at once: what is left is the order of messages.
const FAST: Setup = Setup { slow_disks: false, ..PAIR };
const THREE: Setup = Setup { nodes: 3, members: 3, target: 3, ..FAST };

/// Another host takes the volume by force, and leases run out.
const TWO_HOSTS: Setup = Setup { min: 1, epochs: 3, writes: 0, second_writes: 1, attaches: 1, times: 1, ..FAST };

const LEARNER: Setup = Setup { nodes: 3, target: 3, learners: 1, reads: 0, ..FAST };

/// Node 3 was a member and is away: it has the first write, and the second was committed without it. It is to come back.
const AWAY: &[Choice] =
    &[Choice::Write(0), Choice::Reconfigure(0, 0b011), Choice::Hear(0), Choice::Write(0), Choice::Teach(2)];
/// It is brought what changed.
const REJOINING: Setup = Setup { before: AWAY, learners: 1, epochs: 3, writes: 3, blocks: 2, reads: 0, ..THREE };
/// The attempt breaks off with the epoch, and another begins.
const REJOINING_ANEW: Setup = Setup { epochs: 4, writes: 2, blocks: 1, ..REJOINING };

/// From small to large.
pub const SCENES: [Scene; 13] = [
    scene("two nodes", PAIR),
    scene("two nodes and two writes", Setup { writes: 2, slow_hosts: true, ..FAST }),
    scene("two nodes and a broken link", Setup { breaks: 1, ..PAIR }),
    scene("two nodes and a crash", Setup { crashes: 1, reads: 0, ..PAIR }),
    scene("frames of an older life", Setup { breaks: 1, late: true, ..FAST }),
    scene("too few members", Setup { epochs: 3, reads: 0, ..FAST }),
    large("two hosts", TWO_HOSTS),
    scene("three nodes", THREE),
    large("a damaged log", Setup { crashes: 1, damages: 1, reads: 0, writes: 0, ..THREE }),
    large("a learner", LEARNER),
    large("a member that rejoins", REJOINING),
    large("a member that rejoins anew", REJOINING_ANEW),
    large("a learner and a late release", Setup { learners: 2, releases: 1, writes: 0, ..LEARNER }),
];

/// The world that shows a mutant soonest, if a world so small shows it.
#[cfg(feature = "mutants")]
pub fn world_of(mutant: base::mutant::Mutant) -> Option<Setup> {
    use base::mutant::{Mutant, Mutation};
    let setup = match mutant {
        Mutant::AcknowledgedAlone | Mutant::AnsweredBeforePromised | Mutant::ConfirmedBeforeDurable => PAIR,
        Mutant::ServedBeforeSync => FAST,
        Mutant::UncommittedRead => Setup { reads: 2, ..THREE },
        Mutant::ServedAfterRestart => Setup { crashes: 1, ..FAST },
        Mutant::SyncedTwice => Setup { breaks: 1, late: true, reads: 0, ..FAST },
        Mutant::CommittedBelowMinCopies => Setup { epochs: 3, reads: 0, ..FAST },
        Mutant::DeposedAccepted | Mutant::CutBeforeReplaced => Setup { reads: 0, ..THREE },
        Mutant::AcknowledgedWithoutLearner | Mutant::StreamAfterWindow | Mutant::CopiedOverStream => LEARNER,
        Mutant::StaleLearn => Setup { min: 1, epochs: 3, writes: 0, ..LEARNER },
        Mutant::ReleasedByEpochAlone => Setup { learners: 2, releases: 1, writes: 0, ..LEARNER },
        Mutant::BaseForgotten => REJOINING_ANEW,
        Mutant::MergedByChunk => REJOINING,
        Mutant::FenceIgnored | Mutant::LeaseIgnored | Mutant::DeposedUntold => TWO_HOSTS,
        Mutant::LeaseOutlivesLink => Setup { before: &[Choice::Break(0, 1)], breaks: 1, ..TWO_HOSTS },
        Mutant::BoundTooLate => LEARNER,
        _ => return None,
    };
    Some(Setup { mutation: Mutation::of(mutant), ..setup })
}

/// The world in which the authority breaks its own rules.
pub const LAWLESS: Setup = Setup { lawless: true, writes: 0, ..LEARNER };
