//! The folder of a region: what lies where, and region.json, by which commands and scripts find its processes.
//!
//! ```text
//! DIR/region.json           who runs where; written when all is ready, and again when a process is started again
//! DIR/zone.key              the zone's key, 64 hexadecimal digits; whoever reads it may command the zone
//! DIR/access.keys           of the API: an id, a secret and an account on each line; whoever reads it may command the region
//! DIR/dev.lock dev.sock     held by the `seawall dev` that owns the folder; how `seawall dev start` reaches it
//! DIR/<id>/config.toml      of each process: zone, region, node-1 .. node-N, i-...
//! DIR/<id>/log              what it said
//! DIR/node-1/store          a disk;  DIR/zone/meta  the zone's metadata;  DIR/i-.../nbd.sock  where volumes are offered
//! DIR/local-1b/             a second zone, with a zone.key, a zone, nodes and hosts as those of the first, which lie in DIR itself; likewise a third
//! ```
//!
//! The field `console` comes with the console; until then it is absent. The file is its owner's alone, since it holds a secret.

use crate::refusal::{Code, Refusal};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What stands in region.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// Its name.
    pub region: String,
    /// Where its API is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Where its metrics are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// An access key of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// Its secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_access_key: Option<String>,
    /// The process of its control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its zones.
    pub zones: Vec<ZoneEntry>,
    /// Its hosts.
    pub hosts: Vec<HostEntry>,
}

/// A zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ZoneEntry {
    /// Its name: the region's and a letter.
    pub name: String,
    /// Its cluster: peers of another are refused.
    pub cluster: String,
    /// The file of its key, from the region's folder.
    #[serde(default = "only_key")]
    pub key: PathBuf,
    /// Its authority.
    pub authority: Authority,
    /// Its nodes.
    pub nodes: Vec<NodeEntry>,
}

/// Of the first zone, which was the only one when nobody wrote where keys are.
fn only_key() -> PathBuf {
    "zone.key".into()
}

/// The authority of a zone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// Its process.
    pub pid: u32,
    /// Where it listens.
    pub addr: SocketAddr,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeEntry {
    /// Its id.
    pub id: String,
    /// Its process.
    pub pid: u32,
    /// Where it listens on the primary network.
    pub addr: SocketAddr,
    /// Where it listens on the replication network.
    pub replication_addr: SocketAddr,
    /// Its failure domain.
    pub rack: String,
    /// Its disk.
    pub store: PathBuf,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostEntry {
    /// Its id.
    pub id: String,
    /// Its zone, by name.
    pub zone: String,
    /// Its process.
    pub pid: u32,
    /// The folder of its sockets.
    pub sockets: PathBuf,
}

impl Region {
    /// Reads DIR/region.json.
    pub fn load(dir: &Path) -> Result<Self, Refusal> {
        let path = file(dir);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let text = format!(
                    "no region in {}: it has no region.json; start one with `seawall dev --dir {}` or name its folder with --dir",
                    dir.display(),
                    dir.display()
                );
                return Err(Refusal::new(Code::NoRegion, text));
            }
            Err(e) => return Err(Refusal::file("read", &path, &e)),
        };
        serde_json::from_str(&text).map_err(|e| {
            let text = format!(
                "{} is not a region.json of this build: {e}; stop and start `seawall dev` to write it anew",
                path.display()
            );
            Refusal::new(Code::NoRegion, text)
        })
    }

    /// Writes DIR/region.json in one step: a reader sees the old or the new.
    pub fn save(&self, dir: &Path) -> Result<(), Refusal> {
        replace(&file(dir), self.text().as_bytes(), 0o600)
    }

    /// As it stands in the file.
    pub fn text(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("plain data is always JSON");
        text.push('\n');
        text
    }
}

fn file(dir: &Path) -> PathBuf {
    dir.join("region.json")
}

/// Puts a whole file in place of another, durably: after a crash the old or the new is there.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Refusal> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let fresh = PathBuf::from(name);
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|e| Refusal::file("write", path, &e))
}

/// The address under which NBD clients find a volume.
pub fn nbd_uri(volume: &str, socket: &str) -> String {
    let mut uri = format!("nbd+unix:///{volume}?socket=");
    for byte in socket.bytes() {
        // RFC 3986: these stand for themselves in a query; everything else is written by its number.
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Region {
        let node = NodeEntry {
            id: "node-1".into(),
            pid: 2,
            addr: "127.0.0.1:2".parse().unwrap(),
            replication_addr: "127.0.0.1:3".parse().unwrap(),
            rack: "r1".into(),
            store: "d/node-1/store".into(),
        };
        let zone = ZoneEntry {
            name: "local-1a".into(),
            cluster: "01234567-89ab-cdef-0123-456789abcdef".into(),
            key: only_key(),
            authority: Authority { pid: 1, addr: "127.0.0.1:1".parse().unwrap() },
            nodes: vec![node],
        };
        let host =
            HostEntry { id: "i-00000000000000001".into(), zone: "local-1a".into(), pid: 3, sockets: "d/i".into() };
        Region {
            region: "local-1".into(),
            endpoint: Some("http://127.0.0.1:4".into()),
            metrics: Some("http://127.0.0.1:5/metrics".into()),
            access_key_id: Some("AK".into()),
            secret_access_key: Some("s".into()),
            pid: None,
            zones: vec![zone],
            hosts: vec![host],
        }
    }

    #[test]
    fn a_region_is_read_back_as_it_was_written_and_a_broken_one_is_refused() {
        let dir = std::env::temp_dir().join(format!("seawall-region-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        assert_eq!(Region::load(&dir.join("absent")).unwrap_err().code, Code::NoRegion);
        sample().save(&dir).unwrap();
        assert_eq!(Region::load(&dir).unwrap(), sample());
        fs::write(dir.join("region.json"), "{").unwrap();
        assert_eq!(Region::load(&dir).unwrap_err().code, Code::NoRegion);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(sample().save(&dir).unwrap_err().code, Code::File);
    }

    #[test]
    fn a_socket_path_is_escaped_in_the_address() {
        assert_eq!(nbd_uri("vol-1", "/a b/c&d"), "nbd+unix:///vol-1?socket=/a%20b/c%26d");
    }
}
