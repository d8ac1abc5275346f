//! The configuration files of the daemons: TOML, every key known, every path relative to the file's folder.
//!
//! A commented example of each is printed by `--print-config`; `seawall dev` writes its processes' files in the same words.

use crate::refusal::{Code, Refusal};
use base::size::Size;
use base::{ClusterId, HostId, NodeId};
use runtime::Driver;
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Of `seawall zone`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// The region's name.
    pub region: String,
    /// The zone's name.
    pub zone: String,
    /// The cluster it is the authority of.
    #[serde(deserialize_with = "written")]
    pub cluster: ClusterId,
    /// File of the zone's key.
    pub key: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether an address other than loopback may be listened on.
    #[serde(default)]
    pub allow_remote: bool,
    /// File of its metadata.
    pub meta: PathBuf,
    /// Seconds that a lost copy is waited for before a new one is made elsewhere.
    #[serde(default = "remirror_after_s")]
    pub remirror_after_s: u64,
    /// Seconds after which a node that is not heard counts as failed, and a copy that makes no progress is tried elsewhere.
    #[serde(default = "failed_after_s")]
    pub failed_after_s: u64,
    /// Seconds that a node whose disk is slow is given nothing at least; twice as many each time it is slow again.
    #[serde(default = "slow_probation_s")]
    pub slow_probation_s: u64,
    /// Bytes in each shard of a volume that is made from now on, but its last.
    #[serde(default = "shard_size", deserialize_with = "shard")]
    pub shard_size: Size,
    /// What moves its bytes.
    #[serde(default, deserialize_with = "written")]
    pub driver: Driver,
}

/// Of `seawall node`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its id.
    #[serde(deserialize_with = "written")]
    pub node: NodeId,
    /// Its cluster.
    #[serde(deserialize_with = "written")]
    pub cluster: ClusterId,
    /// File of the zone's key.
    pub key: PathBuf,
    /// Where the zone's authority listens.
    pub zone: SocketAddr,
    /// Its failure domain.
    pub rack: String,
    /// Where it listens on the primary network.
    pub listen: SocketAddr,
    /// Where it listens on the replication network.
    pub listen_replication: SocketAddr,
    /// What the replication network carries for this node, in Mbit/s: links that ride it keep to a share of that.
    #[serde(default = "replication_mbit_per_s", deserialize_with = "replication_mbit")]
    pub replication_mbit_per_s: u32,
    /// Whether addresses other than loopback may be listened on.
    #[serde(default)]
    pub allow_remote: bool,
    /// Its disk: a file or a block device.
    pub store: PathBuf,
    /// Bytes of it to use.
    #[serde(deserialize_with = "written")]
    pub store_size: Size,
    /// Whether a blank disk is formatted. When false, a blank disk is refused: it may be the wrong one.
    #[serde(default)]
    pub format_blank: bool,
    /// Bytes sent to learners in each second.
    #[serde(default = "copy_per_s", deserialize_with = "copy")]
    pub copy_per_s: Size,
    /// Within this time all of its disk that is in use is read and checked once; 0 is never.
    #[serde(default = "scrub_period_s")]
    pub scrub_period_s: u64,
    /// Which disk for tests it has, if any.
    #[cfg(feature = "faults")]
    #[serde(default, deserialize_with = "written_if_there")]
    pub test_disk: Option<runtime::disk::TestDisk>,
    /// What moves its bytes.
    #[serde(default, deserialize_with = "written")]
    pub driver: Driver,
}

/// Of `seawall host`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its id.
    #[serde(deserialize_with = "written")]
    pub host: HostId,
    /// Its zone's cluster.
    #[serde(deserialize_with = "written")]
    pub cluster: ClusterId,
    /// File of the zone's key.
    pub key: PathBuf,
    /// Where the zone's authority listens.
    pub zone: SocketAddr,
    /// The Unix socket on which volumes are offered over NBD.
    pub nbd_socket: PathBuf,
    /// The address on which they are offered over TCP too; whoever reaches it reaches the volumes.
    pub nbd_listen: Option<SocketAddr>,
    /// Whether an address other than loopback may be listened on.
    #[serde(default)]
    pub allow_remote: bool,
    /// What moves its bytes.
    #[serde(default, deserialize_with = "written")]
    pub driver: Driver,
}

/// The key that all three have.
const DRIVER_TEXT: &str = r#"
# What moves its bytes: "io_uring"; "epoll", with threads for the disk, which costs more processor time and needs no leave of a
# container; or "auto": the first, or the second where the kernel forbids the first. (Default "auto".)
driver = "auto"
"#;

