//! How the answers of the host look on the wire. No state.

use super::agreed::Style;
use super::output::Output;
use super::protocol::*;
use super::request::{Complaint, Header};
use super::status;
use base::Payload;
use host::Refusal;

/// Answers a request with what the host said.
pub(super) fn answer(header: &Header, result: Result<Vec<Payload>, Refusal>, style: Style, out: &mut Output) {
    match result {
        Err(why) => error(header, errno(why), &why.to_string(), style, out),
        Ok(parts) if header.command == CMD_READ => {
            assert_eq!(base::payload::len(&parts) as u64, header.len, "the host read something else than was asked");
            if style == Style::Simple {
                simple(header, 0, out);
            } else if header.len == 0 {
                chunk(header, style, REPLY_NONE, 0, out);
            } else {
                chunk(header, style, REPLY_OFFSET_DATA, 8 + header.len, out);
                out.small(&header.offset.to_be_bytes());
            }
            parts.into_iter().for_each(|part| out.large(part));
        }
        Ok(bits) if header.command == CMD_BLOCK_STATUS => {
            let is_wide = style == Style::Extended;
            let body = status::describe(header, &bits, is_wide);
            let kind = if is_wide { REPLY_BLOCK_STATUS_EXT } else { REPLY_BLOCK_STATUS };
            chunk(header, style, kind, body.len() as u64, out);
            out.small(&body);
        }
        Ok(_) => done(header, style, out),
    }
}

/// Answers a request that is done and has nothing to show.
pub(super) fn done(header: &Header, style: Style, out: &mut Output) {
    match style {
        Style::Simple | Style::Structured => simple(header, 0, out),
        Style::Extended => chunk(header, style, REPLY_NONE, 0, out),
    }
}

/// Answers a request that the host was not asked.
pub(super) fn refuse(header: &Header, why: Complaint, style: Style, out: &mut Output) {
    error(header, why.0, why.1, style, out);
}

fn errno(why: Refusal) -> Errno {
    match why {
        Refusal::NotOpen | Refusal::Detached => Errno::ESHUTDOWN,
        Refusal::OutOfRange { .. } => Errno::EINVAL,
        Refusal::Full { .. } => Errno::ENOSPC,
        Refusal::ReadOnly => Errno::EPERM,
        Refusal::Unreadable { .. } | Refusal::Invalid => Errno::EIO,
    }
}

fn error(header: &Header, why: Errno, text: &str, style: Style, out: &mut Output) {
    if style == Style::Simple {
        return simple(header, why.0, out);
    }
    chunk(header, style, REPLY_ERROR, 6 + text.len() as u64, out);
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
fn chunk(header: &Header, style: Style, kind: u16, len: u64, out: &mut Output) {
    let is_extended = style == Style::Extended;
    let magic = if is_extended { EXTENDED_REPLY_MAGIC } else { STRUCTURED_REPLY_MAGIC };
    out.small(&magic.to_be_bytes());
    out.small(&REPLY_FLAG_DONE.to_be_bytes());
    out.small(&kind.to_be_bytes());
    out.small(&header.cookie.to_be_bytes());
    if is_extended {
        out.small(&header.offset.to_be_bytes());
        out.small(&len.to_be_bytes());
    } else {
        let len = u32::try_from(len).expect("what is answered in one chunk is no longer than what may be asked for");
        out.small(&len.to_be_bytes());
    }
}
