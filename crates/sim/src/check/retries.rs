//! I11: retries in flight never exceed their tokens. Of each run of a node: ten tokens to begin with, a tenth for each wish that came to something and for each registration
//! that was answered, one for each five seconds; never more than ten. A batch of wishes one of which was answered on this link before costs one, and so does a
//! registration when the one before was not answered. A batch that the authority did not look at (Unheard) and that is said again is no retry.
//!
//! It hears what is sent, and not what arrives: what a node may know is never less than it knows, so it may miss a retry too many, and never sees one that was none.

use crate::clock::Moment;
use base::{Epoch, NodeId, ShardId};
use std::collections::{BTreeMap, BTreeSet};
use wire::{Cause, Message, ProposalOutcome};

const TENTHS_MAX: u64 = 100;
/// A node's clock may run faster than the world's: four of its seconds for five.
const NANOS_PER_TOKEN: u64 = 4_000_000_000;

type Wish = (ShardId, Epoch, Option<NodeId>, u8, Option<u64>);

fn cause(cause: Cause) -> (u8, Option<NodeId>) {
    match cause {
        Cause::PrimaryLost => (1, None),
        Cause::MemberLost { node } => (2, Some(node)),
        Cause::Restarted => (3, None),
        Cause::Learned => (4, None),
        Cause::MemberIncomplete { node } => (5, Some(node)),
    }
}

#[derive(Debug)]
struct Account {
    run: u32,
    tenths: u64,
    filled_at: Moment,
    /// Wished for on this link.
    wished: BTreeSet<Wish>,
    /// The last batch, and what was wished for with it the first time.
    batch: (u64, Vec<Wish>),
    /// A batch that was not looked at.
    unheard: Option<u64>,
    /// All parts of a registration left, and nothing came back yet.
    unanswered: bool,
    /// A part of it left, and not the last.
    registering: bool,
}

/// The accounts of all nodes.
#[derive(Debug, Default)]
pub struct Retries {
    accounts: BTreeMap<NodeId, Account>,
    /// Retries that there were.
    pub retries: u64,
}

impl Retries {
    /// A node says something to the authority.
    pub fn asked(&mut self, at: Moment, node: NodeId, run: u32, message: &Message) -> Result<(), String> {
        if !matches!(message, Message::Register(_) | Message::Propose(_)) {
            return Ok(());
        }
        let fresh = || Account {
            run,
            tenths: TENTHS_MAX,
            filled_at: at,
            wished: BTreeSet::new(),
            batch: (0, Vec::new()),
            unheard: None,
            unanswered: false,
            registering: false,
        };
        let account = self.accounts.entry(node).or_insert_with(fresh);
        if account.run != run {
            *account = fresh();
        }
        let retry = match message {
            Message::Register(m) => {
                let (first, again) = (!account.registering, account.unanswered);
                (account.registering, account.unanswered) = (!m.last, true);
                if first {
                    account.wished.clear();
                }
                first && again
            }
            Message::Propose(m) => {
                account.batch = (m.batch, Vec::new());
                let said_again = account.unheard.take() == Some(m.batch);
                let mut again = false;
                for p in &m.proposals {
                    let (number, of) = cause(p.cause);
                    let wish = (p.shard, p.epoch, of, number, p.admit);
                    if account.wished.insert(wish) {
                        account.batch.1.push(wish);
                    } else {
                        again = true;
                    }
                }
                again && !said_again
            }
            _ => false,
        };
        if !retry {
            return Ok(());
        }
        self.retries += 1;
        let tokens = at.0.saturating_sub(account.filled_at.0) / NANOS_PER_TOKEN;
        account.filled_at = Moment(account.filled_at.0 + tokens * NANOS_PER_TOKEN);
        account.tenths = TENTHS_MAX.min(account.tenths + tokens * 10);
        match account.tenths.checked_sub(10) {
            Some(left) => account.tenths = left,
            None => return Err(format!("I11: {node} tried again without a token: {message:?}")),
        }
        Ok(())
    }

