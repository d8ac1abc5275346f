//! The options of the handshake: what the client asks, and what it is told. One function, no state but what was agreed on.

use super::agreed::{Agreed, Style};
use super::contexts::{self, Question};
use super::output::Output;
use super::protocol::*;
use super::session::Exports;
use base::BLOCK_BYTES;
use host::Export;

/// What follows from an option, beyond the reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Nothing: more options may come.
    Nothing,
    /// Requests come now, to this export.
    Export(Export),
    /// The connection ends.
    Close,
}

const NO_TLS: &str = "this server does not speak TLS yet: connect without it to the Unix socket of the host, or over TCP through a tunnel that encrypts";
const CARRIES_NOTHING: &str = "this option carries no data";
const NOT_A_QUESTION: &str = "the option's data is not a name and a list of queries, each with a namespace and a colon";
const CHUNKS_FIRST: &str = "metadata contexts need structured replies or extended headers, agreed on before them";
const EXTENDED_ALREADY: &str = "extended headers were agreed on already, and structured replies are part of them";

/// Answers one option.
pub(super) fn answer(option: u32, data: &[u8], agreed: &mut Agreed, exports: &dyn Exports, out: &mut Output) -> Choice {
    match option {
        OPT_EXPORT_NAME => return export_name(data, agreed, exports, out),
        OPT_ABORT => {
            reply(option, REP_ACK, &[], out);
            return Choice::Close;
        }
        OPT_INFO | OPT_GO => return info(option, data, agreed, exports, out),
        OPT_LIST | OPT_STARTTLS | OPT_STRUCTURED_REPLY | OPT_EXTENDED_HEADERS if !data.is_empty() => {
            refuse(option, REP_ERR_INVALID, CARRIES_NOTHING, out);
        }
        OPT_LIST => {
            for export in exports.list() {
                let name = export.volume.to_string();
                reply(option, REP_SERVER, &[&(name.len() as u32).to_be_bytes()[..], name.as_bytes()].concat(), out);
            }
            reply(option, REP_ACK, &[], out);
        }
        OPT_STARTTLS => refuse(option, REP_ERR_UNSUP, NO_TLS, out),
        OPT_STRUCTURED_REPLY if agreed.style == Style::Extended => {
            refuse(option, REP_ERR_EXT_HEADER_REQD, EXTENDED_ALREADY, out);
        }
        OPT_STRUCTURED_REPLY | OPT_EXTENDED_HEADERS => {
            agreed.style = if option == OPT_EXTENDED_HEADERS { Style::Extended } else { Style::Structured };
            reply(option, REP_ACK, &[], out);
        }
        OPT_LIST_META_CONTEXT | OPT_SET_META_CONTEXT => meta_context(option, data, agreed, exports, out),
        // Whatever comes after these. A client goes on without.
        _ => refuse(option, REP_ERR_UNSUP, "this server does not know the option", out),
    }
    Choice::Nothing
}

/// The old way to choose an export: no error can be told, so an unknown one ends the connection. So does one who has agreed on extended headers, which the
/// specification does not allow together.
fn export_name(data: &[u8], agreed: &Agreed, exports: &dyn Exports, out: &mut Output) -> Choice {
    let Ok(export) = find(data, exports) else { return Choice::Close };
    if agreed.style == Style::Extended {
        return Choice::Close;
    }
    out.small(&export.size.to_be_bytes());
    out.small(&agreed.transmission_flags(&export).to_be_bytes());
    if !agreed.no_zeroes {
        out.small(&[0; 124]);
    }
    Choice::Export(export)
}

