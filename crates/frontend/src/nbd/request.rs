//! Requests after the handshake: which are sound, and what they ask of the host. No state.

use super::PAYLOAD_BYTES_MAX;
use super::agreed::{Style, Terms};
use super::protocol::*;
use super::status::MAP_BYTES_MAX;
use base::Payload;
use host::Op;

/// A request as its header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) command: u16,
    pub(super) flags: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    /// Bytes that follow it.
    pub(super) payload_bytes: u64,
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Complaint(pub(super) Errno, pub(super) &'static str);

const UNKNOWN_COMMAND: Complaint = Complaint(Errno::EINVAL, "this server does not know the command");
const UNKNOWN_FLAG: Complaint = Complaint(Errno::EINVAL, "the command has a flag that this server did not offer");
const TOO_LONG: Complaint = Complaint(Errno::EINVAL, "at most 32 MiB can be read or written at once");
const WRITE_BEYOND: Complaint = Complaint(Errno::ENOSPC, "the request goes beyond the end of the volume");
const READ_BEYOND: Complaint = Complaint(Errno::EINVAL, "the request goes beyond the end of the volume");
const FLUSH_RANGE: Complaint = Complaint(Errno::EINVAL, "a flush has neither offset nor length");
const ONLY_READ: Complaint = Complaint(Errno::EPERM, "the volume is attached to be read only");
const NO_CONTEXT: Complaint =
    Complaint(Errno::EINVAL, "no metadata context of this export was chosen in the handshake");
const NO_RANGE: Complaint = Complaint(Errno::EINVAL, "the status of no bytes was asked for");

/// What to do about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Carry it out, when its bytes have come.
    Do(Header),
    /// Say that it is done: there is nothing to do.
    Done(Header),
    /// Answer with an error, when its bytes have been skipped.
    Refuse { header: Header, why: Complaint },
    /// The client takes its leave.
    Disconnect,
    /// It is not a request: nothing after it can be understood.
    Garbage,
}

/// Reads and judges the 28 or 32 bytes before a request.
pub(super) fn judge(bytes: &[u8], terms: &Terms) -> Verdict {
    let Some(header) = parse(bytes, terms.style) else { return Verdict::Garbage };
    if header.command == CMD_DISC {
        return Verdict::Disconnect;
    }
    match complaint(&header, terms) {
        Some(why) => Verdict::Refuse { header, why },
        // A hint, and nothing is cached here that could be warmed: blocks go from the node's disk to the client.
        None if header.command == CMD_CACHE => Verdict::Done(header),
        None => Verdict::Do(header),
    }
}

/// The fields; none if it begins otherwise than was agreed on.
fn parse(bytes: &[u8], style: Style) -> Option<Header> {
    assert_eq!(bytes.len(), style.header_bytes(), "a header was cut wrongly");
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (flags, rest) = rest.split_first_chunk::<2>()?;
    let (command, rest) = rest.split_first_chunk::<2>()?;
    let (cookie, rest) = rest.split_first_chunk::<8>()?;
    let (offset, len) = rest.split_first_chunk::<8>()?;
    let is_extended = style == Style::Extended;
    let wanted = if is_extended { EXTENDED_REQUEST_MAGIC } else { REQUEST_MAGIC };
    if u32::from_be_bytes(*magic) != wanted {
        return None;
    }
    let (flags, command) = (u16::from_be_bytes(*flags), u16::from_be_bytes(*command));
    // Four bytes or eight.
    let len = len.iter().fold(0, |len, byte| len << 8 | u64::from(*byte));
    // A write has bytes also where it does not say so, as it should in an extended header: QEMU, at least up to version 10, does not.
    let has_payload = command == CMD_WRITE || (is_extended && flags & CMD_FLAG_PAYLOAD_LEN != 0);
    Some(Header {
        command,
        flags,
        cookie: u64::from_be_bytes(*cookie),
        offset: u64::from_be_bytes(*offset),
        len,
        payload_bytes: if has_payload { len } else { 0 },
    })
}

fn complaint(header: &Header, terms: &Terms) -> Option<Complaint> {
    // What is acknowledged is durable, whether FUA asks for it or not, so it may stand with any command. A read is always one
    // chunk, which is what DF asks for. Zeroes are fast, and keep their room with or without NO_HOLE: volumes are thick.
    let allowed = CMD_FLAG_FUA
        | match header.command {
            CMD_READ if terms.style.has_chunks() => CMD_FLAG_DF,
            CMD_WRITE if terms.style == Style::Extended => CMD_FLAG_PAYLOAD_LEN,
            CMD_WRITE_ZEROES => CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO,
            CMD_BLOCK_STATUS => CMD_FLAG_REQ_ONE,
            _ => 0,
        };
    let is_known = matches!(
        header.command,
        CMD_READ | CMD_WRITE | CMD_FLUSH | CMD_TRIM | CMD_CACHE | CMD_WRITE_ZEROES | CMD_BLOCK_STATUS
    );
    let changes = matches!(header.command, CMD_WRITE | CMD_TRIM | CMD_WRITE_ZEROES);
    let is_beyond = header.offset.checked_add(header.len).is_none_or(|end| end > terms.export.size);
    match header.command {
        _ if !is_known => Some(UNKNOWN_COMMAND),
        _ if header.flags & !allowed != 0 => Some(UNKNOWN_FLAG),
        _ if changes && terms.export.read_only => Some(ONLY_READ),
        CMD_READ | CMD_WRITE if header.len > u64::from(PAYLOAD_BYTES_MAX) => Some(TOO_LONG),
        CMD_FLUSH if (header.offset, header.len) != (0, 0) => Some(FLUSH_RANGE),
        CMD_WRITE | CMD_WRITE_ZEROES if is_beyond => Some(WRITE_BEYOND),
        _ if is_beyond => Some(READ_BEYOND),
        CMD_BLOCK_STATUS if !terms.maps => Some(NO_CONTEXT),
        CMD_BLOCK_STATUS if header.len == 0 => Some(NO_RANGE),
        _ => None,
    }
}

impl Header {
    /// Bytes of memory that it needs while in flight.
    pub(super) fn weight(&self) -> u64 {
        match self.command {
            CMD_READ | CMD_WRITE => self.len,
            CMD_BLOCK_STATUS => super::status::REPLY_BYTES_MAX,
            _ => 0,
        }
    }

    /// What it asks of the host.
    pub(super) fn op(&self, data: Payload) -> Op {
        let (offset, len) = (self.offset, self.len);
        match self.command {
            CMD_READ => Op::Read { offset, len },
            CMD_WRITE => Op::Write { offset, data },
            CMD_TRIM => Op::Trim { offset, len },
            CMD_WRITE_ZEROES => Op::Zero { offset, len },
            CMD_FLUSH => Op::Flush,
            // Less than was asked for may be answered, and the client asks on.
            CMD_BLOCK_STATUS => Op::Map { offset, len: len.min(MAP_BYTES_MAX) },
            other => panic!("command {other} was judged sound and is none of ours"),
        }
    }
}
