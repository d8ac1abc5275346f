//! One connection: its socket, what comes in, what goes out. And the table of them all.

use super::Token as NetToken;
use super::line::Line;
use crate::incoming::Incoming;
use crate::os;
use crate::outgoing::Outgoing;
use crate::ring::{File, Operation, Ticket};
use crate::session::Session;
use crate::turn::{Token, Turn};
use base::io::net::Frame;
use base::{Incarnation, Time};
use std::net::SocketAddr;

/// Names a connection; never used again for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

/// How far it is.
pub enum Phase {
    /// The socket is connecting.
    Connecting {
        /// To be this.
        line: Line,
    },
    /// The two ends find out about each other.
    Hello {
        /// What was said.
        session: Session,
        /// To be this, when this side opened it.
        line: Option<Line>,
    },
    /// It is proven, and another run of its peer has the line: whether that one is alive is being asked.
    Rival {
        /// To be this.
        line: Line,
        /// When that was asked.
        asked: Time,
    },
    /// Frames pass.
    Open {
        /// It is this.
        line: Line,
    },
    /// A refusal is on its way out; then it is closed.
    Closing,
    /// So too, but its peer thinks that it is open and may have sent more: it is the peer that closes it, so that the refusal is read.
    Dismissed,
}

/// One connection.
pub struct Conn {
    file: File,
    /// The other end's address, for logs.
    pub remote: SocketAddr,
    /// How far it is.
    pub phase: Phase,
    /// Which run of the peer it is, once that is proven.
    pub run: Option<Incarnation>,
    /// What comes.
    pub incoming: Incoming,
    /// What goes.
    pub outgoing: Outgoing,
    /// When it must be open.
    pub hello_by: Time,
    /// The first ping since the last byte came.
    pub pinged: Option<Time>,
    /// Whether somebody opened it who has not proven anything.
    pub stranger: bool,
    receiving: Option<Ticket>,
    sending: Option<Ticket>,
    /// Whether it is in the list of those with something to send.
    pub dirty: bool,
}

impl Conn {
    /// A new one.
    pub fn new(file: File, remote: SocketAddr, phase: Phase, hello_by: Time, aligned: bool) -> Self {
        let (incoming, outgoing) = (Incoming::new(aligned), Outgoing::default());
        let (pinged, receiving, sending) = (None, None, None);
        let (stranger, dirty, run) = (false, false, None);
        Self { file, remote, phase, run, incoming, outgoing, hello_by, pinged, stranger, receiving, sending, dirty }
    }

    /// The line it is, once it is open.
    pub fn open_line(&self) -> Option<Line> {
        match self.phase {
            Phase::Open { line } => Some(line),
            _ => None,
        }
    }

    /// The line it is or is to be, where this side knows.
    pub fn line(&self) -> Option<Line> {
        match self.phase {
            Phase::Connecting { line } | Phase::Open { line } => Some(line),
            Phase::Hello { line, .. } => line,
            // The line is another connection's, and what becomes of this one is no news of it.
            Phase::Rival { .. } | Phase::Closing | Phase::Dismissed => None,
        }
    }

    /// Begins to connect.
    pub fn connect(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let operation = Operation::Connect { file: self.file.clone(), to: self.remote };
        self.receiving = Some(turn.ring.push(Token::Net(NetToken::Connected(id)), operation));
    }

    /// Whether nobody listened and the kernel, drawing our port, happened to draw the one we called.
    pub fn is_to_itself(&self) -> bool {
        os::is_to_itself(&self.file)
    }

    /// Begins to receive.
    pub fn receive(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        assert!(self.receiving.is_none(), "two receives at once on one connection");
        let (into, at) = self.incoming.target(turn.arena);
        let operation = Operation::Receive { file: self.file.clone(), into, at };
        self.receiving = Some(turn.ring.push(Token::Net(NetToken::Received(id)), operation));
    }

    /// Takes the end of a receive, or of connecting.
    pub fn received(&mut self) {
        self.receiving = None;
    }

    /// Begins to send what waits, if nothing is in flight.
    pub fn send(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(parts) = self.outgoing.begin() else { return };
        turn.counters.sends += 1;
        let operation = Operation::Send { file: self.file.clone(), parts };
        self.sending = Some(turn.ring.push(Token::Net(NetToken::Sent(id)), operation));
    }

    /// Takes the end of a send.
    pub fn sent(&mut self) {
        self.sending = None;
    }

    /// Queues a frame.
    pub fn frame(&mut self, frame: Frame, turn: &mut Turn<'_>) {
        turn.counters.frames_out += 1;
        self.outgoing.frame(frame);
    }
}

/// All connections.
#[derive(Default)]
pub struct Conns {
    entries: Vec<(u32, Option<Conn>)>,
    free: Vec<u32>,
}

impl Conns {
    /// Puts one in.
    pub fn insert(&mut self, conn: Conn) -> ConnId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.entries.push((0, None));
            (self.entries.len() - 1) as u32
        });
        let (generation, entry) = &mut self.entries[index as usize];
        *entry = Some(conn);
        ConnId { index, generation: *generation }
    }

    /// One of them, unless it is gone.
    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        let (generation, conn) = &mut self.entries[id.index as usize];
        if *generation == id.generation { conn.as_mut() } else { None }
    }

    /// Takes one out and ends what it has in flight; the socket is closed when the ring has let go of it.
    pub fn remove(&mut self, id: ConnId, turn: &mut Turn<'_>) -> Option<Conn> {
        self.get(id)?;
        let (generation, conn) = &mut self.entries[id.index as usize];
        *generation = generation.wrapping_add(1);
        self.free.push(id.index);
        let conn = conn.take()?;
        for ticket in conn.receiving.iter().chain(&conn.sending) {
            turn.ring.cancel(*ticket);
        }
        Some(conn)
    }

    /// Whether some open one still has something to send.
    pub fn sending(&self) -> bool {
        let mut conns = self.entries.iter().filter_map(|(_, conn)| conn.as_ref());
        conns.any(|conn| conn.outgoing.bytes() > 0 && !matches!(conn.phase, Phase::Connecting { .. }))
    }
}
