//! One run of one seed: boots a zone, disturbs it while clients use it (safety), lets the trouble end and requires that all is well again
//! (liveness), and judges what everybody saw.

use crate::check::{convergence, durability, generations::Generations, linear, replicas, space};
use crate::clock::Moment;
use crate::cluster::{Actor, Cluster};
use crate::coverage::Coverage;
use crate::disk::Failing;
use crate::failing::Disks;
use crate::faults::{self, CLASSES, Deed};
use crate::history::{History, Kind};
use crate::listener::Listener;
use crate::nbd::{self, Nbd};
use crate::net::weather::TroubleId;
use crate::net::weather::{Crowd, Trouble, What};
use crate::report::{Failure, Options, Report};
use crate::rot::Rotting;
use crate::script::{Script, Wish};
use crate::shape::Shape;
use crate::shrink::Less;
use crate::watch::Watch;
use crate::workload::{Asked, Client};
use crate::world::{Happening, Pid, State};
use base::io::net::Peer;
use base::time::Duration;
use base::{BLOCK_BYTES, Configuration, HostId, NodeId, Rng, ShardId};
use std::collections::BTreeMap;
use wire::{LostBlock, NodeState, VolumeState};

/// What an alarm is for.
pub(crate) enum Task {
    Client(usize),
    Fault,
    /// Of a fault of this class and number.
    Deed(&'static str, u64, Deed),
    Start(Pid),
    Thaw(Pid),
    EndWeather(Vec<TroubleId>),
    EndDamage,
    EndSlowDisk(Pid),
    MendDisk(Pid),
    UnstickDisk(Pid),
    /// A node comes back with another disk.
    ReplaceDisk(Pid),
    EndMeta,
    /// The operator's question of this number has had no answer.
    AskAgain(u64),
    Move,
    /// A volume goes to this host.
    MoveTo(usize, Pid),
    /// Somebody attaches a volume to a host at once.
    Hasty(u8, HostId),
    /// Bytes of a client or of its host's NBD server move.
    Nbd(nbd::Step),
    /// Somebody waits for a time or a condition.
    Look,
}

/// A run.
pub struct Run {
    pub(crate) shape: Shape,
    pub(crate) cluster: Cluster,
    pub(crate) history: History,
    pub(crate) clients: Vec<Client>,
    /// Which client asked each operation that is not answered yet.
    pub(crate) outstanding: BTreeMap<u64, usize>,
    pub(crate) script: Script,
    tasks: BTreeMap<u64, Task>,
    next_task: u64,
    pub(crate) faults_on: bool,
    pub(crate) counts: BTreeMap<&'static str, u64>,
    pub(crate) coverage: Coverage,
    pub(crate) volumes_seen: Option<Vec<VolumeState>>,
    pub(crate) nodes_seen: Option<Vec<NodeState>>,
    pub(crate) rotting: Rotting,
    pub(crate) disks: Disks,
    /// The node that is drained, or is to be.
    pub(crate) drained: Option<NodeId>,
    /// Who was made deaf, and which shards it led then that can do without it.
    pub(crate) deaf: Option<(NodeId, Vec<ShardId>)>,
    pub(crate) rng: Rng,
    pub(crate) dice: Rng,
    /// Faults and moves so far, those left out included.
    pub(crate) disturbances: u64,
    /// How many copies learned, by delta and in full, before nodes were killed in turn only to read what the others hold.
    taught_by_faults: Option<[u64; 2]>,
    /// What aimed faults have struck so far.
    strikes: u64,
    pub(crate) less: Less,
    pub(crate) nbd: Option<Nbd>,
    /// I9.
    pub(crate) generations: Generations,
    pub(crate) watch: Watch,
}

pub(crate) type Verdict<T = ()> = Result<T, Failure>;

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;
pub(crate) const S: fn(u64) -> Duration = Duration::from_secs;

/// How long a zone without faults may take to be made, to become whole again, and to answer a read.
const WITHIN: Duration = Duration::from_secs(60);

/// Times five seconds in which the slowest of clients get a thousand operations done.
const ROUNDS_MAX: usize = 100;

impl Run {
    /// Everything that follows from a seed.
    pub fn new(seed: u64, options: &Options, keep_lines: usize) -> Self {
        let mut shape = Shape::draw(&mut Rng::new(seed).split("shape"), CLASSES.len());
        if !options.only.is_empty() {
            let wanted = |place: &usize| options.only.iter().any(|name| name == CLASSES[*place].1);
            shape.classes = (0..CLASSES.len()).filter(wanted).collect();
        }
        let classes = std::mem::take(&mut shape.classes);
        shape.classes = classes.into_iter().filter(|place| shape.stands(CLASSES[*place].0)).collect();
        if !options.faults {
            shape.classes.clear();
            (shape.move_every, shape.last_joins_after) = (None, None);
        }
        if let Some(nodes) = options.less.nodes {
            (shape.nodes, shape.racks) = (nodes, shape.racks.min(nodes));
        }
        if options.slow_disk > 0 {
            shape.disks_slower = 1;
        }
        Self::in_shape(seed, shape, options, keep_lines)
    }

