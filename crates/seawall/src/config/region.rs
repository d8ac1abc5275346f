//! The configuration of `seawall region`, and the file of its access keys.

use super::{DRIVER_TEXT, EXAMPLE_CLUSTER, FromFile, loopback, written};
use crate::refusal::{Code, Refusal};
use api::front::AccessKey;
use base::{ClusterId, ZoneNumber};
use region::Account;
use runtime::Driver;
use serde::{Deserialize, Deserializer};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Of `seawall region`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// Its name.
    pub region: String,
    /// Its id: its metadata are nobody else's.
    #[serde(deserialize_with = "written")]
    pub id: ClusterId,
    /// Where its API listens.
    pub listen: SocketAddr,
    /// Whether an address other than loopback may be listened on.
    #[serde(default)]
    pub allow_remote: bool,
    /// Where its metrics are, for this computer alone; nowhere if absent.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// File of its metadata.
    pub meta: PathBuf,
    /// File of the access keys.
    pub access_keys: PathBuf,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// What moves its bytes.
    #[serde(default, deserialize_with = "written")]
    pub driver: Driver,
    /// Where its process dies on purpose, if anywhere.
    #[cfg(feature = "faults")]
    #[serde(default, deserialize_with = "super::written_if_there")]
    pub fail_at: Option<crate::daemon::fail_point::FailPoint>,
}

/// A zone, as its region reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its number, which stands in the region's metadata for it. Only of several zones it must be said: all but one then have another.
    #[serde(default, deserialize_with = "number")]
    pub number: ZoneNumber,
    /// Its cluster.
    #[serde(deserialize_with = "written")]
    pub cluster: ClusterId,
    /// File of its key.
    pub key: PathBuf,
    /// Where its authority listens.
    pub authority: SocketAddr,
}

fn number<'de, D: Deserializer<'de>>(d: D) -> Result<ZoneNumber, D::Error> {
    u16::deserialize(d).map(ZoneNumber)
}

/// What two zones have alike that no two may, with the value.
fn alike<T: PartialEq + Display>(zones: &[Zone], of: impl Fn(&Zone) -> T) -> Option<(&str, &str, T)> {
    zones.iter().enumerate().find_map(|(n, zone)| {
        let other = zones[..n].iter().find(|other| of(other) == of(zone))?;
        Some((other.name.as_str(), zone.name.as_str(), of(zone)))
    })
}

impl FromFile for Region {
    fn check(&self) -> Result<(), String> {
        if let Some(at) = self.metrics.filter(|at| !at.ip().is_loopback()) {
            return Err(format!(
                "metrics = \"{at}\" can be reached from other computers, and nobody who reads metrics signs; choose a loopback address, such as \
                 127.0.0.1:{}, and let a Prometheus, an agent or a proxy on this computer pass them on",
                at.port()
            ));
        }
        if let Some(at) = self.metrics.filter(|at| *at == self.listen && at.port() != 0) {
            return Err(format!("metrics and listen are both {at}; give the metrics a port of their own"));
        }
        if self.zones.is_empty() {
            return Err("it has no zone; describe each zone of the region under [[zones]]".into());
        }
        if self.zones.iter().any(|zone| zone.name.is_empty()) {
            return Err("a zone under [[zones]] has an empty name; name it, as the region's name and a letter".into());
        }
        if let Some((.., name)) = alike(&self.zones, |zone| zone.name.clone()) {
            return Err(format!("two zones are called {name}; give each a name of its own, or take one out"));
        }
        if let Some((a, b, number)) = alike(&self.zones, |zone| zone.number.0) {
            return Err(format!(
                "{a} and {b} both have the number {number}; give each a number of its own and never change it: it says in the region's metadata which \
                 volumes are in which zone"
            ));
        }
        if let Some((a, b, cluster)) = alike(&self.zones, |zone| zone.cluster) {
            return Err(format!(
                "{a} and {b} both have the cluster {cluster}; each zone is a cluster of its own: copy `cluster` from the configuration of each zone's \
                 authority"
            ));
        }
        if let Some((a, b, at)) = alike(&self.zones, |zone| zone.authority) {
            return Err(format!(
                "the authorities of {a} and {b} both listen on {at}; copy `listen` from the configuration of each zone's authority"
            ));
        }
        Ok(())
    }

    fn settle(&mut self, folder: &Path) {
        let keys = self.zones.iter_mut().map(|zone| &mut zone.key);
        for path in [&mut self.meta, &mut self.access_keys].into_iter().chain(keys) {
            *path = folder.join(&*path);
        }
    }
}

