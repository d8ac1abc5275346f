//! The world keeps the promises of `base::io` to small machines, in bad weather too.

use base::io::disk::{Op as DiskOp, OpId};
use base::io::net::{
    Addresses, Class, Down, Event as NetEvent, Frame, Lane, Link, Network, Op as NetOp, Peer, Side, Traffic,
};
use base::io::{Inbox, Input, Machine, Outbox};
use base::mutant::Mutation;
use base::time::Duration;
use base::{NodeId, Payload, Rng, Time};
use sim::clock::Moment;
use sim::disk::{Disk, Speed};
use sim::net::weather::{Crowd, Trouble, What};
use sim::world::{Blind, Happening, Pid, World};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const A: Peer = Peer::Node(NodeId(1));
const B: Peer = Peer::Node(NodeId(2));

/// What both ends know of each other, though no machine could: for the test to compare.
#[derive(Default)]
struct Ledger {
    ups: u64,
    received: u64,
    heard: [u64; 2],
    ordered: [u64; 2],
    silent: [u64; 2],
    downs: Vec<Down>,
    told: u64,
    heard_told: u64,
    asked: u64,
    traffic: Traffic,
}

enum Role {
    /// Sends numbered frames of a numbered life to B and listens to what B tells.
    Caller { life: u64, next: u64, up: bool, told_at: BTreeMap<Time, u64>, heard_told: u64 },
    /// Checks that each life's frames come whole, once and in order; tells how many it has told on the accepted link.
    Called { life: u64, next: u64, up: bool },
}

struct Chatter {
    role: Role,
    next_at: Time,
    ledger: Rc<RefCell<Ledger>>,
    strict: bool,
}

fn number(frame: &Frame) -> (u64, u64) {
    let at = |i: usize| u64::from_le_bytes(frame.head[i..i + 8].try_into().unwrap());
    (at(0), at(8))
}

fn numbered(a: u64, b: u64, bytes: usize) -> Frame {
    let head = [a.to_le_bytes(), b.to_le_bytes()].concat();
    let data = if bytes == 0 { vec![] } else { vec![Payload::from(vec![7; bytes]), Payload::zero_block()] };
    Frame { kind: 0x20, head: head.into(), data }
}

impl Machine for Chatter {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        let mut ledger = self.ledger.borrow_mut();
        let ledger = &mut *ledger;
        let mut began = false;
        for input in inbox.drain(..) {
            match (input, &mut self.role) {
                (Input::Net(NetEvent::Up { link }), Role::Caller { life, next, up, heard_told, .. })
                    if link == Link::to(B) =>
                {
                    ledger.ups += 1;
                    *life += 1;
                    *next = 1;
                    *up = true;
                    // What was told on an earlier life may be lost with it.
                    *heard_told = ledger.told;
                    began = true;
                }
                (Input::Net(NetEvent::Up { link }), Role::Called { next, up, .. }) if link == Link::from(A) => {
                    *next = 0;
                    *up = true;
                }
                (Input::Net(NetEvent::Frame { from, frame }), Role::Called { life, next, .. }) => {
                    assert_eq!(from, Link::from(A));
                    let (sent_life, n) = number(&frame);
                    if n == 0 {
                        assert!(sent_life > *life, "a life began twice, or an old one came after a new one");
                        *life = sent_life;
                    }
                    assert_eq!((sent_life, n), (*life, *next), "frames come whole, once and in order");
                    assert!(frame.data.len() <= 1);
                    *next += 1;
                    ledger.received += 1;
                }
                (Input::Net(NetEvent::Frame { frame, .. }), Role::Caller { heard_told, .. }) => {
                    *heard_told = (*heard_told).max(number(&frame).0);
                    ledger.heard_told = *heard_told;
                }
                (
                    Input::Net(NetEvent::Heard { network, ordered, asked, .. }),
                    Role::Caller { told_at, heard_told, .. },
                ) => {
                    ledger.heard[network as usize] += 1;
                    ledger.ordered[network as usize] += u64::from(ordered);
                    if self.strict && ordered {
                        let told_by_then = told_at.range(..=asked).next_back().map_or(0, |(_, told)| *told);
                        assert!(*heard_told >= told_by_then, "an answer overtook what was told before it");
                    }
                }
                (Input::Net(NetEvent::Silent { network, .. }), _) => ledger.silent[network as usize] += 1,
                (Input::Net(NetEvent::Down { link, why }), Role::Caller { up, .. }) => {
                    assert_eq!(link, Link::to(B));
                    *up = false;
                    ledger.downs.push(why);
                }
                _ => {}
            }
        }
        // A link may come up and go down within a turn; what is sent then waits for the next life.
        if let Role::Caller { life, up: true, .. } = &self.role
            && began
        {
            out.send(Link::to(B), numbered(*life, 0, 0));
        }
        if now < self.next_at && self.next_at != Time::ZERO {
            return;
        }
        match &mut self.role {
            Role::Caller { life, next, up, told_at, .. } => {
                if self.next_at == Time::ZERO {
                    out.net(NetOp::Watch { peer: B, wanted: true });
                } else if *up {
                    out.send(Link::to(B), numbered(*life, *next, if *next % 5 == 0 { 8192 } else { 0 }));
                    *next += 1;
                }
                told_at.insert(now, ledger.told);
            }
            Role::Called { up, .. } if *up => {
                ledger.told += 1;
                out.send(Link::from(A), numbered(ledger.told, 0, 0));
            }
            Role::Called { .. } => {}
        }
        self.next_at = now + Duration::from_millis(7);
    }
    fn deadline(&self) -> Option<Time> {
        Some(self.next_at)
    }
}