    /// A world of this shape; of the seed is only what happens in it.
    pub fn in_shape(seed: u64, mut shape: Shape, options: &Options, keep_lines: usize) -> Self {
        let rng = Rng::new(seed);
        let mut cluster = Cluster::new(&rng, &shape, keep_lines);
        cluster.mutate(options.mutation);
        cluster.world.observer.tells = keep_lines > 0;
        if options.lying_disks {
            for node in cluster.nodes.clone() {
                cluster.world.disk(node).expect("a node has a disk").lies = true;
            }
        }
        if shape.has_liar && options.faults {
            let liar = cluster.nodes[0];
            cluster.world.disk(liar).expect("a node has a disk").lies = true;
            cluster.world.observer.liar = Some(NodeId(1));
            // Of two copies, one dead and one on a disk that lies, nobody can read.
            shape.read_in_turn = false;
        }
        let cluster_has_liar = cluster.world.observer.liar.is_some();
        let client = |(i, v): (usize, &crate::shape::VolumeShape)| {
            Client::new(i as u8, v.clone(), rng.split(&format!("client {i}")))
        };
        let clients: Vec<Client> = shape.volumes.iter().enumerate().map(client).collect();
        let nbd = shape.nbd.map(|manner| Nbd::new(manner, rng.split("nbd")));
        let mut history = History::default();
        clients.iter().for_each(|c| history.add_volume(c.volume, c.shape.grain_bytes));
        Self {
            shape,
            cluster,
            history,
            clients,
            outstanding: BTreeMap::new(),
            script: Script::default(),
            tasks: BTreeMap::new(),
            next_task: 0,
            faults_on: false,
            counts: if cluster_has_liar { BTreeMap::from([("lying-disk", 1)]) } else { BTreeMap::new() },
            coverage: Coverage::default(),
            volumes_seen: None,
            nodes_seen: None,
            rotting: Rotting::default(),
            disks: Disks::default(),
            drained: None,
            deaf: None,
            rng: rng.split("run"),
            dice: rng.split("dice"),
            disturbances: 0,
            taught_by_faults: None,
            strikes: 0,
            less: options.less.clone(),
            nbd,
            generations: Generations::default(),
            watch: Watch::default(),
        }
    }

    /// From nothing to the verdict.
    pub fn go(&mut self, options: &Options) -> Verdict {
        self.boot()?;
        self.safety(options)?;
        self.calm();
        self.converge()?;
        self.show_enough(options)?;
        self.drain()?;
        self.read_all()?;
        self.judge()?;
        if self.shape.read_in_turn {
            self.taught_by_faults = Some(self.cluster.world.observer.taught);
            self.read_in_turn()?;
            self.judge()?;
        }
        self.compare_replicas()
    }

    // ---- Phases. ------------------------------------------------------------------------------------------------------

