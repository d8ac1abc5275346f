//! What region.json says of a folder's processes.

use super::folder::Folder;
use super::zone::ZoneFolder;
use crate::region::{Authority, HostEntry, NodeEntry, Region, ZoneEntry};
use std::path::PathBuf;

/// Who runs where, when this is the process of each id.
pub fn region(folder: &Folder, pid: impl Fn(&str) -> u32) -> Region {
    let zone = |z: &ZoneFolder| ZoneEntry {
        name: z.zone.zone.clone(),
        cluster: z.zone.cluster.to_string(),
        key: format!("{}zone.key", z.prefix).into(),
        authority: Authority { pid: pid(&z.authority_id()), addr: z.zone.listen },
        nodes: z.nodes.iter().zip(z.node_ids()).map(|(n, id)| node(n, pid(&id))).collect(),
    };
    let hosts = |z: &ZoneFolder| -> Vec<HostEntry> {
        let entry = |(h, id): (&crate::config::Host, String)| HostEntry {
            id: h.host.to_string(),
            zone: z.zone.zone.clone(),
            pid: pid(&id),
            sockets: h.nbd_socket.parent().map(PathBuf::from).unwrap_or_default(),
        };
        z.hosts.iter().zip(z.host_ids()).map(entry).collect()
    };
    let key = crate::config::region::access_keys(&folder.region.access_keys).ok();
    let key = key.and_then(|keys| keys.into_iter().next());
    Region {
        region: folder.region.region.clone(),
        endpoint: Some(format!("http://{}", folder.region.listen)),
        metrics: folder.region.metrics.map(|at| format!("http://{at}/metrics")),
        access_key_id: key.as_ref().map(|key| key.id.clone()),
        secret_access_key: key.map(|key| key.secret),
        pid: Some(pid("region")),
        hosts: folder.zones.iter().flat_map(hosts).collect(),
        zones: folder.zones.iter().map(zone).collect(),
    }
}

fn node(n: &crate::config::Node, pid: u32) -> NodeEntry {
    NodeEntry {
        id: n.node.to_string(),
        pid,
        addr: n.listen,
        replication_addr: n.listen_replication,
        rack: n.rack.clone(),
        store: n.store.clone(),
    }
}