struct Pair {
    world: World<Chatter, Blind>,
    a: Pid,
    b: Pid,
    ledger: Rc<RefCell<Ledger>>,
    strict: bool,
}

fn address(n: u16) -> Addresses {
    Addresses { primary: ([10, 0, 0, 1], n).into(), replication: Some(([10, 1, 0, 1], n).into()) }
}

impl Pair {
    fn new(seed: u64, strict: bool) -> Self {
        let mut world = World::new(&Rng::new(seed), Blind, 0);
        let a = world.add(A, Some(address(1)), false);
        let b = world.add(B, Some(address(2)), false);
        let mut pair = Self { world, a, b, ledger: Rc::default(), strict };
        pair.start_a();
        pair.start_b();
        pair
    }
    fn start_a(&mut self) {
        // A caller that starts again must not repeat the numbers of its lives.
        let life = self.ledger.borrow().ups * 1000;
        let role = Role::Caller { life, next: 0, up: false, told_at: BTreeMap::new(), heard_told: 0 };
        let machine = Chatter { role, next_at: Time::ZERO, ledger: self.ledger.clone(), strict: self.strict };
        self.world.start(self.a, machine, &[(B, address(2))]);
    }
    fn start_b(&mut self) {
        let role = Role::Called { life: 0, next: 0, up: false };
        let machine = Chatter { role, next_at: Time::ZERO, ledger: self.ledger.clone(), strict: self.strict };
        self.world.start(self.b, machine, &[(A, address(1))]);
    }
    fn run_for(&mut self, ms: u64) {
        self.run_for_us(ms * 1000);
    }
    fn run_for_us(&mut self, us: u64) {
        self.world.alarm(self.world.now() + Duration::from_micros(us), 0);
        while self.world.go_on() != Happening::Alarm(0) {}
    }
    fn cut(&mut self, from: Pid, to: Pid) -> sim::net::weather::TroubleId {
        let what = What::Cut;
        self.world.net.weather.begin(Trouble { from: Crowd::of([from]), to: Crowd::of([to]), network: None, what })
    }
}

#[test]
fn a_quiet_network_carries_frames_and_keepalives_on_both_networks() {
    let mut pair = Pair::new(1, true);
    pair.run_for(10_000);
    let ledger = pair.ledger.borrow();
    assert!(ledger.received > 1300, "{}", ledger.received);
    assert_eq!((ledger.ups, ledger.downs.as_slice(), ledger.silent), (1, &[][..], [0, 0]));
    assert!(
        ledger.heard[0] > 80 && ledger.heard[0] < 140,
        "a busy peer is pinged ten times a second: {:?}",
        ledger.heard
    );
    assert!(ledger.heard[1].abs_diff(ledger.heard[0]) <= 2, "both networks are pinged together: {:?}", ledger.heard);
    assert_eq!(ledger.ordered, [ledger.heard[0], 0]);
}

