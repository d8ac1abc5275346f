//! A small client that blocks: for commands that ask one thing and end.
//!
//! It says the same hello as every process and proves the same key. One question at a time; each has a deadline, after
//! which whether it was done is unknown.

use crate::key::ZoneKey;
use crate::session::{Aim, MESSAGES_FROM, PING, PONG, REJECT, Refusal, Session, Step, Terms, read_reject};
use crate::{clock, entropy_u64};
use base::codec::Malformed;
use base::io::net::{Frame, Lane, Network, Peer};
use base::{ClusterId, Incarnation, Payload};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use wire::Message;
use wire::frame::{BadFrame, HEADER_BYTES};

/// Why a client has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    Refused {
        /// Whom it was to be.
        peer: Peer,
        /// Where.
        at: SocketAddr,
    },
    /// Somebody listens there and will not talk to us, or we not to them.
    Rejected {
        /// Whom it was to be.
        peer: Peer,
        /// Where.
        at: SocketAddr,
        /// Why.
        why: Refusal,
    },
    /// No answer in time. Whether the question arrived, and what came of it, is unknown.
    TimedOut {
        /// Whom it was to be.
        peer: Peer,
        /// Where.
        at: SocketAddr,
        /// How long was waited.
        after: Duration,
    },
    /// The connection broke. What came of the question is unknown.
    Broken {
        /// Whom it was to be.
        peer: Peer,
        /// Where.
        at: SocketAddr,
        /// Why.
        why: io::Error,
    },
    /// The answer does not make sense.
    Garbled {
        /// Who answered.
        peer: Peer,
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { peer, at } => {
                write!(f, "nobody listens at {at}, where {peer} should be; start it, or give its address")
            }
            Self::Rejected { peer, at, why } => write!(f, "{peer} at {at} {why}"),
            Self::TimedOut { peer, at, after } => write!(
                f,
                "{peer} at {at} did not answer within {after:?}; it may have done what was asked: look before asking again"
            ),
            Self::Broken { peer, at, why } => write!(
                f,
                "the connection to {peer} at {at} broke ({why}); it may have done what was asked: look before asking again"
            ),
            Self::Garbled { peer, what } => {
                write!(f, "{peer} gave an answer that makes no sense ({what}); are both of one version?")
            }
        }
    }
}

impl std::error::Error for ClientError {}

/// A connection to one process.
pub struct Client {
    stream: TcpStream,
    peer: Peer,
    at: SocketAddr,
    /// What came and was not yet used.
    bytes: Vec<u8>,
}

impl Client {
    /// Connects to `peer` at `at` as an operator with a number drawn now, and says hello; all of it within `timeout`.
    pub fn connect(
        at: SocketAddr,
        peer: Peer,
        cluster: ClusterId,
        key: &ZoneKey,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let me = Peer::Operator(entropy_u64());
        Self::connect_as(at, peer, &Terms::new(me, cluster, Incarnation(1), key.clone()), timeout)
    }

    /// As [`Self::connect`], in the name that the terms give.
    pub fn connect_as(at: SocketAddr, peer: Peer, terms: &Terms, timeout: Duration) -> Result<Self, ClientError> {
        let deadline = Instant::now() + timeout;
        let failed = |why: io::Error| match why.kind() {
            io::ErrorKind::ConnectionRefused => ClientError::Refused { peer, at },
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ClientError::TimedOut { peer, at, after: timeout },
            _ => ClientError::Broken { peer, at, why },
        };
        let stream = TcpStream::connect_timeout(&at, timeout).map_err(failed)?;
        // Slower without, and no less right.
        let _ = stream.set_nodelay(true);
        let mut client = Self { stream, peer, at, bytes: Vec::new() };
        let aim = Aim { peer, lane: Some(Lane::Data), network: Network::Primary };
        let (mut session, hello) = Session::open(terms, aim, clock::entropy());
        client.send(&hello, deadline, timeout)?;
        loop {
            let (consumed, step) = session.read(terms, &client.bytes);
            client.bytes.drain(..consumed);
            match step {
                Step::More => client.receive(deadline, timeout)?,
                Step::Reply(bytes) => client.send(&bytes, deadline, timeout)?,
                Step::Open { send, .. } => {
                    client.send(&send, deadline, timeout)?;
                    return Ok(client);
                }
                Step::Refused { send, why } => {
                    // The other end should hear why; if it cannot, our own error says it all the same.
                    let _ = client.send(&send, deadline, timeout);
                    return Err(ClientError::Rejected { peer, at, why });
                }
            }
        }
    }

