//! A host as its process makes one: the data path, and the NBD server before it where the clients of a world speak NBD. The two are driven in the
//! order in which the daemon drives them.
//!
//! It refuses to know sockets: what happened to a stream is heard, and what is to be done to one is handed out.

use base::Payload;
use base::Time;
use base::io::{Inbox, Machine, Outbox};
use frontend::nbd::{Act, Server};
use host::{Export, Host};

/// What happened to a stream.
#[derive(Debug)]
pub enum Event {
    /// Somebody connected.
    Opened,
    /// Bytes came.
    Bytes(Payload),
    /// So many bytes of what was to be sent are out of memory.
    Sent(u64),
    /// It is gone.
    Closed,
}

struct Door {
    server: Server,
    heard: Vec<(u64, Event)>,
    acts: Vec<Act>,
}

/// See the page above.
pub struct Front {
    /// The data path.
    pub host: Host,
    door: Option<Door>,
}

impl Front {
    /// A host, and its server if there is one.
    pub fn new(host: Host, server: Option<Server>) -> Self {
        let door = server.map(|server| Door { server, heard: Vec::new(), acts: Vec::new() });
        Self { host, door }
    }

    /// Something happened to a stream; the next step acts on it.
    pub fn hear(&mut self, stream: u64, event: Event) {
        self.door.as_mut().expect("streams are of a host with a server").heard.push((stream, event));
    }

    /// What is to be done to streams since the last call, in order; none of a host without a server.
    pub fn acts(&mut self) -> Option<Vec<Act>> {
        self.door.as_mut().map(|door| std::mem::take(&mut door.acts))
    }

    /// What a stream has chosen.
    pub fn export(&self, stream: u64) -> Option<Export> {
        self.door.as_ref()?.server.export(stream)
    }

    /// Connections that the server has, and the bytes that all of them keep.
    pub fn kept(&self) -> (usize, u64) {
        self.door.as_ref().map_or((0, 0), |door| (door.server.sessions(), door.server.bytes_kept()))
    }
}

impl Machine for Front {
    fn step(&mut self, now: Time, inbox: &mut Inbox, out: &mut Outbox) {
        let Some(door) = &mut self.door else { return self.host.step(now, inbox, out) };
        for (stream, event) in door.heard.drain(..) {
            match event {
                Event::Opened => door.server.on_opened(stream),
                Event::Bytes(data) => door.server.on_bytes(stream, data),
                Event::Sent(bytes) => door.server.on_sent(stream, bytes),
                Event::Closed => door.server.on_closed(stream),
            }
        }
        door.server.pump(&mut self.host, &mut door.acts);
        self.host.step(now, inbox, out);
        door.server.pump(&mut self.host, &mut door.acts);
    }

    fn deadline(&self) -> Option<Time> {
        self.host.deadline()
    }
}
