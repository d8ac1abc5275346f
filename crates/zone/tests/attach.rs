//! Whose a volume is: generations, fences, hosts that come and go.

mod world;

use base::io::net::Peer;
use base::*;
use wire::*;
use world::{GIB, World};

#[test]
fn an_attachment_is_a_generation_and_a_new_epoch() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    let before = w.first(volume);
    let answer = w.told(AttachVolume { volume, host: None, read_only: false });
    let Message::AttachReply(m) = &answer else { panic!("{answer:?}") };
    assert_eq!((m.host, m.generation, m.socket.as_str()), (host, Generation(1), "socket-1"));
    let c = w.first(volume);
    assert_eq!((c.epoch, c.generation, c.client), (before.epoch.next(), Generation(1), Some(host)));
    assert!(c.fence.is_empty(), "nobody served a client before");
    assert_eq!(w.hosts[&host].configs[&c.shard].epoch, c.epoch);
    // Asked again, it is the same attachment.
    assert_eq!(w.attach(volume, host), Generation(1));
    assert_eq!(w.first(volume).epoch, c.epoch);
    assert_eq!(w.state(volume).attached, Some(host));
}

#[test]
fn the_next_generation_fences_every_primary_of_the_one_before() {
    // Rule 9, I9
    let mut w = World::new(3);
    let (one, two) = (w.add_host(1), w.add_host(2));
    let volume = w.volume(1, 3);
    w.attach(volume, one);
    let c = w.first(volume);
    w.kill(c.primary.0);
    let to = w.backup(&c, 0);
    w.propose(to, w.fail_over(&c, to));
    let told = w.told(DetachVolume { volume });
    assert!(matches!(&told, Message::VolumeReply(m) if m.volumes[0].attached.is_none()), "{told:?}");
    let detached = w.first(volume);
    assert_eq!((detached.client, detached.generation), (None, Generation(1)));
    assert_eq!(w.hosts[&one].detached, [(volume, Generation(1))]);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    assert_eq!(w.attach(volume, two), Generation(2));
    let c2 = w.first(volume);
    assert_eq!(c2.fence, [c.primary, NodeId(to)]);
    w.serve(&c2);
    w.run();
    let served = w.first(volume);
    assert_eq!((served.fence.len(), served.epoch), (0, c2.epoch), "it serves: the fence is over");
}

#[test]
fn a_fence_that_was_never_confirmed_is_carried_into_the_next_generation() {
    let mut w = World::new(3);
    let (one, two) = (w.add_host(1), w.add_host(2));
    let volume = w.volume(1, 3);
    w.attach(volume, one);
    let first = w.first(volume).primary;
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let pending = w.ask(DetachVolume { volume });
    w.pass_ms(3100);
    assert!(w.answer(pending).is_some());
    w.attach(volume, two);
    w.hosts.get_mut(&two).unwrap().incarnation = 2;
    w.connect_host(two);
    w.run();
    let c = w.first(volume);
    assert_eq!((c.generation, &c.fence[..]), (Generation(3), &[first][..]));
}

#[test]
fn a_volume_in_use_is_not_attached_elsewhere_nor_deleted() {
    let mut w = World::new(3);
    let (one, two) = (w.add_host(1), w.add_host(2));
    let volume = w.volume(1, 3);
    w.attach(volume, one);
    let epoch = w.first(volume).epoch;
    let refused: [Message; 2] =
        [AttachVolume { volume, host: Some(two), read_only: false }.into(), DeleteVolume { volume }.into()];
    for question in refused {
        let (code, text) = World::refusal(&w.told(question));
        assert!(code == ErrorCode::InUse && text.contains(&one.to_string()), "{text}");
    }
    // Nor to one that is not there: that it is in use is what counts.
    w.hosts.get_mut(&two).unwrap().up = false;
    w.down(Peer::Host(two));
    let (code, _) = World::refusal(&w.told(AttachVolume { volume, host: Some(two), read_only: false }));
    assert_eq!((code, w.first(volume).epoch), (ErrorCode::InUse, epoch));
}

