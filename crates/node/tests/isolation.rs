//! A node that loses touch with many of its peers at once says so, and learns when that is over (R4).

mod bench;

use base::io::net::{Down, Network};
use bench::*;

/// A shard of this node and these others, led by this one.
fn shared(volume: u64, others: &[u64]) -> Configuration {
    let others = others.iter().map(|n| Member { node: NodeId(*n), store: StoreUuid(u128::from(*n)) });
    let members: Vec<Member> = [member()].into_iter().chain(others).collect();
    let copies = members.len() as u8;
    Configuration {
        shard: ShardId { volume: VolumeId(volume), index: 0 },
        anchors: members.clone(),
        members,
        target_copies: copies,
        ..alone(1)
    }
}

fn event(b: &mut Bench, event: Event) {
    b.give(vec![Input::Net(event)]);
}

fn silent(b: &mut Bench, n: u64) {
    for network in Network::ALL {
        let since = b.now;
        event(b, Event::Silent { peer: Peer::Node(NodeId(n)), network, since });
    }
}

fn heard(b: &mut Bench, n: u64) {
    let asked = b.now;
    event(b, Event::Heard { peer: Peer::Node(NodeId(n)), network: Network::Primary, ordered: true, asked });
}

/// In touch with the authority and these peers, with which it shares a shard.
fn with(others: &[u64]) -> Bench {
    let mut b = Bench::new();
    b.configure(shared(1, others));
    others.iter().for_each(|n| b.up(Link::to(Peer::Node(NodeId(*n)))));
    b.now += Duration::from_secs(2);
    b.give(vec![]);
    b.sent.clear();
    b
}

fn reports(b: &Bench) -> Vec<wire::Touch> {
    b.sent.iter().filter_map(|(_, m, _)| if let Message::Report(r) = m { Some(r.touch) } else { None }).collect()
}

fn is_watched(b: &Bench, n: u64) -> bool {
    let watch = |op: &NetOp| if let NetOp::Watch { peer, wanted } = op { Some((*peer, *wanted)) } else { None };
    b.ops.iter().filter_map(watch).rfind(|(peer, _)| *peer == Peer::Node(NodeId(n))).is_some_and(|(_, wanted)| wanted)
}

#[test]
fn who_loses_both_its_peers_says_so_at_once_and_before_it_wishes_for_anything() {
    let mut b = with(&[2, 3]);
    b.write(1, 5, 1);
    let (network, since) = (Network::Primary, b.now);
    let silent = |n| Input::Net(Event::Silent { peer: Peer::Node(NodeId(n)), network, since });
    b.give(vec![silent(2), silent(3)]);
    let touch = *reports(&b).last().expect("it does not wait for the next report");
    assert_eq!((touch.peers, touch.lost, touch.isolated_ms, touch.times), (2, 2, Some(0), 1));
    let said: Vec<&str> =
        b.sent.iter().filter(|(to, ..)| *to == Link::to(Peer::Zone)).map(|(_, m, _)| m.name()).collect();
    assert_eq!(said, ["Report", "Propose"], "elections go on");
    b.now += Duration::from_secs(1);
    b.give(vec![]);
    assert_eq!(reports(&b).last().unwrap().isolated_ms, Some(1000));
}

#[test]
fn who_loses_one_of_three_is_not_isolated() {
    let mut b = with(&[2, 3, 4]);
    silent(&mut b, 2);
    b.now += Duration::from_secs(1);
    b.give(vec![]);
    let touch = *reports(&b).last().unwrap();
    assert_eq!((touch.peers, touch.lost, touch.isolated_ms), (3, 1, None));
}

#[test]
fn peers_whose_addresses_refuse_are_dead_and_nobody_is_isolated() {
    let mut b = with(&[2, 3]);
    for n in [2, 3] {
        silent(&mut b, n);
        event(&mut b, Event::Down { link: Link::to(Peer::Node(NodeId(n))), why: Down::Refused });
    }
    b.now += Duration::from_secs(1);
    b.give(vec![]);
    assert_eq!(reports(&b).last().unwrap().isolated_ms, None);
}

#[test]
fn those_it_lost_are_called_until_they_are_heard_also_when_they_are_members_no_more() {
    let mut b = with(&[2, 3]);
    [2, 3].into_iter().for_each(|n| silent(&mut b, n));
    b.configure(Configuration { epoch: Epoch(2), revision: Revision(2), min_copies: 1, newborn: false, ..alone(2) });
    b.now += Duration::from_secs(60);
    b.give(vec![]);
    assert!(is_watched(&b, 2) && is_watched(&b, 3));
    heard(&mut b, 2);
    assert_eq!(reports(&b).last().unwrap().isolated_ms, None, "one is none");
    b.now += Duration::from_secs(6);
    b.give(vec![]);
    b.give(vec![]);
    assert!(!is_watched(&b, 2) && !is_watched(&b, 3));
}

#[test]
fn it_ends_when_the_authority_gives_them_up_and_only_its_word_counts() {
    let mut b = with(&[2, 3]);
    [2, 3].into_iter().for_each(|n| silent(&mut b, n));
    let word = || wire::GivenUp { nodes: vec![NodeId(2), NodeId(3)] };
    b.tell(Link::from(Peer::Node(NodeId(4))), word(), vec![]);
    assert!(reports(&b).last().unwrap().isolated_ms.is_some() && b.node.touch().isolated_ms.is_some());
    b.zone(word());
    let touch = *reports(&b).last().unwrap();
    assert_eq!((touch.lost, touch.isolated_ms, touch.times), (0, None, 1));
}