    pub(crate) fn boot(&mut self) -> Verdict {
        let all = self.cluster.servants();
        let last = self.cluster.nodes.last().copied();
        let late = self.shape.last_joins_after.filter(|_| self.cluster.nodes.len() > 3).zip(last);
        all.into_iter().filter(|pid| late.is_none_or(|(_, last)| last != *pid)).for_each(|pid| self.cluster.start(pid));
        if let Some((after, last)) = late {
            self.after(after, Task::Start(last));
        }
        self.cluster.start(self.cluster.operator);
        self.cluster.start(self.cluster.hasty);
        for volume in 0..self.clients.len() {
            let host = *self.rng.pick(&self.cluster.hosts).expect("there is a host");
            let host = self.cluster.host_id(host);
            self.want(Wish::Create(volume as u8));
            self.want(Wish::Attach(volume as u8, host));
        }
        self.wait_for("every volume is made and attached", |run| run.script.is_done())?;
        for client in 0..self.clients.len() {
            self.after(MS(1), Task::Client(client));
        }
        Ok(())
    }

    fn safety(&mut self, options: &Options) -> Verdict {
        self.faults_on = !self.shape.classes.is_empty();
        let nodes = Crowd::of(self.cluster.nodes.iter().copied());
        for network in &options.cut {
            let cut = Trouble { from: nodes, to: nodes, network: Some(*network), what: What::Cut };
            self.cluster.world.net.weather.begin(cut);
        }
        if options.slow_disk > 0 {
            let first = self.cluster.nodes[0];
            self.cluster.world.disk(first).expect("a node has a disk").slower = options.slow_disk;
        }
        if options.deaf {
            let moment = MS(self.rng.within(1_000, 2_000));
            self.run_for(moment)?;
            self.deafen();
        }
        self.next_fault();
        if let Some(every) = self.shape.move_every {
            self.after(every, Task::Move);
        }
        self.run_for(options.safety)?;
        self.nobody_deaf_leads()
    }

    /// All trouble ends: what is dead starts, what is frozen thaws, what is cut heals.
    fn calm(&mut self) {
        self.faults_on = false;
        self.cluster.world.observer.aim.1 = 0;
        // What a fault had still to do or to undo is done here, once.
        let lasting = |task: &Task| matches!(task, Task::Client(_) | Task::AskAgain(_) | Task::Nbd(_) | Task::Look);
        self.tasks.values_mut().filter(|task| !lasting(task)).for_each(|task| *task = Task::Look);
        self.cluster.world.end_trouble(None);
        for pid in self.cluster.servants() {
            if let Some(disk) = self.cluster.world.disk(pid) {
                disk.slower = 1;
                disk.set_failing(Failing::default());
                disk.reform();
            }
            self.cluster.world.unstick(pid);
            match self.cluster.world.state(pid) {
                State::Frozen => self.cluster.world.thaw(pid),
                State::Dark | State::Dead => self.cluster.start(pid),
                State::Running => {}
            }
        }
        self.set_meta(1, 0);
        // Three copies of everything need three nodes beside it, or it must take some again. So they do while others are dead in turn.
        let may_stay = self.shape.nodes > 3 && !self.shape.read_in_turn && self.rng.chance(1, 2);
        if let Some(node) = self.drained.filter(|_| !may_stay) {
            self.want(Wish::Drain(node, false));
        }
    }

    pub(crate) fn set_meta(&mut self, slower: u64, unknown_per_mille: u64) {
        let meta = self.cluster.world.meta(self.cluster.zone).expect("the authority has a metadata store");
        meta.slower = slower;
        meta.unknown_per_mille = unknown_per_mille;
    }

