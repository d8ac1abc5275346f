//! The hello, byte by byte: who is let in, who is refused, and that both ends learn why.

use base::io::net::{Lane, Network, Peer};
use base::{ClusterId, HostId, Incarnation, NodeId, Rng};
use runtime::ZoneKey;
use runtime::session::{Aim, Code, Session, Step, Terms};

const A: Peer = Peer::Node(NodeId(1));
const B: Peer = Peer::Node(NodeId(2));

fn terms(me: Peer) -> Terms {
    Terms::new(me, ClusterId(7), Incarnation(3), ZoneKey::new([9; 32]))
}

fn aim(peer: Peer) -> Aim {
    Aim { peer, lane: Some(Lane::Data), network: Network::Primary }
}

/// What both ends came to, the opener's first.
type Ends = (Step, Step);

/// Carries bytes between two ends until both are over or nothing moves.
fn talk(opener: &Terms, acceptor: &Terms, aim: Aim, network: Network, chunk: usize) -> Ends {
    let (mut a, hello) = Session::open(opener, aim, [1; 32]);
    let mut b = Session::accept(network, [2; 32]);
    let (mut to_a, mut to_b) = (Vec::new(), hello);
    let (mut end_a, mut end_b) = (Step::More, Step::More);
    for _ in 0..10_000 {
        let moved_b = pump(&mut b, acceptor, &mut to_b, &mut to_a, &mut end_b, chunk);
        let moved_a = pump(&mut a, opener, &mut to_a, &mut to_b, &mut end_a, chunk);
        if !moved_a && !moved_b {
            return (end_a, end_b);
        }
    }
    panic!("a hello that never ends");
}

/// Gives an end the first `chunk` bytes more of what is on its way, one call after the other.
fn pump(s: &mut Session, t: &Terms, from: &mut Vec<u8>, to: &mut Vec<u8>, end: &mut Step, chunk: usize) -> bool {
    if from.is_empty() || !matches!(end, Step::More) {
        return false;
    }
    for len in (chunk..from.len()).step_by(chunk).chain([from.len()]) {
        let (consumed, step) = s.read(t, &from[..len]);
        if step == Step::More {
            assert_eq!(consumed, 0);
            continue;
        }
        from.drain(..consumed);
        match &step {
            Step::Reply(bytes) => to.extend_from_slice(bytes),
            Step::Open { send, .. } | Step::Refused { send, .. } => {
                to.extend_from_slice(send);
                *end = step;
            }
            Step::More => unreachable!(),
        }
        return true;
    }
    false
}

fn code(step: &Step) -> (Code, bool) {
    match step {
        Step::Refused { why, .. } => (why.code, why.by_peer),
        other => panic!("not refused: {other:?}"),
    }
}

