//! A witness before a server in memory, which does right, or is made to fail, or goes away.

use super::*;
use crate::args::Lie;
use base::{Generation, Payload, VolumeId};
use frontend::nbd::{Exports, Output, Session, Status};
use host::{Export, Op, Refusal as HostRefusal, Request};
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

const VOLUME: VolumeId = VolumeId(0xabc);
const SIZE: usize = 4 << 20;

/// What all connections of a server share.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    /// Requests that are still answered; then connections end.
    left: Option<u64>,
    /// Writes fail.
    is_full: bool,
}

impl Exports for Memory {
    fn find(&self, volume: VolumeId) -> Option<Export> {
        Some(Export { volume, size: SIZE as u64, generation: Generation(1), read_only: false })
    }
    fn list(&self) -> Vec<Export> {
        Vec::new()
    }
    fn is_informed(&self) -> bool {
        true
    }
}

impl Memory {
    fn perform(&mut self, op: &Op) -> Result<Vec<Payload>, HostRefusal> {
        let range = |offset: u64, len: u64| offset as usize..(offset + len) as usize;
        match op {
            Op::Read { offset, len } => return Ok(vec![Payload::from(self.bytes[range(*offset, *len)].to_vec())]),
            _ if self.is_full => return Err(HostRefusal::OutOfRange { size: 0 }),
            Op::Write { offset, data } => self.bytes[range(*offset, data.len() as u64)].copy_from_slice(data),
            Op::Trim { offset, len } | Op::Zero { offset, len } => self.bytes[range(*offset, *len)].fill(0),
            Op::Flush => {}
            Op::Map { .. } => unreachable!("a witness asks for bytes only"),
        }
        Ok(Vec::new())
    }
}

/// A server in memory, behind a socket.
struct Server {
    folder: PathBuf,
    memory: Arc<Mutex<Memory>>,
}

