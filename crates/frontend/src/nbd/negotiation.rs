//! The options of the handshake: what the client asks, and what it is told. One function, no state.

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
    /// Reads are answered in structured replies from now on.
    Structured,
    /// Requests come now, to this export.
    Export(Export),
    /// The connection ends.
    Close,
}

/// Answers one option.
pub(super) fn answer(
    option: u32,
    data: &[u8],
    structured: bool,
    no_zeroes: bool,
    exports: &dyn Exports,
    out: &mut Output,
) -> Choice {
    match option {
        OPT_EXPORT_NAME => return export_name(data, no_zeroes, exports, out),
        OPT_ABORT => {
            reply(option, REP_ACK, &[], out);
            return Choice::Close;
        }
        OPT_INFO | OPT_GO => return info(option, data, structured, exports, out),
        OPT_LIST | OPT_STRUCTURED_REPLY if !data.is_empty() => {
            refuse(option, REP_ERR_INVALID, "this option carries no data", out);
        }
        OPT_LIST => {
            for export in exports.list() {
                let name = export.volume.to_string();
                reply(option, REP_SERVER, &[&(name.len() as u32).to_be_bytes()[..], name.as_bytes()].concat(), out);
            }
            reply(option, REP_ACK, &[], out);
        }
        OPT_STRUCTURED_REPLY => {
            reply(option, REP_ACK, &[], out);
            return Choice::Structured;
        }
        // TLS, extended headers, metadata contexts and whatever comes after them. A client goes on without.
        _ => refuse(option, REP_ERR_UNSUP, "this server does not know the option", out),
    }
    Choice::Nothing
}

/// The old way to choose an export: no error can be told, so an unknown one ends the connection.
fn export_name(data: &[u8], no_zeroes: bool, exports: &dyn Exports, out: &mut Output) -> Choice {
    let Ok(export) = find(data, exports) else { return Choice::Close };
    out.small(&export.size.to_be_bytes());
    // Structured replies may have been agreed on before, but a client this old does not know of DF.
    out.small(&transmission_flags(false).to_be_bytes());
    if !no_zeroes {
        out.small(&[0; 124]);
    }
    Choice::Export(export)
}

fn info(option: u32, data: &[u8], structured: bool, exports: &dyn Exports, out: &mut Output) -> Choice {
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
    item.extend_from_slice(&transmission_flags(structured).to_be_bytes());
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

/// Smallest, preferred and largest. Any alignment is served; 512 is what disks do, so that is what is announced where the size allows.
fn block_sizes(size: u64) -> [u32; 3] {
    let least = if size.is_multiple_of(512) { 512 } else { 1 };
    [least, BLOCK_BYTES as u32, super::PAYLOAD_BYTES_MAX]
}

fn transmission_flags(structured: bool) -> u16 {
    let always = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_TRIM | SEND_WRITE_ZEROES | SEND_FAST_ZERO | CAN_MULTI_CONN;
    if structured { always | SEND_DF } else { always }
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
