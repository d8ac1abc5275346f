//! What the operator wants of the authority, one thing after the other, each asked again until it is done.

use base::{HostId, NodeId, PointId, RequestId, VolumeId};
use std::collections::{BTreeSet, VecDeque};
use wire::{ErrorCode, Message, NodeOrder, NodeState, PointCondition, VolumeState};

/// One thing wanted. Volumes by their place in the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// A volume is made.
    Create(u8),
    /// It is attached to a host.
    Attach(u8, HostId),
    /// It is attached to nobody.
    Detach(u8),
    /// It has so many blocks.
    Resize(u8, u32),
    /// It has the point that this request makes.
    Freeze(u8, RequestId),
    /// It has this point no more.
    Thaw(u8, PointId),
    /// All that this node has is to be somewhere else, or not any more.
    Drain(NodeId, bool),
    /// Volumes are listed.
    Volumes,
    /// Nodes are listed.
    Nodes,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Came {
    /// Nothing yet: ask again later.
    Later,
    /// The volume has this id.
    Created(u8, VolumeId),
    /// It is attached.
    Attached(u8),
    /// It is not.
    Detached(u8),
    /// It has so many blocks.
    Resized(u8, u32),
    /// It is frozen.
    Frozen(u8, PointId),
    /// The point is dropped, or going to be.
    Thawed(u8, PointId),
    /// It is drained, or not any more.
    Drained(NodeId, bool),
    /// There is no room for that, in words.
    NoRoom(Wish, String),
    /// All volumes.
    Volumes(Vec<VolumeState>),
    /// All nodes.
    Nodes(Vec<NodeState>),
    /// It is larger than it should become: another size, which was given up, came true after all.
    Larger,
    /// What no authority should answer.
    Wrong(String),
}

fn bytes_of(blocks: u32) -> u64 {
    u64::from(blocks) * base::BLOCK_BYTES as u64
}

/// The row of wishes; the first is being asked.
#[derive(Default)]
pub struct Script {
    wishes: VecDeque<Wish>,
    /// Counts askings, so that a timer knows whether it is still meant.
    pub asking: u64,
    /// How often the first was asked for in vain.
    in_vain: u32,
    /// Volumes of which some size was given up.
    unsized_volumes: BTreeSet<u8>,
}

/// A freeze or another size is asked for so often: something may be under repair all the time, or too few nodes be there, and other wishes wait.
const IN_VAIN_MAX: u32 = 5;

impl Script {
    /// Wants one thing more.
    pub fn want(&mut self, wish: Wish) {
        self.wishes.push_back(wish);
    }

    /// Whether nothing is wanted.
    pub fn is_done(&self) -> bool {
        self.wishes.is_empty()
    }

    /// Forgets what is wanted beyond what is being asked.
    pub fn forget_rest(&mut self) {
        self.wishes.truncate(1);
    }

    /// What is being asked.
    pub fn first(&self) -> Option<Wish> {
        self.wishes.front().copied()
    }

