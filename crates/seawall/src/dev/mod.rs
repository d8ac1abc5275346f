//! `seawall dev`: a region on one machine, one process for each of its members.

mod entries;
pub mod folder;
mod ids;
mod ports;
pub mod start;
pub mod supervisor;
pub mod zone;

use crate::args::{Dev, DevCommand};
use crate::refusal::Refusal;
use crate::region::{HostEntry, Region, ZoneEntry};
use crate::say;
use crate::table::Table;
use base::Rng;
use folder::{Folder, Wish};
use std::path::Path;
use supervisor::Supervisor;

/// Runs it.
pub fn run(dev: Dev) -> Result<(), Refusal> {
    if let Some(DevCommand::Start { id, target }) = dev.command {
        let pid = start::ask(&target.dir, &id, target.zone.as_deref())?;
        say(&if target.json {
            format!("{}\n", serde_json::json!({ "id": id, "pid": pid }))
        } else {
            format!("{id} runs again, as process {pid}\n")
        });
        return Ok(());
    }
    let wish = Wish {
        region: dev.region,
        zones: dev.zones,
        nodes: dev.nodes,
        node_size: dev.node_size,
        port: dev.port,
        remirror_after_s: dev.remirror_after,
        hosts: dev.hosts,
        shard_size: dev.shard_size,
    };
    let folder = Folder::open(&dev.dir, &wish, &mut Rng::new(runtime::entropy_u64()))?;
    let mut supervisor = Supervisor::new(folder)?;
    start::listen(&supervisor.folder().dir, supervisor.sender())?;
    let json = dev.json;
    supervisor.run(|supervisor| {
        say(&if json { supervisor.region().text() } else { greeting(supervisor) });
        Ok(())
    })
}

/// A command as it can be pasted: the program as it was called, and the folder unless it is the one taken by default.
pub fn command(dir: &Path, words: &str) -> String {
    let program = std::env::args().next().filter(|p| p.contains('/')).unwrap_or_else(|| "seawall".into());
    let default = std::path::absolute("seawall-dev").is_ok_and(|d| d == dir);
    let dir = if default { String::new() } else { format!(" --dir {}", dir.display()) };
    format!("{program} {words}{dir}")
}

fn greeting(supervisor: &Supervisor) -> String {
    let (region, dir) = (supervisor.region(), &supervisor.folder().dir);
    let table = table(&region);
    // Of several zones each command needs one.
    let zone = match &region.zones[..] {
        [first, _, ..] => format!(" --zone {}", first.name),
        _ => String::new(),
    };
    let paste: Vec<String> =
        ["volume create 1GiB", "volume list", "attach VOLUME", "volume show VOLUME", "node list", "dev start node-1"]
            .iter()
            .map(|words| format!("  {}", command(dir, &format!("{words}{zone}"))))
            .collect();
    let api = match (&region.endpoint, &region.access_key_id, &region.secret_access_key) {
        (Some(endpoint), Some(id), Some(secret)) => {
            let steps = api::front::first_steps(endpoint, &region.region, (id, secret));
            format!("\n  {}", steps.join("\n  "))
        }
        _ => String::new(),
    };
    let metrics = region.metrics.as_ref().map_or(String::new(), |at| format!("\n  curl {at}"));
    format!(
        "Region {}, in {}, is ready.\n\n{table}\nIn another terminal:\n{}{api}{metrics}\n\nAn interrupt (Ctrl-C) stops it; the same command \
         again goes on with all data. What is killed stays dead until it is started.\n",
        region.region,
        dir.display(),
        paste.join("\n")
    )
}

/// Who runs where, with the zone of each where there are several.
fn table(region: &Region) -> Table {
    const HEAD: [&str; 7] = ["ZONE", "PROCESS", "PID", "LISTENS ON", "REPLICATION", "RACK", "DISK"];
    let named = usize::from(region.zones.len() <= 1);
    let mut table = Table::new(&HEAD[named..]);
    let mut row = |cells: Vec<String>| table.row(cells[named..].to_vec());
    let host = |h: &HostEntry| {
        vec![h.zone.clone(), h.id.clone(), h.pid.to_string(), h.sockets.join("nbd.sock").display().to_string()]
    };
    let zone =
        |z: &ZoneEntry| vec![z.name.clone(), "zone".into(), z.authority.pid.to_string(), z.authority.addr.to_string()];
    for z in &region.zones {
        row(zone(z));
        for n in &z.nodes {
            let (at, store) = ([n.addr, n.replication_addr].map(|at| at.to_string()), n.store.display().to_string());
            let head = [z.name.clone(), n.id.clone(), n.pid.to_string()];
            row(head.into_iter().chain(at).chain([n.rack.clone(), store]).collect());
        }
    }
    if let (Some(pid), Some(endpoint)) = (region.pid, &region.endpoint) {
        row(vec![String::new(), "region".into(), pid.to_string(), endpoint.clone()]);
    }
    region.hosts.iter().for_each(|h| row(host(h)));
    table
}
