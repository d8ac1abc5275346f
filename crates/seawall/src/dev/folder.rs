//! The folder of a region: made on the first run, found again on later ones. What is in a zone of it is in `zone`.
//!
//! The configuration files of the processes are the truth about what the region consists of; nothing else records it. Each is
//! written in one step, so that a run that was killed while it made the folder is
//! continued by the next.

use super::ports::{Ports, no_ports};
use super::zone::{self, ZoneFolder};
use crate::config::FromFile;
use crate::config::region::{self, RegionText, ZoneText};
use crate::refusal::{Code, Refusal};
use crate::region::replace;
use base::size::Size;
use base::{ClusterId, HostId, Rng, ZoneNumber};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What was asked for on the command line; what is `None` is as the folder has it.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Name of the region.
    pub region: Option<String>,
    /// How many zones.
    pub zones: Option<u16>,
    /// How many nodes in each.
    pub nodes: Option<u16>,
    /// Bytes of each new node.
    pub node_size: Size,
    /// First port.
    pub port: Option<u16>,
    /// Seconds that a lost copy is waited for before a new one is made elsewhere.
    pub remirror_after_s: Option<u64>,
    /// How many hosts in each.
    pub hosts: Option<u16>,
    /// Bytes in each shard of its volumes.
    pub shard_size: Option<Size>,
}

/// A region's folder, complete, and held by this process.
#[derive(Debug)]
pub struct Folder {
    /// Where, absolute.
    pub dir: PathBuf,
    /// Its zones, in order.
    pub zones: Vec<ZoneFolder>,
    /// Its control plane.
    pub region: region::Region,
    /// Held as long as the region runs: two cannot own one folder.
    _lock: File,
}