    /// Reads an answer to the first wish. When it came true, the next one is the first.
    pub fn read(&mut self, answer: Message, ids: &[Option<VolumeId>]) -> Came {
        let Some(wish) = self.first() else { return Came::Later };
        let id = |volume: u8| ids[usize::from(volume)];
        let came = match (wish, answer) {
            (Wish::Create(volume), Message::VolumeReply(m)) if m.volumes.len() == 1 => {
                Came::Created(volume, m.volumes[0].info.volume)
            }
            (Wish::Attach(volume, host), Message::AttachReply(m)) if Some(m.volume) == id(volume) && m.host == host => {
                Came::Attached(volume)
            }
            // Somebody in haste attached it elsewhere meanwhile, and it stays there.
            (Wish::Attach(volume, _), Message::Failed(m)) if m.code == ErrorCode::InUse => Came::Attached(volume),
            (Wish::Detach(volume), Message::VolumeReply(m))
                if m.volumes.iter().any(|v| Some(v.info.volume) == id(volume)) =>
            {
                Came::Detached(volume)
            }
            (Wish::Resize(volume, blocks), Message::VolumeReply(m))
                if m.volumes.iter().any(|v| Some(v.info.volume) == id(volume) && v.info.size == bytes_of(blocks)) =>
            {
                Came::Resized(volume, blocks)
            }
            (Wish::Freeze(volume, request), Message::VolumeReply(m)) => {
                let points = m.volumes.iter().filter(|v| Some(v.info.volume) == id(volume)).flat_map(|v| &v.points);
                let made = points.into_iter().find(|p| (p.request, p.condition) == (request, PointCondition::Made));
                made.map_or_else(
                    || Came::Wrong(format!("{wish:?} was answered by {m:?}")),
                    |p| Came::Frozen(volume, p.point),
                )
            }
            (Wish::Thaw(volume, point), Message::VolumeReply(m))
                if m.volumes.iter().any(|v| Some(v.info.volume) == id(volume)) =>
            {
                Came::Thawed(volume, point)
            }
            // Asked twice, and the first time was heard.
            (Wish::Thaw(volume, point), Message::Failed(m)) if m.code == ErrorCode::NotFound => {
                Came::Thawed(volume, point)
            }
            (Wish::Drain(node, wanted), Message::NodeReply(m))
                if m.nodes.len() == 1 && m.nodes[0].info.entry.node == node && m.nodes[0].drain.is_some() == wanted =>
            {
                Came::Drained(node, wanted)
            }
            (Wish::Volumes, Message::VolumeReply(m)) => Came::Volumes(m.volumes),
            (Wish::Nodes, Message::NodeReply(m)) => Came::Nodes(m.nodes),
            (Wish::Freeze(..) | Wish::Resize(..) | Wish::Drain(..), Message::Failed(m))
                if m.code == ErrorCode::NoRoom =>
            {
                Came::NoRoom(wish, m.text)
            }
            (Wish::Resize(volume, _), Message::Failed(m))
                if m.code == ErrorCode::Invalid && self.unsized_volumes.contains(&volume) =>
            {
                Came::Larger
            }
            (_, Message::Failed(m)) if matches!(m.code, ErrorCode::Invalid | ErrorCode::NoRoom) => {
                Came::Wrong(format!("{wish:?} was refused: {}", m.text))
            }
            (_, Message::Failed(_)) => Came::Later,
            (wish, answer) => Came::Wrong(format!("{wish:?} was answered by {answer:?}")),
        };
        if came != Came::Later {
            self.done();
        }
        came
    }

    fn done(&mut self) {
        self.wishes.pop_front();
        self.in_vain = 0;
    }

    /// The first was asked for in vain. Whether it is given up, so that the next one is the first.
    pub fn gives_up(&mut self) -> bool {
        self.in_vain += 1;
        let may_be = matches!(self.first(), Some(Wish::Freeze(..) | Wish::Resize(..)));
        let given_up = may_be && self.in_vain >= IN_VAIN_MAX;
        if given_up {
            self.unsized_volumes
                .extend(self.first().and_then(|w| if let Wish::Resize(volume, _) = w { Some(volume) } else { None }));
            self.done();
        }
        given_up
    }

