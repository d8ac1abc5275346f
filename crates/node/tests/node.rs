//! One node over a real store on a disk in memory, with the test as authority, host and peers.

pub(crate) mod bench;

use bench::*;

#[test]
fn it_registers_with_what_it_holds_and_reports_each_second() {
    let mut b = Bench::new();
    assert!(
        matches!(&b.sent[0].1, Message::Register(r) if r.held.is_empty() && r.last && r.node.store == StoreUuid(77))
    );
    b.configure(alone(1));
    b.now += Duration::from_millis(20);
    b.give(vec![]);
    let Message::Report(report) = b.last() else { panic!("{:?}", b.last()) };
    assert_eq!(report.shards[0].condition, wire::ShardCondition::Serving);
    assert_eq!(report.space.reserved, 64 * BLOCK_BYTES as u64);
    let reports = b.count("Report");
    b.now = b.node.deadline().unwrap();
    b.give(vec![]);
    assert_eq!(b.count("Report"), reports + 1);
    b.up(Link::to(Peer::Zone));
    assert!(b.sent.iter().any(|(_, m, _)| matches!(m, Message::Register(r) if r.held.len() == 1)));
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_under_a_new_epoch() {
    let mut b = Bench::new();
    b.configure(alone(1));
    b.write(1, 5, 0xaa);
    assert!(matches!(b.last(), Message::Done(_)));
    let mut b = Bench::over(std::mem::take(&mut b.disk), 2);
    b.up(Link::to(Peer::Zone));
    assert_eq!(b.read(1, 5), None);
    let wished =
        b.sent.iter().rev().find_map(|(_, m, _)| if let Message::Propose(p) = m { Some(p.clone()) } else { None });
    let wished = wished.expect("it asks for a new epoch");
    assert_eq!(wished.proposals[0].cause, wire::Cause::Restarted);
    let outcomes = vec![wire::ProposalOutcome::Granted { config: alone(2) }];
    b.zone(wire::Proposed { batch: wished.batch, outcomes });
    assert_eq!(b.read(2, 5), Some(0xaa));
}

#[test]
fn a_wish_is_said_again_to_an_authority_that_came_back() {
    let mut b = Bench::new();
    b.configure(alone(1));
    let mut b = Bench::over(std::mem::take(&mut b.disk), 2);
    assert_eq!(b.count("Propose"), 0);
    b.up(Link::to(Peer::Zone));
    assert_eq!(b.count("Propose"), 1);
    b.give(vec![Input::Net(Event::Down { link: Link::to(Peer::Zone), why: base::io::net::Down::Reset })]);
    b.up(Link::to(Peer::Zone));
    assert_eq!(b.count("Propose"), 2);
}

#[test]
fn about_a_shard_it_has_not_it_says_so() {
    let mut b = Bench::new();
    b.write(1, 5, 1);
    assert!(matches!(b.last(), Message::Refused(r) if r.why == Refusal::Unknown));
    b.tell(Link::from(Peer::Host(HOST)), wire::Locate { shard: SHARD, epoch: Epoch(1), waiting_ms: 3 }, vec![]);
    assert!(matches!(b.last(), Message::Located(l) if l.config.is_none()));
    let old = Configuration { newborn: false, ..alone(4) };
    b.tell(Link::from(Peer::Node(NodeId(2))), wire::Sync { shard: SHARD, config: old }, vec![]);
    assert!(matches!(b.last(), Message::Incomplete(i) if i.epoch == Epoch(4)));
    // A primary that it answered before its disk lost all of it asks for its end no more.
    let (shard, from, none) = (SHARD, Link::from(Peer::Node(NodeId(2))), base::Sequence(0));
    b.tell(from, wire::Fetch { shard, epoch: Epoch(5), above: none }, vec![]);
    assert!(matches!(b.last(), Message::Incomplete(i) if i.epoch == Epoch(5)));
    let adopt = wire::Adopt { shard, epoch: Epoch(6), committed: none, committed_in: Epoch(1), end: none };
    b.tell(from, adopt, vec![]);
    assert!(matches!(b.last(), Message::Incomplete(i) if i.epoch == Epoch(6)));
    b.zone(wire::Release { shard: SHARD, member: member(), epoch: Epoch(4) });
    assert!(matches!(b.last(), Message::Released(_)));
}

#[test]
fn a_deleted_volume_is_dropped_and_confirmed_once_that_is_durable() {
    let mut b = Bench::new();
    b.configure(alone(1));
    b.write(1, 5, 1);
    b.configure(Configuration { deleted: true, revision: Revision(9), epoch: Epoch(2), ..alone(1) });
    assert!(b.sent.iter().any(|(_, m, _)| matches!(m, Message::Released(r) if r.shard == SHARD)));
    assert_eq!(b.node.replicas().count(), 0);
    let mut b = Bench::over(std::mem::take(&mut b.disk), 2);
    b.up(Link::to(Peer::Zone));
    assert!(b.sent.iter().any(|(_, m, _)| matches!(m, Message::Register(r) if r.held.is_empty())));
    assert_eq!(b.read(2, 5), None);
}

#[test]
fn a_frame_that_cannot_be_read_closes_its_link() {
    let mut b = Bench::new();
    let from = Link::from(Peer::Host(HOST));
    let frame = Frame { kind: 0x10, head: vec![1, 2, 3].into(), data: vec![] };
    b.give(vec![Input::Net(Event::Frame { from, frame })]);
    assert!(b.ops.iter().any(|op| matches!(op, NetOp::Close { link } if *link == from)));
}

#[test]
fn what_comes_before_the_store_is_read_waits_for_it() {
    let mut b = Bench::new();
    b.configure(alone(1));
    b.write(1, 5, 0xbb);
    let disk = std::mem::take(&mut b.disk);
    let identity = Identity { node: NodeId(1), cluster: CLUSTER };
    let store = Store::new(identity, Geometry::tiny(CAPACITY), Blank::Refuse, store::Policy::default());
    let mut node = Node::new(setup(3), store, Policy::default(), Rng::new(1));
    let locate = Message::from(wire::Locate { shard: SHARD, epoch: Epoch(1), waiting_ms: 0 }).frame();
    let from = Link::from(Peer::Host(HOST));
    let mut inbox: Inbox = vec![Input::Net(Event::Frame { from, frame: locate })].into();
    let mut out = Outbox::default();
    node.step(Time(1), &mut inbox, &mut out);
    assert!(!node.is_ready());
    let asked: Vec<DiskOp> =
        out.drain().filter_map(|o| if let Output::Disk(op) = o { Some(op) } else { None }).collect();
    let mut b = Bench { node, disk, now: Time(2), sent: vec![], ops: vec![] };
    let inputs = asked.into_iter().map(|op| Input::Disk(b.obey(op))).collect();
    b.give(inputs);
    assert!(b.node.is_ready());
    assert!(matches!(b.last(), Message::Located(l) if l.config.as_ref().is_some_and(|c| c.epoch == Epoch(1))));
}

#[test]
fn partners_are_watched_once_per_pair_and_no_longer_than_needed() {
    let mut b = Bench::new();
    let two = Configuration {
        members: vec![member(), Member { node: NodeId(2), store: StoreUuid(2) }],
        target_copies: 2,
        ..alone(1)
    };
    let other = Configuration { shard: ShardId { volume: VolumeId(2), index: 0 }, ..two.clone() };
    b.configure(two);
    b.configure(other);
    let watches = |b: &Bench, wanted| {
        let watch = |op: &&NetOp| matches!(op, NetOp::Watch { peer: Peer::Node(NodeId(2)), wanted: w } if *w == wanted);
        b.ops.iter().filter(watch).count()
    };
    assert_eq!((watches(&b, true), watches(&b, false)), (1, 0));
    b.configure(alone(2));
    assert_eq!(watches(&b, false), 0);
    b.configure(Configuration { shard: ShardId { volume: VolumeId(2), index: 0 }, ..alone(2) });
    assert_eq!(watches(&b, false), 1);
}

#[test]
fn a_wish_goes_out_when_a_member_is_heard_beside_for_too_long_without_a_link() {
    let mut b = with_a_member_of(0xa1, 1);
    let (link, peer) = (Link::to(Peer::Node(NodeId(2))), Peer::Node(NodeId(2)));
    b.write(1, 6, 0xa2);
    for (ms, wishes) in [(0, 0), (10, 0), (259, 0), (260, 1)] {
        let (network, asked) = (Network::Replication, Time::ZERO + Duration::from_millis(ms));
        b.give(vec![Input::Net(Event::Heard { peer, network, ordered: false, asked })]);
        assert_eq!(b.count("Propose"), wishes, "after {ms} ms");
        b.give(vec![Input::Net(Event::Down { link, why: Down::Silent })]);
    }
}

/// Serving with node 2, which the test plays, and with `byte` in block 5.
fn with_a_member(byte: u8) -> Bench {
    with_a_member_of(byte, 2)
}

fn with_a_member_of(byte: u8, min_copies: u8) -> Bench {
    let mut b = Bench::new();
    let other = Member { node: NodeId(2), store: StoreUuid(2) };
    let both = vec![member(), other];
    b.configure(Configuration { members: both.clone(), anchors: both, target_copies: 2, min_copies, ..alone(1) });
    let from = Link::to(Peer::Node(NodeId(2)));
    b.up(from);
    let (shard, epoch) = (SHARD, Epoch(1));
    let (end, committed, room) = (Sequence(0), Sequence(0), 1 << 30);
    b.tell(from, wire::End { shard, epoch, adopted: Epoch(0), end, committed, committed_in: Epoch(0), room }, vec![]);
    b.tell(from, wire::Synced { shard, epoch, end, room }, vec![]);
    b.write(1, 5, byte);
    b.tell(from, wire::Replicated { shard, epoch, through: Sequence(1), room }, vec![]);
    assert!(matches!(b.last(), Message::Done(_)), "{:?}", b.last());
    b
}

/// Flips a bit of the block that is full of `byte`.
fn rot(b: &mut Bench, byte: u8) {
    let at = b.disk.chunks(BLOCK_BYTES).position(|block| block.iter().all(|b| *b == byte)).unwrap();
    b.disk[at * BLOCK_BYTES + 77] ^= 4;
}

fn reported(b: &mut Bench) -> wire::RotReport {
    b.now += Duration::from_secs(1);
    b.give(vec![]);
    let report = |(_, m, _): &(Link, Message, Option<Payload>)| match m {
        Message::Report(r) => Some(r.rot.clone()),
        _ => None,
    };
    b.sent.iter().rev().find_map(report).expect("it reports each second")
}

#[test]
fn rot_is_mended_from_a_member_and_reported() {
    // store.md rule 2, R15.
    let mut b = with_a_member(0xaa);
    rot(&mut b, 0xaa);
    b.ask_read(1, 5);
    let Some((to, Message::Mend(asked), _)) = b.sent.pop() else { panic!("it asks") };
    assert_eq!(to, Link::to(Peer::Node(NodeId(2))));
    b.tell(to, wire::Mended { shard: SHARD, number: asked.number }, vec![vec![0xaa; BLOCK_BYTES].into()]);
    assert!(matches!(b.sent.last(), Some((_, Message::Done(_), Some(data))) if data[0] == 0xaa));
    assert_eq!(b.read(1, 5), Some(0xaa), "and it needs nobody any more");
    assert_eq!(
        reported(&mut b),
        wire::RotReport { found: 1, mended: 1, lost: 0, named: vec![], ..wire::RotReport::default() }
    );
}

#[test]
fn what_cannot_be_mended_is_refused_and_named() {
    let mut b = with_a_member(0xaa);
    rot(&mut b, 0xaa);
    b.ask_read(1, 5);
    let Some((to, Message::Mend(asked), _)) = b.sent.pop() else { panic!("it asks") };
    b.tell(to, wire::Mended { shard: SHARD, number: asked.number }, vec![]);
    assert!(matches!(b.last(), Message::Refused(r) if r.why == Refusal::Unreadable { block: 5 }));
    let named = vec![wire::LostBlock { shard: SHARD, block: 5, frozen: false }];
    assert_eq!(reported(&mut b), wire::RotReport { found: 1, mended: 0, lost: 1, named, ..wire::RotReport::default() });
}

/// Has rot in a block and is asked for it. Says the number of the question to the member.
fn meets_rot(b: &mut Bench, block: u32, byte: u8) -> u64 {
    rot(b, byte);
    b.ask_read(1, block);
    let Some((_, Message::Mend(asked), _)) = b.sent.pop() else { panic!("it asks") };
    asked.number
}

#[test]
fn what_only_a_frozen_point_lacks_is_named_so_and_after_what_volumes_lack() {
    let mut b = with_a_member(0xaa);
    let member = Link::to(Peer::Node(NodeId(2)));
    let replicated = |b: &mut Bench, through| {
        let (shard, epoch, room) = (SHARD, Epoch(1), 1 << 30);
        b.tell(member, wire::Replicated { shard, epoch, through: Sequence(through), room }, vec![]);
    };
    b.write(1, 6, 0xbb);
    replicated(&mut b, 2);
    let asked = [meets_rot(&mut b, 5, 0xaa), meets_rot(&mut b, 6, 0xbb)];
    for step in [wire::PointStep::Hold, wire::PointStep::Freeze, wire::PointStep::Release] {
        b.zone(wire::PointOrder { shard: SHARD, epoch: Epoch(1), point: base::PointId(1), step });
        replicated(&mut b, 3);
    }
    b.write(1, 5, 0xcc);
    replicated(&mut b, 4);
    for number in asked {
        b.tell(member, wire::Mended { shard: SHARD, number }, vec![]);
    }
    assert_eq!(b.read(1, 5), Some(0xcc));
    let named = [(6, false), (5, true)].map(|(block, frozen)| wire::LostBlock { shard: SHARD, block, frozen });
    assert_eq!(reported(&mut b).named, named);
}

#[test]
fn a_member_is_given_what_it_has_rotten_and_told_when_it_is_not_here() {
    let mut b = with_a_member(0xaa);
    let from = Link::from(Peer::Node(NodeId(2)));
    let crc = base::checksum::block(SHARD, 5, &[0xaa; BLOCK_BYTES]);
    for (shard, crc, expected) in
        [(SHARD, crc, Some(0xaa)), (SHARD, crc + 1, None), (ShardId { index: 7, ..SHARD }, crc, None)]
    {
        b.tell(from, wire::Mend { shard, number: 3, block: 5, crc }, vec![]);
        let Some((to, Message::Mended(m), data)) = b.sent.pop() else { panic!("it answers") };
        assert_eq!((to, m.number, data.map(|data| data[0])), (from, 3, expected));
    }
}

fn told(start: u64, meta: u128, revision: u64) -> wire::Seen {
    wire::Seen { start, meta: base::MetaUuid(meta), revision: Revision(revision) }
}

fn hail(start: u64, meta: u128, revision: u64, after: u64) -> wire::Hail {
    wire::Hail { now: told(start, meta, revision), after: Revision(after) }
}

impl Bench {
    /// What it said of itself when it last registered.
    fn seen(&self) -> wire::Seen {
        let mut registers =
            self.sent.iter().rev().filter_map(|(_, m, _)| if let Message::Register(r) = m { Some(r) } else { None });
        registers.next().expect("it registered").seen
    }

    fn restarted(&mut self, incarnation: u64) -> Self {
        let mut b = Self::over(std::mem::take(&mut self.disk), incarnation);
        b.up(Link::to(Peer::Zone));
        b
    }
}

#[test]
fn an_authority_that_was_told_less_than_the_node_is_not_obeyed_also_after_a_restart() {
    let mut b = Bench::new();
    assert_eq!(b.seen(), wire::Seen::default(), "nothing was told yet");
    b.zone(hail(3, 30, 10, 9));
    b.configure(alone(1));
    let mut b = b.restarted(2);
    assert_eq!(b.seen(), told(3, 30, 10));
    // An old copy of the metadata; others, as new as these; and an old copy that counted on.
    for (now, after) in [(told(2, 20, 50), 40), (told(3, 31, 50), 9), (told(4, 40, 50), 9)] {
        b.up(Link::to(Peer::Zone));
        b.zone(wire::Hail { now, after: Revision(after) });
        b.configure(alone(7));
        b.zone(wire::Directory { nodes: vec![] });
        let distrust = *b.node.distrust().expect("it is not obeyed");
        assert_eq!((distrust.seen, distrust.now), (told(3, 30, 10), now));
        let (_, replica) = b.node.replicas().next().unwrap();
        assert_eq!(replica.config().epoch, Epoch(1), "it was obeyed");
        let sent = b.sent.len();
        b.now += Duration::from_secs(5);
        b.give(vec![]);
        assert_eq!(b.sent.len(), sent, "it is told nothing more: {:?}", b.last());
    }
    // Whoever goes on from where the node was told.
    b.up(Link::to(Peer::Zone));
    b.zone(hail(4, 41, 12, 10));
    assert!(b.node.distrust().is_none());
    b.configure(alone(7));
    assert_eq!(b.node.replicas().next().unwrap().1.config().epoch, Epoch(7));
    assert_eq!(b.restarted(3).seen(), told(4, 41, 12));
}

#[test]
pub(crate) fn a_node_that_lost_a_part_of_its_log_goes_on_appending() {
    // store.md: no checkpoint is made before everybody whose part may be lost has written down that he knows. What the node itself remembers lies in the log, too.
    let mut b = Bench::over(vec![0; 40 << 20], 1);
    b.up(Link::to(Peer::Zone));
    b.zone(hail(1, 1, 1, 0));
    b.configure(alone(1));
    b.write(1, 5, 0xaa);
    b.zone(hail(1, 1, 2, 1));
    (0..100).for_each(|n| b.write(1, 6, n));
    let at = b.disk.chunks(BLOCK_BYTES).position(|block| block.iter().all(|b| *b == 0xaa)).unwrap();
    // Behind it lies the batch with what the authority said.
    b.disk[(at + 1) * BLOCK_BYTES + 20] ^= 4;
    let mut b = b.restarted(2);
    assert!(b.node.store().damage().is_some(), "a header of the log is rotten");
    let other = ShardId { volume: VolumeId(2), index: 0 };
    b.configure(Configuration { shard: other, ..alone(1) });
    let (epoch, generation, from) = (Epoch(1), Generation(1), Link::from(Peer::Host(HOST)));
    let blocks = Payload::from(vec![7; 32 * BLOCK_BYTES]);
    for io in 0..1_000 {
        b.tell(from, wire::Write { shard: other, epoch, generation, io, block: 0 }, vec![blocks.clone()]);
        let done = wire::Done { shard: other, epoch, io };
        assert!(b.sent.iter().any(|(_, m, _)| *m == Message::from(done.clone())), "write {io}: {:?}", b.sent.last());
        b.sent.clear();
    }
}

#[test]
fn what_a_node_was_told_outlives_the_replica_of_which_it_was() {
    let mut b = Bench::new();
    b.zone(hail(3, 30, 10, 9));
    b.configure(alone(1));
    b.zone(wire::Configure { cluster: CLUSTER, revision: Revision(500), configs: vec![] });
    let deleted = Configuration { deleted: true, revision: Revision(600), ..alone(2) };
    b.zone(wire::Configure { cluster: CLUSTER, revision: Revision(600), configs: vec![deleted] });
    assert_eq!(b.node.replicas().count(), 0);
    assert_eq!(b.restarted(2).seen(), told(3, 30, 600));
}

#[test]
fn whoever_rebuilds_is_told_all_that_a_node_knows_and_only_in_the_authoritys_place() {
    let mut b = Bench::new();
    b.zone(hail(3, 30, 10, 9));
    b.configure(alone(1));
    let entry = setup(1).entry;
    b.zone(wire::Directory { nodes: vec![entry] });
    // Also while an authority is not obeyed: that is when it is asked.
    b.up(Link::to(Peer::Zone));
    b.zone(hail(1, 1, 1, 0));
    b.zone(wire::Collect {});
    let Message::Known(known) = b.last().clone() else { panic!("{:?}", b.last()) };
    assert_eq!((known.replicas.len(), known.nodes, known.last), (1, vec![NodeId(1)], true));
    assert_eq!((known.replicas[0].config.clone(), known.replicas[0].standing), (alone(1), Standing::Complete));
    let stranger = Link::from(Peer::Operator(9));
    b.tell(stranger, wire::Collect {}, vec![]);
    let closed = |op: &NetOp| matches!(op, NetOp::Close { link } if *link == stranger);
    assert!(b.ops.iter().any(closed), "{:?}", b.ops);
}

#[test]
fn what_a_later_start_told_another_member_is_not_taken_for_the_earlier_ones_word() {
    let mut b = Bench::new();
    b.zone(hail(3, 30, 10, 9));
    b.configure(alone(1));
    // The next start, on metadata that were at 100, was heard by the other member first.
    let config = Configuration { revision: Revision(105), ..alone(2) };
    b.tell(Link::from(Peer::Node(NodeId(2))), wire::Sync { shard: SHARD, config }, vec![]);
    assert_eq!(b.node.replicas().next().unwrap().1.config().epoch, Epoch(2));
    b.up(Link::to(Peer::Zone));
    b.zone(hail(4, 40, 106, 100));
    assert!(b.node.distrust().is_none() && b.seen() == told(3, 30, 10));
    assert_eq!(b.node.seen(), told(4, 40, 106));
}

#[test]
pub(crate) fn what_the_authority_has_taken_back_no_peer_brings_again() {
    let mut b = Bench::new();
    let other = Member { node: NodeId(2), store: StoreUuid(78) };
    let config = |epoch: u64, revision: u64, learner: Option<base::Learner>| Configuration {
        revision: Revision(revision),
        primary: other.node,
        members: vec![other],
        anchors: vec![other],
        learner,
        newborn: false,
        ..alone(epoch)
    };
    let learner = Some(base::Learner { member: member(), plan: 3 });
    let learn = |config: &Configuration| {
        let (shard, config, committed) = (SHARD, config.clone(), base::Sequence(0));
        wire::Learn { shard, adopted: config.epoch, config, plan: 3, attempt: 1, committed, marks: vec![] }
    };
    let from = Link::from(Peer::Node(other.node));
    // What this node has said that it has is not yet compared: it may be over.
    let first = config(4, 3, learner);
    let told = |b: &mut Bench, revision| {
        b.zone(wire::Configure { cluster: CLUSTER, revision: Revision(revision), configs: vec![] })
    };
    b.tell(from, learn(&first), vec![]);
    told(&mut b, 3);
    b.tell(from, learn(&first), vec![]);
    assert_eq!(b.node.replicas().count(), 0);
    // Later a peer may well be the first to say that something is to be learned.
    let first = config(4, 4, learner);
    b.tell(from, learn(&first), vec![]);
    assert_eq!(b.node.replicas().count(), 1);
    b.configure(first.clone());
    b.configure(config(5, 7, None));
    b.zone(wire::Release { shard: SHARD, member: member(), epoch: Epoch(5) });
    assert_eq!((b.count("Released"), b.node.replicas().count()), (1, 0));
    // The same once more: it stood in a connection that was cut.
    b.tell(from, learn(&first), vec![]);
    b.tell(from, wire::Sync { shard: SHARD, config: first }, vec![]);
    assert_eq!(b.node.replicas().count(), 0);
    assert!(matches!(b.last(), Message::Incomplete(_)));
    // A link that was cut forgets what was told on it.
    b.up(Link::to(Peer::Zone));
    b.tell(from, learn(&config(6, 8, learner)), vec![]);
    assert_eq!(b.node.replicas().count(), 0);
    told(&mut b, 7);
    b.tell(from, learn(&config(6, 8, learner)), vec![]);
    assert_eq!(b.node.replicas().count(), 1, "and that is news");
}
