//! All that may come next in a world, each as one choice, and what it does.

use super::authority::{Authority, FIRST_HOST};
use super::host::Host;
use super::links::{Way, Wire};
use super::local::{Carried, Input, Local, member};
use super::setup::NODES_MAX;
use super::world::{Counts, HOSTS, LINKS, State, Worlds, link_between};
use base::HostId;
use base::mutant::Mutation;
use std::rc::Rc;

/// One of them. Nodes are counted from 0 here and from 1 where they are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The first message of this way between these two arrives; the opener of the link comes first.
    Arrive(u8, u8, Way),
    /// So many appends of a node become durable.
    Durable(u8, u8),
    /// A process is killed, and so much of what its disk had not confirmed is there all the same.
    Kill(u8, u8),
    /// It is started again, and finds its log damaged or not.
    Restart(u8, bool),
    /// The link that the first opened to the second breaks, on one lane.
    Break(u8, u8),
    BreakBulk(u8, u8),
    /// The second's address refuses the first.
    Refuse(u8, u8),
    /// The link is open again.
    LinkUp(u8, u8),
    /// A timer of a node has run out.
    Tick(u8),
    /// More time passes than a lease or a fence lasts.
    TimePasses,
    /// The second answers a keepalive of the first.
    Heard(u8, u8),
    /// A node is told the newest configuration.
    Configure(u8),
    /// The authority gives a new configuration: who leads, and the members as bits.
    Reconfigure(u8, u8),
    /// It grants what this node asked for.
    Grant(u8),
    /// It answers it.
    Answer(u8),
    /// It names a learner, or gives it up.
    Teach(u8),
    GiveUp,
    /// It lets a holder go, and the release arrives.
    LetGo(u8),
    Release(u8),
    /// Another host takes the volume.
    Attach,
    /// A host is told the newest configuration.
    Hear(u8),
    /// It begins a write or a read, or sends it again.
    Write(u8),
    WriteAgain(u8),
    Read(u8),
    ReadAgain(u8),
    /// What a host sent to a node arrives.
    Land(u8, u8),
}

impl Worlds {
    /// A world in which all members of epoch 1 have it and node 1 serves; and what the setup says has happened in it.
    pub fn begin(&mut self) -> State {
        // A mutant goes wrong only when all that is over.
        let mutation = std::mem::replace(&mut self.setup.mutation, Mutation::NONE);
        let setup = self.setup.clone();
        let one_host = setup.second_writes + setup.second_reads + setup.reads == 0;
        assert!(setup.blocks == 1 || one_host, "what is read is judged by the newest write of all");
        let mut s = State { counts: Counts::default(), ..State::default() };
        for n in 0..NODES_MAX {
            let alive = n < setup.nodes;
            s.nodes[n] = self.local(Local { alive, ..Local::new(n, setup.nodes) });
        }
        s.authority = self.authority(Authority::new(&setup));
        s.links = [self.wire(Wire::open()); LINKS];
        let (writes, reads) = (setup.writes, setup.reads);
        let first = Host { id: FIRST_HOST.0, epoch: 1, generation: 1, next: 1, writes, reads, ..Host::default() };
        let (writes, reads) = (setup.second_writes, setup.second_reads);
        let second = Host { id: FIRST_HOST.0 + 1, next: 1 + setup.writes, writes, reads, ..Host::default() };
        s.hosts = [self.host(first), self.host(second)];
        self.until_calm(&mut s);
        self.change_authority(&mut s, |a| a.config.newborn = false);
        for choice in setup.before {
            self.until_calm(&mut s);
            let mut all = vec![];
            self.choices(&s, &mut all);
            assert!(all.contains(choice), "{choice:?} cannot happen: {all:?}");
            self.choose(&mut s, *choice).expect("nothing breaks where nothing is wrong");
        }
        self.setup.mutation = mutation;
        for n in 0..setup.nodes {
            let mut local = self.local_at(&s, n).clone();
            local.replica = local.replica.map(|r| r.mutated(mutation));
            s.nodes[n] = self.local(local);
        }
        assert_eq!(self.facts(&s, 0).serving, Some(self.authority_at(&s).config.epoch));
        s
    }

