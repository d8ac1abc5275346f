//! What a process of the region asks of an authority: many questions at once, each with a number, and volumes by ids that it drew.

mod world;

use base::io::net::Peer;
use base::{HostId, VolumeId};
use wire::{
    AttachVolume, Command, CreateVolume, DeleteVolume, DescribeVolumes, ErrorCode, MakeVolume, Message, Register,
    Throttle, VolumeCondition,
};
use world::{GIB, World};

const REGION: Peer = Peer::Region(1);

fn command(ticket: u64, message: impl Into<Message>) -> Command {
    let (kind, fields) = message.into().parts();
    Command { ticket, within_ms: 1000, kind, fields }
}

fn make(volume: u64) -> MakeVolume {
    MakeVolume {
        volume: VolumeId(volume),
        size: GIB,
        copies: 3,
        throttle: Throttle { iops: 3000, bytes_per_s: 125 << 20 },
    }
}

fn connected(nodes: u64) -> World {
    let mut w = World::new(nodes);
    w.up(REGION);
    w
}

#[test]
fn many_are_under_way_and_each_answer_says_which_it_answers() {
    // R16.
    let mut w = connected(3);
    let host: HostId = w.add_host(4);
    w.hosts.get_mut(&host).unwrap().willing = false;
    w.say(REGION, command(1, make(7)));
    w.run();
    // It waits for its host, and what comes later does not wait for it.
    w.say(REGION, command(2, AttachVolume { volume: VolumeId(7), host: Some(host), read_only: false }));
    w.say(REGION, command(3, DescribeVolumes { volume: Some(VolumeId(8)) }));
    w.run();
    assert_eq!(w.outcomes.keys().copied().collect::<Vec<_>>(), [1, 3]);
    let Message::VolumeReply(m) = &w.outcomes[&1] else { panic!("{:?}", w.outcomes[&1]) };
    assert_eq!((m.volumes[0].info.volume, m.volumes[0].throttle.iops), (VolumeId(7), 3000));
    assert_eq!(World::refusal(&w.outcomes[&3]).0, ErrorCode::NotFound);
    // Long before the region would take the zone for one that does not answer.
    w.pass_ms(1900);
    assert_eq!(w.outcomes.len(), 2);
    w.pass_ms(200);
    let (code, text) = World::refusal(&w.outcomes[&2]);
    assert!(code == ErrorCode::TimedOut && text.contains("within 2000 ms"), "{text}");
}

#[test]
fn a_host_that_does_not_take_a_size_keeps_no_command_waiting_for_long() {
    let mut w = connected(3);
    let host = w.add_host(4);
    w.say(REGION, command(1, make(7)));
    w.run();
    w.say(REGION, command(2, AttachVolume { volume: VolumeId(7), host: Some(host), read_only: false }));
    w.run();
    assert!(matches!(w.outcomes[&2], Message::AttachReply(_)), "{:?}", w.outcomes[&2]);
    w.hosts.get_mut(&host).unwrap().willing = false;
    w.say(REGION, command(3, wire::ResizeVolume { volume: VolumeId(7), size: 2 * GIB }));
    w.pass_ms(1900);
    assert!(!w.outcomes.contains_key(&3));
    w.pass_ms(2000);
    let told = &w.outcomes[&3];
    assert_eq!(World::refusal(told).0, ErrorCode::TimedOut, "{told:?}");
}

#[test]
fn the_same_id_twice_is_one_volume_also_for_a_later_authority() {
    let mut w = connected(3);
    w.say(REGION, command(1, make(7)));
    w.run();
    w.restart_zone();
    w.up(REGION);
    w.say(REGION, command(2, make(7)));
    w.say(REGION, command(3, MakeVolume { size: 2 * GIB, ..make(7) }));
    w.run();
    assert!(matches!(&w.outcomes[&2], Message::VolumeReply(m) if m.volumes[0].info.volume == VolumeId(7)));
    assert!(World::refusal(&w.outcomes[&3]).1.contains("already made"));
    assert_eq!(w.zone.configurations().count(), 1);
    w.say(REGION, command(4, DeleteVolume { volume: VolumeId(7) }));
    w.run();
    assert!(matches!(&w.outcomes[&4], Message::VolumeReply(m) if m.volumes[0].condition == VolumeCondition::Deleting));
}

#[test]
fn an_id_that_somebody_else_has_is_refused() {
    let mut w = connected(3);
    let taken = w.volume(1, 3);
    w.say(REGION, command(1, make(taken.0)));
    w.say(REGION, command(2, make(0)));
    w.run();
    for ticket in [1, 2] {
        let (code, text) = World::refusal(&w.outcomes[&ticket]);
        assert!(code == ErrorCode::Invalid && text.contains("draw another"), "{text}");
    }
    assert_eq!(w.zone.configurations().count(), 1);
}

#[test]
fn what_could_not_be_begun_in_time_is_not_begun() {
    let mut w = connected(3);
    // The outcome of its write is unknown, so the authority reads its truth again, and its store takes long for that.
    w.meta.faults = vec![world::Fault::UnknownLost];
    w.say(REGION, command(1, make(7)));
    w.meta.stopped = true;
    w.run();
    w.pass_ms(2000);
    w.meta.stopped = false;
    w.run();
    w.pass_ms(2000);
    let (code, text) = World::refusal(&w.outcomes[&1]);
    assert!(code == ErrorCode::Unavailable && text.contains("nothing was done"), "{text}");
}

#[test]
fn a_region_that_says_what_is_not_its_to_say_is_not_talked_to() {
    let node = World::new(1).register(world::node_id(1));
    let plain: Message =
        CreateVolume { request: base::RequestId(1), size: GIB, copies: 1, throttle: Throttle::default() }.into();
    let (kind, mut fields) = Message::from(make(7)).parts();
    fields.pop();
    let wrong: [Message; 4] = [
        plain,
        command(1, Register { last: true, ..node }).into(),
        Command { ticket: 2, within_ms: 1000, kind, fields }.into(),
        command(3, command(4, make(7))).into(),
    ];
    for message in wrong {
        let mut w = connected(3);
        w.say(REGION, message);
        w.run();
        assert_eq!((w.closed.len(), w.outcomes.len()), (1, 0));
    }
}
