//! What a node asks the authority again it asks later each time, and never more than its tokens (R34, R52, I11); what is new leaves at once.

mod bench;

use base::io::net::Down;
use bench::*;
use wire::{Proposal, ProposalOutcome};

/// A node that started again over a replica, so that it wishes for a new epoch.
fn restarted() -> Bench {
    let mut b = Bench::new();
    b.configure(alone(1));
    let mut b = Bench::over(std::mem::take(&mut b.disk), 2);
    b.up(Link::to(Peer::Zone));
    b.zone(wire::Directory { nodes: vec![] });
    b
}

/// The wish that is out, and its batch.
fn wished(b: &Bench) -> (u64, Proposal) {
    let propose =
        |m: &Message| if let Message::Propose(p) = m { Some((p.batch, p.proposals[0].clone())) } else { None };
    b.sent.iter().rev().find_map(|(_, m, _)| propose(m)).expect("it wished for something")
}

/// Time passes, and whatever it wishes for is not granted. When each wish left.
fn refused_for(b: &mut Bench, time: Duration) -> Vec<Time> {
    let (until, mut left) = (b.now + time, vec![b.now]);
    let mut answered = 0;
    while b.now < until {
        let (batch, _) = wished(b);
        if batch > answered {
            answered = batch;
            b.zone(wire::Proposed { batch, outcomes: vec![ProposalOutcome::NotBelieved { shard: SHARD }] });
        }
        b.now = b.node.deadline().unwrap().min(until).max(b.now + Duration::from_nanos(1));
        let before = b.count("Propose");
        b.give(vec![]);
        left.extend((b.count("Propose") > before).then_some(b.now));
    }
    left
}

#[test]
fn a_wish_in_vain_is_repeated_later_each_time_and_never_beyond_its_tokens() {
    let mut b = restarted();
    let left = refused_for(&mut b, Duration::from_secs(600));
    let waits: Vec<Duration> = left.windows(2).map(|w| w[1].since(w[0])).collect();
    assert!(waits.iter().all(|w| *w >= Duration::from_millis(250) && *w <= Duration::from_secs(61)), "{waits:?}");
    assert!(waits.iter().max() > Some(&Duration::from_secs(20)), "{waits:?}");
    // The first is free; ten tokens, and one more for each five seconds.
    for (n, at) in left.iter().enumerate().skip(1) {
        assert!(n as u64 <= 10 + at.since(left[0]).as_secs() / 5, "{n} by {at:?}");
    }
    assert!(left.len() > 5, "it goes on asking");
}

#[test]
fn an_authority_that_is_back_is_asked_at_once() {
    let mut b = restarted();
    refused_for(&mut b, Duration::from_secs(300));
    let before = b.count("Propose");
    b.give(vec![Input::Net(Event::Down { link: Link::to(Peer::Zone), why: Down::Reset })]);
    b.now += Duration::from_secs(1);
    b.up(Link::to(Peer::Zone));
    assert_eq!(b.count("Propose"), before + 1);
    let (batch, wish) = wished(&b);
    assert_eq!(wish.cause, wire::Cause::Restarted);
    b.zone(wire::Proposed { batch, outcomes: vec![ProposalOutcome::Granted { config: alone(2) }] });
    assert_eq!(b.read(2, 5), Some(0));
}

#[test]
fn who_registers_and_is_not_answered_has_ten_tokens_and_then_one_each_five_seconds() {
    let mut b = restarted();
    let registered = |b: &mut Bench, times: usize| {
        let before = b.count("Register");
        for _ in 0..times {
            b.give(vec![Input::Net(Event::Down { link: Link::to(Peer::Zone), why: Down::Reset })]);
            b.up(Link::to(Peer::Zone));
        }
        b.count("Register") - before
    };
    assert_eq!(registered(&mut b, 50), 1 + 10);
    assert_eq!(b.count("Propose"), b.count("Register"), "nobody is asked anything before he knows who asks");
    // It is not forgotten: on the link that is up it registers as soon as it may.
    let before = b.count("Register");
    b.now = b.node.deadline().unwrap();
    b.give(vec![]);
    assert_eq!((b.count("Register"), b.now <= Time::ZERO + Duration::from_secs(6)), (before + 1, true));
    b.zone(wire::Directory { nodes: vec![] });
    assert_eq!(registered(&mut b, 1), 1, "this one was answered");
}