    /// Everything arrives and is durable, until there is nothing more.
    fn until_calm(&mut self, s: &mut State) {
        loop {
            let mut all = vec![];
            self.choices(s, &mut all);
            let calm = |c: &&Choice| matches!(c, Choice::Arrive(..) | Choice::Durable(..) | Choice::Configure(_));
            let Some(choice) = all.iter().find(calm) else { break };
            self.make(s, *choice).expect("nothing breaks before anything has happened");
        }
    }

    /// All that may come next.
    pub fn choices(&self, s: &State, all: &mut Vec<Choice>) {
        all.clear();
        let nodes = self.setup.nodes;
        for n in 0..nodes {
            self.choices_of_node(s, n, all);
            for other in (0..nodes).filter(|o| *o != n) {
                self.choices_of_link(s, n, other, all);
            }
        }
        self.choices_of_authority(s, all);
        for h in 0..HOSTS {
            self.choices_of_host(s, h, all);
        }
        if s.counts.times < self.setup.times {
            all.push(Choice::TimePasses);
        }
    }

    fn choices_of_node(&self, s: &State, n: usize, all: &mut Vec<Choice>) {
        let (facts, node) = (self.facts(s, n), n as u8);
        let authority = self.authority_at(s);
        if !facts.alive {
            all.push(Choice::Restart(node, false));
            if s.counts.damages < self.setup.damages {
                all.push(Choice::Restart(node, true));
            }
            return;
        }
        all.extend((1..=facts.unwritten).map(|appends| Choice::Durable(node, appends)));
        let newest = (authority.config.epoch.0, authority.config.revision.0);
        if authority.concerns(n) && facts.knows < newest {
            all.push(Choice::Configure(node));
        }
        if self.local_at(s, n).is_due(s.counts.times) {
            all.push(Choice::Tick(node));
        }
        if s.counts.crashes < self.setup.crashes {
            all.extend((0..=facts.tail).map(|kept| Choice::Kill(node, kept)));
        }
    }

    fn choices_of_link(&self, s: &State, n: usize, other: usize, all: &mut Vec<Choice>) {
        let link = link_between(n, other);
        let wire = self.wire_at(s, link);
        let (a, b) = (n as u8, other as u8);
        let (here, there) = (self.facts(s, n).alive, self.facts(s, other).alive);
        for way in Way::ARRIVING {
            let hears = if way.is_back() { here } else { there };
            if hears && wire.first(way).is_some() {
                all.push(Choice::Arrive(a, b, way));
            }
        }
        if !here {
            return;
        }
        let may_break = s.counts.breaks < self.setup.breaks;
        if wire.up && may_break {
            all.push(Choice::Break(a, b));
        }
        if may_break && wire.has(&[Way::Copies, Way::Copied]) {
            all.push(Choice::BreakBulk(a, b));
        }
        if !wire.up && !wire.refused {
            all.push(Choice::Refuse(a, b));
        }
        if !wire.up && there {
            all.push(Choice::LinkUp(a, b));
        }
        if s.counts.times > 0 && wire.up && there && !wire.has(&[Way::Answers]) {
            all.push(Choice::Heard(a, b));
        }
    }

    fn choices_of_authority(&self, s: &State, all: &mut Vec<Choice>) {
        let (authority, setup) = (self.authority_at(s), &self.setup);
        for primary in 0..setup.nodes {
            let members = (1..1_u8 << setup.nodes).filter(|m| authority.may_follow(primary, *m, setup));
            all.extend(members.map(|m| Choice::Reconfigure(primary as u8, m)));
        }
        for n in 0..setup.nodes {
            let (facts, node) = (self.facts(s, n), n as u8);
            if let Some(wish) = self.local_at(s, n).asked.as_ref().filter(|_| facts.alive) {
                all.push(Choice::Answer(node));
                if (**authority).clone().grant(wish, setup) {
                    all.push(Choice::Grant(node));
                }
            }
            if authority.may_learn(n, setup) {
                all.push(Choice::Teach(node));
            }
            let leads = self.facts(s, authority.primary()).serving == Some(authority.config.epoch);
            let held = authority.config.holders.contains(&member(n));
            if held && leads && authority.config.has_min_copies() && authority.released < setup.releases {
                all.push(Choice::LetGo(node));
            }
        }
        for (at, (n, _)) in authority.releases.iter().enumerate() {
            if self.facts(s, *n).alive {
                all.push(Choice::Release(at as u8));
            }
        }
        if authority.config.learner.is_some() && authority.learners < setup.learners {
            all.push(Choice::GiveUp);
        }
        if authority.attaches < setup.attaches {
            all.push(Choice::Attach);
        }
    }

