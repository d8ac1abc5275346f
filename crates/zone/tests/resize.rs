//! Volumes that become larger: in place, by new shards, while attached, degraded or being filled; and what is refused.

mod world;

use base::*;
use wire::*;
use world::{Fault, GIB, World};
use zone::Policy;

/// Blocks of a GiB, and of each shard here.
const EACH: u32 = 1 << 18;

fn world(nodes: u64) -> World {
    World::with(nodes, Policy { shard_blocks: EACH, ..Policy::dev() }, 1)
}

/// A volume of one and a half shards.
fn volume(w: &mut World, copies: u8) -> VolumeId {
    let create = CreateVolume { request: RequestId(77), size: 3 * GIB / 2, copies, throttle: Throttle::default() };
    let Message::VolumeReply(m) = w.told(create) else { panic!("not made") };
    m.volumes[0].info.volume
}

fn resized(w: &mut World, volume: VolumeId, size: u64) -> VolumeState {
    let answer = w.told(ResizeVolume { volume, size });
    let Message::VolumeReply(m) = answer else { panic!("{answer:?}") };
    m.volumes[0].clone()
}

fn refused(w: &mut World, volume: VolumeId, size: u64) -> (ErrorCode, String) {
    let before = (w.meta.writes, w.zone.configurations().cloned().collect::<Vec<_>>());
    let refusal = World::refusal(&w.told(ResizeVolume { volume, size }));
    let after = (w.meta.writes, w.zone.configurations().cloned().collect::<Vec<_>>());
    assert_eq!(before, after, "what is refused has changed nothing");
    refusal
}

fn blocks(w: &World, volume: VolumeId) -> Vec<u32> {
    w.zone.configurations().filter(|c| c.shard.volume == volume).map(|c| c.blocks).collect()
}

fn shard(volume: VolumeId, index: u32) -> ShardId {
    ShardId { volume, index }
}

#[test]
fn the_last_shard_grows_in_a_new_epoch_and_new_shards_hold_the_rest() {
    let mut w = world(4);
    let volume = volume(&mut w, 3);
    let before: Vec<_> = (0..2).map(|i| w.config(shard(volume, i))).collect();
    let writes = w.meta.writes;
    let state = resized(&mut w, volume, 13 * GIB / 4);
    assert_eq!((state.info.size, state.shards.len()), (13 * GIB / 4, 4));
    assert_eq!(blocks(&w, volume), [EACH, EACH, EACH, EACH / 4]);
    // All of it was one write; that the new shards serve is another.
    assert!(w.meta.writes <= writes + 2);
    let (first, second) = (w.config(shard(volume, 0)), w.config(shard(volume, 1)));
    assert_eq!((first.epoch, second.epoch), (before[0].epoch, before[1].epoch.next()));
    assert_eq!((&second.members, second.primary), (&before[1].members, before[1].primary));
    let layout = Layout { blocks: u64::from(EACH) * 13 / 4, shard_blocks: EACH };
    assert!(w.zone.configurations().all(|c| c.layout == layout && c.blocks == layout.blocks_of(c.shard.index)));
    // Thick: each copy of it is promised.
    assert_eq!(w.node_states().iter().map(|n| n.reserved).sum::<u64>(), 3 * 13 * GIB / 4);
    let state = w.state(volume);
    assert_eq!(state.condition, VolumeCondition::Ok);
    for n in w.nodes.values() {
        assert!(n.configs.values().all(|c| w.zone.configurations().any(|now| now == c)), "everybody was told");
    }
    w.told(DeleteVolume { volume });
    w.pass_ms(1000);
    assert!(w.node_states().iter().all(|n| (n.reserved, n.held) == (0, 0)), "all shards go with it");
}

