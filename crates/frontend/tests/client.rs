//! The client against the server over a pair of sockets.

mod stage;

use base::{Payload, Rng, VolumeId};
use frontend::nbd::client::{Client, Command, Error};
use frontend::nbd::{Act, Errno, Server};
use host::Refusal;
use stage::*;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Serves one connection, blocking, until either side ends it.
fn serve(mut socket: impl Read + Write + Send + 'static, host: Arc<Mutex<FakeHost>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut server = Server::gathered();
        server.on_opened(1);
        let mut buffer = vec![0; 100_000];
        'turn: loop {
            let mut acts = vec![];
            {
                let mut host = host.lock().unwrap();
                server.pump(&mut *host, &mut acts);
                host.run();
                server.pump(&mut *host, &mut acts);
                host.run();
                server.pump(&mut *host, &mut acts);
            }
            for act in acts {
                match act {
                    Act::Send { parts, .. } => {
                        if parts.iter().any(|part| socket.write_all(part).is_err()) {
                            return;
                        }
                    }
                    Act::Close { .. } => return,
                    Act::Pause { .. } | Act::Resume { .. } => {}
                    Act::Gather { begun, bytes, .. } => {
                        let mut whole = begun.to_vec();
                        whole.resize(bytes, 0);
                        if socket.read_exact(&mut whole[begun.len()..]).is_err() {
                            return;
                        }
                        server.on_bytes(1, Payload::from(whole));
                        continue 'turn;
                    }
                }
            }
            match socket.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(len) => server.on_bytes(1, Payload::from(buffer[..len].to_vec())),
            }
        }
    })
}

fn pair() -> (Client, Arc<Mutex<FakeHost>>, JoinHandle<()>) {
    let host = Arc::new(Mutex::new(FakeHost::new()));
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = serve(theirs, host.clone());
    let client = Client::over_unix(ours, VOLUME).unwrap();
    client.set_timeout(Some(Duration::from_secs(30))).unwrap();
    (client, host, thread)
}

#[test]
fn what_is_written_is_read_and_what_is_trimmed_is_zero() {
    let (mut client, _, thread) = pair();
    assert_eq!(client.size(), SIZE);
    let mut rng = Rng::new(5);
    let mut model = vec![0u8; SIZE as usize];
    for _ in 0..300 {
        let offset = rng.below(SIZE);
        let len = rng.below((SIZE - offset + 1).min(20_000)) as u32;
        let range = offset as usize..offset as usize + len as usize;
        match rng.below(5) {
            0 | 1 => {
                let data: Vec<u8> = (0..len).map(|_| rng.u64() as u8).collect();
                client.write(offset, &data).unwrap();
                model[range].copy_from_slice(&data);
            }
            2 => {
                client.trim(offset, len).unwrap();
                model[range].fill(0);
            }
            3 => {
                client.zero(offset, len).unwrap();
                model[range].fill(0);
            }
            _ => assert!(client.read(offset, len).unwrap() == model[range]),
        }
    }
    client.flush().unwrap();
    assert!(client.read(0, SIZE as u32).unwrap() == model);
    client.disconnect().unwrap();
    thread.join().unwrap();
}

#[test]
fn many_commands_in_flight_each_find_their_answer() {
    let (mut client, _, thread) = pair();
    let blocks: Vec<Vec<u8>> = (0..32u8).map(|i| vec![i + 1; 4096]).collect();
    let mut waiting = HashMap::new();
    for (i, data) in blocks.iter().enumerate() {
        waiting.insert(client.send(Command::Write { offset: i as u64 * 4096, data }).unwrap(), i);
    }
    assert_eq!(client.in_flight(), 32);
    assert!(matches!(client.flush(), Err(Error::Protocol(_))), "not while others are in flight");
    while !waiting.is_empty() {
        let end = client.receive().unwrap();
        assert!(waiting.remove(&end.cookie).is_some() && end.result.unwrap().is_empty());
    }
    for i in 0..32 {
        waiting.insert(client.send(Command::Read { offset: i * 4096, len: 4096 }).unwrap(), i as usize);
    }
    while !waiting.is_empty() {
        let end = client.receive().unwrap();
        let i = waiting.remove(&end.cookie).unwrap();
        assert!(end.result.unwrap() == blocks[i]);
    }
    drop(client);
    thread.join().unwrap();
}

#[test]
fn errors_of_the_volume_come_through() {
    let (mut client, host, thread) = pair();
    assert!(matches!(client.read(SIZE, 1), Err(Error::Failed(Errno::EINVAL))));
    assert!(matches!(client.write(SIZE, &[1]), Err(Error::Failed(Errno::ENOSPC))));
    host.lock().unwrap().refuse = Some(Refusal::Unreadable { offset: 0 });
    let failed = client.read(0, 512).unwrap_err();
    assert_eq!(failed.to_string(), "the NBD server answered EIO");
    host.lock().unwrap().refuse = Some(Refusal::Detached);
    assert!(matches!(client.flush(), Err(Error::Failed(Errno::ESHUTDOWN))));
    assert!(matches!(client.flush(), Err(Error::Io(_))), "the server hung up");
    thread.join().unwrap();
}