    /// Every volume is whole again, every node is trusted again, and the script of moves is done: seen twice, with no new epoch between, because
    /// what just failed may not have been noticed yet.
    fn converge(&mut self) -> Verdict {
        let deadline = self.cluster.world.now() + WITHIN;
        let mut seen = None;
        let mut left = Some("nothing was heard of volumes and nodes".to_owned());
        while self.cluster.world.now() < deadline {
            self.want(Wish::Volumes);
            self.want(Wish::Nodes);
            let asked = self.cluster.world.now();
            while !self.script.is_done() && self.cluster.world.now() < deadline {
                self.run_for(MS(20))?;
            }
            if let (Some(volumes), Some(mut nodes)) = (self.volumes_seen.take(), self.nodes_seen.take()) {
                nodes.iter_mut().for_each(|node| {
                    let may_be = |lost: &LostBlock| {
                        self.was_left_to_liar(lost.shard) || self.only_has_frozen(node.info.entry.node, lost)
                    };
                    node.rot.named.retain(|lost| !may_be(lost));
                });
                left = convergence::unfinished(&volumes, &nodes).or_else(|| space::unsettled(&volumes, &nodes));
                let epochs = self.cluster.world.observer.epochs.elections();
                if left.is_some() {
                    seen = None;
                } else if seen == Some(epochs) {
                    return Ok(());
                } else {
                    seen = Some(epochs);
                }
            }
            self.run_for(MS(1500).saturating_sub(self.cluster.world.now().since(asked)))?;
        }
        let what = left.unwrap_or_else(|| "the operator is not answered".to_owned());
        Err(Failure::of(format!("convergence: {WITHIN:?} after the last fault, {what}{}", self.standings())))
    }

    /// How each replica stands of the shards that lack members, a line each.
    fn standings(&self) -> String {
        let epochs = &self.cluster.world.observer.epochs;
        let short = epochs.shards().filter_map(|shard| epochs.newest(shard));
        let short: Vec<_> = short.filter(|c| c.members.len() < usize::from(c.target_copies)).map(|c| c.shard).collect();
        let nodes =
            self.cluster.nodes.iter().filter_map(|pid| Some((self.cluster.world.peer(*pid), self.cluster.node(*pid)?)));
        let line = |(peer, node): (Peer, &node::Node)| -> String {
            let of = node.replicas().filter(|(shard, _)| short.contains(shard));
            of.map(|(shard, replica)| format!("\n  {shard} at {peer}: {}, {:?}", replica.called(), replica.held()))
                .collect()
        };
        nodes.map(line).collect()
    }

    /// A run in which clients waited most of the time has shown little: they go on, without faults, until they got enough done.
    fn show_enough(&mut self, options: &Options) -> Verdict {
        for _ in 0..ROUNDS_MAX {
            if self.history.answered() >= options.ops_min {
                return Ok(());
            }
            self.run_for(S(5))?;
        }
        let done = self.history.answered();
        Err(Failure::of(format!("liveness: clients of a zone without faults got only {done} operations done")))
    }

    /// Clients stop asking; everything that they asked is answered.
    pub(crate) fn drain(&mut self) -> Verdict {
        self.clients.iter_mut().for_each(|client| client.stopped = true);
        self.wait_for("every operation is answered (R15: none is stuck without a fault)", |run| {
            run.clients.iter().all(|client| client.in_flight.is_empty())
        })
    }

    pub(crate) fn read_all(&mut self) -> Verdict {
        for client in 0..self.clients.len() {
            let (grains, size) = (self.clients[client].shape.grains(), self.clients[client].shape.grain_bytes as u64);
            let step = (128 << 10) / size;
            for grain in (0..grains).step_by(step as usize) {
                let asked = Asked { kind: Kind::Read, grain, count: step.min(grains - grain) };
                self.wait_for("a read finds its volume open", |run| run.ask(client, asked))?;
            }
        }
        self.wait_for("every block can be read", |run| run.clients.iter().all(|client| client.in_flight.is_empty()))
    }

    /// Reads everything while each node in turn is dead, so that members that were backups must answer (replica equality at rest).
    fn read_in_turn(&mut self) -> Verdict {
        // Of two copies, one dead and the other rotten, nobody can read.
        for node in self.cluster.nodes.clone() {
            self.cluster.world.disk(node).expect("a node has a disk").heal();
        }
        for node in self.cluster.nodes.clone() {
            self.cluster.world.kill(node, false);
            self.read_all()?;
            self.cluster.start(node);
            self.converge()?;
        }
        Ok(())
    }

