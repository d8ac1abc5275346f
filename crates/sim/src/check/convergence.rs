//! After the trouble is gone everything works again, with all copies, and nothing is stuck (R21, R53; testing.md, Convergence).

use wire::{NodeCondition, NodeState, VolumeCondition, VolumeState};

/// The first thing that is not yet as it should be; none when all is.
pub fn unfinished(volumes: &[VolumeState], nodes: &[NodeState]) -> Option<String> {
    for node in nodes {
        if node.condition != NodeCondition::Up {
            return Some(format!("{} is {:?}", node.info.entry.node, node.condition));
        }
        if let Some(drain) = node.drain.filter(|drain| (drain.replicas, drain.bytes) != (0, 0)) {
            return Some(format!("{} is to be drained and is not: {drain:?}", node.info.entry.node));
        }
        // Of each block only one member has rot, so none can be lost (R15).
        if let Some(lost) = node.rot.named.first() {
            return Some(format!("{} cannot mend {lost:?}", node.info.entry.node));
        }
    }
    for volume in volumes {
        let id = volume.info.volume;
        for shard in &volume.shards {
            let config = &shard.config;
            if config.members.len() != usize::from(config.target_copies) {
                return Some(format!("{} has {} members: {config:?}", config.shard, config.members.len()));
            }
            if let Some(learner) = &config.learner {
                return Some(format!("{} still has learner {}: {config:?}", config.shard, learner.member.node));
            }
            if let Some(holder) = config.holders.first() {
                return Some(format!("{} still has holder {}: {config:?}", config.shard, holder.node));
            }
        }
        if volume.condition != VolumeCondition::Ok {
            return Some(format!("{id} is {:?}", volume.condition));
        }
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::epochs::tests::{config, member};
    use super::*;
    use base::{Configuration, NodeId, VolumeId};
    use wire::{ShardState, VolumeInfo};

    /// One that is up and has nothing.
    pub(crate) fn node(id: u64) -> NodeState {
        let address = |net| wire::Address(([10, 0, net, id as u8], 1).into());
        let entry = wire::NodeEntry { node: NodeId(id), primary: address(1), replication: address(2) };
        let store = member(id).store;
        let info = wire::NodeInfo {
            entry,
            store,
            incarnation: base::Incarnation(1),
            rack: "r".into(),
            space: wire::Space::default(),
        };
        NodeState {
            info,
            condition: NodeCondition::Up,
            for_ms: 0,
            reserved: 0,
            held: 0,
            replicas: 0,
            primaries: 0,
            rot: wire::RotReport::default(),
            traffic: wire::TrafficReport::default(),
            taught: wire::Taught::default(),
            touch: wire::Touch::default(),
            drain: None,
            disk: wire::DiskReport::default(),
            slow: None,
        }
    }

    /// One of a single shard.
    pub(crate) fn volume(config: Configuration, condition: VolumeCondition) -> VolumeState {
        let info = VolumeInfo { volume: VolumeId(1), size: 1, shard_blocks: 1 };
        let generation = config.generation;
        let shards = vec![ShardState {
            config,
            report: None,
            condition: VolumeCondition::Ok,
            for_ms: 0,
            suspect: vec![],
            lost: vec![],
        }];
        let (attached, throttle, throttled) = (None, wire::Throttle::default(), None);
        VolumeState {
            info,
            condition,
            copies: 3,
            attached,
            read_only: false,
            generation,
            throttle,
            throttled,
            points: vec![],
            shards,
        }
    }

    #[test]
    fn whatever_is_left_over_is_named() {
        let whole = config(3, 1, &[1, 2, 3]);
        assert_eq!(unfinished(&[volume(whole.clone(), VolumeCondition::Ok)], &[]), None);
        let names = |config, condition| unfinished(&[volume(config, condition)], &[]).unwrap();
        assert!(names(config(3, 1, &[1, 2]), VolumeCondition::Degraded).contains("2 members"));
        assert!(names(whole.clone(), VolumeCondition::StuckElecting).contains("StuckElecting"));
        let holding = Configuration { holders: vec![member(4)], ..whole.clone() };
        assert!(names(holding, VolumeCondition::Ok).contains("holder node-4"));
        let learner = Some(base::Learner { member: member(5), plan: 2 });
        assert!(names(Configuration { learner, ..whole }, VolumeCondition::Ok).contains("learner node-5"));
    }
}
