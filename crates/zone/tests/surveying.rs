//! A zone tells its region which hosts there are and which volumes are not well, and no others.

mod world;

use base::io::net::Peer;
use base::{ShardId, VolumeId};
use wire::{AilingVolume, ErrorCode, HostReport, HostState, Message, StuckShard, Survey, Surveyed, VolumeCondition};
use world::World;

fn survey(w: &mut World) -> Surveyed {
    match w.told(Survey {}) {
        Message::Surveyed(told) => {
            assert_eq!((told.hosts.len() as u32, told.ailing.len() as u32), (told.hosts_in_all, told.ailing_in_all));
            told
        }
        other => panic!("{other:?}"),
    }
}

fn stuck(volume: VolumeId, waiting_ms: u64) -> HostReport {
    let shard = ShardId { volume, index: 0 };
    HostReport { stuck: vec![StuckShard { shard, epoch: base::Epoch(1), waiting_ms }], throttled: vec![] }
}

#[test]
fn hosts_are_told_with_whether_they_are_in_touch() {
    let mut w = World::new(3);
    assert_eq!(survey(&mut w), Surveyed { hosts: vec![], hosts_in_all: 0, ailing: vec![], ailing_in_all: 0 });
    let (a, b) = (w.add_host(1), w.add_host(2));
    w.down(Peer::Host(b));
    w.run();
    let told = survey(&mut w).hosts;
    let both: Vec<_> = told.iter().map(|HostState { host, connected, .. }| (*host, *connected)).collect();
    assert_eq!(both, [(a, true), (b, false)]);
}

#[test]
fn volumes_that_lack_copies_or_stand_still_are_named_with_since_when() {
    let mut w = World::new(3);
    let (volume, _well) = (w.volume(1, 3), w.volume(1, 2));
    assert_eq!(survey(&mut w).ailing, []);
    let members: Vec<u64> = w.first(volume).members.iter().map(|m| m.node.0).collect();
    members.iter().for_each(|n| w.kill(*n));
    w.pass_ms(20_000);
    let told = survey(&mut w).ailing;
    let found = told.iter().find(|ailing| ailing.volume == volume).expect("nobody serves it");
    assert!(!matches!(found.condition, VolumeCondition::Ok) && found.for_ms > 0 && found.for_ms <= 20_000, "{found:?}");
    assert_eq!(found.waiting_ms, 0, "no host has it");
}

#[test]
fn a_volume_whose_host_waits_is_named_until_it_waits_no_more_or_is_gone() {
    let mut w = World::new(3);
    let (volume, other, host) = (w.volume(1, 3), w.volume(1, 3), w.add_host(1));
    let generation = w.attach(volume, host);
    let size = w.state(volume).info.size;
    w.say(Peer::Host(host), wire::AttachState { volume, generation, open: true, size });
    w.run();
    let waits = |w: &mut World, of, ms| {
        w.say(Peer::Host(host), stuck(of, ms));
        w.run();
        survey(w).ailing
    };
    assert_eq!(waits(&mut w, other, 900), [], "it has not that one");
    let ailing = AilingVolume { volume, condition: VolumeCondition::Ok, for_ms: 900, waiting_ms: 900 };
    assert_eq!(waits(&mut w, volume, 900), [ailing]);
    w.pass_ms(500);
    assert_eq!(survey(&mut w).ailing[0].waiting_ms, 1400);
    assert_eq!(waits(&mut w, volume, 0), []);
    assert_eq!(waits(&mut w, volume, 100).len(), 1);
    w.down(Peer::Host(host));
    w.run();
    assert_eq!(survey(&mut w).ailing, [], "nobody says so any more");
}

#[test]
fn a_volume_is_released_when_its_host_says_that_nobody_uses_it() {
    let mut w = World::new(3);
    let (volume, host, other) = (w.volume(1, 3), w.add_host(1), w.add_host(2));
    w.attach(volume, host);
    let release = |volume, by_force| wire::ReleaseVolume { volume, host, by_force };
    let refused = |w: &mut World| World::refusal(&w.told(release(volume, false)));
    let uses = |w: &mut World, volumes: Vec<VolumeId>| {
        w.say(Peer::Host(host), wire::Used { volumes });
        w.run();
    };
    // Of whom nothing was heard yet it is not known.
    assert!(matches!(refused(&mut w), (ErrorCode::Unavailable, text) if text.contains("has just begun")));
    uses(&mut w, vec![volume, VolumeId(7)]);
    assert!(matches!(refused(&mut w), (ErrorCode::InUse, text) if text.contains("disconnect its clients")));
    w.down(Peer::Host(host));
    w.run();
    assert!(matches!(refused(&mut w), (ErrorCode::Unavailable, text) if text.contains("not connected")));
    w.connect_host(host);
    w.run();
    assert_eq!(refused(&mut w).0, ErrorCode::Unavailable, "its last word was on another life of the link");
    // A process that begins again has no clients, and gets back those of its last run in a while.
    w.hosts.get_mut(&host).unwrap().incarnation += 1;
    w.connect_host(host);
    uses(&mut w, vec![]);
    w.pass_ms(9000);
    assert_eq!(refused(&mut w).0, ErrorCode::Unavailable);
    w.pass_ms(2000);
    // What another host has is not what was meant.
    let meant = wire::ReleaseVolume { volume, host: other, by_force: true };
    assert!(matches!(w.told(meant), Message::VolumeReply(_)) && w.state(volume).attached == Some(host));
    let ask = w.ask(release(volume, false));
    w.pass_ms(5000);
    assert!(matches!(w.answer(ask), Some(Message::VolumeReply(_))) && w.state(volume).attached.is_none());
    assert_eq!(World::refusal(&w.told(release(VolumeId(7), false))).0, ErrorCode::NotFound);
    // By force nobody is asked.
    w.attach(volume, host);
    uses(&mut w, vec![volume]);
    let ask = w.ask(release(volume, true));
    w.pass_ms(5000);
    assert!(matches!(w.answer(ask), Some(Message::VolumeReply(_))) && w.state(volume).attached.is_none());
}
