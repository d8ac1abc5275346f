//! Hears all that machines say to each other and lets the checkers judge it as it is said. The first offence is kept; the run ends there.

use crate::check::commits::Commits;
use crate::check::epochs::Epochs;
use crate::check::promises::Promises;
use crate::check::releases::Releases;
use crate::check::retries::Retries;
use crate::check::serving::Serving;
use crate::check::tokens::Copies;
use crate::clock::Moment;
use crate::world::Observer;
use base::io::net::{Frame, Link, Peer};
use base::{Configuration, Generation, NodeId, ShardId, VolumeId};
use std::collections::BTreeMap;
use wire::{Message, ProposalOutcome, Refusal};

/// The checkers that listen.
#[derive(Default)]
pub struct Listener {
    /// I1, I4.
    pub epochs: Epochs,
    serving: Serving,
    /// I2.
    pub promises: Promises,
    /// I7, R13.
    pub releases: Releases,
    /// R33: what nodes send to learners.
    pub copies: Copies,
    commits: Commits,
    /// I11.
    pub retries: Retries,
    /// The first thing that was wrong.
    pub offence: Option<String>,
    /// I/O that nodes told hosts was done.
    pub served: u64,
    /// Blocks that members gave each other in place of rotten ones.
    pub mended: u64,
    /// Attempts to fill a learner, by who fills whom; whether only with what changed.
    attempts: BTreeMap<(ShardId, Peer), (u64, u64, bool)>,
    /// Learners that were made whole, with what had changed or with everything.
    pub taught: [u64; 2],
    /// How often each run of a node said it was isolated.
    isolated: BTreeMap<(Peer, u32), u64>,
    /// The newest generation of each volume of which its host was told that it is over.
    pub dismissed: BTreeMap<VolumeId, Generation>,
    /// A kind of message, and at how many more of them a fault is aimed.
    pub aim: (u16, u32),
    /// A node whose disk lies: it may forget what it said.
    pub liar: Option<NodeId>,
    /// Whether new epochs are told, and those that were not yet.
    pub tells: bool,
    /// See `tells`.
    pub news: Vec<String>,
    /// Who sent such a message to whom; for the run to strike.
    pub struck: Vec<(Peer, Peer)>,
}

impl Listener {
    fn judge(&mut self, from: Peer, run: u32, message: &Message) -> Result<(), String> {
        for config in configurations(message) {
            self.releases.heard(config);
            if self.epochs.heard(config)? && self.tells {
                self.news.push(epoch_in_words(config));
            }
        }
        if let Message::Detached(m) = message {
            let newest = self.dismissed.entry(m.volume).or_default();
            *newest = m.generation.max(*newest);
        }
        self.count_learning(from, message);
        if let Message::Report(m) = message {
            self.isolated.insert((from, run), m.touch.times);
        }
        if let (Peer::Zone, Message::Release(m)) = (from, message) {
            self.releases.released(m, &self.epochs)?;
        }
        let Peer::Node(node) = from else { return Ok(()) };
        if let Message::Done(m) = message {
            self.served += 1;
            self.serving.done(node, run, m.shard, m.epoch, &self.epochs)?;
        }
        if let Message::Released(m) = message {
            self.releases.has_gone(m)?;
        }
        let kept = self.promises.sent(node, message).and(self.commits.sent(node, message, &self.epochs));
        if self.liar == Some(node) { Ok(()) } else { kept }
    }
}

impl Listener {
    /// Times that nodes took themselves to be isolated.
    pub fn isolated(&self) -> u64 {
        self.isolated.values().sum()
    }