    /// What clients saw must be explained by registers (I8, I9) that lost nothing (I7).
    pub(crate) fn judge(&mut self) -> Verdict {
        for ((volume, grain), accesses) in self.history.registers() {
            if self.was_left_to_liar(self.place_of(volume, grain).0) {
                continue;
            }
            let broken = linear::check(&accesses).map_err(|broken| broken.to_string());
            let last = accesses.iter().rev().find_map(|access| match access.what {
                linear::What::Read(found) => Some(found),
                linear::What::Write(_) => None,
            });
            let lost =
                last.map_or(Ok(()), |found| durability::check(&accesses, found).map_err(|lost| lost.to_string()));
            if let Err(text) = broken.and(lost) {
                return Err(self.broken_register(volume, grain, &text, &accesses));
            }
        }
        Ok(())
    }

    /// Whether a shard was once carried on by a disk that lies alone: of what that had acknowledged and lost, nobody else could know.
    fn was_left_to_liar(&self, shard: ShardId) -> bool {
        let observer = &self.cluster.world.observer;
        observer.liar.is_some_and(|liar| observer.epochs.was_left_to(shard, liar))
    }

    /// Whether a frozen point kept the block and no other node has that version. Rot leaves a good copy of what volumes have; of a point, a member that left
    /// and came back has none (docs/decisions, a point keeps what the index loses).
    fn only_has_frozen(&self, node: NodeId, lost: &LostBlock) -> bool {
        let machines = self.cluster.nodes.iter().filter_map(|pid| self.cluster.node(*pid));
        let (here, others): (Vec<_>, Vec<_>) = machines.partition(|machine| machine.id() == node);
        let mut versions = here.iter().flat_map(|machine| machine.store().frozen_checksums(lost.shard, lost.block));
        let elsewhere = |crc| others.iter().any(|machine| machine.store().has_copy(lost.shard, lost.block, crc));
        lost.frozen && versions.any(|crc| !elsewhere(crc))
    }

    /// Whether a read may find nothing that can be read: the only disk with a block fails, or what was left to one that lies is lost.
    pub(crate) fn may_be_unreadable(&self, op: u64, now: Moment) -> bool {
        let record = self.history.op(op);
        let mut grains = record.grain..record.grain + record.count;
        now < self.disks.reads_fail_until
            || grains.any(|grain| self.was_left_to_liar(self.place_of(record.volume, grain).0))
    }

    /// The shard of a grain, and its block there.
    fn place_of(&self, volume: u8, grain: u64) -> (ShardId, u32) {
        let block = (grain * self.history.grain_bytes(volume) as u64 / BLOCK_BYTES as u64) as u32;
        let id = self.clients[usize::from(volume)].id.expect("it was used");
        (ShardId { volume: id, index: block / self.shape.shard_blocks }, block % self.shape.shard_blocks)
    }

    /// The power is cut, and every disk is read by itself.
    fn compare_replicas(&mut self) -> Verdict {
        let mut disks = BTreeMap::new();
        for (number, pid) in (1..).zip(self.cluster.nodes.clone()) {
            self.cluster.world.kill(pid, true);
            // What rotted and nobody read is as good as lost to this reading, and is not what it is about.
            self.cluster.world.disk(pid).expect("a node has a disk").heal();
            if self.cluster.world.observer.liar == Some(NodeId(number)) {
                continue;
            }
            let held = self.cluster.inspect(pid).map_err(|text| Failure::of(format!("node-{number}: {text}")))?;
            let Listener { epochs, releases, .. } = &self.cluster.world.observer;
            let let_go = |c: &Configuration| releases.is_let_go(NodeId(number), c);
            space::at_rest(NodeId(number), held.keys(), epochs, let_go).map_err(Failure::of)?;
            disks.insert(NodeId(number), held);
        }
        for client in &self.clients {
            let expected = self.history.last_seen(client.volume);
            let size = client.shape.grain_bytes;
            let epochs = &self.cluster.world.observer.epochs;
            for shard in epochs.shards().filter(|shard| Some(shard.volume) == client.id) {
                let mut config = epochs.newest(shard).expect("it was heard of").clone();
                config.members.retain(|m| self.cluster.world.observer.liar != Some(m.node));
                let replicas = disks.iter().filter_map(|(node, held)| held.get(&shard).map(|replica| (*node, replica)));
                let first = u64::from(shard.index * self.shape.shard_blocks) * (BLOCK_BYTES / size) as u64;
                replicas::check(&config, &replicas.collect(), &expected, client.volume, first, size)
                    .map_err(Failure::of)?;
            }
        }
        Ok(())
    }

