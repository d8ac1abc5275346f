//! `seawall zone`: the authority of one zone, over its metadata.

use super::{announce, cannot_start, incarnation, key};
use crate::config::{FromFile, Zone as Config};
use crate::refusal::{Code, Refusal};
use base::io::net::Peer;
use base::io::{Inbox, Machine as _, Outbox};
use base::time::Duration;
use base::{NodeId, Rng, Time};
use runtime::{Application, Next, Setup, World, stream};
use std::collections::BTreeMap;
use std::path::Path;
use zone::{Phase, Policy, Zone};

struct Daemon {
    zone: Zone,
    name: String,
    started: bool,
    ready: bool,
    behind: Option<wire::Ahead>,
    /// Those that the log has been told are slow, as it was told.
    slow: BTreeMap<NodeId, (u32, u32)>,
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
        self.started = true;
        self.zone.step(now, inbox, out);
        match self.zone.phase() {
            Phase::Ready if !self.ready => {
                self.ready = true;
                announce("ready");
            }
            // Ending says it to whoever started the process; an authority that only refuses is no use to anybody else.
            Phase::Refused(_) => return Next::Stop(1),
            Phase::Ready | Phase::Loading => {}
        }
        if self.behind != self.zone.behind().copied() {
            self.behind = self.zone.behind().copied();
            if let Some(ahead) = &self.behind {
                runtime::log::line(&self.name, format_args!("{}", crate::describe::behind(ahead)));
            }
        }
        self.tell_of_slow_nodes();
        Next::Continue
    }

    fn deadline(&self) -> Option<Time> {
        if self.started { self.zone.deadline() } else { Some(Time::ZERO) }
    }
}

impl Daemon {
    /// Says which nodes are slow, and when they are not any more.
    fn tell_of_slow_nodes(&mut self) {
        let slow: BTreeMap<NodeId, wire::SlowNode> = self.zone.slow_nodes().map(|s| (s.node, s)).collect();
        for (node, s) in &slow {
            let told = (s.put_out, s.kept);
            if self.slow.insert(*node, told) != Some(told) {
                runtime::log::line(&self.name, format_args!("{}", crate::slowness::line(s)));
            }
        }
        let name = &self.name;
        self.slow.retain(|node, _| {
            let is_slow = slow.contains_key(node);
            if !is_slow {
                runtime::log::line(name, format_args!("{node} is not taken for slow any more"));
            }
            is_slow
        });
    }
}

/// Runs the authority of this configuration.
pub fn run(path: &Path) -> Result<(), Refusal> {
    let config = Config::load(path)?;
    let made = config.meta.with_extension("made");
    if made.exists() && !config.meta.exists() {
        let text = format!(
            "{} cannot start: its metadata {} are gone, and it does not begin anew without them; have them rebuilt from the nodes with `seawall zone rebuild` \
             (if there never was anything in this zone, remove {})",
            config.zone,
            config.meta.display(),
            made.display()
        );
        return Err(Refusal::new(Code::Zone(wire::ErrorCode::Outdated), text));
    }
    let setup = Setup {
        listen: Some(config.listen),
        allow_remote: config.allow_remote,
        meta: Some(config.meta.clone()),
        driver: config.driver,
        ..Setup::new(Peer::Zone, config.cluster, incarnation(path)?, key(&config.key)?)
    };
    let mut world = World::new(setup).map_err(|e| cannot_start(&config.zone, &e))?;
    if !made.exists() {
        crate::region::replace(
            &made,
            b"The metadata beside this file were made. Without them the zone does not start as a new one.\n",
            0o644,
        )?;
    }
    announce(&format!("listening {}", world.addresses().primary.unwrap_or(config.listen)));
    let policy = Policy {
        remirror_after: Duration::from_secs(config.remirror_after_s),
        failed_after: Duration::from_secs(config.failed_after_s),
        slow_probation: Duration::from_secs(config.slow_probation_s),
        shard_blocks: u32::try_from(config.shard_size.0 / base::BLOCK_BYTES as u64)
            .expect("the configuration was checked"),
        ..Policy::default()
    };
    let zone = Zone::new(config.cluster, policy, Rng::new(runtime::entropy_u64()));
    let mut daemon =
        Daemon { zone, name: config.zone.clone(), started: false, ready: false, behind: None, slow: BTreeMap::new() };
    let ended = super::drive(&config.zone, &mut world, &mut daemon);
    if let Phase::Refused(why) = daemon.zone.phase() {
        let text = format!("{} cannot use its metadata {}: {why}", config.zone, config.meta.display());
        return Err(Refusal::new(Code::Start, text));
    }
    ended
}
