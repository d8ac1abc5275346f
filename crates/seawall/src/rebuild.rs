//! `seawall zone rebuild`: listens where the zone's authority listened until every node has said what it knows, and puts new metadata in the place of the old,
//! which are kept beside them. The zone itself must be stopped; what is to be made of what the nodes say is in `zone`.

use crate::args::{Rebuild as Args, wrong_usage};
use crate::config::{FromFile, Zone as Config};
use crate::daemon::{cannot_start, incarnation, key};
use crate::refusal::{Code, Refusal};
use crate::{authority, dev, say};
use base::io::net::Peer;
use base::io::{Inbox, Machine as _, Outbox};
use base::size::Size;
use base::time::Duration;
use base::{MetaUuid, NodeId, Time};
use runtime::{Application, Exit, Next, Setup, World, stream};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use zone::{Rebuild, Rebuilt};

struct Listener {
    rebuild: Rebuild,
    within: Duration,
    until: Option<Time>,
    heard: usize,
}

impl Application for Listener {
    fn step(
        &mut self,
        now: Time,
        inbox: &mut Inbox,
        _streams: &mut Vec<stream::Event>,
        out: &mut Outbox,
        _stream_out: &mut Vec<stream::Op>,
    ) -> Next {
        let until = *self.until.get_or_insert(now + self.within);
        self.rebuild.step(now, inbox, out);
        let heard: Vec<NodeId> = self.rebuild.heard().collect();
        if heard.len() > self.heard {
            self.heard = heard.len();
            eprintln!("heard {}", names(heard));
        }
        if self.rebuild.missing().is_empty() || now >= until { Next::Stop(0) } else { Next::Continue }
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.until.unwrap_or(Time::ZERO))
    }
}

fn names(ids: impl IntoIterator<Item = NodeId>) -> String {
    let names: Vec<String> = ids.into_iter().map(|id| id.to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The nodes that have a folder in a region's.
fn nodes_of(dir: &Path) -> Result<BTreeSet<NodeId>, Refusal> {
    let entries = fs::read_dir(dir).map_err(|e| Refusal::file("list", dir, &e))?;
    let names = entries.flatten().filter(|e| e.path().join("config.toml").exists()).map(|e| e.file_name());
    Ok(names.filter_map(|name| name.to_str()?.parse().ok()).collect())
}

/// `seawall zone rebuild`.
pub fn run(args: &Args) -> Result<(), Refusal> {
    let (path, mut expected) = match &args.config {
        Some(path) => (path.clone(), BTreeSet::new()),
        None => {
            let dir = &args.target.dir;
            let zones = dev::zone::folders(dir)?;
            if zones.is_empty() {
                let text =
                    format!("no zone in {}: it has no zone/config.toml; name its folder with --dir", dir.display());
                return Err(Refusal::new(Code::NoRegion, text));
            }
            let (_, zone) = authority::which(dir, &zones, |(name, _)| name, args.target.zone.as_deref())?;
            (zone.join("zone/config.toml"), nodes_of(zone)?)
        }
    };
    expected.extend(&args.node);
    let without: BTreeSet<NodeId> = args.without.iter().copied().collect();
    if expected.is_subset(&without) {
        wrong_usage("no node is left to be heard: name the nodes of the zone with --node");
    }
    let config = Config::load(&path)?;
    let rebuild = listen(args, &path, &config, Rebuild::new(config.cluster, expected, without))?;
    let missing = rebuild.missing();
    if !missing.is_empty() {
        let text = format!(
            "{} of {} cannot be rebuilt: within {} s nothing was heard of {}; start them, or write those off that will not come back with --without \
             (heard: {})",
            "the metadata",
            config.zone,
            args.within,
            names(missing),
            names(rebuild.heard())
        );
        return Err(Refusal::new(Code::Unheard, text));
    }
    let rebuilt = rebuild.plan(MetaUuid(runtime::entropy_u128()));
    let kept = put(&config.meta, &rebuilt)?;
    print(args, &config, &rebuilt, kept.as_deref());
    Ok(())
}

fn listen(args: &Args, path: &Path, config: &Config, rebuild: Rebuild) -> Result<Rebuild, Refusal> {
    let setup = Setup {
        listen: Some(config.listen),
        allow_remote: config.allow_remote,
        driver: config.driver,
        ..Setup::new(Peer::Zone, config.cluster, incarnation(path)?, key(&config.key)?)
    };
    let who = format!("the rebuild of {}", config.zone);
    let mut world = World::new(setup).map_err(|e| cannot_start(&who, &e))?;
    let within = Duration::from_secs(args.within);
    let mut listener = Listener { rebuild, within, until: None, heard: 0 };
    match world.run(&mut listener).map_err(|e| Refusal::new(Code::Fault, format!("{who}: {e}")))? {
        Exit::Stopped(_) => Ok(listener.rebuild),
        Exit::Signal(_) => Err(Refusal::new(Code::Unheard, format!("{who} was interrupted; nothing was changed"))),
    }
}

/// Puts new metadata in the place of the old, which are kept under the name that is returned.
fn put(meta: &Path, rebuilt: &Rebuilt) -> Result<Option<PathBuf>, Refusal> {
    let fresh = meta.with_extension("rebuilt");
    match fs::remove_file(&fresh) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Refusal::file("remove", &fresh, &e)),
        _ => {}
    }
    let made = runtime::meta::embedded::write_new(&fresh, rebuilt.revision, &rebuilt.pairs);
    made.map_err(|e| Refusal::new(Code::File, e.to_string()))?;
    let kept = meta.exists().then(|| meta.with_extension(format!("before-{}", rebuilt.revision)));
    if let Some(kept) = &kept {
        fs::rename(meta, kept).map_err(|e| Refusal::file("keep", meta, &e))?;
    }
    let named =
        fs::rename(&fresh, meta).and_then(|()| fs::File::open(meta.parent().unwrap_or(Path::new(".")))?.sync_all());
    named.map_err(|e| Refusal::file("name", meta, &e))?;
    Ok(kept)
}

