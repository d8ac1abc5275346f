//! One zone in the folder of a region: its key, its authority, its nodes, its hosts. The first lies in the folder itself, as the only one of a region always did; each
//! further one in a folder of its name.

use super::folder::{Wish, existing, loopback, must_fit, none_taken_away, write_config};
use super::ports::Ports;
use crate::config::{FromFile, Host, HostText, Node, NodeText, Zone, ZoneText};
use crate::refusal::{Code, Refusal};
use crate::region::replace;
use base::size::Size;
use base::{ClusterId, HostId, NodeId, Rng};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Nodes of a zone when nobody says how many: three for the copies and one to mirror to when one is lost.
const NODES: u16 = 4;
/// Hosts of a zone when nobody says how many.
const HOSTS: u16 = 1;
/// Bytes in each shard of its volumes when nobody says how many; what a zone takes that is not told.
const SHARD_SIZE: Size = Size(128 << 30);
/// Long enough to start a killed node again before its copies are made elsewhere, short enough to watch them being made.
const REMIRROR_AFTER_S: u64 = 10;
/// A node that is not heard for so long has failed; likewise short.
const FAILED_AFTER_S: u64 = 5;

/// A zone of a folder.
#[derive(Debug)]
pub struct ZoneFolder {
    /// What the ids of its processes begin with: nothing in the first zone, its name and a slash in others. So their folders lie in that of the region.
    pub prefix: String,
    /// Its authority.
    pub zone: Zone,
    /// Its nodes, in order.
    pub nodes: Vec<Node>,
    /// Its hosts, in order.
    pub hosts: Vec<Host>,
}

/// What the zone of this number is called, counted from 0.
pub fn name(region: &str, number: u16) -> String {
    let letter = u8::try_from(number).ok().and_then(|n| b'a'.checked_add(n)).expect("a region has few zones");
    format!("{region}{}", char::from(letter))
}

fn prefix(region: &str, number: u16) -> String {
    if number == 0 { String::new() } else { format!("{}/", name(region, number)) }
}

/// The folder of the zone whose ids begin so.
fn folder_of(dir: &Path, prefix: &str) -> PathBuf {
    if prefix.is_empty() { dir.to_path_buf() } else { dir.join(prefix.trim_end_matches('/')) }
}

/// The zones that a folder has, by name, with their folders; none when it holds no region.
pub fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, Refusal> {
    let Some(first) = existing(dir, "zone") else { return Ok(Vec::new()) };
    let region = Zone::load(&first)?.region;
    let at = |number| folder_of(dir, &prefix(&region, number));
    let there = (0..26).map(at).take_while(|zone| existing(zone, "zone").is_some());
    there.map(|zone| Zone::load(&zone.join("zone/config.toml")).map(|config| (config.zone, zone))).collect()
}

/// Makes the key and the authority of the zone of this number. A further one is as the first, where nobody wishes otherwise.
pub fn make(
    dir: &Path,
    (region, number): (&str, u16),
    wish: &Wish,
    first: Option<&Zone>,
    ports: &Ports,
    rng: &mut Rng,
) -> Result<(), Refusal> {
    let name = name(region, number);
    let at = folder_of(dir, &prefix(region, number));
    fs::create_dir_all(&at).map_err(|e| Refusal::file("make the folder", &at, &e))?;
    replace(&at.join("zone.key"), format!("{}\n", runtime::ZoneKey::generate().to_hex()).as_bytes(), 0o600)?;
    // The authority's, the region's two beside the first, and two of each node.
    let count = 1 + 2 * u16::from(number == 0) + 2 * wish.nodes.unwrap_or(NODES);
    let port = match (wish.port, ports.highest()) {
        (Some(port), None) => port,
        (Some(_), Some(highest)) => ports.behind(highest, count, rng)?,
        (None, _) => ports.free(count, rng)?,
    };
    let text = ZoneText {
        region,
        zone: &name,
        cluster: ClusterId(rng.u128()),
        listen: loopback(port),
        remirror_after_s: wish.remirror_after_s.or(first.map(|z| z.remirror_after_s)).unwrap_or(REMIRROR_AFTER_S),
        failed_after_s: first.map_or(FAILED_AFTER_S, |z| z.failed_after_s),
        shard_size: wish.shard_size.or(first.map(|z| z.shard_size)).unwrap_or(SHARD_SIZE),
    };
    write_config(&at, "zone", &text.to_string()).map(drop)
}

impl ZoneFolder {
    /// Finds what there is of the zone of this number.
    pub fn find(dir: &Path, region: &str, number: u16) -> Result<Self, Refusal> {
        let prefix = prefix(region, number);
        let at = folder_of(dir, &prefix);
        let zone = Zone::load(&at.join("zone/config.toml"))?;
        let mut nodes = Vec::new();
        while let Some(config) = existing(&at, &NodeId(nodes.len() as u64 + 1).to_string()) {
            nodes.push(Node::load(&config)?);
        }
        let mut found = Self { prefix, zone, nodes, hosts: Vec::new() };
        found.load_hosts(&at)?;
        Ok(found)
    }

