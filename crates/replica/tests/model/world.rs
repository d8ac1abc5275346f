//! Everything that there is in a world at one moment, small enough to be kept by the million, and what may come next.
//!
//! The parts of a state (nodes, links, the authority, hosts) are kept once each and named by numbers, so a state is a row of numbers. What a turn makes of a
//! node follows from the node and from what comes in, so it is worked out once and remembered: the code of the replica runs once for each pair of the two,
//! not once for each state of the world.
//!
//! *When two nodes are the same.* When `Debug` says the same of them, after [`replica::Replica::recount`]: all that they have is shown, payloads by their checksums.

use super::authority::Authority;
use super::disk::Value;
use super::fold::Fold;
use super::host::Host;
use super::links::{Way, Wire};
use super::local::{Carried, Facts, Input, Local, Sent, What, member, place};
use super::setup::{NODES_MAX, Setup};
use base::Configuration;
use base::codec::Field;
use base::io::net::{Lane, Link, Peer, Side};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::fmt::{Debug, Write};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use wire::Message;

pub const LINKS: usize = NODES_MAX * (NODES_MAX - 1);
pub const HOSTS: usize = 2;

/// One moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct State {
    pub nodes: [u32; NODES_MAX],
    /// By opener and other.
    pub links: [u32; LINKS],
    pub authority: u32,
    pub hosts: [u32; HOSTS],
    pub counts: Counts,
}

/// What happened so far, as far as it is bounded, and what hosts were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counts {
    pub crashes: u8,
    pub breaks: u8,
    pub damages: u8,
    pub times: u8,
    /// The newest write whose acknowledgement was sent.
    pub told: Value,
    /// The newest write of which a host knows that it was acknowledged, or which it has read.
    pub seen: Value,
}

/// The link that one node opened to another.
pub fn link_between(opener: usize, other: usize) -> usize {
    opener * (NODES_MAX - 1) + if other < opener { other } else { other - 1 }
}

/// What one turn of one node came to.
#[derive(Debug, Clone)]
pub struct Turn {
    pub local: u32,
    /// To other nodes: on which link, which way.
    pub sent: Vec<(u8, Way, u32)>,
    /// To hosts.
    pub told: Vec<(u64, u32)>,
    /// An invariant that broke within the replica.
    pub broken: Option<String>,
}

/// Things of one kind, each once, by number.
struct Pool<T> {
    all: Vec<T>,
    numbers: HashMap<u128, u32, BuildHasherDefault<Fold>>,
}

impl<T> Pool<T> {
    fn new() -> Self {
        Self { all: Vec::new(), numbers: HashMap::default() }
    }

    fn number(&mut self, key: u128, thing: impl FnOnce() -> T) -> u32 {
        match self.numbers.entry(key) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => {
                self.all.push(thing());
                *new.insert(self.all.len() as u32 - 1)
            }
        }
    }
}

/// 128 bits of whatever is said of a thing.
struct Print(Fold, Fold);

impl Print {
    fn new() -> Self {
        Self(Fold(0), Fold(1))
    }

    fn of(thing: &impl Debug) -> u128 {
        let mut print = Self::new();
        write!(print, "{thing:?}").expect("nothing fails here");
        print.finish()
    }

    fn of_hash(thing: &impl Hash) -> u128 {
        let mut print = Self::new();
        thing.hash(&mut print.0);
        thing.hash(&mut print.1);
        print.finish()
    }

    fn finish(&self) -> u128 {
        u128::from(self.0.finish()) << 64 | u128::from(self.1.finish())
    }
}

impl Write for Print {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.write(text.as_bytes());
        self.1.write(text.as_bytes());
        Ok(())
    }
}

/// All parts of all states that were seen, and all turns.
pub struct Worlds {
    pub setup: Setup,
    locals: Pool<Rc<Local>>,
    facts: Vec<Facts>,
    wires: Pool<Wire>,
    authorities: Pool<Rc<Authority>>,
    hosts: Pool<Host>,
    messages: Pool<Carried>,
    configs: Pool<Configuration>,
    turns: HashMap<(u32, Input, u8), Rc<Turn>, BuildHasherDefault<Fold>>,
    /// How replicas move: from, by what, to.
    pub moves: BTreeSet<(&'static str, String, &'static str)>,
}

