//! What the region keeps in the metadata store, and its bytes: a version byte, then the fields in order.
//!
//! ```text
//! region                        whose metadata this is
//! token/<account>/<token hex>   which volume a request made, for whoever sends it again
//! volume/<volume>               one volume, as its owner knows it; goes when its zone has taken it back and no token names it
//! host/<host>                   a host that a zone once told of
//! account/<account>             what an account wants of all its volumes
//! ```
//!
//! This file knows bytes and names of keys. Which changes are allowed is said elsewhere.

use crate::{Account, ZoneNumber};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::codec::{Field, Malformed, Reader, Writer};
use base::io::meta::Pair;
use base::{ClusterId, HostId, Revision, VolumeId, choice, record};
use bytes::Bytes;
use core::fmt;
use wire::Throttle;

/// The version of every record's bytes.
pub const VERSION: u8 = 2;

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 64;

/// A key of the metadata store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    Region,
    Token(Account, String),
    Volume(VolumeId),
    Host(HostId),
    Account(Account),
}

impl base::truth::Key for Key {
    const PREFIXES: &'static [&'static str] = &["region", "token/", "volume/", "host/", "account/"];

    fn owner() -> Self {
        Self::Region
    }

    fn text(&self) -> String {
        match self {
            Self::Region => "region".into(),
            Self::Token(account, token) => {
                let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
                format!("token/{account}/{hex}")
            }
            Self::Volume(volume) => format!("volume/{volume}"),
            Self::Host(host) => format!("host/{host}"),
            Self::Account(account) => format!("account/{account}"),
        }
    }
}

impl Key {
    /// The key that has this text; none when the region wrote no such key.
    fn parse(text: &str) -> Option<Self> {
        let key = match text.split_once('/') {
            None if text == "region" => Self::Region,
            Some(("volume", id)) => Self::Volume(id.parse().ok()?),
            Some(("host", id)) => Self::Host(id.parse().ok()?),
            Some(("account", id)) => Self::Account(id.parse().ok().map(Account)?),
            Some(("token", rest)) => {
                let (account, hex) = rest.split_once('/')?;
                let digit = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
                let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(digit).collect();
                Self::Token(account.parse().ok().map(Account)?, String::from_utf8(bytes?).ok()?)
            }
            _ => return None,
        };
        // One text per key: what would be written differently is not ours.
        (base::truth::Key::text(&key) == text).then_some(key)
    }
}

choice! {
    /// How far a volume's life is.
    #[derive(Copy)]
    pub enum Stage: "stage of a volume" {
        /// Its zone has been asked for it, or is about to be.
        1 = Reserving,
        /// Its zone has it.
        2 = There,
        /// Its zone is to take it back.
        3 = Deleting,
        /// Its zone has taken it back. Only who made it by a token still sees it.
        4 = Gone,
    }
}

record! {
    /// A label of its owner.
    pub struct Tag {
        /// Which.
        pub key: String,
        /// What it says.
        pub value: String,
    }
}

record! {
    /// What a volume is asked to be.
    pub struct Shape {
        /// Where.
        pub zone: ZoneNumber,
        /// Bytes.
        pub size: u64,
        /// Copies of each block.
        pub copies: u8,
        /// What it may do at most.
        pub throttle: Throttle,
        /// What kind its owner asked for, in his words.
        pub label: String,
    }
}

choice! {
    /// How far an attachment is.
    #[derive(Copy)]
    pub enum AttachStage: "stage of an attachment" {
        /// The zone has been asked for it, or is about to be; or the host has not opened the volume yet.
        1 = Attaching,
        /// The host can use the volume.
        2 = Attached,
        /// The host is to have the volume no more.
        3 = Detaching,
    }
}

record! {
    /// Which host has a volume.
    pub struct Attachment {
        /// Which host.
        pub host: HostId,
        /// Under which name its owner wants to see it there.
        pub device: String,
        /// How far it is.
        pub stage: AttachStage,
        /// When it was asked for, in milliseconds since 1970.
        pub at_ms: u64,
    }
}

record! {
    /// What of a volume can be changed.
    pub struct Quality {
        /// Bytes.
        pub size: u64,
        /// What it may do at most.
        pub throttle: Throttle,
        /// What kind its owner asked for, in his words.
        pub label: String,
    }
}

choice! {
    /// How far a change of a volume is.
    #[derive(Copy)]
    pub enum ModifyStage: "stage of a change" {
        /// The zone is to make the volume larger.
        1 = Growing,
        /// The zone is to let it do more, or less.
        2 = Throttling,
        /// It is done.
        3 = Completed,
        /// The zone refused. The volume is as it was, or at most larger.
        4 = Failed,
    }
}

record! {
    /// The last change of a volume.
    pub struct Modification {
        /// What it was.
        pub from: Quality,
        /// What it is to be.
        pub to: Quality,
        /// How far it is.
        pub stage: ModifyStage,
        /// When it was asked for, in milliseconds since 1970.
        pub at_ms: u64,
        /// When it ended, in milliseconds since 1970; 0 while it has not.
        pub ended_ms: u64,
        /// Why it failed, in the zone's words.
        pub why: String,
    }
}

record! {
    /// What an account wants of all its volumes.
    #[derive(Default)]
    pub struct Defaults {
        /// That new ones are encrypted.
        pub encrypted: bool,
        /// With which key, in its owner's words; none is the region's own.
        pub key: Option<String>,
    }
}