#[test]
fn what_was_asked_twice_is_one_change() {
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    let once = resized(&mut w, volume, 3 * GIB);
    let writes = w.meta.writes;
    let twice = resized(&mut w, volume, 3 * GIB);
    assert_eq!((once.info, writes, blocks(&w, volume).len()), (twice.info, w.meta.writes, 3));
    // Up to the end of a shard, and from there.
    resized(&mut w, volume, 4 * GIB);
    assert_eq!(blocks(&w, volume), [EACH; 4]);
    assert_eq!((0..4).map(|i| w.config(shard(volume, i)).epoch.0).collect::<Vec<_>>(), [1, 2, 1, 1]);
}

#[test]
fn an_attached_volume_grows_under_its_host() {
    let mut w = world(4);
    let volume = volume(&mut w, 3);
    let host = w.add_host(1);
    let generation = w.attach(volume, host);
    resized(&mut w, volume, 4 * GIB);
    assert_eq!((w.hosts[&host].attached[&volume], w.hosts[&host].sizes[&volume]), (generation, 4 * GIB));
    for index in 0..4 {
        let c = w.config(shard(volume, index));
        assert_eq!((c.generation, c.client, c.fence.len()), (generation, Some(host), 0), "{c:?}");
        assert_eq!(w.hosts[&host].configs[&c.shard].epoch, c.epoch);
    }
    // Whoever served the new shards is fenced by the next attachment, like the others.
    let served: Vec<_> = (0..4).map(|i| w.config(shard(volume, i)).primary).collect();
    w.nodes.values_mut().for_each(|n| n.willing = false);
    let operator = w.ask(DetachVolume { volume });
    w.pass_ms(3000);
    assert!(w.answer(operator).is_some());
    w.attach(volume, host);
    for (index, primary) in (0..).zip(served) {
        assert_eq!(w.config(shard(volume, index)).fence, [primary], "shard {index}");
    }
}

#[test]
fn the_answer_waits_for_the_host_to_take_the_size() {
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    let host = w.add_host(1);
    let generation = w.attach(volume, host);
    w.hosts.get_mut(&host).unwrap().willing = false;
    let operator = w.ask(ResizeVolume { volume, size: 2 * GIB });
    assert_eq!((w.answer(operator), w.state(volume).info.size), (None, 2 * GIB));
    let peer = base::io::net::Peer::Host(host);
    w.say(peer, AttachState { volume, generation, open: true, size: 3 * GIB / 2 });
    w.run();
    assert_eq!(w.answer(operator), None, "said before it was told");
    w.say(peer, AttachState { volume, generation, open: true, size: 2 * GIB });
    w.run();
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
    // One that says nothing is not waited for for ever.
    let operator = w.ask(ResizeVolume { volume, size: 3 * GIB });
    w.pass_ms(30_000);
    let (code, text) = World::refusal(&w.answer(operator).unwrap());
    assert!(code == ErrorCode::TimedOut && text.contains("3GiB") && text.contains("30000 ms"), "{text}");
    // One that is gone is waited for no longer than it would need to come back after a restart of the authority; it is told when it comes.
    let operator = w.ask(ResizeVolume { volume, size: 4 * GIB });
    w.down(peer);
    w.pass_ms(2990);
    assert_eq!(w.answer(operator), None);
    w.pass_ms(20);
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
    w.hosts.get_mut(&host).unwrap().willing = true;
    w.connect_host(host);
    w.run();
    assert_eq!(w.hosts[&host].sizes[&volume], 4 * GIB);
    assert_eq!(resized(&mut w, volume, 4 * GIB).info.size, 4 * GIB);
}

#[test]
fn an_authority_that_has_just_started_waits_for_the_host_to_come_and_take_the_size() {
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    let host = w.add_host(1);
    w.attach(volume, host);
    // It comes later than the operator.
    w.hosts.get_mut(&host).unwrap().up = false;
    w.restart_zone();
    let operator = w.ask(ResizeVolume { volume, size: 2 * GIB });
    assert_eq!((w.answer(operator), w.state(volume).info.size), (None, 2 * GIB));
    w.pass_ms(1500);
    w.hosts.get_mut(&host).unwrap().willing = false;
    w.connect_host(host);
    w.run();
    assert_eq!(w.answer(operator), None, "it is here, and has not said what it has open");
    let generation = w.hosts[&host].attached[&volume];
    w.say(base::io::net::Peer::Host(host), AttachState { volume, generation, open: true, size: 2 * GIB });
    w.run();
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
    // One that is detached meanwhile has nobody to take it.
    let operator = w.ask(ResizeVolume { volume, size: 3 * GIB });
    assert_eq!(w.answer(operator), None);
    w.told(DetachVolume { volume });
    w.run();
    assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))));
}

