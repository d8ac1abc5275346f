//! What the processes of a folder are called. An id is where the process's folder lies in the region's: `region`; `zone`, `node-1` or `i-...` in the first zone; and in
//! others `local-1b/zone` and so on. People say the last part of it, and the zone where that is not enough.

use super::folder::Folder;
use super::zone::ZoneFolder;
use crate::authority;
use crate::refusal::{Code, Refusal};

/// All of them.
pub fn all(folder: &Folder) -> Vec<String> {
    let of = |zone: &ZoneFolder| -> Vec<String> {
        std::iter::once(zone.authority_id()).chain(zone.node_ids()).chain(zone.host_ids()).collect()
    };
    folder.zones.iter().flat_map(of).chain(["region".to_string()]).collect()
}

/// The last part of an id.
fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}

/// Which command of this program it is.
pub fn kind(id: &str) -> &'static str {
    match short(id) {
        "zone" => "zone",
        "region" => "region",
        node if node.starts_with("node-") => "node",
        _ => "host",
    }
}

/// The process that is meant by an id or the last part of one, in the zone of this name.
pub fn meant(folder: &Folder, id: &str, zone: Option<&str>) -> Result<String, Refusal> {
    let dir = &folder.dir;
    let mut ids = all(folder);
    if let Some(zone) = zone {
        let zone = authority::which(dir, &folder.zones, |z| &z.zone.zone, Some(zone))?;
        ids.retain(|id| folder.zone_of(id).is_some_and(|of| of.prefix == zone.prefix));
    }
    let is_meant = |known: &&String| known.as_str() == id || short(known) == id;
    let found: Vec<&String> = ids.iter().filter(is_meant).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => {
            let text = format!("no process {id:?} in {}; there are {}", dir.display(), ids.join(", "));
            Err(Refusal::new(Code::NoStart, text))
        }
        // Without a name of the zone this says that one is missing.
        _ => authority::which(dir, &folder.zones, |z| &z.zone.zone, None).map(|zone| format!("{}{id}", zone.prefix)),
    }
}

/// The words that start a process again.
pub fn start_words(folder: &Folder, id: &str) -> String {
    match (kind(id), folder.zone_of(id)) {
        ("zone" | "node", Some(zone)) if folder.zones.len() > 1 => {
            format!("dev start {} --zone {}", short(id), zone.zone.zone)
        }
        _ => format!("dev start {}", short(id)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Wish;
    use super::*;
    use base::Rng;
    use base::size::Size;

    #[test]
    fn a_process_is_meant_by_its_own_name_and_by_its_zone_where_several_have_it() {
        let dir = std::env::temp_dir().join(format!("seawall-ids-{}", std::process::id()));
        let (region, port, remirror_after_s, hosts, shard_size) = (None, None, None, None, None);
        let wish = |zones| Wish {
            region: region.clone(),
            zones: Some(zones),
            nodes: Some(3),
            node_size: Size(1 << 30),
            port,
            remirror_after_s,
            hosts,
            shard_size,
        };
        let one = Folder::open(&dir, &wish(1), &mut Rng::new(7)).unwrap();
        assert_eq!(all(&one).len(), 6);
        for id in ["zone", "node-3", "region"] {
            assert_eq!((meant(&one, id, None).as_deref(), kind(id)), (Ok(id), id.trim_end_matches("-3")));
            assert_eq!(start_words(&one, id), format!("dev start {id}"));
        }
        assert_eq!(meant(&one, "zone", Some("local-1a")).as_deref(), Ok("zone"));
        assert_eq!(meant(&one, "zone", Some("local-1b")).unwrap_err().code, Code::WhichZone);
        assert!(meant(&one, "node-4", None).unwrap_err().text.contains("there are zone, node-1, node-2, node-3, i-"));
        drop(one);
        let two = Folder::open(&dir, &wish(2), &mut Rng::new(7)).unwrap();
        assert_eq!(all(&two).len(), 11);
        for (id, zone, found) in [
            ("zone", Some("local-1a"), "zone"),
            ("zone", Some("local-1b"), "local-1b/zone"),
            ("node-2", Some("local-1b"), "local-1b/node-2"),
            ("local-1b/node-2", None, "local-1b/node-2"),
            ("region", None, "region"),
        ] {
            assert_eq!(meant(&two, id, zone).as_deref(), Ok(found));
        }
        let host = two.zones[1].host_ids().next().unwrap();
        assert_eq!((meant(&two, short(&host), None), kind(&host)), (Ok(host.clone()), "host"));
        assert_eq!(start_words(&two, &host), format!("dev start {}", short(&host)));
        assert_eq!(start_words(&two, "local-1b/node-2"), "dev start node-2 --zone local-1b");
        assert_eq!(start_words(&two, "zone"), "dev start zone --zone local-1a");
        for (id, zone, code) in
            [("zone", None, Code::WhichZone), ("node-4", None, Code::NoStart), ("zone", Some("x"), Code::WhichZone)]
        {
            assert_eq!(meant(&two, id, zone).unwrap_err().code, code, "{id}");
        }
        drop(two);
        std::fs::remove_dir_all(dir).unwrap();
    }
}
