//! `seawall dev`: a region on one machine, one process for each of its members.

pub mod folder;
pub mod start;
pub mod supervisor;

use crate::args::{Dev, DevCommand};
use crate::refusal::{Code, Refusal};
use crate::say;
use crate::table::Table;
use base::Rng;
use folder::{Folder, Wish};
use std::path::Path;
use supervisor::Supervisor;

/// Runs it.
pub fn run(dev: Dev) -> Result<(), Refusal> {
    if let Some(DevCommand::Start { id, target }) = dev.command {
        let pid = start::ask(&target.dir, &id)?;
        say(&if target.json {
            format!("{}\n", serde_json::json!({ "id": id, "pid": pid }))
        } else {
            format!("{id} runs again, as process {pid}\n")
        });
        return Ok(());
    }
    if dev.zones > 1 {
        let text = "more than one zone (--zones) is not built yet; leave it out for a region of one zone";
        return Err(Refusal::new(Code::NotBuilt, text));
    }
    let wish = Wish {
        region: dev.region,
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
    let region = supervisor.region();
    let dir = &supervisor.folder().dir;
    let mut table = Table::new(&["PROCESS", "PID", "LISTENS ON", "REPLICATION", "RACK", "DISK"]);
    for zone in &region.zones {
        table.row(vec!["zone".into(), zone.authority.pid.to_string(), zone.authority.addr.to_string()]);
        for n in &zone.nodes {
            let store = n.store.display().to_string();
            table.row(vec![
                n.id.clone(),
                n.pid.to_string(),
                n.addr.to_string(),
                n.replication_addr.to_string(),
                n.rack.clone(),
                store,
            ]);
        }
    }
    if let (Some(pid), Some(endpoint)) = (region.pid, &region.endpoint) {
        table.row(vec!["region".into(), pid.to_string(), endpoint.clone()]);
    }
    for host in &region.hosts {
        table.row(vec![host.id.clone(), host.pid.to_string(), host.sockets.join("nbd.sock").display().to_string()]);
    }
    let paste: Vec<String> =
        ["volume create 1GiB", "volume list", "attach VOLUME", "volume show VOLUME", "node list", "dev start node-1"]
            .iter()
            .map(|words| format!("  {}", command(dir, words)))
            .collect();
    let api = match (&region.endpoint, &region.access_key_id, &region.secret_access_key) {
        (Some(endpoint), Some(id), Some(secret)) => {
            let steps = api::front::first_steps(endpoint, &region.region, (id, secret));
            format!("\n  {}", steps.join("\n  "))
        }
        _ => String::new(),
    };
    format!(
        "Region {}, in {}, is ready.\n\n{table}\nIn another terminal:\n{}{api}\n\nAn interrupt (Ctrl-C) stops it; the same command \
         again goes on with all data. What is killed stays dead until it is started.\n",
        region.region,
        dir.display(),
        paste.join("\n")
    )
}