#[test]
fn a_volume_that_is_attached_read_only_stays_so_through_a_restart_of_its_host_until_it_is_detached() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    let attach = |read_only| AttachVolume { volume, host: None, read_only };
    assert!(matches!(w.told(attach(true)), Message::AttachReply(_)));
    assert_eq!((w.hosts[&host].read_only[&volume], w.state(volume).read_only), (true, true));
    // Whoever wants to write must take it away from those who rely on it.
    let epoch = w.first(volume).epoch;
    let (code, text) = World::refusal(&w.told(attach(false)));
    assert!(code == ErrorCode::InUse && text.contains("read only; detach it first"), "{text}");
    assert!(matches!(w.told(attach(true)), Message::AttachReply(m) if m.generation == Generation(1)));
    assert_eq!(w.first(volume).epoch, epoch);
    w.hosts.get_mut(&host).unwrap().incarnation = 2;
    w.connect_host(host);
    w.run();
    assert_eq!((w.first(volume).generation, w.hosts[&host].read_only[&volume]), (Generation(2), true));
    w.told(DetachVolume { volume });
    w.told(attach(false));
    assert_eq!((w.hosts[&host].read_only[&volume], w.state(volume).read_only), (false, false));
    let (code, text) = World::refusal(&w.told(attach(true)));
    assert!(code == ErrorCode::InUse && text.contains("to be written to; detach it first"), "{text}");
}

#[test]
fn the_host_must_be_one_that_is_there() {
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let ask = |host| AttachVolume { volume, host, read_only: false };
    assert_eq!(World::refusal(&w.told(ask(None))).0, ErrorCode::Unavailable);
    assert_eq!(World::refusal(&w.told(ask(Some(HostId(9))))).0, ErrorCode::NotFound);
    let (one, _) = (w.add_host(1), w.add_host(2));
    let (code, text) = World::refusal(&w.told(ask(None)));
    assert!(code == ErrorCode::Invalid && text.contains(&one.to_string()), "{text}");
    w.hosts.get_mut(&one).unwrap().up = false;
    w.down(Peer::Host(one));
    w.run();
    assert_eq!(World::refusal(&w.told(ask(Some(one)))).0, ErrorCode::Unavailable);
    assert_eq!(w.first(volume).client, None);
}

#[test]
fn an_attach_waits_for_the_host_and_not_for_ever() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    w.hosts.get_mut(&host).unwrap().willing = false;
    let volume = w.volume(1, 3);
    let (patient, other) = (
        w.ask(AttachVolume { volume, host: None, read_only: false }),
        w.ask(AttachVolume { volume, host: None, read_only: false }),
    );
    w.pass_ms(29_000);
    assert_eq!((w.answer(patient), w.answer(other)), (None, None));
    w.pass_ms(2_000);
    let (code, text) = World::refusal(&w.answer(patient).unwrap());
    assert!(code == ErrorCode::TimedOut && text.contains("30000 ms"), "{text}");
    // It stays attached: whoever asks again waits for the same generation.
    let again = w.ask(AttachVolume { volume, host: None, read_only: false });
    w.say(Peer::Host(host), AttachState { volume, generation: Generation(1), open: true, size: GIB });
    w.run();
    assert!(matches!(w.answer(again), Some(Message::AttachReply(m)) if m.generation == Generation(1)));
}

#[test]
fn an_attach_whose_volume_is_detached_meanwhile_is_told_so() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    w.hosts.get_mut(&host).unwrap().willing = false;
    let volume = w.volume(1, 3);
    let waiting = w.ask(AttachVolume { volume, host: None, read_only: false });
    w.ask(DetachVolume { volume });
    assert_eq!(World::refusal(&w.answer(waiting).unwrap()).0, ErrorCode::Unavailable);
}

#[test]
fn a_detach_is_answered_when_the_primaries_know_or_after_three_seconds() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let operator = w.ask(DetachVolume { volume });
    assert_eq!(w.answer(operator), None);
    let c = w.first(volume);
    w.serve(&c);
    w.run();
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
    w.attach(volume, host);
    let operator = w.ask(DetachVolume { volume });
    w.pass_ms(2900);
    assert_eq!(w.answer(operator), None);
    w.pass_ms(200);
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
}

