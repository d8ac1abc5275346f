//! Two networks between two nodes: which carries what, and what happens when one of them is cut.

mod rig;

use base::io::Input;
use base::io::net::{Addresses, Class, Down, Event, Link, Network, Op, Traffic};
use base::time::Duration;
use rig::cable::Cable;
use rig::{Hand, Rig, Seen, frame, node, setup};
use runtime::Setup;
use runtime::session::{Aim, Code, Session, Step};
use std::time::Instant;

const REPLICATE: u16 = 0x20;
const WRITE: u16 = 0x10;

/// Two nodes; the first watches the second over two cables.
struct Pair {
    a: Rig,
    b: Rig,
    primary: Cable,
    replication: Cable,
}

impl Pair {
    fn new() -> Self {
        Self::of(setup(1))
    }

    fn of(first: Setup) -> Self {
        let (a, b) = (Rig::new(first), Rig::new(setup(2)));
        let (primary, replication) = (Cable::to(b.primary()), Cable::to(b.at().replication.unwrap()));
        a.watch(node(2), Addresses { primary: primary.at, replication: Some(replication.at) });
        let pair = Self { a, b, primary, replication };
        pair.a.until_up(Link::to(node(2)));
        pair.heard(Network::Primary, true);
        pair.heard(Network::Replication, false);
        pair
    }

    fn heard(&self, on: Network, in_order: bool) {
        self.a.until_event(&format!("heard on {on:?}"), |e| match e {
            Event::Heard { network, ordered, .. } => (*network == on && *ordered == in_order).then_some(()),
            _ => None,
        });
    }

    fn silent(&self, on: Network) {
        self.a.until_event(&format!("silence on {on:?}"), |e| match e {
            Event::Silent { network, .. } => (*network == on).then_some(()),
            _ => None,
        });
    }

    fn passes(&self, word: &[u8]) {
        self.a.send(Link::to(node(2)), frame(REPLICATE, word, vec![]));
        assert_eq!(&self.b.until_frame().1.head[..], word);
    }
}

fn traffic(rig: &Rig) -> Traffic {
    rig.net(Op::Count);
    rig.until_event("the count", |e| if let Event::Counted(traffic) = e { Some(**traffic) } else { None })
}

#[test]
fn a_cut_replication_network_is_said_and_changes_nothing() {
    let pair = Pair::new();
    pair.replication.cut();
    pair.silent(Network::Replication);
    pair.passes(b"as before");
    // Nothing of the link, for long enough that something would have come.
    let until = Instant::now() + Duration::from_secs(1);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        if let Some(Seen::Input(Input::Net(Event::Up { .. } | Event::Down { .. }))) = pair.a.next_within(left) {
            panic!("the link changed");
        }
    }
    pair.replication.mend();
    pair.heard(Network::Replication, false);
    assert_eq!(traffic(&pair.a).aside, 0);
}

#[test]
fn when_the_primary_network_is_cut_links_ride_the_other_one_and_return_when_it_is_steady() {
    let pair = Pair::new();
    pair.passes(b"before");
    pair.primary.cut();
    assert_eq!(pair.a.until_down(Link::to(node(2))), Down::Reset);
    pair.a.until_up(Link::to(node(2)));
    pair.b.until_up(Link::from(node(1)));
    pair.passes(b"aside");
    // Copies too, and keepalives in order behind what is said there.
    pair.a.send(Link::bulk(node(2)), frame(0x2e, b"copy", vec![vec![1; 4096]]));
    assert_eq!(&pair.b.until_frame().1.head[..], b"copy");
    pair.heard(Network::Replication, true);
    let there = traffic(&pair.a);
    assert_eq!((there.aside, there.misrouted), (1, 0));
    let sent = Class::ALL.map(|class| there.sent.get(Network::Replication, class) > 0);
    assert_eq!(sent, [false, true, true, false, true], "{there:?}");
    pair.primary.mend();
    assert_eq!(pair.a.until_down(Link::to(node(2))), Down::Reset);
    pair.a.until_up(Link::to(node(2)));
    pair.heard(Network::Primary, true);
    pair.passes(b"back");
    let back = traffic(&pair.a);
    assert_eq!(back.aside, 0);
    let aside = |t: &Traffic| t.sent.get(Network::Replication, Class::Replication);
    assert_eq!(aside(&back), aside(&there), "nothing rides it any more");
}

#[test]
fn behind_two_cut_networks_a_peer_is_silent_on_both_and_its_link_lives_on_when_they_are_mended() {
    let pair = Pair::new();
    pair.primary.cut();
    pair.replication.cut();
    pair.silent(Network::Primary);
    pair.silent(Network::Replication);
    pair.a.send(Link::to(node(2)), frame(REPLICATE, b"waits", vec![]));
    pair.primary.mend();
    pair.replication.mend();
    assert_eq!(&pair.b.until_frame().1.head[..], b"waits");
    assert_eq!(traffic(&pair.a).aside, 0);
}

