//! Running a process to its end, with a limit, while its output is both shown and read.
//!
//! A process that passes its limit is killed together with all it started. It stays in our own process group, so that an
//! interrupt at the terminal reaches it too.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long what a process started may outlive it.
const GRACE: Duration = Duration::from_secs(3);

/// How a process ended, and what it printed.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status; none when a signal ended it.
    pub(super) code: Option<i32>,
    /// Whether it was killed at its limit.
    pub(super) timed_out: bool,
    /// Whether something that it started outlived it and still holds its output open.
    pub(super) left_behind: bool,
    /// The lines of its standard output.
    pub(super) lines: Vec<String>,
}

impl Ended {
    /// Whether it ended with this status and took along all that it started.
    pub(super) fn is(&self, status: i32) -> bool {
        self.code == Some(status) && !self.left_behind
    }

    /// For the table.
    pub(super) fn why(&self, limit: Duration) -> String {
        match self.code {
            Some(0) if self.left_behind => "a process that it started still runs".into(),
            _ if self.timed_out => format!("killed: it had not ended after {} s", limit.as_secs()),
            Some(code) => format!("exit status {code}"),
            None => "ended by a signal".into(),
        }
    }
}

/// Runs it to its end. Its standard output is shown as it comes.
///
/// # Errors
/// Why it cannot be started.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<Ended, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{name} cannot be started: {e}"))?;
    let pid = child.id();
    let output = child.stdout.take().expect("its output is piped");
    let (line_to, lines_from) = channel();
    // Not joined: a process left behind by the child may hold the pipe open for ever.
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|len| len > 0) {
            let line = String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_string();
            bytes.clear();
            crate::say(&line);
            if line_to.send(line).is_err() {
                return;
            }
        }
    });
    let (ended_to, ended_from) = channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = matches!(ended_from.recv_timeout(limit), Err(RecvTimeoutError::Timeout));
        if late {
            kill_with_descendants(pid);
        }
        late
    });
    let status = child.wait().map_err(|e| format!("{name} cannot be waited for: {e}"))?;
    drop(ended_to);
    let timed_out = watchdog.join().expect("the watchdog does not panic");
    let mut lines = Vec::new();
    // What it printed is already in the pipe. If the pipe is not closed soon, somebody else holds it open.
    let until = Instant::now() + GRACE;
    let left_behind = loop {
        match lines_from.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => lines.push(line),
            Err(why) => break why == RecvTimeoutError::Timeout,
        }
    };
    Ok(Ended { code: status.code(), timed_out, left_behind, lines })
}

/// Parents of all processes, by child.
fn parents() -> BTreeMap<u32, u32> {
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold anything; state and parent follow the last one.
        let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        Some((pid, parent))
    })
    .collect()
}

/// The process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let parents = parents();
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let parent = all[at];
        all.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(child, _)| *child));
        at += 1;
    }
    all
}

fn kill_with_descendants(pid: u32) {
    let pids: Vec<_> = family(pid).iter().map(u32::to_string).collect();
    if let Err(e) = Command::new("kill").arg("-KILL").args(&pids).stderr(Stdio::null()).status() {
        eprintln!("xtask: kill cannot be started ({e}); left running: {}", pids.join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_status_and_every_line_are_kept() {
        let ended = run(&mut sh("echo one; echo two; exit 77"), Duration::from_secs(60)).unwrap();
        assert!(ended.is(77) && !ended.timed_out);
        assert_eq!(ended.lines, ["one", "two"]);
    }

    #[test]
    fn a_process_past_its_limit_is_killed_with_its_children() {
        let ended = run(&mut sh("sleep 3600 & echo one; wait"), Duration::from_secs(1)).unwrap();
        assert_eq!((ended.code, ended.timed_out, ended.lines.len()), (None, true, 1));
        assert!(!ended.left_behind, "the grandchild still holds the output open");
        assert_eq!(ended.why(Duration::from_secs(1)), "killed: it had not ended after 1 s");
    }

    #[test]
    fn a_process_left_behind_is_noticed() {
        // It holds the output open, and ends with this test's process.
        let script = format!("echo early; (tail -f --pid={} /dev/null) & exit 0", std::process::id());
        let ended = run(&mut sh(&script), Duration::from_secs(60)).unwrap();
        assert!(ended.left_behind && !ended.is(0));
        assert_eq!((ended.lines, ended.timed_out), (vec!["early".into()], false));
    }

    #[test]
    fn output_that_is_no_text_is_shown_as_well_as_it_can_be() {
        let ended = run(&mut sh("printf 'a\\377b\\nc'"), Duration::from_secs(60)).unwrap();
        assert_eq!(ended.lines, ["a\u{fffd}b", "c"]);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let why = run(&mut Command::new("no-such-program"), Duration::from_secs(1)).unwrap_err();
        assert!(why.starts_with("no-such-program cannot be started: "), "{why}");
    }
}
