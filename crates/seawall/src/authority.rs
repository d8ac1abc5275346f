//! A command's way to the authority of a zone: found through region.json, proven by the zone's key, one question at a time.

use crate::refusal::{Code, Refusal};
use crate::region::Region;
use base::ClusterId;
use base::io::net::Peer;
use runtime::ZoneKey;
use runtime::client::{Client, ClientError};
use std::path::Path;
use std::time::Duration;
use wire::Message;

/// The authority must be there at once: it listens on the same machine, or a network away.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// The authority of the region's only zone.
pub struct Authority {
    client: Client,
}

impl Authority {
    /// Finds and reaches it.
    pub fn connect(dir: &Path) -> Result<Self, Refusal> {
        let region = Region::load(dir)?;
        let malformed = |what: &str| {
            let text = format!(
                "{} in {}; stop and start `seawall dev` to write it anew",
                what,
                dir.join("region.json").display()
            );
            Refusal::new(Code::NoRegion, text)
        };
        let zone = region.zones.first().ok_or_else(|| malformed("no zone"))?;
        let cluster: ClusterId = zone.cluster.parse().map_err(|_| malformed("no id of a cluster"))?;
        let key = ZoneKey::read(&dir.join("zone.key")).map_err(|e| Refusal::new(Code::NoRegion, e.to_string()))?;
        let at = zone.authority.addr;
        let client = Client::connect(at, Peer::Zone, cluster, &key, CONNECT_WITHIN).map_err(unanswered)?;
        Ok(Self { client })
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
    match error {
        ClientError::Garbled { .. } => Refusal::new(Code::Protocol, error.to_string()),
        ClientError::Refused { .. } => {
            let text = format!("{error}: `seawall dev start zone` starts it again in a region that runs");
            Refusal::new(Code::Unreachable, text)
        }
        _ => Refusal::new(Code::Unreachable, error.to_string()),
    }
}
