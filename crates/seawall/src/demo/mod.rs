//! `seawall demo`: the whole thing in about a minute, on real processes, real disks and a real client protocol.
//!
//! It says what happens as it happens, verifies every byte that it wrote, and ends with a table of what was measured. Its exit
//! status is 0 only if all of it held. What it started it stops, and what it made it removes; after a failure its folder is
//! kept and named.

mod load;
mod region;
mod stamp;
mod story;

use crate::args::Demo;
use crate::process::{self, Came, Signal};
use crate::refusal::{Code, Refusal};
use crate::table::Table;
use base::size::Size;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// What the demo says and what it measured.
pub struct Report {
    began: Instant,
    json: bool,
    figures: Vec<(&'static str, String, Value)>,
    /// Whether the fault that was asked for has been planted: what failed before is another failure.
    planted: bool,
}

impl Report {
    /// A line of the story.
    pub fn tell(&self, line: &str) {
        let line = format!("[{:5.1} s] {line}\n", self.began.elapsed().as_secs_f64());
        if self.json { eprint!("{line}") } else { crate::say(&line) }
    }

    /// A figure for the table at the end.
    pub fn figure(&mut self, name: &'static str, text: String, value: impl Into<Value>) {
        self.figures.push((name, text, value.into()));
    }

    fn print(&self) {
        if self.json {
            let map: Map<String, Value> =
                self.figures.iter().map(|(name, _, value)| (name.replace([' ', ','], "_"), value.clone())).collect();
            return crate::say(&format!("{}\n", Value::Object(map)));
        }
        let mut table = Table::new(&["MEASURED", ""]);
        self.figures.iter().for_each(|(name, text, _)| table.row(vec![name.to_string(), text.clone()]));
        crate::say(&format!("\n{table}\n"));
    }
}

/// What the logs of all nodes come to, with room to spare.
const ROOM_BYTES: u64 = 4 << 30;
/// After an interrupt, everything must have stopped within this time.
const STOP_WITHIN: Duration = Duration::from_secs(40);

/// Runs it.
pub fn run(args: &Demo) -> Result<(), Refusal> {
    let seed = runtime::entropy_u64();
    let temp = std::env::temp_dir();
    let free = process::free_bytes(&temp).map_err(|e| Refusal::file("look at", &temp, &e))?;
    if free < ROOM_BYTES {
        let text = format!(
            "the demo needs {} on the disk of {} and {} MiB are free; make room there, or name another folder in TMPDIR",
            Size(ROOM_BYTES),
            temp.display(),
            free >> 20
        );
        return Err(Refusal::new(Code::Folder, text));
    }
    let dir = temp.join(format!("seawall-demo-{seed:016x}"));
    clean_up_on_interrupt(dir.clone())?;
    let mut report = Report { began: Instant::now(), json: args.json, figures: Vec::new(), planted: false };
    report.tell(&format!("a region of real processes in {}, seed {seed}", dir.display()));
    let outcome = story::run(&dir, seed, args.fault, &mut report);
    while INTERRUPTED.load(Ordering::Acquire) {
        // The other thread ends the process when it has cleaned up.
        std::thread::park();
    }
    report.print();
    match outcome {
        Ok(()) => {
            std::fs::remove_dir_all(&dir).map_err(|e| Refusal::file("remove", &dir, &e))?;
            report.tell("all of it held: every byte is as it was written, and nothing is left behind");
            Ok(())
        }
        Err(refusal) if report.planted => {
            std::fs::remove_dir_all(&dir).map_err(|e| Refusal::file("remove", &dir, &e))?;
            let text = format!("{}; it was broken on purpose, and noticed", refusal.text);
            Err(Refusal::new(Code::DidNotHold, text))
        }
        Err(refusal) => {
            let text =
                format!("{}; its folder is kept, with the logs of all processes: {}", refusal.text, dir.display());
            Err(Refusal::new(refusal.code, text))
        }
    }
}

/// The `seawall dev` that the demo runs; 0 before there is one. For the one thread that must stop it on an interrupt.
static DEV: AtomicU32 = AtomicU32::new(0);

/// Set before that thread does anything: what the story then meets is its doing, and no finding.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// An interrupt stops what was started and removes what was made, as the end of the demo does.
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
