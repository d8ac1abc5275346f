//! Names of things, each its own type so that one cannot stand where another is meant.

use crate::codec::{Field, Malformed, Reader, Writer};
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// An id was written in a form that is not its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadId {
    /// What kind of id was expected, with an example.
    pub expected: &'static str,
    /// What was given.
    pub given: String,
}

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not an id of the form {}", self.given, self.expected)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this. Overflow is a broken invariant: no counter here can live that long.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("a 64-bit counter overflowed"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Field for $name {
            fn put(&self, w: &mut Writer) { w.u64(self.0); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Ok(Self(r.u64()?)) }
        }
    };
}

counter! {
    /// Fencing: the zone issues it per shard, and each reconfiguration takes the next.
    Epoch
}
counter! {
    /// Order of the writes in one shard. The first write is 1; 0 is "nothing yet".
    Sequence
}
counter! {
    /// Which attachment may write to a volume. 0 is "never attached".
    Generation
}
counter! {
    /// Of the metadata store. 0 is "absent".
    Revision
}
counter! {
    /// Which run of a process this is. A restart takes a greater one.
    Incarnation
}

macro_rules! named {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $example:literal, decimal) => {
        named!(@common $(#[$doc])* $name);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "{}"), self.0) }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                s.strip_prefix($prefix)
                    .filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|d| d.parse().ok())
                    .map(Self)
                    .ok_or_else(|| BadId { expected: $example, given: s.into() })
            }
        }
    };
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $example:literal, hex) => {
        named!(@common $(#[$doc])* $name);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { write!(f, concat!($prefix, "{:017x}"), self.0) }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                s.strip_prefix($prefix)
                    .filter(|d| d.len() == 17 && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
                    .and_then(|d| u64::from_str_radix(d, 16).ok())
                    .map(Self)
                    .ok_or_else(|| BadId { expected: $example, given: s.into() })
            }
        }
    };
    (@common $(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl Field for $name {
            fn put(&self, w: &mut Writer) { w.u64(self.0); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Ok(Self(r.u64()?)) }
        }
    };
}

/// Which zone of a region, counted from 0. It never changes its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ZoneNumber(pub u16);

impl fmt::Display for ZoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zone-{}", self.0)
    }
}

impl Field for ZoneNumber {
    fn put(&self, w: &mut Writer) {
        w.u16(self.0);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        r.u16().map(Self)
    }
}

named! {
    /// A storage node: one disk, one loop, one core. Written `node-1`.
    NodeId, "node-", "node-1", decimal
}
named! {
    /// An attaching host (to EC2 users, the instance). Written `i-0` and 16 hexadecimal digits, as EC2 does.
    HostId, "i-", "i-0123456789abcdef0", hex
}
named! {
    /// A volume. Written `vol-0` and 16 hexadecimal digits, as EC2 does; only 64 bits of EC2's 68 are used.
    VolumeId, "vol-", "vol-00123456789abcdef", hex
}
named! {
    /// A frozen point of a shard, which keeps what was committed when it was sequenced. Written `point-1`.
    PointId, "point-", "point-1", decimal
}

impl ShardId {
    /// No shard: no volume has this number. Under this name a store keeps what its node itself must remember, in one order with all else.
    pub const NODE: Self = Self { volume: VolumeId(0), index: 0 };
}

/// A contiguous part of a volume, the unit of replication. Written `vol-…/3`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ShardId {
    /// The volume it is a part of.
    pub volume: VolumeId,
    /// Its place in the row of the volume's shards, from 0.
    pub index: u32,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.volume, self.index)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ShardId {
    type Err = BadId;
    fn from_str(s: &str) -> Result<Self, BadId> {
        let bad = || BadId { expected: "vol-00123456789abcdef/0", given: s.into() };
        let (volume, index) = s.split_once('/').ok_or_else(bad)?;
        Ok(Self { volume: volume.parse().map_err(|_| bad())?, index: index.parse().map_err(|_| bad())? })
    }
}

impl Field for ShardId {
    fn put(&self, w: &mut Writer) {
        w.u64(self.volume.0);
        w.u32(self.index);
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self { volume: VolumeId(r.u64()?), index: r.u32()? })
    }
}

macro_rules! uuid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u128);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let x = self.0;
                write!(
                    f, "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                    x >> 96, (x >> 80) & 0xffff, (x >> 64) & 0xffff, (x >> 48) & 0xffff, x & 0xffff_ffff_ffff
                )
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(s: &str) -> Result<Self, BadId> {
                let bad = || BadId { expected: "01234567-89ab-cdef-0123-456789abcdef", given: s.into() };
                let shape = s.len() == 36 && s.bytes().enumerate().all(|(i, b)| match i {
                    8 | 13 | 18 | 23 => b == b'-',
                    _ => matches!(b, b'0'..=b'9' | b'a'..=b'f'),
                });
                if !shape {
                    return Err(bad());
                }
                u128::from_str_radix(&s.replace('-', ""), 16).map(Self).map_err(|_| bad())
            }
        }
        impl Field for $name {
            fn put(&self, w: &mut Writer) { w.u128(self.0); }
            fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { Ok(Self(r.u128()?)) }
        }
    };
}

uuid! {
    /// One formatting of one disk. A node whose disk was replaced has another.
    StoreUuid
}
uuid! {
    /// The nodes of a zone that belong together; drawn when the zone's metadata is first made.
    ClusterId
}
uuid! {
    /// One start of an authority on its metadata; drawn anew at each, so that metadata that were put back are told from those that went on.
    MetaUuid
}
uuid! {
    /// Makes a user's request idempotent: the same id twice is one request.
    RequestId
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn ids_print_and_parse_in_their_one_form() {
        assert_eq!(VolumeId(0x0123_4567_89ab_cdef).to_string(), "vol-00123456789abcdef");
        assert_eq!("vol-00123456789abcdef".parse(), Ok(VolumeId(0x0123_4567_89ab_cdef)));
        assert_eq!("node-7".parse(), Ok(NodeId(7)));
        assert_eq!("vol-0000000000000000a/2".parse(), Ok(ShardId { volume: VolumeId(10), index: 2 }));
        let uuid = StoreUuid(0x0123_4567_89ab_cdef_0011_2233_4455_6677);
        assert_eq!(uuid.to_string().parse(), Ok(uuid));
    }

    #[test]
    fn a_malformed_id_is_refused_with_what_was_expected() {
        for bad in ["", "node-", "node-x", "node--1", "node-+1", "Node-1", "node-99999999999999999999999"] {
            assert!(bad.parse::<NodeId>().is_err(), "{bad}");
        }
        for bad in ["vol-1", "vol-0123456789ABCDEF0", "vol-f0123456789abcdef"] {
            assert!(bad.parse::<VolumeId>().is_err(), "{bad}");
        }
        let e = "nod-1".parse::<NodeId>().unwrap_err();
        assert_eq!(e.to_string(), "\"nod-1\" is not an id of the form node-1");
    }
}
