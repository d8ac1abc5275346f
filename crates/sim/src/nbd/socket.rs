//! One stream between a client and the process of a host on the same computer, as the runtime drives it: one receive and one send at a time, pauses, and
//! bytes that are brought in one piece.
//!
//! ```text
//!   client --say--> up (kernel) --receive--> the server hears       the server says --carry_out--> down (process) --send--> kernel --read--> client
//! ```
//!
//! It knows no time: whoever owns it lets each of the three ways go on when that has waited long enough.

use super::manner::Manner;
use base::{Payload, Rng};
use frontend::nbd::Act;
use std::collections::VecDeque;
use std::fmt;
use std::io::Read as _;

/// What the process hears.
#[derive(Debug)]
pub enum Heard {
    /// Bytes.
    Bytes(Payload),
    /// Bytes of it are out.
    Sent(u64),
    /// The stream is gone.
    Closed,
}

/// What a client reads.
#[derive(Debug)]
pub enum Read {
    /// Bytes.
    Bytes(Vec<u8>),
    /// That there are no more.
    End,
}

/// See the page above.
#[derive(Debug)]
pub struct Socket {
    rng: Rng,
    manner: Manner,
    up: VecDeque<u8>,
    /// The client has closed its end.
    deserted: bool,
    /// The kernel has a receive of the process.
    receiving: bool,
    /// It gets the next one at the end of the turn. A pause that comes meanwhile does not change that.
    listens: bool,
    paused: bool,
    /// What came of a piece that is wanted whole, and how long it is.
    gather: Option<(Vec<u8>, usize)>,
    down: VecDeque<u8>,
    kernel: VecDeque<u8>,
    /// Sent since the last turn.
    untold: u64,
    closing: bool,
    /// The end of the process is closed.
    gone: bool,
}

impl Socket {
    /// Connected.
    pub fn new(manner: Manner, rng: Rng) -> Self {
        Self {
            rng,
            manner,
            up: VecDeque::new(),
            deserted: false,
            receiving: true,
            listens: false,
            paused: false,
            gather: None,
            down: VecDeque::new(),
            kernel: VecDeque::new(),
            untold: 0,
            closing: false,
            gone: false,
        }
    }

    // ---- The client's end. ----------------------------------------------------------------------------------------------

    /// The client sends.
    pub fn say(&mut self, bytes: Vec<u8>) {
        if !self.gone {
            self.up.extend(bytes);
        }
    }

    /// The client closes; what it said before may be lost with that.
    pub fn desert(&mut self, loses: bool) {
        self.deserted = true;
        self.kernel.clear();
        if loses {
            self.up.clear();
        }
    }

    /// Whether the client has something to read.
    pub fn is_readable(&self) -> bool {
        !self.deserted && (!self.kernel.is_empty() || self.gone)
    }

    /// The client reads some.
    pub fn read(&mut self) -> Read {
        let most = if self.manner.reads_slowly { 4 << 10 } else { 256 << 10 };
        let len = self.piece(most).min(self.kernel.len());
        if len == 0 { Read::End } else { Read::Bytes(take(&mut self.kernel, len)) }
    }

    // ---- The kernel. ----------------------------------------------------------------------------------------------------

    /// Whether the receive of the process has something to receive.
    pub fn is_receivable(&self) -> bool {
        !self.gone && !self.closing && self.receiving && (!self.up.is_empty() || self.deserted)
    }

    /// The process receives some.
    pub fn receive(&mut self) -> Option<Heard> {
        if self.up.is_empty() {
            self.gone = true;
            return Some(Heard::Closed);
        }
        let len = self.piece(self.manner.piece_bytes).min(self.up.len());
        let Some((data, wanted)) = &mut self.gather else {
            self.received();
            return Some(Heard::Bytes(Payload::from(take(&mut self.up, len))));
        };
        let len = len.min(*wanted - data.len());
        data.extend(take(&mut self.up, len));
        let whole = self.gather.take_if(|(data, wanted)| data.len() == *wanted)?;
        self.received();
        Some(Heard::Bytes(Payload::from(whole.0)))
    }

    fn received(&mut self) {
        self.receiving = false;
        self.listens = !self.paused;
    }

    /// Whether something can leave the process.
    pub fn is_sendable(&self) -> bool {
        !self.gone && !self.down.is_empty() && (self.deserted || self.kernel.len() < self.manner.kernel_bytes)
    }

    /// Some of it does. Whether the process hears at once, and what.
    pub fn send(&mut self) -> (bool, Vec<Heard>) {
        if self.deserted {
            self.gone = true;
            return (true, vec![Heard::Closed]);
        }
        let room = self.manner.kernel_bytes - self.kernel.len();
        let len = self.piece(256 << 10).min(room).min(self.down.len());
        self.kernel.extend(take(&mut self.down, len));
        self.untold += len as u64;
        let mut heard = vec![Heard::Sent(len as u64)];
        if self.closing && self.down.is_empty() {
            self.gone = true;
            heard.push(Heard::Closed);
        }
        (self.gone || self.untold >= self.manner.told_bytes(), heard)
    }

    /// Small ones too, so that anything may be cut anywhere.
    fn piece(&mut self, most: usize) -> usize {
        let most = if self.rng.chance(1, 6) { most.min(64) } else { most };
        self.rng.within(1, most as u64) as usize
    }

    // ---- The end of the process. ----------------------------------------------------------------------------------------

