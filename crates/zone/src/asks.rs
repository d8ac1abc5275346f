//! Questions that wait for their answer: each has a ticket, and its message is kept, so that it can be dealt with again from
//! the start when the truth had to be read again. Every question is one that may be asked twice.

use crate::{Effect, Zone};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::io::net::Peer;
use base::time::Duration;
use base::{Epoch, PointId, RequestId, ShardId, Time, VolumeId};
use wire::{CreateVolume, ErrorCode, Failed, Message, ProposalOutcome};

/// How many may wait at once.
pub(crate) const ASKS_MAX: usize = 8192;

/// What became of one proposal so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Not judged yet.
    Open,
    /// A lone accusation: it waits for a second until then.
    Alone(Time),
    /// The configuration that is in force at the answer tells whether it was granted.
    Decided,
    /// This, whatever comes.
    Said(Box<ProposalOutcome>),
}

/// How far a question has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing has been done.
    Fresh,
    /// What it asked for becomes durable.
    Writing,
    /// Its proposals are being judged.
    Judging(Vec<Judged>),
    /// The host is opening the volume.
    Opening { volume: VolumeId, until: Time },
    /// The host is to take the volume to be so large.
    Growing { volume: VolumeId, size: u64, since: Time, until: Time },
    /// The volume is being frozen.
    Freezing { volume: VolumeId, point: PointId },
    /// The primaries are to say that they know of these epochs.
    Fencing { volume: VolumeId, epochs: Vec<(ShardId, Epoch)>, until: Time },
}

/// One question.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// Who asked.
    pub peer: Peer,
    /// The asker's own number for it, of one who asks for many at once, and until when it is worth beginning.
    pub tag: Option<(u64, Time)>,
    /// What.
    pub message: Message,
    /// How far it has come.
    pub stage: Stage,
}

