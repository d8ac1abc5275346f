//! Volumes go to hosts and come back, become larger and faster; and the region knows of hosts and of how volumes are what zones said last.

mod world;

use base::{HostId, VolumeId};
use region::{Answer, AttachStage, Command, Health, Modification, ModifyStage, Quality, Refusal, Stage, Volume};
use wire::{AilingVolume, Throttle, VolumeCondition};
use world::{GIB, ME, Mood, World};

const A: HostId = HostId(1);
const B: HostId = HostId(2);

fn attach_as(volume: VolumeId, host: HostId, device: &str) -> Command {
    Command::AttachVolume { account: ME, volume, host, device: device.into(), at_ms: 5 }
}

fn attach(volume: VolumeId, host: HostId) -> Command {
    attach_as(volume, host, "sdf")
}

fn detach(volume: VolumeId) -> Command {
    Command::DetachVolume { account: ME, volume, host: None, device: None, by_force: false }
}

fn grow(volume: VolumeId, gib: u64) -> Command {
    let throttle = Throttle { iops: 4000, bytes_per_s: 200 << 20 };
    Command::ModifyVolume {
        account: ME,
        volume,
        to: Quality { size: gib * GIB, throttle, label: "faster".into() },
        at_ms: 6,
    }
}

/// Two zones with a host in each, and a volume in the first.
fn world() -> (World, VolumeId) {
    let mut w = World::new(2);
    w.zone(0).hosts.insert(A, true);
    w.zone(1).hosts.insert(B, true);
    w.pass_ms(2000);
    let id = w.made(World::create(0, 10, None)).id;
    (w, id)
}

fn volume(w: &World, id: VolumeId) -> &Volume {
    w.region.volume(ME, id).expect("it is there")
}

fn stage(w: &World, id: VolumeId) -> Option<AttachStage> {
    volume(w, id).attachment.as_ref().map(|attachment| attachment.stage)
}

fn change(w: &World, id: VolumeId) -> &Modification {
    volume(w, id).modification.as_ref().expect("it was changed")
}

#[test]
fn a_volume_goes_to_a_host_and_comes_back() {
    let (mut w, id) = world();
    let Ok(Answer::Attachment(of, told)) = w.told(attach(id, A)) else { panic!("it is attached") };
    assert_eq!((of, told.host, told.stage, told.at_ms), (id, A, AttachStage::Attaching, 5), "as it was decided");
    assert_eq!((stage(&w, id), w.zone(0).attached.get(&id)), (Some(AttachStage::Attached), Some(&A)));
    assert_eq!(w.region.volumes_of(ME, A).map(|v| v.id).collect::<Vec<_>>(), [id]);
    let delete = Command::DeleteVolume { account: ME, volume: id };
    assert_eq!(w.told(delete), Err(Refusal::Attached { volume: id, host: A }));
    w.restart();
    w.run();
    assert_eq!(stage(&w, id), Some(AttachStage::Attached), "it is kept");
    let Ok(Answer::Attachment(_, told)) = w.told(detach(id)) else { panic!("it is detached") };
    assert_eq!((told.stage, stage(&w, id)), (AttachStage::Detaching, None));
    assert!(w.zone(0).attached.is_empty() && w.region.volumes_of(ME, A).next().is_none());
}

