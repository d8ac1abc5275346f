//! `seawall node`: one disk and one loop, until it is asked to stop or its disk fails.

use super::{DISPLACED, Displaced, announce, cannot_start, has_directory, incarnation, key, know_zone};
use crate::config::{FromFile, MBIT, Node as Config};
use crate::refusal::{Code, Refusal};
use base::io::net::Peer;
use base::io::{Inbox, Machine as _, Outbox};
use base::{Rng, StoreUuid, Time};
use node::Node;
use runtime::{Application, Next, Setup, World, disk, stream};
use std::net::SocketAddr;
use std::path::Path;
use store::{Blank, Geometry, Identity, Store};
use wire::control::Address;

/// Status of a process whose store was not opened, or failed.
const DISK_FAILED: i32 = 1;
/// Of a batch that is formed while another is written: at depth 32 with writes of a block, a quarter of what is under way. With twice as much the disk waits for us, with none every write
/// is a batch and a flush of its own.
const GATHERED_BYTES: u32 = 32 << 10;

struct Daemon {
    who: String,
    node: Node,
    zone: SocketAddr,
    started: bool,
    ready: bool,
    store_told: bool,
    displaced: Option<Displaced>,
    distrust: Option<node::Distrust>,
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
            know_zone(self.zone, out);
        }
        self.displaced = Displaced::among(inbox);
        if self.displaced.is_some() {
            // Nothing of this turn is done any more: whatever it is, the other one does it.
            inbox.clear();
            return Next::Stop(DISPLACED);
        }
        let known = !self.ready && has_directory(inbox);
        self.node.step(now, inbox, out);
        self.tell_of_the_store();
        if self.distrust != self.node.distrust().copied() {
            self.distrust = self.node.distrust().copied();
            self.tell_of_distrust();
        }
        if known {
            self.ready = true;
            announce("ready");
        }
        if self.node.failure().is_some() { Next::Stop(DISK_FAILED) } else { Next::Continue }
    }

    fn deadline(&self) -> Option<Time> {
        if self.started { self.node.deadline() } else { Some(Time::ZERO) }
    }
}

impl Daemon {
    /// That the authority is not obeyed, or is again.
    fn tell_of_distrust(&self) {
        match &self.distrust {
            Some(node::Distrust { seen, now }) => runtime::log::line(
                &self.who,
                format_args!(
                    "the zone's authority is at start {} ({}), revision {} of its metadata, and this node was told more, at start {} ({}), revision {}: \
                     nothing that it says is obeyed; its metadata must be rebuilt with `seawall zone rebuild`",
                    now.start, now.meta, now.revision, seen.start, seen.meta, seen.revision
                ),
            ),
            None => runtime::log::line(&self.who, format_args!("the zone's authority is obeyed again")),
        }
    }

    /// Once: how its store was opened, and what was found damaged.
    fn tell_of_the_store(&mut self) {
        let store = self.node.store();
        if self.store_told || matches!(store.phase(), store::Phase::Opening | store::Phase::Refused(_)) {
            return;
        }
        self.store_told = true;
        let store::Recovery { took, read_bytes, log_bytes } = store.recovery();
        runtime::log::line(
            &self.who,
            format_args!(
                "its store is open after {} ms: {} MiB read, {} MiB of them log",
                took.as_millis(),
                read_bytes >> 20,
                log_bytes >> 20
            ),
        );
        if let Some(damage) = store.damage() {
            let store::Damage { batch, segment, at } = damage;
            runtime::log::line(
                &self.who,
                format_args!(
                    "batch {batch} of the log (segment {segment}, byte {at}) is damaged and had been durable; the replicas it was of \
                     are suspect and will be filled anew from the others"
                ),
            );
        }
    }
}

/// Runs the node of this configuration.
pub fn run(path: &Path) -> Result<(), Refusal> {
    let config = Config::load(path)?;
    let who = config.node.to_string();
    let incarnation = incarnation(path)?;
    let setup = Setup {
        listen: Some(config.listen),
        listen_replication: Some(config.listen_replication),
        replication_bytes_per_s: u64::from(config.replication_mbit_per_s) * MBIT,
        allow_remote: config.allow_remote,
        disk: Some(disk::Config {
            path: config.store.clone(),
            capacity_bytes: config.store_size.0,
            create: config.format_blank,
        }),
        #[cfg(feature = "faults")]
        test_disk: config.test_disk,
        aligned_payloads: true,
        driver: config.driver,
        ..Setup::new(Peer::Node(config.node), config.cluster, incarnation, key(&config.key)?)
    };
    let mut world = World::new(setup).map_err(|e| cannot_start(&who, &e))?;
    let listening = world.addresses();
    let entry = wire::NodeEntry {
        node: config.node,
        primary: Address(listening.primary.unwrap_or(config.listen)),
        replication: Address(listening.replication.unwrap_or(config.listen_replication)),
    };
    announce(&format!("listening {} {}", entry.primary.0, entry.replication.0));
    let blank =
        if config.format_blank { Blank::Format { uuid: StoreUuid(runtime::entropy_u128()) } } else { Blank::Refuse };
    let identity = Identity { node: config.node, cluster: config.cluster };
    let scrub_period = base::time::Duration::from_secs(config.scrub_period_s);
    let policy = store::Policy { scrub_period, gathered_bytes_min: GATHERED_BYTES, ..store::Policy::default() };
    let store = Store::new(identity, Geometry::standard(config.store_size.0), blank, policy);
    let setup =
        node::Setup { node: config.node, cluster: config.cluster, incarnation, entry, rack: config.rack.clone() };
    let node = Node::new(
        setup,
        store,
        node::Policy { copy_per_s: config.copy_per_s.0, ..node::Policy::default() },
        Rng::new(runtime::entropy_u64()),
    );
    let mut daemon = Daemon {
        who: who.clone(),
        node,
        zone: config.zone,
        started: false,
        ready: false,
        store_told: false,
        displaced: None,
        distrust: None,
    };
    let ended = super::drive(&who, &mut world, &mut daemon);
    if let Some(displaced) = daemon.displaced {
        return Err(displaced.refusal(&who, &world));
    }
    if let Some(why) = daemon.node.failure() {
        return Err(store_failed(&who, &config, why));
    }
    ended
}

fn store_failed(who: &str, config: &Config, why: &store::Phase) -> Refusal {
    let store = config.store.display();
    match why {
        store::Phase::Refused(refusal) => {
            Refusal::new(Code::Start, format!("{who} cannot use its disk {store}: {refusal}"))
        }
        store::Phase::Poisoned(fault) => {
            let text = format!(
                "{who}: a write to its disk {store} failed ({fault:?}) and nothing more is written; its volumes go on elsewhere: \
                 look at the kernel's log, and replace the disk"
            );
            Refusal::new(Code::Fault, text)
        }
        store::Phase::Unreadable(fault) => {
            let row = store::Policy::default().reads_failed_max;
            let text = format!(
                "{who}: its disk {store} failed {row} reads one after the other ({fault:?}) and is given up; its volumes go on elsewhere: \
                 look at the kernel's log, and replace the disk"
            );
            Refusal::new(Code::Fault, text)
        }
        other => unreachable!("a store that works is no failure: {other:?}"),
    }
}
