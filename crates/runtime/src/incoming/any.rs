//! Anything at all, received on a connection in any pieces: shared by the seeded run of the tests and by fuzz/fuzz_targets/frames.rs.

use crate::arena::Arena;
use crate::incoming::Incoming;
use base::checksum::crc32c;
use base::io::net::Frame;
use wire::frame::{DATA_BYTES_MAX, HEAD_BYTES_MAX, HEADER_BYTES};

/// More than a receive is ever offered: the longest frame, and a large buffer beside it.
const OFFERED_MAX: usize = HEADER_BYTES + HEAD_BYTES_MAX + DATA_BYTES_MAX + (512 << 10);

/// Nothing more is written behind so many bytes, and they come in no more than so many pieces: longer takes longer and shows nothing else.
const STREAM_MAX: usize = 512 << 10;
const PIECES_MAX: usize = 256;

/// Writes what is received from `bytes`: sound frames, headers that claim lengths, and bytes as they are. And the frames that stand before anything else.
fn stream(mut bytes: &[u8]) -> (Vec<u8>, Vec<Frame>) {
    let (mut stream, mut frames, mut sound) = (Vec::new(), Vec::new(), true);
    while let Some((&[what, a, b, c], rest)) = bytes.split_first_chunk::<4>().filter(|_| stream.len() < STREAM_MAX) {
        bytes = rest;
        let (head, data) =
            (usize::from(a), usize::from(u16::from_le_bytes([b, c])) * if what & 8 == 0 { 1 } else { 16 });
        let fill = |len: usize| (0..len).map(|i| (i / 5) as u8 ^ what).collect::<Vec<u8>>();
        let payload = if data == 0 { vec![] } else { vec![fill(data.min(DATA_BYTES_MAX)).into()] };
        let frame = Frame { kind: u16::from(what), head: fill(head).into(), data: payload };
        let mut header = wire::frame::encode(&frame);
        match what % 8 {
            // A header whose checksum holds and whose lengths are anybody's.
            6 => {
                let claimed = rest.first_chunk::<8>().copied().unwrap_or([0xff; 8]);
                header[8..16].copy_from_slice(&claimed);
                let crc = crc32c(&header[..28]);
                header[28..].copy_from_slice(&crc.to_le_bytes());
                (sound, _) = (false, stream.extend(header));
            }
            7 => {
                let len = rest.len().min(head);
                (sound, _) = (false, stream.extend(&rest[..len]));
                bytes = &rest[len..];
            }
            _ => {
                stream.extend(header);
                stream.extend_from_slice(&frame.head);
                frame.data.iter().for_each(|part| stream.extend_from_slice(part));
                if sound {
                    frames.push(frame);
                }
            }
        }
    }
    (stream, frames)
}

/// The first two bytes say whether blocks are aligned and in what pieces they come; the others are what comes. How many frames came out.
pub(crate) fn receive_anything(bytes: &[u8]) -> usize {
    let Some((&[how, pieces], rest)) = bytes.split_first_chunk::<2>() else { return 0 };
    let (stream, sound) = stream(rest);
    let (arena, mut incoming) = (Arena::new(), Incoming::new(how & 1 != 0));
    let (mut at, mut got, mut turn) = (0, Vec::new(), 0u32);
    while at < stream.len() {
        let (mut buffer, from) = incoming.target(&arena);
        assert!(
            buffer.len() > from && buffer.len() <= OFFERED_MAX,
            "a receive is offered {} of {}",
            from,
            buffer.len()
        );
        turn = turn.wrapping_mul(31).wrapping_add(u32::from(pieces) + 1);
        let piece = if pieces & 1 == 0 { usize::MAX } else { 1 + (turn as usize % (1 << (pieces >> 4))) };
        let piece = piece.max(stream.len() / PIECES_MAX);
        let len = piece.min(buffer.len() - from).min(stream.len() - at);
        buffer[from..from + len].copy_from_slice(&stream[at..at + len]);
        at += len;
        incoming.received(buffer, len, false);
        incoming.how();
        if incoming.frames(&arena, &mut got).is_err() {
            // The connection is over, and what came with what is not sound is lost with it.
            return got.len();
        }
    }
    assert!(got.len() >= sound.len(), "{} of {} sound frames arrived", got.len(), sound.len());
    assert!(got[..sound.len()] == sound[..], "a frame that was sent arrived as another");
    got.len()
}
