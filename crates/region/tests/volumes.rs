//! Volumes as their owners see them, whatever the zones and the metadata store do.

mod world;

use region::{Account, Answer, Change, Command, Phase, Refusal, Refused, Stage, Tag, ZoneNumber};
use world::{Fault, ME, Mood, World};

fn delete(volume: base::VolumeId) -> Command {
    Command::DeleteVolume { account: ME, volume }
}

#[test]
fn a_volume_is_asked_of_its_zone_and_is_there_when_the_zone_has_room_for_it() {
    // R16.
    let mut w = World::new(3);
    let volume = w.made(World::create(1, 10, None));
    assert_eq!((volume.stage, volume.shape.zone), (Stage::There, ZoneNumber(1)));
    assert_eq!(w.zone(1).volumes.keys().copied().collect::<Vec<_>>(), [volume.id]);
    assert_eq!((w.zone(0).asked, w.zone(2).asked), (0, 0));
    assert_eq!(w.region.volume(ME, volume.id), Some(&volume));
    assert_eq!(w.region.volume(Account(1), volume.id), None, "it is nobody else's");
    let gone = w.told(delete(volume.id));
    assert!(matches!(gone, Ok(Answer::Volume(v)) if v.stage == Stage::Deleting));
    assert!(w.zone(1).volumes.is_empty() && w.region.volumes(ME, None).next().is_none());
    assert_eq!(w.told(delete(volume.id)), Err(Refusal::NoSuchVolume(volume.id)));
    assert_eq!(w.meta.pairs.len(), 1, "nothing is left of it: {:?}", w.meta.pairs.keys());
}

#[test]
fn the_same_token_is_the_same_volume_until_it_is_forgotten() {
    let mut w = World::new(1);
    let first = w.made(World::create(0, 10, Some("a")));
    assert_eq!(w.made(World::create(0, 10, Some("a"))), first);
    w.restart();
    w.run();
    assert_eq!(w.made(World::create(0, 10, Some("a"))).id, first.id);
    assert_eq!(w.told(World::create(0, 11, Some("a"))), Err(Refusal::TokenTaken));
    // Somebody else's name is another name.
    let Command::CreateVolume { shape, tags, token, at_ms, .. } = World::create(0, 10, Some("a")) else {
        unreachable!()
    };
    let other = w.made(Command::CreateVolume { account: Account(7), shape, tags, token, at_ms });
    assert_ne!(other.id, first.id);
    // A deleted volume is not made again by a late retry.
    w.told(delete(first.id)).unwrap();
    let late = w.made(World::create(0, 10, Some("a")));
    assert_eq!((late.id, late.stage), (first.id, Stage::Gone));
    assert_eq!(w.region.volume(ME, first.id), None);
    assert_eq!(w.zone(0).made.len(), 2);
    // Two days later nobody sends it any more.
    let Command::CreateVolume { account, shape, tags, token, at_ms } = World::create(0, 10, Some("a")) else {
        unreachable!()
    };
    let at_ms = at_ms + 49 * 3600 * 1000;
    let another = w.made(Command::CreateVolume { account, shape, tags, token, at_ms });
    assert_ne!(another.id, first.id);
    assert!(!w.meta.pairs.contains_key(&format!("volume/{}", first.id)));
}

#[test]
fn a_full_zone_refuses_and_nothing_is_left_of_the_request() {
    // R31.
    let mut w = World::new(1);
    w.zone(0).mood = Mood::Full;
    let refused = w.told(World::create(0, 10, Some("a")));
    assert_eq!(refused, Err(Refusal::NoRoom("because NoRoom".into())));
    assert_eq!(w.meta.pairs.len(), 1);
    w.zone(0).mood = Mood::Obeys;
    w.made(World::create(0, 10, Some("a")));
}

#[test]
fn a_zone_that_cannot_now_says_so_and_whatever_it_did_is_taken_back() {
    let mut w = World::new(1);
    // It made it, and nobody heard of that.
    w.zone(0).mood = Mood::Mute;
    let ticket = w.ask(World::create(0, 10, Some("a")));
    w.run();
    assert_eq!(w.zone(0).volumes.len(), 1);
    w.zone(0).mood = Mood::Unavailable;
    w.link(ZoneNumber(0), false);
    w.link(ZoneNumber(0), true);
    w.run();
    assert_eq!(w.replies.remove(&ticket), Some(Err(Refusal::Zone("because Unavailable".into()))));
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(10_000);
    assert!(w.zone(0).volumes.is_empty() && w.meta.pairs.len() == 1);
    let again = w.made(World::create(0, 10, Some("a")));
    assert_eq!(w.zone(0).volumes.keys().copied().collect::<Vec<_>>(), [again.id]);
}

