//! The folder of a region: made on the first run, found again on later ones.
//!
//! The configuration files of the processes are the truth about what the region consists of; nothing else records it. Each is
//! written in one step, so that a run that was killed while it made the folder is
//! continued by the next.

use crate::config::region::{self, RegionText};
use crate::config::{FromFile, Host, HostText, Node, NodeText, Zone, ZoneText};
use crate::refusal::{Code, Refusal};
use crate::region::replace;
use base::size::Size;
use base::{ClusterId, HostId, NodeId, Rng};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// What was asked for on the command line; what is `None` is as the folder has it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Name of the region.
    pub region: Option<String>,
    /// How many nodes.
    pub nodes: Option<u16>,
    /// Bytes of each new node.
    pub node_size: Size,
    /// First port.
    pub port: Option<u16>,
    /// Seconds that a lost copy is waited for before a new one is made elsewhere.
    pub remirror_after_s: Option<u64>,
    /// How many hosts.
    pub hosts: Option<u16>,
    /// Bytes in each shard of its volumes.
    pub shard_size: Option<Size>,
}

/// A region's folder, complete, and held by this process.
#[derive(Debug)]
pub struct Folder {
    /// Where, absolute.
    pub dir: PathBuf,
    /// Its zone.
    pub zone: Zone,
    /// Its control plane.
    pub region: region::Region,
    /// Its nodes, in order.
    pub nodes: Vec<Node>,
    /// Its hosts, in order.
    pub hosts: Vec<Host>,
    /// Held as long as the region runs: two cannot own one folder.
    _lock: File,
}

/// Nodes of a region when nobody says how many: three for the copies and one to mirror to when one is lost.
const NODES: u16 = 4;
/// Hosts of a region when nobody says how many.
const HOSTS: u16 = 1;
/// Bytes in each shard of its volumes when nobody says how many; what a zone takes that is not told.
const SHARD_SIZE: Size = Size(128 << 30);
/// Long enough to start a killed node again before its copies are made elsewhere, short enough to watch them being made.
const REMIRROR_AFTER_S: u64 = 10;
/// A node that is not heard for so long has failed; likewise short.
const FAILED_AFTER_S: u64 = 5;
/// A Unix socket's path, its end included, must fit into 108 bytes (unix(7)).
const SOCKET_PATH_BYTES_MAX: usize = 107;

impl Folder {
    /// Makes the folder, or finds it as it was left. Holds it until dropped.
    pub fn open(dir: &Path, wish: &Wish, rng: &mut Rng) -> Result<Self, Refusal> {
        let absolute = std::path::absolute(dir).map_err(|e| Refusal::file("resolve", dir, &e))?;
        must_fit(&absolute.join(HostId(0).to_string()).join("nbd.sock"))?;
        fs::create_dir_all(dir).map_err(|e| Refusal::file("make the folder", dir, &e))?;
        let dir = fs::canonicalize(dir).map_err(|e| Refusal::file("resolve", dir, &e))?;
        let lock = lock(&dir)?;
        let zone_file = dir.join("zone/config.toml");
        if !zone_file.exists() {
            must_be_empty(&dir)?;
            make_zone(&dir, wish, rng)?;
        }
        let zone = Zone::load(&zone_file)?;
        must_agree(&dir, wish, &zone)?;
        let mut nodes = Vec::new();
        while let Some(config) = existing(&dir, &NodeId(nodes.len() as u64 + 1).to_string()) {
            nodes.push(Node::load(&config)?);
        }
        let region_file = match existing(&dir, "region") {
            Some(file) => file,
            None => make_region(&dir, &zone, &nodes, rng)?,
        };
        let region = region::Region::load(&region_file)?;
        let mut hosts = find_hosts(&dir)?;
        // The host is made last: without one, the run that made the folder did not come to its end.
        let wanted = usize::from(wish.nodes.unwrap_or(if hosts.is_empty() { NODES } else { 0 }));
        none_taken_away(&dir, "nodes", nodes.len(), wish.nodes)?;
        none_taken_away(&dir, "hosts", hosts.len(), wish.hosts)?;
        while nodes.len() < wanted {
            let config = make_node(&dir, wish, (&zone, region.listen.port()), &nodes, rng)?;
            nodes.push(Node::load(&config)?);
        }
        while hosts.len() < usize::from(wish.hosts.unwrap_or(HOSTS)) {
            hosts.push(make_host(&dir, &zone, rng)?);
        }
        let mut hosts = hosts.iter().map(|path| Host::load(path)).collect::<Result<Vec<_>, _>>()?;
        hosts.sort_by_key(|host| host.host);
        // A symbolic link may have led to a longer path than the one that was typed.
        hosts.iter().try_for_each(|host| must_fit(&host.nbd_socket))?;
        Ok(Self { dir, zone, region, nodes, hosts, _lock: lock })
    }