#[test]
fn pings_that_are_answered_at_once_say_the_same() {
    let heard = |prompt| {
        let mut pair = Pair::new(1, true);
        pair.world.net.prompt = prompt;
        pair.run_for(10_000);
        let events = pair.world.census().events;
        pair.world.freeze(pair.b);
        pair.run_for(1000);
        let silent = pair.ledger.borrow().silent;
        pair.world.thaw(pair.b);
        pair.run_for(1000);
        let ledger = pair.ledger.borrow();
        assert_eq!((ledger.ups, ledger.downs.as_slice()), (1, &[][..]));
        (ledger.heard, silent, events)
    };
    let ((under_way, told, all), (at_once, told_too, fewer)) = (heard(false), heard(true));
    assert_eq!((told, told_too), ([1, 1], [1, 1]), "who is frozen answers nothing");
    assert!((0..2).all(|n| under_way[n].abs_diff(at_once[n]) <= 3), "{under_way:?} and {at_once:?}");
    assert!(fewer + 300 < all, "{fewer} events instead of {all}");
}

#[test]
fn a_dead_process_refuses_and_a_dark_computer_is_silent() {
    let mut pair = Pair::new(2, true);
    pair.run_for(1000);
    pair.world.kill(pair.b, false);
    pair.run_for(3000);
    {
        let mut ledger = pair.ledger.borrow_mut();
        assert_eq!(ledger.downs[0], Down::Reset);
        assert!(
            ledger.downs.len() > 3 && ledger.downs[1..].iter().all(|why| *why == Down::Refused),
            "{:?}",
            ledger.downs
        );
        ledger.downs.clear();
    }
    pair.start_b();
    pair.run_for(2000);
    assert_eq!(pair.ledger.borrow().ups, 2, "it reconnects by itself");
    pair.ledger.borrow_mut().downs.clear();
    pair.world.kill(pair.b, true);
    pair.run_for(1500);
    assert_eq!((pair.ledger.borrow().silent[0], pair.ledger.borrow().downs.len()), (2, 0), "nothing tells but time");
    pair.run_for(3500);
    assert!(pair.ledger.borrow().downs.len() > 3, "its link is given up, and called again and again");
    assert!(pair.ledger.borrow().silent[1] >= 2, "a silence that lasts is said again when the link comes up");
    pair.run_for(20_000);
    assert!(pair.ledger.borrow().downs.iter().all(|why| *why == Down::Silent), "{:?}", pair.ledger.borrow().downs);
    pair.start_b();
    pair.run_for(4000);
    assert_eq!(pair.ledger.borrow().ups, 3);
}

#[test]
fn a_cut_holds_what_is_sent_and_lets_it_go_when_it_heals() {
    let mut pair = Pair::new(3, true);
    pair.run_for(1000);
    let before = pair.ledger.borrow().received;
    let cut = pair.cut(pair.a, pair.b);
    pair.run_for(2000);
    let during = pair.ledger.borrow().received;
    assert!(during - before <= 1, "only what had passed");
    assert!(pair.ledger.borrow().heard_told > 200, "the other direction goes on");
    pair.world.end_trouble(Some(cut));
    pair.run_for(1000);
    let ledger = pair.ledger.borrow();
    assert!(ledger.received - during > 350, "nothing was lost: {}", ledger.received - during);
    assert_eq!((ledger.ups, ledger.silent), (1, [0, 1]), "any byte counts, and on one network bytes still came");
}

#[test]
fn a_frozen_process_is_silent_and_answers_when_it_is_thawed() {
    let mut pair = Pair::new(4, true);
    pair.run_for(1000);
    pair.world.freeze(pair.b);
    pair.run_for(1000);
    assert_eq!(pair.ledger.borrow().silent, [1, 1]);
    let during = pair.ledger.borrow().received;
    pair.world.thaw(pair.b);
    pair.run_for(500);
    let ledger = pair.ledger.borrow();
    assert!(ledger.received - during > 180 && ledger.ups == 1);
}

