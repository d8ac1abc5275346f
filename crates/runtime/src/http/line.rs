//! One connection as hyper reads and writes it, and the clock over it.
//!
//! ```text
//!     Head --(read)--> Working --(answered)--> Sending --(all written)--> Idle --(first byte)--> Head
//!       any of them --(shut down)--> Closing
//! ```
//!
//! Each phase but Working has a deadline; whoever drives the connection cuts it off then. Working has its own: a body's time is kept where it is read, and
//! the handler's is its own. All of this belongs to one task, so what it shares is in cells.

use super::Setup;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::cell::{Cell, RefCell};
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How long a client has to read a last answer and close. Without it the kernel would answer what the client still sends with a
/// reset, and the client might lose the answer to it.
const CLOSING_WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Working,
    Sending,
    Idle,
    Closing,
}

/// In which phase a connection is, and until when it may be.
pub struct Watch {
    head_within: Duration,
    sending_within: Duration,
    idle_within: Duration,
    phase: Cell<Phase>,
    deadline: Cell<Option<Instant>>,
    /// Whether the whole body of the answer is in hyper's hands.
    body_is_out: Cell<bool>,
    is_stopping: Cell<bool>,
}

impl Watch {
    /// Of a new connection.
    pub fn new(setup: &Setup) -> Rc<Self> {
        let watch = Self {
            head_within: setup.head_within,
            sending_within: setup.body_within,
            idle_within: setup.idle_within,
            phase: Cell::new(Phase::Head),
            deadline: Cell::new(None),
            body_is_out: Cell::new(false),
            is_stopping: Cell::new(false),
        };
        watch.enter(Phase::Head);
        Rc::new(watch)
    }

    /// When the connection is to be cut off, unless something happens before.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline.get()
    }

    /// A head is complete.
    pub fn begins_work(&self) {
        self.enter(Phase::Working);
    }

    /// An answer is there.
    pub fn answered(&self) {
        self.body_is_out.set(false);
        self.enter(Phase::Sending);
    }

    /// Nothing more of the answer is to come.
    pub fn body_is_out(&self) {
        self.body_is_out.set(true);
    }

    /// From now on nobody is waited for after a last answer.
    pub fn stops(&self) {
        self.is_stopping.set(true);
    }

    fn enter(&self, phase: Phase) {
        let within = match phase {
            Phase::Head => Some(self.head_within),
            Phase::Working => None,
            Phase::Sending => Some(self.sending_within),
            Phase::Idle => Some(self.idle_within),
            Phase::Closing => Some(CLOSING_WITHIN),
        };
        self.phase.set(phase);
        self.deadline.set(within.map(|within| Instant::now() + within));
    }
}

/// What is read goes through here: one for all connections of a thread.
pub type Scratch = Rc<RefCell<Box<[u8]>>>;

/// A socket under a watch.
pub struct Line {
    socket: TcpStream,
    scratch: Scratch,
    watch: Rc<Watch>,
    is_shut: bool,
}

impl Line {
    /// Over this socket.
    pub fn new(socket: TcpStream, scratch: Scratch, watch: Rc<Watch>) -> Self {
        Self { socket, scratch, watch, is_shut: false }
    }
}

impl Read for Line {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let scratch = self.scratch.clone();
        let mut scratch = scratch.borrow_mut();
        let room = scratch.len().min(into.remaining());
        // One copy more than is needed, and no unsafe code: a socket is read into memory that is initialised.
        let mut read = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
        into.put_slice(read.filled());
        if !read.filled().is_empty() && self.watch.phase.get() == Phase::Idle {
            self.watch.enter(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Line {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper calls it when the kernel has all that was written so far.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.phase.get() == Phase::Sending && self.watch.body_is_out.get() {
            self.watch.enter(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes, then reads on, into nothing, until the client has said so too or its time is over.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.is_shut = true;
            self.watch.enter(Phase::Closing);
        }
        let scratch = self.scratch.clone();
        let mut scratch = scratch.borrow_mut();
        while !self.watch.is_stopping.get() {
            let mut read = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}