    fn choices_of_host(&self, s: &State, h: usize, all: &mut Vec<Choice>) {
        let (host, config) = (self.host_at(s, h), &self.authority_at(s).config);
        let id = h as u8;
        if config.client == Some(host.id()) && config.epoch.0 > host.epoch {
            all.push(Choice::Hear(id));
        }
        if host.epoch == 0 {
            return;
        }
        match host.write {
            None if host.writes > 0 => all.push(Choice::Write(id)),
            Some(io) if io.epoch < host.epoch => all.push(Choice::WriteAgain(id)),
            _ => {}
        }
        match host.read {
            None if host.reads > 0 => all.push(Choice::Read(id)),
            Some(io) if io.epoch < host.epoch => all.push(Choice::ReadAgain(id)),
            _ => {}
        }
        for n in 0..self.setup.nodes {
            if host.flights.iter().any(|(to, _)| *to == n) {
                all.push(Choice::Land(id, n as u8));
            }
        }
    }

    /// Does it, and looks whether everything holds.
    pub fn choose(&mut self, s: &mut State, choice: Choice) -> Result<(), String> {
        let before = *s;
        self.make(s, choice)?;
        self.check(&before, s)
    }

    fn make(&mut self, s: &mut State, choice: Choice) -> Result<(), String> {
        match choice {
            Choice::Arrive(a, b, way) => self.arrive(s, usize::from(a), usize::from(b), way),
            Choice::Durable(n, appends) => self.take_turn(s, usize::from(n), Input::Durable(appends)),
            Choice::Kill(n, kept) => self.kill(s, usize::from(n), kept),
            Choice::Restart(n, suspect) => {
                s.counts.damages += u8::from(suspect);
                self.take_turn(s, usize::from(n), Input::Restart(suspect))
            }
            Choice::Break(a, b) => self.break_link(s, usize::from(a), usize::from(b)),
            Choice::BreakBulk(a, b) => {
                s.counts.breaks += 1;
                self.change_wire(s, link_between(a.into(), b.into()), |w| w.lose(&[Way::Copies, Way::Copied]));
                self.take_turn(s, a.into(), Input::BulkDown(b))
            }
            Choice::Refuse(a, b) => {
                self.change_wire(s, link_between(a.into(), b.into()), |w| {
                    w.refused = true;
                    w.lose(&[Way::Waiting]);
                });
                self.take_turn(s, a.into(), Input::Refused(b))
            }
            Choice::LinkUp(a, b) => {
                self.change_wire(s, link_between(a.into(), b.into()), |w| {
                    (w.up, w.refused) = (true, false);
                    w.lose(&[Way::Asks]);
                    w.turn(Way::Waiting, Way::Asks);
                });
                self.take_turn(s, a.into(), Input::LinkUp(b))
            }
            Choice::Tick(n) => self.take_turn(s, n.into(), Input::Tick),
            Choice::TimePasses => {
                s.counts.times += 1;
                Ok(())
            }
            Choice::Heard(a, b) => self.take_turn(s, a.into(), Input::Heard(b)),
            choice => self.make_of_others(s, choice),
        }
    }

