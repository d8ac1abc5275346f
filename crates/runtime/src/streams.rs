//! The sockets behind [`crate::stream`]: accepted, received from, sent to, closed.

use crate::error::StartError;
use crate::incoming::Incoming;
use crate::os;
use crate::outgoing::Outgoing;
use crate::ring::{Completion, File, Operation, Ticket};
use crate::stream::{Event, Id, Listen, Op};
use crate::turn::{Token as RingToken, Turn};
use base::Time;
use base::map::Map;
use base::time::Duration;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Open at once at most; one more is closed as it comes.
const STREAMS_MAX: usize = 1024;
/// Bytes that wait for one at most. One that is read so slowly is closed.
const OUTGOING_BYTES_MAX: usize = 128 << 20;
/// So many bytes that were sent are worth a step of their own; fewer are told with whatever else is.
const TOLD_BYTES: usize = 64 << 10;
/// After one could not be accepted.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// For the kernel: when a TCP stream whose other computer does not answer is dead.
const DEAD_AFTER_S: i32 = 60;

/// What the streams have in the ring.
#[derive(Debug, Clone, Copy)]
pub enum Token {
    /// A listener, by its place.
    Accepted(usize),
    /// A receive.
    Received(Id),
    /// A send.
    Sent(Id),
}

struct Listener {
    file: File,
    tcp: Option<SocketAddr>,
    /// To be removed when this ends.
    path: Option<PathBuf>,
    again: Option<Time>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // It may be gone already; whoever comes next replaces what is left of it.
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Stream {
    file: File,
    incoming: Incoming,
    outgoing: Outgoing,
    receiving: Option<Ticket>,
    sending: Option<Ticket>,
    paused: bool,
    closing: bool,
    dirty: bool,
    /// To be received from at the end of the turn, when it is known what is wanted of it. A pause that comes meanwhile does not change it: of a stream that is never received
    /// from nobody would hear that it has ended.
    listens: bool,
    /// Sent, and not yet told.
    untold: usize,
}

/// All of them.
pub struct Streams {
    listeners: Vec<Listener>,
    streams: Map<Id, Stream>,
    next: u64,
    dirty: Vec<Id>,
    listening: Vec<Id>,
    /// Streams with something untold.
    untold: Vec<Id>,
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|about| about.file_type().is_socket());
    if is_socket {
        // A socket that nobody listens on is what a dead process left.
        match UnixStream::connect(path) {
            Err(why) if why.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

impl Streams {
    /// Listens.
    pub fn new(listen: &[Listen], allow_remote: bool) -> Result<Self, StartError> {
        let bind = |what: &Listen| -> Result<Listener, StartError> {
            match what {
                Listen::Unix(path) => {
                    // Whoever was killed may listen a moment longer than it is seen.
                    let listener = os::settled(|| bind_unix(path)).map_err(|why| StartError::Bind {
                        what: "stream",
                        address: path.display().to_string(),
                        why,
                    })?;
                    let (file, path) = (Rc::new(OwnedFd::from(listener)), Some(path.clone()));
                    Ok(Listener { file, tcp: None, path, again: Some(Time::ZERO) })
                }
                Listen::Tcp(address) => {
                    let (listener, bound) = bind_tcp("stream", *address, allow_remote)?;
                    let file = Rc::new(OwnedFd::from(listener));
                    Ok(Listener { file, tcp: Some(bound), path: None, again: Some(Time::ZERO) })
                }
            }
        };
        let listeners = listen.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self {
            listeners,
            streams: Map::default(),
            next: 1,
            dirty: Vec::new(),
            listening: Vec::new(),
            untold: Vec::new(),
        })
    }

    /// Where each listener listens on TCP; none of a Unix socket.
    pub fn addresses(&self) -> Vec<Option<SocketAddr>> {
        self.listeners.iter().map(|l| l.tcp).collect()
    }

    /// When [`Self::tick`] is due.
    pub fn deadline(&self) -> Option<Time> {
        self.listeners.iter().filter_map(|l| l.again).min()
    }

    /// Accepts again where that had failed, and for the first time.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        for index in 0..self.listeners.len() {
            if self.listeners[index].again.is_some_and(|at| at <= turn.now) {
                self.accept(index, turn);
            }
        }
    }