impl Worlds {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            locals: Pool::new(),
            facts: Vec::new(),
            wires: Pool::new(),
            authorities: Pool::new(),
            hosts: Pool::new(),
            messages: Pool::new(),
            configs: Pool::new(),
            turns: HashMap::default(),
            moves: BTreeSet::new(),
        }
    }

    // ---- Parts by number. ----------------------------------------------------------------------------------------

    pub fn local(&mut self, local: Local) -> u32 {
        let key = Print::of(&local);
        let known = self.locals.all.len();
        let number = self.locals.number(key, || Rc::new(local));
        if number as usize == known {
            let local = &self.locals.all[known];
            self.facts.push(Facts::of(local));
        }
        number
    }

    pub fn wire(&mut self, wire: Wire) -> u32 {
        self.wires.number(Print::of_hash(&wire), || wire)
    }

    pub fn authority(&mut self, authority: Authority) -> u32 {
        self.authorities.number(Print::of(&authority), || Rc::new(authority))
    }

    pub fn host(&mut self, host: Host) -> u32 {
        self.hosts.number(Print::of_hash(&host), || host)
    }

    pub fn config(&mut self, config: &Configuration) -> u32 {
        self.configs.number(Print::of_hash(&config.to_bytes()), || config.clone())
    }

    pub fn message(&mut self, carried: Carried) -> u32 {
        let frame = carried.message.frame();
        let key = Print::of_hash(&(frame.kind, &frame.head[..], carried.data));
        self.messages.number(key, || carried)
    }

    pub fn local_at(&self, s: &State, n: usize) -> &Local {
        &self.locals.all[s.nodes[n] as usize]
    }

    pub fn facts(&self, s: &State, n: usize) -> &Facts {
        &self.facts[s.nodes[n] as usize]
    }

    pub fn wire_at(&self, s: &State, link: usize) -> &Wire {
        &self.wires.all[s.links[link] as usize]
    }

    pub fn authority_at(&self, s: &State) -> &Rc<Authority> {
        &self.authorities.all[s.authority as usize]
    }

    pub fn host_at(&self, s: &State, h: usize) -> &Host {
        &self.hosts.all[s.hosts[h] as usize]
    }

    pub fn carried(&self, message: u32) -> &Carried {
        &self.messages.all[message as usize]
    }

    /// How many different nodes and turns there were.
    pub fn size(&self) -> (usize, usize) {
        (self.locals.all.len(), self.turns.len())
    }

    pub fn change_wire(&mut self, s: &mut State, link: usize, change: impl FnOnce(&mut Wire)) {
        let mut wire = self.wire_at(s, link).clone();
        change(&mut wire);
        s.links[link] = self.wire(wire);
    }

    pub fn change_host<R>(&mut self, s: &mut State, h: usize, change: impl FnOnce(&mut Host) -> R) -> R {
        let mut host = self.host_at(s, h).clone();
        let result = change(&mut host);
        s.hosts[h] = self.host(host);
        result
    }

    pub fn change_authority<R>(&mut self, s: &mut State, change: impl FnOnce(&mut Authority) -> R) -> R {
        let mut authority = (**self.authority_at(s)).clone();
        let result = change(&mut authority);
        s.authority = self.authority(authority);
        result
    }

    // ---- Turns. --------------------------------------------------------------------------------------------------

    /// What a turn makes of a node, worked out if it was not yet.
    fn turn(&mut self, local: u32, input: Input, times: u8) -> Rc<Turn> {
        if let Some(turn) = self.turns.get(&(local, input, times)) {
            return Rc::clone(turn);
        }
        let before = Rc::clone(&self.locals.all[local as usize]);
        let mut after = (*before).clone();
        let what = match input {
            Input::Message(.., m) | Input::Client(_, m) => What::Message(&self.messages.all[m as usize]),
            Input::Configure(c) | Input::Outcome(c) => What::Config(&self.configs.all[c as usize]),
            _ => What::Nothing,
        };
        let setup = &self.setup;
        let result = catch_unwind(AssertUnwindSafe(|| after.turn(input, &what, setup, times)));
        let turn = match result {
            Ok(sent) => self.turned(&before, after, input, sent),
            Err(why) => {
                let text =
                    why.downcast_ref::<String>().cloned().or(why.downcast_ref::<&str>().map(ToString::to_string));
                let broken = Some(format!("it stops by itself: {}", text.unwrap_or_default()));
                Turn { local, sent: vec![], told: vec![], broken }
            }
        };
        let turn = Rc::new(turn);
        self.turns.insert((local, input, times), Rc::clone(&turn));
        turn
    }

    fn turned(&mut self, before: &Local, after: Local, input: Input, sent: Sent) -> Turn {
        let (from, to) = (before.called(), after.called());
        if from != to {
            let by = self.name_of(input);
            self.moves.insert((from, by, to));
        }
        let me = after.me;
        let mut broken = None;
        let (mut to_nodes, mut to_hosts) = (vec![], vec![]);
        for (link, carried) in sent {
            broken = broken.or(check_promise(&after, &carried.message));
            match (link.peer, way_of(link)) {
                (Peer::Node(node), (way, opener)) => {
                    let other = place(node);
                    let link = if opener { link_between(me, other) } else { link_between(other, me) };
                    to_nodes.push((link as u8, way, self.message(carried)));
                }
                (Peer::Host(host), _) => to_hosts.push((host.0, self.message(carried))),
                (Peer::Zone | Peer::Authority(_) | Peer::Operator(_) | Peer::Region(_), _) => {
                    unreachable!("a replica speaks to nodes and hosts")
                }
            }
        }
        Turn { local: self.local(after), sent: to_nodes, told: to_hosts, broken }
    }

    pub fn name_of(&self, input: Input) -> String {
        match input {
            Input::Message(.., m) | Input::Client(_, m) => self.carried(m).message.name().to_string(),
            Input::Durable(_) => "durable".into(),
            Input::Configure(_) | Input::Outcome(_) => "Configure".into(),
            Input::NotGranted => "not granted".into(),
            Input::Release(_) => "Release".into(),
            Input::LinkUp(_) => "link up".into(),
            Input::LinkDown(_) | Input::Refused(_) => "link down".into(),
            Input::BulkDown(_) => "bulk link down".into(),
            Input::Heard(_) => "keepalive".into(),
            Input::Tick => "time".into(),
            Input::Killed(_) => "kill".into(),
            Input::Restart(false) => "restart".into(),
            Input::Restart(true) => "restart, damaged".into(),
        }
    }

    /// Gives a node its turn, and what it sends on its way. What broke, if something did.
    pub fn take_turn(&mut self, s: &mut State, n: usize, input: Input) -> Result<(), String> {
        let turn = self.turn(s.nodes[n], input, s.counts.times);
        s.nodes[n] = turn.local;
        if let Some(why) = &turn.broken {
            return Err(why.clone());
        }
        for &(link, way, message) in &turn.sent {
            self.send(s, usize::from(link), way, message);
        }
        for &(host, message) in &turn.told {
            self.answer(s, n, host, message)?;
        }
        Ok(())
    }

    fn send(&mut self, s: &mut State, link: usize, way: Way, message: u32) {
        let opener = link / (NODES_MAX - 1);
        let other = (0..NODES_MAX).filter(|n| *n != opener).nth(link % (NODES_MAX - 1)).expect("a link has two ends");
        let up = self.wire_at(s, link).up;
        let there = self.facts(s, if way.is_back() { opener } else { other }).alive;
        let way = match way {
            Way::Asks if !up => Way::Waiting,
            // An answer on a link that is gone is dropped.
            Way::Answers if !up => return,
            Way::Copies | Way::Copied if !there => return,
            way => way,
        };
        self.change_wire(s, link, |wire| wire.push(way, message));
    }

    fn answer(&mut self, s: &mut State, n: usize, host: u64, message: u32) -> Result<(), String> {
        let said = self.carried(message).clone();
        if let Message::Done(m) = &said.message
            && m.io < super::host::FIRST_READ
        {
            self.check_acknowledged(s, n, m.epoch, m.io as Value)?;
            s.counts.told = s.counts.told.max(m.io as Value);
        }
        let Some(h) = (0..HOSTS).find(|h| self.host_at(s, *h).id == host) else { return Ok(()) };
        let ended = self.change_host(s, h, |host| host.hear(&said.message));
        let Some(ended) = ended else { return Ok(()) };
        let value = said.data.unwrap_or(ended.io as Value);
        if said.data.is_some() && value < ended.floor {
            return Err(format!("a read gives {value} after {} was acknowledged or read (I8)", ended.floor));
        }
        s.counts.seen = s.counts.seen.max(value);
        Ok(())
    }
}

