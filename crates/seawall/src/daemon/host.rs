//! `seawall host`: attaches volumes and offers them over NBD. Joins three parts that do not know each other: the streams of the
//! runtime, the NBD server and the host.

use super::{DISPLACED, Displaced, announce, cannot_start, has_directory, incarnation, key, know_zone};
use crate::config::{FromFile, Host as Config};
use crate::refusal::{Code, Refusal};
use base::io::net::Peer;
use base::io::{Inbox, Machine as _, Outbox};
use base::{Rng, ShardId, Time, VolumeId};
use frontend::nbd::{Act, Server};
use host::{Host, News};
use runtime::log::Log;
use runtime::{Application, Next, Setup, World, stream};
use std::mem::{Discriminant, discriminant};
use std::net::SocketAddr;
use std::path::Path;

struct Daemon {
    host: Host,
    server: Server,
    acts: Vec<Act>,
    zone: SocketAddr,
    /// Whether some connection came, went or has not chosen a volume.
    choosing: bool,
    started: bool,
    ready: bool,
    displaced: Option<Displaced>,
    log: Log,
}

impl Daemon {
    /// What happened goes to the log, and never a flood of one kind about one volume.
    fn tell(&mut self, now: Time) {
        for news in self.host.news() {
            self.log.say(&subject(&news), now, format_args!("{news}"));
        }
    }

    fn hear(&mut self, streams: &mut Vec<stream::Event>) {
        for event in streams.drain(..) {
            self.choosing |= matches!(event, stream::Event::Opened { .. } | stream::Event::Closed { .. });
            match event {
                stream::Event::Opened { id, .. } => self.server.on_opened(id.0),
                stream::Event::Bytes { id, data } => self.server.on_bytes(id.0, data),
                stream::Event::Sent { id, bytes } => self.server.on_sent(id.0, bytes as u64),
                stream::Event::Closed { id } => self.server.on_closed(id.0),
            }
        }
    }

    /// Tells the host which volumes connections have chosen. Looked at only while some connection came, went or has not chosen: not for each I/O.
    fn tell_uses(&mut self) {
        if self.choosing {
            self.choosing = self.server.exports().any(|export| export.is_none());
            self.host.uses(self.server.exports().flatten().map(|export| export.volume).collect());
        }
    }

    fn say(&mut self, stream_out: &mut Vec<stream::Op>) {
        stream_out.extend(self.acts.drain(..).map(|act| match act {
            Act::Send { stream, parts } => stream::Op::Send { id: stream::Id(stream), parts },
            Act::Close { stream } => stream::Op::Close { id: stream::Id(stream) },
            Act::Pause { stream } => stream::Op::Pause { id: stream::Id(stream) },
            Act::Resume { stream } => stream::Op::Resume { id: stream::Id(stream) },
            Act::Gather { stream, begun, bytes } => stream::Op::Gather { id: stream::Id(stream), begun, bytes },
        }));
    }
}

impl Application for Daemon {
    fn step(
        &mut self,
        now: Time,
        inbox: &mut Inbox,
        streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        stream_out: &mut Vec<stream::Op>,
    ) -> Next {
        if !self.started {
            self.started = true;
            know_zone(self.zone, out);
        }
        self.displaced = Displaced::among(inbox);
        if self.displaced.is_some() {
            inbox.clear();
            streams.clear();
            return Next::Stop(DISPLACED);
        }
        let known = !self.ready && has_directory(inbox);
        self.hear(streams);
        // Before the step the host gets what came, after it what it answered goes out.
        self.server.pump(&mut self.host, &mut self.acts);
        self.tell_uses();
        self.host.step(now, inbox, out);
        self.server.pump(&mut self.host, &mut self.acts);
        self.say(stream_out);
        self.tell(now);
        if known {
            self.ready = true;
            announce("ready");
        }
        Next::Continue
    }

    fn deadline(&self) -> Option<Time> {
        if self.started { self.host.deadline() } else { Some(Time::ZERO) }
    }
}

/// What a limited number of lines are about: a kind of news, of one volume or shard.
fn subject(news: &News) -> (Discriminant<News>, Option<VolumeId>, Option<ShardId>) {
    let (volume, shard) = match news {
        News::ZoneLost { .. } | News::ZoneFound => (None, None),
        News::Opened { volume, .. }
        | News::Closed { volume, .. }
        | News::Throttled { volume, .. }
        | News::Grown { volume, .. } => (Some(*volume), None),
        News::Waits(stuck) => (None, Some(stuck.shard)),
        News::Goes { shard, .. } => (None, Some(*shard)),
    };
    (discriminant(news), volume, shard)
}

/// Runs the host of this configuration.
pub fn run(path: &Path) -> Result<(), Refusal> {
    let config = Config::load(path)?;
    let who = config.host.to_string();
    let socket = config.nbd_socket.to_str().map(String::from).ok_or_else(|| {
        let text = format!("the path of nbd_socket, {}, is not UTF-8; choose another", config.nbd_socket.display());
        Refusal::new(Code::Config, text)
    })?;
    if let Some(address) = config.nbd_listen.filter(|a| !a.ip().is_loopback() && !config.allow_remote) {
        let text = format!(
            "{who} cannot start: NBD on {address} would let other computers at the volumes; use a loopback address or set allow_remote"
        );
        return Err(Refusal::new(Code::Start, text));
    }
    let incarnation = incarnation(path)?;
    let tcp = config.nbd_listen.map(stream::Listen::Tcp);
    let setup = Setup {
        allow_remote: config.allow_remote,
        streams: [stream::Listen::Unix(config.nbd_socket.clone())].into_iter().chain(tcp).collect(),
        driver: config.driver,
        ..Setup::new(Peer::Host(config.host), config.cluster, incarnation, key(&config.key)?)
    };
    let mut world = World::new(setup).map_err(|e| cannot_start(&who, &e))?;
    announce(&format!("listening {socket}"));
    let setup = host::Setup { host: config.host, incarnation, socket };
    let host = Host::new(setup, host::Policy::default(), Rng::new(runtime::entropy_u64()));
    let mut daemon = Daemon {
        host,
        server: Server::gathered(),
        log: Log::new(&who),
        acts: Vec::new(),
        zone: config.zone,
        // So that it is said at once that nobody uses anything yet.
        choosing: true,
        started: false,
        ready: false,
        displaced: None,
    };
    let ended = super::drive(&who, &mut world, &mut daemon);
    match daemon.displaced {
        Some(displaced) => Err(displaced.refusal(&who, &world)),
        None => ended,
    }
}