#[test]
fn a_peer_whose_primary_address_is_nowhere_is_reached_over_the_other_and_one_that_is_dead_is_refused() {
    let (a, b) = (Rig::new(setup(1)), Rig::new(setup(2)));
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    a.watch(node(2), Addresses { primary: nowhere, ..b.at() });
    a.until_up(Link::to(node(2)));
    a.send(Link::to(node(2)), frame(REPLICATE, b"by the other door", vec![]));
    assert_eq!(&b.until_frame().1.head[..], b"by the other door");
    drop(b);
    a.until_event("the refusal", |e| matches!(e, Event::Down { why: Down::Refused, .. }).then_some(()));
}

#[test]
fn links_ride_the_replication_network_no_longer_than_the_peer_is_watched_or_has_an_address_there() {
    for forget in [true, false] {
        let pair = Pair::new();
        pair.primary.cut();
        assert_eq!(pair.a.until_down(Link::to(node(2))), Down::Reset);
        pair.a.until_up(Link::to(node(2)));
        if forget {
            pair.a.net(Op::Watch { peer: node(2), wanted: false });
        } else {
            pair.a.know(node(2), Addresses { primary: pair.primary.at, replication: None });
        }
        assert_eq!(pair.a.until_down(Link::to(node(2))), Down::Reset);
        assert_eq!(traffic(&pair.a).aside, 0);
        pair.primary.mend();
        pair.passes(b"on the primary network");
    }
}

#[test]
fn what_is_a_clients_closes_its_connection_on_the_replication_network_and_is_counted() {
    let b = Rig::new(setup(2));
    let mut hand = Hand::open_on(b.at().replication.unwrap(), node(1), node(2), Network::Replication);
    hand.send(&[frame(REPLICATE, b"is welcome", vec![])]);
    assert_eq!(&b.until_frame().1.head[..], b"is welcome");
    hand.send(&[frame(WRITE, b"is not", vec![vec![1; 4096]])]);
    assert!(hand.frame().is_none(), "closed");
    let counted = traffic(&b);
    assert_eq!((counted.misrouted, counted.received.get(Network::Replication, Class::Client) > 0), (1, true));
    // Nor is it sent: the frame is dropped and the link lives on.
    let mut hand = Hand::open_on(b.at().replication.unwrap(), node(1), node(2), Network::Replication);
    b.until_up(Link::from(node(1)));
    b.send(Link::from(node(1)), frame(0x13, b"an answer to a host", vec![]));
    b.send(Link::from(node(1)), frame(REPLICATE, b"an answer to a node", vec![]));
    assert_eq!(&hand.frame().unwrap().head[..], b"an answer to a node");
    assert_eq!(traffic(&b).sent.get(Network::Replication, Class::Client), 0);
}

#[test]
fn whoever_is_no_node_is_refused_on_the_replication_network() {
    let aim = Aim { peer: node(2), lane: Some(base::io::net::Lane::Data), network: Network::Replication };
    for stranger in [base::io::net::Peer::Zone, base::io::net::Peer::Host(base::HostId(3))] {
        let (_, hello) = Session::open(&rig::terms(stranger), aim, [1; 32]);
        let mut session = Session::accept(Network::Replication, [2; 32]);
        let (_, step) = session.read(&rig::terms(node(2)), &hello);
        let Step::Refused { why, .. } = step else { panic!("{step:?}") };
        assert_eq!(why.code, Code::WrongNetwork);
        assert!(why.text.contains("for nodes only"), "{why}");
    }
}

#[test]
fn a_flood_on_the_replication_network_keeps_to_its_share_and_loses_no_keepalive() {
    const CAPACITY: u64 = 20_000_000;
    const FRAMES: u64 = 60;
    let pair = Pair::of(Setup { replication_bytes_per_s: CAPACITY, ..setup(1) });
    pair.primary.cut();
    assert_eq!(pair.a.until_down(Link::to(node(2))), Down::Reset);
    pair.a.until_up(Link::to(node(2)));
    let began = Instant::now();
    for n in 0..FRAMES {
        pair.a.send(Link::to(node(2)), frame(REPLICATE, &n.to_le_bytes(), vec![vec![n as u8; 1 << 20]]));
    }
    for n in 0..FRAMES {
        assert_eq!(pair.b.until_frame().1.head[..], n.to_le_bytes());
    }
    // All of it but a burst of 2 MiB, at 90 % of the capacity.
    let least = Duration::from_millis(((FRAMES - 2) << 20) * 1000 / (CAPACITY * 9 / 10));
    assert!(began.elapsed() >= least, "{:?} of {least:?}", began.elapsed());
    // Those on the link itself stand behind the flood; in the end every single one is answered.
    let (mut counted, deadline) = (traffic(&pair.a), Instant::now() + rig::PATIENCE);
    while counted.pongs[1] < counted.pings[1] {
        assert!(Instant::now() < deadline, "{} of {} keepalives were answered", counted.pongs[1], counted.pings[1]);
        counted = traffic(&pair.a);
    }
    assert!(counted.pings[1] >= 10);
    assert_eq!(counted.aside, 1, "nobody was taken for silent there");
}