    fn load_hosts(&mut self, at: &Path) -> Result<(), Refusal> {
        self.hosts = find_hosts(at)?.iter().map(|path| Host::load(path)).collect::<Result<Vec<_>, _>>()?;
        self.hosts.sort_by_key(|host| host.host);
        Ok(())
    }

    /// The ports that its processes have.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        let nodes = self.nodes.iter().flat_map(|n| [n.listen.port(), n.listen_replication.port()]);
        std::iter::once(self.zone.listen.port()).chain(nodes)
    }

    /// Makes the nodes and hosts that it lacks.
    pub fn complete(&mut self, dir: &Path, wish: &Wish, ports: &mut Ports, rng: &mut Rng) -> Result<(), Refusal> {
        let at = folder_of(dir, &self.prefix);
        // The host is made last: without one, the run that made the zone did not come to its end.
        let wanted = usize::from(wish.nodes.unwrap_or(if self.hosts.is_empty() { NODES } else { 0 }));
        none_taken_away(&at, "nodes", self.nodes.len(), wish.nodes)?;
        none_taken_away(&at, "hosts", self.hosts.len(), wish.hosts)?;
        while self.nodes.len() < wanted {
            let config = self.make_node(&at, wish, ports, rng)?;
            self.nodes.push(Node::load(&config)?);
            self.ports().for_each(|port| ports.take(port));
        }
        for _ in self.hosts.len()..usize::from(wish.hosts.unwrap_or(HOSTS)) {
            let text = HostText { host: HostId(rng.u64()), cluster: self.zone.cluster, zone: self.zone.listen };
            write_config(&at, &text.host.to_string(), &text.to_string())?;
        }
        self.load_hosts(&at)?;
        // A symbolic link may have led to a longer path than the one that was typed.
        self.hosts.iter().try_for_each(|host| must_fit(&host.nbd_socket))
    }

    fn make_node(&self, at: &Path, wish: &Wish, ports: &Ports, rng: &mut Rng) -> Result<PathBuf, Refusal> {
        let number = self.nodes.len() + 1;
        let highest = self.ports().max().expect("its authority has one");
        // The region's stands behind the first authority's.
        let highest = highest.max(ports.region().filter(|_| self.prefix.is_empty()).unwrap_or(0));
        let port = ports.behind(highest, 2, rng)?;
        let text = NodeText {
            node: NodeId(number as u64),
            cluster: self.zone.cluster,
            zone: self.zone.listen,
            rack: &format!("r{number}"),
            listen: loopback(port),
            listen_replication: loopback(port + 1),
            store_size: wish.node_size,
            // A file that is gone is a disk that was replaced: the node then comes back as another member, and empty.
            format_blank: true,
        };
        write_config(at, &text.node.to_string(), &text.to_string())
    }

    /// The id of its authority's process.
    pub fn authority_id(&self) -> String {
        format!("{}zone", self.prefix)
    }

    /// Those of its nodes' processes.
    pub fn node_ids(&self) -> impl Iterator<Item = String> {
        self.nodes.iter().map(|n| format!("{}{}", self.prefix, n.node))
    }

    /// Those of its hosts' processes.
    pub fn host_ids(&self) -> impl Iterator<Item = String> {
        self.hosts.iter().map(|h| format!("{}{}", self.prefix, h.host))
    }

    /// What was asked for must be as it is.
    pub fn must_agree(&self, dir: &Path, wish: &Wish) -> Result<(), Refusal> {
        let (zone, at) = (&self.zone, folder_of(dir, &self.prefix));
        let (dir, config) = (at.display(), at.join("zone/config.toml"));
        let config = config.display();
        let refuse = |text: String| Err(Refusal::new(Code::Folder, text));
        if let Some(region) = wish.region.as_ref().filter(|r| **r != zone.region) {
            return refuse(format!(
                "{dir} is region {:?} and --region says {region:?}; leave --region out, or choose another folder with --dir",
                zone.region
            ));
        }
        if let Some(seconds) = wish.remirror_after_s.filter(|s| *s != zone.remirror_after_s) {
            return refuse(format!(
                "{dir} waits {} s for a lost copy and --remirror-after says {seconds}; change remirror_after_s in {config}",
                zone.remirror_after_s
            ));
        }
        if let Some(size) = wish.shard_size.filter(|s| *s != zone.shard_size) {
            return refuse(format!(
                "{dir} makes shards of {} and --shard-size says {size}; change shard_size in {config}",
                zone.shard_size
            ));
        }
        Ok(())
    }
}

fn find_hosts(at: &Path) -> Result<BTreeSet<PathBuf>, Refusal> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(at).map_err(|e| Refusal::file("list", at, &e))? {
        let name = entry.map_err(|e| Refusal::file("list", at, &e))?.file_name();
        if let Some(name) = name.to_str().filter(|n| n.parse::<HostId>().is_ok()) {
            found.extend(existing(at, name));
        }
    }
    Ok(found)
}
