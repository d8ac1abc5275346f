//! All NBD connections of one host. It knows streams by their numbers and never touches a socket: whoever drives it carries what
//! happened to a stream in, and what is to be done to one out.
//!
//! It promises that a volume that is stuck slows only its own clients: a session whose request the host does not take waits
//! with that request and parses no further, and the others go on. Sessions that wait are served in turn.
//!
//! And that all together keep no more than [`Policy::bytes_max`] bytes, a share of [`Policy::share_bytes`] for each, and what a driver brings of a stream after it was asked to pause: requests in the making and
//! in flight (one more than fits where nothing else is under way), and answers that are not sent. Who wants more than there is room for waits for it in a row; small requests pass. What a client does not read is not sent, so whoever drives
//! it says what was ([`Server::on_sent`]).

use super::output::Output;
use super::policy::Policy;
use super::session::{Exports, Session, Status};
use base::mutant::{Mutant, Mutation};
use base::sometimes::Sometimes;
use base::{Payload, VolumeId};
use host::{Busy, Export, Host, Reply, Request};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

/// Where requests go: a [`Host`], or what stands for one in a test. A server is the only one to ask it.
pub trait Volumes: Exports {
    /// Takes a request, or hands it back while its volume has as much in flight as it may.
    fn submit(&mut self, request: Request) -> Result<(), Busy>;
    /// Appends what has been answered since the last call.
    fn take_replies(&mut self, replies: &mut Vec<Reply>);
    /// Changes whenever a volume is opened or closed.
    fn attachments(&self) -> u64;
}

impl Exports for Host {
    fn find(&self, volume: VolumeId) -> Option<Export> {
        self.volume(volume)
    }
    fn list(&self) -> Vec<Export> {
        self.volumes().collect()
    }
    fn is_informed(&self) -> bool {
        Self::is_informed(self)
    }
}

impl Volumes for Host {
    fn submit(&mut self, request: Request) -> Result<(), Busy> {
        Self::submit(self, request)
    }
    fn take_replies(&mut self, replies: &mut Vec<Reply>) {
        replies.extend(self.replies());
    }
    fn attachments(&self) -> u64 {
        Self::attachments(self)
    }
}

/// Connections at once; one more is closed at once.
const SESSIONS_MAX: usize = 1024;

/// Bytes that may come of one stream between two calls of [`Server::pump`], or while the host takes no more.
const ARRIVED_BYTES_MAX: usize = 64 << 20;

/// What is to be done to a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Send these bytes, one part behind the other.
    Send {
        /// On which stream.
        stream: u64,
        /// What.
        parts: Vec<Payload>,
    },
    /// Close it when what was sent before is out. Nothing more is asked of it.
    Close {
        /// Which stream.
        stream: u64,
    },
    /// Receive no more from it for now.
    Pause {
        /// Which stream.
        stream: u64,
    },
    /// Receive again.
    Resume {
        /// Which stream.
        stream: u64,
    },
    /// Bring the next `bytes` as one piece, however they come. It begins with `begun`, which was the end of what was brought last and counts as not brought. Only of a
    /// server that was made for it ([`Server::gathered`]).
    Gather {
        /// Of which stream.
        stream: u64,
        /// The first of them.
        begun: Payload,
        /// How many, with the first.
        bytes: usize,
    },
}

/// One connection.
#[derive(Debug)]
struct Client {
    session: Session,
    /// What came and has not been given to the session.
    arrived: VecDeque<Payload>,
    arrived_bytes: usize,
    /// What it was last seen to keep.
    counted: u64,
    /// Requests that the host has not taken yet, in order.
    waiting: VecDeque<Request>,
    out: Output,
    is_paused: bool,
    /// Whether it stands in the row of those to be worked on.
    is_queued: bool,
}

/// See the page above.
#[derive(Debug, Default)]
pub struct Server {
    policy: Policy,
    /// Whether whoever drives it gathers what is large.
    gathers: bool,
    clients: BTreeMap<u64, Client>,
    /// The host's tags: whose they are, and what the session calls them.
    tags: HashMap<u64, (u64, u64)>,
    next_tag: u64,
    row: VecDeque<u64>,
    /// Who waits for room, the oldest first. While somebody does nobody else is given any.
    short: VecDeque<u64>,
    closing: BTreeSet<u64>,
    /// Closed, with so many bytes on their way out.
    leaving: BTreeMap<u64, u64>,
    /// Bytes that all keep.
    bytes: u64,
    attachments: u64,
}