/// Cuts one network, both ways.
fn cut_network(pair: &mut Pair, network: Network) -> Vec<sim::net::weather::TroubleId> {
    let ways = [(pair.a, pair.b), (pair.b, pair.a)];
    let cut =
        |(from, to)| Trouble { from: Crowd::of([from]), to: Crowd::of([to]), network: Some(network), what: What::Cut };
    ways.map(|way| pair.world.net.weather.begin(cut(way))).to_vec()
}

fn heal(pair: &mut Pair, cuts: Vec<sim::net::weather::TroubleId>) {
    cuts.into_iter().for_each(|cut| pair.world.end_trouble(Some(cut)));
}

#[test]
fn a_cut_replication_network_changes_nothing_but_that_it_is_silent() {
    let mut pair = Pair::new(11, true);
    pair.run_for(1000);
    let cuts = cut_network(&mut pair, Network::Replication);
    let before = pair.ledger.borrow().received;
    pair.run_for(5000);
    {
        let ledger = pair.ledger.borrow();
        assert_eq!((ledger.ups, ledger.downs.len(), ledger.silent), (1, 0, [0, 1]));
        assert!(ledger.received - before > 600, "{}", ledger.received - before);
    }
    let heard = pair.ledger.borrow().heard[1];
    heal(&mut pair, cuts);
    pair.run_for(2000);
    assert!(pair.ledger.borrow().heard[1] > heard + 5 && pair.ledger.borrow().ups == 1);
}

#[test]
fn when_the_primary_network_is_cut_the_link_rides_the_other_one_and_goes_back_when_it_is_steady() {
    let mut pair = Pair::new(12, true);
    pair.run_for(1000);
    let cuts = cut_network(&mut pair, Network::Primary);
    pair.run_for(400);
    assert_eq!((pair.ledger.borrow().ups, pair.ledger.borrow().silent), (2, [1, 0]), "a new life of it within 400 ms");
    let (before, ordered) = (pair.ledger.borrow().received, pair.ledger.borrow().ordered);
    pair.run_for(5000);
    {
        let ledger = pair.ledger.borrow();
        assert!(ledger.received - before > 600, "frames go on: {}", ledger.received - before);
        assert!(ledger.ordered[1] > 30 && ledger.ordered[0] == ordered[0], "and keepalives behind them");
        assert_eq!((ledger.ups, ledger.downs.as_slice()), (2, &[Down::Reset][..]));
    }
    let sent = |pair: &Pair, class| pair.world.net.sent.get(Network::Replication, class);
    assert!(sent(&pair, Class::Replication) > 100_000);
    assert_eq!(sent(&pair, Class::Client), 0);
    heal(&mut pair, cuts);
    pair.run_for(2500);
    assert_eq!(pair.ledger.borrow().ups, 2, "not before it is steady");
    pair.run_for(2500);
    let aside = sent(&pair, Class::Replication);
    pair.run_for(1000);
    let ledger = pair.ledger.borrow();
    assert_eq!((ledger.ups, sent(&pair, Class::Replication)), (3, aside), "then back, and nothing rides it any more");
    assert_eq!(ledger.downs, [Down::Reset, Down::Reset]);
}

#[test]
fn a_peer_behind_two_cut_networks_is_silent_on_both_and_the_first_to_heal_carries_it() {
    let mut pair = Pair::new(13, true);
    pair.run_for(1000);
    let primary = cut_network(&mut pair, Network::Primary);
    let replication = cut_network(&mut pair, Network::Replication);
    pair.run_for(3000);
    assert_eq!((pair.ledger.borrow().ups, pair.ledger.borrow().silent), (1, [1, 1]));
    heal(&mut pair, replication);
    let before = pair.ledger.borrow().received;
    pair.run_for(3000);
    assert!(pair.ledger.borrow().received > before + 200 && pair.ledger.borrow().ups == 2);
    // The process dies: the address that refuses is heard of, whatever network was ridden.
    pair.ledger.borrow_mut().downs.clear();
    pair.world.kill(pair.b, false);
    pair.run_for(500);
    assert!(pair.ledger.borrow().downs.contains(&Down::Refused), "{:?}", pair.ledger.borrow().downs);
    pair.start_b();
    heal(&mut pair, primary);
    let before = pair.ledger.borrow().received;
    pair.run_for(8000);
    assert!(pair.ledger.borrow().received > before + 500);
}

