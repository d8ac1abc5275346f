//! What a node sends to learners, over all its shards: so much a second and no more, those at risk first, and half while clients are served more slowly for it (R33, R73).

mod bench;

use base::Learner;
use bench::*;

/// A node, and members and learners who obey at once.
struct World {
    b: Bench,
    /// Messages that were looked at.
    seen: usize,
    /// When extents came, of which volume, and their bytes.
    extents: Vec<(Time, u64, u64)>,
    /// Replicated is not said at once.
    unsaid: Option<Vec<(Link, wire::Replicated)>>,
}

const BLOCKS: u32 = 8192;
const LEARNER: NodeId = NodeId(9);

fn shard(volume: u64) -> ShardId {
    ShardId { volume: VolumeId(volume), index: 0 }
}

/// Led by this node, with node 2 too if nobody shall call it at risk.
fn config(volume: u64, at_risk: bool, learns: bool) -> Configuration {
    let other = (!at_risk).then_some(Member { node: NodeId(2), store: StoreUuid(2) });
    let members: Vec<Member> = [member()].into_iter().chain(other).collect();
    let learner = Member { node: LEARNER, store: StoreUuid(9) };
    Configuration {
        shard: shard(volume),
        blocks: BLOCKS,
        anchors: members.clone(),
        members,
        target_copies: 3,
        learner: learns.then_some(Learner { member: learner, plan: volume }),
        revision: Revision(1 + u64::from(learns)),
        ..alone(1)
    }
}

impl World {
    fn new(copy_per_s: u64) -> Self {
        let policy = Policy { copy_per_s, ..Policy::default() };
        let mut b = Bench::with(vec![0; 64 << 20], 1, policy);
        b.up(Link::to(Peer::Zone));
        for n in [NodeId(2), LEARNER] {
            b.up(Link::to(Peer::Node(n)));
            b.up(Link::bulk(Peer::Node(n)));
        }
        Self { b, seen: 0, extents: vec![], unsaid: None }
    }

    /// A shard of which so many parts have to be sent to a learner.
    fn holds(&mut self, volume: u64, at_risk: bool, parts: u32) {
        self.b.configure(config(volume, at_risk, false));
        self.obey();
        (0..parts * base::CHUNK_BLOCKS).for_each(|block| self.write(volume, block));
    }

    fn write(&mut self, volume: u64, block: u32) {
        let m =
            wire::Write { shard: shard(volume), epoch: Epoch(1), generation: Generation(1), io: block.into(), block };
        self.b.tell(Link::from(Peer::Host(HOST)), m, vec![vec![7; BLOCK_BYTES].into()]);
        self.obey();
    }

    fn learns(&mut self, volume: u64, at_risk: bool) {
        self.b.configure(config(volume, at_risk, true));
        self.obey();
    }

    /// All that was said to others is answered, until nothing is.
    fn obey(&mut self) {
        while let Some((to, message, data)) = self.b.sent.get(self.seen).cloned() {
            self.seen += 1;
            let room = 1 << 40;
            let answer: Message = match message {
                Message::Sync(m) => wire::End {
                    shard: m.config.shard,
                    epoch: m.config.epoch,
                    adopted: Epoch(0),
                    end: Sequence(0),
                    committed: Sequence(0),
                    committed_in: Epoch(0),
                    room,
                }
                .into(),
                Message::Adopt(m) => wire::Synced { shard: m.shard, epoch: m.epoch, end: m.end, room }.into(),
                Message::Replicate(m) => {
                    let answer = wire::Replicated { shard: m.shard, epoch: m.epoch, through: m.stamp.sequence, room };
                    if let Some(unsaid) = &mut self.unsaid {
                        unsaid.push((to, answer));
                        continue;
                    }
                    answer.into()
                }
                Message::Learn(m) => {
                    let (shard, epoch) = (m.config.shard, m.config.epoch);
                    wire::Learning { shard, epoch, plan: m.plan, attempt: m.attempt, since: None, room }.into()
                }
                Message::Extent(m) => {
                    let bytes = data.map_or(0, |d| d.to_vec().len() as u64);
                    self.extents.push((self.b.now, m.shard.volume.0, bytes));
                    let (shard, epoch, plan) = (m.shard, m.epoch, m.plan);
                    wire::Copied { shard, epoch, plan, attempt: m.attempt, part: m.part }.into()
                }
                _ => continue,
            };
            // What comes on the bulk lane is answered on it.
            self.b.tell(to, answer, vec![]);
        }
    }

