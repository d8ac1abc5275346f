//! One process and the authorities of several zones: each of a cluster and a key of its own, each a peer of its own, none of which can hurt another.

mod rig;

use base::io::net::{Addresses, Down, Event, Frame, Link, Peer};
use base::{ClusterId, Incarnation, ZoneNumber};
use rig::{DRIVER, Rig, frame};
use runtime::{Cluster, Setup, ZoneKey};
use std::net::{SocketAddr, TcpListener};

/// The cluster of a zone, and its key.
fn cluster(number: u16) -> Cluster {
    Cluster { id: ClusterId(100 + u128::from(number)), key: ZoneKey::new([number as u8; 32]) }
}

/// The authority of a zone, which echoes what it is told.
fn zone(number: u16) -> Rig {
    let Cluster { id, key } = cluster(number);
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let setup = Setup { listen, driver: DRIVER, ..Setup::new(Peer::Zone, id, Incarnation(1), key) };
    let echo: rig::Reflex = Box::new(|input, out| {
        if let base::io::Input::Net(Event::Frame { from, frame }) = input {
            out.send(*from, frame.clone());
        }
    });
    Rig::with_reflex(setup, Some(echo))
}

/// A process that is of none of these zones, and speaks to all.
fn region(zones: impl IntoIterator<Item = (u16, Cluster)>) -> Rig {
    let zones = zones.into_iter().map(|(number, cluster)| (ZoneNumber(number), cluster)).collect();
    let own = Setup::new(Peer::Region(1), ClusterId(1), Incarnation(9), ZoneKey::generate());
    Rig::new(Setup { zones, driver: DRIVER, ..own })
}

fn authority(number: u16) -> Peer {
    Peer::Authority(ZoneNumber(number))
}

fn only(primary: SocketAddr) -> Addresses {
    Addresses { primary, replication: None }
}

/// What is said to a zone comes back from it, and from no other.
fn echoes(region: &Rig, number: u16, words: &[u8]) {
    region.send(Link::to(authority(number)), frame(0x20, words, vec![]));
    let back = region.until_event("an echo", |event| match event {
        Event::Frame { from, frame } => Some((*from, frame.clone())),
        _ => None,
    });
    assert_eq!(back, (Link::to(authority(number)), frame(0x20, words, vec![])));
}

#[test]
fn authorities_of_several_clusters_are_peers_apart_and_each_hears_its_own_name() {
    let (a, b) = (zone(0), zone(1));
    let region = region([(0, cluster(0)), (1, cluster(1))]);
    for (number, zone) in [(0, &a), (1, &b)] {
        region.watch(authority(number), only(zone.primary()));
        region.until_up(Link::to(authority(number)));
        zone.until_up(Link::from(Peer::Region(1)));
    }
    for round in 0..10u8 {
        for number in [0, 1] {
            let words = [round, number as u8];
            echoes(&region, number, &words);
            let zone = if number == 0 { &a } else { &b };
            let (from, heard): (Link, Frame) = zone.until_frame();
            assert_eq!((from, &heard.head[..]), (Link::from(Peer::Region(1)), &words[..]));
        }
    }
}

#[test]
fn a_zone_that_refuses_or_is_another_or_is_not_there_leaves_the_others_working() {
    let zones: Vec<Rig> = [0, 1, 2, 3].map(zone).into();
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let region = region([
        (0, cluster(0)),
        // The right cluster and the wrong key; then the other way round.
        (1, Cluster { key: cluster(0).key, ..cluster(1) }),
        (2, Cluster { id: ClusterId(7), ..cluster(2) }),
        // Its address is another zone's.
        (3, cluster(3)),
        (4, cluster(4)),
    ]);
    let at = [1, 2, 0].map(|n: usize| zones[n].primary());
    let wrong = [(1, at[0]), (2, at[1]), (3, at[2]), (4, nowhere)];
    for (number, at) in wrong {
        region.watch(authority(number), only(at));
        let expected = if number == 4 { Down::Refused } else { Down::Rejected };
        assert_eq!(region.until_down(Link::to(authority(number))), expected, "{number}");
    }
    region.watch(authority(0), only(zones[0].primary()));
    region.until_up(Link::to(authority(0)));
    for round in 0..20u8 {
        echoes(&region, 0, &[round]);
    }
    // What was wrong is tried again, and found when it is right: here the address.
    region.know(authority(3), only(zones[3].primary()));
    region.until_up(Link::to(authority(3)));
    echoes(&region, 3, b"found");
    echoes(&region, 0, b"as before");
}

#[test]
fn an_authority_of_which_nothing_was_said_is_unknown_and_no_more() {
    let a = zone(0);
    let region = region([(0, cluster(0))]);
    region.watch(authority(5), only(a.primary()));
    assert_eq!(region.until_down(Link::to(authority(5))), Down::Unknown);
    // To be told its address again changes nothing; nor does to be asked something for it.
    region.know(authority(5), only("127.0.0.1:1".parse().unwrap()));
    assert_eq!(region.until_down(Link::to(authority(5))), Down::Unknown);
    region.send(Link::bulk(authority(5)), frame(0x20, b"lost", vec![]));
    assert_eq!(region.until_down(Link::bulk(authority(5))), Down::Unknown);
    region.watch(authority(0), only(a.primary()));
    region.until_up(Link::to(authority(0)));
    echoes(&region, 0, b"known");
}

#[test]
fn a_process_of_its_own_zone_may_speak_to_another_one_too() {
    let (a, b) = (zone(0), zone(1));
    let Cluster { id, key } = cluster(0);
    let zones = [(ZoneNumber(1), cluster(1))].into();
    let node = Rig::new(Setup { zones, driver: DRIVER, ..Setup::new(rig::node(4), id, Incarnation(2), key) });
    node.watch(Peer::Zone, only(a.primary()));
    node.until_up(Link::to(Peer::Zone));
    node.watch(authority(1), only(b.primary()));
    node.until_up(Link::to(authority(1)));
    for zone in [&a, &b] {
        zone.until_up(Link::from(rig::node(4)));
    }
}
