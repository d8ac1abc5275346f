//! A region for the length of one command: a `seawall dev` of its own in a temporary folder, whose processes are looked up, killed
//! and started again the way an operator would. It ends with the command, whatever happens, also when that is interrupted.

use crate::dev;
use crate::operate;
use crate::process::{self, Came, Signal};
use crate::refusal::{Code, Refusal};
use crate::region::Region as Entries;
use base::size::Size;
use base::{NodeId, VolumeId};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Between two looks at something that changes by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After an interrupt, everything must have stopped within this time.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// The `seawall dev` that runs; 0 before there is one. For the one thread that must stop it on an interrupt.
static DEV: AtomicU32 = AtomicU32::new(0);

/// Set before that thread does anything: what the command then meets is its doing, and no finding.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// A folder for `what`, not made yet, on a disk where so many bytes are free; an interrupt from now on stops what was started,
/// removes the folder and ends this process. Call it before any other thread is started.
pub fn folder(what: &str, number: u64, bytes: u64) -> Result<PathBuf, Refusal> {
    let temp = std::env::temp_dir();
    let free = process::free_bytes(&temp).map_err(|e| Refusal::file("look at", &temp, &e))?;
    if free < bytes {
        let text = format!(
            "the {what} needs {} on the disk of {} and {} MiB are free; make room there, or name another folder in TMPDIR",
            Size(bytes),
            temp.display(),
            free >> 20
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    let dir = temp.join(format!("seawall-{what}-{number:016x}"));
    clean_up_on_interrupt(dir.clone())?;
    Ok(dir)
}

/// Returns unless there was an interrupt: then the other thread ends the process when it has cleaned up.
pub fn park_if_interrupted() {
    while INTERRUPTED.load(Ordering::Acquire) {
        std::thread::park();
    }
}

fn clean_up_on_interrupt(dir: PathBuf) -> Result<(), Refusal> {
    let failed = |e: std::io::Error| {
        Refusal::new(Code::Start, format!("cannot listen for signals: {e}; check the limit on threads"))
    };
    let (sender, signals) = sync_channel(8);
    process::listen(sender, |came| came).map_err(failed)?;
    let wait = move || {
        while signals.recv().is_ok_and(|came| came != Came::Stop) {}
        INTERRUPTED.store(true, Ordering::Release);
        let dev = DEV.load(Ordering::Acquire);
        if dev != 0 {
            let _ = process::send(dev, Signal::Term);
            let _ = process::wait_gone(dev, STOP_WITHIN);
        }
        let _ = std::fs::remove_dir_all(&dir);
        eprintln!("{}", Refusal::new(Code::DidNotHold, "interrupted; what was started is stopped, its folder removed"));
        std::process::exit(1);
    };
    std::thread::Builder::new().name("interrupt".into()).spawn(wait).map(drop).map_err(failed)
}

/// How a region begins.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// The build that it consists of; this program's own when none is named.
    pub program: Option<&'a Path>,
    /// How many nodes.
    pub nodes: u16,
    /// Space of each.
    pub node_size: Size,
    /// Further words for `seawall dev`.
    pub options: &'a [&'a str],
}

/// A region that runs.
pub struct Region {
    dev: Child,
    program: PathBuf,
    /// Its folder.
    pub dir: PathBuf,
}

impl Region {
    /// Starts one, and waits until it is ready.
    pub fn start(dir: PathBuf, wish: &Wish<'_>) -> Result<Self, Refusal> {
        std::fs::create_dir_all(&dir).map_err(|e| Refusal::file("make the folder", &dir, &e))?;
        let own = || std::env::current_exe().map_err(|e| Refusal::file("find", Path::new("this program"), &e));
        let program = wish.program.map_or_else(own, |named| Ok(named.to_path_buf()))?;
        // Beside the region's folder, which must be empty when `dev` makes its region there.
        let log_path = dir.join("dev.log");
        let log = std::fs::File::create(&log_path).map_err(|e| Refusal::file("make", &log_path, &e))?;
        let mut command = Command::new(&program);
        command.args(["dev", "--node-size", &wish.node_size.to_string(), "--nodes", &wish.nodes.to_string()]);
        command.args(wish.options);
        let dir = dir.join("region");
        command.arg("--dir").arg(&dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let dev = process::spawn(&mut command).map_err(|e| {
            let text =
                format!("cannot start `{} dev`: {e}; check the file and the limits of this user", program.display());
            Refusal::new(Code::Start, text)
        })?;
        DEV.store(dev.id(), Ordering::Release);
        let mut region = Self { dev, program, dir };
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

    /// Runs a command of the region's own build, which need not be ours: what it printed.
    pub fn ask(&self, words: &[&str]) -> Result<String, Refusal> {
        let said = Command::new(&self.program).args(words).arg("--dir").arg(&self.dir).stdin(Stdio::null()).output();
        let failed = |why: String| {
            let text = format!("`{} {}` failed: {why}", self.program.display(), words.join(" "));
            Refusal::new(Code::NotReady, text)
        };
        let said = said.map_err(|e| failed(e.to_string()))?;
        if !said.status.success() {
            return Err(failed(String::from_utf8_lossy(&said.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&said.stdout).trim().to_string())
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
        dev::start::ask(&self.dir, id, None).map(drop)
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
        self.until("everything has stopped", STOP_WITHIN, |region| match region.dev.try_wait() {
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
