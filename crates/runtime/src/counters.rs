//! What a world did, counted: enough to tell how many system calls an I/O costs.

use std::fmt;

/// Totals since the world was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Turns of the loop. Over io_uring each enters the kernel once, and once more for each sleep.
    pub turns: u64,
    /// Turns that found nothing at once, and something while they looked.
    pub looks: u64,
    /// Turns that went to sleep.
    pub sleeps: u64,
    /// Turns in which the application was stepped.
    pub steps: u64,
    /// Entries handed to the ring.
    pub sqes: u64,
    /// Completions taken from it.
    pub cqes: u64,
    /// Bytes received on links, headers included.
    pub bytes_in: u64,
    /// Bytes sent on links, headers included.
    pub bytes_out: u64,
    /// Frames received on links, keepalives included.
    pub frames_in: u64,
    /// Frames queued to be sent on links, keepalives included.
    pub frames_out: u64,
    /// Sends begun on links and streams: one for all frames of a turn on one connection.
    pub sends: u64,
    /// Receives ended on links and streams.
    pub receives: u64,
    /// Pings sent.
    pub pings: u64,
    /// Connections opened or accepted, whether or not they got as far as a link.
    pub connections: u64,
    /// Connections of another run of a peer that already had one.
    pub rivals: u64,
    /// Of those, refused because the first run was alive.
    pub twins_refused: u64,
    /// Disk reads asked for.
    pub reads: u64,
    /// Disk writes asked for, zeroing included.
    pub writes: u64,
    /// Disk flushes asked for.
    pub flushes: u64,
    /// Bytes that had to be copied so that a write was aligned.
    pub bytes_copied: u64,
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [
            ("turns", self.turns),
            ("looks", self.looks),
            ("sleeps", self.sleeps),
            ("steps", self.steps),
            ("sqes", self.sqes),
            ("cqes", self.cqes),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
            ("frames_in", self.frames_in),
            ("frames_out", self.frames_out),
            ("sends", self.sends),
            ("receives", self.receives),
            ("pings", self.pings),
            ("connections", self.connections),
            ("rivals", self.rivals),
            ("twins_refused", self.twins_refused),
            ("reads", self.reads),
            ("writes", self.writes),
            ("flushes", self.flushes),
            ("bytes_copied", self.bytes_copied),
        ];
        for (i, (name, count)) in all.iter().enumerate() {
            write!(f, "{}{name}={count}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
