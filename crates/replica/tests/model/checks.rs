//! What must hold at every moment, by the numbers of ARCHITECTURE.md. All of it is about what is on disks, so it holds over any crash.
//!
//! I1 is held by the authority of this world, which gives each epoch once, and asserted by the replicas; I2 is looked at where messages are sent, I8 where
//! hosts are answered.

use super::disk::Value;
use super::local::{Facts, place};
use super::world::{State, Worlds};
use base::{Epoch, Member};

impl Worlds {
    pub fn check(&self, before: &State, s: &State) -> Result<(), String> {
        if s.nodes != before.nodes {
            self.check_serving(before, s)?;
            self.check_alike(s)?;
        }
        if (s.nodes, s.authority, s.counts.told) != (before.nodes, before.authority, before.counts.told) {
            self.check_kept(s)?;
        }
        Ok(())
    }

    /// I3: an acknowledgement of epoch `e` is sent by `n`; whoever is still in that epoch has the write on its disk.
    pub fn check_acknowledged(&self, s: &State, n: usize, e: Epoch, write: Value) -> Result<(), String> {
        let replica = self.local_at(s, n).replica.as_ref().expect("it has just answered");
        for m in &replica.config().members {
            let facts = self.facts(s, place(m.node));
            if facts.promised == e && !facts.suspect && !facts.has(write, self.setup.blocks) {
                return Err(format!(
                    "write {write} is acknowledged in epoch {e}, and {} does not have it (I3)",
                    m.node
                ));
            }
        }
        Ok(())
    }

    /// I6: who begins to serve has members that all hold the same. And each epoch is served by one.
    fn check_serving(&self, before: &State, s: &State) -> Result<(), String> {
        for n in 0..self.setup.nodes {
            let (was, is) = (self.facts(before, n).serving, self.facts(s, n).serving);
            let Some(epoch) = is.filter(|_| is != was) else { continue };
            let mine = self.facts(s, n);
            let replica = self.local_at(s, n).replica.as_ref().expect("it serves");
            for m in &replica.config().members {
                let facts: &Facts = self.facts(s, place(m.node));
                let same = facts.adopted == epoch && facts.inherited == mine.inherited;
                if place(m.node) != n && facts.promised == epoch && !facts.suspect && !same {
                    return Err(format!("epoch {epoch} is served, and {} holds something else (I6)", m.node));
                }
            }
            if (0..self.setup.nodes).any(|o| o != n && self.facts(s, o).serving == Some(epoch)) {
                return Err(format!("epoch {epoch} is served twice"));
            }
        }
        Ok(())
    }

    /// I6 too: whoever has adopted the same epoch has the same entries, as far as it has them.
    fn check_alike(&self, s: &State) -> Result<(), String> {
        let settled = |n: usize| {
            let facts = self.facts(s, n);
            (facts.complete && !facts.suspect && facts.adopted == facts.promised).then_some(facts)
        };
        for n in 0..self.setup.nodes {
            for other in 0..n {
                let (Some(a), Some(b)) = (settled(n), settled(other)) else { continue };
                let differ = a.stamps.iter().zip(b.stamps).any(|(a, b)| *a != b && *a != 0 && b != 0);
                if a.adopted == b.adopted && differ {
                    return Err(format!(
                        "nodes {} and {} have other entries in {:?} (I6)",
                        other + 1,
                        n + 1,
                        a.adopted
                    ));
                }
            }
        }
        Ok(())
    }

    /// I3 and I7: each member of the newest configuration, and while it has too few each of those that could carry the shard on, has every write
    /// that was acknowledged.
    fn check_kept(&self, s: &State) -> Result<(), String> {
        let told = s.counts.told;
        let config = &self.authority_at(s).config;
        let carriers: &[Member] = if config.has_min_copies() { &[] } else { &config.anchors };
        for m in config.members.iter().chain(carriers) {
            let facts = self.facts(s, place(m.node));
            if facts.suspect {
                continue;
            }
            if !facts.complete {
                return Err(format!("{} is a member of epoch {} and has only a part (I7)", m.node, config.epoch));
            }
            if !facts.has(told, self.setup.blocks) {
                return Err(format!("write {told} was acknowledged, and {} does not have it (I7)", m.node));
            }
        }
        Ok(())
    }
}