    fn broken_register(&self, volume: u8, grain: u64, text: &str, accesses: &[linear::Access]) -> Failure {
        let (shard, block) = self.place_of(volume, grain);
        let mut lines = vec![format!("I8, {shard} block {block}: {text}")];
        for access in accesses {
            let generation = self.history.op(access.op).generation;
            let what = match access.what {
                linear::What::Write(value) => format!("wrote {:?}", crate::history::Stamp(value)),
                linear::What::Read(value) => format!("read {:?}", crate::history::Stamp(value)),
            };
            let (from, to) = (access.invoked, access.returned);
            lines.push(format!("  op {} of generation {generation} {what} {from:?} .. {to:?}", access.op));
        }
        Failure { text: lines.join("\n"), shard: Some(shard), ..Failure::default() }
    }

    // ---- The pump. ------------------------------------------------------------------------------------------------------

    pub(crate) fn after(&mut self, delay: Duration, task: Task) {
        let tag = self.next_task;
        self.next_task += 1;
        self.tasks.insert(tag, task);
        let at = self.cluster.world.now() + delay;
        self.cluster.world.alarm(at, tag);
    }

    pub(crate) fn run_for(&mut self, how_long: Duration) -> Verdict {
        let until = self.cluster.world.now() + how_long;
        self.after(how_long, Task::Look);
        while self.cluster.world.now() < until {
            self.pump()?;
        }
        Ok(())
    }

    pub(crate) fn wait_for(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) -> Verdict {
        let deadline = self.cluster.world.now() + WITHIN;
        while !done(self) {
            if self.cluster.world.now() >= deadline {
                let waiting: Vec<String> = self.outstanding.keys().take(8).map(|op| self.describe(*op)).collect();
                let (waiting, by_nbd) = (waiting.join("\n  "), self.standing_by_nbd());
                return Err(Failure::of(format!("liveness: within {WITHIN:?}: {what}\n  {waiting}{by_nbd}")));
            }
            self.run_for(MS(5))?;
        }
        Ok(())
    }

    pub(crate) fn describe(&self, op: u64) -> String {
        let record = self.history.op(op);
        let id = self.clients[usize::from(record.volume)].id.unwrap_or_default();
        let block = (record.grain * self.history.grain_bytes(record.volume) as u64 / BLOCK_BYTES as u64) as u32;
        let shard = ShardId { volume: id, index: block / self.shape.shard_blocks };
        format!("op {op} {:?} of {shard} since {:?}", record.kind, record.invoked)
    }

    fn pump(&mut self) -> Verdict {
        match self.cluster.world.go_on() {
            Happening::Turned(pid) => {
                self.look_at(pid)?;
                self.watch_turn(pid)?;
            }
            Happening::Alarm(tag) => {
                let task = self.tasks.remove(&tag).expect("an alarm rings once");
                self.do_task(task);
            }
        }
        for text in std::mem::take(&mut self.cluster.world.observer.news) {
            let now = self.cluster.world.now();
            self.cluster.world.trace.tell(now, format_args!("{text}"));
        }
        for (from, to) in std::mem::take(&mut self.cluster.world.observer.struck) {
            let servants = self.cluster.servants();
            let mortal = |peer| self.cluster.pid_of(peer).filter(|pid| servants.contains(pid));
            self.strikes += 1;
            let (number, mut rng) = (self.strikes, self.dice("strike", self.strikes));
            let (delay, deed) = faults::strike(mortal(from), mortal(to), &mut rng);
            self.after(delay, Task::Deed("aim", number, deed));
        }
        match self.cluster.world.observer.offence.take() {
            Some(text) => Err(Failure::of(text)),
            None => self.watch_all(),
        }
    }

