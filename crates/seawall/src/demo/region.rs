//! The demo's region: a `seawall dev` of its own in a temporary folder, whose processes are looked up, killed and started again
//! the way an operator would. It ends with the demo, whatever happens.

use crate::dev;
use crate::operate;
use crate::process::{self, Signal};
use crate::refusal::{Code, Refusal};
use crate::region::Region as Entries;
use base::{NodeId, VolumeId};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two looks at something that changes by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Seconds that a lost copy is waited for: shorter than in `seawall dev`, because somebody watches.
pub const REMIRROR_AFTER_S: u64 = 3;

/// A region that runs.
pub struct Region {
    dev: Child,
    /// Its folder.
    pub dir: PathBuf,
}

impl Region {
    /// Starts one with this many nodes, and waits until it is ready.
    pub fn start(dir: PathBuf, nodes: u16, node_size: &str) -> Result<Self, Refusal> {
        std::fs::create_dir_all(&dir).map_err(|e| Refusal::file("make the folder", &dir, &e))?;
        let program = std::env::current_exe().map_err(|e| Refusal::file("find", Path::new("this program"), &e))?;
        // Beside the region's folder, which must be empty when `dev` makes its region there.
        let log_path = dir.join("dev.log");
        let log = std::fs::File::create(&log_path).map_err(|e| Refusal::file("make", &log_path, &e))?;
        let mut command = Command::new(program);
        command.args(["dev", "--node-size", node_size, "--nodes", &nodes.to_string()]);
        command.args(["--remirror-after", &REMIRROR_AFTER_S.to_string()]);
        let dir = dir.join("region");
        command.arg("--dir").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let dev = process::spawn(&mut command).map_err(|e| {
            Refusal::new(Code::Start, format!("cannot start `seawall dev`: {e}; check the limits of this user"))
        })?;
        super::DEV.store(dev.id(), Ordering::Release);
        let mut region = Self { dev, dir };
        region.until("the region is ready", Duration::from_secs(60), |region| {
            if let Ok(Some(status)) = region.dev.try_wait() {
                let text = std::fs::read_to_string(&log_path).unwrap_or_default();
                return Err(Refusal::new(Code::NotReady, format!("`seawall dev` ended ({status}): {text}")));
            }
            Ok(region.dir.join("region.json").exists().then_some(()))
        })?;
        Ok(region)
    }

    /// Looks until there is an answer.
    pub fn until<T>(
        &mut self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, Refusal>,
    ) -> Result<T, Refusal> {
        let until = Instant::now() + within;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            if Instant::now() >= until {
                let text = format!("it was waited for {} s until {what}, in vain", within.as_secs());
                return Err(Refusal::new(Code::DidNotHold, text));
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Who runs where.
    pub fn entries(&self) -> Result<Entries, Refusal> {
        Entries::load(&self.dir)
    }

    fn pid(&self, id: &str) -> Result<u32, Refusal> {
        let entries = self.entries()?;
        let nodes = entries.zones.iter().flat_map(|z| &z.nodes).map(|n| (n.id.as_str(), n.pid));
        let authority = entries.zones.iter().map(|z| ("zone", z.authority.pid));
        let found = nodes.chain(authority).find(|(name, _)| *name == id).map(|(_, pid)| pid);
        found.ok_or_else(|| Refusal::new(Code::NoStart, format!("no process {id} in region.json")))
    }

    /// Kills a process without a word (kill -9).
    pub fn kill(&self, id: &str) -> Result<(), Refusal> {
        let pid = self.pid(id)?;
        process::send(pid, Signal::Kill).map_err(|e| Refusal::new(Code::Start, format!("cannot kill {id}: {e}")))
    }

    /// Starts a killed process again, as `seawall dev start` does.
    pub fn start_again(&self, id: &str) -> Result<(), Refusal> {
        dev::start::ask(&self.dir, id).map(drop)
    }

    /// The volume as the authority sees it. None while it does not answer.
    pub fn volume(&self, volume: VolumeId) -> Option<wire::VolumeState> {
        operate::show(&self.dir, volume).ok()
    }

    /// The first shard's primary and all its members. The demo's volume has one shard.
    pub fn members(&self, volume: VolumeId) -> Result<(NodeId, Vec<NodeId>), Refusal> {
        let state = operate::show(&self.dir, volume)?;
        let shard = state.shards.first().ok_or_else(|| Refusal::new(Code::Protocol, "a volume without a shard"))?;
        Ok((shard.config.primary, shard.config.members.iter().map(|m| m.node).collect()))
    }

    /// Asks everything to stop, and waits for it.
    pub fn stop(mut self) -> Result<(), Refusal> {
        let failed = |what: String| Refusal::new(Code::DidNotHold, what);
        process::send(self.dev.id(), Signal::Term).map_err(|e| failed(format!("cannot stop `seawall dev`: {e}")))?;
        self.until("everything has stopped", Duration::from_secs(40), |region| match region.dev.try_wait() {
            Ok(None) => Ok(None),
            Ok(Some(status)) if status.success() => Ok(Some(())),
            Ok(Some(status)) => Err(failed(format!("`seawall dev` stopped with {status}"))),
            Err(e) => Err(failed(format!("`seawall dev` cannot be waited for: {e}"))),
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // After a failure: its children die with it. After `stop` it is gone already.
        if let Ok(None) = self.dev.try_wait() {
            let _ = process::send(self.dev.id(), Signal::Kill);
            let _ = self.dev.wait();
        }
    }
}
