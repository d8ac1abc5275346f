//! What a zone tells its region each second, so that whoever asks the region is answered without asking the zone.

use crate::control::VolumeCondition;
use base::{HostId, Incarnation, VolumeId, record};

/// Hosts that one answer names, at most.
pub const HOSTS_NAMED_MAX: usize = 4096;
/// Volumes that one answer names, at most.
pub const AILING_NAMED_MAX: usize = 8192;

record! {
    /// A host, as its zone knows it.
    #[derive(Copy)]
    pub struct HostState {
        /// Which.
        pub host: HostId,
        /// Which run of it.
        pub incarnation: Incarnation,
        /// Whether it is in touch with the zone's authority.
        pub connected: bool,
    }
}

record! {
    /// A volume that does not have all its copies, or whose I/O waits.
    pub struct AilingVolume {
        /// Which.
        pub volume: VolumeId,
        /// How it is.
        pub condition: VolumeCondition,
        /// For how long, in milliseconds.
        pub for_ms: u64,
        /// For how long I/O of its host has waited by now, in milliseconds; 0 when none waits.
        pub waiting_ms: u64,
    }
}