fn replication_mbit_per_s() -> u32 {
    1000
}

/// Bytes a second in a Mbit/s.
pub const MBIT: u64 = 125_000;

fn replication_mbit<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    let (mbit, least) = (u32::deserialize(d)?, wire::share::CAPACITY_MIN / MBIT);
    if u64::from(mbit) >= least {
        return Ok(mbit);
    }
    Err(serde::de::Error::custom(format!(
        "{mbit} Mbit/s is less than {least}, over which keepalives would wait too long behind what else is sent"
    )))
}

fn scrub_period_s() -> u64 {
    7 * 24 * 3600
}

/// 30 % of what a network of 10 Gbit/s carries.
fn copy_per_s() -> Size {
    Size(375 << 20)
}

/// With less than this a copy would take so long to come on that it would be given up.
const COPY_PER_S_MIN: Size = Size(1 << 20);

fn copy<'de, D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
    let size: Size = written(d)?;
    if size.0 < COPY_PER_S_MIN.0 {
        let text = format!("{size} is too little: a node that makes copies sends {COPY_PER_S_MIN} a second at least");
        return Err(serde::de::Error::custom(text));
    }
    Ok(size)
}

fn remirror_after_s() -> u64 {
    900
}

fn failed_after_s() -> u64 {
    60
}

fn slow_probation_s() -> u64 {
    60
}

fn shard_size() -> Size {
    Size(128 << 30)
}

/// The unit of versions and snapshots: no shard ends inside one.
const CHUNK_BYTES: u64 = base::CHUNK_BLOCKS as u64 * base::BLOCK_BYTES as u64;
/// A shard's blocks are counted in 32 bits.
const SHARD_BYTES_MAX: u64 = 8 << 40;

/// What is wrong with a size of shards, in words.
pub fn wrong_shard_size(size: Size) -> Option<String> {
    let fits = size.0 > 0 && size.0.is_multiple_of(CHUNK_BYTES) && size.0 <= SHARD_BYTES_MAX;
    (!fits).then(|| {
        format!(
            "a shard has a multiple of {} and at most {}; {size} is neither",
            Size(CHUNK_BYTES),
            Size(SHARD_BYTES_MAX)
        )
    })
}

fn shard<'de, D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
    let size = written(d)?;
    wrong_shard_size(size).map_or(Ok(size), |why| Err(serde::de::Error::custom(why)))
}

/// Reads a value in the form in which people write it.
fn written<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(d: D) -> Result<T, D::Error> {
    String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(feature = "faults")]
fn written_if_there<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(d: D) -> Result<Option<T>, D::Error> {
    written(d).map(Some)
}

/// What to do about a key that does not exist, or a value that cannot be.
fn advice(message: &str) -> &'static str {
    if cfg!(not(feature = "faults"))
        && ["unknown field `test_disk`", "unknown field `fail_at`"].iter().any(|key| message.contains(key))
    {
        "only a build for tests has that key: cargo build --package seawall --features faults"
    } else {
        "correct it, --print-config shows every key"
    }
}

/// The key whose value begins where this text ends.
fn key_before(text: &str) -> Option<&str> {
    let (key, _) = text[text.rfind('\n').map_or(0, |at| at + 1)..].split_once('=')?;
    Some(key.trim())
}

/// A configuration that lies in a file, with the paths that are relative to it.
pub trait FromFile: for<'de> Deserialize<'de> {
    /// Makes the relative paths relative to `folder`.
    fn settle(&mut self, folder: &Path);

    /// What is wrong with its values together, in words.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Reads it.
    fn load(path: &Path) -> Result<Self, Refusal> {
        let text = fs::read_to_string(path).map_err(|e| {
            let text = format!("cannot read the configuration {}: {e}; write one with --print-config", path.display());
            Refusal::new(Code::Config, text)
        })?;
        let mut config = Self::read(&text, path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = fs::canonicalize(folder).map_err(|e| Refusal::file("resolve", folder, &e))?;
        config.settle(&folder);
        Ok(config)
    }

    /// Reads what the file of this path holds.
    fn read(text: &str, path: &Path) -> Result<Self, Refusal> {
        let config: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let key = e
                .span()
                .and_then(|span| key_before(&text[..span.start]))
                .map_or(String::new(), |key| format!("{key}: "));
            let text = format!("{}, line {line}: {key}{}; {}", path.display(), e.message(), advice(e.message()));
            Refusal::new(Code::Config, text)
        })?;
        let check = config.check().map_err(|why| Refusal::new(Code::Config, format!("{}: {why}", path.display())));
        check.map(|()| config)
    }
}