    fn accept(&mut self, index: usize, turn: &mut Turn<'_>) {
        let listener = &mut self.listeners[index];
        listener.again = None;
        let operation = Operation::Accept { file: listener.file.clone() };
        turn.ring.push(RingToken::Stream(Token::Accepted(index)), operation);
    }

    /// Does what the application asks.
    pub fn carry_out(&mut self, op: Op, turn: &mut Turn<'_>, events: &mut Vec<Event>) {
        let (Op::Send { id, .. } | Op::Close { id } | Op::Pause { id } | Op::Resume { id } | Op::Gather { id, .. }) =
            op;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        match op {
            Op::Send { .. } if stream.closing => {}
            Op::Send { parts, .. } => {
                parts.into_iter().for_each(|part| stream.outgoing.part(part.0));
                let too_much = stream.outgoing.bytes() > OUTGOING_BYTES_MAX;
                self.mark(id);
                if too_much {
                    turn.log.say(&"stream", turn.now, format_args!("stream {} is read too slowly; closed", id.0));
                    self.lost(id, turn, events);
                }
            }
            Op::Close { .. } => {
                stream.closing = true;
                if stream.outgoing.bytes() == 0 {
                    self.lost(id, turn, events);
                }
            }
            Op::Pause { .. } => stream.paused = true,
            Op::Resume { .. } => {
                stream.paused = false;
                self.listen(id);
            }
            Op::Gather { begun, bytes, .. } if stream.receiving.is_none() && stream.incoming.is_idle() => {
                stream.incoming.gather(&begun.0, bytes, turn.arena);
                if !stream.paused {
                    self.listen(id);
                }
            }
            Op::Gather { begun, .. } => events.push(Event::Bytes { id, data: begun }),
        }
    }