impl Server {
    fn new(name: &str, left: Option<u64>) -> Self {
        let folder = std::env::temp_dir().join(format!("seawall-witness-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let listener = UnixListener::bind(folder.join("nbd.sock")).unwrap();
        let memory = Arc::new(Mutex::new(Memory { bytes: vec![0; SIZE], left, is_full: false }));
        let shared = Arc::clone(&memory);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { folder, memory }
    }

    fn socket(&self) -> String {
        self.folder.join("nbd.sock").to_str().unwrap().into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn serve(mut stream: UnixStream, memory: &Mutex<Memory>) {
    let (mut session, mut out, mut requests) = (Session::new(1), Output::default(), Vec::<Request>::new());
    session.greeting(&mut out);
    let mut buffer = vec![0; 64 << 10];
    let mut status = Status::Open;
    loop {
        for part in out.take() {
            if stream.write_all(&part).is_err() {
                return;
            }
            session.sent(part.len() as u64);
        }
        // Who takes its leave waits for the end of the connection.
        let len = if status == Status::Close { 0 } else { stream.read(&mut buffer).unwrap_or(0) };
        if len == 0 {
            return;
        }
        let mut memory = memory.lock().unwrap();
        status = session.bytes(Payload::from(buffer[..len].to_vec()), &*memory, &mut requests, &mut out);
        for request in requests.drain(..) {
            if memory.left == Some(0) {
                return;
            }
            memory.left = memory.left.map(|left| left - 1);
            status = session.reply(request.tag, memory.perform(&request.op), &mut out);
        }
    }
}

fn witness(lie: Option<Lie>) -> Witness {
    let args = Args { volume: VOLUME, seed: 1, connections: 2, depth: 4, rate: 20_000, lie };
    let (rng, shared) = (Rng::new(1), Arc::new(Shared::default()));
    Witness { args, rng, shared, running: Vec::new(), history: Vec::new(), made: 0, gone: 0 }
}

/// Asks what must be answered, and takes the answer.
fn ask(witness: &mut Witness, line: &str) -> Value {
    let words: Vec<&str> = line.split_whitespace().collect();
    witness.answer(&words).unwrap()
}

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !look() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Works before that server until so much was answered, and judges.
fn verdict(server: &Server, lie: Option<Lie>, answers: u64) -> Value {
    let mut witness = witness(lie);
    ask(&mut witness, &format!("connect 1 {}", server.socket()));
    until("it is answered", || ask(&mut witness, "status")["answered"].as_u64() >= Some(answers));
    ask(&mut witness, "stop");
    ask(&mut witness, &format!("verify 1 {}", server.socket()))
}

#[test]
fn a_volume_that_does_right_is_found_right_and_everything_is_counted() {
    let server = Server::new("right", None);
    let mut witness = witness(None);
    let began = now();
    assert_eq!(ask(&mut witness, &format!("connect 3 {}", server.socket())), json!({ "connected": 2 + LANES }));
    until("every connection moves", || witness.moved(began));
    let seen = ask(&mut witness, &format!("between {began} {}", now()));
    assert!(seen["probes"].as_u64() >= Some(LANES) && seen["loads"].as_u64() > Some(0), "{seen}");
    assert!(seen["gap"].as_u64() > Some(0) && seen["longest"].as_u64() >= seen["p50"].as_u64(), "{seen}");
    ask(&mut witness, "stop");
    // Under a later generation: the history goes on.
    let verdict = ask(&mut witness, &format!("verify 4 {}", server.socket()));
    let of = |key: &str| verdict[key].as_u64().unwrap();
    assert_eq!((of("anomalies"), of("failures"), of("errors"), of("open_writes")), (0, 0, 0, 0), "{verdict}");
    assert_eq!((of("blocks"), of("registers")), (1024, 1024));
    assert!(of("accesses") > 1024 + LANES, "{verdict}");
}

#[test]
fn every_lie_is_noticed() {
    for lie in [Lie::LostWrite, Lie::StaleRead, Lie::TornBlock, Lie::FlipByte] {
        let server = Server::new(&format!("{lie:?}"), None);
        let verdict = verdict(&server, Some(lie), 5_000);
        let noticed = verdict["anomalies"].as_u64().unwrap() + verdict["failures"].as_u64().unwrap();
        assert!(noticed > 0, "{lie:?} was believed: {verdict}");
    }
}

#[test]
fn a_write_that_fails_is_an_error_and_may_still_happen() {
    let server = Server::new("full", None);
    server.memory.lock().unwrap().is_full = true;
    let verdict = verdict(&server, None, 200);
    assert!(verdict["errors"].as_u64() > Some(0) && verdict["errors"] == verdict["failures"], "{verdict}");
    assert_eq!(verdict["anomalies"], 0, "{verdict}");
    assert!(verdict["open_writes"].as_u64() >= verdict["errors"].as_u64(), "{verdict}");
    assert!(verdict["first_failures"][0].as_str().unwrap().contains("failed: "), "{verdict}");
}

#[test]
fn a_connection_that_is_cut_off_is_counted_and_what_it_had_asked_may_still_happen() {
    let server = Server::new("cut", Some(500));
    let mut witness = witness(None);
    ask(&mut witness, &format!("connect 1 {}", server.socket()));
    until("all are cut off", || ask(&mut witness, "status")["lost"] == 2 + LANES);
    assert_eq!(ask(&mut witness, "stop"), json!({ "stopped": true, "lost_before": 2 + LANES }));
    server.memory.lock().unwrap().left = None;
    let verdict = ask(&mut witness, &format!("verify 2 {}", server.socket()));
    let of = |key: &str| verdict[key].as_u64().unwrap();
    assert_eq!((of("anomalies"), of("failures"), of("errors")), (0, 0, 0), "{verdict}");
    assert!(of("open_writes") > 0, "{verdict}");
    server.memory.lock().unwrap().left = Some(3);
    let words = ["verify", "2", &server.socket()];
    assert!(witness.answer(&words).unwrap_err().contains("the connection was lost while"));
}

#[test]
fn what_it_cannot_do_it_refuses_by_name() {
    let mut witness = witness(None);
    let mut refused = |words: &[&str]| witness.answer(words).unwrap_err();
    assert!(refused(&["confess"]).contains("there are connect, status"));
    assert!(refused(&["moved", "soon"]).contains("\"soon\" is not a number"));
    assert!(refused(&["connect", "1", "/nowhere/nbd.sock"]).contains("NBD connection failed"));
    assert!(refused(&["connect", "4294967296", "/nowhere/nbd.sock"]).contains("so many generations"));
    assert!(refused(&["verify", "1", "/nowhere/nbd.sock"]).contains("NBD connection failed"));
    witness.running.push(Running { progress: Arc::default(), thread: std::thread::spawn(Vec::new) });
    assert!(witness.answer(&["connect", "1", "x"]).unwrap_err().contains("stop it first"));
    assert!(!witness.moved(1), "it was answered nothing");
    ask(&mut witness, "stop");
    assert!(!witness.moved(0), "nobody is there who could move");
}