    /// Time passes, turn by turn.
    fn pass(&mut self, time: Duration) {
        let until = self.b.now + time;
        while self.b.now < until {
            self.b.now = self.b.node.deadline().unwrap_or(until).clamp(self.b.now + Duration::from_nanos(1), until);
            self.b.give(vec![]);
            self.obey();
        }
    }

    /// A client's write that takes so long, and then a pause.
    fn slow_write(&mut self, volume: u64, ms: u64, pause_ms: u64) {
        self.unsaid = Some(vec![]);
        self.write(volume, 1);
        self.pass(Duration::from_millis(ms));
        for (on, m) in self.unsaid.take().unwrap() {
            self.b.tell(on, m, vec![]);
        }
        self.obey();
        self.pass(Duration::from_millis(pause_ms));
    }

    fn sent_since(&self, since: Time) -> u64 {
        self.extents.iter().filter(|(at, ..)| *at > since).map(|(.., bytes)| bytes).sum()
    }
}

/// As much as one message takes, with what is around it.
const PART: u64 = replica::EXTENT_BYTES + 200;

#[test]
fn the_rate_is_held_over_all_learners_of_a_node() {
    let mut w = World::new(4 * PART);
    (1..=2).for_each(|v| w.holds(v, false, 10));
    let began = w.b.now;
    (1..=2).for_each(|v| w.learns(v, false));
    w.pass(Duration::from_secs(4));
    let parts = w.extents.len() as u64;
    assert!((15..=17).contains(&parts), "{parts} parts, of four a second over four");
    // Neither has waited for the other to end.
    assert!((1..=2).all(|v| w.extents.iter().filter(|(_, of, _)| *of == v).count() >= 7));
    w.pass(Duration::from_secs(4));
    assert_eq!(w.extents.len(), 20, "all of both");
    assert!(w.extents.last().unwrap().0.since(began) > Duration::from_millis(4500));
}

#[test]
fn whoever_is_at_risk_goes_first() {
    // R73
    let mut w = World::new(4 * PART);
    w.holds(1, false, 10);
    w.holds(2, true, 10);
    w.learns(1, false);
    w.pass(Duration::from_secs(1));
    let before = w.extents.len();
    w.learns(2, true);
    w.pass(Duration::from_secs(10));
    let order: Vec<u64> = w.extents[before..].iter().map(|(_, of, _)| *of).collect();
    let last_at_risk = order.iter().rposition(|v| *v == 2).unwrap();
    let others = order[..last_at_risk].iter().filter(|v| **v == 1).count();
    assert!(others <= 1 && order.len() == 20 - before && before > 2, "{order:?}");
}

#[test]
fn it_is_halved_while_writes_take_twice_as_long_as_without_copying_and_whole_again_after() {
    let mut w = World::new(4 * PART);
    w.holds(1, false, 40);
    w.holds(2, false, 1);
    // What writes take when nothing is copied: those before took no time at all.
    (0..600).for_each(|_| w.slow_write(2, 2, 48));
    w.learns(1, false);
    let halved = |w: &World| match w.b.sent.iter().rev().find(|(_, m, _)| m.name() == "Report") {
        Some((_, Message::Report(r), _)) => r.taught.halved,
        other => panic!("{other:?}"),
    };
    (0..60).for_each(|_| w.slow_write(2, 10, 40));
    assert_eq!(halved(&w), 1);
    let parts_in = |w: &mut World, seconds: u64, ms: u64| {
        let now = w.b.now;
        (0..20 * seconds).for_each(|_| w.slow_write(2, ms, 50 - ms));
        w.sent_since(now) / replica::EXTENT_BYTES
    };
    let slowly = parts_in(&mut w, 3, 10);
    assert!((5..=7).contains(&slowly), "{slowly} in three seconds, of four a second halved");
    parts_in(&mut w, 2, 2);
    let fast = parts_in(&mut w, 2, 2);
    assert!((7..=9).contains(&fast), "{fast} in two seconds, of four a second");
}
