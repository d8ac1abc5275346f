//! What the region is asked, and what it answers. Neither knows how requests look on any wire, nor what anybody else calls these things.

use crate::records::{Attachment, Defaults, Modification, Quality, Shape, Stage, Tag, Volume};
use crate::{Account, ZoneNumber};
use alloc::string::String;
use alloc::vec::Vec;
use base::{HostId, VolumeId};

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
    /// That a host gets a volume. Answered with the attachment as soon as it is decided; the host can use it when it is attached.
    AttachVolume {
        /// Whose.
        account: Account,
        /// Which.
        volume: VolumeId,
        /// Who.
        host: HostId,
        /// Under which name it is seen there.
        device: String,
        /// The wall clock, in milliseconds since 1970.
        at_ms: u64,
    },
    /// That a host has a volume no more. Answered with the attachment as soon as it is decided; it is gone when nobody uses it any more.
    DetachVolume {
        /// Whose.
        account: Account,
        /// Which.
        volume: VolumeId,
        /// Who must have it, if that matters.
        host: Option<HostId>,
        /// Under which name, if that matters.
        device: Option<String>,
        /// At once, whoever uses it there. Else when nobody does.
        by_force: bool,
    },
    /// That a volume becomes larger, or may do more or less, while it is used. Answered with the change as soon as it is decided.
    ModifyVolume {
        /// Whose.
        account: Account,
        /// Which.
        volume: VolumeId,
        /// What it is to be.
        to: Quality,
        /// The wall clock, in milliseconds since 1970.
        at_ms: u64,
    },
    /// Whether a volume's I/O is to go on by itself after it was stopped for fear of wrong data.
    SetResumes {
        /// Whose.
        account: Account,
        /// Which.
        volume: VolumeId,
        /// Whether it is.
        on: bool,
    },
    /// What an account wants of all its volumes from now on. Answered with it.
    SetDefaults {
        /// Whose.
        account: Account,
        /// What.
        change: DefaultsChange,
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

/// A change of what an account wants of all its volumes. What is not named stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DefaultsChange {
    /// Whether new ones are encrypted.
    Encrypted(bool),
    /// With which key; none is the region's own.
    Key(Option<String>),
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
    /// An attachment of a volume, as it is now.
    Attachment(VolumeId, Attachment),
    /// A change of a volume, as it is now.
    Modification(VolumeId, Modification),
    /// What an account wants, as it is now.
    Defaults(Defaults),
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
    /// There is no such host.
    NoSuchHost(HostId),
    /// The host is in another zone than the volume.
    OtherZone {
        /// Which volume.
        volume: VolumeId,
        /// Which host.
        host: HostId,
    },
    /// A host has the volume, or is to have it.
    Attached {
        /// Which volume.
        volume: VolumeId,
        /// Which host.
        host: HostId,
    },
    /// No host has the volume.
    NotAttached(VolumeId),
    /// It is another host, or another name there.
    OtherAttachment(VolumeId),
    /// The host has another volume under this name.
    DeviceTaken {
        /// Which host.
        host: HostId,
        /// Which name.
        device: String,
    },
    /// The host has as many volumes as it may.
    TooManyAttached {
        /// Which host.
        host: HostId,
        /// How many.
        max: usize,
    },
    /// The volume is being changed already.
    Modifying(VolumeId),
    /// It would become smaller.
    Shrinks {
        /// Which.
        volume: VolumeId,
        /// How large it is, in bytes.
        size: u64,
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
