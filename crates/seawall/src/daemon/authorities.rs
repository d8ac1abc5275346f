//! The authorities of a region's zones, as the region's log tells of them: each when it begins to be reached, and why when it is not.

use crate::config::region::Zone;
use base::ZoneNumber;
use base::io::net::{Addresses, Down, Event, Link, Op, Peer};
use base::io::{Inbox, Input, Outbox};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One of them.
struct Authority {
    name: String,
    at: SocketAddr,
    /// Whether it was reached when it was last heard of, and why not; none when nothing has come of it yet.
    last: Option<Result<(), Down>>,
}

/// All of them.
pub struct Authorities {
    zones: BTreeMap<ZoneNumber, Authority>,
}

impl Authorities {
    /// Those of these zones.
    pub fn new(zones: &[Zone]) -> Self {
        let one = |zone: &Zone| Authority { name: zone.name.clone(), at: zone.authority, last: None };
        Self { zones: zones.iter().map(|zone| (zone.number, one(zone))).collect() }
    }

    /// Tells the network where they are.
    pub fn know(&self, out: &mut Outbox) {
        for (number, zone) in &self.zones {
            let at = Addresses { primary: zone.at, replication: None };
            out.net(Op::Know { peer: Peer::Authority(*number), at });
        }
    }

    /// Takes note of what has become of them, and says each change in a line.
    pub fn note(&mut self, inbox: &Inbox) -> impl Iterator<Item = String> {
        let news = inbox.iter().filter_map(|input| match input {
            Input::Net(Event::Up { link }) => Some((*link, Ok(()))),
            Input::Net(Event::Down { link, why }) => Some((*link, Err(*why))),
            Input::Net(Event::Frame { .. } | Event::Heard { .. } | Event::Silent { .. } | Event::Counted(_))
            | Input::Disk(_)
            | Input::Meta(_) => None,
        });
        let mut lines = Vec::new();
        for (link, now) in news {
            let zone = self.zones.iter_mut().find(|(number, _)| link == Link::to(Peer::Authority(**number)));
            let Some((number, zone)) = zone else { continue };
            if zone.last.replace(now) != Some(now) {
                lines.push(format!("{} ({number} in this log), at {}: {}", zone.name, zone.at, words(now)));
            }
        }
        lines.into_iter()
    }

    /// Whether each of them speaks to another process of this identity, so that this one has nothing to do. While one does not, its zone is served.
    pub fn all_have_another(&self) -> bool {
        self.zones.values().all(|zone| zone.last == Some(Err(Down::Twin)))
    }
}

fn words(now: Result<(), Down>) -> String {
    let why = match now {
        Ok(()) => return "its authority is reached".into(),
        Err(Down::Refused) => "nobody listens there",
        Err(Down::Unknown) => "its address, cluster or key is not known",
        Err(Down::Reset) => "the connection broke",
        Err(Down::Silent) => "nobody answers there",
        Err(Down::Rejected) => {
            "one of the two refuses the other, by its key, cluster or version: the line before says why"
        }
        Err(Down::Twin) => "it speaks to another process of this identity, which came first",
    };
    format!("its authority cannot be reached: {why}; it is tried again, and other zones are served meanwhile")
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ClusterId;

    fn zone(number: u16) -> Zone {
        let authority = SocketAddr::from(([127, 0, 0, 1], 7400 + number));
        let (cluster, key) = (ClusterId(number.into()), "zone.key".into());
        Zone { name: format!("z{number}"), number: ZoneNumber(number), cluster, key, authority }
    }

    fn to(number: u16) -> Link {
        Link::to(Peer::Authority(ZoneNumber(number)))
    }

    #[test]
    fn each_change_is_said_once_with_the_zones_own_name() {
        let mut authorities = Authorities::new(&[zone(3), zone(5)]);
        let mut note = |events: Vec<Event>| -> Vec<String> {
            authorities.note(&events.into_iter().map(Input::Net).collect()).collect()
        };
        let down = |link, why| Event::Down { link, why };
        let said = note(vec![Event::Up { link: to(3) }, down(to(5), Down::Rejected), down(to(5), Down::Rejected)]);
        assert!(said.len() == 2 && said[0].starts_with("z3 (zone-3 in this log), at 127.0.0.1:7403: its authority is"));
        assert!(said[1].contains("z5") && said[1].contains("the line before says why"), "{}", said[1]);
        // Nothing new, and of somebody else.
        for nothing in [Event::Up { link: to(3) }, down(to(5), Down::Rejected), down(Link::to(Peer::Zone), Down::Twin)]
        {
            assert_eq!(note(vec![nothing]), Vec::<String>::new());
        }
        assert!(note(vec![down(to(5), Down::Refused)])[0].contains("nobody listens there"));
    }

    #[test]
    fn a_process_is_one_too_many_when_no_zone_speaks_to_it() {
        let mut authorities = Authorities::new(&[zone(0), zone(1)]);
        let mut after = |link, why| {
            let inbox = [Input::Net(Event::Down { link, why })].into();
            assert_eq!(authorities.note(&inbox).count(), 1);
            authorities.all_have_another()
        };
        assert!(!after(to(0), Down::Twin));
        assert!(!after(to(1), Down::Silent));
        assert!(after(to(1), Down::Twin));
        assert!(!after(to(1), Down::Refused));
    }
}
