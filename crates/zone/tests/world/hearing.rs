//! What nodes and hosts of the world do with what the authority tells them; and what must hold of it.

use super::{CLUSTER, World};
use base::io::net::Peer;
use base::*;
use std::collections::BTreeSet;
use wire::*;

record! {
    /// A volume's record, after its version.
    pub struct VolumeBytes {
        info: VolumeInfo,
        copies: u8,
        shards: u32,
        generation: Generation,
        attached: Option<AttachmentBytes>,
        left: Option<HostId>,
        throttle: Throttle,
        points: Vec<PointBytes>,
        last_point: u64,
        deleted: bool,
    }
}

record! {
    /// An attachment in it.
    pub struct AttachmentBytes {
        host: HostId,
        incarnation: Incarnation,
        read_only: bool,
    }
}

record! {
    /// A point in it.
    pub struct PointBytes {
        point: PointId,
        request: RequestId,
        condition: PointCondition,
    }
}

impl World {
    /// What must hold of every configuration that anybody is told.
    pub(super) fn check(&mut self, config: &Configuration) {
        let key = format!("shard/{:016x}/{}", config.shard.volume.0, config.shard.index);
        let bytes = self.meta.written.get(&(key, config.revision.0));
        let bytes = bytes.unwrap_or_else(|| panic!("told before it is durable: {config:?}"));
        // A record is its version and then its configuration.
        let mut reader = base::codec::Reader::new(&bytes[1..]);
        let durable: Configuration = base::codec::Field::take(&mut reader).unwrap();
        assert_eq!(
            Configuration { revision: config.revision, ..durable },
            *config,
            "told otherwise than it is durable"
        );
        let said = self.said.entry((config.shard, config.epoch)).or_insert_with(|| config.clone());
        let same = said.blocks == config.blocks
            && said.primary == config.primary
            && said.members == config.members
            && said.client == config.client;
        assert!(same && said.generation == config.generation, "I1: {said:?} and {config:?}");
        let (generation, served) = self.served.entry(config.shard).or_default();
        if config.generation > *generation {
            let fenced = served.iter().all(|node| config.fence.contains(node));
            assert!(fenced, "rule 9: {served:?} led the generation before: {config:?}");
            *generation = config.generation;
            served.clear();
        }
        if config.generation == *generation && config.client.is_some() {
            served.insert(config.primary);
        }
        if let Some(filled) = self.learns.remove(&config.shard).filter(|m| config.is_member(*m)) {
            self.nodes.get_mut(&filled.node).unwrap().partial.remove(&config.shard);
        }
        self.learns.extend(config.learner.map(|l| (config.shard, l.member)));
    }