    fn mark(&mut self, id: Id) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.dirty, true)
        {
            self.dirty.push(id);
        }
    }

    fn listen(&mut self, id: Id) {
        if let Some(stream) = self.streams.get_mut(&id)
            && !std::mem::replace(&mut stream.listens, true)
        {
            self.listening.push(id);
        }
    }

    /// One send for each stream that has something to send, and one receive for each that is listened to.
    pub fn end_of_turn(&mut self, turn: &mut Turn<'_>) {
        for id in std::mem::take(&mut self.listening) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.listens = false;
            if stream.receiving.is_none() {
                stream.receive(id, turn);
            }
        }
        for id in std::mem::take(&mut self.dirty) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            stream.dirty = false;
            if let Some(parts) = stream.outgoing.begin() {
                turn.counters.sends += 1;
                let operation = Operation::Send { file: stream.file.clone(), parts };
                stream.sending = Some(turn.ring.push(RingToken::Stream(Token::Sent(id)), operation));
            }
        }
    }

    /// Whether something is still on its way out.
    pub fn sending(&self) -> bool {
        self.streams.values().any(|stream| stream.outgoing.bytes() > 0)
    }

    /// Takes a completion of the ring.
    pub fn completed(
        &mut self,
        token: Token,
        completion: Completion<RingToken>,
        turn: &mut Turn<'_>,
        events: &mut Vec<Event>,
    ) {
        match (token, completion.operation) {
            (Token::Accepted(index), _) => self.came(index, completion.result, completion.accepted, turn, events),
            (Token::Received(id), Operation::Receive { into, .. }) => {
                turn.counters.receives += 1;
                let Some(stream) = self.streams.get_mut(&id) else { return };
                stream.receiving = None;
                let len = match completion.result {
                    Ok(len) if len > 0 => len as usize,
                    Err(libc::EINTR | libc::EAGAIN) => 0,
                    _ => return self.lost(id, turn, events),
                };
                stream.incoming.received(into, len, completion.dry);
                let data = stream.incoming.take_all();
                if stream.closing {
                    return;
                }
                if !data.is_empty() {
                    events.push(Event::Bytes { id, data });
                }
                if !stream.paused {
                    self.listen(id);
                }
            }
            (Token::Sent(id), Operation::Send { parts, .. }) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                stream.sending = None;
                let len = match completion.result {
                    Ok(len) => len as usize,
                    Err(libc::EINTR | libc::EAGAIN) => 0,
                    Err(_) => return self.lost(id, turn, events),
                };
                if stream.untold == 0 && len > 0 {
                    self.untold.push(id);
                }
                stream.untold += len;
                if stream.untold >= TOLD_BYTES {
                    events.push(Event::Sent { id, bytes: std::mem::take(&mut stream.untold) });
                }
                match stream.outgoing.ended(parts, len) {
                    true if stream.closing => self.lost(id, turn, events),
                    true => {}
                    false => self.mark(id),
                }
            }
            _ => unreachable!("the ring gives back what it was given"),
        }
    }

    fn came(
        &mut self,
        index: usize,
        result: Result<u32, i32>,
        file: Option<OwnedFd>,
        turn: &mut Turn<'_>,
        events: &mut Vec<Event>,
    ) {
        match (result, file) {
            (Ok(_), Some(file)) if self.streams.len() < STREAMS_MAX => {
                if self.listeners[index].tcp.is_some() {
                    // One that cannot be tuned still works.
                    let _ = os::tune_stream(&file, DEAD_AFTER_S);
                }
                let id = Id(self.next);
                self.next += 1;
                let stream = Stream {
                    file: Rc::new(file),
                    incoming: Incoming::new(false),
                    outgoing: Outgoing::default(),
                    receiving: None,
                    sending: None,
                    paused: false,
                    closing: false,
                    dirty: false,
                    listens: false,
                    untold: 0,
                };
                self.streams.insert(id, stream);
                self.listen(id);
                events.push(Event::Opened { id, listener: index });
                self.accept(index, turn);
            }
            (Ok(_), _) => {
                turn.log.say(&"stream", turn.now, format_args!("{STREAMS_MAX} streams are open; one more was closed"));
                self.accept(index, turn);
            }
            (Err(libc::ECONNABORTED | libc::EINTR), _) => self.accept(index, turn),
            (Err(code), _) => {
                let why = io::Error::from_raw_os_error(code);
                turn.log.say(&"stream", turn.now, format_args!("cannot accept streams: {why}"));
                self.listeners[index].again = Some(turn.now + ACCEPT_AGAIN_AFTER);
            }
        }
    }

    /// A step comes anyway: what was sent and is not told yet.
    pub fn tell(&mut self, events: &mut Vec<Event>) {
        for id in std::mem::take(&mut self.untold) {
            if let Some(stream) = self.streams.get_mut(&id)
                && stream.untold > 0
            {
                events.push(Event::Sent { id, bytes: std::mem::take(&mut stream.untold) });
            }
        }
    }

    fn lost(&mut self, id: Id, turn: &mut Turn<'_>, events: &mut Vec<Event>) {
        if let Some(stream) = self.streams.remove(&id) {
            events.push(Event::Closed { id });
            for ticket in stream.receiving.iter().chain(&stream.sending) {
                turn.ring.cancel(*ticket);
            }
        }
    }
}

impl Stream {
    fn receive(&mut self, id: Id, turn: &mut Turn<'_>) {
        let how = self.incoming.how();
        let (into, at) = self.incoming.target(turn.arena);
        let operation = Operation::Receive { file: self.file.clone(), into, at, how };
        self.receiving = Some(turn.ring.push(RingToken::Stream(Token::Received(id)), operation));
    }
}

/// Listens on a TCP address, if it may. Port 0 takes any.
pub fn bind_tcp(
    what: &'static str,
    address: SocketAddr,
    allow_remote: bool,
) -> Result<(TcpListener, SocketAddr), StartError> {
    if !allow_remote && !address.ip().is_loopback() {
        return Err(StartError::NotLoopback { what, address });
    }
    os::settled(|| TcpListener::bind(address))
        .and_then(|listener| listener.local_addr().map(|bound| (listener, bound)))
        .map_err(|why| StartError::Bind { what, address: address.to_string(), why })
}