#[test]
fn nobody_is_told_of_a_size_that_is_not_durable() {
    for fault in [None, Some(Fault::Conflict), Some(Fault::UnknownDone), Some(Fault::UnknownLost)] {
        let mut w = world(3);
        let volume = volume(&mut w, 3);
        let host = w.add_host(1);
        w.attach(volume, host);
        w.meta.stopped = true;
        w.meta.faults.extend(fault);
        let operator = w.ask(ResizeVolume { volume, size: 3 * GIB });
        assert_eq!((w.state(volume).info.size, w.answer(operator)), (3 * GIB / 2, None));
        w.connect_host(host);
        w.run();
        assert_eq!(w.hosts[&host].sizes[&volume], 3 * GIB / 2, "greeted meanwhile");
        w.meta.stopped = false;
        w.pass_ms(3000);
        assert!(matches!(w.answer(operator), Some(Message::VolumeReply(_))), "{fault:?}");
        assert_eq!((blocks(&w, volume), w.hosts[&host].sizes[&volume]), (vec![EACH; 3], 3 * GIB), "{fault:?}");
        assert_eq!(w.node_states().iter().map(|n| n.reserved).sum::<u64>(), 9 * GIB, "{fault:?}");
    }
}

#[test]
fn an_authority_that_dies_in_the_middle_leaves_the_old_size_or_the_new() {
    for done in [false, true] {
        let mut w = world(3);
        let volume = volume(&mut w, 3);
        let host = w.add_host(1);
        w.attach(volume, host);
        w.meta.stopped = true;
        if !done {
            w.meta.faults.push(Fault::UnknownLost);
        }
        let operator = w.ask(ResizeVolume { volume, size: 3 * GIB });
        w.meta.stopped = false;
        w.restart_zone();
        let size = if done { 3 * GIB } else { 3 * GIB / 2 };
        assert_eq!((w.state(volume).info.size, w.hosts[&host].sizes[&volume]), (size, size));
        assert_eq!(w.answer(operator), None);
        assert_eq!(resized(&mut w, volume, 3 * GIB).info.size, 3 * GIB);
        assert_eq!((blocks(&w, volume), w.state(volume).condition), (vec![EACH; 3], VolumeCondition::Ok));
        assert_eq!(w.config(shard(volume, 1)).epoch, Epoch(3), "grown once: the second epoch is the attachment's");
    }
}

#[test]
fn a_degraded_shard_grows_and_the_copy_that_comes_back_is_made_whole_at_the_new_size() {
    let mut w = world(4);
    let volume = volume(&mut w, 3);
    let last = shard(volume, 1);
    let c = w.config(last);
    let lost = w.backup(&c, 1);
    w.kill(lost);
    let mut members = c.members.clone();
    members.retain(|m| m.node.0 != lost);
    let (epoch, primary) = (c.epoch, c.primary);
    let cause = Cause::MemberLost { node: NodeId(lost) };
    let wish = Proposal { shard: last, epoch, primary, members: members.clone(), admit: None, cause };
    assert!(matches!(w.propose(primary.0, wish), Some(ProposalOutcome::Granted { .. })));
    resized(&mut w, volume, 2 * GIB);
    let c = w.config(last);
    assert_eq!((c.blocks, c.members.len(), c.holders.len()), (EACH, 2, 1));
    w.restart(lost);
    w.pass_ms(100);
    let c = w.config(last);
    let learner = c.learner.expect("it learns");
    assert_eq!(learner.member.node.0, lost);
    // While it does, the shard cannot grow: it is full. The volume can, and what is filled goes on.
    resized(&mut w, volume, 5 * GIB / 2);
    assert_eq!((w.config(last).learner, w.config(last).epoch), (Some(learner), c.epoch));
    let wish = w.admission(&w.config(last));
    assert!(matches!(w.propose(c.primary.0, wish), Some(ProposalOutcome::Granted { .. })));
    w.pass_ms(100);
    assert_eq!((w.config(last).members.len(), w.config(last).blocks), (3, EACH));
}