/// What a region is called when nobody says how.
const NAME: &str = "local-1";
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
        let mut ports = Ports::new(wish.port.is_some());
        if existing(&dir, "zone").is_none() {
            must_be_empty(&dir)?;
            let name = wish.region.as_deref().unwrap_or(NAME);
            must_name_folders(name, wish.zones.unwrap_or(1))?;
            zone::make(&dir, (name, 0), wish, None, &ports, rng)?;
        }
        let (mut zones, name) = find(&dir, wish)?;
        zones.iter().flat_map(ZoneFolder::ports).for_each(|port| ports.take(port));
        let region_file = match existing(&dir, "region") {
            Some(file) => file,
            None => make_region(&dir, &zones[0], &ports, rng)?,
        };
        let region = region::Region::load(&region_file)?;
        ports.take(region.listen.port());
        ports.take_region(region.metrics.unwrap_or(region.listen).port());
        for zone in &mut zones {
            zone.complete(&dir, wish, &mut ports, rng)?;
        }
        for number in zones.len() as u16..wish.zones.unwrap_or(0) {
            must_fit(&dir.join(zone::name(&name, number)).join(HostId(0).to_string()).join("nbd.sock"))?;
            zone::make(&dir, (&name, number), wish, Some(&zones[0].zone), &ports, rng)?;
            let mut zone = ZoneFolder::find(&dir, &name, number)?;
            zone.ports().for_each(|port| ports.take(port));
            zone.complete(&dir, wish, &mut ports, rng)?;
            zones.push(zone);
        }
        let region = complete_region(&region_file, &zones)?;
        Ok(Self { dir, zones, region, _lock: lock })
    }

    /// The zone of a process; none of the region's.
    pub fn zone_of(&self, id: &str) -> Option<&ZoneFolder> {
        let prefix = id.rfind('/').map_or("", |slash| &id[..=slash]);
        self.zones.iter().find(|zone| zone.prefix == prefix && id != "region")
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
pub fn none_taken_away(dir: &Path, what: &str, there: usize, wanted: Option<u16>) -> Result<(), Refusal> {
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

/// The zones that are there, and what the region is called. They must be what is wished for.
fn find(dir: &Path, wish: &Wish) -> Result<(Vec<ZoneFolder>, String), Refusal> {
    let first = ZoneFolder::find(dir, "", 0)?;
    first.must_agree(dir, wish)?;
    let (name, port) = (first.zone.region.clone(), first.zone.listen.port());
    if let Some(wanted) = wish.port.filter(|wanted| *wanted != port) {
        let text = format!(
            "{} has its ports from {port} on and --port says {wanted}; leave --port out, or choose another folder with --dir",
            dir.display(),
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    let mut zones = vec![first];
    for number in 1..zone::folders(dir)?.len() as u16 {
        let zone = ZoneFolder::find(dir, &name, number)?;
        zone.must_agree(dir, wish)?;
        zones.push(zone);
    }
    none_taken_away(dir, "zones", zones.len(), wish.zones)?;
    must_name_folders(&name, wish.zones.unwrap_or(1))?;
    Ok((zones, name))
}

/// Zones but the first lie in folders of their names.
fn must_name_folders(region: &str, zones: u16) -> Result<(), Refusal> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_ours = (1..zones).any(|number| zone::name(region, number) == "zone");
    if zones <= 1 || (region.chars().all(plain) && !region.starts_with('.') && !is_ours) {
        return Ok(());
    }
    let text = format!(
        "the zones of region {region:?} have folders of their names, which cannot be; choose a --region of letters, digits and hyphens, such as {NAME}"
    );
    Err(Refusal::new(Code::Folder, text))
}

/// A host's socket must be one that can be.
pub fn must_fit(socket: &Path) -> Result<(), Refusal> {
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

/// The configuration of a process, if it is there.
pub fn existing(dir: &Path, id: &str) -> Option<PathBuf> {
    Some(dir.join(id).join("config.toml")).filter(|path| path.exists())
}

/// Writes the configuration of a process.
pub fn write_config(dir: &Path, id: &str, text: &str) -> Result<PathBuf, Refusal> {
    let folder = dir.join(id);
    fs::create_dir_all(&folder).map_err(|e| Refusal::file("make the folder", &folder, &e))?;
    let path = folder.join("config.toml");
    replace(&path, text.as_bytes(), 0o644)?;
    Ok(path)
}

/// The control plane, without its zones yet, and an access key for whoever owns the folder.
fn make_region(dir: &Path, first: &ZoneFolder, ports: &Ports, rng: &mut Rng) -> Result<PathBuf, Refusal> {
    // Behind the authority's, in the row that was looked for; a folder of an earlier build has its nodes there, which need not run now.
    let mut port = first.zone.listen.port().checked_add(1).ok_or_else(no_ports)?;
    if ports.has(port) || ports.has(port.checked_add(1).ok_or_else(no_ports)?) {
        port = ports.free(2, rng)?;
    }
    let (listen, metrics) = (loopback(port), loopback(port + 1));
    let text = RegionText { region: &first.zone.region, id: ClusterId(rng.u128()), listen, metrics };
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
    write_config(dir, "region", &format!("{text}{}", zone_text(first, 0)))
}

/// What the region's configuration says of a zone.
fn zone_text(folder: &ZoneFolder, number: u16) -> String {
    let (zone, key) = (&folder.zone, format!("../{}zone.key", folder.prefix));
    let number = ZoneNumber(number);
    ZoneText { name: &zone.zone, number, cluster: zone.cluster, key: &key, authority: zone.listen }.to_string()
}

/// Has the region know all its zones: those that its configuration lacks come behind the others.
fn complete_region(file: &Path, zones: &[ZoneFolder]) -> Result<region::Region, Refusal> {
    let region = region::Region::load(file)?;
    let is_new = |zone: &&(u16, &ZoneFolder)| region.zones.iter().all(|known| known.cluster != zone.1.zone.cluster);
    let new: String = (0..).zip(zones).filter(|zone| is_new(&zone)).map(|(n, zone)| zone_text(zone, n)).collect();
    if new.is_empty() {
        return Ok(region);
    }
    let text = fs::read_to_string(file).map_err(|e| Refusal::file("read", file, &e))? + &new;
    // It may have been changed by hand: what it cannot be is not written.
    region::Region::read(&text, file)?;
    replace(file, text.as_bytes(), 0o644)?;
    region::Region::load(file)
}

/// This port, for this machine alone.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn wish() -> Wish {
        let (region, zones, nodes, port) = (None, None, None, None);
        let (remirror_after_s, hosts, shard_size) = (None, None, None);
        Wish { region, zones, nodes, node_size: Size(1 << 30), port, remirror_after_s, hosts, shard_size }
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
        assert_eq!((first.zones[0].nodes.len(), first.zones[0].hosts.len()), (4, 1));
        let racks: BTreeSet<_> = first.zones[0].nodes.iter().map(|n| n.rack.clone()).collect();
        assert_eq!(racks.len(), 4);
        assert!(refused(&dir, &wish()).contains("another `seawall dev` runs"));
        let (zone, nodes, hosts) =
            (first.zones[0].zone.clone(), first.zones[0].nodes.clone(), first.zones[0].hosts.clone());
        drop(first);
        let more = Wish { nodes: Some(5), ..wish() };
        let second = Folder::open(&dir, &more, &mut Rng::new(8)).unwrap();
        assert_eq!(
            (&second.zones[0].zone, &second.zones[0].nodes[..4], &second.zones[0].hosts),
            (&zone, &nodes[..], &hosts)
        );
        assert_eq!(ports(&second).len(), 13);
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
        assert_eq!((first.zones[0].hosts.len(), first.zones[0].zone.shard_size), (2, Size(4 << 20)));
        let hosts = first.zones[0].hosts.clone();
        drop(first);
        assert!(refused(&dir, &Wish { hosts: Some(1), ..wish() }).contains("has 2 hosts and --hosts says 1"));
        let more = Folder::open(&dir, &Wish { hosts: Some(3), ..wish() }, &mut Rng::new(8)).unwrap();
        assert!(more.zones[0].hosts.len() == 3 && hosts.iter().all(|host| more.zones[0].hosts.contains(host)));
        drop(more);
        let again = Folder::open(&dir, &wish(), &mut Rng::new(9)).unwrap();
        assert!(again.zones[0].hosts.len() == 3 && again.zones[0].hosts.is_sorted_by_key(|host| host.host));
        fs::remove_dir_all(dir).unwrap();
    }

    /// The ports of all processes; no two may have the same.
    fn ports(folder: &Folder) -> BTreeSet<u16> {
        let all: Vec<u16> = folder
            .zones
            .iter()
            .flat_map(ZoneFolder::ports)
            .chain([&folder.region.listen, folder.region.metrics.as_ref().unwrap()].map(|at| at.port()))
            .collect();
        let ports: BTreeSet<u16> = all.iter().copied().collect();
        assert_eq!(ports.len(), all.len(), "{all:?}");
        ports
    }

    #[test]
    fn a_region_of_several_zones_has_whole_ones_that_share_nothing() {
        let dir = place("zones");
        let three = Wish { zones: Some(3), nodes: Some(3), remirror_after_s: Some(7), ..wish() };
        let folder = Folder::open(&dir, &three, &mut Rng::new(7)).unwrap();
        let named: Vec<_> = folder.region.zones.iter().map(|z| (z.name.as_str(), z.number.0, z.authority)).collect();
        let own: Vec<_> = (0..).zip(&folder.zones).map(|(n, z)| (z.zone.zone.as_str(), n, z.zone.listen)).collect();
        assert_eq!(named, own);
        assert_eq!(named.iter().map(|(name, ..)| *name).collect::<Vec<_>>(), ["local-1a", "local-1b", "local-1c"]);
        let mut keys = BTreeSet::new();
        for (zone, known) in folder.zones.iter().zip(&folder.region.zones) {
            assert_eq!((zone.nodes.len(), zone.hosts.len(), zone.zone.remirror_after_s), (3, 1, 7));
            assert_eq!(zone.zone.cluster, known.cluster);
            assert!(zone.nodes.iter().all(|n| n.cluster == known.cluster && n.zone == known.authority));
            // The same file, by another way.
            let read = |path: &Path| fs::read_to_string(path).unwrap();
            assert_eq!(read(&zone.zone.key), read(&known.key));
            assert!(keys.insert(read(&known.key)) && zone.hosts[0].cluster == known.cluster);
        }
        ports(&folder);
        let ids: Vec<String> = folder.zones.iter().map(ZoneFolder::authority_id).collect();
        assert_eq!(ids, ["zone", "local-1b/zone", "local-1c/zone"]);
        for id in ids.iter().chain(&folder.zones[1].node_ids().collect::<Vec<_>>()) {
            assert!(folder.config(id).exists(), "{id}");
            assert_eq!(
                folder.zone_of(id).unwrap().prefix,
                id.rsplit_once('/').map_or(String::new(), |(zone, _)| format!("{zone}/"))
            );
        }
        assert!(folder.zone_of("region").is_none());
        let (region, known) = (folder.region.clone(), ports(&folder));
        drop(folder);
        // Found again as it was, and given more of everything.
        let again = Folder::open(&dir, &wish(), &mut Rng::new(8)).unwrap();
        assert_eq!((&again.region, ports(&again)), (&region, known));
        drop(again);
        assert!(refused(&dir, &Wish { zones: Some(2), ..wish() }).contains("has 3 zones"));
        let more = Wish { zones: Some(4), nodes: Some(5), hosts: Some(2), ..wish() };
        let more = Folder::open(&dir, &more, &mut Rng::new(9)).unwrap();
        assert!(more.zones.len() == 4 && more.zones.iter().all(|z| (z.nodes.len(), z.hosts.len()) == (5, 2)));
        assert_eq!((&more.region.zones[..3], ports(&more).len()), (&region.zones[..], 4 * 11 + 2));
        drop(more);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_folder_of_one_zone_becomes_one_of_two_and_its_zone_stays_where_it_is() {
        let dir = place("becomes");
        let first = Folder::open(&dir, &wish(), &mut Rng::new(7)).unwrap();
        let (zone, cluster) = (first.zones[0].zone.clone(), first.zones[0].zone.cluster);
        drop(first);
        // As the builds wrote it that knew one zone only.
        let file = dir.join("region/config.toml");
        let text = fs::read_to_string(&file).unwrap().replace("number = 0\n", "");
        fs::write(&file, &text).unwrap();
        drop(Folder::open(&dir, &wish(), &mut Rng::new(8)).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), text, "nothing is written that need not be");
        let two = Wish { zones: Some(2), port: Some(zone.listen.port()), ..wish() };
        let second = Folder::open(&dir, &two, &mut Rng::new(8)).unwrap();
        assert_eq!(second.zones[0].zone, zone);
        let known: Vec<_> = second.region.zones.iter().map(|z| (z.number.0, z.cluster)).collect();
        assert_eq!(known, [(0, cluster), (1, second.zones[1].zone.cluster)]);
        // Behind all others, since the first port was chosen: in a row.
        assert_eq!(ports(&second), (zone.listen.port()..zone.listen.port() + 20).collect());
        drop(second);
        // One that was killed before the region knew of the zone is gone on with.
        fs::write(&file, &text).unwrap();
        let again = Folder::open(&dir, &wish(), &mut Rng::new(9)).unwrap();
        assert_eq!(again.region.zones.iter().map(|z| (z.number.0, z.cluster)).collect::<Vec<_>>(), known);
        drop(again);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_region_whose_zones_could_have_no_folders_is_refused_before_anything_is_made() {
        for name in ["a/b", "../x", "zon"] {
            let dir = place("names");
            let wish = Wish { region: Some(name.into()), zones: Some(5), ..wish() };
            assert!(refused(&dir, &wish).contains("folders of their names"), "{name}");
            assert!(!dir.join("zone").exists());
            fs::remove_dir_all(dir).unwrap();
        }
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
        let host = made.zones[0].hosts[0].host.to_string();
        drop(made);
        fs::remove_dir_all(dir.join("node-4")).unwrap();
        fs::remove_dir_all(dir.join(host)).unwrap();
        let again = Folder::open(&dir, &wish(), &mut Rng::new(9)).unwrap();
        assert_eq!((again.zones[0].nodes.len(), again.zones[0].hosts.len()), (4, 1));
        fs::remove_dir_all(dir).unwrap();
    }
}
