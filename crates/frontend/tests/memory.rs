//! What all connections together keep is bounded, whatever clients do: not reading, announcing and not sending, coming in thousands.

mod stage;

use base::{BLOCK_BYTES, Payload};
use frontend::nbd::{Act, Policy, Server};
use stage::*;
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;
/// What the server says that all may keep, beyond the share of each.
const ALL_MAX: u64 = 768 * MIB;
const SHARE: u64 = 256 << 10;
const SESSIONS: u64 = 1024;

/// A server whose clients read only what they are told to.
struct Hall {
    server: Server,
    host: FakeHost,
    /// Bytes on their way to each, as the server said them.
    unread: BTreeMap<u64, u64>,
    paused: BTreeMap<u64, bool>,
    closed: Vec<u64>,
    most: u64,
}

impl Hall {
    fn new(size: u64) -> Self {
        let mut host = FakeHost::new();
        host.attach(VOLUME, size, 1);
        Self { server: Server::new(), host, unread: BTreeMap::new(), paused: BTreeMap::new(), closed: vec![], most: 0 }
    }

    fn join(&mut self, stream: u64) {
        self.server.on_opened(stream);
        self.hear(stream, [vec![0, 0, 0, 3], go(NAME)].concat());
        self.turn();
        self.read(stream);
    }

    fn hear(&mut self, stream: u64, bytes: Vec<u8>) {
        self.server.on_bytes(stream, Payload::from(bytes));
    }

    /// Until nothing happens any more.
    fn turn(&mut self) {
        loop {
            let mut acts = vec![];
            self.server.pump(&mut self.host, &mut acts);
            self.most = self.most.max(self.server.bytes_kept());
            if acts.is_empty() && self.host.queue.is_empty() {
                break;
            }
            for act in acts {
                match act {
                    Act::Send { stream, parts } => {
                        *self.unread.entry(stream).or_default() += base::payload::len(&parts) as u64;
                    }
                    Act::Pause { stream } => _ = self.paused.insert(stream, true),
                    Act::Resume { stream } => _ = self.paused.insert(stream, false),
                    Act::Close { stream } => self.closed.push(stream),
                    Act::Gather { .. } => unreachable!("nobody said that it could be done"),
                }
            }
            self.host.run();
        }
    }

    /// The client reads all that it was sent; how much that was.
    fn read(&mut self, stream: u64) -> u64 {
        let bytes = self.unread.remove(&stream).unwrap_or(0);
        self.server.on_sent(stream, bytes);
        bytes
    }

    fn is_paused(&self, stream: u64) -> bool {
        self.paused.get(&stream) == Some(&true)
    }
}

#[test]
fn a_client_that_does_not_read_is_not_answered_on_and_loses_nothing() {
    let mut hall = Hall::new(8 * MIB);
    hall.join(1);
    let reads: Vec<u8> = (0..300).flat_map(|cookie| request(0, 0, cookie, 0, MIB as u32)).collect();
    hall.hear(1, reads);
    hall.turn();
    // 64 MiB are on their way to it or in flight, and no request beyond those is looked at.
    let first = hall.unread[&1];
    assert!(first <= 65 * MIB && hall.is_paused(1), "{first}");
    let mut got = 0;
    while hall.unread.contains_key(&1) {
        got += hall.read(1);
        hall.turn();
    }
    assert_eq!(got, 300 * (16 + MIB));
    assert!(!hall.is_paused(1) && hall.server.bytes_kept() == 0);
    assert!(hall.most <= 66 * MIB, "{}", hall.most);
}

#[test]
fn clients_that_ask_and_do_not_read_keep_no_more_than_all_may() {
    let mut hall = Hall::new(8 * MIB);
    (0..200).for_each(|stream| hall.join(stream));
    let reads: Vec<u8> = (0..100).flat_map(|cookie| request(0, 0, cookie, 0, MIB as u32)).collect();
    for stream in 0..200 {
        hall.hear(stream, reads.clone());
        hall.turn();
    }
    assert!(hall.most > ALL_MAX - 2 * MIB, "the run was too tame: {}", hall.most);
    assert!(hall.most <= ALL_MAX + 200 * SHARE, "{}", hall.most);
    // Whoever reads is answered, small requests at any time, and in the end everybody is.
    hall.join(777);
    hall.hear(777, [write(1, 0, &[1; BLOCK_BYTES]), request(0, 0, 2, 0, 4096)].concat());
    hall.turn();
    assert_eq!(hall.read(777), 16 + 16 + 4096);
    let mut got = 0;
    while !hall.unread.is_empty() {
        let streams: Vec<u64> = hall.unread.keys().copied().collect();
        got += streams.into_iter().map(|stream| hall.read(stream)).sum::<u64>();
        hall.turn();
    }
    assert_eq!((got, hall.server.bytes_kept()), (200 * 100 * (16 + MIB), 0));
}

