//! Whom this process speaks to, and as whom it says hello to each: all are of its own cluster, but for the authorities of zones that it is itself not of.

use crate::key::ZoneKey;
use crate::session::Terms;
use base::io::net::Peer;
use base::{ClusterId, ZoneNumber};
use std::collections::BTreeMap;

/// A cluster, as somebody knows it who may speak to its authority.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// Which.
    pub id: ClusterId,
    /// Its zone's key.
    pub key: ZoneKey,
}

/// What is said of this process, to whom.
pub struct Parties {
    own: Terms,
    authorities: BTreeMap<ZoneNumber, Terms>,
}

impl Parties {
    /// As one of its own cluster to everybody, and as one of theirs to these authorities.
    pub fn new(own: Terms, zones: BTreeMap<ZoneNumber, Cluster>) -> Self {
        let terms = |zone: Cluster| Terms { cluster: zone.id, key: zone.key, ..own.clone() };
        let authorities = zones.into_iter().map(|(number, zone)| (number, terms(zone))).collect();
        Self { own, authorities }
    }

    /// To whoever calls here, and says itself who it is.
    pub fn own(&self) -> &Terms {
        &self.own
    }

    /// To this peer; nothing can be said to an authority whose cluster nobody has told.
    pub fn to(&self, peer: Peer) -> Option<&Terms> {
        match peer {
            Peer::Authority(zone) => self.authorities.get(&zone),
            Peer::Node(_) | Peer::Zone | Peer::Host(_) | Peer::Operator(_) | Peer::Region(_) => Some(&self.own),
        }
    }
}
