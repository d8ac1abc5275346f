//! `seawall region`: the control plane. Joins three parts that do not know each other: the HTTP edge of the runtime, the API's words, and the region's machine.
//!
//! Signatures are verified and requests read on the edge's thread; what they mean is dealt with on the machine's, one turn after the other, and nothing waits there.

use super::authorities::Authorities;
use super::telemetry::{self, Telemetry};
use super::{DISPLACED, Displaced, announce, cannot_start, incarnation, key, wall_ns};
use crate::config::FromFile;
use crate::config::region::{Region as Config, access_keys};
use crate::refusal::{Code, Refusal};
use api::front::{Front, Signed};
use api::serve::{Begun, Caller, Desk, Places, Question, Written};
use api::telemetry::Metrics;
use base::io::net::Peer;
use base::io::{Inbox, Machine as _, Outbox};
use base::{Rng, Time};
use region::{Phase, Policy, Region};
use runtime::handover::{Giver, NotGiven, Taker, handover};
use runtime::http::{self, Answer, Reply, Request};
use runtime::{Application, Cluster, Next, Setup, World, ZoneKey, stream};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Requests that wait between the edge and the machine, at most.
const HANDED_MAX: usize = 1024;
/// Connections of clients, at most. Each may wait for a zone, for seconds.
const CONNECTIONS_MAX: usize = 512;

/// Who it is to its zones.
const ME: Peer = Peer::Region(1);

type Handed = (Caller, Question, Asked);

/// Who waits for an answer.
struct Asked {
    answer: Answer,
    request_id: String,
    begun: Time,
}

impl Asked {
    /// Answers, and has it counted and logged.
    fn answer(self, written: Written, telemetry: &Telemetry) {
        telemetry.answered(&written, &self.request_id, self.begun);
        let headers = written.headers(&self.request_id);
        self.answer.send(Reply { status: written.status, headers, body: written.body.into() });
    }
}

struct Daemon {
    region: Region,
    desk: Desk,
    handed: Taker<Handed>,
    /// Who waits, by ticket.
    waiting: BTreeMap<u64, Asked>,
    telemetry: Arc<Telemetry>,
    authorities: Authorities,
    started: bool,
    ready: bool,
    displaced: Option<Displaced>,
    /// Where it dies on purpose, if anywhere.
    #[cfg(feature = "faults")]
    fails: Option<super::fail_point::FailPoint>,
}

impl Application for Daemon {
    fn step(
        &mut self,
        now: Time,
        inbox: &mut Inbox,
        _streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        _stream_out: &mut Vec<stream::Op>,
    ) -> Next {
        if !self.started {
            self.started = true;
            self.authorities.know(out);
        }
        let news = self.authorities.note(inbox);
        news.for_each(|line| runtime::log::line(&ME, format_args!("{line}")));
        if self.authorities.all_have_another() {
            self.displaced = Some(Displaced::Twin);
            inbox.clear();
            return Next::Stop(DISPLACED);
        }
        for (caller, question, asked) in self.handed.take() {
            match self.desk.ask(&mut self.region, caller, question) {
                Begun::Answered(written) => asked.answer(written, &self.telemetry),
                Begun::Waits(ticket) => drop(self.waiting.insert(ticket, asked)),
            }
        }
        #[cfg(feature = "faults")]
        self.fails.iter_mut().for_each(|point| point.hears(inbox));
        self.region.step(now, inbox, out);
        let replies: Vec<_> = self.region.replies().collect();
        for (ticket, result) in replies {
            let (Some(written), Some(asked)) = (self.desk.finish(ticket, result), self.waiting.remove(&ticket)) else {
                continue;
            };
            #[cfg(feature = "faults")]
            self.fails.iter_mut().for_each(|point| point.tells());
            asked.answer(written, &self.telemetry);
        }
        self.telemetry.look(&self.region);
        match self.region.phase() {
            Phase::Ready if !self.ready => {
                self.ready = true;
                announce("ready");
            }
            // Ending says it to whoever started the process; a region that only refuses is no use to anybody else.
            Phase::Refused(_) => return Next::Stop(1),
            Phase::Ready | Phase::Loading => {}
        }
        Next::Continue
    }

    fn deadline(&self) -> Option<Time> {
        if self.started { self.region.deadline() } else { Some(Time::ZERO) }
    }
}

