//! Bytes on their way to one client: small ones gathered, large ones as they are.

use base::Payload;

/// A row of bytes that becomes one send. Headers of many replies lie in one part; blocks are never copied.
#[derive(Debug, Default)]
pub struct Output {
    parts: Vec<Payload>,
    tail: Vec<u8>,
    added: u64,
}

impl Output {
    /// Bytes of a header.
    pub(super) fn small(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.added += bytes.len() as u64;
    }

    /// Blocks.
    pub(super) fn large(&mut self, data: Payload) {
        self.seal();
        self.added += data.len() as u64;
        self.parts.push(data);
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.parts.push(Payload::from(std::mem::take(&mut self.tail)));
        }
    }

    /// Bytes that were ever added.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.tail.is_empty()
    }

    /// All of it, in order.
    pub fn take(&mut self) -> Vec<Payload> {
        self.seal();
        std::mem::take(&mut self.parts)
    }
}