impl FromFile for Zone {
    fn settle(&mut self, folder: &Path) {
        for path in [&mut self.key, &mut self.meta] {
            *path = folder.join(&*path);
        }
    }
}

impl FromFile for Node {
    fn settle(&mut self, folder: &Path) {
        for path in [&mut self.key, &mut self.store] {
            *path = folder.join(&*path);
        }
    }
}

impl FromFile for Host {
    fn settle(&mut self, folder: &Path) {
        for path in [&mut self.key, &mut self.nbd_socket] {
            *path = folder.join(&*path);
        }
    }
}

/// The values of an example of `seawall zone`'s configuration.
pub struct ZoneText<'a> {
    /// The region's name.
    pub region: &'a str,
    /// The zone's name.
    pub zone: &'a str,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Seconds that a lost copy is waited for.
    pub remirror_after_s: u64,
    /// Seconds after which a node that is not heard counts as failed.
    pub failed_after_s: u64,
    /// Bytes in each shard.
    pub shard_size: Size,
}

impl Display for ZoneText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, zone, cluster, listen, remirror_after_s, failed_after_s, shard_size } = self;
        write!(
            f,
            r#"# The authority of a zone. Run it with: seawall zone --config FILE
# Paths are relative to this file. An unknown key is an error.

# What the region and the zone are called.
region = "{region}"
zone = "{zone}"

# The cluster: draw a UUID once and give the same to every node and host of the zone.
cluster = "{cluster}"

# The zone's key: a file of 64 hexadecimal digits that every node, host and operator of the zone must have, and nobody else.
# Make one with: head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' > zone.key && chmod 600 zone.key
key = "../zone.key"

# Where it listens. Anything but loopback needs allow_remote: traffic is authenticated, and not encrypted yet.
listen = "{listen}"
allow_remote = false

# Its metadata: the truth about which node holds what. Keep it on a disk you trust.
meta = "meta"

# Seconds that a lost copy is waited for before a new one is made on another node. (Default 900.)
remirror_after_s = {remirror_after_s}

# Seconds after which a node that is not heard counts as failed, and a copy that makes no progress is tried elsewhere. (Default 60.)
failed_after_s = {failed_after_s}

# Seconds that a node whose disk is much slower than the others' is put out of its shards at least; twice as many each time it is slow again, up to an hour.
# (Default 60.)
# slow_probation_s = 60

# Bytes in each shard, the part of a volume that has members and a primary of its own; a multiple of 512KiB. A volume keeps the size it was
# made with. (Default "128GiB".)
shard_size = "{shard_size}"
{DRIVER_TEXT}"#
        )
    }
}

/// The values of an example of `seawall node`'s configuration.
pub struct NodeText<'a> {
    /// Its id.
    pub node: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Where the authority listens.
    pub zone: SocketAddr,
    /// Its failure domain.
    pub rack: &'a str,
    /// Where it listens.
    pub listen: SocketAddr,
    /// And on the replication network.
    pub listen_replication: SocketAddr,
    /// Bytes of its disk.
    pub store_size: Size,
    /// Whether a blank disk is formatted.
    pub format_blank: bool,
}

impl Display for NodeText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { node, cluster, zone, rack, listen, listen_replication, store_size, format_blank } = self;
        let (scrub_period_s, replication_mbit_per_s) = (scrub_period_s(), replication_mbit_per_s());
        let copy_per_s = copy_per_s();
        write!(
            f,
            r#"# A storage node: one disk. Run it with: seawall node --config FILE
# Paths are relative to this file. An unknown key is an error.

# Its id, its own in the cluster for ever. Its disk remembers it and refuses another.
node = "{node}"
cluster = "{cluster}"
key = "../zone.key"

# Where the zone's authority listens.
zone = "{zone}"

# What fails together: no two copies of a volume share a rack while there are enough racks.
rack = "{rack}"

# Where it listens: the primary network for all traffic; the replication network for keepalives between nodes, and for what nodes send each
# other while the primary network does not carry it, never for the I/O of clients. Anything but loopback needs allow_remote: traffic is
# authenticated, and not encrypted yet.
listen = "{listen}"
listen_replication = "{listen_replication}"

# What the replication network carries for this node, in Mbit/s. Writes and copies that ride it take nine tenths of that at most, copies alone
# half, so that keepalives and elections always fit. At least 100.
replication_mbit_per_s = {replication_mbit_per_s}

# Whether it may listen on an address that other computers reach.
allow_remote = false

# Its disk: a file, made sparse when it does not exist, or a block device.
store = "store"
store_size = "{store_size}"

# Whether a blank disk is formatted. Set it to false once the node has run, so that a wrong disk is refused.
format_blank = {format_blank}

# Bytes that it sends in each second, at most, to nodes on which it makes copies anew, and twice as many to those that only missed something; half of
# either while clients are served more slowly for it. A shard with one copy goes first. At least 1MiB; 30 % of what the primary network carries is a good
# choice. (Default "375MiB": of 10 Gbit/s.)
copy_per_s = "{copy_per_s}"

# Within this time, in seconds, all that is in use of its disk is read once, and what is rotten is mended from the other copies. 0 is never.
scrub_period_s = {scrub_period_s}
{DRIVER_TEXT}"#
        )
    }
}

