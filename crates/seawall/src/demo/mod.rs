//! `seawall demo`: the whole thing in about a minute, on real processes, real disks and a real client protocol.
//!
//! It says what happens as it happens, verifies every byte that it wrote, and ends with a table of what was measured. Its exit
//! status is 0 only if all of it held. What it started it stops, and what it made it removes; after a failure its folder is
//! kept and named.

mod load;
mod stamp;
mod story;

use crate::args::Demo;
use crate::refusal::{Code, Refusal};
use crate::table::Table;
use crate::temporary;
use serde_json::{Map, Value};
use std::time::Instant;

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

/// Runs it.
pub fn run(args: &Demo) -> Result<(), Refusal> {
    let seed = runtime::entropy_u64();
    let dir = temporary::folder("demo", seed, ROOM_BYTES)?;
    let mut report = Report { began: Instant::now(), json: args.json, figures: Vec::new(), planted: false };
    report.tell(&format!("a region of real processes in {}, seed {seed}", dir.display()));
    let outcome = story::run(&dir, seed, args.fault, &mut report);
    temporary::park_if_interrupted();
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