impl Server {
    /// Without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// One whose driver carries out [`Act::Gather`].
    #[must_use]
    pub fn gathered() -> Self {
        Self { gathers: true, ..Self::default() }
    }

    /// One with other limits than the usual ones.
    #[must_use]
    pub fn with(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Somebody connected.
    pub fn on_opened(&mut self, stream: u64) {
        if self.clients.len() + self.leaving.len() >= SESSIONS_MAX {
            self.closing.insert(stream);
            return;
        }
        let mut out = Output::default();
        let session = Session::new(stream).with(self.policy);
        let mut session = if self.gathers { session.gathered() } else { session };
        session.greeting(&mut out);
        let (arrived, waiting) = (VecDeque::new(), VecDeque::new());
        let (arrived_bytes, counted, is_paused, is_queued) = (0, 0, false, false);
        let client = Client { session, arrived, arrived_bytes, counted, waiting, out, is_paused, is_queued };
        let replaced = self.clients.insert(stream, client);
        assert!(replaced.is_none(), "stream {stream} was opened twice");
        self.enqueue(stream);
    }

    /// Bytes came. Of a stream that was closed they mean nothing any more.
    pub fn on_bytes(&mut self, stream: u64, data: Payload) {
        if let Some(client) = self.clients.get_mut(&stream) {
            client.arrived_bytes += data.len();
            client.arrived.push_back(data);
            // A driver that honours Act::Pause brings one piece more; one that does not costs its client the connection.
            if client.arrived_bytes > ARRIVED_BYTES_MAX {
                self.closing.insert(stream);
            }
            self.count(stream);
            self.enqueue(stream);
        }
    }

    /// So many bytes of what was to be sent are out of memory. May be said late, and of several sends at once.
    pub fn on_sent(&mut self, stream: u64, bytes: u64) {
        if let Some(client) = self.clients.get_mut(&stream) {
            client.session.sent(bytes);
            let waits = client.is_paused || client.session.is_short();
            self.count(stream);
            if waits {
                self.enqueue(stream);
            }
        } else if let Some(left) = self.leaving.get_mut(&stream) {
            let gone = bytes.min(*left);
            (*left, self.bytes) = (*left - gone, self.bytes - gone);
        }
    }

    /// The connection is gone, by itself or after an [`Act::Close`] with all that was to be sent. What it had in flight is done or not; nobody is told.
    pub fn on_closed(&mut self, stream: u64) {
        self.remove(stream);
        let unsent = self.leaving.remove(&stream).unwrap_or(0);
        if !self.policy.mutation.is(Mutant::KeptForEver) {
            self.bytes -= unsent;
        }
    }

    /// Bytes that all connections keep, or have promised to.
    pub fn bytes_kept(&self) -> u64 {
        self.bytes
    }

    /// What a connection has chosen, once it has.
    pub fn export(&self, stream: u64) -> Option<Export> {
        self.clients.get(&stream)?.session.export()
    }

    /// What connections have chosen, with none for each that has not yet.
    pub fn exports(&self) -> impl Iterator<Item = Option<Export>> {
        self.clients.values().map(|client| client.session.export())
    }

    /// How many connections there are.
    pub fn sessions(&self) -> usize {
        self.clients.len()
    }

    /// Carries everything between the streams and the host. Call it before each step of the host, so that it gets what came, and
    /// after it, so that what it answered goes out. All that a call sends on one stream is one [`Act::Send`].
    pub fn pump(&mut self, host: &mut dyn Volumes, acts: &mut Vec<Act>) {
        let mut touched = BTreeSet::new();
        self.take_replies(host, &mut touched);
        self.check_attachments(host, &mut touched);
        // Each is worked on once. Those that must wait for the host are in the row again for the next call, and among them those
        // that it took nothing from come first: so they are served in turn.
        let mut starved = Vec::new();
        for _ in 0..self.row.len() {
            let stream = self.row.pop_front().expect("the row was counted");
            self.work(stream, host, &mut starved);
            touched.insert(stream);
        }
        // Whoever waits for room longest gets what there is, until there is too little for him.
        while let Some(&first) = self.short.front()
            && !self.clients[&first].is_queued
        {
            self.work(first, host, &mut starved);
            touched.insert(first);
            if self.short.front() == Some(&first) {
                break;
            }
        }
        starved.into_iter().rev().for_each(|stream| self.row.push_front(stream));
        for stream in touched {
            if let Some(client) = self.clients.get_mut(&stream) {
                client.report(stream, self.closing.contains(&stream), self.policy.mutation, acts);
            }
            self.count(stream);
        }
        for stream in std::mem::take(&mut self.closing) {
            if let Some(unsent) = self.remove(stream).filter(|unsent| *unsent > 0) {
                self.leaving.insert(stream, unsent);
                self.bytes += unsent;
            }
            acts.push(Act::Close { stream });
        }
    }

    /// Works on one client, with the room that there is for it.
    fn work(&mut self, stream: u64, host: &mut dyn Volumes, starved: &mut Vec<u64>) {
        let is_next = self.short.front().is_none_or(|first| *first == stream);
        let room = if is_next { self.policy.bytes_max.saturating_sub(self.bytes) } else { 0 };
        // Where all that is kept is what came and waits, nobody gives room back: then one goes on all the same, or all would stand still for ever.
        let stands = self.short.front() == Some(&stream)
            && !self.policy.mutation.is(Mutant::RoomNeverGiven)
            && self.is_at_rest();
        let room = if stands { room.max(self.clients[&stream].session.lacks()) } else { room };
        let Some(client) = self.clients.get_mut(&stream) else { return };
        client.is_queued = false;
        client.session.allow(room);
        let before = self.next_tag;
        let status = client.work(host, &mut self.tags, &mut self.next_tag, self.policy.mutation);
        if status == Status::Close {
            self.closing.insert(stream);
        } else if !client.waiting.is_empty() {
            client.is_queued = true;
            let was_served = self.next_tag > before;
            if was_served { self.row.push_back(stream) } else { starved.push(stream) }
        }
        match (client.session.is_short(), self.short.iter().position(|s| *s == stream)) {
            (true, None) => {
                Sometimes::NbdWaitsForRoom.happens();
                self.short.push_back(stream);
            }
            (false, Some(at)) => _ = self.short.remove(at),
            _ => {}
        }
        self.count(stream);
    }

    /// Whether nothing is in flight, and nothing on its way out.
    fn is_at_rest(&self) -> bool {
        self.leaving.values().all(|unsent| *unsent == 0)
            && self.clients.values().all(|client| client.session.is_at_rest())
    }

    /// Counts what a client keeps now.
    fn count(&mut self, stream: u64) {
        if let Some(client) = self.clients.get_mut(&stream) {
            let now = client.session.bytes_kept() + client.arrived_bytes as u64;
            self.bytes = self.bytes - client.counted + now;
            client.counted = now;
        }
    }

    /// Forgets a client: what of its answers is not sent.
    fn remove(&mut self, stream: u64) -> Option<u64> {
        let client = self.clients.remove(&stream)?;
        self.bytes -= client.counted;
        self.short.retain(|s| *s != stream);
        if self.policy.mutation.is(Mutant::TagUsedAgain) {
            self.tags.retain(|_, (owner, _)| *owner != stream);
            self.next_tag = self.tags.keys().max().map_or(0, |tag| tag + 1);
        }
        Some(client.session.unsent())
    }

    fn enqueue(&mut self, stream: u64) {
        let client = self.clients.get_mut(&stream).expect("who is put in the row is connected");
        if !client.is_queued {
            client.is_queued = true;
            self.row.push_back(stream);
        }
    }

    fn take_replies(&mut self, host: &mut dyn Volumes, touched: &mut BTreeSet<u64>) {
        let mut replies = Vec::new();
        host.take_replies(&mut replies);
        for reply in replies {
            let (stream, tag) = self.tags.remove(&reply.tag).expect("the host answers only what it was asked, once");
            let Some(client) = self.clients.get_mut(&stream) else { continue };
            touched.insert(stream);
            match client.session.reply(tag, reply.result, &mut client.out) {
                Status::Close => _ = self.closing.insert(stream),
                // What it held back may go on now.
                Status::Open if !client.is_queued => {
                    client.is_queued = true;
                    self.row.push_back(stream);
                }
                Status::Open => {}
            }
            self.count(stream);
        }
    }

    /// A volume that was detached, or attached anew, is not the one that its clients chose: they must come again. One that has grown is, and each client
    /// goes on at the size that it was told.
    fn check_attachments(&mut self, host: &dyn Volumes, touched: &mut BTreeSet<u64>) {
        if self.attachments == host.attachments() || self.policy.mutation.is(Mutant::VolumeOutlived) {
            return;
        }
        self.attachments = host.attachments();
        for (stream, client) in &mut self.clients {
            let Some(export) = client.session.export() else { continue };
            if host.find(export.volume).is_some_and(|now| now.generation == export.generation) {
                continue;
            }
            touched.insert(*stream);
            if client.abandon() == Status::Close {
                self.closing.insert(*stream);
            }
        }
    }
}

impl Client {
    /// Gives the host what it takes and the session what came, until one of them wants no more.
    fn work(
        &mut self,
        host: &mut dyn Volumes,
        tags: &mut HashMap<u64, (u64, u64)>,
        next_tag: &mut u64,
        mutation: Mutation,
    ) -> Status {
        loop {
            while let Some(request) = self.waiting.pop_front() {
                let (tag, op_tag) = (*next_tag, request.tag);
                if let Err(Busy(refused)) = host.submit(Request { tag, ..request }) {
                    Sometimes::NbdIsHandedBack.happens();
                    let refused = Request { tag: op_tag, ..refused };
                    match () {
                        () if mutation.is(Mutant::BusyForgotten) => {}
                        () if mutation.is(Mutant::BusyOvertaken) => self.waiting.push_back(refused),
                        () => self.waiting.push_front(refused),
                    }
                    return Status::Open;
                }
                *next_tag += 1;
                tags.insert(tag, (self.session.id(), op_tag));
            }
            let mut requests = Vec::new();
            let arrived = self.arrived.pop_front();
            self.arrived_bytes -= arrived.as_ref().map_or(0, |data| data.len());
            let status = match arrived {
                Some(data) => self.session.bytes(data, host, &mut requests, &mut self.out),
                None => self.session.proceed(host, &mut requests, &mut self.out),
            };
            if status == Status::Close {
                return status;
            }
            self.waiting.extend(requests);
            if self.waiting.is_empty() && self.arrived.is_empty() {
                return Status::Open;
            }
        }
    }

