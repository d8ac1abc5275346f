//! The limits of NBD connections.

use base::mutant::Mutation;

/// How much connections may keep. What is announced to clients ([`super::PAYLOAD_BYTES_MAX`]) does not depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Requests of one session in flight; further ones wait unparsed.
    pub requests_max: usize,
    /// Bytes read or written by the requests of one session in flight, and of its answers that are not sent. One request alone is always taken.
    pub session_bytes_max: u64,
    /// Of these, what each session may always have.
    pub share_bytes: u64,
    /// Bytes that all sessions together keep, beyond the share of each.
    pub bytes_max: u64,
    /// With so much of a write still to come it is worth while to let it be received where it will stay.
    pub gathered_bytes_min: usize,
    /// What is wrong with it, in tests of the checkers.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            requests_max: 256,
            session_bytes_max: 64 << 20,
            share_bytes: 256 << 10,
            bytes_max: 768 << 20,
            gathered_bytes_min: 16 << 10,
            mutation: Mutation::NONE,
        }
    }
}