fn print(args: &Args, config: &Config, rebuilt: &Rebuilt, kept: Option<&Path>) {
    let kept = kept.map(|path| path.display().to_string());
    if args.target.json {
        let volume = |v: &wire::VolumeInfo| serde_json::json!({ "id": v.volume.to_string(), "size": v.size });
        let value = serde_json::json!({
            "zone": config.zone,
            "metadata": config.meta.display().to_string(),
            "kept": kept,
            "revision": rebuilt.revision.0,
            "nodes": rebuilt.nodes.iter().map(NodeId::to_string).collect::<Vec<_>>(),
            "without": args.without.iter().map(NodeId::to_string).collect::<Vec<_>>(),
            "volumes": rebuilt.volumes.iter().map(volume).collect::<Vec<_>>(),
            "left_out": rebuilt.left_out.iter().map(|(id, why)| serde_json::json!({ "id": id.to_string(), "why": why.to_string() })).collect::<Vec<_>>(),
        });
        return say(&format!("{value}\n"));
    }
    let mut text = format!("{}: metadata rebuilt from {}\n", config.zone, names(rebuilt.nodes.iter().copied()));
    for v in &rebuilt.volumes {
        text += &format!("{}  {}\n", v.volume, Size(v.size));
    }
    for (id, why) in &rebuilt.left_out {
        text += &format!("{id}  LEFT OUT: {why}\n");
    }
    if let Some(kept) = kept {
        text += &format!("the old metadata are kept as {kept}\n");
    }
    text += "start the zone as usual; attached volumes go on under new generations. Requests and drains are not remembered.\n";
    say(&text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_metadata_take_the_place_of_the_old_which_are_kept() {
        let dir = std::env::temp_dir().join(format!("seawall-rebuild-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let meta = dir.join("meta");
        let rebuilt = Rebuilt {
            pairs: vec![("cluster".into(), b"x".to_vec().into())],
            revision: base::Revision(70),
            volumes: vec![],
            left_out: vec![],
            nodes: vec![],
        };
        assert_eq!(put(&meta, &rebuilt).unwrap(), None);
        fs::write(&meta, "rotten").unwrap();
        // What a rebuild left that was killed is no hindrance.
        fs::write(dir.join("meta.rebuilt"), "half").unwrap();
        let kept = put(&meta, &rebuilt).unwrap().expect("something was there");
        assert_eq!(fs::read(kept).unwrap(), b"rotten");
        assert!(fs::metadata(&meta).unwrap().len() > 1000);
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_nodes_of_a_region_are_those_with_a_folder_and_a_configuration() {
        let dir = std::env::temp_dir().join(format!("seawall-rebuild-nodes-{}", std::process::id()));
        for name in ["node-1", "node-2", "node-x", "zone"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("node-1/config.toml"), "").unwrap();
        fs::write(dir.join("zone/config.toml"), "").unwrap();
        assert_eq!(nodes_of(&dir).unwrap(), BTreeSet::from([NodeId(1)]));
        fs::remove_dir_all(dir).unwrap();
    }
}