impl Zone {
    /// Takes a question and deals with it as far as it goes now.
    pub(crate) fn ask(&mut self, peer: Peer, tag: Option<(u64, Time)>, message: Message) {
        if self.asks.len() >= ASKS_MAX {
            let text = format!("{ASKS_MAX} requests wait at the zone's authority already; try again later");
            self.send(peer, answer_to(tag, Failed { code: ErrorCode::Unavailable, text }.into()));
            return;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.asks.insert(ticket, Ask { peer, tag, message, stage: Stage::Fresh });
        if self.again.is_empty() {
            self.handle(ticket);
        } else {
            // What was asked before the truth was read again comes first, or a volume would be given away after it was taken back.
            self.again.push(ticket);
        }
    }

    /// Takes a command of the region. Whether it is one.
    pub(crate) fn command(&mut self, peer: Peer, command: wire::Command) -> bool {
        let wire::Command { ticket, within_ms, kind, fields } = command;
        let until = self.now + Duration::from_millis(u64::from(within_ms));
        match Message::from_parts(kind, fields) {
            Ok(message) if is_question(&message) => self.ask(peer, Some((ticket, until)), message),
            _ => return false,
        }
        true
    }

    /// Deals with a question from its start.
    pub(crate) fn handle(&mut self, ticket: u64) {
        if self.refuse_if_behind(ticket) {
            return;
        }
        let Some(ask) = self.asks.get(&ticket) else { return };
        let peer = ask.peer;
        if ask.stage == Stage::Fresh && ask.tag.is_some_and(|(_, until)| until < self.now) {
            let text = "it could not be begun in the time that was given for it; nothing was done".into();
            return self.fail(ticket, ErrorCode::Unavailable, text);
        }
        match ask.message.clone() {
            Message::Propose(m) => self.propose(ticket, &m),
            Message::CreateVolume(m) => self.create_volume(ticket, &m, None),
            Message::MakeVolume(m) => {
                // Whoever draws the ids needs no other name for the request.
                let request = RequestId(u128::from(m.volume.0));
                let create = CreateVolume { request, size: m.size, copies: m.copies, throttle: m.throttle };
                self.create_volume(ticket, &create, Some(m.volume));
            }
            Message::DeleteVolume(m) => self.delete_volume(ticket, m.volume),
            Message::AttachVolume(m) => self.attach_volume(ticket, m.volume, m.host, m.read_only),
            Message::DetachVolume(m) => self.detach_volume(ticket, m.volume),
            Message::ReleaseVolume(m) => self.release_volume(ticket, &m),
            Message::ThrottleVolume(m) => self.throttle_volume(ticket, &m),
            Message::ResizeVolume(m) => self.resize_volume(ticket, m.volume, m.size),
            Message::FreezeVolume(m) => self.freeze_volume(ticket, m.volume, m.request),
            Message::ThawVolume(m) => self.thaw_volume(ticket, m.volume, m.point),
            Message::DescribeVolumes(m) => self.describe_volumes(ticket, m.volume),
            Message::DescribeNodes(m) => self.describe_nodes(ticket, m.node),
            Message::AlterNode(m) => self.alter_node(ticket, m.node, m.order),
            Message::DescribeZone(_) => self.describe_zone(ticket),
            Message::Survey(_) => self.survey(ticket),
            other => unreachable!("{peer}: a {} is no question", other.name()),
        }
    }

    /// Answers a question; nothing when nobody waits for the answer any more.
    pub(crate) fn answer(&mut self, ticket: u64, message: impl Into<Message>) {
        if let Some(ask) = self.asks.remove(&ticket) {
            self.send(ask.peer, answer_to(ask.tag, message.into()));
        }
    }

    /// Answers a question with a refusal.
    pub(crate) fn fail(&mut self, ticket: u64, code: ErrorCode, text: String) {
        self.answer(ticket, Failed { code, text });
    }

    /// A question waits for what was decided to become durable.
    pub(crate) fn answer_after(&mut self, ticket: u64, effect: Effect) {
        if let Some(ask) = self.asks.get_mut(&ticket) {
            ask.stage = Stage::Writing;
            self.after(effect);
        }
    }

    /// How long a question waits for a host.
    pub(crate) fn patience(&self, ticket: u64) -> Duration {
        let of_region = self.asks.get(&ticket).is_some_and(|ask| ask.tag.is_some());
        if of_region { self.policy.command_timeout } else { self.policy.attach_timeout }
    }

    /// What waits for a time, looks at it.
    pub(crate) fn check_asks(&mut self) {
        let tickets: Vec<u64> = self.asks.iter().filter(|(_, ask)| ask.waits().is_some()).map(|(t, _)| *t).collect();
        for ticket in tickets {
            let Some(ask) = self.asks.get(&ticket) else { continue };
            match &ask.stage {
                Stage::Judging(_) => self.judge_again(ticket),
                Stage::Opening { volume, until } => self.check_open(ticket, *volume, *until),
                Stage::Growing { .. } => self.check_grown(ticket),
                Stage::Fencing { .. } => self.check_fence(ticket),
                Stage::Fresh | Stage::Writing | Stage::Freezing { .. } => {}
            }
        }
    }

    /// When the first waiting question has waited long enough.
    pub(crate) fn asks_deadline(&self) -> Option<Time> {
        self.asks.values().filter_map(Ask::waits).min()
    }
}

/// Whether somebody who is neither node nor host may ask this.
pub(crate) fn is_question(message: &Message) -> bool {
    use Message::{
        AlterNode, AttachVolume, CreateVolume, DeleteVolume, DescribeNodes, DescribeVolumes, DescribeZone,
        DetachVolume, FreezeVolume, MakeVolume, ReleaseVolume, ResizeVolume, Survey, ThawVolume, ThrottleVolume,
    };
    matches!(
        message,
        CreateVolume(_)
            | MakeVolume(_)
            | DescribeVolumes(_)
            | DeleteVolume(_)
            | AttachVolume(_)
            | DetachVolume(_)
            | ReleaseVolume(_)
            | ThrottleVolume(_)
            | ResizeVolume(_)
            | FreezeVolume(_)
            | ThawVolume(_)
            | DescribeNodes(_)
            | DescribeZone(_)
            | Survey(_)
            | AlterNode(_)
    )
}

/// As whoever asked it can tell which question it answers.
pub(crate) fn answer_to(tag: Option<(u64, Time)>, message: Message) -> Message {
    match tag {
        Some((ticket, _)) => {
            let (kind, fields) = message.parts();
            wire::Outcome { ticket, kind, fields }.into()
        }
        None => message,
    }
}

impl Ask {
    /// Until when it waits for somebody else.
    fn waits(&self) -> Option<Time> {
        match &self.stage {
            // What freezes keeps its own time.
            Stage::Fresh | Stage::Writing | Stage::Freezing { .. } => None,
            Stage::Opening { until, .. } | Stage::Growing { until, .. } | Stage::Fencing { until, .. } => Some(*until),
            Stage::Judging(states) => {
                states.iter().filter_map(|s| if let Judged::Alone(at) = s { Some(*at) } else { None }).min()
            }
        }
    }
}
