//! One connection: its socket, what comes in, what goes out. And the table of them all.

use super::Token as NetToken;
use super::line::Line;
use super::table::{Do, Table};
use crate::incoming::Incoming;
use crate::os;
use crate::outgoing::Outgoing;
use crate::ring::{File, Operation, Ticket};
use crate::session::Session;
use crate::turn::{Token, Turn};
use base::io::net::{Frame, Network};
use base::{Incarnation, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;

pub use super::table::Id as ConnId;

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
    /// Over which network.
    pub network: Network,
    /// How far it is.
    pub phase: Phase,
    /// Which run of the peer it is, once that is proven.
    pub run: Option<Incarnation>,
    /// Of those that this side answered a hello on, the how manieth it was.
    pub greeted: u64,
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
    pub fn new(file: File, place: (SocketAddr, Network), phase: Phase, hello_by: Time, aligned: bool) -> Self {
        let (remote, network) = place;
        let (incoming, outgoing) = (Incoming::new(aligned), Outgoing::default());
        let (pinged, receiving, sending) = (None, None, None);
        let (stranger, dirty, run) = (false, false, None);
        Self {
            file,
            remote,
            network,
            phase,
            run,
            greeted: 0,
            incoming,
            outgoing,
            hello_by,
            pinged,
            stranger,
            receiving,
            sending,
            dirty,
        }
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

    /// Whether nobody listened and the kernel, drawing our port, happened to draw the one we called.
    pub fn is_to_itself(&self) -> bool {
        os::is_to_itself(&self.file)
    }

    /// Takes the end of a receive, or of connecting.
    pub fn received(&mut self) {
        self.receiving = None;
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

/// All connections, and those that are being closed.
#[derive(Default)]
pub struct Conns {
    table: Table<Conn, File>,
    /// What those that have left had in flight.
    tickets: BTreeMap<ConnId, Vec<Ticket>>,
}

impl Conns {
    /// Puts one in.
    pub fn insert(&mut self, conn: Conn) -> ConnId {
        let file = conn.file.clone();
        self.table.insert(conn, file)
    }

    /// One of them, unless it is gone.
    pub fn get(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.table.get(id)
    }

    /// Begins to connect.
    pub fn connect(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.table.get(id) else { return };
        let operation = Operation::Connect { file: conn.file.clone(), to: conn.remote };
        conn.receiving = Some(turn.ring.push(Token::Net(NetToken::Connected(id)), operation));
        self.table.begins(id);
    }

    /// Begins to receive.
    pub fn receive(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.table.get(id) else { return };
        assert!(conn.receiving.is_none(), "two receives at once on one connection");
        let how = conn.incoming.how();
        let (into, at) = conn.incoming.target(turn.arena);
        let operation = Operation::Receive { file: conn.file.clone(), into, at, how };
        conn.receiving = Some(turn.ring.push(Token::Net(NetToken::Received(id)), operation));
        self.table.begins(id);
    }

    /// Begins to send what waits, if nothing is in flight.
    pub fn send(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        let Some(conn) = self.table.get(id) else { return };
        let Some(parts) = conn.outgoing.begin() else { return };
        turn.counters.sends += 1;
        let operation = Operation::Send { file: conn.file.clone(), parts };
        conn.sending = Some(turn.ring.push(Token::Net(NetToken::Sent(id)), operation));
        self.table.begins(id);
    }

    /// An operation of a connection, that may be gone by now, ended.
    pub fn ended(&mut self, id: ConnId, turn: &mut Turn<'_>) {
        self.table.ends(id);
        self.see_off(turn);
    }

    /// Takes one out. What it has in flight is ended and its socket closed, in its turn.
    pub fn remove(&mut self, id: ConnId, turn: &mut Turn<'_>) -> Option<Conn> {
        let conn = self.table.remove(id)?;
        self.tickets.insert(id, conn.receiving.into_iter().chain(conn.sending).collect());
        self.see_off(turn);
        Some(conn)
    }

    fn see_off(&mut self, turn: &mut Turn<'_>) {
        while let Some(act) = self.table.next_to_do() {
            match act {
                Do::Cancel(id) => {
                    self.tickets.get(&id).into_iter().flatten().for_each(|ticket| turn.ring.cancel(*ticket));
                }
                Do::Close(id, file) => {
                    self.tickets.remove(&id);
                    drop(file);
                }
            }
        }
    }

    /// How many are being closed, and how many wait for that.
    pub fn leaving(&self) -> (usize, usize) {
        self.table.leaving()
    }

    /// Whether some open one still has something to send.
    pub fn sending(&self) -> bool {
        let mut conns = self.table.iter();
        conns.any(|conn| conn.outgoing.bytes() > 0 && !matches!(conn.phase, Phase::Connecting { .. }))
    }
}
