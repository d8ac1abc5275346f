//! What people are told: how volumes and nodes are, and since when. Only what is durable is shown.

use crate::Zone;
use crate::shards::Shard;
use alloc::format;
use alloc::vec::Vec;
use base::codec::Field;
use base::{BLOCK_BYTES, Configuration, Layout, NodeId, VolumeId};
use wire::frame::HEAD_BYTES_MAX;
use wire::{
    ErrorCode, Message, NodeInfo, NodeReply, NodeState, ShardCondition, ShardReport, ShardState, VolumeCondition,
    VolumeInfo, VolumeReply, VolumeState,
};

/// How a shard is. `led` says whether its primary is heard, `enough` whether those who could lead it on without that are.
pub(crate) fn condition_of(
    c: &Configuration,
    report: Option<&ShardReport>,
    led: bool,
    enough: bool,
) -> VolumeCondition {
    let condition = report.map(|r| &r.condition);
    if c.deleted {
        return VolumeCondition::Deleting;
    }
    if !c.has_min_copies() {
        return VolumeCondition::StuckAwaitingMember;
    }
    match condition {
        Some(ShardCondition::Serving) if led => match c.members.len() {
            n if n >= usize::from(c.target_copies) => VolumeCondition::Ok,
            1 => VolumeCondition::AtRisk,
            _ => VolumeCondition::Degraded,
        },
        _ if c.newborn => VolumeCondition::Creating,
        Some(ShardCondition::AwaitingAuthority) if led => VolumeCondition::StuckAwaitingAuthority,
        Some(ShardCondition::AwaitingMember) if led => VolumeCondition::StuckAwaitingMember,
        _ if !enough => VolumeCondition::StuckAwaitingMember,
        _ => VolumeCondition::StuckElecting,
    }
}

/// The worse, the greater.
pub(crate) fn badness(condition: &VolumeCondition) -> u8 {
    match condition {
        VolumeCondition::Ok => 0,
        VolumeCondition::Degraded => 1,
        VolumeCondition::Creating => 2,
        VolumeCondition::AtRisk => 3,
        VolumeCondition::StuckElecting => 4,
        VolumeCondition::StuckAwaitingAuthority => 5,
        VolumeCondition::StuckAwaitingMember => 6,
        VolumeCondition::Deleting => 7,
    }
}

/// What a volume is, by any of its configurations. So it is as durable as that.
pub(crate) fn info_of(c: &Configuration) -> VolumeInfo {
    let Layout { blocks, shard_blocks } = c.layout;
    VolumeInfo { volume: c.shard.volume, size: blocks * BLOCK_BYTES as u64, shard_blocks }
}

impl Zone {
    fn volume_state(&self, id: VolumeId) -> Option<VolumeState> {
        let record = self.volumes.get(&id)?;
        let state = |s: &Shard| {
            let config = s.durable.clone()?;
            let report = s.report.clone();
            let (condition, for_ms) = (s.condition.clone(), self.now.since(s.since).as_millis() as u64);
            let suspect =
                config.members.iter().filter(|m| self.is_suspect(config.shard, **m)).map(|m| m.node).collect();
            let lost = config.members.iter().filter(|m| self.is_lost(**m)).map(|m| m.node).collect();
            Some(ShardState { config, report, condition, for_ms, suspect, lost })
        };
        let shards: Vec<ShardState> = self.shards_of(id).filter_map(state).collect();
        let first = &shards.first()?.config;
        let host = first.client.and_then(|host| self.hosts.get(&host)).filter(|host| host.registered);
        Some(VolumeState {
            info: info_of(first),
            condition: shards.iter().map(|s| s.condition.clone()).max_by_key(badness)?,
            copies: record.copies,
            attached: first.client,
            read_only: record.attached.is_some_and(|a| a.read_only),
            generation: first.generation,
            throttle: self.throttles.get(&id).copied().unwrap_or_default(),
            throttled: host.and_then(|host| host.throttled.get(&id)).copied(),
            points: self.points.durable(id),
            shards,
        })
    }

    /// Answers with one volume.
    pub(crate) fn show_volume(&mut self, ticket: u64, volume: VolumeId) {
        match self.volume_state(volume) {
            Some(state) => self.answer_volumes(ticket, alloc::vec![state]),
            None => self.no_such_volume(ticket, volume),
        }
    }

    pub(crate) fn describe_volumes(&mut self, ticket: u64, volume: Option<VolumeId>) {
        let wanted = self.volumes.keys().copied().filter(|id| volume.is_none_or(|v| v == *id));
        let volumes: Vec<VolumeState> =
            wanted.filter(|id| !self.is_gone(*id)).filter_map(|id| self.volume_state(id)).collect();
        if let (Some(id), true) = (volume, volumes.is_empty()) {
            return self.no_such_volume(ticket, id);
        }
        self.answer_volumes(ticket, volumes);
    }

    fn answer_volumes(&mut self, ticket: u64, volumes: Vec<VolumeState>) {
        let count = volumes.len();
        let answer = VolumeReply { volumes };
        if answer.to_bytes().len() > HEAD_BYTES_MAX {
            let text = format!(
                "{count} volumes do not fit into one answer of {HEAD_BYTES_MAX} bytes; ask for them one by one"
            );
            return self.fail(ticket, ErrorCode::Invalid, text);
        }
        self.answer(ticket, Message::from(answer));
    }

    pub(crate) fn describe_nodes(&mut self, ticket: u64, node: Option<NodeId>) {
        let wanted = self.nodes.values().filter(|n| node.is_none_or(|id| n.record.entry.node == id));
        let nodes: Vec<NodeState> = wanted
            .map(|n| {
                let account = self.ledger.of(n.record.member()).cloned().unwrap_or_default();
                NodeState {
                    info: NodeInfo {
                        entry: n.record.entry.clone(),
                        store: n.record.store,
                        incarnation: n.record.incarnation,
                        rack: n.record.rack.clone(),
                        space: n.space,
                    },
                    condition: n.condition.clone(),
                    for_ms: self.now.since(n.since).as_millis() as u64,
                    reserved: account.reserved,
                    held: account.held,
                    replicas: account.replicas,
                    primaries: account.primaries,
                    rot: n.rot.clone(),
                    traffic: n.traffic,
                    taught: n.taught,
                    touch: n.touch,
                    drain: self.drain_of(n),
                    disk: n.pace.report,
                    slow: self.slow_node(n.record.entry.node),
                }
            })
            .collect();
        match node {
            Some(id) if nodes.is_empty() => {
                self.fail(ticket, ErrorCode::NotFound, format!("there is no {id} in this zone"));
            }
            _ => self.answer(ticket, NodeReply { nodes }),
        }
    }
}