#[test]
fn what_cannot_be_attached_is_refused_with_the_reason() {
    let (mut w, id) = world();
    let other = w.made(World::create(0, 10, None)).id;
    assert_eq!(w.told(attach(VolumeId(7), A)), Err(Refusal::NoSuchVolume(VolumeId(7))));
    assert_eq!(w.told(attach(id, HostId(7))), Err(Refusal::NoSuchHost(HostId(7))));
    assert_eq!(w.told(attach(id, B)), Err(Refusal::OtherZone { volume: id, host: B }));
    w.told(attach(id, A)).unwrap();
    assert_eq!(w.told(attach(id, A)), Err(Refusal::Attached { volume: id, host: A }));
    let device = "sdf".to_string();
    assert_eq!(w.told(attach(other, A)), Err(Refusal::DeviceTaken { host: A, device }));
    w.policy.attachments_max = 1;
    w.restart();
    w.run();
    assert_eq!(w.told(attach_as(other, A, "sdg")), Err(Refusal::TooManyAttached { host: A, max: 1 }));
    w.zone(0).mood = Mood::Mute;
    w.ask(World::create(0, 10, None));
    w.run();
    let unborn = w.region.volumes(ME, None).find(|v| v.stage == Stage::Reserving).expect("it is not there yet").id;
    assert_eq!(w.told(attach_as(unborn, A, "sdh")), Err(Refusal::NotNow { volume: unborn, stage: Stage::Reserving }));
}

#[test]
fn what_cannot_be_detached_is_refused_with_the_reason() {
    let (mut w, id) = world();
    assert_eq!(w.told(detach(VolumeId(7))), Err(Refusal::NoSuchVolume(VolumeId(7))));
    assert_eq!(w.told(detach(id)), Err(Refusal::NotAttached(id)));
    w.told(attach(id, A)).unwrap();
    let of = |host, device: Option<&str>| Command::DetachVolume {
        account: ME,
        volume: id,
        host,
        device: device.map(Into::into),
        by_force: false,
    };
    assert_eq!(w.told(of(Some(B), None)), Err(Refusal::OtherAttachment(id)));
    assert_eq!(w.told(of(Some(A), Some("sdx"))), Err(Refusal::OtherAttachment(id)));
    w.zone(0).mood = Mood::Deaf;
    for _ in 0..2 {
        let Ok(Answer::Attachment(_, told)) = w.told(of(Some(A), Some("sdf"))) else {
            panic!("once more is no other wish")
        };
        assert_eq!(told.stage, AttachStage::Detaching);
    }
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(10_000);
    assert_eq!(stage(&w, id), None);
}

#[test]
fn an_attachment_waits_for_a_host_that_is_away_and_can_be_given_up_meanwhile() {
    let (mut w, id) = world();
    w.zone(0).hosts.insert(A, false);
    w.told(attach(id, A)).unwrap();
    w.pass_ms(30_000);
    assert_eq!(stage(&w, id), Some(AttachStage::Attaching));
    w.restart();
    w.zone(0).hosts.insert(A, true);
    w.pass_ms(2000);
    assert_eq!(stage(&w, id), Some(AttachStage::Attached));
    w.told(detach(id)).unwrap();
    w.zone(0).hosts.insert(A, false);
    w.told(attach(id, A)).unwrap();
    w.told(detach(id)).unwrap();
    w.pass_ms(30_000);
    assert_eq!((stage(&w, id), w.zone(0).attached.len()), (None, 0));
}

#[test]
fn a_volume_in_use_is_detached_when_it_is_not_any_more_or_by_force() {
    let by_force = |volume| Command::DetachVolume { account: ME, volume, host: None, device: None, by_force: true };
    for force in [false, true] {
        let (mut w, id) = world();
        w.told(attach(id, A)).unwrap();
        w.zone(0).used.insert(id);
        w.told(detach(id)).unwrap();
        w.pass_ms(30_000);
        assert_eq!((stage(&w, id), w.zone(0).attached.len()), (Some(AttachStage::Detaching), 1));
        w.restart();
        if force {
            w.run();
            let Ok(Answer::Attachment(_, told)) = w.told(by_force(id)) else { panic!("it is detached") };
            assert!(told.by_force);
            // A wish without force is not a wish that there was none.
            w.told(detach(id)).unwrap_err();
        } else {
            w.zone(0).used.clear();
            w.pass_ms(2000);
        }
        assert_eq!((stage(&w, id), w.zone(0).attached.len()), (None, 0));
    }
}

