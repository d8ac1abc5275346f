//! A command's way to the authority of a zone: found through region.json, proven by the zone's key, one question at a time.

use crate::args::Target;
use crate::refusal::{Code, Refusal};
use crate::region::Region;
use base::ClusterId;
use base::io::net::Peer;
use runtime::ZoneKey;
use runtime::client::{Client, ClientError};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::Message;

/// The authority must be there at once: it listens on the same machine, or a network away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A zone of the region in a folder.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The folder.
    dir: &'a Path,
    /// The zone's name; none is the only one.
    zone: Option<&'a str>,
}

impl<'a> From<&'a Target> for Place<'a> {
    fn from(target: &'a Target) -> Self {
        Self { dir: &target.dir, zone: target.zone.as_deref() }
    }
}

impl<'a> From<&'a PathBuf> for Place<'a> {
    fn from(dir: &'a PathBuf) -> Self {
        Self { dir, zone: None }
    }
}

/// The one of these zones that is called so; without a name the only one.
pub fn which<'a, T>(
    dir: &Path,
    zones: &'a [T],
    name_of: impl Fn(&T) -> &str,
    wanted: Option<&str>,
) -> Result<&'a T, Refusal> {
    let names: Vec<&str> = zones.iter().map(&name_of).collect();
    let (dir, known) = (dir.display(), names.join(", "));
    match (zones, wanted) {
        (_, Some(wanted)) => zones.iter().find(|zone| name_of(zone) == wanted).ok_or_else(|| {
            let text = format!("no zone {wanted:?} in {dir}; name one of those there are with --zone: {known}");
            Refusal::new(Code::WhichZone, text)
        }),
        ([zone], None) => Ok(zone),
        ([], None) => Err(Refusal::new(Code::NoRegion, format!("no zone in {dir}; start `seawall dev` anew"))),
        (_, None) => {
            let text = format!("{dir} has {} zones and this is about one; name it with --zone: {known}", zones.len());
            Err(Refusal::new(Code::WhichZone, text))
        }
    }
}

/// The authority of one zone.
pub struct Authority {
    client: Client,
}

impl Authority {
    /// Finds and reaches it.
    pub fn connect<'a>(place: impl Into<Place<'a>>) -> Result<Self, Refusal> {
        let Place { dir, zone: wanted } = place.into();
        let region = Region::load(dir)?;
        let zone = which(dir, &region.zones, |zone| &zone.name, wanted)?;
        let cluster: ClusterId = zone.cluster.parse().map_err(|_| {
            let text = format!(
                "no id of a cluster in {}; stop and start `seawall dev` to write it anew",
                dir.join("region.json").display()
            );
            Refusal::new(Code::NoRegion, text)
        })?;
        let key = ZoneKey::read(&dir.join(&zone.key)).map_err(|e| Refusal::new(Code::NoRegion, e.to_string()))?;
        let at = zone.authority.addr;
        let start = match &region.zones[..] {
            [_] => "dev start zone".to_string(),
            _ => format!("dev start zone --zone {}", zone.name),
        };
        let client = Client::connect(at, Peer::Zone, cluster, &key, CONNECT_WITHIN);
        client.map(|client| Self { client }).map_err(|error| match error {
            ClientError::Refused { .. } => {
                let text = format!("{error}: `seawall {start}` starts it again in a region that runs");
                Refusal::new(Code::Unreachable, text)
            }
            error => unanswered(error),
        })
    }

    /// Asks, and waits for the answer. What the authority refuses is refused with its own code.
    pub fn ask(&mut self, question: impl Into<Message>, within: Duration) -> Result<Message, Refusal> {
        let (answer, _) = self.client.ask(&question.into(), within).map_err(unanswered)?;
        match answer {
            Message::Failed(failed) => Err(Refusal::new(Code::Zone(failed.code), failed.text)),
            answer => Ok(answer),
        }
    }
}

fn unanswered(error: ClientError) -> Refusal {
    let code = match error {
        ClientError::Garbled { .. } => Code::Protocol,
        ClientError::Refused { .. }
        | ClientError::Rejected { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Broken { .. } => Code::Unreachable,
    };
    Refusal::new(code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_zone_no_name_is_needed_and_of_several_a_right_one() {
        let dir = Path::new("d");
        assert_eq!(which(dir, &["a"], |name| name, None), Ok(&"a"));
        assert_eq!(which(dir, &["a", "b"], |name| name, Some("b")), Ok(&"b"));
        for (zones, wanted, words) in [
            (&["a", "b"][..], None, "d has 2 zones and this is about one; name it with --zone: a, b"),
            (&["a", "b"], Some("c"), "no zone \"c\" in d; name one of those there are with --zone: a, b"),
            (&["a"], Some("b"), "no zone \"b\" in d"),
        ] {
            let refusal = which(dir, zones, |name| name, wanted).unwrap_err();
            assert!(refusal.code == Code::WhichZone && refusal.text.contains(words), "{refusal}");
        }
        assert_eq!(which(dir, &[], |name: &&str| name, None).unwrap_err().code, Code::NoRegion);
    }
}
