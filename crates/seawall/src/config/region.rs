//! The configuration of `seawall region`, and the file of its access keys.

use super::{DRIVER_TEXT, EXAMPLE_CLUSTER, FromFile, loopback, written};
use crate::refusal::{Code, Refusal};
use api::front::AccessKey;
use base::ClusterId;
use region::Account;
use runtime::Driver;
use serde::Deserialize;
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
    /// File of its metadata.
    pub meta: PathBuf,
    /// File of the access keys.
    pub access_keys: PathBuf,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// What moves its bytes.
    #[serde(default, deserialize_with = "written")]
    pub driver: Driver,
}

/// A zone, as its region reaches it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Its cluster.
    #[serde(deserialize_with = "written")]
    pub cluster: ClusterId,
    /// File of its key.
    pub key: PathBuf,
    /// Where its authority listens.
    pub authority: SocketAddr,
}

impl FromFile for Region {
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
    /// The name of its zone.
    pub zone: &'a str,
    /// The cluster of that.
    pub cluster: ClusterId,
    /// Where the authority of that listens.
    pub authority: SocketAddr,
}

impl Display for RegionText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { region, id, listen, zone, cluster, authority } = self;
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

# Its metadata, and nothing else.
meta = "meta"

# One access key a line: its id, its secret, and the twelve digits of the account whose it is.
access_keys = "../access.keys"
{DRIVER_TEXT}
[[zones]]
name = "{zone}"
cluster = "{cluster}"
key = "../zone.key"
authority = "{authority}"
"#
        )
    }
}

/// What `seawall region --print-config` prints.
pub fn region_example() -> String {
    let (id, cluster) = (ClusterId(EXAMPLE_CLUSTER.0 ^ 1), EXAMPLE_CLUSTER);
    let (listen, authority) = (loopback(7480), loopback(7400));
    RegionText { region: "local-1", id, listen, zone: "local-1a", cluster, authority }.to_string()
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
