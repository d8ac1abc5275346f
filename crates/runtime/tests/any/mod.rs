//! Anything at all, said to either end of a hello before it has proven who it is: shared by the seeded run of the tests and by fuzz/fuzz_targets/hello.rs.

use base::checksum::crc32c;
use base::io::net::{Lane, Network, Peer};
use base::{ClusterId, Incarnation, NodeId};
use runtime::ZoneKey;
use runtime::session::{Aim, Session, Step, Terms};
use wire::frame::HEADER_BYTES;

const ME: Peer = Peer::Node(NodeId(1));
const OTHER: Peer = Peer::Node(NodeId(2));

fn terms(me: Peer) -> Terms {
    Terms::new(me, ClusterId(7), Incarnation(3), ZoneKey::new([9; 32]))
}

/// The frames of a hello that goes well: the opener's, the acceptor's, and the proof.
pub fn sound() -> [Vec<u8>; 3] {
    let aim = Aim { peer: OTHER, lane: Some(Lane::Data), network: Network::Primary };
    let (mut opener, hello) = Session::open(&terms(ME), aim, [1; 32]);
    let mut acceptor = Session::accept(Network::Primary, [2; 32]);
    let (_, Step::Reply(welcome)) = acceptor.read(&terms(OTHER), &hello) else { panic!("a hello is answered") };
    let (_, Step::Open { send: proof, .. }) = opener.read(&terms(ME), &welcome) else { panic!("a welcome opens") };
    [hello, welcome, proof]
}

/// Gives the first frame of `bytes` the checksums of what it says, so that what stands behind them is looked at too.
fn seal(bytes: &mut [u8]) {
    let Some((header, head)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    header[16..20].copy_from_slice(&crc32c(&head[..len.min(head.len())]).to_le_bytes());
    let crc = crc32c(&header[..28]);
    header[28..].copy_from_slice(&crc.to_le_bytes());
}

/// The first byte says to which end, whether it is sealed, and how it is cut; the others are what it is told. Who does not have the key is never let in.
/// Whether it went on after the first frame.
pub fn greet_anything(bytes: &[u8]) -> bool {
    let Some((how, bytes)) = bytes.split_first() else { return false };
    let mut bytes = bytes.to_vec();
    if how & 1 != 0 {
        seal(&mut bytes);
    }
    let aim = Aim { peer: OTHER, lane: Some(Lane::Data), network: Network::Primary };
    let network = if how & 2 != 0 { Network::Replication } else { Network::Primary };
    let accepts = how & 4 != 0;
    let terms = terms(if accepts { OTHER } else { ME });
    // Nonces that nobody has seen: what was recorded of others proves nothing.
    let mut session = if accepts { Session::accept(network, [5; 32]) } else { Session::open(&terms, aim, [6; 32]).0 };
    let (mut from, mut replied) = (0, false);
    for to in (0..bytes.len()).step_by(usize::from(how >> 3) + 1).chain([bytes.len()]) {
        let (consumed, step) = session.read(&terms, &bytes[from..to.max(from)]);
        assert!(consumed <= to.max(from) - from);
        from += consumed;
        match step {
            Step::More => assert_eq!(consumed, 0),
            Step::Reply(reply) => {
                assert!(!reply.is_empty() && accepts && !replied, "only an acceptor answers, and once");
                replied = true;
            }
            Step::Open { .. } => panic!("somebody without the key was let in"),
            Step::Refused { why, .. } => {
                // What the other end says may be nothing; what is said of it may not.
                assert!(why.by_peer || !why.text.is_empty());
                assert!(why.text.chars().count() <= 1024 && !why.text.contains(char::is_control), "{:?}", why.text);
                break;
            }
        }
    }
    replied
}