#[test]
fn a_shard_grows_while_a_learner_is_filled_and_a_fail_over_keeps_the_size() {
    let mut w = world(4);
    let volume = volume(&mut w, 3);
    let last = shard(volume, 1);
    let c = w.config(last);
    let gone = w.backup(&c, 0);
    w.kill(gone);
    let members: Vec<Member> = c.members.iter().copied().filter(|m| m.node.0 != gone).collect();
    let cause = Cause::MemberLost { node: NodeId(gone) };
    let wish = Proposal { shard: last, epoch: c.epoch, primary: c.primary, members, admit: None, cause };
    assert!(matches!(w.propose(c.primary.0, wish), Some(ProposalOutcome::Granted { .. })));
    w.restart(gone);
    w.pass_ms(100);
    let learning = w.config(last);
    assert!(learning.learner.is_some());
    resized(&mut w, volume, 7 * GIB / 4);
    let c = w.config(last);
    assert_eq!((c.blocks, c.learner, c.epoch), (EACH / 4 * 3, learning.learner, learning.epoch.next()));
    // The admission that was wished for in the epoch before is none any more; the primary dies, and whoever follows has the size.
    let late = w.propose(c.primary.0, w.admission(&learning));
    assert!(matches!(late, Some(ProposalOutcome::Superseded { .. })), "{late:?}");
    let other = w.backup(&c, 0);
    w.kill(c.primary.0);
    w.pass_ms(1500);
    w.propose(other, w.fail_over(&c, other));
    w.pass_ms(3000);
    let now = w.config(last);
    assert!(now.epoch > c.epoch && now.blocks == c.blocks && now.primary != c.primary, "{now:?}");
}

#[test]
fn what_cannot_be_is_refused_with_its_numbers() {
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    let (code, text) = refused(&mut w, volume, GIB);
    assert!(code == ErrorCode::Invalid && text.contains("has 1536MiB") && text.contains("1GiB would be"), "{text}");
    let (code, text) = refused(&mut w, volume, 3 * GIB / 2 + 1);
    assert!(code == ErrorCode::Invalid && text.contains("4096"), "{text}");
    let (code, text) = refused(&mut w, volume, 1025 * GIB);
    assert!(code == ErrorCode::Invalid && text.contains("1025 of them"), "{text}");
    let (code, text) = refused(&mut w, volume, 65 << 40);
    assert!(code == ErrorCode::Invalid && text.contains("65TiB"), "{text}");
    assert_eq!(refused(&mut w, VolumeId(9), GIB).0, ErrorCode::NotFound);
    // 98.5 GiB are left on each node, half of one for the last shard there is.
    let (code, text) = refused(&mut w, volume, 101 * GIB);
    assert!(code == ErrorCode::NoRoom && text.contains("fits on 0 of 3 nodes"), "{text}");
    resized(&mut w, volume, 100 * GIB);
    w.told(DeleteVolume { volume });
    assert_eq!(refused(&mut w, volume, 101 * GIB).0, ErrorCode::NotFound);
}