fn info(option: u32, data: &[u8], agreed: &Agreed, exports: &dyn Exports, out: &mut Output) -> Choice {
    let Some((name, wanted)) = parse_info(data) else {
        refuse(option, REP_ERR_INVALID, "the option's data is not a name and a list of information types", out);
        return Choice::Nothing;
    };
    let export = match find(name, exports) {
        Ok(export) => export,
        Err(text) => {
            refuse(option, REP_ERR_UNKNOWN, &text, out);
            return Choice::Nothing;
        }
    };
    let mut item = Vec::with_capacity(16);
    item.extend_from_slice(&INFO_EXPORT.to_be_bytes());
    item.extend_from_slice(&export.size.to_be_bytes());
    item.extend_from_slice(&agreed.transmission_flags(&export).to_be_bytes());
    reply(option, REP_INFO, &item, out);
    if wanted.contains(&INFO_NAME) {
        let name = export.volume.to_string();
        reply(option, REP_INFO, &[&INFO_NAME.to_be_bytes()[..], name.as_bytes()].concat(), out);
    }
    if wanted.contains(&INFO_DESCRIPTION) {
        // Which attachment it is: whoever keeps a history of what he wrote can tell what was written before another had the volume.
        let text = format!("generation {}", export.generation);
        reply(option, REP_INFO, &[&INFO_DESCRIPTION.to_be_bytes()[..], text.as_bytes()].concat(), out);
    }
    if wanted.contains(&INFO_BLOCK_SIZE) {
        item.clear();
        item.extend_from_slice(&INFO_BLOCK_SIZE.to_be_bytes());
        for bytes in block_sizes(export.size) {
            item.extend_from_slice(&bytes.to_be_bytes());
        }
        reply(option, REP_INFO, &item, out);
    }
    reply(option, REP_ACK, &[], out);
    if option == OPT_GO { Choice::Export(export) } else { Choice::Nothing }
}

/// Which metadata contexts there are, or which the client wants. A choice takes the place of the one before, also when it is refused.
fn meta_context(option: u32, data: &[u8], agreed: &mut Agreed, exports: &dyn Exports, out: &mut Output) {
    let chooses = option == OPT_SET_META_CONTEXT;
    if chooses {
        agreed.maps = None;
    }
    if !agreed.style.has_chunks() {
        return refuse(option, REP_ERR_INVALID, CHUNKS_FIRST, out);
    }
    let Some(question) = Question::parse(data) else {
        return refuse(option, REP_ERR_INVALID, NOT_A_QUESTION, out);
    };
    let export = match find(question.export, exports) {
        Ok(export) => export,
        Err(text) => return refuse(option, REP_ERR_UNKNOWN, &text, out),
    };
    if chooses && question.chooses_allocation() {
        agreed.maps = Some(export.volume);
        reply(option, REP_META_CONTEXT, &contexts::named(contexts::ALLOCATION_ID), out);
    } else if !chooses && question.lists_allocation() {
        reply(option, REP_META_CONTEXT, &contexts::named(0), out);
    }
    reply(option, REP_ACK, &[], out);
}

/// Smallest, preferred and largest. Any alignment is served; 512 is what disks do, so that is what is announced where the size allows.
fn block_sizes(size: u64) -> [u32; 3] {
    let least = if size.is_multiple_of(512) { 512 } else { 1 };
    [least, BLOCK_BYTES as u32, super::PAYLOAD_BYTES_MAX]
}

fn parse_info(data: &[u8]) -> Option<(&[u8], Vec<u16>)> {
    let (len, rest) = data.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    let (pairs, odd) = rest.as_chunks::<2>();
    let is_whole = odd.is_empty() && pairs.len() == usize::from(u16::from_be_bytes(*count));
    is_whole.then(|| (name, pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()))
}

fn find(name: &[u8], exports: &dyn Exports) -> Result<Export, String> {
    // Whoever connects may have sent anything; what is echoed is short.
    let short = String::from_utf8_lossy(&name[..name.len().min(64)]).into_owned();
    let volume = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
    let Some(volume) = volume else {
        return Err(format!("{short:?} is not the id of a volume, such as vol-00123456789abcdef"));
    };
    exports.find(volume).ok_or_else(|| match exports.is_informed() {
        true => format!("{volume} is not attached to this host"),
        false => {
            format!("this host does not know yet whether {volume} is attached to it: it waits for the zone's authority")
        }
    })
}

/// Refuses an option, saying why.
pub(super) fn refuse(option: u32, code: u32, text: &str, out: &mut Output) {
    reply(option, code, text.as_bytes(), out);
}

fn reply(option: u32, code: u32, data: &[u8], out: &mut Output) {
    out.small(&OPTION_REPLY_MAGIC.to_be_bytes());
    out.small(&option.to_be_bytes());
    out.small(&code.to_be_bytes());
    out.small(&(data.len() as u32).to_be_bytes());
    out.small(data);
}