    fn judge_retries(&mut self, at: Moment, from: Peer, run: u32, to: Link, message: &Message) -> Result<(), String> {
        match (from, to.peer) {
            (Peer::Node(node), Peer::Zone) => self.retries.asked(at, node, run, message),
            (Peer::Zone, Peer::Node(node)) => {
                self.retries.answered(node, message);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A part of a copy. Of what attempt it is its learner has said before.
    fn judge_copies(
        &mut self,
        at: Moment,
        from: (Peer, u32),
        to: Link,
        frame: &Frame,
        message: &Message,
    ) -> Result<(), String> {
        let (Message::Extent(m), (Peer::Node(node), run)) = (message, from) else { return Ok(()) };
        let attempt = self.attempts.get(&(m.shard, to.peer)).filter(|attempt| attempt.0 == m.plan);
        attempt.map_or(Ok(()), |(.., by_delta)| self.copies.sent(at, node, run, *by_delta, frame))
    }

    fn count_learning(&mut self, from: Peer, message: &Message) {
        match message {
            Message::Learning(m) => {
                self.attempts.insert((m.shard, from), (m.plan, m.attempt, m.since.is_some()));
            }
            Message::Learned(m) => {
                let begun = self.attempts.remove(&(m.shard, from));
                if let Some((.., by_delta)) = begun.filter(|begun| (begun.0, begun.1) == (m.plan, m.attempt)) {
                    self.taught[usize::from(!by_delta)] += 1;
                }
            }
            _ => {}
        }
    }
}

fn epoch_in_words(c: &Configuration) -> String {
    let row = |members: &[base::Member]| members.iter().map(|m| m.node.to_string()).collect::<Vec<_>>().join(", ");
    let learner = c.learner.map_or(String::new(), |l| format!(", {} learns", l.member.node));
    let client = c.client.map_or("nobody".to_owned(), |host| host.to_string());
    let short = if c.has_min_copies() { "" } else { ", too few to go on" };
    let (shard, epoch, primary, generation) = (c.shard, c.epoch.0, c.primary, c.generation.0);
    format!(
        "{shard} epoch {epoch}: {primary} leads [{}]{learner}{short}; generation {generation} of {client}",
        row(&c.members)
    )
}

/// Every configuration that a message tells of.
fn configurations(message: &Message) -> Vec<&Configuration> {
    match message {
        Message::Configure(m) => m.configs.iter().collect(),
        Message::Attached(m) => m.configs.iter().collect(),
        Message::Located(m) => m.config.iter().collect(),
        Message::Deposed(m) => vec![&m.config],
        Message::Sync(m) => vec![&m.config],
        Message::Learn(m) => vec![&m.config],
        Message::VolumeReply(m) => m.volumes.iter().flat_map(|v| &v.shards).map(|shard| &shard.config).collect(),
        Message::Refused(m) => match &m.why {
            Refusal::WrongEpoch { config } | Refusal::NotPrimary { config } => vec![config],
            _ => vec![],
        },
        Message::Proposed(m) => m
            .outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                ProposalOutcome::Granted { config } | ProposalOutcome::Superseded { config } => Some(config),
                _ => None,
            })
            .collect(),
        _ => vec![],
    }
}

impl Observer for Listener {
    fn sent(&mut self, at: Moment, from: Peer, run: u32, to: Link, frame: &Frame) {
        if self.offence.is_some() {
            return;
        }
        if self.aim.1 > 0 && self.aim.0 == frame.kind {
            self.aim.1 -= 1;
            self.struck.push((from, to.peer));
        }
        let verdict = match Message::decode(frame) {
            Ok(Message::Mended(_)) => {
                self.mended += u64::from(!frame.data.is_empty());
                Ok(())
            }
            Ok(message) => self
                .judge_retries(at, from, run, to, &message)
                .and_then(|()| self.judge_copies(at, (from, run), to, frame, &message))
                .and_then(|()| self.judge(from, run, &message)),
            Err(malformed) => Err(format!("{from} sent a frame of kind {:#x} that is {malformed}", frame.kind)),
        };
        self.offence = verdict.err().map(|text| format!("{at:?} {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::epochs::tests::config;
    use base::{Epoch, HostId, NodeId, ShardId};

    #[test]
    fn configurations_are_judged_in_whatever_message_they_come() {
        let mut listener = Listener::default();
        let to = Link::from(Peer::Host(HostId(1)));
        let mut say = |from, message: Message| {
            listener.sent(Moment(0), Peer::Node(NodeId(from)), 1, to, &message.frame());
            listener.offence.clone()
        };
        let shard = ShardId::default();
        let located = wire::Located { shard, config: Some(config(1, 1, &[1, 2])) };
        assert_eq!(say(1, located.into()), None);
        assert_eq!(say(1, wire::Done { shard, epoch: Epoch(1), io: 1 }.into()), None);
        let why = Refusal::NotPrimary { config: config(1, 2, &[1, 2]) };
        assert!(say(2, wire::Refused { shard, io: 2, why }.into()).unwrap().contains("I1"));
    }

    #[test]
    fn a_frame_that_nobody_could_read_is_an_offence_of_its_sender() {
        let mut listener = Listener::default();
        let frame = Frame { kind: 0x13, head: bytes::Bytes::from_static(b"short"), data: vec![] };
        listener.sent(Moment(0), Peer::Zone, 1, Link::to(Peer::Zone), &frame);
        assert!(listener.offence.unwrap().contains("kind 0x13"));
    }
}