#[test]
fn a_last_shard_that_has_no_room_on_one_of_its_nodes_is_refused_by_name() {
    // I10: also on a node that is away, and not on a disk that is gone.
    let mut w = World::new(3);
    let volume = w.volume(1, 3);
    let size = 395 * GIB / 4;
    let filler = CreateVolume { request: RequestId(6), size, copies: 1, throttle: Throttle::default() };
    let Message::VolumeReply(m) = w.told(filler) else { panic!("not made") };
    let node = m.volumes[0].shards[0].config.primary;
    for away in [false, true] {
        if away {
            w.kill(node.0);
        }
        let (code, text) = refused(&mut w, volume, 3 * GIB / 2);
        assert_eq!(code, ErrorCode::NoRoom);
        let numbers = format!("{node} has 256MiB of 100GiB left");
        assert!(text.contains("grows by 512MiB") && text.contains(&numbers), "{text}");
    }
    resized(&mut w, volume, 5 * GIB / 4);
    assert_eq!(w.node_state(node.0).reserved, 100 * GIB);
    // Nobody is there who could lead it on without the disk that is gone.
    (1..=3).filter(|n| *n != node.0).for_each(|n| w.kill(n));
    w.restart_with_new_disk(node.0);
    assert!(w.first(volume).members.iter().any(|m| m.node == node), "it is a member yet");
    resized(&mut w, volume, 3 * GIB / 2);
}

#[test]
fn new_shards_are_placed_beside_what_the_last_one_grows_by() {
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    w.volume(97, 3);
    // A GiB and a half are left on each: half of one for the last shard, and one.
    let (code, text) = refused(&mut w, volume, 3 * GIB + 4096);
    assert!(code == ErrorCode::NoRoom && text.contains("a part of 4KiB still fits on 0 of 3"), "{text}");
    w.kill(2);
    let (code, text) = refused(&mut w, volume, 3 * GIB);
    assert!(code == ErrorCode::Unavailable && text.contains("2 are up"), "{text}");
    w.restart(2);
    resized(&mut w, volume, 3 * GIB);
    assert!(w.node_states().iter().all(|n| n.reserved == 100 * GIB));
}

#[test]
fn a_volume_whose_growth_not_all_have_heard_of_is_rebuilt_at_its_new_size() {
    use base::io::net::{Event, Link, Peer};
    use base::io::{Inbox, Input, Machine, Outbox};
    let mut w = world(3);
    let volume = volume(&mut w, 3);
    let old: Vec<_> = (0..2).map(|i| w.config(shard(volume, i))).collect();
    resized(&mut w, volume, 5 * GIB / 2);
    let all = w.nodes.keys().copied().collect();
    let mut rebuild = zone::Rebuild::new(world::CLUSTER, all, Default::default());
    for id in w.nodes.keys() {
        // Of the shards that there were only node 1 was told of the first, and nobody of the second.
        let config = |shard: &ShardId| match shard.index {
            0 if id.0 != 1 => old[0].clone(),
            1 => old[1].clone(),
            _ => w.nodes[id].configs[shard].clone(),
        };
        let replica = |shard: &ShardId| {
            let config = config(shard);
            let standing = base::log::Standing::Complete;
            KnownReplica { promised: config.epoch, standing, end: Sequence(0), config }
        };
        let node = &w.nodes[id];
        let known =
            Known { replicas: node.replicas.iter().map(replica).collect(), nodes: node.directory.clone(), last: true };
        for message in [Message::from(w.register(*id)), known.into()] {
            let event = Event::Frame { from: Link::from(Peer::Node(*id)), frame: message.frame() };
            rebuild.step(Time(1), &mut Inbox::from([Input::Net(event)]), &mut Outbox::default());
        }
    }
    let rebuilt = rebuild.plan(MetaUuid(7));
    assert_eq!((rebuilt.left_out.len(), rebuilt.volumes[0].size), (0, 5 * GIB / 2));
    w.meta.pairs =
        rebuilt.pairs.iter().map(|(key, value)| (key.clone(), (value.clone(), rebuilt.revision.0))).collect();
    w.meta.revision = rebuilt.revision.0;
    for pair in w.meta.all() {
        w.meta.written.insert((pair.key, pair.revision.0), pair.value);
    }
    w.restart_zone();
    w.pass_ms(5000);
    assert_eq!(blocks(&w, volume), [EACH, EACH, EACH / 2]);
    assert_eq!(w.state(volume).condition, VolumeCondition::Ok);
}
