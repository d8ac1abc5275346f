//! The zone's authority for one shard, as free as its rules leave it: whatever configuration may follow, it may give at any time, asked or not (I1, I4, rule 11).
//!
//! It refuses to know why: who is believed, who failed and when is a matter of time, and time is erased here. So it does all that `zone` might do, and more.
//! What `zone` does of that is held to the same rules by the walk in its own tests.

use super::local::{SHARD, member, place};
use super::setup::Setup;
use base::{Configuration, Epoch, Generation, HostId, Learner, Member, NodeId, Revision};
use wire::{Cause, Proposal};

/// The host that has the volume first.
pub const FIRST_HOST: HostId = HostId(7);

/// What the authority has recorded.
#[derive(Debug, Clone)]
pub struct Authority {
    pub config: Configuration,
    /// Learners named so far.
    pub learners: u8,
    /// Releases that are on their way: of which node, and the epoch they name.
    pub releases: Vec<(usize, u64)>,
    /// Releases decided so far.
    pub released: u8,
    /// Attachments by force so far.
    pub attaches: u8,
    /// Primaries of this generation.
    served_by: Vec<NodeId>,
}

impl Authority {
    pub fn new(setup: &Setup) -> Self {
        let members: Vec<Member> = (0..setup.members).map(member).collect();
        let config = Configuration {
            shard: SHARD,
            epoch: Epoch(1),
            revision: Revision(1),
            blocks: setup.blocks,
            layout: base::Layout::default(),
            primary: members[0].node,
            anchors: members.clone(),
            members,
            learner: None,
            holders: vec![],
            target_copies: setup.target,
            min_copies: setup.min,
            generation: Generation(1),
            client: Some(FIRST_HOST),
            fence: vec![],
            newborn: true,
            deleted: false,
        };
        let served_by = vec![config.primary];
        Self { config, learners: 0, releases: vec![], released: 0, attaches: 0, served_by }
    }

    fn change(&mut self) -> &mut Configuration {
        self.config.revision = Revision(self.config.revision.0 + 1);
        &mut self.config
    }

    /// Whom it may make members without asking: members, and anchors of a shard that has too few.
    fn known(&self, m: Member) -> bool {
        self.config.is_member(m) || (!self.config.has_min_copies() && self.config.anchors.contains(&m))
    }

    /// Whether `members`, as bits, led by `primary` may come next.
    pub fn may_follow(&self, primary: usize, members: u8, setup: &Setup) -> bool {
        let of = |n: &usize| members & 1 << n != 0;
        let count = members.count_ones() as usize;
        let most = usize::from(self.config.target_copies).max(self.config.members.len());
        let lawful = (0..setup.nodes).filter(of).all(|n| self.known(member(n)))
            && self.config.anchors.contains(&member(primary));
        let kept = |m: &Member| self.config.holders.contains(m) || self.config.learner.is_some_and(|l| l.member == *m);
        let lawless = setup.lawless
            && kept(&member(primary))
            && (0..setup.nodes).filter(of).all(|n| self.known(member(n)) || kept(&member(n)));
        self.config.epoch.0 < setup.epochs && count <= most && of(&primary) && (lawful || lawless)
    }

    /// The next epoch.
    pub fn reconfigure(&mut self, primary: usize, members: u8) {
        let members = (0..8).filter(|n| members & 1 << n != 0).map(member).collect();
        self.next(member(primary).node, members);
    }

    fn next(&mut self, primary: NodeId, members: Vec<Member>) {
        let c = self.change();
        c.epoch = c.epoch.next();
        c.primary = primary;
        let left: Vec<Member> = c.members.iter().copied().filter(|m| !members.contains(m)).collect();
        c.holders.extend(left);
        c.holders.retain(|h| !members.contains(h));
        c.holders.sort_unstable();
        if c.learner.is_some_and(|l| members.contains(&l.member)) {
            c.learner = None;
        }
        c.members = members;
        if c.has_min_copies() {
            c.anchors = c.members.clone();
        }
        if !self.served_by.contains(&primary) {
            self.served_by.push(primary);
        }
    }

    /// Grants a wish that only who wishes can know the reason of, if the rules allow it.
    pub fn grant(&mut self, wish: &Proposal, setup: &Setup) -> bool {
        let c = &self.config;
        let learner = c.learner.filter(|l| wish.admit == Some(l.plan)).map(|l| l.member);
        let incomplete = if let Cause::MemberIncomplete { node } = wish.cause { Some(node) } else { None };
        let most = usize::from(c.target_copies).max(c.members.len());
        let fits = wish.epoch == c.epoch
            && c.epoch.0 < setup.epochs
            && wish.admit.is_none() == learner.is_none()
            && wish.members.iter().all(|m| self.known(*m) || learner == Some(*m))
            && wish.members.iter().any(|m| m.node == wish.primary && c.anchors.contains(m))
            && wish.members.iter().all(|m| Some(m.node) != incomplete)
            && wish.members.len() <= most;
        if fits {
            self.next(wish.primary, wish.members.clone());
            if !self.config.has_min_copies() {
                self.config.anchors.retain(|m| Some(m.node) != incomplete);
            }
        }
        fits
    }

    /// Whether this node may be filled: never one that could carry the shard on as it is.
    pub fn may_learn(&self, n: usize, setup: &Setup) -> bool {
        let c = &self.config;
        let carries = !c.has_min_copies() && c.anchors.contains(&member(n));
        self.learners < setup.learners && c.learner.is_none() && !c.is_member(member(n)) && !carries
    }

    pub fn teach(&mut self, n: usize) {
        self.learners += 1;
        let c = self.change();
        c.holders.retain(|h| *h != member(n));
        c.learner = Some(Learner { member: member(n), plan: c.revision.0 });
    }

    /// Gives the learner up.
    pub fn give_up(&mut self) {
        let c = self.change();
        let learner = c.learner.take();
        c.holders.extend(learner.map(|l| l.member));
        c.holders.sort_unstable();
    }

    /// A holder may go.
    pub fn release(&mut self, n: usize) {
        self.released += 1;
        let c = self.change();
        c.holders.retain(|h| *h != member(n));
        let epoch = c.epoch.0;
        self.releases.push((n, epoch));
    }

    /// Another host takes the volume.
    pub fn attach(&mut self) {
        self.attaches += 1;
        let attaches = u64::from(self.attaches);
        let served_by = std::mem::take(&mut self.served_by);
        let c = self.change();
        c.epoch = c.epoch.next();
        c.generation = Generation(1 + attaches);
        c.client = Some(HostId(FIRST_HOST.0 + attaches));
        for node in served_by {
            if !c.fence.contains(&node) {
                c.fence.push(node);
            }
        }
        let primary = c.primary;
        self.served_by.push(primary);
    }

    /// Everybody who is told of configurations.
    pub fn concerns(&self, n: usize) -> bool {
        let c = &self.config;
        let m = member(n);
        c.is_member(m) || c.anchors.contains(&m) || c.holders.contains(&m) || c.learner.is_some_and(|l| l.member == m)
    }

    pub fn primary(&self) -> usize {
        place(self.config.primary)
    }
}