#[test]
fn a_zone_that_does_not_answer_keeps_nobody_waiting_and_takes_nothing_from_others() {
    // R32, R56.
    let mut w = World::new(2);
    w.zone(0).mood = Mood::Deaf;
    let (waits, said) = (w.policy.class_waits_max() + w.policy.shared_waits_max, w.policy.class_flight_max());
    let tickets: Vec<u64> = (0..waits).map(|_| w.ask(World::create(0, 1, None))).collect();
    w.run();
    assert_eq!(w.told(World::create(0, 1, None)), Err(Refusal::Busy { zone: Some(ZoneNumber(0)) }));
    let volume = w.made(World::create(1, 1, None));
    assert_eq!(volume.stage, Stage::There);
    w.pass_ms(5001);
    for ticket in tickets {
        assert!(matches!(w.replies.remove(&ticket), Some(Err(Refusal::TimedOut { .. }))));
    }
    // What was never said to it is no more: nobody waits for it.
    assert_eq!(w.region.volumes(ME, None).filter(|v| v.stage == Stage::Reserving).count(), said);
    // When it answers again, what it had been asked is done.
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(10_000);
    assert_eq!(w.region.volumes(ME, None).filter(|v| v.stage == Stage::There).count(), said + 1);
    assert!(w.zone(0).made.values().all(|times| *times == 1));
}

#[test]
fn who_asks_again_while_the_zone_is_silent_waits_for_the_same_volume() {
    let mut w = World::new(1);
    w.zone(0).mood = Mood::Mute;
    let first = w.ask(World::create(0, 10, Some("a")));
    w.pass_ms(5001);
    assert!(matches!(w.replies.remove(&first), Some(Err(Refusal::TimedOut { .. }))));
    let second = w.ask(World::create(0, 10, Some("a")));
    w.run();
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(5001);
    assert!(matches!(w.replies.remove(&second), Some(Ok(Answer::Volume(v))) if v.stage == Stage::There));
    assert_eq!(w.zone(0).made.len(), 1);
}

#[test]
fn a_volume_that_is_not_there_yet_cannot_be_deleted() {
    let mut w = World::new(1);
    w.zone(0).mood = Mood::Mute;
    w.ask(World::create(0, 10, None));
    w.run();
    let id = w.region.volumes(ME, None).next().unwrap().id;
    assert_eq!(w.told(delete(id)), Err(Refusal::NotNow { volume: id, stage: Stage::Reserving }));
}

#[test]
fn a_volume_that_a_host_has_is_not_deleted_now_nor_later() {
    let mut w = World::new(1);
    let id = w.made(World::create(0, 10, None)).id;
    w.zone(0).attached.insert(id, base::HostId(7));
    let why = "because InUse".to_string();
    assert_eq!(w.told(delete(id)), Err(Refusal::InUse { volume: id, why }));
    assert_eq!(w.region.volume(ME, id).unwrap().stage, Stage::There);
    w.zone(0).attached.clear();
    w.pass_ms(60_000);
    assert!(w.zone(0).volumes.contains_key(&id));
    w.told(delete(id)).unwrap();
    assert!(w.zone(0).volumes.is_empty());
}

#[test]
fn a_deletion_that_its_zone_does_not_hear_goes_on_and_nobody_waits_for_it() {
    let mut w = World::new(1);
    let id = w.made(World::create(0, 10, None)).id;
    w.zone(0).mood = Mood::Deaf;
    let tickets = [w.ask(delete(id)), w.ask(delete(id))];
    w.pass_ms(5001);
    for ticket in tickets {
        assert_eq!(w.replies.remove(&ticket), Some(Err(Refusal::TimedOut { volume: id })));
    }
    assert_eq!(w.region.volume(ME, id).unwrap().stage, Stage::Deleting);
    w.restart();
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(1);
    assert!(w.zone(0).volumes.is_empty() && w.region.volume(ME, id).is_none());
}

#[test]
fn an_account_has_so_many_volumes_and_a_zone_that_is_none_is_refused() {
    let policy = region::Policy { volumes_max: 2, ..region::Policy::default() };
    let mut w = World::with(1, policy, 1);
    let first = w.made(World::create(0, 1, None));
    w.made(World::create(0, 1, None));
    assert_eq!(w.told(World::create(0, 1, None)), Err(Refusal::TooManyVolumes { max: 2 }));
    w.told(delete(first.id)).unwrap();
    w.made(World::create(0, 1, None));
    assert_eq!(w.told(World::create(4, 1, None)), Err(Refusal::NoSuchZone));
}