    /// The configuration file of one of its processes.
    pub fn config(&self, id: &str) -> PathBuf {
        self.dir.join(id).join("config.toml")
    }

    /// Where the number of the last process of an id stands.
    pub fn pid(&self, id: &str) -> PathBuf {
        self.dir.join(id).join("pid")
    }

    /// Where one of its processes logs.
    pub fn log(&self, id: &str) -> PathBuf {
        self.dir.join(id).join("log")
    }
}

fn lock(dir: &Path) -> Result<File, Refusal> {
    let path = dir.join("dev.lock");
    let file = File::options().create(true).append(true).open(&path).map_err(|e| Refusal::file("open", &path, &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let text = format!(
                "another `seawall dev` runs in {}; interrupt it first, or choose another folder with --dir",
                dir.display()
            );
            Err(Refusal::new(Code::Folder, text))
        }
        Err(fs::TryLockError::Error(e)) => Err(Refusal::file("lock", &path, &e)),
    }
}

/// A region is not poured into a folder that holds something else: a mistyped --dir must not fill a home.
fn must_be_empty(dir: &Path) -> Result<(), Refusal> {
    let entries = fs::read_dir(dir).map_err(|e| Refusal::file("list", dir, &e))?;
    let ours = ["dev.lock", "zone.key", "zone.key.new", "zone", "access.keys", "access.keys.new", "region"];
    for entry in entries {
        let name = entry.map_err(|e| Refusal::file("list", dir, &e))?.file_name();
        if !ours.iter().any(|known| name == *known) {
            let text = format!(
                "{} holds {name:?} and no region; choose an empty or new folder with --dir, or one that `seawall dev` made",
                dir.display()
            );
            return Err(Refusal::new(Code::Folder, text));
        }
    }
    Ok(())
}

/// Processes are added here, and never taken away.
fn none_taken_away(dir: &Path, what: &str, there: usize, wanted: Option<u16>) -> Result<(), Refusal> {
    if wanted.is_none_or(|wanted| usize::from(wanted) >= there) {
        return Ok(());
    }
    let text = format!(
        "{} has {there} {what} and --{what} says {}; {what} are not taken away here: say --{what} {there} or leave it out",
        dir.display(),
        wanted.unwrap_or_default()
    );
    Err(Refusal::new(Code::Folder, text))
}

