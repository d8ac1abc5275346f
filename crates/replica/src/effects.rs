//! What a replica wants done: collected over a turn, carried out by the node.

use alloc::vec::Vec;
use base::io::net::{Frame, Link, Peer};
use base::log::{Record, Request};
use base::{Configuration, NodeId, Payload, ShardId};
use wire::{Message, Proposal};

/// Filled by the replicas during a turn, emptied by the node.
#[derive(Debug, Default)]
pub struct Effects {
    /// To send, in order.
    pub frames: Vec<(Link, Frame)>,
    /// To close, after what was sent.
    pub closes: Vec<Link>,
    /// For the store, in order.
    pub log: Vec<Request>,
    /// New wishes for the authority; none takes an older one back if it has not left yet.
    pub wishes: Vec<(ShardId, Option<Proposal>)>,
    /// Shards whose reads wait for a keepalive answer.
    pub awaiting_lease: Vec<ShardId>,
    /// Shards whose primaries would copy on and may not now.
    pub awaiting_copy: Vec<ShardId>,
    /// What was sent to learners in this turn: of which shard, whether by delta, and how many bytes.
    pub copied: Vec<(ShardId, bool, u64)>,
    /// Shards whose condition, as told to the authority, may have changed.
    pub changed: Vec<ShardId>,
    /// Shards that are gone from this node once the store has dropped them.
    pub dropped: Vec<ShardId>,
    /// Blocks that were found rotten, since the process began.
    pub rot_found: u64,
    /// Of those, mended.
    pub rot_mended: u64,
    /// What was sent to learners, since the process began.
    pub taught: wire::Taught,
}

impl Effects {
    pub(crate) fn answer(&mut self, on: Link, message: impl Into<Message>) {
        self.frames.push((on, message.into().frame()));
    }

    pub(crate) fn answer_with(&mut self, on: Link, message: impl Into<Message>, data: Vec<Payload>) {
        self.frames.push((on, message.into().frame_with(data)));
    }

    /// To a member, on the link that this node opened to it.
    pub(crate) fn tell(&mut self, node: NodeId, message: impl Into<Message>) {
        self.answer(Link::to(Peer::Node(node)), message);
    }

    pub(crate) fn append(&mut self, shard: ShardId, ticket: u64, record: Record) {
        self.log.push(Request::Append { shard, ticket, record });
    }

    pub(crate) fn refuse(&mut self, on: Link, shard: ShardId, io: u64, why: wire::Refusal) {
        self.answer(on, wire::Refused { shard, io, why });
    }

    /// To a host that asked the wrong one, or at the wrong time.
    pub(crate) fn redirect(&mut self, on: Link, io: u64, config: &Configuration) {
        self.refuse(on, config.shard, io, wire::Refusal::WrongEpoch { config: config.clone() });
    }
}
