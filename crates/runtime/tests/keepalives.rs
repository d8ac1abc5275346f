//! Keepalives: heard on both networks, silent when nobody answers, and never ahead of what was said before them.

mod rig;

use base::Time;
use base::io::Input;
use base::io::net::{Addresses, Down, Event, Link, Network, Op};
use base::time::Duration;
use rig::{Hand, Rig, Seen, frame, node, setup};
use runtime::session::{PING, PONG};
use std::net::TcpListener;
use std::time::Instant;

fn heard(rig: &Rig, on: Network) -> Time {
    rig.until_event(&format!("heard on {on:?}"), |e| match e {
        Event::Heard { network, asked, .. } if *network == on => Some(*asked),
        _ => None,
    })
}

#[test]
fn a_watched_peer_is_heard_on_both_networks_and_then_silent_on_both() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    let began = runtime::monotonic();
    a.watch(node(2), b.at());
    for network in [Network::Primary, Network::Replication] {
        let first = heard(&a, network);
        assert!(first >= began && heard(&a, network) > first, "stamps are of this machine's clock, and go on");
    }
    // Nothing but keepalives was on the replication network: no link of it came up.
    drop(b);
    let mut silent = Vec::new();
    while silent.len() < 2 {
        silent.push(a.until_event("silence", |e| match e {
            Event::Silent { peer, network, since } => {
                assert!(*peer == node(2) && *since > began);
                Some(*network)
            }
            _ => None,
        }));
    }
    silent.sort();
    assert_eq!(silent, [Network::Primary, Network::Replication]);
}

#[test]
fn a_peer_without_a_replication_address_is_heard_on_the_primary_network_only() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    a.watch(node(2), Addresses { replication: None, ..b.at() });
    for _ in 0..3 {
        a.until_event("heard", |e| match e {
            Event::Heard { network, .. } | Event::Silent { network, .. } => {
                assert_eq!(*network, Network::Primary);
                Some(())
            }
            _ => None,
        });
    }
    // Learning the address is enough.
    a.know(node(2), b.at());
    heard(&a, Network::Replication);
    a.know(node(2), Addresses { replication: None, ..b.at() });
    heard(&a, Network::Primary);
}

#[test]
fn idle_peers_are_pinged_together_whenever_they_were_first_watched() {
    let (a, b, c) = (Rig::new(setup(1)), Rig::new(setup(2)), Rig::new(setup(3)));
    a.watch(node(2), b.at());
    heard(&a, Network::Primary);
    a.watch(node(3), c.at());
    let mut asked = [Time::ZERO; 2];
    a.until_event("both were asked in one turn", |e| {
        if let Event::Heard { peer, network: Network::Primary, asked: at, .. } = e {
            asked[usize::from(*peer == node(3))] = *at;
        }
        (asked[0] == asked[1] && asked[0] > Time::ZERO).then_some(())
    });
}

#[test]
fn a_peer_that_is_not_watched_any_more_is_not_heard() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    a.watch(node(2), b.at());
    heard(&a, Network::Replication);
    a.net(Op::Watch { peer: node(2), wanted: false });
    // One may have been on its way; after that nothing comes but what is sent. Three times the interval of an idle peer.
    let quiet_by = Instant::now() + Duration::from_millis(1500);
    let mut late = 0;
    while let Some(left) = quiet_by.checked_duration_since(Instant::now()) {
        if let Some(Seen::Input(Input::Net(Event::Heard { .. } | Event::Silent { .. }))) = a.next_within(left) {
            late += 1;
        }
    }
    assert!(late <= 4, "{late} keepalives after the end of watching");
    a.send(Link::to(node(2)), frame(0x20, b"", vec![]));
    b.until_frame();
    let (_, counters, _) = a.stop();
    assert!(counters.pings <= 14, "{} pings", counters.pings);
}