fn text(step: &Step) -> &str {
    match step {
        Step::Refused { why, .. } => &why.text,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn two_of_one_zone_let_each_other_in_however_the_bytes_are_cut() {
    for chunk in [1, 7, 33, 10_000] {
        let host = Peer::Host(HostId(0x1234));
        for (from, lane, network) in [
            (host, Some(Lane::Data), Network::Primary),
            (host, Some(Lane::Bulk), Network::Primary),
            (A, None, Network::Primary),
            (A, Some(Lane::Data), Network::Replication),
            (A, None, Network::Replication),
        ] {
            let wish = Aim { peer: B, lane, network };
            let (a, b) = talk(&terms(from), &terms(B), wish, network, chunk);
            let Step::Open { aim, incarnation, .. } = a else { panic!("{a:?}") };
            assert_eq!((aim, incarnation), (wish, Incarnation(3)));
            let Step::Open { send, aim, .. } = b else { panic!("{b:?}") };
            assert_eq!((send.len(), aim), (0, Aim { peer: from, ..wish }));
        }
    }
}

#[test]
fn another_key_is_refused_by_the_opener_and_both_know() {
    let other = Terms { key: ZoneKey::new([8; 32]), ..terms(B) };
    let (a, b) = talk(&terms(A), &other, aim(B), Network::Primary, 10_000);
    assert_eq!((code(&a), code(&b)), ((Code::Key, false), (Code::Key, true)));
    assert!(text(&b).contains("zone key"), "{}", text(&b));
}

#[test]
fn an_opener_that_proves_nothing_is_refused_by_the_acceptor() {
    let (_, hello) = Session::open(&terms(A), aim(B), [1; 32]);
    let mut b = Session::accept(Network::Primary, [2; 32]);
    assert!(matches!(b.read(&terms(B), &hello), (_, Step::Reply(_))));
    // A proof made with another key, against the same welcome.
    let thief = Terms { key: ZoneKey::new([8; 32]), ..terms(A) };
    let (mut a, same_hello) = Session::open(&thief, aim(B), [1; 32]);
    assert_eq!(hello, same_hello, "the hello itself must not depend on the key");
    let mut thieves_acceptor = Session::accept(Network::Primary, [2; 32]);
    let thief_b = Terms { key: ZoneKey::new([8; 32]), ..terms(B) };
    let (_, Step::Reply(welcome)) = thieves_acceptor.read(&thief_b, &hello) else { panic!("no welcome") };
    let (_, Step::Open { send, .. }) = a.read(&thief, &welcome) else { panic!("no proof") };
    let (_, step) = b.read(&terms(B), &send);
    assert_eq!(code(&step), (Code::Key, false));
}

#[test]
fn another_cluster_is_refused_with_both_clusters() {
    let other = Terms { cluster: ClusterId(8), ..terms(A) };
    let (a, b) = talk(&other, &terms(B), aim(B), Network::Primary, 10_000);
    assert_eq!((code(&a), code(&b)), ((Code::Cluster, true), (Code::Cluster, false)));
    for cluster in [ClusterId(7), ClusterId(8)] {
        assert!(text(&a).contains(&cluster.to_string()), "{}", text(&a));
    }
}

#[test]
fn an_acceptor_that_is_not_who_was_meant_says_so() {
    let (a, b) = talk(&terms(A), &terms(Peer::Node(NodeId(3))), aim(B), Network::Primary, 10_000);
    assert_eq!((code(&a), code(&b)), ((Code::WrongPeer, true), (Code::WrongPeer, false)));
    assert!(text(&a).contains("node-2") && text(&a).contains("node-3"), "{}", text(&a));
}

#[test]
fn an_answer_in_another_name_is_refused_by_the_opener() {
    // node-3 has the key and answers a hello that was meant for node-2, claiming that it was meant for node-3.
    let (mut a, _) = Session::open(&terms(A), aim(B), [1; 32]);
    let node3 = Peer::Node(NodeId(3));
    let (_, hello_to_3) = Session::open(&terms(A), aim(node3), [1; 32]);
    let mut c = Session::accept(Network::Primary, [2; 32]);
    let (_, Step::Reply(welcome)) = c.read(&terms(node3), &hello_to_3) else { panic!("no welcome") };
    let (_, step) = a.read(&terms(A), &welcome);
    assert_eq!(code(&step), (Code::WrongPeer, false));
}

#[test]
fn another_version_is_refused_by_name_with_both_versions() {
    for (there, here, who) in [(9, 1, "node-2"), (1, 9, "its peer")] {
        let a = Terms { version: there, ..terms(A) };
        let b = Terms { version: here, ..terms(B) };
        let (end_a, end_b) = talk(&a, &b, aim(B), Network::Primary, 10_000);
        assert_eq!((code(&end_a), code(&end_b)), ((Code::Version, true), (Code::Version, false)));
        let said = format!("node-2 speaks protocol version {here} and its peer speaks {there}; upgrade {who}");
        assert_eq!((text(&end_a), text(&end_b)), (&said[..], &said[..]));
    }
}

#[test]
fn the_wrong_network_is_refused() {
    let (a, b) = talk(&terms(A), &terms(B), aim(B), Network::Replication, 10_000);
    assert_eq!((code(&a), code(&b)), ((Code::WrongNetwork, true), (Code::WrongNetwork, false)));
}

#[test]
fn what_was_recorded_cannot_be_played_again() {
    let (mut a, hello) = Session::open(&terms(A), aim(B), [1; 32]);
    let mut b = Session::accept(Network::Primary, [2; 32]);
    let (_, Step::Reply(welcome)) = b.read(&terms(B), &hello) else { panic!("no welcome") };
    let (_, Step::Open { send: proof, .. }) = a.read(&terms(A), &welcome) else { panic!("no proof") };
    assert!(matches!(b.read(&terms(B), &proof), (_, Step::Open { .. })));
    // To an acceptor that drew another nonce.
    let mut again = Session::accept(Network::Primary, [3; 32]);
    assert!(matches!(again.read(&terms(B), &hello), (_, Step::Reply(_))));
    assert_eq!(code(&again.read(&terms(B), &proof).1), (Code::Key, false));
    // To an opener that drew another nonce.
    let (mut a, _) = Session::open(&terms(A), aim(B), [4; 32]);
    assert_eq!(code(&a.read(&terms(A), &welcome).1), (Code::Key, false));
}

#[test]
fn a_proof_cannot_be_sent_back_to_where_it_came_from() {
    // The acceptor's own MAC, returned as the opener's proof.
    let (_, hello) = Session::open(&terms(A), aim(B), [1; 32]);
    let mut b = Session::accept(Network::Primary, [2; 32]);
    let (_, Step::Reply(welcome)) = b.read(&terms(B), &hello) else { panic!("no welcome") };
    let mac = &welcome[welcome.len() - 32..];
    let frame = base::io::net::Frame { kind: 3, head: mac.to_vec().into(), data: vec![] };
    let bytes = [&wire::frame::encode(&frame)[..], mac].concat();
    assert_eq!(code(&b.read(&terms(B), &bytes).1), (Code::Key, false));
}

#[test]
fn every_flipped_bit_is_refused_and_nothing_panics() {
    let (_, hello) = Session::open(&terms(A), aim(B), [1; 32]);
    for bit in 0..hello.len() * 8 {
        let mut bad = hello.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut b = Session::accept(Network::Primary, [2; 32]);
        let step = b.read(&terms(B), &bad).1;
        assert!(matches!(step, Step::Refused { .. }), "bit {bit}: {step:?}");
    }
}

#[test]
fn garbage_is_refused_at_its_first_bytes_and_never_waited_for() {
    let mut b = Session::accept(Network::Primary, [2; 32]);
    assert_eq!(code(&b.read(&terms(B), b"GET / HTTP/1.1\r\n").1), (Code::Garbage, false));
    let mut rng = Rng::new(5);
    for _ in 0..5_000 {
        let len = rng.within(0, 200) as usize;
        let mut bytes: Vec<u8> = (0..len).map(|_| rng.u64() as u8).collect();
        if rng.chance(1, 2) {
            bytes.splice(0..0, *b"SWL1");
        }
        let mut b = Session::accept(Network::Primary, [2; 32]);
        let step = b.read(&terms(B), &bytes).1;
        let may_wait = bytes.len() < wire::frame::HEADER_BYTES && b"SWL1".starts_with(&bytes[..bytes.len().min(4)]);
        assert_eq!(matches!(step, Step::More), may_wait, "{bytes:02x?}");
    }
}

#[test]
fn a_frame_that_claims_too_much_or_comes_out_of_turn_is_refused() {
    let build = |kind: u16, len: usize| {
        let frame = base::io::net::Frame { kind, head: vec![0; len].into(), data: vec![] };
        [&wire::frame::encode(&frame)[..], &frame.head].concat()
    };
    // A message, a proof, a welcome and a hello too short, before anything was said; and a head too large to be one.
    for (kind, len) in [(0x10, 10), (3, 32), (2, 100), (1, 0), (1, 60), (1, 5000)] {
        let mut b = Session::accept(Network::Primary, [2; 32]);
        let step = b.read(&terms(B), &build(kind, len)).1;
        assert!(matches!(step, Step::Refused { .. }), "kind {kind} of {len} bytes: {step:?}");
    }
    let (mut a, _) = Session::open(&terms(A), aim(B), [1; 32]);
    assert_eq!(code(&a.read(&terms(A), &build(1, 60)).1), (Code::Garbage, false));
    let (mut a, _) = Session::open(&terms(A), aim(B), [1; 32]);
    assert_eq!(code(&a.read(&terms(A), &build(4, 0)).1), (Code::Garbage, false));
}

/// A frame with a head of these parts, by the byte map of docs/format/wire.md.
fn mapped(kind: u16, parts: &[&[u8]]) -> Vec<u8> {
    let head = parts.concat();
    let crc = |bytes: &[u8]| base::checksum::crc32c(bytes).to_le_bytes();
    let mut frame = b"SWL1\x01\x00".to_vec();
    frame.extend(kind.to_le_bytes());
    frame.extend((head.len() as u32).to_le_bytes());
    frame.extend([0; 4]);
    frame.extend(crc(&head));
    frame.extend([0; 8]);
    frame.extend(crc(&frame));
    [frame, head].concat()
}

#[test]
fn the_bytes_are_those_of_the_byte_map() {
    let greeting = |from: &[u8], to: &[u8], nonce: u8| {
        let cluster = [&[7][..], &[0; 15]].concat();
        [&[1, 0, 1, 0, 1, 0][..], &cluster, from, to, &[3, 0, 0, 0, 0, 0, 0, 0], &[nonce; 32]].concat()
    };
    let (node_2, host) = ([1, 2, 0, 0, 0, 0, 0, 0, 0], [3, 0x34, 0x12, 0, 0, 0, 0, 0, 0]);
    let opener = terms(Peer::Host(HostId(0x1234)));
    let wish = Aim { peer: B, lane: Some(Lane::Bulk), network: Network::Primary };
    let (mut a, hello) = Session::open(&opener, wish, [1; 32]);
    let hello_head = [&greeting(&host, &node_2, 1)[..], &[2, 1]].concat();
    assert_eq!(hello_head.len(), 82);
    assert_eq!(hello, mapped(1, &[&hello_head]));

    let mut b = Session::accept(Network::Primary, [2; 32]);
    let (_, Step::Reply(welcome)) = b.read(&terms(B), &hello) else { panic!("no welcome") };
    let welcome_head = greeting(&node_2, &host, 2);
    let mac = |role: &str, parts: &[&[u8]]| {
        let key = blake3::derive_key(&format!("seawall 2026-11 hello {role}"), &[9; 32]);
        let sized: Vec<u8> = parts.iter().flat_map(|p| [&(p.len() as u64).to_le_bytes()[..], p].concat()).collect();
        *blake3::keyed_hash(&key, &sized).as_bytes()
    };
    let acceptors = mac("acceptor", &[&hello_head, &welcome_head]);
    assert_eq!(welcome, mapped(2, &[&welcome_head, &acceptors]));

    let (_, Step::Open { send: proof, .. }) = a.read(&opener, &welcome) else { panic!("no proof") };
    assert_eq!(proof, mapped(3, &[&mac("opener", &[&hello_head, &welcome_head, &acceptors])]));

    let mut c = Session::accept(Network::Replication, [2; 32]);
    let (_, Step::Refused { send, why }) = c.read(&terms(B), &hello) else { panic!("not refused") };
    let text = why.text.as_bytes();
    assert_eq!(send, mapped(4, &[&[4], &(text.len() as u32).to_le_bytes(), text]));
}
