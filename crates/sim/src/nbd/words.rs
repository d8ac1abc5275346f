//! The words of NBD as a client says them, from the specification (github.com/NetworkBlockDevice/nbd, doc/proto.md) and not from our server: whoever judges does not
//! copy.

/// "NBDMAGIC", "IHAVEOPT", and the flags of a server that speaks fixed newstyle and leaves zeroes out.
pub const GREETING: [u8; 18] = *b"NBDMAGICIHAVEOPT\0\x03";
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;
pub const EXTENDED_REPLY_MAGIC: u32 = 0x6e8a_278c;

pub const FIXED_NEWSTYLE: u32 = 1;
pub const NO_ZEROES: u32 = 2;

pub const OPT_EXPORT_NAME: u32 = 1;
pub const OPT_ABORT: u32 = 2;
pub const OPT_LIST: u32 = 3;
pub const OPT_GO: u32 = 7;
pub const OPT_STRUCTURED_REPLY: u32 = 8;
pub const OPT_SET_META_CONTEXT: u32 = 10;
pub const OPT_EXTENDED_HEADERS: u32 = 11;
/// No option of the specification.
pub const OPT_UNKNOWN: u32 = 77;

pub const REP_ACK: u32 = 1;
pub const REP_SERVER: u32 = 2;
pub const REP_INFO: u32 = 3;
pub const REP_META_CONTEXT: u32 = 4;
pub const REP_ERR_UNSUP: u32 = 0x8000_0001;
pub const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

pub const INFO_EXPORT: u16 = 0;
pub const INFO_DESCRIPTION: u16 = 2;

/// HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN, SEND_CACHE, SEND_FAST_ZERO.
pub const FLAGS: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
/// SEND_DF, where replies come in chunks.
pub const FLAG_DF: u16 = 1 << 7;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISC: u16 = 2;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const CACHE: u16 = 5;
pub const WRITE_ZEROES: u16 = 6;
pub const BLOCK_STATUS: u16 = 7;
/// No command of the specification.
pub const UNKNOWN: u16 = 99;

pub const FUA: u16 = 1 << 0;
pub const NO_HOLE: u16 = 1 << 1;
pub const DF: u16 = 1 << 2;
pub const REQ_ONE: u16 = 1 << 3;
pub const FAST_ZERO: u16 = 1 << 4;
pub const PAYLOAD_LEN: u16 = 1 << 5;
/// No flag of the specification.
pub const FLAG_UNKNOWN: u16 = 1 << 9;

pub const DONE: u16 = 1;
pub const NONE: u16 = 0;
pub const OFFSET_DATA: u16 = 1;
pub const OFFSET_HOLE: u16 = 2;
pub const STATUS: u16 = 5;
pub const STATUS_EXT: u16 = 6;
pub const ERROR: u16 = 0x8001;
pub const ERROR_OFFSET: u16 = 0x8002;

pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;
pub const EIO: u32 = 5;
pub const ESHUTDOWN: u32 = 108;

pub const ALLOCATION: &str = "base:allocation";

/// The headers of requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Requests of 28 bytes, replies of 16.
    Simple,
    /// What has data, or an error, is answered in chunks.
    Structured,
    /// Lengths of 64 bits, and chunks only.
    Extended,
}

/// A request, but for its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    pub flags: u16,
    pub kind: u16,
    pub cookie: u64,
    pub offset: u64,
    pub len: u64,
}

impl Request {
    /// What is sent.
    pub fn bytes(&self, style: Style, data: &[u8]) -> Vec<u8> {
        let magic: u32 = if style == Style::Extended { 0x21e4_1c71 } else { 0x2560_9513 };
        let mut bytes = Vec::with_capacity(32 + data.len());
        bytes.extend(magic.to_be_bytes());
        bytes.extend(self.flags.to_be_bytes());
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend(self.cookie.to_be_bytes());
        bytes.extend(self.offset.to_be_bytes());
        if style == Style::Extended {
            bytes.extend(self.len.to_be_bytes());
        } else {
            bytes.extend(u32::try_from(self.len).expect("old headers have lengths of 32 bits").to_be_bytes());
        }
        bytes.extend(data);
        bytes
    }
}

/// An option of the handshake.
pub fn option(kind: u32, data: &[u8]) -> Vec<u8> {
    [b"IHAVEOPT", &kind.to_be_bytes()[..], &(data.len() as u32).to_be_bytes(), data].concat()
}

/// A text and its length before it.
pub fn counted(text: &str) -> Vec<u8> {
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes()].concat()
}

/// The numbers in some bytes, one behind the other. Nothing of a number that is not all there.
pub struct Numbers<'a>(pub &'a [u8]);

impl Numbers<'_> {
    pub fn u16(&mut self) -> Option<u16> {
        self.0.split_off(..2).map(|bytes| u16::from_be_bytes(bytes.try_into().expect("two bytes")))
    }
    pub fn u32(&mut self) -> Option<u32> {
        self.0.split_off(..4).map(|bytes| u32::from_be_bytes(bytes.try_into().expect("four bytes")))
    }
    pub fn u64(&mut self) -> Option<u64> {
        self.0.split_off(..8).map(|bytes| u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }
}