#[test]
fn a_restarted_host_gets_new_generations_and_a_reconnected_one_the_same() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let (a, b) = (w.volume(1, 3), w.volume(1, 3));
    w.attach(a, host);
    w.attach(b, host);
    let epoch = w.first(a).epoch;
    w.down(Peer::Host(host));
    w.connect_host(host);
    w.run();
    assert_eq!((w.hosts[&host].attached[&a], w.first(a).epoch), (Generation(1), epoch));
    w.hosts.get_mut(&host).unwrap().incarnation = 2;
    w.connect_host(host);
    w.run();
    assert_eq!((w.hosts[&host].attached[&a], w.hosts[&host].attached[&b]), (Generation(2), Generation(2)));
    assert_eq!(w.first(a).epoch, epoch.next());
    // A left-over process of the run before is shown the door.
    w.hosts.get_mut(&host).unwrap().incarnation = 1;
    w.connect_host(host);
    w.run();
    assert_eq!((w.overtaken.len(), w.first(a).generation), (1, Generation(2)));
}

#[test]
fn a_host_that_was_away_at_the_detach_is_told_when_it_is_back() {
    let mut w = World::new(3);
    let host = w.add_host(1);
    let volume = w.volume(1, 3);
    w.attach(volume, host);
    w.hosts.get_mut(&host).unwrap().up = false;
    w.down(Peer::Host(host));
    w.told(DetachVolume { volume });
    w.restart_zone();
    w.connect_host(host);
    w.run();
    assert_eq!(w.hosts[&host].detached, [(volume, Generation(1))]);
}

#[test]
fn a_restarted_host_finds_what_is_its_and_nothing_else() {
    let mut w = World::new(4);
    let (one, two) = (w.add_host(1), w.add_host(2));
    let [kept, also_kept, moved, detached, deleted] = [(); 5].map(|()| w.volume(1, 3));
    [kept, also_kept, moved, detached, deleted].into_iter().for_each(|volume| _ = w.attach(volume, one));
    w.hosts.get_mut(&one).unwrap().up = false;
    w.down(Peer::Host(one));
    for volume in [moved, detached, deleted] {
        w.told(DetachVolume { volume });
    }
    w.attach(moved, two);
    w.told(DeleteVolume { volume: deleted });
    let host = w.hosts.get_mut(&one).unwrap();
    (host.incarnation, host.attached) = (2, Default::default());
    w.connect_host(one);
    w.run();
    let wanted = [(kept, Generation(2)), (also_kept, Generation(2))];
    assert_eq!(w.hosts[&one].attached, wanted.into_iter().collect());
    assert!(w.hosts[&one].detached.iter().all(|(volume, _)| [detached, deleted].contains(volume)));
    assert_eq!((w.hosts[&two].attached[&moved], w.first(moved).client), (Generation(2), Some(two)));
}

#[test]
fn every_shard_of_a_volume_takes_a_new_generation_and_the_host_waits_for_all() {
    let mut w = World::with(4, zone::Policy { shard_blocks: 1 << 17, ..zone::Policy::default() }, 1);
    let (one, two) = (w.add_host(1), w.add_host(2));
    let volume = w.volume(3, 3);
    w.attach(volume, one);
    let epochs = |w: &World| w.zone.configurations().map(|c| (c.epoch, c.generation, c.client)).collect::<Vec<_>>();
    let before = epochs(&w);
    assert_eq!(before.len(), 6);
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let operator = w.ask(DetachVolume { volume });
    let configs: Vec<Configuration> = w.zone.configurations().cloned().collect();
    assert!(configs.iter().all(|c| c.client.is_none()));
    for c in &configs[1..] {
        w.serve(c);
    }
    w.run();
    assert_eq!(w.answer(operator), None, "one primary has not said that it knows");
    w.serve(&configs[0]);
    w.run();
    assert!(w.answer(operator).is_some());
    w.attach(volume, two);
    let after = epochs(&w);
    let wanted: Vec<_> = before.iter().map(|(e, ..)| (e.next().next(), Generation(2), Some(two))).collect();
    assert_eq!(after, wanted);
}