#[test]
fn a_volume_that_somebody_else_has_is_not_attached() {
    let (mut w, id) = world();
    w.zone(0).attached.insert(id, HostId(9));
    w.told(attach(id, A)).unwrap();
    assert_eq!((stage(&w, id), w.zone(0).attached[&id]), (None, HostId(9)));
    assert!(w.region.volumes_of(ME, A).next().is_none());
}

#[test]
fn a_volume_is_made_larger_and_faster_in_use() {
    let (mut w, id) = world();
    w.told(attach(id, A)).unwrap();
    let Ok(Answer::Modification(of, told)) = w.told(grow(id, 20)) else { panic!("it is changed") };
    assert_eq!((of, told.stage, told.from.size, told.to.size), (id, ModifyStage::Growing, 10 * GIB, 20 * GIB));
    let (is, ended) = (volume(&w, id).shape.clone(), change(&w, id));
    assert_eq!((is.size, is.throttle.iops, is.label.as_str()), (20 * GIB, 4000, "faster"));
    assert_eq!((ended.stage, ended.at_ms), (ModifyStage::Completed, 6));
    assert!(ended.ended_ms >= 1_002_000, "by the clock of the wall: {}", ended.ended_ms);
    assert_eq!(w.zone(0).volumes[&id], (20 * GIB, 3, is.throttle));
    // The same size is a change of the rest.
    let Ok(Answer::Modification(_, told)) = w.told(grow(id, 20)) else { panic!("it is changed") };
    assert_eq!((told.stage, change(&w, id).stage), (ModifyStage::Throttling, ModifyStage::Completed));
    assert_eq!(w.told(grow(id, 19)), Err(Refusal::Shrinks { volume: id, size: 20 * GIB }));
    assert_eq!(w.told(grow(VolumeId(7), 19)), Err(Refusal::NoSuchVolume(VolumeId(7))));
}

#[test]
fn a_change_that_the_zone_refuses_fails_with_its_reason_and_one_that_it_cannot_do_now_goes_on() {
    let (mut w, id) = world();
    w.zone(0).mood = Mood::Full;
    w.told(grow(id, 20)).unwrap();
    let failed = change(&w, id).clone();
    assert_eq!((failed.stage, failed.why.as_str()), (ModifyStage::Failed, "because NoRoom"));
    assert_eq!(volume(&w, id).shape.size, 10 * GIB);
    w.zone(0).mood = Mood::Unavailable;
    w.told(grow(id, 20)).unwrap();
    assert_eq!(w.told(grow(id, 30)), Err(Refusal::Modifying(id)));
    // What waits for the zone keeps nothing else of the volume waiting.
    w.told(attach(id, A)).unwrap();
    w.pass_ms(5000);
    assert_eq!((change(&w, id).stage, stage(&w, id)), (ModifyStage::Growing, Some(AttachStage::Attaching)));
    w.restart();
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(5000);
    assert_eq!((change(&w, id).stage, stage(&w, id)), (ModifyStage::Completed, Some(AttachStage::Attached)));
}

#[test]
fn a_volume_that_goes_is_not_changed() {
    let (mut w, id) = world();
    w.zone(0).mood = Mood::Deaf;
    w.ask(Command::DeleteVolume { account: ME, volume: id });
    w.run();
    assert_eq!(w.told(grow(id, 20)), Err(Refusal::NotNow { volume: id, stage: Stage::Deleting }));
}