#[test]
fn writes_that_are_announced_take_their_room_before_their_bytes_and_in_turn() {
    let most = 32 * MIB;
    let mut hall = Hall::new(64 * MIB);
    let announce = |cookie| request(0, 1, cookie, 0, most as u32);
    (0..40).for_each(|stream| hall.join(stream));
    for stream in 0..40 {
        // Byte by byte.
        announce(stream).into_iter().for_each(|byte| hall.hear(stream, vec![byte]));
        hall.turn();
    }
    // 23 of 32 MiB and what comes with them are what fits; the others wait, and are not listened to.
    let waiting: Vec<u64> = (0..40).filter(|stream| hall.is_paused(*stream)).collect();
    assert_eq!(waiting, (23..40).collect::<Vec<_>>());
    // A small write passes them all.
    hall.join(777);
    hall.hear(777, write(1, 0, &[1; BLOCK_BYTES]));
    hall.turn();
    assert_eq!(hall.read(777), 16);
    // Nothing was gathered yet. One that is done makes room for the one who waits longest, one that breaks off too.
    for byte in 0..most / (64 << 10) {
        hall.hear(5, vec![byte as u8; 64 << 10]);
        hall.turn();
    }
    assert_eq!(hall.read(5), 16);
    hall.turn();
    assert!(!hall.is_paused(23) && hall.is_paused(24));
    hall.server.on_closed(7);
    hall.turn();
    assert!(!hall.is_paused(24) && hall.is_paused(25));
    assert!(hall.most <= ALL_MAX + SHARE, "{}", hall.most);
    (0..40).chain([777]).for_each(|stream| hall.server.on_closed(stream));
    assert_eq!(hall.server.bytes_kept(), 0);
}

#[test]
fn where_all_that_is_kept_waits_for_room_one_after_the_other_goes_on_all_the_same() {
    let mut hall = Hall::new(MIB);
    let policy = Policy { share_bytes: 16 << 10, bytes_max: 256 << 10, ..Policy::default() };
    hall.server = Server::new().with(policy);
    (0..4).for_each(|stream| hall.join(stream));
    // The whole of each came in one piece, before its server could ask for a pause; and each is more than is left beside the others.
    let data = vec![7; 100 << 10];
    for stream in 0..4 {
        hall.hear(stream, [write(stream, 0, &data), write(stream, 0, &data)].concat());
    }
    let mut said = 0;
    for _ in 0..8 {
        hall.turn();
        said += (0..4).map(|stream| hall.read(stream)).sum::<u64>();
    }
    assert_eq!((said, hall.server.bytes_kept()), (8 * 16, 0), "each of eight writes is answered");
    assert!((0..4).all(|stream| !hall.is_paused(stream)));
}

#[test]
fn a_thousand_connections_that_only_ask_keep_their_shares() {
    let mut hall = Hall::new(MIB);
    for volume in 1..500 {
        hall.host.attach(base::VolumeId(volume), 4096, 1);
    }
    // A list of 500 volumes is 20 KiB, and each asks for it 900 times without reading one.
    let lists = [vec![0, 0, 0, 3], option(3, &[]).repeat(900)].concat();
    for stream in 0..SESSIONS + 3 {
        hall.server.on_opened(stream);
        hall.hear(stream, lists.clone());
    }
    hall.turn();
    assert_eq!(hall.closed, [SESSIONS, SESSIONS + 1, SESSIONS + 2]);
    assert!(hall.most <= SESSIONS * (SHARE + (64 << 10)), "{}", hall.most);
    assert!((0..SESSIONS).all(|stream| hall.is_paused(stream)));
    // One that reads gets all it asked for.
    let mut got = 0;
    while hall.unread.contains_key(&9) {
        got += hall.read(9);
        hall.turn();
    }
    let (named, ended) = (20 + 4 + NAME.len() as u64, 20);
    assert_eq!(got, 18 + 900 * (500 * named + ended));
}

#[test]
fn what_a_closed_connection_does_not_read_counts_until_it_is_gone() {
    let mut hall = Hall::new(8 * MIB);
    hall.join(1);
    hall.hear(1, [request(0, 0, 1, 0, 4 * MIB as u32), request(0, 2, 2, 0, 0)].concat());
    hall.turn();
    assert_eq!((&hall.closed[..], hall.server.sessions()), (&[1][..], 0));
    assert_eq!(hall.server.bytes_kept(), 16 + 4 * MIB);
    hall.server.on_sent(1, MIB);
    assert_eq!(hall.server.bytes_kept(), 16 + 3 * MIB);
    hall.server.on_closed(1);
    assert_eq!(hall.server.bytes_kept(), 0);
}
