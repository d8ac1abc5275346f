//! What each mechanism of isolation does, as a story of its own. Each is told of a region that is right, and of each that is wrong in one small way.
#![allow(dead_code)] // Each test binary tells its own part of this.

use crate::world::{Fault, ME, Mood, World};
use base::mutant::Mutation;
use region::{Class, Command, Mechanism, Policy, Quality, Refusal, Shape, Stage, ZoneNumber};

/// What a story shows, and how it is told.
pub type Story = (&'static str, fn(Mutation));

/// All of them.
pub const STORIES: [Story; 9] = [
    ("a breaker opens, lets one probe through, and closes", breaker),
    ("a zone that is gone is tried when its link is there", breaker_of_a_link),
    ("what would miss its deadline is refused at once", estimate),
    ("what nobody waits for is not said", expired),
    ("a command says how long it is worth beginning", within),
    ("a zone that is full takes nothing from another", bulkhead),
    ("a class that is stuck takes nothing from another", classes),
    ("what is shed without an end to waiting is only what finds no room", bound_alone),
    ("what is not durable is said to no zone", undurable),
];

fn world(zones: u16, mutation: Mutation) -> World {
    World::with(zones, Policy { mutation, ..Policy::default() }, 1)
}

fn busy(zone: u16) -> Option<Result<region::Answer, Refusal>> {
    Some(Err(Refusal::Busy { zone: Some(ZoneNumber(zone)) }))
}

/// Asks, and is told if it is answered at once.
fn asks(w: &mut World, command: Command) -> Option<Result<region::Answer, Refusal>> {
    let ticket = w.ask(command);
    w.run();
    w.replies.remove(&ticket)
}

fn creates(w: &mut World, zone: u16, how_many: usize) -> Vec<u64> {
    let tickets = (0..how_many).map(|_| w.ask(World::create(zone, 1, None))).collect();
    w.run();
    tickets
}

fn breaker(mutation: Mutation) {
    let mut w = world(2, mutation);
    w.zone(0).mood = Mood::Deaf;
    let few = w.policy.breaker_after as usize;
    creates(&mut w, 0, few);
    // Nothing is known of it yet.
    assert_eq!(asks(&mut w, World::create(0, 1, None)), None);
    w.pass_ms(5001);
    let heard = w.zone(0).asked;
    assert_eq!(heard, few as u64 + 1);
    // It is open: nobody waits, and the zone hears nothing.
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0));
    w.pass_ms(4000);
    assert_eq!((asks(&mut w, World::create(0, 1, None)), w.zone(0).asked), (busy(0), heard));
    // One may try, which is something that goes on anyhow; nobody else waits for what becomes of it.
    w.pass_ms(1500);
    assert_eq!((asks(&mut w, World::create(0, 1, None)), w.zone(0).asked), (busy(0), heard + 1));
    // In vain: it is open again.
    w.pass_ms(5000);
    assert_eq!((asks(&mut w, World::create(0, 1, None)), w.zone(0).asked), (busy(0), heard + 1));
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(6000);
    assert_eq!(w.region.volumes(ME, None).filter(|v| v.stage == Stage::There).count(), few + 1);
    w.made(World::create(0, 1, None));
    // Another class had nothing to do with it, and no other zone.
    assert_eq!(w.zone(1).asked, 0);
}

fn breaker_of_a_link(mutation: Mutation) {
    let mut w = world(1, mutation);
    w.link(ZoneNumber(0), false);
    let few = w.policy.breaker_after as usize;
    creates(&mut w, 0, few);
    w.pass_ms(5001);
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0));
    // However long that is: its link says when it is there.
    w.pass_ms(60_000);
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0));
    w.link(ZoneNumber(0), true);
    w.run();
    w.made(World::create(0, 1, None));
    w.made(World::create(0, 1, None));
    // A probe of which nobody hears, since the truth had to be read again, is none after a while, though nobody came meanwhile.
    w.zone(0).mood = Mood::Deaf;
    creates(&mut w, 0, few);
    w.pass_ms(10_500);
    w.meta.faults = vec![Fault::UnknownLost];
    w.ask(World::create(0, 1, None));
    w.ask(label(&w));
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(60_000);
    w.made(World::create(0, 1, None));
}

/// Something that makes the region write.
fn label(w: &World) -> Command {
    let volumes = w.region.volumes(ME, None).map(|volume| volume.id).take(1).collect();
    let tag = region::Tag { key: "k".into(), value: "v".into() };
    Command::Tag { account: ME, volumes, changes: vec![region::Change::Set(tag)] }
}

fn estimate(mutation: Mutation) {
    let mut w = world(2, mutation);
    w.zone(0).mood = Mood::Deaf;
    let at_once = w.policy.class_flight_max();
    creates(&mut w, 0, at_once);
    w.pass_ms(2000);
    creates(&mut w, 0, at_once);
    // Those under way have waited for 2 s, and as many wait behind them: 4 s, which is soon enough.
    assert_eq!(asks(&mut w, World::create(0, 1, None)), None);
    w.pass_ms(1000);
    // Twice 3 s is too late, though there is room.
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0));
    w.made(World::create(1, 1, None));
    // As soon as it answers there is nothing to wait for.
    w.zone(0).mood = Mood::Obeys;
    w.link(ZoneNumber(0), false);
    w.link(ZoneNumber(0), true);
    w.run();
    w.made(World::create(0, 1, None));
}