    /// Lets the session answer what the host has taken, and nothing else.
    fn abandon(&mut self) -> Status {
        self.arrived.clear();
        self.arrived_bytes = 0;
        let status = self.session.drain();
        if !self.waiting.is_empty() {
            Sometimes::NbdIsAbandoned.happens();
        }
        for request in self.waiting.drain(..) {
            if self.session.reply(request.tag, Err(host::Refusal::Detached), &mut self.out) == Status::Close {
                return Status::Close;
            }
        }
        status
    }

    /// Says what is to be done to its stream.
    fn report(&mut self, stream: u64, is_closing: bool, mutation: Mutation, acts: &mut Vec<Act>) {
        let is_lost = is_closing && mutation.is(Mutant::LastWordsLost);
        if !self.out.is_empty() && !is_lost {
            acts.push(Act::Send { stream, parts: self.out.take() });
        }
        // What came behind it and was not looked at yet would be in the way.
        let comes_next = !is_closing && self.arrived.is_empty();
        if comes_next && let Some((begun, bytes)) = self.session.gathering() {
            Sometimes::NbdGathers.happens();
            acts.push(Act::Gather { stream, begun, bytes });
        }
        let wants_more = self.waiting.is_empty() && self.session.wants_more();
        let wants_more = wants_more && !(self.is_paused && mutation.is(Mutant::NeverResumed));
        if wants_more == self.is_paused && !is_closing {
            self.is_paused = !wants_more;
            if !wants_more {
                Sometimes::NbdPauses.happens();
            }
            acts.push(if wants_more { Act::Resume { stream } } else { Act::Pause { stream } });
        }
    }
}