/// Sends far more than the replication network carries as soon as its link rides it: in the second life of the link, here.
struct Flood {
    caller: bool,
    ledger: Rc<RefCell<Ledger>>,
    begun: bool,
}

const FLOOD_FRAMES: u64 = 200;

impl Machine for Flood {
    fn step(&mut self, _: Time, inbox: &mut Inbox, out: &mut Outbox) {
        let mut ledger = self.ledger.borrow_mut();
        for input in inbox.drain(..) {
            match input {
                Input::Net(NetEvent::Up { link }) if link == Link::to(B) => {
                    ledger.ups += 1;
                    let frame = || Frame { kind: 0x20, head: vec![0; 64].into(), data: vec![vec![1; 1 << 20].into()] };
                    (0..FLOOD_FRAMES).filter(|_| ledger.ups == 2).for_each(|_| out.send(Link::to(B), frame()));
                }
                Input::Net(NetEvent::Heard { network, ordered, .. }) => {
                    ledger.heard[network as usize] += 1;
                    ledger.ordered[network as usize] += u64::from(ordered);
                }
                Input::Net(NetEvent::Silent { network, .. }) => ledger.silent[network as usize] += 1,
                Input::Net(NetEvent::Frame { .. }) => ledger.received += 1,
                Input::Net(NetEvent::Counted(traffic)) => ledger.traffic = *traffic,
                _ => {}
            }
        }
        if self.caller && !std::mem::replace(&mut self.begun, true) {
            out.net(NetOp::Watch { peer: B, wanted: true });
        }
        if self.caller && ledger.asked < ledger.heard[1] {
            ledger.asked = ledger.heard[1];
            out.net(NetOp::Count);
        }
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn a_link_that_fills_the_replication_network_keeps_to_its_share_and_no_keepalive_is_lost() {
    let mut world = World::new(&Rng::new(14), Blind, 0);
    let (a, b) = (world.add(A, Some(address(1)), false), world.add(B, Some(address(2)), false));
    let ledger: Rc<RefCell<Ledger>> = Rc::default();
    let machine = |caller| Flood { caller, ledger: ledger.clone(), begun: false };
    world.start(b, machine(false), &[]);
    world.start(a, machine(true), &[(B, address(2))]);
    let run_for = |world: &mut World<Flood, Blind>, ms| {
        world.alarm(world.now() + Duration::from_millis(ms), 0);
        while world.go_on() != Happening::Alarm(0) {}
    };
    run_for(&mut world, 1000);
    let (from, to, network, what) = (Crowd::of([a, b]), Crowd::of([a, b]), Some(Network::Primary), What::Cut);
    world.net.weather.begin(Trouble { from, to, network, what });
    run_for(&mut world, 1400);
    let share = wire::share::CAPACITY * 9 / 10;
    let begun = ledger.borrow().received << 20;
    // A burst of a tenth of a second, and the share: neither less nor more.
    assert!(begun > share * 8 / 10 && begun < share * 14 / 10, "{begun}");
    run_for(&mut world, 3000);
    let ledger = ledger.borrow();
    assert_eq!((ledger.received, ledger.ups, ledger.silent), (FLOOD_FRAMES, 2, [2, 0]), "nobody is isolated");
    let (pings, pongs) = (ledger.traffic.pings[1], ledger.traffic.pongs[1]);
    assert!(pings > 20 && pongs + 3 >= pings, "{pongs} of {pings} keepalives were answered");
    assert_eq!((ledger.traffic.aside, ledger.traffic.misrouted), (1, 0));
    assert_eq!(ledger.traffic.sent, world.net.sent);
}

/// The network towards B stands still while A gives a connection up and opens another, so that what was under way on the first arrives behind the hello of the second.
fn given_up(seed: u64, mutation: Mutation) -> u64 {
    let mut pair = Pair::new(seed, false);
    pair.world.net.mutation = mutation;
    let mut rng = Rng::new(seed).split("given up");
    for _ in 0..20 {
        pair.run_for(rng.within(50, 200));
        pair.world.net.live().into_iter().for_each(|conn| pair.world.break_connection(conn));
        // The hello passes, and the proof does not.
        for _ in 0..rng.within(2, 12) {
            pair.run_for_us(100);
        }
        let cut = pair.cut(pair.a, pair.b);
        pair.run_for(rng.within(1, 30));
        pair.world.net.live().into_iter().for_each(|conn| pair.world.break_connection(conn));
        pair.run_for(rng.within(1, 30));
        pair.world.end_trouble(Some(cut));
        pair.run_for(400);
    }
    pair.ledger.borrow().ups
}

#[test]
fn a_connection_that_was_given_up_never_comes_after_its_successor() {
    let ups: u64 = (0..40).map(|seed| given_up(seed, Mutation::NONE)).sum();
    assert!(ups > 1000, "{ups} lives");
}

#[cfg(feature = "mutants")]
#[test]
#[should_panic = "a life began twice, or an old one came after a new one"]
fn a_late_proof_that_is_taken_is_found() {
    for seed in 0..40 {
        given_up(seed, Mutation::of(base::mutant::Mutant::LateProofTaken));
    }
}

/// Every trouble at once; the machines assert what they are promised.
fn storm(seed: u64, prompt: bool) -> (u64, u64, u64) {
    let mut pair = Pair::new(seed, false);
    pair.world.net.prompt = prompt;
    pair.world.net.weather.damage_ppm = 2000;
    let mut rng = Rng::new(seed).split("storm");
    let mut cuts = Vec::new();
    for _ in 0..200 {
        pair.run_for(rng.within(1, 400));
        let (a, b) = if rng.chance(1, 2) { (pair.a, pair.b) } else { (pair.b, pair.a) };
        match rng.below(7) {
            0 => cuts.push(pair.cut(a, b)),
            1 => cuts.pop().into_iter().for_each(|cut| pair.world.end_trouble(Some(cut))),
            2 => pair.world.net.live().first().into_iter().for_each(|conn| pair.world.break_connection(*conn)),
            3 if pair.world.state(pair.b) == sim::world::State::Running => {
                pair.world.kill(pair.b, rng.chance(1, 2));
            }
            3 | 4 if pair.world.machine(pair.b).is_none() => pair.start_b(),
            5 => {
                pair.world.kill(pair.a, false);
                pair.start_a();
            }
            _ => pair.run_for(300),
        }
    }
    pair.world.end_trouble(None);
    if pair.world.machine(pair.b).is_none() {
        pair.start_b();
    }
    let before = pair.ledger.borrow().received;
    pair.run_for(15_000);
    let ledger = pair.ledger.borrow();
    assert!(ledger.received > before + 500, "after the storm they talk again (seed {seed})");
    (pair.world.trace.hash(), ledger.ups, pair.world.net.damaged)
}

#[test]
fn in_a_storm_links_keep_their_promises_and_a_seed_is_a_run() {
    let (mut hashes, mut ups, mut damaged) = (std::collections::BTreeSet::new(), 0, 0);
    for seed in 0..30 {
        let outcome = storm(seed, false);
        assert_eq!(outcome, storm(seed, false), "seed {seed} must repeat itself");
        assert_ne!(outcome.0, storm(seed, true).0, "some pings are answered at once (seed {seed})");
        hashes.insert(outcome.0);
        ups += outcome.1;
        damaged += outcome.2;
    }
    assert_eq!(hashes.len(), 30, "seeds differ");
    assert!(ups > 300 && damaged > 100, "the storm was one: {ups} lives, {damaged} damaged frames");
}

/// Writes blocks of a row of 64, several at once, and remembers which were acknowledged as durable.
struct Scribe {
    ledger: Rc<RefCell<Written>>,
    in_flight: BTreeSet<u64>,
}

#[derive(Default)]
struct Written {
    next: u64,
    durable: BTreeMap<u64, u64>,
    order: Vec<u64>,
}

impl Machine for Scribe {
    fn step(&mut self, _: Time, inbox: &mut Inbox, out: &mut Outbox) {
        let mut ledger = self.ledger.borrow_mut();
        for input in inbox.drain(..) {
            let Input::Disk(done) = input else { continue };
            assert!(done.result.is_ok());
            assert!(self.in_flight.remove(&done.id.0));
            ledger.order.push(done.id.0);
            ledger.durable.insert(done.id.0 % 64, done.id.0);
        }
        // Two writes of one block are never in flight together.
        while self.in_flight.len() < 8 && self.in_flight.first().is_none_or(|oldest| ledger.next < oldest + 64) {
            let id = ledger.next;
            ledger.next += 1;
            self.in_flight.insert(id);
            let parts = vec![Payload::from(vec![(id % 251) as u8; 4096])];
            out.disk(DiskOp::Write { id: OpId(id), at: id % 64 * 4096, parts, durable: true });
        }
    }
    fn deadline(&self) -> Option<Time> {
        None
    }
}

#[test]
fn a_disk_ends_out_of_order_and_keeps_what_it_acknowledged() {
    let mut world = World::new(&Rng::new(5), Blind, 0);
    let pid = world.add(A, None, false);
    world.give_disk(pid, Disk::new(64 * 4096, Speed::default(), Rng::new(6)));
    let ledger: Rc<RefCell<Written>> = Rc::default();
    for round in 0..50 {
        world.start(pid, Scribe { ledger: ledger.clone(), in_flight: BTreeSet::new() }, &[]);
        world.alarm(Moment(world.now().0 + 5_000_000), 0);
        while world.go_on() != Happening::Alarm(0) {}
        world.kill(pid, round % 2 == 0);
        let disk = world.disk(pid).unwrap();
        let ledger = ledger.borrow();
        for (place, id) in &ledger.durable {
            let (serial, _) = disk.submit(DiskOp::Read { id: OpId(0), at: place * 4096, len: 4096 });
            let bytes = disk.end(serial).unwrap().result.unwrap();
            let allowed: Vec<u8> = (*id..ledger.next).step_by(64).map(|id| (id % 251) as u8).collect();
            assert!(bytes.iter().all(|b| allowed.contains(b)), "place {place} lost write {id} in round {round}");
        }
    }
    let order = &ledger.borrow().order;
    assert!(order.len() > 500 && order.windows(2).any(|w| w[0] > w[1]), "some ended before older ones");
}

#[test]
fn a_link_that_nobody_watches_opens_when_it_is_used_and_says_why_it_cannot() {
    struct Once {
        asked: bool,
        events: Rc<RefCell<Vec<String>>>,
    }
    impl Machine for Once {
        fn step(&mut self, _: Time, inbox: &mut Inbox, out: &mut Outbox) {
            for input in inbox.drain(..) {
                if let Input::Net(event) = input {
                    let text = match event {
                        NetEvent::Frame { from, .. } => format!("frame {:?}", from.side),
                        NetEvent::Up { link } => format!("up {:?} {:?}", link.side, link.lane),
                        NetEvent::Down { link, why } => format!("down {} {why:?}", link.peer),
                        other => format!("{other:?}"),
                    };
                    self.events.borrow_mut().push(text);
                }
            }
            if !std::mem::replace(&mut self.asked, true) {
                out.send(Link::bulk(B), numbered(1, 1, 100));
                out.send(Link { peer: Peer::Zone, lane: Lane::Data, side: Side::Opened }, numbered(1, 1, 0));
            }
        }
        fn deadline(&self) -> Option<Time> {
            None
        }
    }
    let mut world = World::new(&Rng::new(7), Blind, 0);
    let a = world.add(A, Some(address(1)), false);
    let b = world.add(B, Some(address(2)), false);
    let seen_a: Rc<RefCell<Vec<String>>> = Rc::default();
    let seen_b: Rc<RefCell<Vec<String>>> = Rc::default();
    world.start(b, Once { asked: true, events: seen_b.clone() }, &[]);
    world.start(a, Once { asked: false, events: seen_a.clone() }, &[(B, address(2))]);
    world.alarm(Moment(1_000_000_000), 0);
    while world.go_on() != Happening::Alarm(0) {}
    // Nobody said where the zone is.
    assert_eq!(*seen_a.borrow(), ["down zone Unknown", "up Opened Bulk"]);
    assert_eq!(*seen_b.borrow(), ["up Accepted Bulk", "frame Accepted"]);
}
