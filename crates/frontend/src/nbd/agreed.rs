//! What client and server have agreed on, option by option, and what of it holds for an export.

use super::protocol::*;
use base::VolumeId;
use host::Export;

/// The headers of requests and replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Requests of 28 bytes; replies without a length.
    Simple,
    /// Requests of 28 bytes; what has data is answered in chunks.
    Structured,
    /// Requests of 32 bytes with lengths of 64 bits; everything is answered in chunks.
    Extended,
}

impl Style {
    /// Bytes before a request.
    pub(super) fn header_bytes(self) -> usize {
        if self == Self::Extended { 32 } else { 28 }
    }

    /// Whether replies say why.
    pub(super) fn has_chunks(self) -> bool {
        self != Self::Simple
    }
}

/// See the page above.
#[derive(Debug)]
pub(super) struct Agreed {
    /// Whether the old way to open an export leaves out its 124 bytes of nothing.
    pub(super) no_zeroes: bool,
    pub(super) style: Style,
    /// The volume of which the client wants to know what is written.
    pub(super) maps: Option<VolumeId>,
}

impl Agreed {
    pub(super) fn nothing() -> Self {
        Self { no_zeroes: false, style: Style::Simple, maps: None }
    }

    /// What a client of this export may do.
    pub(super) fn transmission_flags(&self, export: &Export) -> u16 {
        let mut flags = HAS_FLAGS | SEND_FLUSH | SEND_FUA | SEND_CACHE | CAN_MULTI_CONN;
        flags |= match export.read_only {
            true => READ_ONLY,
            false => SEND_TRIM | SEND_WRITE_ZEROES | SEND_FAST_ZERO,
        };
        if self.style.has_chunks() { flags | SEND_DF } else { flags }
    }

    /// What holds from now on.
    pub(super) fn terms(&self, export: Export) -> Terms {
        Terms { export, style: self.style, maps: self.maps == Some(export.volume) }
    }
}

/// What holds for the requests of a session.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) export: Export,
    pub(super) style: Style,
    /// Whether the client has chosen the metadata context `base:allocation`.
    pub(super) maps: bool,
}