record! {
    /// A host of a zone.
    pub struct Host {
        /// Its id.
        pub id: HostId,
        /// Where it is.
        pub zone: ZoneNumber,
        /// When the region first heard of it, in milliseconds since 1970.
        pub since_ms: u64,
    }
}

record! {
    /// One volume.
    pub struct Volume {
        /// Its id, which the region drew.
        pub id: VolumeId,
        /// Whose it is.
        pub owner: Account,
        /// What it is.
        pub shape: Shape,
        /// When it was asked for, in milliseconds since 1970.
        pub made_at_ms: u64,
        /// How far its life is.
        pub stage: Stage,
        /// Its owner's labels, in order of their keys.
        pub tags: Vec<Tag>,
        /// The name of the request that made it, if it had one.
        pub token: Option<String>,
        /// Which host has it, or is to have it.
        pub attachment: Option<Attachment>,
        /// How it was changed last.
        pub modification: Option<Modification>,
        /// Whether I/O is to go on by itself after it was stopped for fear of wrong data. Here it never is; the wish is kept.
        pub resumes_by_itself: bool,
    }
}

record! {
    /// What a request with a token made.
    pub struct Made {
        /// The volume.
        pub volume: VolumeId,
        /// A digest of what was asked.
        pub digest: u128,
        /// When, in milliseconds since 1970.
        pub at_ms: u64,
    }
}

record! {
    /// Whose metadata these are.
    pub(crate) struct Owner {
        /// Which region.
        pub(crate) region: ClusterId,
        /// Its name.
        pub(crate) name: String,
    }
}

/// Why a region does not start on the metadata that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The metadata are another region's.
    OtherRegion {
        /// The one that they name.
        recorded: String,
        /// The one that was started.
        expected: String,
    },
    /// There are records, and none says of which region.
    NoRegion {
        /// How many.
        records: usize,
    },
    /// A key that this build does not know.
    StrangeKey {
        /// Which.
        key: String,
    },
    /// A record of a version that this build does not know.
    Version {
        /// Where.
        key: String,
        /// Its version.
        version: u8,
    },
    /// A record whose bytes do not describe what its key says.
    Malformed {
        /// Where.
        key: String,
        /// What was being read.
        what: &'static str,
    },
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherRegion { recorded, expected } => write!(
                f,
                "the metadata belong to region {recorded}, and this process was started for {expected}; start it with the metadata of its own region"
            ),
            Self::NoRegion { records } => {
                write!(f, "the metadata have {records} records and none says of which region; restore them from a copy")
            }
            Self::StrangeKey { key } => {
                write!(f, "the metadata have a key {key:?} that this build does not know; use the build that wrote it")
            }
            Self::Version { key, version } => write!(
                f,
                "the record {key:?} has version {version}, and this build reads {VERSION}; use the build that wrote it"
            ),
            Self::Malformed { key, what } => {
                write!(f, "the record {key:?} is damaged (malformed {what}); restore the metadata from a copy")
            }
        }
    }
}

pub(crate) fn encode<T: Field>(value: &T) -> Bytes {
    let mut w = Writer::with_capacity(128);
    w.u8(VERSION);
    value.put(&mut w);
    Bytes::from(w.finish())
}

/// Reads a record. `since_first` are the bytes that one of version 1 lacks at its end.
fn decode<T: Field>(pair: &Pair, since_first: &[u8]) -> Result<T, Refused> {
    let malformed = |what: Malformed| Refused::Malformed { key: pair.key.clone(), what: what.what };
    let mut bytes = pair.value.to_vec();
    match bytes.first() {
        Some(&1) => bytes.extend(since_first),
        Some(&VERSION) => {}
        Some(&version) => return Err(Refused::Version { key: pair.key.clone(), version }),
        None => return Err(Refused::Malformed { key: pair.key.clone(), what: "record: it is empty" }),
    }
    let mut r = Reader::new(&bytes[1..]);
    let value = T::take(&mut r).map_err(malformed)?;
    r.end("record: bytes are left over").map_err(malformed)?;
    Ok(value)
}

/// Everything that was kept.
#[derive(Default)]
pub(crate) struct All {
    pub(crate) owner: Option<Owner>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) defaults: Vec<(Account, Defaults)>,
    pub(crate) tokens: Vec<((Account, String), Made)>,
    pub(crate) revisions: Vec<(Key, Revision)>,
}

/// Reads what was kept.
pub(crate) fn parse(pairs: &[Pair]) -> Result<All, Refused> {
    let mut all = All::default();
    for pair in pairs {
        let key = Key::parse(&pair.key).ok_or_else(|| Refused::StrangeKey { key: pair.key.clone() })?;
        match &key {
            Key::Region => all.owner = Some(decode(pair, &[])?),
            Key::Token(account, token) => all.tokens.push(((*account, token.clone()), decode(pair, &[])?)),
            Key::Volume(id) => {
                // It had no attachment, had not been changed, and nobody had a wish.
                let volume: Volume = decode(pair, &[0, 0, 0])?;
                if volume.id != *id {
                    let what = "record: it is of another volume than its key";
                    return Err(Refused::Malformed { key: pair.key.clone(), what });
                }
                all.volumes.push(volume);
            }
            Key::Account(account) => all.defaults.push((*account, decode(pair, &[])?)),
            Key::Host(id) => {
                let host: Host = decode(pair, &[])?;
                if host.id != *id {
                    let what = "record: it is of another host than its key";
                    return Err(Refused::Malformed { key: pair.key.clone(), what });
                }
                all.hosts.push(host);
            }
        }
        all.revisions.push((key, pair.revision));
    }
    Ok(all)
}