fn must_agree(dir: &Path, wish: &Wish, zone: &Zone) -> Result<(), Refusal> {
    if let Some(region) = wish.region.as_ref().filter(|r| **r != zone.region) {
        let text = format!(
            "{} is region {:?} and --region says {region:?}; leave --region out, or choose another folder with --dir",
            dir.display(),
            zone.region
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    if let Some(seconds) = wish.remirror_after_s.filter(|s| *s != zone.remirror_after_s) {
        let text = format!(
            "{} waits {} s for a lost copy and --remirror-after says {seconds}; change remirror_after_s in {}",
            dir.display(),
            zone.remirror_after_s,
            dir.join("zone/config.toml").display()
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    if let Some(size) = wish.shard_size.filter(|s| *s != zone.shard_size) {
        let text = format!(
            "{} makes shards of {} and --shard-size says {size}; change shard_size in {}",
            dir.display(),
            zone.shard_size,
            dir.join("zone/config.toml").display()
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    if let Some(port) = wish.port.filter(|p| *p != zone.listen.port()) {
        let text = format!(
            "{} has its ports from {} on and --port says {port}; leave --port out, or choose another folder with --dir",
            dir.display(),
            zone.listen.port()
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    Ok(())
}

fn must_fit(socket: &Path) -> Result<(), Refusal> {
    let bytes = socket.as_os_str().len();
    if bytes <= SOCKET_PATH_BYTES_MAX {
        return Ok(());
    }
    let text = format!(
        "the path of the socket {} has {bytes} bytes and a Unix socket's may have {SOCKET_PATH_BYTES_MAX}; choose a folder \
         with a shorter path with --dir",
        socket.display()
    );
    Err(Refusal::new(Code::Folder, text))
}

fn existing(dir: &Path, id: &str) -> Option<PathBuf> {
    Some(dir.join(id).join("config.toml")).filter(|path| path.exists())
}

fn find_hosts(dir: &Path) -> Result<Vec<PathBuf>, Refusal> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).map_err(|e| Refusal::file("list", dir, &e))? {
        let name = entry.map_err(|e| Refusal::file("list", dir, &e))?.file_name();
        if let Some(name) = name.to_str().filter(|n| n.parse::<HostId>().is_ok()) {
            found.extend(existing(dir, name));
        }
    }
    Ok(found.into_iter().collect())
}

fn write_config(dir: &Path, id: &str, text: &str) -> Result<PathBuf, Refusal> {
    let folder = dir.join(id);
    fs::create_dir_all(&folder).map_err(|e| Refusal::file("make the folder", &folder, &e))?;
    let path = folder.join("config.toml");
    replace(&path, text.as_bytes(), 0o644)?;
    Ok(path)
}

fn make_zone(dir: &Path, wish: &Wish, rng: &mut Rng) -> Result<(), Refusal> {
    replace(&dir.join("zone.key"), format!("{}\n", runtime::ZoneKey::generate().to_hex()).as_bytes(), 0o600)?;
    // The authority's, the region's, and two of each node.
    let count = 2 + 2 * wish.nodes.unwrap_or(NODES);
    let region = wish.region.as_deref().unwrap_or("local-1");
    let zone = format!("{region}a");
    let text = ZoneText {
        region,
        zone: &zone,
        cluster: ClusterId(rng.u128()),
        listen: loopback(match wish.port {
            Some(port) => port,
            None => free_ports(count, rng)?,
        }),
        remirror_after_s: wish.remirror_after_s.unwrap_or(REMIRROR_AFTER_S),
        failed_after_s: FAILED_AFTER_S,
        shard_size: wish.shard_size.unwrap_or(SHARD_SIZE),
    };
    write_config(dir, "zone", &text.to_string()).map(drop)
}

/// The control plane, and an access key for whoever owns the folder.
fn make_region(dir: &Path, zone: &Zone, nodes: &[Node], rng: &mut Rng) -> Result<PathBuf, Refusal> {
    // Behind the authority's, in the row that was looked for; a folder of an earlier build has its nodes there, which need not run now.
    let is_nodes = |port: u16| nodes.iter().any(|n| [n.listen.port(), n.listen_replication.port()].contains(&port));
    let mut port = zone.listen.port().checked_add(1).ok_or_else(no_ports)?;
    while is_nodes(port) {
        port = free_ports(1, rng)?;
    }
    let text = RegionText {
        region: &zone.region,
        id: ClusterId(rng.u128()),
        listen: loopback(port),
        zone: &zone.zone,
        cluster: zone.cluster,
        authority: zone.listen,
    };
    let keys = dir.join("access.keys");
    if !keys.exists() {
        // As AWS's look, so that tools which check them are content.
        let of = |alphabet: &[u8], count: usize| -> String {
            let letter = |_| char::from(alphabet[(runtime::entropy_u64() % alphabet.len() as u64) as usize]);
            (0..count).map(letter).collect()
        };
        let id = format!("AKIA{}", of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16));
        let secret = of(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 40);
        replace(&keys, format!("{id} {secret} 000000000001\n").as_bytes(), 0o600)?;
    }
    write_config(dir, "region", &text.to_string())
}

fn make_node(
    dir: &Path,
    wish: &Wish,
    (zone, region_port): (&Zone, u16),
    nodes: &[Node],
    rng: &mut Rng,
) -> Result<PathBuf, Refusal> {
    let number = nodes.len() + 1;
    let highest = nodes.iter().map(|n| n.listen_replication.port()).max().unwrap_or(zone.listen.port());
    let highest = highest.max(region_port);
    let next = highest.checked_add(2).map(|second| second - 1).ok_or_else(no_ports)?;
    // A node that is added later may find that somebody else has taken the ports behind the others'.
    let port = if wish.port.is_some() || (is_free(next) && is_free(next + 1)) { next } else { free_ports(2, rng)? };
    let text = NodeText {
        node: NodeId(number as u64),
        cluster: zone.cluster,
        zone: zone.listen,
        rack: &format!("r{number}"),
        listen: loopback(port),
        listen_replication: loopback(port + 1),
        store_size: wish.node_size,
        // A file that is gone is a disk that was replaced: the node then comes back as another member, and empty.
        format_blank: true,
    };
    write_config(dir, &text.node.to_string(), &text.to_string())
}

fn make_host(dir: &Path, zone: &Zone, rng: &mut Rng) -> Result<PathBuf, Refusal> {
    let text = HostText { host: HostId(rng.u64()), cluster: zone.cluster, zone: zone.listen };
    write_config(dir, &text.host.to_string(), &text.to_string())
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn no_ports() -> Refusal {
    Refusal::new(Code::Folder, "no free ports in a row were found on 127.0.0.1; choose the first one with --port")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(loopback(port)).is_ok()
}

/// The first of `count` ports in a row that nobody listens on. Below the range from which the kernel takes ports for
/// outgoing connections (32768 and up by default): a port of a node that is down must not be lent to a client meanwhile,
/// and a connection to it must not meet itself.
fn free_ports(count: u16, rng: &mut Rng) -> Result<u16, Refusal> {
    (0..200)
        .map(|_| rng.within(20_000, 32_000 - u64::from(count)) as u16)
        .find(|first| (*first..*first + count).all(is_free))
        .ok_or_else(no_ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        let (region, nodes, port, remirror_after_s, hosts, shard_size) = (None, None, None, None, None, None);
        Wish { region, nodes, node_size: Size(1 << 30), port, remirror_after_s, hosts, shard_size }
    }

    fn place(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("seawall-folder-{name}-{}", std::process::id()))
    }

    fn refused(dir: &Path, wish: &Wish) -> String {
        let refusal = Folder::open(dir, wish, &mut Rng::new(1)).unwrap_err();
        assert_eq!(refusal.code, Code::Folder, "{refusal}");
        refusal.text
    }

    #[test]
    fn a_folder_is_found_again_as_it_was_made_and_can_be_given_more_nodes() {
        let dir = place("again");
        let first = Folder::open(&dir, &wish(), &mut Rng::new(7)).unwrap();
        assert_eq!((first.nodes.len(), first.hosts.len()), (4, 1));
        let racks: BTreeSet<_> = first.nodes.iter().map(|n| n.rack.clone()).collect();
        assert_eq!(racks.len(), 4);
        assert!(refused(&dir, &wish()).contains("another `seawall dev` runs"));
        let (zone, nodes, hosts) = (first.zone.clone(), first.nodes.clone(), first.hosts.clone());
        drop(first);
        let more = Wish { nodes: Some(5), ..wish() };
        let second = Folder::open(&dir, &more, &mut Rng::new(8)).unwrap();
        assert_eq!((&second.zone, &second.nodes[..4], &second.hosts), (&zone, &nodes[..], &hosts));
        let ports: BTreeSet<u16> = second
            .nodes
            .iter()
            .flat_map(|n| [n.listen.port(), n.listen_replication.port()])
            .chain([zone.listen.port(), second.region.listen.port()])
            .collect();
        assert_eq!(ports.len(), 12);
        drop(second);
        assert!(refused(&dir, &Wish { nodes: Some(3), ..wish() }).contains("has 5 nodes"));
        assert!(refused(&dir, &Wish { region: Some("other".into()), ..wish() }).contains("is region \"local-1\""));
        let port = Some(zone.listen.port() - 1);
        assert!(refused(&dir, &Wish { port, ..wish() }).contains("has its ports from"));
        let remirror_after_s = Some(77);
        assert!(refused(&dir, &Wish { remirror_after_s, ..wish() }).contains("waits 10 s"));
        let shard_size = Some(Size(1 << 20));
        assert!(refused(&dir, &Wish { shard_size, ..wish() }).contains("makes shards of 128GiB"));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_can_be_given_more_hosts_and_none_is_taken_away() {
        let dir = place("hosts");
        let shard_size = Some(Size(4 << 20));
        let first = Folder::open(&dir, &Wish { hosts: Some(2), shard_size, ..wish() }, &mut Rng::new(7)).unwrap();
        assert_eq!((first.hosts.len(), first.zone.shard_size), (2, Size(4 << 20)));
        let hosts = first.hosts.clone();
        drop(first);
        assert!(refused(&dir, &Wish { hosts: Some(1), ..wish() }).contains("has 2 hosts and --hosts says 1"));
        let more = Folder::open(&dir, &Wish { hosts: Some(3), ..wish() }, &mut Rng::new(8)).unwrap();
        assert!(more.hosts.len() == 3 && hosts.iter().all(|host| more.hosts.contains(host)));
        drop(more);
        let again = Folder::open(&dir, &wish(), &mut Rng::new(9)).unwrap();
        assert!(again.hosts.len() == 3 && again.hosts.is_sorted_by_key(|host| host.host));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_key_is_readable_by_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = place("key");
        let folder = Folder::open(&dir, &wish(), &mut Rng::new(7)).unwrap();
        let mode = fs::metadata(folder.dir.join("zone.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_of_something_else_and_a_path_too_long_for_sockets_are_refused() {
        let dir = place("else");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("thesis.txt"), "precious").unwrap();
        assert!(refused(&dir, &wish()).contains("thesis.txt"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2);
        fs::remove_dir_all(&dir).unwrap();
        let deep = place(&"x".repeat(100));
        assert!(refused(&deep, &wish()).contains("a Unix socket's may have 107"));
        assert!(!deep.exists());
    }

    #[test]
    fn a_folder_that_was_half_made_is_completed() {
        let dir = place("half");
        let made = Folder::open(&dir, &wish(), &mut Rng::new(7)).unwrap();
        let host = made.hosts[0].host.to_string();
        drop(made);
        fs::remove_dir_all(dir.join("node-4")).unwrap();
        fs::remove_dir_all(dir.join(host)).unwrap();
        let again = Folder::open(&dir, &wish(), &mut Rng::new(9)).unwrap();
        assert_eq!((again.nodes.len(), again.hosts.len()), (4, 1));
        fs::remove_dir_all(dir).unwrap();
    }
}
