//! The authority keeps its word whatever happens in whatever order: seeded random walks.

mod walking;
mod world;

use base::io::net::Peer;
use base::mutant::Mutation;
use base::*;
use walking::walk;
use world::World;

#[test]
fn whatever_happens_the_authority_keeps_its_word() {
    // I1, I4, I10, R13, R18, R21
    let mut elections = 0;
    for seed in 0..60 {
        elections +=
            std::panic::catch_unwind(|| walk(seed, 400, Mutation::NONE)).unwrap_or_else(|_| panic!("seed {seed}")).0;
    }
    assert!(elections > 1000, "a walk in which nothing happens shows nothing: {elections} epochs");
}

#[test]
fn a_seed_gives_the_same_history_twice() {
    assert_eq!(walk(7, 300, Mutation::NONE), walk(7, 300, Mutation::NONE));
}

#[test]
fn peers_that_come_again_and_again_leave_nothing_behind() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let before = w.meta.pairs.len();
    for _ in 0..200 {
        w.down(Peer::Node(NodeId(1)));
        w.connect(NodeId(1));
        w.down(Peer::Host(host));
        w.connect_host(host);
        w.run();
    }
    assert_eq!(w.meta.pairs.len(), before);
}
