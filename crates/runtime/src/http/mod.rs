//! An edge that speaks HTTP/1.1: whole requests in, whole answers out, on one thread of its own.
//!
//! Each request is read to its end and handed to a handler with an [`Answer`], which may be sent from any thread, at once or much later; nothing waits
//! for it but its own connection. Everything has a bound: connections, bytes of a head and of a body, the time that each may take to come, to be
//! read and to stay idle. Who keeps to none of it is told so (408, 413, 431, 503) or cut off, and takes nothing from others. How long a request is worked on
//! is the handler's affair: when its client goes away meanwhile, the connection is freed and [`Answer::is_wanted`] says so.
//!
//! The memory it may take is `connections_max * (head_bytes_max + body_bytes_max)` and what its answers hold. Heads and framing are hyper's; nothing else is.
//! It refuses to know what a request asks, who may ask it, TLS and HTTP/2. Its thread blocks in no handler and no disk, so a handler must not block.

mod line;
mod serving;

use crate::error::StartError;
use crate::streams::bind_tcp;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Where it listens, and within which bounds.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Port 0 takes any.
    pub listen: SocketAddr,
    /// Whether that may be an address which other computers can reach.
    pub allow_remote: bool,
    /// Bytes of one request's body.
    pub body_bytes_max: usize,
    /// Bytes of one request's head, 8 KiB at least.
    pub head_bytes_max: usize,
    /// Connections at a time; one more is told 503 and closed.
    pub connections_max: usize,
    /// How long a head may take to come, from its first byte on or from when the connection was made.
    pub head_within: Duration,
    /// How long a body may take to come, and an answer to be taken.
    pub body_within: Duration,
    /// How long a connection may stay open between an answer and the next request.
    pub idle_within: Duration,
    /// How long what is in flight has to end when the server is dropped.
    pub stop_within: Duration,
}

impl Setup {
    /// One at this address that other computers cannot reach: 256 connections, heads of 32 KiB, bodies of 1 MiB.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            allow_remote: false,
            body_bytes_max: 1 << 20,
            head_bytes_max: 32 << 10,
            connections_max: 256,
            head_within: Duration::from_secs(10),
            body_within: Duration::from_secs(30),
            idle_within: Duration::from_secs(60),
            stop_within: Duration::from_secs(2),
        }
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As on the request line.
    pub method: String,
    /// As on the request line: nothing is decoded or normalised.
    pub path: String,
    /// What follows the `?`, raw; empty when there is none.
    pub query: String,
    /// Names in lower case, values as they came without spaces around them; those of one name in the order in which they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without any transfer coding.
    pub body: Bytes,
    /// Who is at the other end of its connection.
    pub from: SocketAddr,
}

/// A whole answer. Its length is stated by itself, and so is the date.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// From 200 to 599.
    pub status: u16,
    /// Names and values. What no header can hold makes the answer a 500.
    pub headers: Vec<(&'static str, String)>,
    /// The body; of an answer to HEAD only the length is sent.
    pub body: Bytes,
}

impl Reply {
    /// One without a body.
    pub fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// The way back for one answer, from any thread. Dropped without one it answers 500.
#[derive(Debug)]
pub struct Answer(oneshot::Sender<Reply>);

impl Answer {
    /// Sends it. If the client is gone, nothing happens.
    pub fn send(self, reply: Reply) {
        let _ = self.0.send(reply);
    }

    /// Whether somebody waits for it still. What was asked for may have been done all the same.
    pub fn is_wanted(&self) -> bool {
        !self.0.is_closed()
    }
}

/// A running edge. Dropping it closes the listener and the idle connections at once, finishes what is in flight within [`Setup::stop_within`], and ends its
/// thread. Whoever holds answers on the thread that drops it should have sent or dropped them before, or it waits for them in vain.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    turned_away: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Where it listens, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were told that there is no place for them: nobody learned what they would have asked.
    pub fn turned_away(&self) -> Arc<AtomicU64> {
        self.turned_away.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic there was a handler's, and has been told by the hook.
            let _ = thread.join();
        }
    }
}

/// Serves until the [`Server`] is dropped. Call it after [`crate::World::new`], so that signals come to the world and not to this thread.
pub fn serve(setup: Setup, handler: impl Fn(Request, Answer) + Send + Sync + 'static) -> Result<Server, StartError> {
    let system = |what| move |why| StartError::System { what, why };
    let (listener, address) = bind_tcp("HTTP", setup.listen, setup.allow_remote)?;
    listener.set_nonblocking(true).map_err(system("a listener that does not block"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let runtime = runtime.map_err(system("the loop of the HTTP edge"))?;
    let (stop, stopped) = watch::channel(false);
    let turned_away = Arc::new(AtomicU64::new(0));
    let counted = turned_away.clone();
    let run = move || serving::run(&runtime, listener, setup, Arc::new(handler), counted, stopped);
    let thread =
        std::thread::Builder::new().name("http".into()).spawn(run).map_err(system("the thread of the HTTP edge"))?;
    Ok(Server { address, turned_away, stop, thread: Some(thread) })
}
