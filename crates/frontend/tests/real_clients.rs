//! Clients that others wrote, against the server with volumes in memory: nbdinfo and nbdcopy of libnbd, qemu-io and qemu-img. A
//! tool that is not installed is passed over, and the test says so.

mod stage;

use base::Payload;
use frontend::nbd::{Act, Server};
use stage::*;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a thread of a socket tells the one thread of the server.
enum Event {
    Opened(u64, UnixStream),
    Bytes(u64, Vec<u8>),
    Closed(u64),
}

/// Serves every connection to a socket, for as long as the test runs.
fn serve(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    let (events, received) = channel();
    std::thread::spawn(move || {
        for (id, socket) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reading = socket.try_clone().unwrap();
            let events: Sender<Event> = events.clone();
            events.send(Event::Opened(id as u64, socket)).unwrap();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while let Ok(len) = reading.read(&mut buffer)
                    && len > 0
                {
                    events.send(Event::Bytes(id as u64, buffer[..len].to_vec())).unwrap();
                }
                let _ = events.send(Event::Closed(id as u64));
            });
        }
    });
    std::thread::spawn(move || run(&received));
}

fn run(received: &Receiver<Event>) {
    let (mut server, mut host, mut sockets) = (Server::new(), FakeHost::new(), HashMap::new());
    host.attach(VOLUME, 64 << 20, 2);
    while let Ok(first) = received.recv() {
        for event in std::iter::once(first).chain(received.try_iter()) {
            match event {
                Event::Opened(id, socket) => {
                    sockets.insert(id, socket);
                    server.on_opened(id);
                }
                Event::Bytes(id, bytes) => server.on_bytes(id, Payload::from(bytes)),
                Event::Closed(id) => {
                    sockets.remove(&id);
                    server.on_closed(id);
                }
            }
        }
        loop {
            let mut acts = vec![];
            server.pump(&mut host, &mut acts);
            let is_idle = acts.is_empty() && host.queue.is_empty();
            for act in acts {
                match act {
                    // Of a client that has gone its Closed will tell.
                    Act::Send { stream, parts } => {
                        let socket = sockets.get_mut(&stream);
                        socket.map(|s| parts.iter().try_for_each(|part| s.write_all(part)));
                        server.on_sent(stream, base::payload::len(&parts) as u64);
                    }
                    Act::Close { stream } => {
                        sockets.remove(&stream).map(|s| s.shutdown(std::net::Shutdown::Both));
                        server.on_closed(stream);
                    }
                    Act::Pause { .. } | Act::Resume { .. } | Act::Gather { .. } => {}
                }
            }
            host.run();
            if is_idle {
                break;
            }
        }
    }
}

struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("seawall-nbd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        serve(&folder.join("s"));
        Self(folder)
    }

    fn uri(&self) -> String {
        format!("nbd+unix:///{NAME}?socket={}", self.0.join("s").display())
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a tool; none when it is not there.
fn tool(name: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(name).args(arguments).output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: needs {name}");
            None
        }
        Err(e) => panic!("{name}: {e}"),
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn nbdinfo_understands_what_is_announced() {
    let place = Place::new("info");
    let Some(output) = tool("nbdinfo", &[&place.uri()]) else { return };
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for wanted in [
        "newstyle-fixed",
        "structured packets",
        "export-size: 67108864",
        "can_flush: true",
        "can_fua: true",
        "can_trim: true",
        "can_zero: true",
        "can_fast_zero: true",
        "can_multi_conn: true",
        "can_df: true",
        "can_cache: true",
        "base:allocation",
        "is_read_only: false",
        "block_size_minimum: 512",
        "block_size_preferred: 4096",
        "block_size_maximum: 33554432",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in {said}");
    }
    let listed = tool("nbdinfo", &["--list", &format!("nbd+unix:///?socket={}", place.file("s"))]).unwrap();
    assert!(text(&listed).contains(NAME), "{}", text(&listed));
    let unknown = tool("nbdinfo", &[&place.uri().replace("abc?", "abd?")]).unwrap();
    assert!(!unknown.status.success() && text(&unknown).contains("No such file"), "{}", text(&unknown));
}

#[test]
fn nbdinfo_and_qemu_img_map_what_is_written() {
    let place = Place::new("map");
    let uri = place.uri();
    let written = ["-f", "raw", "-c", "write -P 7 1M 2M", "-c", "write -P 8 10M 4k", "-c", "discard 2M 1M", &uri];
    let Some(output) = tool("qemu-io", &written) else { return };
    assert!(output.status.success(), "{}", text(&output));
    // qemu speaks extended headers, libnbd of this age structured replies.
    let Some(map) = tool("qemu-img", &["map", "--output=json", "-f", "raw", &uri]) else { return };
    let said = text(&map);
    let stretch = |start: u64, length: u64, data: bool| {
        [format!("\"start\": {start}, \"length\": {length}, "), format!("\"zero\": {}, \"data\": {data}", !data)]
    };
    let (mib, all) = (1 << 20, 64 << 20);
    let rest = 10 * mib + 4096;
    for wanted in [
        stretch(0, mib, false),
        stretch(mib, mib, true),
        stretch(2 * mib, 8 * mib, false),
        stretch(10 * mib, 4096, true),
        stretch(rest, all - rest, false),
    ] {
        let line = said.lines().find(|line| line.contains(&wanted[0]));
        assert!(line.is_some_and(|line| line.contains(&wanted[1])), "{wanted:?} is not in {said}");
    }
    let Some(map) = tool("nbdinfo", &["--map", &uri]) else { return };
    let said = text(&map);
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    let wanted = [
        ["0", "1048576", "3", "hole,zero"],
        ["1048576", "1048576", "0", "data"],
        ["2097152", "8388608", "3", "hole,zero"],
        ["10485760", "4096", "0", "data"],
        ["10489856", "56619008", "3", "hole,zero"],
    ];
    assert_eq!(lines, wanted, "{said}");
}

#[test]
fn nbdcopy_brings_back_what_it_took_there() {
    let place = Place::new("copy");
    let mut rng = base::Rng::new(1);
    let mut bytes: Vec<u8> = (0..(64usize << 20) / 8).flat_map(|_| rng.u64().to_le_bytes()).collect();
    // A hole, so that zeroes are written as zeroes.
    bytes[10 << 20..20 << 20].fill(0);
    std::fs::write(place.file("in"), &bytes).unwrap();
    let Some(there) = tool("nbdcopy", &["--flush", &place.file("in"), &place.uri()]) else { return };
    assert!(there.status.success(), "{}", text(&there));
    let back = tool("nbdcopy", &[&place.uri(), &place.file("out")]).unwrap();
    assert!(back.status.success(), "{}", text(&back));
    assert!(std::fs::read(place.file("out")).unwrap() == bytes);
}

#[test]
fn qemu_writes_reads_trims_and_flushes() {
    let place = Place::new("qemu");
    let uri = place.uri();
    let commands = [
        "write -P 7 1M 3M",
        "read -P 7 1M 3M",
        "write -P 9 512 1024",
        "read -P 9 512 1024",
        "read -P 0 0 512",
        "discard 2M 1M",
        "read -P 0 2M 1M",
        "write -z 1M 64k",
        "read -P 0 1M 64k",
        "read -P 7 1088k 64k",
        "write -f -P 3 5M 4k",
        "flush",
        "aio_write -P 1 8M 1M",
        "aio_write -P 2 9M 1M",
        "aio_flush",
        "read -P 2 9M 1M",
    ];
    let mut arguments = vec!["-f", "raw"];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    arguments.push(&uri);
    let Some(output) = tool("qemu-io", &arguments) else { return };
    let said = text(&output);
    assert!(output.status.success() && !said.contains("failed") && !said.contains("error"), "{said}");
    let Some(info) = tool("qemu-img", &["info", "-f", "raw", &uri]) else { return };
    assert!(text(&info).contains("64 MiB"), "{}", text(&info));
}
