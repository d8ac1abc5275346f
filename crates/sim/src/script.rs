//! What the operator wants of the authority, one thing after the other, each asked again until it is done.

use base::{HostId, RequestId, VolumeId};
use std::collections::VecDeque;
use wire::{ErrorCode, Message, NodeState, VolumeState};

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
    /// All volumes.
    Volumes(Vec<VolumeState>),
    /// All nodes.
    Nodes(Vec<NodeState>),
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
}

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
            (Wish::Volumes, Message::VolumeReply(m)) => Came::Volumes(m.volumes),
            (Wish::Nodes, Message::NodeReply(m)) => Came::Nodes(m.nodes),
            (_, Message::Failed(m)) if matches!(m.code, ErrorCode::Invalid | ErrorCode::NoRoom) => {
                Came::Wrong(format!("{wish:?} was refused: {}", m.text))
            }
            (_, Message::Failed(_)) => Came::Later,
            (wish, answer) => Came::Wrong(format!("{wish:?} was answered by {answer:?}")),
        };
        if came != Came::Later {
            self.wishes.pop_front();
        }
        came
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
    fn an_answer_to_another_question_is_wrong() {
        let mut script = Script::default();
        script.want(Wish::Volumes);
        assert!(matches!(script.read(wire::NodeReply { nodes: vec![] }.into(), &[]), Came::Wrong(_)));
        script.want(Wish::Create(0));
        assert!(matches!(script.read(failed(ErrorCode::NoRoom), &[None]), Came::Wrong(text) if text.contains("why")));
    }
}