#[test]
fn an_unknown_volume_is_refused_with_words() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = serve(theirs, Arc::new(Mutex::new(FakeHost::new())));
    let error = Client::over_unix(ours, VolumeId(77)).unwrap_err().to_string();
    assert!(error.contains("vol-0000000000000004d is not attached to this host"), "{error}");
    thread.join().unwrap();
}

#[test]
fn a_host_that_does_not_know_what_it_has_says_that_instead() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut host = FakeHost::new();
    host.is_informed = false;
    let thread = serve(theirs, Arc::new(Mutex::new(host)));
    let error = Client::over_unix(ours, VolumeId(77)).unwrap_err().to_string();
    assert!(error.contains("does not know yet") && error.contains("waits for the zone's authority"), "{error}");
    thread.join().unwrap();
}

#[test]
fn paths_and_addresses_are_connected_to_and_listed() {
    let folder = std::env::temp_dir().join(format!("frontend-client-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("nbd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let host = Arc::new(Mutex::new(FakeHost::new()));
    let accept = {
        let host = host.clone();
        std::thread::spawn(move || {
            for _ in 0..2 {
                let (socket, _) = listener.accept().unwrap();
                serve(socket, host.clone()).join().unwrap();
            }
        })
    };
    assert_eq!(Client::list_unix(&path).unwrap(), [NAME]);
    let mut client = Client::connect_unix(&path, VOLUME).unwrap();
    client.write(3, b"seawall").unwrap();
    client.disconnect().unwrap();
    accept.join().unwrap();
    assert!(matches!(Client::connect_unix(&path, VOLUME), Err(Error::Io(_))));
    std::fs::remove_dir_all(&folder).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let accept = std::thread::spawn(move || serve(listener.accept().unwrap().0, host).join().unwrap());
    let mut client = Client::connect_tcp(address, VOLUME).unwrap();
    assert_eq!(client.read(3, 7).unwrap(), b"seawall");
    client.disconnect().unwrap();
    accept.join().unwrap();
}

/// What the client makes of a server that says this after the handshake, to a read of eight bytes at sixteen.
fn read_from(reply: Vec<u8>) -> Result<Vec<u8>, Error> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let ack = |option: u32, code: u32, data: &[u8]| {
            let head = [&0x0003_e889_0455_65a9_u64.to_be_bytes()[..], &option.to_be_bytes(), &code.to_be_bytes()];
            [&head.concat()[..], &(data.len() as u32).to_be_bytes(), data].concat()
        };
        let export = [&[0, 0][..], &4096u64.to_be_bytes(), &[0, 1]].concat();
        let mut said = [&b"NBDMAGICIHAVEOPT"[..], &[0, 3]].concat();
        said.extend([ack(8, 1, &[]), ack(7, 3, &export), ack(7, 1, &[]), reply].concat());
        // A client that has seen enough hangs up before it was told all.
        let _ = theirs.write_all(&said).and_then(|()| theirs.shutdown(Shutdown::Write));
        let _ = theirs.read_to_end(&mut vec![]);
    });
    let mut client = Client::over_unix(ours, VOLUME).unwrap();
    let result = client.read(16, 8);
    drop(client);
    thread.join().unwrap();
    result
}

#[test]
fn a_server_that_breaks_the_protocol_is_caught() {
    let data = |offset: u64, len: usize| [&offset.to_be_bytes()[..], &vec![7; len]].concat();
    let not_last = |mut chunk: Vec<u8>| {
        chunk[5] = 0;
        chunk
    };
    assert_eq!(read_from(chunk(1, 1, &data(16, 8))).unwrap(), [7; 8]);
    let halves = [not_last(chunk(1, 1, &data(20, 4))), chunk(1, 1, &data(16, 4))].concat();
    assert_eq!(read_from(halves).unwrap(), [7; 8]);
    let hole = [&16u64.to_be_bytes()[..], &8u32.to_be_bytes()].concat();
    assert_eq!(read_from(chunk(2, 1, &hole)).unwrap(), [0; 8]);
    for bad in [
        chunk(1, 2, &data(16, 8)),
        chunk(1, 1, &data(15, 8)),
        chunk(1, 1, &data(u64::MAX, 8)),
        chunk(1, 1, &data(20, 8)),
        chunk(1, 1, &data(16, 7)),
        chunk(1, 1, &[1]),
        chunk(2, 1, &[1]),
        chunk(0x8001, 1, &[1]),
        chunk(77, 1, &[]),
        chunk(1, 1, &data(16, 80_000)),
        [not_last(chunk(1, 1, &data(16, 4))), simple(0, 1)].concat(),
        simple(0, 1),
        simple(0, 9),
        vec![1; 16],
    ] {
        let said = read_from(bad.clone());
        assert!(matches!(said, Err(Error::Protocol(_))), "{bad:?}: {said:?}");
    }
    assert!(matches!(read_from(vec![]), Err(Error::Io(_))));
    assert!(matches!(read_from(simple(5, 1)), Err(Error::Failed(Errno::EIO))));
}

#[test]
fn what_does_not_greet_as_nbd_is_refused() {
    let short = Duration::from_secs(30);
    for greeting in [&b"HTTP/1.1 400 Bad"[..], b"NBDMAGICIHAVEOPT\0\0", b"NBDMAGIC"] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(short)).unwrap();
        theirs.write_all(greeting).unwrap();
        theirs.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(Client::over_unix(ours, VOLUME), Err(Error::Protocol(_) | Error::Io(_))));
    }
}