#[test]
fn hosts_are_known_from_when_their_zone_first_told_of_them() {
    let (mut w, _) = world();
    let seen = w.region.host(A).expect("its zone told of it");
    assert_eq!((seen.host.zone.0, seen.connected), (0, Some(true)));
    let since_ms = seen.host.since_ms;
    assert!((1_000_000..1_002_000).contains(&since_ms), "{since_ms}");
    w.zone(0).hosts.insert(A, false);
    // An id is one host, wherever else it turns up.
    w.zone(1).hosts.insert(A, true);
    w.pass_ms(2000);
    assert_eq!(w.region.host(A).map(|seen| (seen.host.zone.0, seen.connected)), Some((0, Some(false))));
    w.zone(0).mood = Mood::Deaf;
    w.pass_ms(10_000);
    assert_eq!(w.region.host(A).unwrap().connected, None, "nobody says so any more");
    w.restart();
    w.run();
    assert_eq!(w.region.host(A).unwrap().host.since_ms, since_ms, "it is kept");
    assert_eq!(w.region.hosts(None).map(|seen| seen.host.id).collect::<Vec<_>>(), [A, B]);
    assert_eq!(w.region.hosts(Some(A)).map(|seen| seen.host.id).collect::<Vec<_>>(), [B]);
}

#[test]
fn how_a_volume_is_is_what_its_zone_said_last() {
    let (mut w, id) = world();
    let well = w.made(World::create(0, 10, None)).id;
    let health = |w: &World, id| w.region.health(volume(w, id));
    assert_eq!(health(&w, id), Health::Well);
    let condition = VolumeCondition::StuckElecting;
    w.zone(0).ailing = vec![AilingVolume { volume: id, condition: condition.clone(), for_ms: 700, waiting_ms: 600 }];
    w.pass_ms(1000);
    let Health::Ailing { condition: is, since_ms, waiting_ms } = health(&w, id) else { panic!("it ails") };
    assert_eq!((is, waiting_ms, health(&w, well)), (condition, 600, Health::Well));
    assert!((1_001_000..1_002_500).contains(&since_ms), "{since_ms}");
    w.pass_ms(300);
    let Health::Ailing { since_ms: then, .. } = health(&w, id) else { panic!("it ails") };
    assert!(then.abs_diff(since_ms) <= 700, "{then} and {since_ms}: its beginning stays where it was");
    w.zone(0).ailing.clear();
    w.zone(0).unnamed = 3;
    w.pass_ms(1000);
    assert_eq!(health(&w, id), Health::Unknown, "it may be one of those that were not named");
    w.zone(0).unnamed = 0;
    w.pass_ms(1000);
    assert_eq!(health(&w, id), Health::Well);
    w.zone(0).mood = Mood::Deaf;
    w.pass_ms(10_000);
    assert_eq!(health(&w, id), Health::Unknown);
}

#[test]
fn what_another_host_was_given_behind_the_regions_back_it_keeps() {
    let (mut w, id) = world();
    w.zone(0).mood = Mood::Deaf;
    w.told(attach(id, A)).unwrap();
    w.zone(0).attached.insert(id, HostId(9));
    w.told(Command::DetachVolume { account: ME, volume: id, host: None, device: None, by_force: true }).unwrap();
    w.zone(0).mood = Mood::Obeys;
    w.pass_ms(10_000);
    assert_eq!((stage(&w, id), w.zone(0).attached.get(&id)), (None, Some(&HostId(9))));
}

#[test]
fn a_volume_that_its_zone_has_lost_can_be_detached_and_deleted() {
    let (mut w, id) = world();
    w.told(attach(id, A)).unwrap();
    w.zone(0).volumes.clear();
    w.zone(0).attached.clear();
    w.told(detach(id)).unwrap();
    assert_eq!(stage(&w, id), None);
    w.told(Command::DeleteVolume { account: ME, volume: id }).unwrap();
    assert!(w.region.volume(ME, id).is_none());
}

#[test]
fn a_zone_that_takes_its_time_is_surveyed_all_the_same() {
    let mut w = World::new(1);
    w.slow_surveys = true;
    w.zone(0).hosts.insert(A, true);
    for _ in 0..6 {
        // Each answer takes longer than it is to the next question.
        let answers = w.take_surveys();
        w.pass_ms(1200);
        w.inbox.extend(answers);
        w.run();
    }
    assert_eq!(w.region.host(A).map(|seen| seen.connected), Some(Some(true)));
}