#[test]
fn an_answer_to_a_ping_comes_behind_all_that_the_turn_decided() {
    // Answers every message with another one, in the step in which it is read.
    let reflex: rig::Reflex = Box::new(|input, out| {
        if let Input::Net(Event::Frame { from, frame: f }) = input {
            out.send(*from, frame(0x41, &f.head, vec![]));
        }
    });
    let b = Rig::with_reflex(setup(2), Some(reflex));
    let mut hand = Hand::open(b.primary(), node(1), node(2));
    for round in 0..200u64 {
        let stamp = round.to_le_bytes();
        // The ping first, then the question, in one write: they are read in one turn, unless the kernel cuts between them.
        hand.send(&[frame(0x40, b"first", vec![]), frame(PING, &stamp, vec![]), frame(0x40, b"second", vec![])]);
        let kinds: Vec<_> = (0..3).map(|_| hand.frame().unwrap()).map(|f| (f.kind, f.head)).collect();
        assert_eq!((kinds[0].0, &kinds[0].1[..]), (0x41, &b"first"[..]), "round {round}");
        let pong = kinds.iter().find(|(kind, _)| *kind == PONG).unwrap();
        assert_eq!(pong.1[..], stamp);
    }
}

#[test]
fn a_connection_to_a_silent_peer_is_given_up_after_two_seconds() {
    let a = Rig::new(setup(1));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    a.watch(node(2), Addresses { primary: listener.local_addr().unwrap(), replication: None });
    let _deaf = Hand::accept(&listener, node(2));
    a.until_up(Link::to(node(2)));
    let up = Instant::now();
    let since = a.until_event("silence", |e| match e {
        Event::Silent { since, .. } => Some(*since),
        _ => None,
    });
    assert!(since <= runtime::monotonic() && up.elapsed() < Duration::from_secs(3));
    assert_eq!(a.until_down(Link::to(node(2))), Down::Silent);
    assert!(up.elapsed() >= Duration::from_millis(1900), "{:?}", up.elapsed());
}

#[test]
fn silence_is_said_once_and_any_byte_ends_it() {
    let a = Rig::new(setup(1));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    a.watch(node(2), Addresses { primary: listener.local_addr().unwrap(), replication: None });
    let mut hand = Hand::accept(&listener, node(2));
    let silent = |e: &Event| matches!(e, Event::Silent { .. }).then_some(());
    a.until_event("silence", silent);
    // Pings go on, and are not answered: not a word more.
    let until = Instant::now() + Duration::from_millis(1200);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if let Some(seen) = a.next_within(left) {
            assert!(!matches!(seen, Seen::Input(Input::Net(Event::Silent { .. }))), "said twice");
        }
    }
    hand.send(&[frame(0x20, b"I live", vec![])]);
    a.until_frame();
    a.until_event("silence again", silent);
}

#[test]
fn an_idle_world_takes_no_more_turns_than_its_keepalives_need() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    a.watch(node(2), b.at());
    heard(&a, Network::Primary);
    heard(&a, Network::Replication);
    let began = Instant::now();
    let settled = Instant::now() + Duration::from_secs(4);
    while let Some(left) = settled.checked_duration_since(Instant::now()) {
        a.next_within(left);
    }
    let half_seconds = began.elapsed().as_millis() as u64 / 500 + 2;
    let (_, counters, bytes) = a.stop();
    // Per half second and network: a ping is due, its send ends, its answer comes. Beyond that the beginning and the end.
    let allowed = half_seconds * 2 * 3 + 40;
    assert!(counters.turns <= allowed, "{} turns; {allowed} are allowed: {counters:?}", counters.turns);
    assert!(counters.pings <= half_seconds * 2 + 4, "{counters:?}");
    assert!(bytes <= 4 << 20, "{bytes} bytes of buffers at rest");
    let (_, counters, _) = b.stop();
    assert!(counters.turns <= allowed, "{} turns at the answering end: {counters:?}", counters.turns);
}

#[test]
fn a_world_with_nothing_to_do_does_nothing() {
    let a = Rig::new(setup(1));
    let until = Instant::now() + Duration::from_secs(2);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        assert!(a.next_within(left).is_none());
    }
    let (_, counters, _) = a.stop();
    assert!(counters.turns <= 4, "{counters:?}");
}