    /// Asks, and waits for the next message: its fields and its blocks.
    pub fn ask(&mut self, question: &Message, timeout: Duration) -> Result<(Message, Vec<Payload>), ClientError> {
        self.ask_with(question, Vec::new(), timeout)
    }

    /// As [`Self::ask`], with blocks.
    pub fn ask_with(
        &mut self,
        question: &Message,
        data: Vec<Payload>,
        timeout: Duration,
    ) -> Result<(Message, Vec<Payload>), ClientError> {
        let deadline = Instant::now() + timeout;
        self.send(&encode(&question.frame_with(data)), deadline, timeout)?;
        loop {
            let frame = self.frame(deadline, timeout)?;
            match frame.kind {
                MESSAGES_FROM.. => {
                    let message = Message::decode(&frame).map_err(|why: Malformed| self.garbled(why))?;
                    return Ok((message, frame.data));
                }
                PING => self.send(&encode(&Frame { kind: PONG, ..frame }), deadline, timeout)?,
                REJECT => {
                    let why = read_reject(&frame.head).map_err(|why| self.garbled(why))?;
                    return Err(ClientError::Rejected { peer: self.peer, at: self.at, why });
                }
                kind => return Err(self.garbled(format_args!("a frame of kind {kind:#04x}"))),
            }
        }
    }

    fn frame(&mut self, deadline: Instant, timeout: Duration) -> Result<Frame, ClientError> {
        loop {
            if let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() {
                let header = wire::frame::decode(header).map_err(|why| self.garbled(why))?;
                if self.bytes.len() >= header.frame_len() {
                    let rest = self.bytes.split_off(header.frame_len());
                    let frame = bytes::Bytes::from(std::mem::replace(&mut self.bytes, rest)).slice(HEADER_BYTES..);
                    let (head, data) = (frame.slice(..header.head_len), frame.slice(header.head_len..));
                    return header.into_frame(head, Payload(data)).map_err(|why: BadFrame| self.garbled(why));
                }
            }
            self.receive(deadline, timeout)?;
        }
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant, timeout: Duration) -> Result<(), ClientError> {
        let left = self.left(deadline, timeout)?;
        let sent = self.stream.set_write_timeout(Some(left)).and_then(|()| self.stream.write_all(bytes));
        sent.map_err(|why| self.failed(why, timeout))
    }

    fn receive(&mut self, deadline: Instant, timeout: Duration) -> Result<(), ClientError> {
        let left = self.left(deadline, timeout)?;
        let mut chunk = [0; 64 << 10];
        let received = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(&mut chunk));
        match received {
            Ok(0) => Err(self.failed(io::ErrorKind::UnexpectedEof.into(), timeout)),
            Ok(len) => {
                self.bytes.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(why) => Err(self.failed(why, timeout)),
        }
    }

    fn left(&self, deadline: Instant, after: Duration) -> Result<Duration, ClientError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ClientError::TimedOut { peer: self.peer, at: self.at, after }) } else { Ok(left) }
    }

    fn failed(&self, why: io::Error, after: Duration) -> ClientError {
        let (peer, at) = (self.peer, self.at);
        match why.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ClientError::TimedOut { peer, at, after },
            _ => ClientError::Broken { peer, at, why },
        }
    }

    fn garbled(&self, what: impl fmt::Display) -> ClientError {
        ClientError::Garbled { peer: self.peer, what: what.to_string() }
    }
}

fn encode(frame: &Frame) -> Vec<u8> {
    let mut bytes = wire::frame::encode(frame).to_vec();
    bytes.extend_from_slice(&frame.head);
    frame.data.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}