    /// A wish in the words of the wire. `request` names the making of a volume for ever.
    pub fn message(wish: Wish, ids: &[Option<VolumeId>], request: RequestId, size: u64, copies: u8) -> Message {
        let id = |volume: u8| ids[usize::from(volume)].expect("a volume is made before it is used");
        match wish {
            Wish::Create(_) => wire::CreateVolume { request, size, copies, throttle: wire::Throttle::default() }.into(),
            Wish::Attach(volume, host) => {
                wire::AttachVolume { volume: id(volume), host: Some(host), read_only: false }.into()
            }
            Wish::Detach(volume) => wire::DetachVolume { volume: id(volume) }.into(),
            Wish::Resize(volume, blocks) => wire::ResizeVolume { volume: id(volume), size: bytes_of(blocks) }.into(),
            Wish::Freeze(volume, request) => wire::FreezeVolume { volume: id(volume), request }.into(),
            Wish::Thaw(volume, point) => wire::ThawVolume { volume: id(volume), point }.into(),
            Wish::Drain(node, true) => wire::AlterNode { node, order: NodeOrder::Drain }.into(),
            Wish::Drain(node, false) => wire::AlterNode { node, order: NodeOrder::Undrain }.into(),
            Wish::Volumes => wire::DescribeVolumes { volume: None }.into(),
            Wish::Nodes => wire::DescribeNodes { node: None }.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: ErrorCode) -> Message {
        wire::Failed { code, text: "why".into() }.into()
    }

    fn volumes(id: u64) -> Message {
        let info = wire::VolumeInfo { volume: VolumeId(id), size: 1, shard_blocks: 1 };
        let (condition, generation) = (wire::VolumeCondition::Ok, base::Generation(1));
        let state = VolumeState {
            info,
            condition,
            copies: 3,
            attached: None,
            read_only: false,
            generation,
            throttle: wire::Throttle::default(),
            throttled: None,
            points: vec![],
            shards: vec![],
        };
        wire::VolumeReply { volumes: vec![state] }.into()
    }

    #[test]
    fn a_wish_is_asked_again_until_it_came_true() {
        let mut script = Script::default();
        let ids = [Some(VolumeId(5))];
        script.want(Wish::Detach(0));
        script.want(Wish::Nodes);
        assert_eq!(script.read(failed(ErrorCode::Unavailable), &ids), Came::Later);
        assert_eq!(script.first(), Some(Wish::Detach(0)));
        assert_eq!(script.read(volumes(5), &ids), Came::Detached(0));
        assert_eq!(script.read(wire::NodeReply { nodes: vec![] }.into(), &ids), Came::Nodes(vec![]));
        assert!(script.is_done());
    }

    #[test]
    fn an_attachment_that_somebody_else_made_is_one_too() {
        let mut script = Script::default();
        script.want(Wish::Attach(0, HostId(1)));
        assert_eq!(script.read(failed(ErrorCode::Unavailable), &[Some(VolumeId(5))]), Came::Later);
        assert_eq!(script.read(failed(ErrorCode::InUse), &[Some(VolumeId(5))]), Came::Attached(0));
        assert!(script.is_done());
    }

    #[test]
    fn a_volume_is_frozen_when_the_point_of_this_request_is_made_and_without_room_it_is_not() {
        let mut script = Script::default();
        let (ids, request, point) = ([Some(VolumeId(5))], RequestId(9), PointId(2));
        let with = |condition| {
            let Message::VolumeReply(mut m) = volumes(5) else { unreachable!("it is one") };
            m.volumes[0].points = vec![wire::VolumePoint { point, request, condition }];
            Message::from(m)
        };
        (0..3).for_each(|_| script.want(Wish::Freeze(0, request)));
        script.want(Wish::Thaw(0, point));
        assert!(matches!(script.read(with(PointCondition::Dropping), &ids), Came::Wrong(_)));
        assert_eq!(script.read(failed(ErrorCode::Unavailable), &ids), Came::Later);
        assert_eq!(script.read(with(PointCondition::Made), &ids), Came::Frozen(0, point));
        assert_eq!(script.read(failed(ErrorCode::NoRoom), &ids), Came::NoRoom(Wish::Freeze(0, request), "why".into()));
        assert_eq!(script.read(failed(ErrorCode::NotFound), &ids), Came::Thawed(0, point));
        assert!(script.is_done());
    }

    #[test]
    fn only_a_freeze_or_another_size_is_given_up() {
        let mut script = Script::default();
        script.want(Wish::Detach(0));
        assert!((0..9).all(|_| !script.gives_up()));
        assert_eq!(script.read(volumes(5), &[Some(VolumeId(5))]), Came::Detached(0));
        script.want(Wish::Freeze(0, RequestId(9)));
        assert!((0..4).all(|_| !script.gives_up()) && script.gives_up() && script.is_done());
        let smaller = |script: &mut Script| {
            script.want(Wish::Resize(0, 7));
            script.read(failed(ErrorCode::Invalid), &[Some(VolumeId(5))])
        };
        assert!(matches!(smaller(&mut script), Came::Wrong(_)));
        script.want(Wish::Resize(0, 7));
        assert!((0..4).all(|_| !script.gives_up()) && script.gives_up() && script.is_done());
        assert_eq!(smaller(&mut script), Came::Larger, "it may have come true all the same");
    }

    #[test]
    fn a_node_is_drained_when_its_state_says_so_and_without_room_it_is_not() {
        let (mut script, node) = (Script::default(), NodeId(3));
        [true, true, false].into_iter().for_each(|wanted| script.want(Wish::Drain(node, wanted)));
        assert!(matches!(script.read(wire::NodeReply { nodes: vec![] }.into(), &[]), Came::Wrong(_)));
        assert!(matches!(script.read(failed(ErrorCode::NoRoom), &[]), Came::NoRoom(Wish::Drain(_, true), _)));
        assert_eq!(script.read(failed(ErrorCode::Unavailable), &[]), Came::Later);
        let said = Script::message(Wish::Drain(node, false), &[], RequestId(0), 0, 0);
        assert_eq!(said, wire::AlterNode { node, order: NodeOrder::Undrain }.into());
    }

    #[test]
    fn an_answer_to_another_question_is_wrong() {
        let mut script = Script::default();
        script.want(Wish::Volumes);
        assert!(matches!(script.read(wire::NodeReply { nodes: vec![] }.into(), &[]), Came::Wrong(_)));
        script.want(Wish::Create(0));
        assert!(matches!(script.read(failed(ErrorCode::NoRoom), &[None]), Came::Wrong(text) if text.contains("why")));
    }
}