    /// What the authority and the hosts do.
    fn make_of_others(&mut self, s: &mut State, choice: Choice) -> Result<(), String> {
        let newest = Rc::clone(self.authority_at(s)).config.clone();
        match choice {
            Choice::Configure(n) => {
                let config = self.config(&newest);
                self.take_turn(s, n.into(), Input::Configure(config))?;
            }
            Choice::Reconfigure(primary, members) => {
                let led = newest.anchors.contains(&member(primary.into()));
                if !led {
                    return Err(format!(
                        "node {} leads, and was no member of the last that had enough (I4)",
                        primary + 1
                    ));
                }
                self.change_authority(s, |a| a.reconfigure(primary.into(), members));
            }
            Choice::Grant(n) => {
                let (wish, setup) = (self.local_at(s, n.into()).asked.clone(), self.setup.clone());
                self.change_authority(s, |a| a.grant(&wish.expect("it asked"), &setup));
            }
            Choice::Answer(n) => {
                let late = self.local_at(s, n.into()).asked.as_ref().is_some_and(|p| p.epoch < newest.epoch);
                let config = self.config(&newest);
                self.take_turn(s, n.into(), if late { Input::Outcome(config) } else { Input::NotGranted })?;
            }
            Choice::Teach(n) => self.change_authority(s, |a| a.teach(n.into())),
            Choice::GiveUp => self.change_authority(s, |a| a.give_up()),
            Choice::LetGo(n) => self.change_authority(s, |a| a.release(n.into())),
            Choice::Release(at) => {
                let (n, epoch) = self.change_authority(s, |a| a.releases.remove(at.into()));
                self.take_turn(s, n, Input::Release(epoch))?;
            }
            Choice::Attach => self.change_authority(s, Authority::attach),
            Choice::Hear(h) => _ = self.change_host(s, h.into(), |host| host.learn(&newest)),
            choice => self.make_of_hosts(s, choice)?,
        }
        Ok(())
    }

    fn make_of_hosts(&mut self, s: &mut State, choice: Choice) -> Result<(), String> {
        let (floor, blocks) = (s.counts.seen, self.setup.blocks);
        let (h, (message, data)) = match choice {
            Choice::Land(h, n) => {
                let message = self.change_host(s, h.into(), |host| {
                    let at = host.flights.iter().position(|(to, _)| *to == usize::from(n)).expect("it is under way");
                    host.flights.remove(at).1
                });
                return self.land(s, h.into(), n.into(), message);
            }
            Choice::Write(h) => (h, self.change_host(s, h.into(), |host| some_data(host.begin_write(blocks)))),
            Choice::WriteAgain(h) => (h, self.change_host(s, h.into(), |host| some_data(host.send_write(blocks)))),
            Choice::Read(h) => (h, self.change_host(s, h.into(), |host| (host.begin_read(floor), None))),
            Choice::ReadAgain(h) => (h, self.change_host(s, h.into(), |host| (host.send_read(), None))),
            _ => unreachable!("{choice:?} is nothing that hosts do"),
        };
        let message = self.message(Carried { message, data });
        let to = self.host_at(s, h.into()).primary;
        if self.setup.slow_hosts {
            self.change_host(s, h.into(), |host| host.flights.push((to, message)));
            return Ok(());
        }
        self.land(s, h.into(), to, message)
    }

    fn land(&mut self, s: &mut State, h: usize, n: usize, message: u32) -> Result<(), String> {
        let host: HostId = self.host_at(s, h).id();
        if self.facts(s, n).alive { self.take_turn(s, n, Input::Client(host, message)) } else { Ok(()) }
    }

    fn arrive(&mut self, s: &mut State, opener: usize, other: usize, way: Way) -> Result<(), String> {
        let mut message = None;
        self.change_wire(s, link_between(opener, other), |wire| message = wire.pop(way));
        let message = message.expect("something of this way is under way");
        let (from, to) = if way.is_back() { (other, opener) } else { (opener, other) };
        self.take_turn(s, to, Input::Message(from as u8, way, message))
    }

    /// What was asked may yet arrive, until the link has its next life; what is answered from now on is lost.
    fn break_link(&mut self, s: &mut State, opener: usize, other: usize) -> Result<(), String> {
        s.counts.breaks += 1;
        let late = self.setup.late;
        self.change_wire(s, link_between(opener, other), |wire| {
            wire.up = false;
            wire.lose(&[Way::Answers]);
            if late {
                wire.lose(&[Way::Late]);
                wire.turn(Way::Asks, Way::Late);
            }
        });
        self.take_turn(s, opener, Input::LinkDown(other as u8))
    }

