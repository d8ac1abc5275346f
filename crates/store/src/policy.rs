//! What may differ between two processes that open the same disk. Nothing of it is written on the disk.

use base::mutant::Mutation;
use base::time::Duration;

/// How a store behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Bytes of payload after which a batch is closed. A single larger write still goes, alone.
    pub batch_payload_bytes_max: u32,
    /// Batches being written at once. More gather meanwhile.
    pub batches_in_flight_max: u32,
    /// While a batch is being written the next one is formed only of so many bytes of payload, or when none is being written any more: what comes meanwhile
    /// shares a write and a flush, and so a disk that is busy does less for each. 0: of whatever there is.
    pub gathered_bytes_min: u32,
    /// Disk reads in flight at once; what is beyond waits its turn, first come first served.
    pub reads_in_flight_max: u32,
    /// Reads that may fail one after the other, with none between them that succeeds, before the disk counts as failed.
    pub reads_failed_max: u32,
    /// Whether the disk states that it keeps its cache through a loss of power. Then a write is durable when it is done.
    pub protected_cache: bool,
    /// Whether every block of the disk exists already (a raw device). Otherwise segments are zeroed ahead of their use.
    pub preallocated: bool,
    /// How many segments are zeroed ahead of the one being written.
    pub zero_ahead_segments: u32,
    /// Bytes zeroed by one operation.
    pub zero_piece_bytes: u32,
    /// Segments of log after which a checkpoint is made, if 32 MiB are not less, and so about the most that recovery reads. None: never, which is for tests that want to
    /// see a log whole.
    pub checkpoint_every_segments: u32,
    /// A base of the checkpoint is written anew when its deltas have more pieces than it has, and more than this.
    pub delta_pieces_min: u32,
    /// Chunks of dropped frozen points that are dissolved in a step. The default is less than a millisecond's work.
    pub dissolved_chunks_per_step: u32,
    /// Within this time everything that is live is read and checked once. Zero: never.
    pub scrub_period: Duration,
    /// What is wrong with it on purpose: nothing, but in the tests of the checkers.
    pub mutation: Mutation,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            batch_payload_bytes_max: 1 << 20,
            batches_in_flight_max: 4,
            gathered_bytes_min: 0,
            reads_in_flight_max: 64,
            // Four megabytes of bad blocks in one row, each read by itself: that is no bad spot any more.
            reads_failed_max: 1024,
            protected_cache: false,
            preallocated: false,
            zero_ahead_segments: 2,
            zero_piece_bytes: 1 << 20,
            checkpoint_every_segments: 4,
            delta_pieces_min: 16,
            dissolved_chunks_per_step: 128,
            scrub_period: Duration::from_secs(7 * 24 * 3600),
            mutation: Mutation::default(),
        }
    }
}