    /// Does what the server asks. What it hears of that.
    pub fn carry_out(&mut self, act: Act) -> Option<Heard> {
        if self.gone {
            return None;
        }
        match act {
            Act::Send { parts, .. } => {
                if !self.closing {
                    parts.iter().for_each(|part| self.down.extend(part.iter()));
                }
            }
            Act::Close { .. } => {
                self.closing = true;
                self.gone = self.down.is_empty();
                return self.gone.then_some(Heard::Closed);
            }
            Act::Pause { .. } => self.paused = true,
            Act::Resume { .. } => {
                self.paused = false;
                self.listens = true;
            }
            // A receive is under way, into another place.
            Act::Gather { begun, .. } if self.receiving => return Some(Heard::Bytes(begun)),
            Act::Gather { begun, bytes, .. } => {
                self.gather = Some((begun.to_vec(), bytes));
                self.listens |= !self.paused;
            }
        }
        None
    }

    /// The process took a turn, and said all that it wants.
    pub fn turned(&mut self) {
        self.untold = 0;
        self.receiving |= std::mem::take(&mut self.listens);
    }

    /// The process is dead, and what it had not sent is lost; with the power of its computer all is.
    pub fn die(&mut self, power: bool) {
        self.gone = true;
        self.up.clear();
        self.down.clear();
        if power {
            self.kernel.clear();
        }
    }

    /// Whether nobody has anything to do with it any more.
    pub fn is_over(&self) -> bool {
        self.gone && self.deserted
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { up, down, kernel, gather, receiving, listens, paused, closing, deserted, gone, .. } = self;
        let [up, down, kernel] = [up, down, kernel].map(VecDeque::len);
        let gathered = gather.as_ref().map(|(got, wanted)| (got.len(), *wanted));
        write!(f, "{up} bytes up, {down} down, {kernel} sent, {gathered:?} gathered")?;
        let states = [receiving, listens, paused, closing, deserted, gone];
        let names = ["receiving", "listens", "paused", "closing", "deserted", "gone"];
        names.iter().zip(states).filter(|(_, is)| **is).try_for_each(|(name, _)| write!(f, ", {name}"))
    }
}

/// The first `len` bytes of a queue that has so many. They are copied in pieces: byte by byte, streams took a sixth of a run.
fn take(queue: &mut VecDeque<u8>, len: usize) -> Vec<u8> {
    let mut taken = vec![0; len];
    queue.read_exact(&mut taken).expect("there are so many");
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket() -> Socket {
        let mut rng = Rng::new(3);
        let manner = std::iter::repeat_with(|| Manner::draw(&mut rng)).flatten().next().expect("some seed has one");
        Socket::new(Manner { piece_bytes: 100, kernel_bytes: 256, ..manner }, Rng::new(4))
    }

    fn received(socket: &mut Socket) -> Vec<u8> {
        match socket.receive() {
            Some(Heard::Bytes(data)) => data.to_vec(),
            None => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn after_a_pause_one_piece_more_comes_and_then_nothing_until_it_is_resumed() {
        let mut socket = socket();
        socket.say((0..=255).collect());
        let mut all = received(&mut socket);
        assert!(!socket.is_receivable(), "one receive a turn");
        assert!(socket.carry_out(Act::Pause { stream: 1 }).is_none());
        socket.turned();
        all.extend(received(&mut socket));
        socket.turned();
        assert!(!socket.is_receivable());
        socket.carry_out(Act::Resume { stream: 1 });
        while all.len() < 256 {
            socket.turned();
            assert!(socket.is_receivable());
            all.extend(received(&mut socket));
        }
        assert_eq!(all, (0..=255).collect::<Vec<u8>>());
        socket.desert(false);
        socket.turned();
        assert!(socket.is_receivable() && matches!(socket.receive(), Some(Heard::Closed)) && socket.is_over());
    }

    #[test]
    fn what_is_wanted_whole_comes_whole_and_too_late_it_is_given_back() {
        let mut socket = socket();
        let gather = |bytes| Act::Gather { stream: 1, begun: Payload::from(vec![1, 2]), bytes };
        assert!(matches!(socket.carry_out(gather(9)), Some(Heard::Bytes(begun)) if *begun == [1, 2]));
        socket.say(vec![9]);
        assert_eq!(received(&mut socket), [9]);
        assert!(socket.carry_out(gather(300)).is_none());
        socket.turned();
        socket.say(vec![7; 500]);
        let whole = std::iter::repeat_with(|| received(&mut socket)).find(|data| !data.is_empty()).expect("it comes");
        assert_eq!(whole, [vec![1, 2], vec![7; 298]].concat());
    }

    #[test]
    fn what_is_not_read_is_not_sent_and_what_was_sent_can_be_read_of_who_is_dead() {
        let mut socket = socket();
        socket.carry_out(Act::Send { stream: 1, parts: vec![Payload::from(vec![5; 1000])] });
        socket.carry_out(Act::Close { stream: 1 });
        while socket.is_sendable() {
            socket.send();
        }
        assert!(matches!(socket.read(), Read::Bytes(bytes) if !bytes.is_empty()) && socket.is_sendable());
        socket.die(false);
        while let Read::Bytes(bytes) = socket.read() {
            assert!(bytes.iter().all(|byte| *byte == 5));
        }
        assert!(socket.is_readable() && !socket.is_sendable() && !socket.is_over());
        socket.desert(false);
        assert!(!socket.is_readable() && socket.is_over());
    }
}
