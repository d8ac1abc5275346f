//! All NBD connections of one host. It knows streams by their numbers and never touches a socket: whoever drives it carries what
//! happened to a stream in, and what is to be done to one out.
//!
//! It promises that a volume that is stuck slows only its own clients: a session whose request the host does not take waits
//! with that request and parses no further, and the others go on. Sessions that wait are served in turn.

use super::output::Output;
use super::session::{Exports, Session, Status};
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

/// Bytes that may come between two calls of [`Server::pump`], or while the host takes no more.
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
}

/// One connection.
#[derive(Debug)]
struct Client {
    session: Session,
    /// What came and has not been given to the session.
    arrived: VecDeque<Payload>,
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
    clients: BTreeMap<u64, Client>,
    /// The host's tags: whose they are, and what the session calls them.
    tags: HashMap<u64, (u64, u64)>,
    next_tag: u64,
    row: VecDeque<u64>,
    closing: BTreeSet<u64>,
    attachments: u64,
}

impl Server {
    /// Without connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Somebody connected.
    pub fn on_opened(&mut self, stream: u64) {
        if self.clients.len() >= SESSIONS_MAX {
            self.closing.insert(stream);
            return;
        }
        let mut out = Output::default();
        let mut session = Session::new(stream);
        session.greeting(&mut out);
        let (arrived, waiting) = (VecDeque::new(), VecDeque::new());
        let client = Client { session, arrived, waiting, out, is_paused: false, is_queued: false };
        let replaced = self.clients.insert(stream, client);
        assert!(replaced.is_none(), "stream {stream} was opened twice");
        self.enqueue(stream);
    }

    /// Bytes came. Of a stream that was closed they mean nothing any more.
    pub fn on_bytes(&mut self, stream: u64, data: Payload) {
        if let Some(client) = self.clients.get_mut(&stream) {
            client.arrived.push_back(data);
            // A driver that honours Act::Pause brings one piece more; one that does not costs its client the connection.
            let bytes: usize = client.arrived.iter().map(|piece| piece.len()).sum();
            if bytes > ARRIVED_BYTES_MAX {
                self.closing.insert(stream);
            }
            self.enqueue(stream);
        }
    }

    /// The connection is gone. What it had in flight is done or not; nobody is told.
    pub fn on_closed(&mut self, stream: u64) {
        self.clients.remove(&stream);
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
            let Some(client) = self.clients.get_mut(&stream) else { continue };
            client.is_queued = false;
            touched.insert(stream);
            let before = self.next_tag;
            let status = client.work(host, &mut self.tags, &mut self.next_tag);
            if status == Status::Close {
                self.closing.insert(stream);
            } else if !client.waiting.is_empty() {
                client.is_queued = true;
                let was_served = self.next_tag > before;
                if was_served { self.row.push_back(stream) } else { starved.push(stream) }
            }
        }
        starved.into_iter().rev().for_each(|stream| self.row.push_front(stream));
        for stream in touched {
            if let Some(client) = self.clients.get_mut(&stream) {
                client.report(stream, self.closing.contains(&stream), acts);
            }
        }
        for stream in std::mem::take(&mut self.closing) {
            self.clients.remove(&stream);
            acts.push(Act::Close { stream });
        }
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
        }
    }

    /// A volume that was detached, or attached anew, is not the one that its clients chose: they must come again. One that has grown is, and each client
    /// goes on at the size that it was told.
    fn check_attachments(&mut self, host: &dyn Volumes, touched: &mut BTreeSet<u64>) {
        if self.attachments == host.attachments() {
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
    fn work(&mut self, host: &mut dyn Volumes, tags: &mut HashMap<u64, (u64, u64)>, next_tag: &mut u64) -> Status {
        loop {
            while let Some(request) = self.waiting.pop_front() {
                let (tag, op_tag) = (*next_tag, request.tag);
                if let Err(Busy(refused)) = host.submit(Request { tag, ..request }) {
                    self.waiting.push_front(Request { tag: op_tag, ..refused });
                    return Status::Open;
                }
                *next_tag += 1;
                tags.insert(tag, (self.session.id(), op_tag));
            }
            let mut requests = Vec::new();
            let status = match self.arrived.pop_front() {
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
        let status = self.session.drain();
        for request in self.waiting.drain(..) {
            if self.session.reply(request.tag, Err(host::Refusal::Detached), &mut self.out) == Status::Close {
                return Status::Close;
            }
        }
        status
    }

    /// Says what is to be done to its stream.
    fn report(&mut self, stream: u64, is_closing: bool, acts: &mut Vec<Act>) {
        if !self.out.is_empty() {
            acts.push(Act::Send { stream, parts: self.out.take() });
        }
        let wants_more = self.waiting.is_empty() && self.session.wants_more();
        if wants_more == self.is_paused && !is_closing {
            self.is_paused = !wants_more;
            acts.push(if wants_more { Act::Resume { stream } } else { Act::Pause { stream } });
        }
    }
}