    /// The authority says something to a node.
    pub fn answered(&mut self, node: NodeId, message: &Message) {
        let Some(account) = self.accounts.get_mut(&node) else { return };
        let mut good = u64::from(std::mem::take(&mut account.unanswered));
        if let Message::Unheard(m) = message
            && m.batch == account.batch.0
        {
            // As if it had not been wished for: if it is said again, be it later, it is the first time that it counts.
            account.batch.1.drain(..).for_each(|wish| _ = account.wished.remove(&wish));
            account.unheard = Some(m.batch);
        }
        if let Message::Proposed(m) = message {
            let good_one = |o: &&ProposalOutcome| {
                matches!(o, ProposalOutcome::Granted { .. } | ProposalOutcome::Superseded { .. })
            };
            good += m.outcomes.iter().filter(good_one).count() as u64;
        }
        account.tenths = TENTHS_MAX.min(account.tenths + good);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Proposal, Propose};

    fn propose(epoch: u64, cause: Cause) -> Message {
        let shard = ShardId::default();
        let p = Proposal { shard, epoch: Epoch(epoch), primary: NodeId(1), members: vec![], admit: None, cause };
        Propose { batch: 1, echo: None, proposals: vec![p] }.into()
    }

    #[test]
    fn what_was_not_looked_at_may_be_said_again_for_nothing_as_often_as_it_is_not() {
        let mut r = Retries::default();
        let lost = propose(1, Cause::PrimaryLost);
        let echo = wire::Echo { start: base::MetaUuid(1), at: 1 };
        let unheard = |r: &mut Retries, batch| r.answered(NodeId(1), &wire::Unheard { batch, echo }.into());
        for round in 0..2 {
            // First what is new, then a retry.
            assert_eq!(r.asked(Moment(1), NodeId(1), 1, &lost), Ok(()));
            for _ in 0..30 {
                unheard(&mut r, 1);
                assert_eq!(r.asked(Moment(1), NodeId(1), 1, &lost), Ok(()));
            }
            assert_eq!(r.retries, round);
        }
        unheard(&mut r, 2);
        for _ in 0..9 {
            assert_eq!(r.asked(Moment(1), NodeId(1), 1, &lost), Ok(()));
        }
        assert!(
            r.asked(Moment(1), NodeId(1), 1, &lost).unwrap_err().contains("I11"),
            "said once, and of another batch"
        );
    }

    #[test]
    fn the_eleventh_retry_at_once_is_one_too_many_and_new_wishes_are_none() {
        let mut r = Retries::default();
        let mut ask = |at, m: &Message| r.asked(Moment(at), NodeId(1), 1, m);
        for n in 0..=10 {
            assert_eq!(ask(1, &propose(1, Cause::PrimaryLost)), Ok(()), "{n}");
            assert_eq!(ask(1, &propose(n + 2, Cause::Restarted)), Ok(()));
        }
        assert!(ask(1, &propose(1, Cause::PrimaryLost)).unwrap_err().contains("I11"));
        assert_eq!(ask(1 + NANOS_PER_TOKEN, &propose(1, Cause::PrimaryLost)), Ok(()));
        // Another run has tokens of its own.
        assert_eq!(r.asked(Moment(1), NodeId(1), 2, &propose(1, Cause::PrimaryLost)), Ok(()));
    }

    #[test]
    fn registrations_that_are_answered_cost_nothing_and_others_do() {
        let entry = wire::NodeEntry {
            node: NodeId(1),
            primary: wire::Address(([10, 0, 0, 1], 1).into()),
            replication: wire::Address(([10, 0, 0, 1], 2).into()),
        };
        let (store, incarnation) = (base::StoreUuid(1), base::Incarnation(1));
        let node = wire::NodeInfo { entry, store, incarnation, rack: "r".into(), space: wire::Space::default() };
        let register = |last| {
            Message::from(wire::Register { node: node.clone(), seen: wire::Seen::default(), held: vec![], last })
        };
        let mut r = Retries::default();
        for _ in 0..30 {
            for last in [false, true] {
                assert_eq!(r.asked(Moment(1), NodeId(1), 1, &register(last)), Ok(()));
            }
            r.answered(NodeId(1), &wire::Directory { nodes: vec![] }.into());
        }
        for _ in 0..=10 {
            assert_eq!(r.asked(Moment(1), NodeId(1), 1, &register(true)), Ok(()));
        }
        assert!(r.asked(Moment(1), NodeId(1), 1, &register(true)).unwrap_err().contains("I11"));
    }
}