    pub(super) fn node_hears(&mut self, id: NodeId, message: Message) {
        let node = self.nodes.get_mut(&id).unwrap();
        if !node.up {
            return;
        }
        if node.refuses || node.deaf {
            return;
        }
        match message {
            Message::Hail(m) => {
                node.refuses = !node.seen.is_past_of(&m.now, m.after);
                if !node.refuses {
                    node.seen = m.now;
                }
            }
            Message::Directory(m) => node.directory = m.nodes.iter().map(|e| e.node).collect(),
            Message::GivenUp(m) => node.given_up = m.nodes,
            Message::Configure(m) => {
                assert_eq!(m.cluster, CLUSTER);
                node.seen.revision = node.seen.revision.max(m.revision);
                node.told.push(m.configs.len());
                node.is_told = true;
                for config in m.configs {
                    self.check(&config);
                    self.configured(id, config);
                }
            }
            Message::Proposed(m) => {
                for outcome in &m.outcomes {
                    if let ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } = outcome {
                        self.check(config);
                    }
                }
                let node = self.nodes.get_mut(&id).unwrap();
                assert_eq!(m.batch, node.batch);
                node.outcomes = m.outcomes;
                node.asked = None;
            }
            Message::Unheard(m) => {
                assert_eq!(m.batch, node.batch);
                node.echo = Some(m.echo);
                // None when the authority died meanwhile, and the wish with it.
                if node.asked.is_some() {
                    self.say_wishes(id);
                }
            }
            Message::Release(m) => self.on_release(id, m),
            Message::PointOrder(m) => self.on_point_order(id, m),
            Message::Located(m) => m.config.iter().for_each(|c| self.check(c)),
            Message::Overtaken(m) => {
                node.up = false;
                self.overtaken.push((Peer::Node(id), m.incarnation));
                self.down(Peer::Node(id));
            }
            other => panic!("{} to a node", other.name()),
        }
    }

    /// As a node takes a configuration: it keeps the newest, makes what it must have, and says what it leads.
    fn configured(&mut self, id: NodeId, config: Configuration) {
        let node = self.nodes.get_mut(&id).unwrap();
        let (me, shard) = (node.member, config.shard);
        if node.configs.get(&shard).is_some_and(|old| !config.is_newer_than(old)) {
            return;
        }
        node.configs.insert(shard, config.clone());
        if config.deleted {
            node.replicas.remove(&shard);
            if node.willing {
                self.say(Peer::Node(id), Released { shard, member: me });
            }
            return;
        }
        if config.learner.is_some_and(|l| l.member == me) || (config.newborn && config.is_member(me)) {
            node.replicas.insert(shard);
        }
        // Who is damaged leads nothing.
        if config.primary == id && node.willing && !node.frozen && !node.partial.contains(&shard) {
            self.serve(&config);
        }
    }

    /// The primary says that it serves, or waits for enough to serve with.
    pub fn serve(&mut self, config: &Configuration) {
        let (shard, epoch) = (config.shard, config.epoch);
        self.nodes.get_mut(&config.primary).unwrap().leads.insert(shard, epoch);
        let enough = config.has_min_copies();
        let condition = if enough { ShardCondition::Serving } else { ShardCondition::AwaitingMember };
        let report = ShardReport { shard, epoch, condition, committed: Sequence(0), learned_blocks: 0, filling: None };
        self.report(config.primary.0, vec![report]);
    }

    /// As a primary takes a step of freezing: what it is told is durable, and all members have what it has.
    fn on_point_order(&mut self, id: NodeId, m: PointOrder) {
        self.check_point_order(&m);
        let node = self.nodes.get_mut(&id).unwrap();
        node.orders.push(m.clone());
        if node.frozen || node.mute == Some(m.step) {
            return;
        }
        let config = &node.configs[&m.shard];
        let leads = config.primary == id && config.epoch == m.epoch;
        let members = config.members.clone();
        let holds = node.holds.get(&m.shard) == Some(&m.point);
        let declines = node.declines.filter(|(step, _)| *step == m.step).map(|(_, why)| why);
        let refused = match (declines, m.step) {
            (Some(why), _) => Some(why),
            _ if !leads => Some(PointRefusal::NotServing),
            (None, PointStep::Freeze | PointStep::Release) if !holds => Some(PointRefusal::NotHolding),
            _ => None,
        };
        match m.step {
            PointStep::Hold if refused.is_none() => _ = node.holds.insert(m.shard, m.point),
            // Whether it says so or not, it lets go.
            PointStep::Release => _ = node.holds.remove(&m.shard),
            _ => {}
        }
        if refused.is_none() {
            for member in members {
                let points = &mut self.nodes.get_mut(&member.node).unwrap().points;
                match m.step {
                    PointStep::Freeze => _ = points.insert((m.shard, m.point)),
                    PointStep::Thaw => _ = points.remove(&(m.shard, m.point)),
                    PointStep::Hold | PointStep::Release => {}
                }
            }
        }
        let PointOrder { shard, epoch, point, step } = m;
        self.say(Peer::Node(id), PointState { shard, epoch, point, step, refused });
    }

    /// Nothing is frozen of which the record does not know, nor dropped that is not to go.
    fn check_point_order(&self, m: &PointOrder) {
        let recorded = self.recorded_point(m.shard.volume, m.point);
        match m.step {
            PointStep::Hold | PointStep::Freeze => assert_eq!(recorded, Some(PointCondition::Making), "{m:?}"),
            PointStep::Release => {}
            PointStep::Thaw => assert_eq!(recorded, Some(PointCondition::Dropping), "{m:?}"),
        }
    }

    /// How a point of a volume is in the metadata.
    pub fn recorded_point(&self, volume: VolumeId, point: PointId) -> Option<PointCondition> {
        let (bytes, _) = &self.meta.pairs[&format!("volume/{volume}")];
        let record: VolumeBytes = base::codec::Field::from_bytes(&bytes[1..]).unwrap();
        record.points.iter().find(|p| p.point == point).map(|p| p.condition)
    }

    /// R13: nothing goes while the shard is short, or from a node that is one of those who hold it.
    fn on_release(&mut self, id: NodeId, m: Release) {
        let node = self.nodes.get_mut(&id).unwrap();
        let newest = self.zone.configurations().find(|c| c.shard == m.shard).expect("released, and unknown");
        assert!(newest.members.len() >= usize::from(newest.target_copies), "R13: released while short: {newest:?}");
        let known = &node.configs[&m.shard];
        assert!(!known.is_member(m.member) && known.epoch <= m.epoch, "released under {known:?}");
        assert_eq!(node.member, m.member);
        self.released.push((m.shard, m.member));
        if node.willing {
            node.replicas.remove(&m.shard);
            node.partial.remove(&m.shard);
            self.say(Peer::Node(id), Released { shard: m.shard, member: m.member });
        }
    }

    pub(super) fn host_hears(&mut self, id: HostId, message: Message) {
        let host = self.hosts.get_mut(&id).unwrap();
        if !host.up {
            return;
        }
        match message {
            Message::Directory(_) => {}
            Message::Configure(m) => {
                for config in m.configs {
                    self.check(&config);
                    self.hosts.get_mut(&id).unwrap().configs.insert(config.shard, config);
                }
            }
            Message::Attached(m) => {
                host.attached.insert(m.volume.volume, m.generation);
                host.read_only.insert(m.volume.volume, m.read_only);
                host.throttles.insert(m.volume.volume, m.throttle);
                host.sizes.insert(m.volume.volume, m.volume.size);
                let (volume, generation, willing) = (m.volume.volume, m.generation, host.willing);
                let size = m.volume.size;
                // One message names all that the size needs.
                let named: BTreeSet<u32> = m.configs.iter().map(|c| c.shard.index).collect();
                let shards = (size / BLOCK_BYTES as u64).div_ceil(u64::from(m.volume.shard_blocks));
                assert_eq!(named.len() as u64, shards, "{volume}: {named:?}");
                for config in m.configs {
                    self.check(&config);
                    self.hosts.get_mut(&id).unwrap().configs.insert(config.shard, config);
                }
                if willing {
                    self.say(Peer::Host(id), AttachState { volume, generation, open: true, size });
                }
            }
            Message::Throttled(m) => _ = host.throttles.insert(m.volume, m.throttle),
            Message::Detached(m) => {
                host.attached.remove(&m.volume);
                host.detached.push((m.volume, m.generation));
                self.say(
                    Peer::Host(id),
                    AttachState { volume: m.volume, generation: m.generation, open: false, size: 0 },
                );
            }
            Message::Located(m) => m.config.iter().for_each(|c| self.check(c)),
            Message::Overtaken(m) => {
                host.up = false;
                self.overtaken.push((Peer::Host(id), m.incarnation));
                self.down(Peer::Host(id));
            }
            other => panic!("{} to a host", other.name()),
        }
    }
}