/// The values of an example of `seawall region`'s configuration.
pub struct RegionText<'a> {
    /// Its name.
    pub region: &'a str,
    /// Its id.
    pub id: ClusterId,
    /// Where its API listens.
    pub listen: SocketAddr,
    /// Where its metrics are.
    pub metrics: SocketAddr,
}

impl Display for RegionText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, id, listen, metrics } = self;
        write!(
            f,
            r#"# The control plane of a region: serves its API over zones. Run it with: seawall region --config FILE
# Paths are relative to this file. An unknown key is an error.

region = "{region}"
# Whose the metadata are; its own for ever.
id = "{id}"

# Where the API listens. Anything but loopback needs allow_remote.
listen = "{listen}"
allow_remote = false

# Where Prometheus finds its metrics, without a signature: at /metrics, from this computer alone. Without it they are nowhere.
metrics = "{metrics}"

# Its metadata, and nothing else.
meta = "meta"

# One access key a line: its id, its secret, and the twelve digits of the account whose it is.
access_keys = "../access.keys"
{DRIVER_TEXT}
# Each zone is a cluster of its own, with a key of its own; name, cluster and authority are `zone`, `cluster` and `listen` of its authority's
# configuration. Its number says in the metadata which volumes are there: it differs from the others' and never changes. (Default 0.)
"#
        )
    }
}

/// A zone in them.
pub struct ZoneText<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number.
    pub number: ZoneNumber,
    /// Its cluster.
    pub cluster: ClusterId,
    /// File of its key, from the region's configuration.
    pub key: &'a str,
    /// Where its authority listens.
    pub authority: SocketAddr,
}

impl Display for ZoneText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, number: ZoneNumber(number), cluster, key, authority } = self;
        write!(
            f,
            r#"
[[zones]]
name = "{name}"
number = {number}
cluster = "{cluster}"
key = "{key}"
authority = "{authority}"
"#
        )
    }
}

/// What `seawall region --print-config` prints.
pub fn region_example() -> String {
    let (id, cluster) = (ClusterId(EXAMPLE_CLUSTER.0 ^ 1), EXAMPLE_CLUSTER);
    let (listen, metrics, authority) = (loopback(7480), loopback(7481), loopback(7400));
    let zone = ZoneText { name: "local-1a", number: ZoneNumber(0), cluster, key: "../zone.key", authority };
    format!("{}{zone}", RegionText { region: "local-1", id, listen, metrics })
}

