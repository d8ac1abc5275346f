//! The messages, one by one. docs/protocol.md has the same list as one table; a test holds the two together.
//!
//! "Answer" means: sent back on the link that the question came on. A message with *data* carries blocks beside its fields.

use alloc::string::String;
use alloc::vec::Vec;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::net::Frame;
use base::log::{Mark, PointChange, Stamp, Standing};
use base::{
    Configuration, Epoch, Generation, HostId, Incarnation, Member, MetaUuid, NodeId, Payload, PointId, Revision,
    Sequence, ShardId, VolumeId,
};
use base::{RequestId, choice, record};
use bytes::Bytes;

pub use crate::control::*;
pub use crate::points::*;
pub use crate::survey::*;

macro_rules! messages {
    ($($(#[$doc:meta])* $kind:literal $name:ident { $($(#[$fdoc:meta])* $field:ident : $type:ty,)* })*) => {
        $(record! { $(#[$doc])* #[allow(missing_docs)] pub struct $name { $($(#[$fdoc])* pub $field: $type,)* } })*

        /// Any message.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Message { $($name($name),)* }

        /// Every kind with its name, in order.
        pub const KINDS: &[(u16, &str)] = &[$(($kind, stringify!($name)),)*];

        $(impl From<$name> for Message { fn from(m: $name) -> Self { Self::$name(m) } })*

        impl Message {
            /// Its number on the wire.
            pub fn kind(&self) -> u16 { match self { $(Self::$name(_) => $kind,)* } }

            /// Its name, for traces.
            pub fn name(&self) -> &'static str { match self { $(Self::$name(_) => stringify!($name),)* } }

            /// With these blocks, ready to be sent.
            pub fn frame_with(&self, data: Vec<Payload>) -> Frame {
                let mut w = Writer::with_capacity(96);
                match self { $(Self::$name(m) => m.put(&mut w),)* }
                Frame { kind: self.kind(), head: Bytes::from(w.finish()), data }
            }

            /// Reads the fields of a frame. The blocks stay in the frame.
            pub fn decode(frame: &Frame) -> Result<Self, Malformed> {
                let mut r = Reader::new(&frame.head);
                let message = match frame.kind {
                    $($kind => Self::$name($name::take(&mut r)?),)*
                    _ => return Err(Malformed { what: "message: of a kind that this build does not know" }),
                };
                r.end("message: bytes are left over")?;
                Ok(message)
            }
        }
    };
}

impl Message {
    /// Without blocks, ready to be sent.
    pub fn frame(&self) -> Frame {
        self.frame_with(Vec::new())
    }

    /// Kind and fields, to be carried in another message.
    pub fn parts(&self) -> (u16, Vec<u8>) {
        let frame = self.frame();
        (frame.kind, frame.head.to_vec())
    }

    /// A message that was carried in another.
    pub fn from_parts(kind: u16, fields: Vec<u8>) -> Result<Self, Malformed> {
        Self::decode(&Frame { kind, head: Bytes::from(fields), data: Vec::new() })
    }
}

messages! {
    // ---- Host and node: the data path. ------------------------------------------------------------------------

    /// Host to primary, with data: write whole blocks. Answered by Done when every member has it durable, or by Refused.
    0x10 Write { shard: ShardId, epoch: Epoch, generation: Generation, /** The host's number for it; an answer echoes it. */ io: u64, block: u32, }
    /// Host to primary: read committed blocks. Answered by Done with data, or by Refused.
    0x11 Read { shard: ShardId, epoch: Epoch, generation: Generation, io: u64, block: u32, count: u32, }
    /// Host to primary: these blocks read as zeroes from now on. Answered as a write.
    0x12 Trim { shard: ShardId, epoch: Epoch, generation: Generation, io: u64, block: u32, count: u32, }
    /// Primary to host: it is done, in this epoch. With data after a read. There is no Flush: what is Done is durable on every member.
    0x13 Done { shard: ShardId, epoch: Epoch, io: u64, }
    /// Node to host: it was not done and will not be.
    0x14 Refused { shard: ShardId, io: u64, why: Refusal, }
    /// Host to any node or to the authority: what is the configuration? With a complaint when I/O waits on `epoch`. Answered by Located.
    0x15 Locate { shard: ShardId, /** The epoch the host knows. */ epoch: Epoch, /** For how long I/O has waited for it, or 0: a complaint the authority may act on. */ waiting_ms: u32, }
    /// The newest configuration the asked one knows; none when it knows nothing of the shard.
    0x16 Located { shard: ShardId, config: Option<Configuration>, }
    /// Host to primary: which of these blocks are written? Answered by Done, whose data are a bit for each block, the lowest bit of the first byte first, set where
    /// something is written and committed; or by Refused.
    0x17 Map { shard: ShardId, epoch: Epoch, generation: Generation, io: u64, block: u32, /** At most [`base::MAP_BLOCKS_MAX`]. */ count: u32, }

    // ---- Members of a shard. --------------------------------------------------------------------------------------

    /// Primary to member or learner, with data unless it is a trim or freezes or thaws a point (then no blocks are named): append this. Sent in order of sequence within an epoch.
    /// Answered, cumulatively, by Replicated or by Deposed. During a Sync it carries the window and `stamp.epoch` is older than `epoch`.
    0x20 Replicate { shard: ShardId, epoch: Epoch, stamp: Stamp, committed: Sequence, block: u32, count: u32, trim: bool, point: Option<PointChange>, }
    /// Member or learner to primary: durable up to here.
    0x21 Replicated { shard: ShardId, epoch: Epoch, through: Sequence, /** Bytes its store can still append. */ room: u64, }
    /// Primary to members, when no write has carried it along: this much is committed.
    0x22 Committed { shard: ShardId, epoch: Epoch, through: Sequence, }
    /// Whoever promised more, to a primary of an older epoch: you are not it any more. Sent at the promise too, so that it
    /// stands before every later keepalive answer.
    0x23 Deposed { shard: ShardId, epoch: Epoch, config: Configuration, }
    /// New primary to member: promise this epoch and state your end. Answered by End or Incomplete.
    0x24 Sync { shard: ShardId, config: Configuration, }
    /// Member to new primary: promised; this is what I have.
    0x25 End { shard: ShardId, epoch: Epoch, adopted: Epoch, end: Sequence, committed: Sequence, /** In this epoch or an earlier one. */ committed_in: Epoch, room: u64, }
    /// Member to new primary: promised, but what I have is not whole.
    0x26 Incomplete { shard: ShardId, epoch: Epoch, }
    /// New primary to the member with the greatest end: send me your window above this. Answered by Windowed, each like a Replicate, then WindowEnd.
    0x27 Fetch { shard: ShardId, epoch: Epoch, above: Sequence, }
    /// One entry of the window.
    0x28 Windowed { shard: ShardId, epoch: Epoch, stamp: Stamp, block: u32, count: u32, trim: bool, point: Option<PointChange>, }
    /// That was all of it.
    0x29 WindowEnd { shard: ShardId, epoch: Epoch, end: Sequence, }
    /// New primary to member: the window of this epoch goes from above `committed` to `end`; its entries follow as Replicate. What you have beyond
    /// `end` is dropped when all have come. Answered by Synced.
    0x2a Adopt { shard: ShardId, epoch: Epoch, committed: Sequence, /** In this epoch or an earlier one. */ committed_in: Epoch, end: Sequence, }
    /// Member to new primary: the window is mine now, durably.
    0x2b Synced { shard: ShardId, epoch: Epoch, end: Sequence, room: u64, }
    /// Primary to learner: begin. The stream (Replicate) starts above `committed`; everything at or below it comes as Extent, on the bulk lane, but for what the
    /// learner has.
    0x2c Learn { shard: ShardId, config: Configuration, plan: u64, attempt: u64, /** The epoch whose history this is. */ adopted: Epoch, committed: Sequence, /** Since when the primary knows which blocks changed. */ marks: Vec<Mark>, }
    /// Learner to primary: ready for the stream and for extents: of all that changed since this mark, or of everything.
    0x2d Learning { shard: ShardId, epoch: Epoch, plan: u64, attempt: u64, since: Option<Sequence>, room: u64, }
    /// Primary to learner on the bulk lane, with data: the index has this. Answered by Copied when durable.
    0x2e Extent { shard: ShardId, epoch: Epoch, plan: u64, attempt: u64, /** Numbered from 1. */ part: u64, /** In order; the blocks of those that are not erased are the data. */ stretches: Vec<Stretch>, }
    /// Learner to primary: extents up to this part are durable.
    0x2f Copied { shard: ShardId, epoch: Epoch, plan: u64, attempt: u64, part: u64, }
    /// Primary to learner, when all extents are durable: mark yourself whole under this plan. Answered by Learned.
    0x30 Finish { shard: ShardId, epoch: Epoch, plan: u64, attempt: u64, }
    /// Learner to primary: marked, durably.
    0x31 Learned { shard: ShardId, epoch: Epoch, plan: u64, attempt: u64, }
    /// Member to member: what I have of this block is rotten; have you the bytes with this checksum? Answered by Mended.
    0x32 Mend { shard: ShardId, /** The asker's number for it; an answer echoes it. */ number: u64, block: u32, crc: u32, }
    /// With data: these are they. Without: not here.
    0x33 Mended { shard: ShardId, number: u64, }

    // ---- Node and authority. --------------------------------------------------------------------------------------

    /// Node to authority, first on each link: who I am and what I hold. Answered by Directory and Configure.
    0x40 Register { node: NodeInfo, /** How far the metadata were of which the node was told most. */ seen: Seen, held: Vec<Held>, /** Whether this is the last part of a long list. */ last: bool, }
    /// Node to authority, each second: space, what went over its networks, how its disk does, and the shards whose state changed. All of them after a Register.
    0x41 Report { space: Space, suspects: Vec<NodeId>, /** Whether the node lost touch with many at once. */ touch: Touch, shards: Vec<ShardReport>, rot: RotReport, taught: Taught, traffic: TrafficReport, disk: DiskReport, }
    /// Node to authority: new configurations wished for. One outstanding per node. Answered by Proposed, or by Unheard.
    0x42 Propose { batch: u64, /** As the authority said it last on this link. */ echo: Option<Echo>, proposals: Vec<Proposal>, }
    /// Authority to node: what became of each, after it is durable.
    0x43 Proposed { batch: u64, outcomes: Vec<ProposalOutcome>, }
    /// Authority to node or host: configurations that concern it, new or changed.
    0x44 Configure { /** Which life of the metadata this authority speaks for. */ cluster: base::ClusterId, revision: Revision, configs: Vec<Configuration>, }
    /// Authority to node or host: every node and where it listens.
    0x45 Directory { nodes: Vec<NodeEntry>, }
    /// Authority to node, durable before it is sent: your replica of this shard may go. Obeyed only when the store is this one, the replica is
    /// not in its newest configuration, and it promised no later epoch (I7).
    0x46 Release { shard: ShardId, member: Member, epoch: Epoch, }
    /// Node to authority: it is gone, durably.
    0x47 Released { shard: ShardId, member: Member, }
    /// Authority to node, durable before it is sent: these nodes have failed, and no others. Whoever lost touch with them need not think that it is he who is cut off.
    0x4b GivenUp { nodes: Vec<NodeId>, }
    /// Authority to the primary of a shard: one step of freezing its volume, or of dropping a point of it. Answered by PointState.
    0x4c PointOrder { shard: ShardId, epoch: Epoch, point: PointId, step: PointStep, }
    /// Primary to authority: what became of it.
    0x4d PointState { shard: ShardId, epoch: Epoch, point: PointId, step: PointStep, /** Why it was not done; none when it was. */ refused: Option<PointRefusal>, }
    /// Authority to node: of this batch nothing was looked at, for nothing in it shows that you hear me. Say it again, with this. Answered by the same Propose.
    0x4e Unheard { batch: u64, echo: Echo, }

    // ---- Host and authority. ---------------------------------------------------------------------------------------

    /// Host to authority, first on each link. `restarted` when it lost what it knew: it then gets new generations. Answered by Directory and an
    /// Attached for each volume attached to it.
    0x50 HostRegister { host: HostId, incarnation: Incarnation, /** Where its NBD socket is. */ socket: String, }
    /// Authority to host: this volume is yours, under this generation; open it. Said again when it has grown. Answered by AttachState.
    0x51 Attached { volume: VolumeInfo, generation: Generation, /** Whether nothing may be written to it. */ read_only: bool, throttle: Throttle, configs: Vec<Configuration>, }
    /// Authority to host: it is not any more; close it.
    0x52 Detached { volume: VolumeId, generation: Generation, }
    /// Host to authority: opened and ready to be used, or closed with nothing in flight. Said again when an open volume was taken to be larger.
    0x53 AttachState { volume: VolumeId, generation: Generation, open: bool, /** Bytes that can be used; 0 when it is closed. */ size: u64, }
    /// Host to authority, each second while some I/O waits or has just stopped waiting: what is stuck, since when; and, apart from it, what is throttled.
    0x54 HostReport { stuck: Vec<StuckShard>, throttled: Vec<ThrottledVolume>, }
    /// Host to authority, when it has registered and when it changes: the open volumes that somebody uses there, all of them.
    0x55 Used { volumes: Vec<VolumeId>, }

    // ---- Operator and authority. ---------------------------------------------------------------------------------

    /// Make a volume. The same request id twice is one volume. Answered by VolumeReply or Failed.
    0x60 CreateVolume { request: RequestId, size: u64, copies: u8, throttle: Throttle, }
    /// List volumes, or one. Answered by VolumeReply.
    0x61 DescribeVolumes { volume: Option<VolumeId>, }
    /// Delete a detached volume. Answered by VolumeReply (with what it was) or Failed.
    0x62 DeleteVolume { volume: VolumeId, }
    /// Attach; to the only host when none is named. Answered by AttachReply when the host has it open, or Failed.
    0x63 AttachVolume { volume: VolumeId, host: Option<HostId>, /** Whether nothing may be written to it. */ read_only: bool, }
    /// Detach. Answered by VolumeReply when every primary knows of it, or after 3 s, since the next generation is fenced off from the old one anyway; or by Failed.
    0x64 DetachVolume { volume: VolumeId, }
    /// List nodes. Answered by NodeReply.
    0x65 DescribeNodes { node: Option<NodeId>, }
    /// Volumes, in order of id.
    0x66 VolumeReply { volumes: Vec<VolumeState>, }
    /// Nodes, in order of id.
    0x67 NodeReply { nodes: Vec<NodeState>, }
    /// Where the volume can be reached.
    0x68 AttachReply { volume: VolumeId, host: HostId, generation: Generation, socket: String, }
    /// It was refused: nothing changed.
    0x69 Failed { code: ErrorCode, text: String, }

    // ---- Identities and lives. -------------------------------------------------------------------------------------

    /// Authority to node or host that registered: a later run of you has registered already, so you are one too many; end.
    0x70 Overtaken { /** Of the later run. */ incarnation: Incarnation, }
    /// Authority to node, before anything else in answer to a Register: how far my metadata are, and how far they were when I started. A node that was told
    /// more obeys nothing that follows.
    0x71 Hail { now: Seen, after: Revision, }
    /// Whoever rebuilds an authority's metadata, to a node that registered: tell all you know. Answered by Known.
    0x72 Collect {}
    /// Node to whoever rebuilds: each replica with its newest configuration, and the nodes that an authority last named.
    0x73 Known { replicas: Vec<KnownReplica>, nodes: Vec<NodeId>, /** Whether this is the last part of a long list. */ last: bool, }
    /// How is the zone? Answered by ZoneReply.
    0x74 DescribeZone {}
    /// The zone, as it is.
    0x75 ZoneReply { zone: ZoneState, }
    /// Drain a node, let it be, or forget it. Answered by NodeReply when that is durable (of a node that is forgotten with none), or by Failed.
    0x76 AlterNode { node: NodeId, order: NodeOrder, }

    // ---- Sizes. ----------------------------------------------------------------------------------------------------

    /// Operator to authority: the volume is to have so many bytes, more than now; the size that it has changes nothing. Answered by VolumeReply when that is
    /// durable and the host that has the volume has taken it, or by Failed.
    0x77 ResizeVolume { volume: VolumeId, size: u64, }

    // ---- Throttles. ------------------------------------------------------------------------------------------------

    /// Operator to authority: what a volume may do at most. What is not named stays as it is, 0 is no limit. Answered by VolumeReply, or Failed.
    0x78 ThrottleVolume { volume: VolumeId, iops: Option<u64>, bytes_per_s: Option<u64>, }
    /// Authority to host, durable before it is sent: from now on the volume may do so much.
    0x79 Throttled { volume: VolumeId, throttle: Throttle, }

    // ---- Frozen points. --------------------------------------------------------------------------------------------

    /// Operator to authority: freeze the volume, all its shards as of one moment. The same request id twice is one point. Answered by VolumeReply when the point is
    /// durable, or by Failed.
    0x7a FreezeVolume { volume: VolumeId, request: RequestId, }
    /// Operator to authority: drop a point. Answered by VolumeReply when that is recorded, or by Failed.
    0x7b ThawVolume { volume: VolumeId, point: PointId, }

    // ---- Region and authority. -------------------------------------------------------------------------------------

    /// Region to authority: what an operator could ask, or MakeVolume, by kind and fields; to be begun within so long from its arrival, or not at all. Many may be
    /// under way at once. Answered by one Outcome.
    0x7c Command { /** The asker's number for it; the answer echoes it. */ ticket: u64, within_ms: u32, kind: u16, fields: Vec<u8>, }
    /// What a Command came to: the answer that an operator would have got, by kind and fields.
    0x7d Outcome { ticket: u64, kind: u16, fields: Vec<u8>, }
    /// Make the volume of this id, which the asker drew. The same id twice is one volume. Answered by VolumeReply or Failed.
    0x7e MakeVolume { volume: VolumeId, size: u64, copies: u8, throttle: Throttle, }
    /// Which hosts does the zone know, and which of its volumes are not well? Answered by Surveyed.
    0x7f Survey {}
    /// As many of either as are named at most, in order of id, and how many there are.
    0x80 Surveyed { hosts: Vec<HostState>, hosts_in_all: u32, ailing: Vec<AilingVolume>, ailing_in_all: u32, }
    /// Detach from this host, if nobody uses the volume there: refused as in use while somebody does, and as unavailable while the host cannot say; by force whoever
    /// uses it. What another host has stays there. Answered as DetachVolume is.
    0x81 ReleaseVolume { volume: VolumeId, host: HostId, by_force: bool, }
}

record! {
    /// Blocks of a shard that lie side by side, on their way to a learner.
    #[derive(Copy)]
    pub struct Stretch {
        /// The first.
        pub block: u32,
        /// How many.
        pub count: u32,
        /// Whether they are not written.
        pub erase: bool,
    }
}

choice! {
    /// Why a node did not do an I/O.
    pub enum Refusal: "refusal" {
        /// The epoch is not the one in force; this is, as far as the node knows.
        1 = WrongEpoch { /** The newest known. */ config: Configuration },
        /// Somebody else is primary.
        2 = NotPrimary { /** The newest known. */ config: Configuration },
        /// Another generation may write: the volume was attached elsewhere.
        3 = Fenced,
        /// The primary's queue is full; send it again later.
        4 = Busy,
        /// A store of the shard cannot take it.
        5 = Full { /** Bytes it can still append. */ room: u64 },
        /// The node has no replica of this shard.
        6 = Unknown,
        /// The request itself cannot be: beyond the end, or larger than one I/O.
        7 = Invalid,
        /// No good copy of a block is left.
        8 = Unreadable { /** The first such block. */ block: u32 },
    }
}

record! {
    /// A replica, as its node remembers it.
    pub struct Held {
        /// Of which shard.
        pub shard: ShardId,
        /// The epoch promised.
        pub promised: Epoch,
        /// The newest configuration it knows: its epoch.
        pub epoch: Epoch,
        /// And its revision.
        pub revision: Revision,
        /// What it has.
        pub standing: Standing,
        /// The last sequence it has.
        pub end: Sequence,
    }
}

record! {
    /// What an authority told a node, to be said back: whoever says it back heard it. It means nothing to anybody but the authority that made it.
    #[derive(Copy)]
    pub struct Echo {
        /// The name of the authority's start: no other takes it for its own.
        pub start: MetaUuid,
        /// When it was made, by that authority's clock.
        pub at: u64,
    }
}

record! {
    /// A wish for a new configuration. The authority grants it only if the shard is still at `epoch`.
    pub struct Proposal {
        /// Of which shard.
        pub shard: ShardId,
        /// The epoch it would end.
        pub epoch: Epoch,
        /// Who should lead.
        pub primary: NodeId,
        /// Who should be members.
        pub members: Vec<Member>,
        /// The learner's plan, when the wish is to admit it.
        pub admit: Option<u64>,
        /// Why.
        pub cause: Cause,
    }
}

choice! {
    /// Why a new configuration is wished for.
    #[derive(Copy)]
    pub enum Cause: "cause" {
        /// The primary is gone or silent.
        1 = PrimaryLost,
        /// A member is gone or silent.
        2 = MemberLost { /** Which node. */ node: NodeId },
        /// The proposer, primary so far, started again.
        3 = Restarted,
        /// A learner has everything.
        4 = Learned,
        /// A member cannot be synced: it is incomplete, or has less than it confirmed.
        5 = MemberIncomplete { /** Which node. */ node: NodeId },
    }
}

choice! {
    /// What became of a proposal.
    pub enum ProposalOutcome: "proposal outcome" {
        /// Granted: this is in force. It also comes, to all concerned, as Configure.
        1 = Granted { /** The new configuration. */ config: Configuration },
        /// Not granted: this is in force instead.
        2 = Superseded { /** The configuration in force. */ config: Configuration },
        /// Not granted: the accused still reports to the authority and nobody else complains.
        3 = NotBelieved { /** Of which shard. */ shard: ShardId },
        /// Not granted: the members named cannot carry the shard on.
        4 = Unsafe { /** Of which shard. */ shard: ShardId },
        /// The authority does not know the shard.
        5 = UnknownShard { /** Which. */ shard: ShardId },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn kinds_are_distinct_and_in_order() {
        assert!(KINDS.windows(2).all(|w| w[0].0 < w[1].0));
    }

    #[test]
    fn a_message_survives_and_its_truncations_are_refused() {
        let message = Message::from(Write {
            shard: ShardId { volume: VolumeId(1), index: 2 },
            epoch: Epoch(3),
            generation: Generation(4),
            io: 5,
            block: 6,
        });
        let frame = message.frame_with(vec![Payload::zero_block()]);
        assert_eq!(Message::decode(&frame), Ok(message));
        for cut in 0..frame.head.len() {
            let short = Frame { head: frame.head.slice(..cut), ..frame.clone() };
            assert!(Message::decode(&short).is_err(), "cut at {cut}");
        }
        assert!(Message::decode(&Frame { kind: 0xffff, ..frame }).is_err());
    }

    #[test]
    fn the_table_in_the_protocol_page_is_this_one() {
        let page = include_str!("../../../docs/protocol.md");
        for (kind, name) in KINDS {
            let row = alloc::format!("| 0x{kind:02x} | {name} |");
            assert!(page.contains(&row), "docs/protocol.md lacks the row {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| 0x")).count();
        assert_eq!(rows, KINDS.len(), "docs/protocol.md has rows for messages that do not exist");
    }
}