fn expired(mutation: Mutation) {
    let mut w = world(1, mutation);
    w.link(ZoneNumber(0), false);
    let late = w.ask(World::create(0, 10, Some("a")));
    w.pass_ms(3000);
    let fresh = w.ask(World::create(0, 10, Some("b")));
    w.pass_ms(2001);
    assert!(matches!(w.replies.remove(&late), Some(Err(Refusal::TimedOut { .. }))));
    // It was never said, so there is no such volume any more; the other is waited for still.
    assert_eq!(w.region.volumes(ME, None).count(), 1);
    w.link(ZoneNumber(0), true);
    w.run();
    assert!(matches!(w.replies.remove(&fresh), Some(Ok(_))));
    assert_eq!((w.zone(0).asked, w.zone(0).volumes.len()), (1, 1));
    // Who asks again by the same name is served, once.
    w.made(World::create(0, 10, Some("a")));
    assert_eq!((w.zone(0).asked, w.zone(0).volumes.len()), (2, 2));
    // The same while the metadata store does nothing: it was decided, and nobody waits for it when it is durable.
    w.meta.stopped = true;
    w.ask(World::create(0, 10, Some("c")));
    w.pass_ms(5001);
    w.meta.stopped = false;
    w.pass_ms(10);
    assert_eq!((w.zone(0).asked, w.region.volumes(ME, None).count()), (2, 2));
    // What a region before this one may have said is asked for, whoever waits.
    w.zone(0).mood = Mood::Mute;
    w.ask(World::create(0, 10, Some("d")));
    w.run();
    w.link(ZoneNumber(0), false);
    w.restart();
    w.pass_ms(6000);
    w.zone(0).mood = Mood::Obeys;
    w.link(ZoneNumber(0), true);
    w.pass_ms(1);
    assert_eq!(w.region.volumes(ME, None).filter(|v| v.stage == Stage::There).count(), 3);
}

fn within(mutation: Mutation) {
    let mut w = world(1, mutation);
    w.zone(0).mood = Mood::Mute;
    creates(&mut w, 0, 1);
    w.link(ZoneNumber(0), false);
    w.pass_ms(2000);
    w.link(ZoneNumber(0), true);
    w.run();
    assert_eq!(w.zone(0).within_ms, [5000, 3000], "what is left of five seconds");
    // When nobody waits any more, what goes on is worth its own time.
    w.pass_ms(20_000);
    assert_eq!(w.zone(0).within_ms.last(), Some(&5000));
}

fn bulkhead(mutation: Mutation) {
    let (policy, edge) = (Policy { mutation, ..Policy::for_edge(256, 3) }, 256);
    let mut w = World::with(3, policy.clone(), 1);
    assert!(policy.zone_waits_max * 3 + policy.shared_waits_max <= edge - edge / 4, "reading needs no zone");
    for zone in [0, 1] {
        w.zone(zone).mood = Mood::Deaf;
        creates(&mut w, zone, 300);
        assert_eq!(asks(&mut w, World::create(zone, 1, None)), busy(zone));
    }
    let waiting = w.region.fills()[1].0;
    assert!(waiting <= policy.zone_waits_max * 2 + policy.shared_waits_max, "{waiting} wait for two zones");
    // The third has all that is its own.
    let own = policy.class_waits_max();
    w.zone(2).mood = Mood::Deaf;
    creates(&mut w, 2, own);
    assert_eq!(w.region.fills()[1].0, waiting + own);
    assert_eq!(w.zone(2).asked, policy.class_flight_max() as u64);
}

fn classes(mutation: Mutation) {
    let mut w = world(1, mutation);
    let ids: Vec<_> = (0..8).map(|_| w.made(World::create(0, 1, None)).id).collect();
    let heard = w.zone(0).asked;
    w.zone(0).mood = Mood::Deaf;
    creates(&mut w, 0, 300);
    let said = w.policy.class_flight_max() as u64;
    assert_eq!(w.zone(0).asked, heard + said);
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0));
    // What takes room back is said, whatever waits for room.
    w.zone(0).mood = Mood::Obeys;
    for volume in ids {
        let gone = asks(&mut w, Command::DeleteVolume { account: ME, volume });
        assert!(matches!(gone, Some(Ok(_))), "{gone:?}");
    }
    assert_eq!(Class::ALL.len(), 3);
}

fn bound_alone(mutation: Mutation) {
    let policy = Policy { without: Some(Mechanism::Deadline), mutation, ..Policy::default() };
    let mut w = World::with(1, policy, 1);
    w.zone(0).mood = Mood::Deaf;
    let tickets = creates(&mut w, 0, 64);
    assert_eq!(asks(&mut w, World::create(0, 1, None)), busy(0), "the bound is one without any estimate");
    w.pass_ms(600_000);
    assert!(tickets.iter().all(|ticket| !w.replies.contains_key(ticket)), "without it they wait for ever");
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(20_000);
    assert!(tickets.iter().all(|ticket| matches!(w.replies.get(ticket), Some(Ok(_)))));
}

fn undurable(mutation: Mutation) {
    let mut w = world(1, mutation);
    let id = w.made(World::create(0, 1, None)).id;
    // A change of it becomes durable while its end is decided and is not.
    w.meta.stopped = true;
    let Shape { size, throttle, .. } = World::shape(0, 2);
    let to = Quality { size, throttle, label: "fast".into() };
    w.ask(Command::ModifyVolume { account: ME, volume: id, to, at_ms: 1_000_000 });
    w.step();
    let ticket = w.ask(Command::DeleteVolume { account: ME, volume: id });
    w.step();
    w.meta.stopped = false;
    w.step();
    w.meta.faults = vec![Fault::UnknownLost];
    w.pass_ms(10_000);
    assert_eq!(w.replies.get(&ticket), Some(&Err(Refusal::Unknown)));
    assert_eq!(w.region.volume(ME, id).map(|volume| volume.stage), Some(Stage::There));
    assert!(w.zone(0).volumes.contains_key(&id), "the zone did what its region does not know of");
}
