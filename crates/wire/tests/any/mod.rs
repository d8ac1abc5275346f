//! Any bytes, taken for what comes over a connection: shared by the seeded run of the tests and by fuzz/fuzz_targets/messages.rs.

use base::io::net::Frame;
use bytes::Bytes;
use wire::Message;
use wire::frame::{DATA_BYTES_MAX, HEAD_BYTES_MAX, HEADER_BYTES, decode};

/// Reads them as a header, and as the fields of every kind of message that their first two bytes name. What can be read can be said again, in as many bytes and
/// with the same meaning. Whether it was a message.
pub fn read_anything(bytes: &[u8]) -> bool {
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>()
        && let Ok(header) = decode(header)
    {
        assert!(header.head_len <= HEAD_BYTES_MAX && header.data_len <= DATA_BYTES_MAX, "{header:?}");
    }
    let Some((kind, head)) = bytes.split_first_chunk::<2>() else { return false };
    let frame = Frame { kind: u16::from_le_bytes(*kind), head: Bytes::copy_from_slice(head), data: vec![] };
    let Ok(message) = Message::decode(&frame) else { return false };
    let again = message.frame();
    assert_eq!((again.kind, again.head.len()), (frame.kind, head.len()), "{message:?}");
    assert_eq!(Message::decode(&again).as_ref(), Ok(&message));
    true
}
