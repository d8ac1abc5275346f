//! Who is who: runs of one node, and what becomes of a process that is one too many.

mod world;

use base::io::net::Peer;
use base::*;
use wire::*;
use world::World;

#[test]
fn a_process_of_an_earlier_run_is_told_that_it_is_over_and_nothing_of_it_counts() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    w.restart(2);
    w.pass_ms(100);
    // The later run lost touch, and the earlier one is not dead after all.
    w.kill(2);
    let before = w.first(volume);
    w.nodes.get_mut(&NodeId(2)).unwrap().incarnation = 1;
    w.nodes.get_mut(&NodeId(2)).unwrap().replicas.clear();
    w.connect(NodeId(2));
    w.run();
    assert_eq!(w.overtaken, [(Peer::Node(NodeId(2)), Incarnation(2))]);
    assert!(w.closed.is_empty(), "it could not have read why");
    w.pass_ms(600);
    assert_eq!(w.node_state(2).condition, NodeCondition::Suspect);
    assert_eq!((w.first(volume), w.node_state(2).info.incarnation), (before, Incarnation(2)));
    // The run that is the node comes again as if nothing had been.
    w.nodes.get_mut(&NodeId(2)).unwrap().incarnation = 2;
    w.connect(NodeId(2));
    w.pass_ms(100);
    assert_eq!(w.node_state(2).condition, NodeCondition::Up);
}

#[test]
fn a_node_that_registers_is_told_of_all_its_shards_even_if_that_is_none() {
    let mut w = World::new(4);
    w.volume(1, 3);
    let spare =
        (1..=4).find(|n| w.zone.configurations().all(|c| c.member_on(NodeId(*n)).is_none())).expect("three of four");
    for n in 1..=4 {
        w.nodes.get_mut(&NodeId(n)).unwrap().told.clear();
        w.kill(n);
        w.restart(n);
        w.pass_ms(100);
        let told = &w.nodes[&NodeId(n)].told;
        assert!(!told.is_empty(), "node {n}");
        assert_eq!(told.iter().all(|configs| *configs == 0), n == spare, "node {n}: {told:?}");
    }
}

#[test]
fn a_node_that_was_started_again_is_let_in_at_once_from_another_address_too() {
    let mut w = World::new(3);
    w.kill(2);
    w.restart(2);
    assert!(w.overtaken.is_empty() && w.closed.is_empty());
    assert_eq!(w.node_state(2).condition, NodeCondition::Up);
    // Without a word about the end of the last one.
    w.restart(2);
    assert_eq!((w.node_state(2).condition, w.node_state(2).info.incarnation), (NodeCondition::Up, Incarnation(3)));
}

#[test]
fn a_left_over_process_of_a_host_is_told_too_and_takes_no_volume_back() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.hosts.get_mut(&host).unwrap().incarnation = 2;
    w.connect_host(host);
    w.run();
    let generation = w.attach(volume, host);
    w.hosts.get_mut(&host).unwrap().incarnation = 1;
    w.hosts.get_mut(&host).unwrap().attached.clear();
    w.connect_host(host);
    w.run();
    assert_eq!(w.overtaken, [(Peer::Host(host), Incarnation(2))]);
    assert!(w.hosts[&host].attached.is_empty());
    assert_eq!(w.first(volume).generation, generation);
}
