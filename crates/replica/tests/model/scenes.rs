//! Worlds that are gone through whole, each for what it shows.

use super::setup::Setup;

/// One of them.
pub struct Scene {
    pub name: &'static str,
    pub setup: Setup,
}

const fn scene(name: &'static str, setup: Setup) -> Scene {
    Scene { name, setup }
}

const PAIR: Setup = Setup::PAIR;
/// Disks that are at once: what is left is the order of messages.
const FAST: Setup = Setup { slow_disks: false, ..PAIR };
const THREE: Setup = Setup { nodes: 3, members: 3, target: 3, ..FAST };

/// From small to large.
pub const SCENES: [Scene; 12] = [
    scene("two nodes", PAIR),
    scene("two nodes, a crash", Setup { crashes: 1, ..PAIR }),
    scene("two nodes, a link that breaks", Setup { breaks: 1, ..PAIR }),
    scene("two nodes, two writes", Setup { writes: 2, slow_hosts: true, ..FAST }),
    scene("frames of an older life", Setup { breaks: 1, late: true, ..FAST }),
    scene("too few members", Setup { epochs: 3, ..FAST }),
    scene("three nodes", THREE),
    scene("three nodes, three epochs", Setup { epochs: 3, reads: 0, ..THREE }),
    scene("a damaged log", Setup { crashes: 1, damages: 1, reads: 0, ..THREE }),
    scene("a learner", Setup { nodes: 3, target: 3, learners: 1, reads: 0, ..FAST }),
    scene("a learner and a late release", Setup { learners: 1, releases: 1, reads: 0, epochs: 3, writes: 0, ..THREE }),
    scene("two hosts", Setup { min: 1, epochs: 3, attaches: 1, times: 1, ..FAST }),
];