#[test]
fn labels_change_together_or_not_at_all() {
    let mut w = World::new(1);
    let (a, b) = (w.made(World::create(0, 1, None)).id, w.made(World::create(0, 1, None)).id);
    let set = |key: &str, value: &str| Change::Set(Tag { key: key.into(), value: value.into() });
    let tag = |volumes: Vec<base::VolumeId>, changes| Command::Tag { account: ME, volumes, changes };
    assert_eq!(w.told(tag(vec![a, b], vec![set("b", "2"), set("a", "1"), set("b", "3")])), Ok(Answer::Done));
    let tags = |w: &World, id| -> Vec<String> {
        w.region.volume(ME, id).unwrap().tags.iter().map(|t| format!("{}={}", t.key, t.value)).collect()
    };
    assert_eq!(
        (tags(&w, a), tags(&w, b)),
        (vec!["a=1".to_string(), "b=3".into()], vec!["a=1".to_string(), "b=3".into()])
    );
    let remove = |key: &str, value: Option<&str>| Change::Remove { key: key.into(), value: value.map(Into::into) };
    assert_eq!(w.told(tag(vec![a], vec![remove("a", Some("9")), remove("b", Some("3"))])), Ok(Answer::Done));
    assert_eq!(tags(&w, a), ["a=1"]);
    let stranger = base::VolumeId(77);
    assert_eq!(w.told(tag(vec![a, stranger], vec![remove("a", None)])), Err(Refusal::NoSuchVolume(stranger)));
    let many = (0..50).map(|n| set(&format!("k{n}"), "")).collect();
    assert_eq!(w.told(tag(vec![b, a], many)), Err(Refusal::TooManyTags { volume: b, max: 50 }));
    w.restart();
    w.run();
    assert_eq!((tags(&w, a), tags(&w, b).len()), (vec!["a=1".to_string()], 2));
}

#[test]
fn while_the_store_does_nothing_so_many_wait_and_no_more() {
    let policy = region::Policy { commands_max: 3, ..region::Policy::default() };
    let mut w = World::with(1, policy, 1);
    let id = w.made(World::create(0, 1, None)).id;
    w.meta.stopped = true;
    let tag = |n: u64| {
        let changes = vec![Change::Set(Tag { key: "k".into(), value: n.to_string() })];
        Command::Tag { account: ME, volumes: vec![id], changes }
    };
    let tickets: Vec<u64> = (0..3).map(|n| w.ask(tag(n))).collect();
    w.run();
    assert_eq!(w.told(tag(9)), Err(Refusal::Busy { zone: None }));
    w.meta.stopped = false;
    w.run();
    assert!(tickets.iter().all(|ticket| w.replies.remove(ticket) == Some(Ok(Answer::Done))));
    assert_eq!(w.told(tag(9)), Ok(Answer::Done));
}

#[test]
fn an_unknown_outcome_of_the_store_is_said_and_the_token_tells_what_became_of_it() {
    for fault in [Fault::UnknownDone, Fault::UnknownLost, Fault::Conflict] {
        let mut w = World::new(1);
        w.meta.faults = vec![fault];
        let ticket = w.ask(World::create(0, 10, Some("a")));
        w.run();
        assert_eq!(w.replies.remove(&ticket), Some(Err(Refusal::Unknown)), "{fault:?}");
        assert_eq!(w.told(World::create(0, 10, Some("a"))), Err(Refusal::Starting));
        w.pass_ms(1000);
        w.made(World::create(0, 10, Some("a")));
        assert_eq!((w.zone(0).volumes.len(), w.zone(0).made.len()), (1, 1), "{fault:?}");
    }
}

#[test]
fn a_volume_that_was_kept_before_there_were_attachments_is_read() {
    let mut w = World::new(1);
    let made = w.made(World::create(0, 1, None));
    let (bytes, _) = w.meta.pairs.get_mut(&format!("volume/{}", made.id)).unwrap();
    let mut first = bytes.to_vec();
    assert_eq!(first.split_off(bytes.len() - 3), [0, 0, 0], "no attachment, no change, no wish");
    first[0] = 1;
    *bytes = first.into();
    w.restart();
    w.run();
    assert_eq!(w.region.volume(ME, made.id), Some(&made));
}

#[test]
fn a_region_does_not_start_on_what_it_does_not_understand() {
    let refused = |key: &str, value: &'static [u8]| {
        let mut w = World::new(1);
        w.made(World::create(0, 1, None));
        w.meta.pairs.insert(key.into(), (value.into(), 1));
        w.restart();
        w.run();
        let Phase::Refused(why) = w.region.phase().clone() else { panic!("{:?}", w.region.phase()) };
        assert!(matches!(w.told(World::create(0, 1, None)), Err(Refusal::Broken(text)) if text == why.to_string()));
        why
    };
    assert!(matches!(refused("volume/x", b"\x01"), Refused::StrangeKey { .. }));
    assert!(matches!(refused("volume/vol-00000000000000007", b"\x03"), Refused::Version { version: 3, .. }));
    assert!(matches!(refused("volume/vol-00000000000000007", b""), Refused::Malformed { .. }));
    assert!(matches!(refused("host/i-00000000000000007", b"\x02"), Refused::Malformed { .. }));
    assert!(matches!(refused("volume/vol-00000000000000007", b"\x01\x07"), Refused::Malformed { .. }));
    assert!(matches!(
        refused("region", b"\x01\x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0x"),
        Refused::OtherRegion { .. }
    ));
    let mut w = World::new(1);
    w.made(World::create(0, 1, None));
    w.meta.pairs.remove("region");
    w.restart();
    w.run();
    assert!(matches!(w.region.phase(), Phase::Refused(Refused::NoRegion { records: 1 })));
}