/// The values of an example of `seawall host`'s configuration.
pub struct HostText {
    /// Its id.
    pub host: HostId,
    /// Its zone's cluster.
    pub cluster: ClusterId,
    /// Where the authority listens.
    pub zone: SocketAddr,
}

impl Display for HostText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { host, cluster, zone } = self;
        write!(
            f,
            r#"# A host: attaches volumes and offers them over NBD. Run it with: seawall host --config FILE
# Paths are relative to this file. An unknown key is an error.

# Its id, its own in the region for ever.
host = "{host}"
cluster = "{cluster}"
key = "../zone.key"

# Where the zone's authority listens.
zone = "{zone}"

# The Unix socket on which attached volumes are offered over NBD; the export's name is the volume's id.
nbd_socket = "nbd.sock"

# Offer them over TCP too. Whoever reaches this address reaches the volumes: NBD asks nobody who they are.
# Anything but loopback needs allow_remote.
# nbd_listen = "127.0.0.1:10809"
allow_remote = false
{DRIVER_TEXT}"#
        )
    }
}

const EXAMPLE_CLUSTER: ClusterId = ClusterId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// What `seawall zone --print-config` prints.
pub fn zone_example() -> String {
    let text = ZoneText {
        region: "local-1",
        zone: "local-1a",
        cluster: EXAMPLE_CLUSTER,
        listen: loopback(7400),
        remirror_after_s: remirror_after_s(),
        failed_after_s: failed_after_s(),
        shard_size: shard_size(),
    };
    text.to_string()
}

/// What `seawall node --print-config` prints.
pub fn node_example() -> String {
    let text = NodeText {
        node: NodeId(1),
        cluster: EXAMPLE_CLUSTER,
        zone: loopback(7400),
        rack: "r1",
        listen: loopback(7401),
        listen_replication: loopback(7402),
        store_size: Size(64 << 30),
        format_blank: true,
    };
    text.to_string()
}

/// What `seawall host --print-config` prints.
pub fn host_example() -> String {
    let host = HostId(0x0123_4567_89ab_cdef);
    HostText { host, cluster: EXAMPLE_CLUSTER, zone: loopback(7400) }.to_string()
}

#[cfg(test)]
mod any;
pub mod region;

#[cfg(test)]
mod tests {
    use super::*;

