//! The processes of a region: started, waited for, named when they end, stopped in order. Nobody is started again by itself.
//!
//! A daemon says on its standard output, line by line, how far it is: `listening`, then `ready` when the authority knows it.
//! Nothing is waited for but these lines, the end of a process, and a deadline.

use super::folder::Folder;
use super::zone::ZoneFolder;
use super::{entries, ids};
use crate::process::{self, Came, Signal};
use crate::refusal::{Code, Refusal};
use crate::region::Region;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// A process must be ready within this time. It includes reading back the log of a disk.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// A process that was asked to stop is killed after this time.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// What a `dev` that was killed left behind must be gone within this time.
const LEFTOVER_WITHIN: Duration = Duration::from_secs(10);
/// A process that was just killed takes a moment to be gone; one that is still there after this time was not killed.
const DYING_WITHIN: Duration = Duration::from_secs(2);
/// A log that is longer when its process starts is put aside as `log.old`.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// Bytes of the end of a log that are quoted when a process fails.
const LOG_TAIL_BYTES: usize = 2000;

/// What happens to a supervisor.
pub enum Event {
    /// A signal.
    Came(Came),
    /// A process said a line.
    Said {
        /// Which process.
        pid: u32,
        /// What.
        line: String,
    },
    /// `seawall dev start` asks for a process; the answer goes back on the stream.
    Start {
        /// Whom to answer.
        from: UnixStream,
        /// Which process.
        id: String,
        /// Of which zone, by name.
        zone: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Starting,
    Listening,
    Ready,
}

struct Running {
    child: Child,
    stage: Stage,
}

/// Somebody who asked for a process and was not answered yet.
struct Pending {
    from: UnixStream,
    id: String,
    until: Instant,
}

/// Owns the processes of one region.
pub struct Supervisor {
    folder: Folder,
    running: BTreeMap<String, Running>,
    /// The last process of each id, dead or alive: region.json names it until another takes its place.
    pids: BTreeMap<String, u32>,
    /// Who waits until a process is ready.
    pending: Vec<Pending>,
    /// Who waits until the process of that id, perhaps killed a moment ago, is gone.
    behind: Vec<Pending>,
    events: Receiver<Event>,
    sender: SyncSender<Event>,
}

/// Why a wait ended before what was waited for.
enum Broken {
    Stopped,
    Refused(Refusal),
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Supervisor {
    /// Owns nothing yet. From here on signals come as events.
    pub fn new(folder: Folder) -> Result<Self, Refusal> {
        let (sender, events) = sync_channel(256);
        process::listen(sender.clone(), Event::Came).map_err(|e| {
            Refusal::new(Code::Start, format!("cannot listen for signals: {e}; check the limit on threads"))
        })?;
        Ok(Self {
            folder,
            running: BTreeMap::new(),
            pids: BTreeMap::new(),
            pending: Vec::new(),
            behind: Vec::new(),
            events,
            sender,
        })
    }

    /// Whoever asks for processes sends to this.
    pub fn sender(&self) -> SyncSender<Event> {
        self.sender.clone()
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Starts everything, calls `ready` when all is, and goes on until somebody wants it stopped; then stops all in order.
    pub fn run(&mut self, ready: impl FnOnce(&Self) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let outcome = match self.start_all() {
            Ok(()) => self.publish().and_then(|()| ready(self)).and_then(|()| self.watch()),
            Err(Broken::Stopped) => Ok(()),
            Err(Broken::Refused(refusal)) => Err(refusal),
        };
        self.stop_all();
        outcome
    }

    fn authorities(&self) -> Vec<String> {
        self.folder.zones.iter().map(ZoneFolder::authority_id).collect()
    }

    fn nodes(&self) -> Vec<String> {
        self.folder.zones.iter().flat_map(ZoneFolder::node_ids).collect()
    }

    fn hosts(&self) -> Vec<String> {
        self.folder.zones.iter().flat_map(ZoneFolder::host_ids).collect()
    }

    fn start_all(&mut self) -> Result<(), Broken> {
        remove_if_there(&self.folder.dir.join("region.json"))?;
        self.await_leftovers()?;
        let authorities = self.authorities();
        let others: Vec<String> = self.nodes().into_iter().chain(self.hosts()).chain(["region".to_string()]).collect();
        for ids in [authorities, others] {
            for id in &ids {
                self.start(id)?;
            }
            self.wait_ready(&ids)?;
        }
        Ok(())
    }

    /// A `dev` that was killed takes its children with it, and they take a moment: their ports and disks must be free.
    fn await_leftovers(&self) -> Result<(), Refusal> {
        for id in ids::all(&self.folder) {
            let text = fs::read_to_string(self.folder.pid(&id)).unwrap_or_default();
            // No number: it was never started, or its file was cut short; then its own locks have the last word.
            let Some(pid) = text.trim().parse().ok().filter(|pid| process::is_ours(*pid, &self.folder.config(&id)))
            else {
                continue;
            };
            let gone = process::wait_gone(pid, LEFTOVER_WITHIN);
            if !gone.map_err(|e| Refusal::new(Code::Folder, format!("cannot wait for process {pid}: {e}")))? {
                let text = format!(
                    "{id} still runs, as process {pid}, without its `seawall dev`; stop it with `kill {pid}` and try again"
                );
                return Err(Refusal::new(Code::Folder, text));
            }
        }
        Ok(())
    }

    fn start(&mut self, id: &str) -> Result<(), Refusal> {
        let kind = ids::kind(id);
        let program = std::env::current_exe().map_err(|e| Refusal::file("find", Path::new("this program"), &e))?;
        let log = open_log(&self.folder.log(id))?;
        let mut command = Command::new(program);
        command.arg(kind).arg("--config").arg(self.folder.config(id));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = process::spawn(&mut command).map_err(|e| {
            Refusal::new(Code::Start, format!("cannot start a process for {id}: {e}; check the limits of this user"))
        })?;
        let (pid, sender) = (child.id(), self.sender.clone());
        let file = self.folder.pid(id);
        fs::write(&file, format!("{pid}\n")).map_err(|e| Refusal::file("write", &file, &e))?;
        let lines = BufReader::new(child.stdout.take().expect("standard output is a pipe"));
        let listen = move || {
            // A line that is not text ends the listening, and then the wait for readiness, by its deadline.
            for line in lines.lines().map_while(Result::ok) {
                if sender.send(Event::Said { pid, line }).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name(format!("listen {id}")).spawn(listen).map_err(|e| {
            Refusal::new(Code::Start, format!("cannot listen to {id}: {e}; check the limit on threads"))
        })?;
        self.pids.insert(id.into(), pid);
        self.running.insert(id.into(), Running { child, stage: Stage::Starting });
        Ok(())
    }

    fn wait_ready(&mut self, ids: &[String]) -> Result<(), Broken> {
        let until = Instant::now() + READY_WITHIN;
        loop {
            let waiting = ids.iter().find(|id| self.running.get(*id).is_none_or(|r| r.stage != Stage::Ready));
            let Some(waiting) = waiting.cloned() else { return Ok(()) };
            match self.next(Some(until)) {
                None => {
                    return Err(self
                        .not_ready(&waiting, &format!("is not ready after {} s", READY_WITHIN.as_secs()))
                        .into());
                }
                Some(Event::Came(Came::Stop)) => return Err(Broken::Stopped),
                Some(Event::Came(Came::Child)) => {
                    if let Some((id, status)) = self.reap().into_iter().next() {
                        return Err(self.not_ready(&id, &ended(status)).into());
                    }
                }
                Some(Event::Said { pid, line }) => self.said(pid, &line),
                Some(Event::Start { from, .. }) => {
                    answer(from, "E0018 the region is still starting; try again when it is ready")
                }
            }
        }
    }

    fn not_ready(&self, id: &str, how: &str) -> Refusal {
        let log = self.folder.log(id);
        let text = format!("{id} {how}; its log, {}, ends with: {}", log.display(), tail(&log));
        Refusal::new(Code::NotReady, text)
    }

    fn next(&self, until: Option<Instant>) -> Option<Event> {
        match until {
            None => Some(self.events.recv().expect("this side keeps a sender")),
            Some(until) => match self.events.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => unreachable!("this side keeps a sender"),
            },
        }
    }

    fn said(&mut self, pid: u32, line: &str) {
        let stage = match line.split(' ').next() {
            Some("listening") => Stage::Listening,
            Some("ready") => Stage::Ready,
            _ => return,
        };
        // A line may come after its process has ended and another has taken the id.
        if let Some(running) = self.running.values_mut().find(|r| r.child.id() == pid) {
            running.stage = running.stage.max(stage);
        }
    }

    /// Takes leave of the children that have ended.
    fn reap(&mut self) -> Vec<(String, ExitStatus)> {
        let mut ended = Vec::new();
        self.running.retain(|id, running| match running.child.try_wait() {
            Ok(None) => true,
            Ok(Some(status)) => {
                ended.push((id.clone(), status));
                false
            }
            Err(e) => panic!("a child of this process cannot be waited for: {e}"),
        });
        ended
    }

    /// While the region runs.
    fn watch(&mut self) -> Result<(), Refusal> {
        loop {
            let until = self.pending.iter().chain(&self.behind).map(|p| p.until).min();
            match self.next(until) {
                None => self.expire(),
                Some(Event::Came(Came::Stop)) => return Ok(()),
                Some(Event::Came(Came::Child)) => self.take_leave(),
                Some(Event::Said { pid, line }) => {
                    self.said(pid, &line);
                    self.answer_ready()?;
                }
                Some(Event::Start { from, id, zone }) => match ids::meant(&self.folder, &id, zone.as_deref()) {
                    Ok(id) => self.begin(from, id),
                    Err(refusal) => answer(from, &format!("{} {}", refusal.code, refusal.text)),
                },
            }
        }
    }

    /// Tells of the processes that have ended, and starts again what was waiting for that.
    fn take_leave(&mut self) {
        for (id, status) in self.reap() {
            self.tell_ended(&id, status);
            let waited: Vec<Pending> = self.behind.extract_if(.., |p| p.id == id).collect();
            waited.into_iter().for_each(|p| self.begin(p.from, p.id));
        }
    }

    fn tell_ended(&mut self, id: &str, status: ExitStatus) {
        let how = ended(status);
        let mine: Vec<Pending> = self.pending.extract_if(.., |p| p.id == id).collect();
        if mine.is_empty() {
            let start = ids::start_words(&self.folder, id);
            eprintln!("{id} {how}; start it again with: {}", super::command(&self.folder.dir, &start));
        }
        let refusal = self.not_ready(id, &how);
        mine.into_iter().for_each(|p| answer(p.from, &format!("{} {}", refusal.code, refusal.text)));
    }

    fn expire(&mut self) {
        let now = Instant::now();
        let late: Vec<Pending> = self.pending.extract_if(.., |p| p.until <= now).collect();
        for p in late {
            let refusal =
                self.not_ready(&p.id, &format!("is not ready after {} s; it goes on trying", READY_WITHIN.as_secs()));
            answer(p.from, &format!("{} {}", refusal.code, refusal.text));
        }
        for p in self.behind.extract_if(.., |p| p.until <= now) {
            let text = format!("E0018 {} runs already, as process {}; kill it first", p.id, self.pids[&p.id]);
            answer(p.from, &text);
        }
    }

    fn begin(&mut self, from: UnixStream, id: String) {
        // The end of a process may still stand in the queue behind the request to start it again.
        self.take_leave();
        if self.running.contains_key(&id) {
            return self.behind.push(Pending { from, id, until: Instant::now() + DYING_WITHIN });
        }
        match self.start(&id) {
            Ok(()) => self.pending.push(Pending { from, id, until: Instant::now() + READY_WITHIN }),
            Err(refusal) => answer(from, &format!("{} {}", refusal.code, refusal.text)),
        }
    }

    /// Without its zone's authority a process can listen, and no more.
    fn answer_ready(&mut self) -> Result<(), Refusal> {
        let has_authority =
            |id: &str| self.folder.zone_of(id).is_none_or(|zone| self.running.contains_key(&zone.authority_id()));
        let enough = |id: &str| if has_authority(id) { Stage::Ready } else { Stage::Listening };
        let done = |p: &Pending| self.running.get(&p.id).is_some_and(|r| r.stage >= enough(&p.id));
        if !self.pending.iter().any(done) {
            return Ok(());
        }
        self.publish()?;
        let done: Vec<Pending> = self.pending.extract_if(.., |p| done(p)).collect();
        for p in done {
            let pid = self.pids[&p.id];
            eprintln!("{} runs again, as process {pid}", p.id);
            answer(p.from, &format!("ok {pid}"));
        }
        Ok(())
    }

    /// Who runs where, now.
    pub fn region(&self) -> Region {
        entries::region(&self.folder, |id| self.pids.get(id).copied().unwrap_or(0))
    }

    fn publish(&self) -> Result<(), Refusal> {
        self.region().save(&self.folder.dir)
    }

    /// The API first, so that nobody begins anything; then hosts, so that no I/O waits for nodes that are gone; then the authorities, so that a node that stops a moment before another is not taken
    /// for lost, evicted, and filled anew at the next start.
    fn stop_all(&mut self) {
        for group in [vec!["region".to_string()], self.hosts(), self.authorities(), self.nodes()] {
            self.stop(&group);
        }
        assert!(self.running.is_empty(), "a process is in no group: {:?}", self.running.keys());
        if let Err(refusal) = remove_if_there(&self.folder.dir.join("region.json")) {
            eprintln!("{refusal}");
        }
    }

    fn stop(&mut self, group: &[String]) {
        let signal = |running: &BTreeMap<String, Running>, signal| {
            for (id, r) in running.iter().filter(|(id, _)| group.contains(id)) {
                if let Err(e) = process::send(r.child.id(), signal) {
                    eprintln!("cannot stop {id}: {e}");
                }
            }
        };
        self.reap();
        signal(&self.running, Signal::Term);
        let until = Instant::now() + STOP_WITHIN;
        while self.running.keys().any(|id| group.contains(id)) {
            if self.next(Some(until)).is_none() {
                for id in self.running.keys().filter(|id| group.contains(id)) {
                    eprintln!("{id} did not stop within {} s and is killed", STOP_WITHIN.as_secs());
                }
                signal(&self.running, Signal::Kill);
                for id in group {
                    if let Some(mut r) = self.running.remove(id) {
                        r.child.wait().expect("a killed child can be waited for");
                    }
                }
            }
            self.reap();
        }
    }
}

fn answer(mut to: UnixStream, line: &str) {
    // Whoever asked may be gone; then nobody needs the answer.
    let _ = to.write_all(format!("{line}\n").as_bytes());
}

fn ended(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, Some(code)) => format!("ended with status {code}"),
        (None, None) => "ended".into(),
    }
}

fn remove_if_there(path: &Path) -> Result<(), Refusal> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Refusal::file("remove", path, &e)),
        _ => Ok(()),
    }
}

fn open_log(path: &Path) -> Result<fs::File, Refusal> {
    if fs::metadata(path).is_ok_and(|m| m.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("old")).map_err(|e| Refusal::file("put aside", path, &e))?;
    }
    fs::File::options().create(true).append(true).open(path).map_err(|e| Refusal::file("open", path, &e))
}

fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(4)..].join(" | ");
    if last.is_empty() { "(nothing)".into() } else { last }
}