/// What the edge's thread does with a request: whose it is and what it asks, and then it is the machine's.
fn take(front: &Front, giver: &Giver<Handed>, telemetry: &Telemetry, request: &Request, answer: Answer) {
    let asked = Asked { answer, request_id: request_id(), begun: runtime::monotonic() };
    let signed = Signed {
        method: &request.method,
        path: &request.path,
        query: &request.query,
        headers: &request.headers,
        body: &request.body,
    };
    let (caller, question) = match front.read(&signed, wall_ns() / 1_000_000, &asked.request_id) {
        Ok(read) => read,
        Err(written) => return asked.answer(*written, telemetry),
    };
    let too_many = question.too_many(&caller);
    if let Err(NotGiven::Full((.., asked)) | NotGiven::Gone((.., asked))) = giver.give((caller, question, asked)) {
        asked.answer(too_many, telemetry);
    }
}

/// A UUID, as clients expect it.
fn request_id() -> String {
    let hex = format!("{:032x}", runtime::entropy_u128());
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Runs the region of this configuration.
pub fn run(path: &Path) -> Result<(), Refusal> {
    let config = Config::load(path)?;
    let who = format!("region {}", config.region);
    let keys = access_keys(&config.access_keys)?;
    let mut clusters = BTreeMap::new();
    for zone in &config.zones {
        clusters.insert(zone.number, Cluster { id: zone.cluster, key: key(&zone.key)? });
    }
    let setup = Setup {
        meta: Some(config.meta.clone()),
        driver: config.driver,
        zones: clusters,
        // It is of no cluster itself: under these nobody can be spoken to.
        ..Setup::new(ME, config.id, incarnation(path)?, ZoneKey::generate())
    };
    let mut world = World::new(setup).map_err(|e| cannot_start(&who, &e))?;
    let (giver, handed) = handover(HANDED_MAX, world.waker());
    let front = Front::new(config.region.clone(), keys);
    let (allow_remote, connections_max) = (config.allow_remote, CONNECTIONS_MAX);
    let edge = http::Setup { allow_remote, connections_max, ..http::Setup::new(config.listen) };
    // What the edge can hold is what zones must not use up.
    let policy = Policy::for_edge(edge.connections_max, config.zones.len());
    let names: Vec<_> = config.zones.iter().map(|zone| (zone.name.clone(), zone.number)).collect();
    let telemetry = Telemetry::new(&ME, Metrics::new(config.region.clone(), names.clone()));
    let telemetry = Arc::new(telemetry.map_err(|e| cannot_start(&who, &e))?);
    let told = telemetry.clone();
    let server = http::serve(edge, move |request, answer| take(&front, &giver, &told, &request, answer))
        .map_err(|e| cannot_start(&who, &e))?;
    let turned_away = server.turned_away();
    let metrics = config.metrics.map(|at| telemetry::serve(at, telemetry.clone(), turned_away, &who)).transpose()?;
    announce(&format!("listening {}", server.address()));
    let endpoint = format!("http://{}", server.address());
    let places = Places::new(config.region.clone(), endpoint, names);
    let zones = config.zones.iter().map(|zone| (zone.number, Peer::Authority(zone.number))).collect();
    let setup =
        region::Setup { region: config.id, name: config.region.clone(), zones, started_ms: wall_ns() / 1_000_000 };
    let mut daemon = Daemon {
        region: Region::new(setup, policy, Rng::new(runtime::entropy_u64())),
        desk: Desk::new(places),
        handed,
        waiting: BTreeMap::new(),
        telemetry,
        authorities: Authorities::new(&config.zones),
        started: false,
        ready: false,
        displaced: None,
        #[cfg(feature = "faults")]
        fails: config.fail_at.clone(),
    };
    let ended = super::drive(&who, &mut world, &mut daemon);
    // Whoever waits is told that nobody answers any more, before the edge waits for answers.
    daemon.waiting.clear();
    drop((server, metrics));
    match (daemon.displaced, daemon.region.phase()) {
        (Some(displaced), _) => Err(displaced.refusal(&who, &world)),
        (None, Phase::Refused(why)) => {
            let text = format!("{who} cannot use its metadata {}: {why}", config.meta.display());
            Err(Refusal::new(Code::Start, text))
        }
        (None, _) => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_for_zones_leave_connections_to_those_that_need_none() {
        for zones in 1..=26 {
            let Policy { zone_waits_max: waits, shared_waits_max: shared, .. } =
                Policy::for_edge(CONNECTIONS_MAX, zones);
            assert!(waits > 0 && zones * waits + shared <= CONNECTIONS_MAX * 3 / 4, "{zones} zones, {waits} each");
        }
    }
}
