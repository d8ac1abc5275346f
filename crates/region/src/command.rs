//! What the region is asked, and what it answers. Neither knows how requests look on any wire, nor what anybody else calls these things.

use crate::records::{Shape, Stage, Tag, Volume};
use crate::{Account, ZoneNumber};
use alloc::string::String;
use alloc::vec::Vec;
use base::VolumeId;

/// A name that whoever asks gives his request, so that asking again asks for the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The name, at most [`crate::TOKEN_BYTES_MAX`] bytes.
    pub text: String,
    /// Of all that is asked, but for where: the same name with another digest is a mistake.
    pub digest: u128,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A volume. Answered with it once its zone has reserved its room.
    CreateVolume {
        /// For whom.
        account: Account,
        /// What.
        shape: Shape,
        /// Its first labels.
        tags: Vec<Tag>,
        /// The request's name.
        token: Option<Token>,
        /// The wall clock, in milliseconds since 1970.
        at_ms: u64,
    },
    /// That a volume goes. Answered with it once its zone has taken it back. From when it is decided nobody sees it as one that is there, unless the zone refuses.
    DeleteVolume {
        /// Whose.
        account: Account,
        /// Which.
        volume: VolumeId,
    },
    /// Labels: those that are named get a new value, or go.
    Tag {
        /// Whose volumes.
        account: Account,
        /// Which.
        volumes: Vec<VolumeId>,
        /// What changes.
        changes: Vec<Change>,
    },
}

/// A change of the labels of something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// This one is there from now on.
    Set(Tag),
    /// All go.
    RemoveAll,
    /// This one goes, whatever it says, or only if it says this.
    Remove {
        /// Which.
        key: String,
        /// What it must say, if that matters.
        value: Option<String>,
    },
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A volume, as it is now.
    Volume(Volume),
    /// It is done.
    Done,
}

/// Why a command was refused. Unless it says otherwise nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The region reads its metadata; soon it can.
    Starting,
    /// The metadata are not what this region can work with.
    Broken(String),
    /// More commands wait than the region takes, or than it takes for this zone; or the zone does not answer, or not in time.
    Busy {
        /// Whose queue is full; none when it is that of all.
        zone: Option<ZoneNumber>,
    },
    /// There is no such zone.
    NoSuchZone,
    /// There is no such volume, or it is somebody else's.
    NoSuchVolume(VolumeId),
    /// The volume's life is not where it could be done.
    NotNow {
        /// Which.
        volume: VolumeId,
        /// How far its life is.
        stage: Stage,
    },
    /// A host has the volume.
    InUse {
        /// Which.
        volume: VolumeId,
        /// Who, in the zone's words.
        why: String,
    },
    /// Another request had this name.
    TokenTaken,
    /// The account has as many volumes as it may.
    TooManyVolumes {
        /// How many.
        max: u32,
    },
    /// It would have more labels than something may have.
    TooManyTags {
        /// Which.
        volume: VolumeId,
        /// How many it may have.
        max: usize,
    },
    /// The zone has no room.
    NoRoom(String),
    /// The zone refused, for this reason.
    Zone(String),
    /// The zone has not answered in time. It may do it yet; asking again with the same token tells.
    TimedOut {
        /// Which.
        volume: VolumeId,
    },
    /// What became of it is unknown, because the metadata store did not say: it may be done or not. Asking again with the same token tells.
    Unknown,
}