/// Reads the access keys.
pub fn access_keys(path: &Path) -> Result<Vec<AccessKey>, Refusal> {
    let text = std::fs::read_to_string(path).map_err(|e| Refusal::file("read", path, &e))?;
    let mut keys = Vec::new();
    for (line, words) in (1..).zip(text.lines()).filter(|(_, words)| !words.trim().is_empty()) {
        // The line itself is not repeated: it may hold a secret.
        let wrong = |what: &str| {
            let text = format!("{}, line {line}: {what}; write `ID SECRET ACCOUNT` on it", path.display());
            Refusal::new(Code::Config, text)
        };
        let words: Vec<&str> = words.split_whitespace().collect();
        let [id, secret, account] = words[..] else { return Err(wrong("it is not three words")) };
        let digits = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
        let account = account.parse().ok().filter(|_| digits).ok_or_else(|| wrong("an account is twelve digits"))?;
        if keys.iter().any(|key: &AccessKey| key.id == id) {
            return Err(wrong("this id stands in the file before"));
        }
        keys.push(AccessKey { id: id.into(), secret: secret.into(), account: Account(account) });
    }
    if keys.is_empty() {
        let text = format!("{} has no access key; write `ID SECRET ACCOUNT` into it", path.display());
        return Err(Refusal::new(Code::Config, text));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_a_configuration_and_its_paths_follow_the_file() {
        let mut region = Region::read(&region_example(), Path::new("c.toml")).unwrap();
        region.settle(Path::new("/srv/region"));
        assert_eq!((region.region.as_str(), region.zones[0].name.as_str()), ("local-1", "local-1a"));
        assert_eq!(region.zones[0].key, Path::new("/srv/region/../zone.key"));
        assert_eq!(region.meta, Path::new("/srv/region/meta"));
        let strange = format!("{}colour = 1\n", region_example());
        assert_eq!(Region::read(&strange, Path::new("c.toml")).unwrap_err().code, Code::Config);
    }

    /// The example with a second zone, of which these words are something else.
    fn two_zones(from: &str, to: &str) -> Result<Region, Refusal> {
        let (cluster, authority) = (ClusterId(EXAMPLE_CLUSTER.0 ^ 2), loopback(7500));
        let second = ZoneText { name: "local-1b", number: ZoneNumber(1), cluster, key: "../b/zone.key", authority };
        let text = second.to_string();
        assert!(text.contains(from), "{text}");
        Region::read(&format!("{}{}", region_example(), text.replace(from, to)), Path::new("r.toml"))
    }

    #[test]
    fn a_region_has_as_many_zones_as_its_file_names_and_no_two_are_alike() {
        let region = two_zones("", "").unwrap();
        let named: Vec<_> = region.zones.iter().map(|zone| (zone.name.as_str(), zone.number.0)).collect();
        assert_eq!(named, [("local-1a", 0), ("local-1b", 1)]);
        let cluster = ClusterId(EXAMPLE_CLUSTER.0 ^ 2).to_string();
        for (from, to, words) in [
            ("local-1b", "local-1a", "two zones are called local-1a"),
            ("local-1b", "", "has an empty name"),
            ("number = 1", "number = 0", "local-1a and local-1b both have the number 0"),
            // Who says no number says 0.
            ("number = 1\n", "", "local-1a and local-1b both have the number 0"),
            (cluster.as_str(), &EXAMPLE_CLUSTER.to_string(), "local-1a and local-1b both have the cluster"),
            ("127.0.0.1:7500", "127.0.0.1:7400", "local-1a and local-1b both listen on 127.0.0.1:7400"),
            ("key = \"../b/zone.key\"\n", "", "missing field `key`"),
            ("authority", "# authority", "missing field `authority`"),
            ("number = 1", "number = 70000", "number: invalid value"),
        ] {
            let refusal = two_zones(from, to).unwrap_err();
            assert_eq!(refusal.code, Code::Config);
            assert!(refusal.text.starts_with("r.toml") && refusal.text.contains(words), "{refusal}");
        }
        let example = region_example();
        let none = example.replace(&example[example.find("[[zones]]").unwrap()..], "zones = []\n");
        assert!(Region::read(&none, Path::new("r.toml")).unwrap_err().text.contains("has no zone"));
        // Metrics are for this computer alone, and beside the API.
        assert_eq!(Region::read(&example, Path::new("r.toml")).unwrap().metrics, Some(loopback(7481)));
        for (at, words) in [("0.0.0.0:9", "can be reached from other computers"), ("127.0.0.1:7480", "are both")] {
            let text = example.replace("127.0.0.1:7481", at);
            let refusal = Region::read(&text, Path::new("r.toml")).unwrap_err();
            assert!(refusal.code == Code::Config && refusal.text.contains(words), "{refusal}");
        }
        let without = example.replace("metrics = \"127.0.0.1:7481\"\n", "");
        assert_eq!(Region::read(&without, Path::new("r.toml")).unwrap().metrics, None);
        // As regions were configured that had one zone.
        let old = Region::read(&example.replace("number = 0\n", ""), Path::new("r.toml")).unwrap();
        assert_eq!(old.zones[0].number, ZoneNumber(0));
    }

    #[test]
    fn access_keys_are_read_line_by_line_and_a_wrong_line_is_named_without_its_secret() {
        let path = std::env::temp_dir().join(format!("seawall-keys-{}", std::process::id()));
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            access_keys(&path)
        };
        let keys = read("AK1 s1 000000000001\n\n  AK2\ts2 999999999999 \n").unwrap();
        assert_eq!(
            keys.iter().map(|k| (k.id.as_str(), k.account.0)).collect::<Vec<_>>(),
            [("AK1", 1), ("AK2", 999_999_999_999)]
        );
        for (text, words) in [
            ("", "no access key"),
            ("AK1 topsecret", "line 1: it is not three words"),
            ("AK1 topsecret 1", "line 1: an account is twelve digits"),
            ("AK1 topsecret 00000000000x", "line 1: an account is twelve digits"),
            ("AK1 topsecret 000000000001\nAK1 other 000000000001", "line 2: this id stands"),
        ] {
            let refusal = read(text).err().unwrap().to_string();
            assert!(refusal.contains(words) && !refusal.contains("topsecret"), "{refusal}");
        }
        std::fs::remove_file(&path).unwrap();
        assert_eq!(access_keys(&path).err().unwrap().code, Code::File);
    }
}
