//! `seawall dev start ID`: asks the `seawall dev` that owns a folder to start one of its processes again. Both ends of that
//! conversation: a Unix socket in the folder, one line each way, `start ID` or `start ID in ZONE`, and `ok PID` or `E0018 why`.
//!
//! The process becomes a child of the `dev` that owns the folder, and stops with it.

use super::supervisor::Event;
use crate::refusal::{Code, Refusal};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

/// A request must be here so soon after its connection.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// Longer than a supervisor waits for a process.
const ANSWER_WITHIN: Duration = Duration::from_secs(150);
/// No request is longer.
const REQUEST_BYTES_MAX: u64 = 256;

fn socket(dir: &Path) -> PathBuf {
    dir.join("dev.sock")
}

/// Takes requests until this process ends. The folder's lock is held, so a socket that is there is a dead one's.
pub fn listen(dir: &Path, to: SyncSender<Event>) -> Result<(), Refusal> {
    let path = socket(dir);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Refusal::file("remove", &path, &e)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(|e| Refusal::file("listen on", &path, &e))?;
    let accept = move || {
        // One at a time: a request is one line, and it is there at once or refused.
        for stream in listener.incoming().flatten() {
            if let Some((id, zone)) = request(&stream)
                && to.send(Event::Start { from: stream, id, zone }).is_err()
            {
                return;
            }
        }
    };
    let spawned = std::thread::Builder::new().name("requests".into()).spawn(accept);
    spawned.map(drop).map_err(|e| Refusal::file("listen on", &path, &e))
}

/// Which process, and of which zone if that is said.
fn request(stream: &UnixStream) -> Option<(String, Option<String>)> {
    stream.set_read_timeout(Some(ASK_WITHIN)).ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(REQUEST_BYTES_MAX)).read_line(&mut line).ok()?;
    let words = line.trim_end().strip_prefix("start ")?;
    let (id, zone) = words.split_once(" in ").map_or((words, None), |(id, zone)| (id, Some(zone)));
    Some((id.into(), zone.map(Into::into)))
}

/// Has `id`, of this zone, started; its process.
pub fn ask(dir: &Path, id: &str, zone: Option<&str>) -> Result<u32, Refusal> {
    let nobody = |e: &dyn std::fmt::Display| {
        let text = format!(
            "no `seawall dev` runs in {}: {e}; start it with `seawall dev --dir {}`, which starts every process",
            dir.display(),
            dir.display()
        );
        Refusal::new(Code::NoRegion, text)
    };
    let stream = UnixStream::connect(socket(dir)).map_err(|e| nobody(&e))?;
    let exchange = || -> std::io::Result<String> {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let zone = zone.map(|zone| format!(" in {zone}")).unwrap_or_default();
        (&stream).write_all(format!("start {id}{zone}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line)?;
        Ok(line)
    };
    let line = exchange().map_err(|e| nobody(&e))?;
    let (word, rest) = line.trim_end().split_once(' ').unwrap_or(("", ""));
    match (word, rest.parse()) {
        ("ok", Ok(pid)) => Ok(pid),
        ("E0016", _) => Err(Refusal::new(Code::NotReady, rest)),
        ("E0012", _) => Err(Refusal::new(Code::Start, rest)),
        ("E0018", _) => Err(Refusal::new(Code::NoStart, rest)),
        ("E0020", _) => Err(Refusal::new(Code::File, rest)),
        ("E0027", _) => Err(Refusal::new(Code::WhichZone, rest)),
        _ => Err(nobody(&"it ended before it answered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn place(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("seawall-start-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    #[test]
    fn a_request_reaches_the_supervisor_and_its_answer_comes_back() {
        let dir = place("answer");
        let (sender, events) = sync_channel(8);
        listen(&dir, sender).unwrap();
        let answers = ["ok 17", "E0018 node-9 is unknown", "E0016 x", "E0012 x", "E0020 x", "E0027 x", "gibberish"];
        let supervisor = std::thread::spawn(move || {
            for answer in answers {
                let Ok(Event::Start { mut from, id, zone }) = events.recv() else { panic!("not a request") };
                assert_eq!((id.as_str(), zone.as_deref()), ("node-9", (answer == "ok 17").then_some("local-1b")));
                from.write_all(format!("{answer}\n").as_bytes()).unwrap();
            }
        });
        assert_eq!(ask(&dir, "node-9", Some("local-1b")), Ok(17));
        let codes = [Code::NoStart, Code::NotReady, Code::Start, Code::File, Code::WhichZone, Code::NoRegion];
        for code in codes {
            assert_eq!(ask(&dir, "node-9", None).unwrap_err().code, code);
        }
        supervisor.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn without_a_supervisor_there_is_nobody_to_ask() {
        let dir = place("nobody");
        assert_eq!(ask(&dir, "node-1", None).unwrap_err().code, Code::NoRegion);
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn garbage_is_not_a_request() {
        let (a, mut b) = UnixStream::pair().unwrap();
        b.write_all(b"stop node-1\n").unwrap();
        assert_eq!(request(&a), None);
    }
}