/// Which way a message goes, and whether its sender opened the link.
fn way_of(link: Link) -> (Way, bool) {
    match (link.lane, link.side) {
        (Lane::Data, Side::Opened) => (Way::Asks, true),
        (Lane::Data, Side::Accepted) => (Way::Answers, false),
        (Lane::Bulk, Side::Opened) => (Way::Copies, true),
        (Lane::Bulk, Side::Accepted) => (Way::Copied, false),
    }
}

/// Nothing is asked or answered in an epoch that its sender has not promised durably (I2).
fn check_promise(local: &Local, message: &Message) -> Option<String> {
    let epoch = match message {
        Message::Sync(m) => m.config.epoch,
        Message::End(m) => m.epoch,
        Message::Adopt(m) => m.epoch,
        Message::Synced(m) => m.epoch,
        Message::Replicate(m) => m.epoch,
        Message::Replicated(m) => m.epoch,
        Message::Learned(m) => m.epoch,
        Message::Done(m) => m.epoch,
        _ => return None,
    };
    let promised = local.disk.durable.register.as_ref().map(|r| r.promised).unwrap_or_default();
    let what = || {
        format!("{} in {epoch:?} by {:?}, whose disk has promised {promised:?} (I2)", message.name(), member(local.me))
    };
    (promised < epoch).then(what)
}