    /// Everything to and from it is lost. What of it might still have arrived could as well have arrived before.
    fn kill(&mut self, s: &mut State, n: usize, kept: u8) -> Result<(), String> {
        s.counts.crashes += 1;
        self.take_turn(s, n, Input::Killed(kept))?;
        let others = (0..self.setup.nodes).filter(|o| *o != n);
        for other in others {
            for link in [link_between(n, other), link_between(other, n)] {
                self.change_wire(s, link, |wire| *wire = Wire::default());
            }
            if self.facts(s, other).alive {
                self.take_turn(s, other, Input::LinkDown(n as u8))?;
                self.take_turn(s, other, Input::BulkDown(n as u8))?;
            }
        }
        Ok(())
    }

    /// A choice, for people.
    pub fn say(&self, s: &State, choice: Choice) -> String {
        let n = |n: u8| u32::from(n) + 1;
        match choice {
            Choice::Arrive(a, b, way) => {
                let message = self.wire_at(s, link_between(a.into(), b.into())).first(way);
                let carried = self.carried(message.expect("something of this way is under way"));
                let (from, to) = if way.is_back() { (b, a) } else { (a, b) };
                let name = carried.message.name();
                let about = if let wire::Message::Replicate(m) = &carried.message { m.stamp.sequence.0 } else { 0 };
                let number = if about > 0 { format!(" {about}") } else { String::new() };
                format!("{name}{number} of {} arrives at {}", n(from), n(to))
            }
            Choice::Durable(node, appends) => format!("{appends} appends of {} are durable", n(node)),
            Choice::Kill(node, kept) => format!("{} is killed, {kept} more appends are kept", n(node)),
            Choice::Restart(node, false) => format!("{} is started again", n(node)),
            Choice::Restart(node, true) => format!("{} is started again and finds its log damaged", n(node)),
            Choice::Break(a, b) => format!("the link of {} to {} breaks", n(a), n(b)),
            Choice::BreakBulk(a, b) => format!("the bulk link of {} to {} breaks", n(a), n(b)),
            Choice::Refuse(a, b) => format!("{} is refused by {}", n(a), n(b)),
            Choice::LinkUp(a, b) => format!("the link of {} to {} is up", n(a), n(b)),
            Choice::Tick(node) => format!("a timer of {} runs out", n(node)),
            Choice::TimePasses => "time passes".into(),
            Choice::Heard(a, b) => format!("a keepalive of {} is answered by {}", n(a), n(b)),
            Choice::Configure(node) => format!("{} is told of epoch {}", n(node), self.authority_at(s).config.epoch),
            Choice::Reconfigure(primary, members) => {
                let members: Vec<u32> = (0..8).filter(|m| members & 1 << m != 0).map(n).collect();
                format!("epoch {}: {} leads {members:?}", self.authority_at(s).config.epoch.next(), n(primary))
            }
            Choice::Grant(node) => format!("the wish of {} is granted", n(node)),
            Choice::Answer(node) => format!("the wish of {} is answered", n(node)),
            Choice::Teach(node) => format!("{} is to learn", n(node)),
            Choice::GiveUp => "the learner is given up".into(),
            Choice::LetGo(node) => format!("{} is released", n(node)),
            Choice::Release(at) => {
                format!("the release reaches {}", self.authority_at(s).releases[usize::from(at)].0 + 1)
            }
            Choice::Attach => "another host attaches".into(),
            Choice::Hear(h) => format!("host {} is told of epoch {}", n(h), self.authority_at(s).config.epoch),
            Choice::Write(h) => format!("host {} writes {}", n(h), self.host_at(s, h.into()).next),
            Choice::WriteAgain(h) => format!("host {} writes again", n(h)),
            Choice::Read(h) => format!("host {} reads", n(h)),
            Choice::ReadAgain(h) => format!("host {} reads again", n(h)),
            Choice::Land(h, node) => format!("what host {} sent arrives at {}", n(h), n(node)),
        }
    }
}

fn some_data((message, value): (wire::Message, u8)) -> (wire::Message, Option<u8>) {
    (message, Some(value))
}
