//! The authority looks at no wish of a node that may not hear it. What the node is told to say back it says back at once, with all it still wishes for.

mod bench;

use base::MetaUuid;
use bench::*;
use wire::{Cause, Echo, ProposalOutcome, Propose, Proposed, Unheard};

fn echo(at: u64) -> Echo {
    Echo { start: MetaUuid(5), at }
}

/// The batches that left, in order.
fn batches(b: &Bench) -> Vec<Propose> {
    b.sent.iter().filter_map(|(_, m, _)| if let Message::Propose(p) = m { Some(p.clone()) } else { None }).collect()
}

/// The primary of a shard with these others, in touch with them and the authority.
fn with(others: &[u64]) -> Bench {
    let mut b = Bench::new();
    let others: Vec<Member> =
        others.iter().map(|n| Member { node: NodeId(*n), store: StoreUuid(u128::from(*n)) }).collect();
    let members: Vec<Member> = [member()].into_iter().chain(others.iter().copied()).collect();
    b.configure(Configuration { anchors: members.clone(), target_copies: members.len() as u8, members, ..alone(1) });
    others.iter().for_each(|m| b.up(Link::to(Peer::Node(m.node))));
    b.now += Duration::from_secs(2);
    b.sent.clear();
    b
}

fn silent(b: &mut Bench, n: u64) {
    for network in Network::ALL {
        let (peer, since) = (Peer::Node(NodeId(n)), b.now);
        b.give(vec![Input::Net(Event::Silent { peer, network, since })]);
    }
}

fn heard(b: &mut Bench, n: u64) {
    let (peer, network, asked) = (Peer::Node(NodeId(n)), Network::Primary, b.now);
    b.give(vec![Input::Net(Event::Heard { peer, network, ordered: true, asked })]);
}

fn lost(n: u64) -> Cause {
    Cause::MemberLost { node: NodeId(n) }
}

#[test]
fn it_says_the_same_again_at_once_and_no_token_is_spent_on_it() {
    let mut b = with(&[2]);
    silent(&mut b, 2);
    let first = batches(&b)[0].clone();
    assert_eq!((first.echo, first.proposals[0].cause), (None, lost(2)));
    // In vain, so that what leaves now is a retry, which costs a token; there are ten.
    b.zone(Proposed { batch: first.batch, outcomes: vec![ProposalOutcome::NotBelieved { shard: SHARD }] });
    while batches(&b).len() < 2 {
        b.now = b.node.deadline().unwrap();
        b.give(vec![]);
    }
    let batch = first.batch + 1;
    for at in 1..=50 {
        assert_eq!(batches(&b).len(), 1 + at as usize, "one for each that was not heard");
        b.zone(Unheard { batch, echo: echo(at) });
        let again = Propose { batch, echo: Some(echo(at)), proposals: first.proposals.clone() };
        assert_eq!(batches(&b).last(), Some(&again));
    }
    // It is out until it is answered.
    b.now += Duration::from_secs(600);
    b.give(vec![]);
    assert_eq!(batches(&b).len(), 52);
    b.zone(Proposed { batch, outcomes: vec![ProposalOutcome::Granted { config: alone(2) }] });
    assert_eq!(b.read(2, 5), Some(0), "and serves then");
}

#[test]
fn nobody_but_the_authority_says_so_and_of_a_batch_that_was_answered_it_says_nothing_more() {
    let mut b = with(&[2, 3]);
    silent(&mut b, 2);
    let Propose { batch, .. } = batches(&b)[0];
    b.tell(Link::from(Peer::Node(NodeId(3))), Unheard { batch, echo: echo(1) }, vec![]);
    b.zone(Unheard { batch: batch - 1, echo: echo(2) });
    assert_eq!(batches(&b).len(), 1);
    b.zone(Proposed { batch, outcomes: vec![ProposalOutcome::NotBelieved { shard: SHARD }] });
    b.zone(Unheard { batch, echo: echo(3) });
    assert_eq!(batches(&b).len(), 1);
    // What it was told it says back with whatever it wishes for next.
    b.now += Duration::from_millis(250);
    silent(&mut b, 3);
    let next = batches(&b).pop().unwrap();
    assert_eq!((next.batch, next.echo), (batch + 1, Some(echo(3))));
}

#[test]
fn what_was_told_on_a_link_is_not_said_on_the_next() {
    let mut b = with(&[2]);
    silent(&mut b, 2);
    let Propose { batch, .. } = batches(&b)[0];
    b.zone(Unheard { batch, echo: echo(1) });
    b.give(vec![Input::Net(Event::Down { link: Link::to(Peer::Zone), why: Down::Reset })]);
    b.up(Link::to(Peer::Zone));
    let echoes: Vec<_> = batches(&b).iter().map(|p| p.echo).collect();
    assert_eq!(echoes, [None, Some(echo(1)), None]);
}

#[test]
fn what_is_not_wished_for_any_more_is_not_said_again() {
    let mut b = with(&[2]);
    silent(&mut b, 2);
    let Propose { batch, .. } = batches(&b)[0];
    heard(&mut b, 2);
    b.zone(Unheard { batch, echo: echo(1) });
    assert_eq!(batches(&b).len(), 1, "all are heard again, and nobody is to leave");
    silent(&mut b, 2);
    let next = batches(&b).pop().unwrap();
    assert_eq!((next.batch, next.echo, next.proposals[0].cause), (batch + 1, Some(echo(1)), lost(2)));
}

#[test]
fn what_was_found_since_is_said_in_place_of_what_was_not_heard() {
    let mut b = with(&[2, 3]);
    silent(&mut b, 2);
    let first = batches(&b)[0].clone();
    assert_eq!(first.proposals[0].members.len(), 2);
    silent(&mut b, 3);
    assert_eq!(batches(&b).len(), 1, "one batch at a time");
    b.zone(Unheard { batch: first.batch, echo: echo(1) });
    let [_, next] = &batches(&b)[..] else { panic!("{:?}", batches(&b)) };
    assert_eq!(
        (next.batch, next.echo, &next.proposals[0].members[..]),
        (first.batch + 1, Some(echo(1)), &[member()][..])
    );
}
