//! A node tells the authority how long its disk takes: over a real store, on a disk that answers when the test says so.

mod bench;

use bench::{
    BLOCK_BYTES, CAPACITY, CLUSTER, DiskOp, Done, Duration, Epoch, Event, Generation, Geometry, HOST, Identity, Inbox,
    Input, Link, Machine, Message, NetOp, Node, NodeId, Outbox, Output, Payload, Peer, Policy, Revision, Rng, SHARD,
    Store, StoreUuid, Time, alone, setup,
};
use store::Blank;
use wire::DiskReport;

const MS: fn(u64) -> Duration = Duration::from_millis;

struct Bench {
    node: Node,
    disk: Vec<u8>,
    now: Time,
    /// How long its disk takes; what it was asked, and when that ends.
    takes: Duration,
    asked: Vec<(Time, DiskOp)>,
    answered: u64,
    /// When each report came, and what it said of the disk.
    reports: Vec<(Time, DiskReport)>,
}

impl Bench {
    /// One shard, serving, and reports of what there is to say about it over.
    fn new() -> Self {
        let identity = Identity { node: NodeId(1), cluster: CLUSTER };
        let blank = Blank::Format { uuid: StoreUuid(77) };
        let store = Store::new(identity, Geometry::tiny(CAPACITY), blank, store::Policy::default());
        let replica = replica::Policy { room_slack_bytes: 0, ..replica::Policy::default() };
        let node = Node::new(setup(1), store, Policy { replica, ..Policy::default() }, Rng::new(1));
        let disk = vec![0; CAPACITY as usize];
        let (asked, reports) = (vec![], vec![]);
        let mut b = Self { node, disk, now: Time(1), takes: Duration::ZERO, asked, answered: 0, reports };
        b.give(vec![]);
        b.pass(MS(10));
        b.give(vec![Input::Net(Event::Up { link: Link::to(Peer::Zone) })]);
        let configure = wire::Configure { cluster: CLUSTER, revision: Revision(1), configs: vec![alone(1)] };
        b.tell(Link::to(Peer::Zone), configure.into(), vec![]);
        b.pass(MS(3000));
        b
    }

    fn tell(&mut self, from: Link, message: Message, data: Vec<Payload>) {
        self.give(vec![Input::Net(Event::Frame { from, frame: message.frame_with(data) })]);
    }

    fn give(&mut self, inputs: Vec<Input>) {
        let (mut inbox, mut out): (Inbox, _) = (inputs.into(), Outbox::default());
        self.node.step(self.now, &mut inbox, &mut out);
        for op in out.drain() {
            match op {
                Output::Disk(op) => self.asked.push((self.now + self.takes, op)),
                Output::Net(NetOp::Send { frame, .. }) => match Message::decode(&frame).unwrap() {
                    Message::Report(r) => self.reports.push((self.now, r.disk)),
                    Message::Done(_) => self.answered += 1,
                    _ => {}
                },
                Output::Net(_) => {}
                Output::Meta(_) => panic!("a node has no metadata store"),
            }
        }
    }

    /// Time passes; what the disk ends meanwhile is told, and what is due is done.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        loop {
            let disk = self.asked.iter().map(|(at, _)| *at).min();
            let next = Time::sooner(disk, self.node.deadline()).filter(|at| *at <= until);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            let (ended, asked) = std::mem::take(&mut self.asked).into_iter().partition(|(at, _)| *at <= self.now);
            self.asked = asked;
            let ended: Vec<(Time, DiskOp)> = ended;
            let done = ended.into_iter().map(|(_, op)| Input::Disk(self.obey(op))).collect();
            self.give(done);
        }
        self.now = until;
    }

    fn obey(&mut self, op: DiskOp) -> Done {
        let (id, (at, len)) = (op.id(), op.extent());
        let (mut at, end) = (at as usize, (at + len) as usize);
        let mut bytes = vec![];
        match op {
            DiskOp::Read { .. } => bytes = self.disk[at..end].to_vec(),
            DiskOp::Write { parts, .. } => parts.iter().for_each(|part| {
                self.disk[at..at + part.len()].copy_from_slice(part);
                at += part.len();
            }),
            DiskOp::Zero { .. } => self.disk[at..end].fill(0),
            DiskOp::Flush { .. } => {}
        }
        Done { id, result: Ok(bytes.into()) }
    }

    /// One write after the other for so long.
    fn write_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let before = self.answered;
            let (shard, epoch, generation) = (SHARD, Epoch(1), Generation(1));
            let write = wire::Write { shard, epoch, generation, io: before + 1, block: before as u32 % 8 };
            self.tell(Link::from(Peer::Host(HOST)), write.into(), vec![vec![7; BLOCK_BYTES].into()]);
            while self.answered == before {
                self.pass(MS(1));
            }
        }
    }
}

#[test]
fn reports_say_how_long_the_disk_takes_and_come_sooner_when_that_changes() {
    let mut b = Bench::new();
    assert!(b.answered == 0 && b.reports.last().is_some_and(|(_, disk)| disk.median_us == 0), "{:?}", b.reports);
    b.takes = MS(2);
    b.write_for(MS(4000));
    let (_, usual) = *b.reports.last().unwrap();
    assert!((300..=900).contains(&usual.count) && (2000..2250).contains(&usual.median_us), "{usual:?}");
    let (slow_at, told) = (b.now, b.reports.len());
    b.takes = MS(20);
    b.write_for(MS(2000));
    let news: Vec<_> = b.reports[told..].iter().map(|(at, disk)| (at.since(slow_at).as_millis(), *disk)).collect();
    assert!(news.len() >= 6 && news.windows(2).all(|two| two[1].0 - two[0].0 <= 300), "each quarter: {news:?}");
    let (at, first) = news.iter().find(|(_, disk)| disk.p99_us >= 20_000).expect("the p99 shows it");
    assert!(*at <= 520 && (2000..2250).contains(&first.median_us), "{news:?}");
    let (at, _) = news.iter().find(|(_, disk)| disk.median_us >= 20_000).expect("and the median");
    assert!(*at <= 1270, "{news:?}");
}

#[test]
fn a_write_that_does_not_end_is_told_by_its_age() {
    let mut b = Bench::new();
    b.takes = Duration::from_secs(3600);
    let (shard, epoch, generation) = (SHARD, Epoch(1), Generation(1));
    let write = wire::Write { shard, epoch, generation, io: 1, block: 1 };
    b.tell(Link::from(Peer::Host(HOST)), write.into(), vec![vec![7; BLOCK_BYTES].into()]);
    let began = b.now;
    b.pass(MS(2500));
    let (at, disk) = *b.reports.last().unwrap();
    assert!(disk.count == 0 && u128::from(disk.oldest_us) == at.since(began).as_micros() && disk.oldest_us > 1_000_000);
}