    /// A seeded run of what fuzz/fuzz_targets/config.rs tries without end.
    #[test]
    fn whatever_a_file_holds_it_is_a_configuration_or_the_line_is_named() {
        let (mut rng, mut read, mut refused) = (base::Rng::new(12), 0, 0);
        for example in [zone_example(), node_example(), host_example()] {
            assert_eq!(any::read_anything(example.as_bytes()), 1);
            for _ in 0..1_000 {
                let mut bytes = example.as_bytes().to_vec();
                for _ in 0..=rng.below(2) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    match rng.below(5) {
                        0 => drop(bytes.remove(at)),
                        1 => bytes.truncate(at + 1),
                        2 => bytes[at] = rng.u64() as u8,
                        3 => drop(bytes.splice(at..at, "\u{e9}\n[\"=".bytes())),
                        _ => bytes[at] = *rng.pick(b"\n\"=[]#0-.").expect("not empty"),
                    }
                }
                if any::read_anything(&bytes) > 0 { read += 1 } else { refused += 1 }
            }
        }
        assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
    }

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("seawall-config-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::canonicalize(dir).unwrap()
    }

    #[test]
    fn every_example_is_a_configuration_and_its_paths_follow_the_file() {
        let dir = folder("examples");
        let path = dir.join("c.toml");
        fs::write(&path, zone_example()).unwrap();
        let zone = Zone::load(&path).unwrap();
        assert_eq!((zone.meta, zone.remirror_after_s, zone.allow_remote), (dir.join("meta"), 900, false));
        fs::write(&path, node_example()).unwrap();
        let node = Node::load(&path).unwrap();
        assert_eq!((node.store, node.store_size, node.node), (dir.join("store"), Size(64 << 30), NodeId(1)));
        assert_eq!((node.replication_mbit_per_s, node.copy_per_s), (1000, Size(375 << 20)));
        fs::write(&path, host_example()).unwrap();
        let host = Host::load(&path).unwrap();
        assert_eq!((host.nbd_socket, host.nbd_listen), (dir.join("nbd.sock"), None));
        assert_eq!((zone.driver, node.driver, host.driver), (Driver::Auto, Driver::Auto, Driver::Auto));
        fs::write(&path, host_example().replace("driver = \"auto\"", "driver = \"epoll\"")).unwrap();
        assert_eq!(Host::load(&path).unwrap().driver, Driver::Epoll);
        fs::write(&path, host_example().replace("driver = \"auto\"", "")).unwrap();
        assert_eq!(Host::load(&path).unwrap().driver, Driver::Auto);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_shard_is_a_multiple_of_a_chunk_and_not_too_large() {
        let dir = folder("shards");
        let path = dir.join("c.toml");
        let with = |size: &str| {
            fs::write(&path, zone_example().replace("\"128GiB\"", &format!("{size:?}"))).unwrap();
            Zone::load(&path)
        };
        assert_eq!(with("4MiB").unwrap().shard_size, Size(4 << 20));
        for bad in ["0B", "4KiB", "513KiB", "9TiB"] {
            let refusal = with(bad).unwrap_err();
            assert!(refusal.code == Code::Config && refusal.text.contains("multiple of 512KiB"), "{refusal}");
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_wrong_file_is_refused_with_its_line() {
        let dir = folder("wrong");
        let path = dir.join("c.toml");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            let refusal = Node::load(&path).unwrap_err();
            assert_eq!(refusal.code, Code::Config);
            refusal.text
        };
        let unknown = node_example().replace("rack =", "rakc =");
        let line = 1 + unknown[..unknown.find("\nrakc").unwrap() + 1].matches('\n').count();
        let text = refused(&unknown);
        assert!(text.contains(&format!("line {line}")) && text.contains("rakc"), "{text}");
        let text = refused(&node_example().replace("\"64GiB\"", "\"64GB\""));
        assert!(text.contains(": store_size: ") && text.contains("is not a size"), "{text}");
        let text = refused(&node_example().replace("\"375MiB\"", "\"1023KiB\""));
        assert!(
            text.contains(": copy_per_s: 1023KiB is too little") && text.contains("1MiB a second at least"),
            "{text}"
        );
        let text = refused(&node_example().replace("node = \"node-1\"", "node = \"one\""));
        assert!(text.contains("is not an id"), "{text}");
        let idle = node_example().replace("replication_mbit_per_s = 1000", "replication_mbit_per_s = 99");
        let line = 1 + idle[..idle.find("\nreplication_mbit").unwrap() + 1].matches('\n').count();
        let text = refused(&idle);
        assert!(text.contains(&format!("line {line}: replication_mbit_per_s: 99 Mbit/s is less than 100")), "{text}");
        for wrong in ["-1", "\"fast\"", "4294967296"] {
            let text = refused(&idle.replace("_per_s = 99", &format!("_per_s = {wrong}")));
            assert!(text.contains(&format!("line {line}: replication_mbit_per_s: invalid ")), "{text}");
        }
        let text = refused(&node_example().replace("driver = \"auto\"", "driver = \"aio\""));
        assert!(text.contains("\"aio\" is no driver; there are \"auto\", \"io_uring\", \"epoll\""), "{text}");
        #[cfg(not(feature = "faults"))]
        {
            let text = refused(&format!("{}test_disk = \"volatile\"\n", node_example()));
            assert!(text.contains("unknown field `test_disk`") && text.contains("--features faults"), "{text}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(Node::load(&path).unwrap_err().code, Code::Config);
        fs::remove_dir_all(dir).unwrap();
    }
}