    fn look_at(&mut self, pid: Pid) -> Verdict {
        match self.cluster.world.machine_mut(pid) {
            Some(Actor::Host(_)) if self.nbd.is_some() => {
                self.nbd_turned(pid);
                Ok(())
            }
            Some(Actor::Host(front)) => {
                let replies: Vec<host::Reply> = front.host.replies().collect();
                replies.into_iter().try_for_each(|reply| self.replied(reply))
            }
            Some(Actor::Operator(operator)) => {
                let heard = std::mem::take(&mut operator.heard);
                if pid == self.cluster.hasty {
                    return Ok(());
                }
                heard.into_iter().try_for_each(|heard| self.operator_heard(heard))
            }
            Some(Actor::Node(node)) => match node.failure() {
                Some(_) => self.gave_up(pid),
                None => Ok(()),
            },
            Some(Actor::Zone(_)) | None => Ok(()),
        }
    }

    fn do_task(&mut self, task: Task) {
        match task {
            Task::Client(client) => self.client_turn(client),
            Task::Fault => self.fault(),
            Task::Deed(class, number, deed) if self.faults_on => self.strike(class, number, deed),
            Task::Deed(..) | Task::Look => {}
            Task::Start(pid) if !self.cluster.exists(pid) => self.cluster.start(pid),
            Task::Thaw(pid) if self.cluster.world.state(pid) == State::Frozen => self.cluster.world.thaw(pid),
            Task::Start(_) | Task::Thaw(_) => {}
            Task::EndWeather(ids) => ids.into_iter().for_each(|id| self.cluster.world.end_trouble(Some(id))),
            Task::EndDamage => self.cluster.world.net.weather.damage_ppm = 0,
            Task::EndSlowDisk(pid) => self.cluster.world.disk(pid).expect("a node has a disk").slower = 1,
            Task::MendDisk(pid) => self.disk_of(pid).set_failing(Failing::default()),
            Task::UnstickDisk(pid) => self.cluster.world.unstick(pid),
            Task::ReplaceDisk(pid) => self.replace_disk(pid),
            Task::EndMeta => self.set_meta(1, 0),
            Task::AskAgain(asking) if asking == self.script.asking && !self.script.is_done() => {
                self.ask_authority(true)
            }
            Task::AskAgain(_) => {}
            Task::Nbd(step) => self.nbd_step(step),
            Task::Move => self.move_volume(),
            Task::MoveTo(volume, host) => self.begin_move(volume, host),
            Task::Hasty(volume, host) => self.attach_hastily(volume, host),
        }
    }

    /// What there is to say at the end.
    pub fn report(&self, seed: u64, failure: Option<Failure>) -> Report {
        let counters = self.cluster.zone_counters();
        let [by_delta, in_full] = self.taught_by_faults.unwrap_or(self.cluster.world.observer.taught);
        Report {
            seed,
            trace_hash: self.cluster.world.trace.hash(),
            events: self.cluster.world.trace.events(),
            asked: self.history.len(),
            answered: self.history.answered(),
            faults: self.counts.clone(),
            disturbances: self.disturbances,
            nodes: self.shape.nodes,
            volumes: self.shape.volumes.len() as u8,
            connections: self.nbd.as_ref().map_or(0, |nbd| nbd.opened),
            coverage: self.coverage.clone(),
            damaged: self.cluster.world.net.damaged,
            mended: self.cluster.world.observer.mended,
            sent: self.cluster.world.net.sent,
            by_delta,
            in_full,
            retries: self.cluster.world.observer.retries.retries,
            isolated: self.cluster.world.observer.isolated(),
            elections: self.cluster.world.observer.epochs.elections(),
            slow: (counters.slow_put_out, counters.slow_kept),
            simulated: self.cluster.world.now().since(Moment(0)),
            failure,
        }
    }
}
