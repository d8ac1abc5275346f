//! Requests and replies after the handshake: which are sound, what they ask of the host, and how its answers look on the wire. No state.

use super::PAYLOAD_BYTES_MAX;
use super::output::Output;
use super::protocol::*;
use base::Payload;
use host::{Op, Refusal};

/// A request as its header describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) command: u16,
    pub(super) cookie: u64,
    pub(super) offset: u64,
    pub(super) len: u32,
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

/// What to do about a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Carry it out, when its bytes have come.
    Do(Header),
    /// Answer with an error, when its bytes have been skipped.
    Refuse { header: Header, why: Complaint },
    /// The client takes its leave.
    Disconnect,
    /// It is not a request: nothing after it can be understood.
    Garbage,
}

/// Reads and judges the 28 bytes before a request to an export of `size` bytes.
pub(super) fn judge(bytes: &[u8], size: u64, structured: bool) -> Verdict {
    let (magic, rest) = bytes.split_first_chunk::<4>().expect("a header has 28 bytes");
    let (flags, rest) = rest.split_first_chunk::<2>().expect("a header has 28 bytes");
    let (command, rest) = rest.split_first_chunk::<2>().expect("a header has 28 bytes");
    let (cookie, rest) = rest.split_first_chunk::<8>().expect("a header has 28 bytes");
    let (offset, len) = rest.split_first_chunk::<8>().expect("a header has 28 bytes");
    if u32::from_be_bytes(*magic) != REQUEST_MAGIC {
        return Verdict::Garbage;
    }
    let header = Header {
        command: u16::from_be_bytes(*command),
        cookie: u64::from_be_bytes(*cookie),
        offset: u64::from_be_bytes(*offset),
        len: u32::from_be_bytes(len.try_into().expect("a header has 28 bytes")),
    };
    if header.command == CMD_DISC {
        return Verdict::Disconnect;
    }
    let flags = u16::from_be_bytes(*flags);
    // What is acknowledged is durable, whether FUA asks for it or not, so it may stand with any command. A read is always one
    // chunk, which is what DF asks for. Zeroes are fast, and keep their room with or without NO_HOLE: volumes are thick.
    let allowed = CMD_FLAG_FUA
        | match header.command {
            CMD_READ if structured => CMD_FLAG_DF,
            CMD_WRITE_ZEROES => CMD_FLAG_NO_HOLE | CMD_FLAG_FAST_ZERO,
            _ => 0,
        };
    let is_beyond = header.offset.checked_add(u64::from(header.len)).is_none_or(|end| end > size);
    let why = match header.command {
        CMD_READ | CMD_WRITE | CMD_TRIM | CMD_WRITE_ZEROES | CMD_FLUSH if flags & !allowed != 0 => Some(UNKNOWN_FLAG),
        CMD_READ | CMD_WRITE if header.len > PAYLOAD_BYTES_MAX => Some(TOO_LONG),
        CMD_WRITE | CMD_WRITE_ZEROES if is_beyond => Some(WRITE_BEYOND),
        CMD_READ | CMD_TRIM if is_beyond => Some(READ_BEYOND),
        CMD_FLUSH if (header.offset, header.len) != (0, 0) => Some(FLUSH_RANGE),
        CMD_READ | CMD_WRITE | CMD_TRIM | CMD_WRITE_ZEROES | CMD_FLUSH => None,
        _ => Some(UNKNOWN_COMMAND),
    };
    match why {
        Some(why) => Verdict::Refuse { header, why },
        None => Verdict::Do(header),
    }
}

impl Header {
    /// Bytes that follow it.
    pub(super) fn payload_bytes(&self) -> usize {
        if self.command == CMD_WRITE { self.len as usize } else { 0 }
    }

    /// Bytes of memory that it needs while in flight.
    pub(super) fn weight(&self) -> u64 {
        if matches!(self.command, CMD_READ | CMD_WRITE) { u64::from(self.len) } else { 0 }
    }

    /// What it asks of the host.
    pub(super) fn op(&self, data: Payload) -> Op {
        let (offset, len) = (self.offset, u64::from(self.len));
        match self.command {
            CMD_READ => Op::Read { offset, len },
            CMD_WRITE => Op::Write { offset, data },
            CMD_TRIM => Op::Trim { offset, len },
            CMD_WRITE_ZEROES => Op::Zero { offset, len },
            CMD_FLUSH => Op::Flush,
            other => panic!("command {other} was judged sound and is none of ours"),
        }
    }
}

/// Answers a request with what the host said.
pub(super) fn answer(header: &Header, result: Result<Vec<Payload>, Refusal>, structured: bool, out: &mut Output) {
    match result {
        Err(why) => error(header, errno(why), &why.to_string(), structured, out),
        Ok(parts) if header.command == CMD_READ => {
            assert_eq!(base::payload::len(&parts), header.len as usize, "the host read something else than was asked");
            if !structured {
                simple(header, 0, out);
            } else if header.len == 0 {
                chunk(header, REPLY_NONE, 0, out);
            } else {
                chunk(header, REPLY_OFFSET_DATA, 8 + header.len, out);
                out.small(&header.offset.to_be_bytes());
            }
            parts.into_iter().for_each(|part| out.large(part));
        }
        Ok(_) => simple(header, 0, out),
    }
}

/// Answers a request that the host was not asked.
pub(super) fn refuse(header: &Header, why: Complaint, structured: bool, out: &mut Output) {
    error(header, why.0, why.1, structured, out);
}

fn errno(why: Refusal) -> Errno {
    match why {
        Refusal::NotOpen | Refusal::Detached => Errno::ESHUTDOWN,
        Refusal::OutOfRange { .. } => Errno::EINVAL,
        Refusal::Full { .. } => Errno::ENOSPC,
        Refusal::Unreadable { .. } | Refusal::Invalid => Errno::EIO,
    }
}

fn error(header: &Header, why: Errno, text: &str, structured: bool, out: &mut Output) {
    if !structured {
        return simple(header, why.0, out);
    }
    chunk(header, REPLY_ERROR, 6 + text.len() as u32, out);
    out.small(&why.0.to_be_bytes());
    out.small(&(text.len() as u16).to_be_bytes());
    out.small(text.as_bytes());
}

fn simple(header: &Header, error: u32, out: &mut Output) {
    out.small(&SIMPLE_REPLY_MAGIC.to_be_bytes());
    out.small(&error.to_be_bytes());
    out.small(&header.cookie.to_be_bytes());
}

/// The only chunk of its reply.
fn chunk(header: &Header, kind: u16, len: u32, out: &mut Output) {
    out.small(&STRUCTURED_REPLY_MAGIC.to_be_bytes());
    out.small(&REPLY_FLAG_DONE.to_be_bytes());
    out.small(&kind.to_be_bytes());
    out.small(&header.cookie.to_be_bytes());
    out.small(&len.to_be_bytes());
}
