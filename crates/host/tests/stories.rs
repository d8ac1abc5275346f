//! What a host does when all goes well: splitting, merging, ordering, attaching and detaching.

mod stage;

use base::io::Machine;
use base::io::net::{Event, Link, Op as NetOp, Peer};
use base::{BLOCK_BYTES, ClusterId, Generation, HostId, NodeId, Payload, Revision, VolumeId};
use host::{Busy, Op, Policy, Refusal, Reply, Request};
use stage::*;
use wire::{Configure, Detached, HostReport, Message, Throttle};

#[test]
fn a_write_goes_to_the_primary_and_is_answered_when_it_says_done() {
    let mut s = Stage::attached();
    let data = Payload::from(vec![7; 2 * BLOCK_BYTES]);
    let tag = s.submit(Op::Write { offset: 3 * BLOCK, data: data.clone() });
    let sent = s.ios();
    let [Sent { to: Peer::Node(NodeId(1)), message: Message::Write(m), data: parts }] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!((m.shard, m.epoch.0, m.generation.0, m.block), (shard(0), 5, 4, 3));
    assert_eq!(parts[0].as_ptr(), data.as_ptr(), "an aligned write is not copied");
    assert!(s.replies().is_empty());
    s.done(&sent[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
    assert_eq!(s.host.deadline(), None, "an idle host costs nothing");
}

#[test]
fn a_write_with_ragged_edges_reads_them_and_writes_whole_blocks() {
    let mut s = Stage::attached();
    let tag = s.submit(Op::Write { offset: BLOCK + 512, data: Payload::from(vec![9; 2 * BLOCK_BYTES]) });
    let reads = s.ios();
    assert_eq!(reads.len(), 2);
    s.done(&reads[0], vec![1; BLOCK_BYTES]);
    assert!(s.ios().is_empty());
    s.done(&reads[1], vec![3; BLOCK_BYTES]);
    let writes = s.ios();
    let [Sent { message: Message::Write(m), .. }] = &writes[..] else { panic!("{writes:?}") };
    assert_eq!(m.block, 1);
    let wanted = [vec![1; 512], vec![9; 2 * BLOCK_BYTES], vec![3; BLOCK_BYTES - 512]].concat();
    assert!(writes[0].bytes() == wanted);
    s.done(&writes[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn a_read_gives_the_bytes_between_any_two_offsets() {
    let mut s = Stage::attached();
    let tag = s.submit(Op::Read { offset: 100, len: BLOCK });
    let sent = s.ios();
    let [Sent { message: Message::Read(m), .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((m.block, m.count), (0, 2));
    let bytes: Vec<u8> = (0..2 * BLOCK_BYTES).map(|i| (i / 7) as u8).collect();
    s.done(&sent[0], bytes.clone());
    s.step();
    let reply = s.reply();
    let got: Vec<u8> = reply.result.unwrap().iter().flat_map(|p| p.to_vec()).collect();
    assert_eq!((reply.tag, &got[..]), (tag, &bytes[100..100 + BLOCK_BYTES]));
}

#[test]
fn a_volume_that_is_attached_read_only_is_read_and_not_changed() {
    let mut s = Stage::new();
    let volume = wire::VolumeInfo { volume: VOLUME, size: 1024 * BLOCK, shard_blocks: 1024 };
    let (generation, throttle, configs) = (Generation(4), Throttle::default(), vec![config(0, 5, 1)]);
    let attached = |read_only| wire::Attached {
        volume: volume.clone(),
        generation,
        read_only,
        throttle,
        configs: configs.clone(),
    };
    s.zone_says(attached(true));
    s.up(Peer::Node(NodeId(1)));
    s.step();
    // What its clients were told when they connected does not change under them.
    s.zone_says(attached(false));
    s.step();
    assert_eq!(s.host.volume(VOLUME).map(|e| e.read_only), Some(true));
    for op in [write(0, 1, 1), Op::Trim { offset: 0, len: BLOCK }, Op::Zero { offset: 0, len: 1 }] {
        let tag = s.submit(op);
        assert!(s.ios().is_empty());
        assert_eq!(s.reply(), Reply { tag, result: Err(Refusal::ReadOnly) });
    }
    let flush = s.submit(Op::Flush);
    s.submit(Op::Read { offset: 0, len: BLOCK });
    s.submit(Op::Map { offset: 0, len: BLOCK });
    assert_eq!(s.ios().len(), 2);
    assert_eq!(s.reply(), ok(flush));
}

#[test]
fn what_is_written_is_asked_of_the_primary_and_again_of_the_next() {
    let mut s = Stage::attached();
    let tag = s.submit(Op::Map { offset: 100, len: 9 * BLOCK });
    let sent = s.ios();
    let [Sent { message: Message::Map(m), .. }] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((m.block, m.count), (0, 10));
    // An answer of the wrong length answers nothing, nor does one of an epoch that is over (I8).
    s.done(&sent[0], vec![0b11]);
    assert!(s.ios().is_empty());
    s.up(Peer::Node(NodeId(2)));
    s.zone_says(Configure { cluster: ClusterId(1), revision: Revision(60), configs: vec![config(0, 6, 2)] });
    let again = s.ios();
    assert_eq!((again.len(), again[0].to, again[0].epoch()), (1, Peer::Node(NodeId(2)), 6));
    s.done(&sent[0], vec![0, 0]);
    s.done(&again[0], vec![0b1000_0001, 0b10]);
    s.step();
    let bits = vec![Payload::from(vec![0b1000_0001, 0b10])];
    assert_eq!(s.reply(), Reply { tag, result: Ok(bits) });
    // A write under way holds up nothing here: the primary knows.
    s.submit(write(0, 4, 1));
    s.submit(Op::Map { offset: 0, len: BLOCK });
    assert_eq!(s.ios().len(), 2);
    // Beyond the end there is nothing to ask about.
    let beyond = s.submit(Op::Map { offset: 1023 * BLOCK, len: BLOCK + 1 });
    s.step();
    assert_eq!(s.reply(), Reply { tag: beyond, result: Err(Refusal::OutOfRange { size: 1024 * BLOCK }) });
}

#[test]
fn overlapping_writes_go_one_after_the_other_and_others_pass_them() {
    let mut s = Stage::attached();
    let tags: Vec<u64> = [write(0, 2, 1), write(1, 2, 2), write(1, 1, 3), write(9, 1, 4)].map(|op| s.submit(op)).into();
    let first = s.ios();
    assert_eq!(first.iter().map(|w| w.data[0][0]).collect::<Vec<_>>(), [1, 4]);
    s.done(&first[0], vec![]);
    let second = s.ios();
    assert_eq!(second.iter().map(|w| w.data[0][0]).collect::<Vec<_>>(), [2]);
    s.done(&second[0], vec![]);
    let third = s.ios();
    assert_eq!(third.iter().map(|w| w.data[0][0]).collect::<Vec<_>>(), [3]);
    s.done(&third[0], vec![]);
    s.step();
    assert_eq!(s.replies(), tags[..3].iter().map(|tag| ok(*tag)).collect::<Vec<_>>());
}

#[test]
fn two_writes_into_one_block_both_live() {
    let mut s = Stage::attached();
    s.submit(Op::Write { offset: 0, data: Payload::from(vec![1; 512]) });
    s.submit(Op::Write { offset: 512, data: Payload::from(vec![2; 512]) });
    let read = s.ios();
    assert_eq!(read.len(), 1, "the second waits for the block");
    s.done(&read[0], vec![0; BLOCK_BYTES]);
    let write = s.ios();
    s.done(&write[0], vec![]);
    let again = s.ios();
    s.done(&again[0], write[0].bytes());
    let last = s.ios();
    assert!(last[0].bytes() == [vec![1; 512], vec![2; 512], vec![0; BLOCK_BYTES - 1024]].concat());
}

#[test]
fn a_request_is_split_at_shards_and_answered_when_all_parts_are() {
    let mut s = Stage::new();
    s.attach(20, 8, vec![config(0, 5, 1), config(1, 6, 2)]);
    assert!(s.step().is_empty(), "not usable before every shard is known");
    assert_eq!(s.host.volume(VOLUME), None);
    let configs = vec![config(2, 7, 3)];
    s.zone_says(Configure { cluster: base::ClusterId(1), revision: base::Revision(70), configs });
    let told = s.step();
    assert!(matches!(&told[..], [Sent { to: Peer::Zone, message: Message::AttachState(m), .. }] if m.open));
    assert_eq!(s.host.volume(VOLUME).map(|e| (e.size, e.generation)), Some((20 * BLOCK, Generation(4))));
    (1..=3).for_each(|n| s.up(Peer::Node(NodeId(n))));
    s.step();
    let tag = s.submit(write(6, 12, 1));
    let sent = s.ios();
    let shape = |w: &Sent| (w.to, shard_of(w).index, w.epoch(), w.bytes().len() / BLOCK_BYTES);
    let node = |n| Peer::Node(NodeId(n));
    let shapes: Vec<_> = sent.iter().map(shape).collect();
    assert_eq!(shapes, [(node(1), 0, 5, 2), (node(2), 1, 6, 8), (node(3), 2, 7, 2)]);
    for write in [&sent[2], &sent[0]] {
        s.done(write, vec![]);
    }
    s.step();
    assert!(s.replies().is_empty());
    s.done(&sent[1], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn a_flush_is_answered_after_every_write_before_it_without_a_message() {
    let mut s = Stage::attached();
    let empty = s.submit(Op::Flush);
    s.step();
    assert_eq!(s.reply(), ok(empty));
    let before = s.submit(write(0, 1, 1));
    let flush = s.submit(Op::Flush);
    let after = s.submit(write(5, 1, 2));
    let sent = s.ios();
    s.done(&sent[1], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(after));
    s.done(&sent[0], vec![]);
    s.step();
    assert_eq!(s.replies(), [ok(before), ok(flush)]);
}

#[test]
fn a_large_trim_goes_in_turns_of_bounded_size() {
    let mut s = Stage::attached_with(Policy { pieces_max: 3, ..Policy::default() });
    let tag = s.submit(Op::Trim { offset: 0, len: 1024 * BLOCK });
    let mut sent = s.ios();
    assert_eq!(sent.len(), 3);
    let mut blocks = 0;
    while let Some(trim) = sent.pop() {
        let Message::Trim(m) = &trim.message else { panic!("{trim:?}") };
        assert!(m.count <= base::IO_BLOCKS_MAX);
        blocks += m.count;
        s.done(&trim, vec![]);
        sent.extend(s.ios());
        assert!(sent.len() <= 3);
    }
    assert_eq!(blocks, 1024);
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn what_cannot_be_is_refused_without_a_message() {
    let mut s = Stage::attached();
    let size = 1024 * BLOCK;
    for op in [
        Op::Read { offset: size - 1, len: 2 },
        Op::Trim { offset: u64::MAX, len: 2 },
        Op::Zero { offset: size + 1, len: 0 },
        write(1024, 1, 0),
    ] {
        let tag = s.submit(op);
        assert!(s.step().is_empty());
        assert_eq!(s.reply(), Reply { tag, result: Err(Refusal::OutOfRange { size }) });
    }
    for op in [Op::Read { offset: size, len: 0 }, Op::Write { offset: 3, data: Payload::empty() }] {
        let tag = s.submit(op);
        assert!(s.step().is_empty());
        assert_eq!(s.reply(), ok(tag));
    }
    s.host.submit(Request { volume: VolumeId(99), tag: 1, op: Op::Flush }).unwrap();
    s.step();
    assert_eq!(s.reply(), Reply { tag: 1, result: Err(Refusal::NotOpen) });
}

#[test]
fn a_volume_has_bounds_of_its_own() {
    let mut s = Stage::attached_with(Policy { requests_max: 2, bytes_max: 3 * BLOCK, ..Policy::default() });
    let request = |tag, op| Request { volume: VOLUME, tag, op };
    let first = s.submit(write(0, 2, 1));
    let second = request(50, write(5, 2, 1));
    assert_eq!(s.host.submit(second.clone()), Err(Busy(second.clone())), "too many bytes");
    s.submit(write(9, 1, 1));
    assert_eq!(s.host.submit(request(51, Op::Flush)), Err(Busy(request(51, Op::Flush))), "too many requests");
    s.host.submit(Request { volume: VolumeId(99), tag: 1, op: Op::Flush }).expect("another volume has its own room");
    let sent = s.ios();
    s.done(&sent[0], vec![]);
    s.step();
    assert!(s.replies().contains(&ok(first)));
    s.host.submit(second).expect("there is room again");
    let sent = s.ios();
    assert_eq!(sent.len(), 1);
    let mut s = Stage::attached_with(Policy { bytes_max: BLOCK, ..Policy::default() });
    s.submit(write(0, 4, 1));
    assert_eq!(s.ios().len(), 1, "a request above the bound goes alone");
}

#[test]
fn messages_in_flight_to_a_primary_are_bounded() {
    let mut s = Stage::attached_with(Policy { shard_ios_max: 3, shard_bytes_max: 4 * BLOCK, ..Policy::default() });
    (0..10).for_each(|i| _ = s.submit(write(i * 2, 1 + i % 2, 1)));
    let mut sent = s.ios();
    let mut all = 0;
    while !sent.is_empty() {
        let bytes: usize = sent.iter().map(|w| w.bytes().len()).sum();
        assert!(sent.len() <= 3 && bytes as u64 <= 4 * BLOCK);
        all += 1;
        let first = sent.remove(0);
        s.done(&first, vec![]);
        sent.extend(s.ios());
    }
    assert_eq!((all, s.replies().len()), (10, 10));
}

#[test]
fn a_detached_volume_drops_what_is_in_flight_and_says_so() {
    let mut s = Stage::attached();
    let tags = [s.submit(write(0, 1, 1)), s.submit(write(0, 1, 2)), s.submit(Op::Flush)];
    let sent = s.ios();
    s.zone_says(Detached { volume: VOLUME, generation: Generation(4) });
    let told = s.step();
    assert!(matches!(&told[..], [Sent { message: Message::AttachState(m), .. }] if !m.open && m.generation.0 == 4));
    assert_eq!(s.replies(), tags.map(|tag| Reply { tag, result: Err(Refusal::Detached) }));
    assert!(s.asked.iter().any(|op| matches!(op, NetOp::Watch { peer: Peer::Node(NodeId(1)), wanted: false })));
    // A late answer and a late detachment change nothing.
    s.done(&sent[0], vec![]);
    s.zone_says(Detached { volume: VOLUME, generation: Generation(4) });
    let told = s.step();
    assert!(matches!(&told[..], [Sent { message: Message::AttachState(m), .. }] if !m.open));
    assert!(s.replies().is_empty());
    let tag = s.submit(Op::Flush);
    s.step();
    assert_eq!(s.reply(), Reply { tag, result: Err(Refusal::NotOpen) });
    assert_eq!(s.host.deadline(), None);
}

#[test]
fn a_new_generation_closes_the_old_one_and_an_old_one_is_not_heard() {
    let mut s = Stage::attached();
    let tag = s.submit(write(0, 1, 1));
    s.step();
    let volume = wire::VolumeInfo { volume: VOLUME, size: 1024 * BLOCK, shard_blocks: 1024 };
    let newer = base::Configuration { generation: Generation(5), ..config(0, 6, 1) };
    s.zone_says(wire::Attached {
        volume: volume.clone(),
        generation: Generation(5),
        read_only: false,
        throttle: Throttle::default(),
        configs: vec![newer],
    });
    s.step();
    assert_eq!(s.reply(), Reply { tag, result: Err(Refusal::Detached) });
    s.zone_says(wire::Attached {
        volume,
        generation: Generation(4),
        read_only: false,
        throttle: Throttle::default(),
        configs: vec![config(0, 5, 1)],
    });
    s.zone_says(Detached { volume: VOLUME, generation: Generation(4) });
    s.step();
    assert_eq!(s.host.volume(VOLUME).map(|e| e.generation), Some(Generation(5)));
    s.submit(write(0, 1, 1));
    let sent = s.ios();
    assert!(matches!(&sent[..], [Sent { message: Message::Write(m), .. }] if m.generation.0 == 5 && m.epoch.0 == 6));
}

#[test]
fn the_authority_is_told_again_after_it_lost_touch() {
    let mut s = Stage::attached();
    s.down(Peer::Zone, base::io::net::Down::Reset);
    s.step();
    s.up(Peer::Zone);
    assert!(matches!(&s.step()[..], [Sent { message: Message::HostRegister(_), .. }]));
    s.attach(1024, 1024, vec![config(0, 5, 1)]);
    let told = s.step();
    assert!(matches!(&told[..], [Sent { message: Message::AttachState(m), .. }] if m.open));
    // Out of touch, a detachment is obeyed when it comes; nothing is sent to nobody.
    s.down(Peer::Zone, base::io::net::Down::Reset);
    s.zone_says(Detached { volume: VOLUME, generation: Generation(4) });
    assert!(s.step().is_empty());
}

#[test]
fn only_nodes_that_lead_are_watched() {
    let mut s = Stage::attached();
    let watches = |s: &Stage| -> Vec<(Peer, bool)> {
        let pick = |op: &NetOp| if let NetOp::Watch { peer, wanted } = op { Some((*peer, *wanted)) } else { None };
        s.asked.iter().filter_map(pick).collect()
    };
    let node = |n| Peer::Node(NodeId(n));
    assert_eq!(watches(&s), [(Peer::Zone, true), (node(1), true)]);
    s.zone_says(Configure {
        cluster: base::ClusterId(1),
        revision: base::Revision(60),
        configs: vec![config(0, 6, 2)],
    });
    s.step();
    assert_eq!(watches(&s)[2..], [(node(1), false), (node(2), true)]);
    let known = |op: &&NetOp| matches!(op, NetOp::Know { .. });
    assert_eq!(s.asked.iter().filter(known).count(), 3, "addresses are passed on once");
}

#[test]
fn what_makes_no_sense_is_counted_and_changes_nothing() {
    let mut s = Stage::attached();
    let tag = s.submit(write(0, 1, 1));
    let sent = s.ios();
    let zone = |m: Message| Event::Frame { from: Link::to(Peer::Zone), frame: m.frame() };
    let garbage = base::io::net::Frame { kind: 0x13, head: vec![1, 2, 3].into(), data: vec![] };
    s.raw(Event::Frame { from: Link::to(Peer::Node(NodeId(1))), frame: garbage });
    s.raw(zone(HostReport { stuck: vec![], throttled: vec![] }.into()));
    s.says(Peer::Node(NodeId(1)), HostReport { stuck: vec![], throttled: vec![] }, vec![]);
    s.says(Peer::Host(HostId(2)), HostReport { stuck: vec![], throttled: vec![] }, vec![]);
    let done = wire::Done { shard: shard(0), epoch: base::Epoch(5), io: sent[0].io() };
    s.raw(Event::Frame { from: Link::from(Peer::Node(NodeId(1))), frame: Message::from(done).frame() });
    let no_size = wire::VolumeInfo { volume: VolumeId(8), size: 0, shard_blocks: 0 };
    s.zone_says(wire::Attached {
        volume: no_size,
        generation: Generation(1),
        read_only: false,
        throttle: Throttle::default(),
        configs: vec![],
    });
    // Shards that nobody has.
    s.says(Peer::Node(NodeId(1)), wire::Done { shard: shard(9), epoch: base::Epoch(5), io: 1 }, vec![]);
    s.zone_says(Configure { cluster: base::ClusterId(1), revision: base::Revision(1), configs: vec![config(9, 9, 1)] });
    s.step();
    assert_eq!(s.host.ignored(), 6);
    assert!(s.replies().is_empty());
    s.done(&sent[0], vec![]);
    s.step();
    assert_eq!(s.reply(), ok(tag));
}

#[test]
fn requests_for_volumes_that_are_not_here_are_bounded_too() {
    let mut s = Stage::new();
    let request = |tag| Request { volume: VOLUME, tag, op: Op::Flush };
    let taken = (0..10_000).take_while(|tag| s.host.submit(request(*tag)).is_ok()).count();
    assert_eq!(taken, 4096);
    s.step();
    assert!(s.replies().iter().all(|r| r.result == Err(Refusal::NotOpen)));
    s.host.submit(request(1)).expect("there is room again");
}

#[test]
fn openings_and_closings_are_counted() {
    let mut s = Stage::attached();
    let opened = s.host.attachments();
    assert_eq!(s.host.volumes().map(|e| e.volume).collect::<Vec<_>>(), [VOLUME]);
    s.zone_says(Detached { volume: VOLUME, generation: Generation(4) });
    s.step();
    assert!(s.host.attachments() > opened);
    assert_eq!(s.host.volumes().count(), 0);
}
