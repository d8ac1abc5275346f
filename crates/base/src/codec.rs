//! Little-endian bytes of plain values: what is sent and what is stored is written by these words only.
//!
//! A [`Reader`] never panics and never allocates more than its input could describe: every length is checked against
//! what is left before anything is made of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Bytes that do not describe what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed {
    /// What was being read.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.what)
    }
}

/// Appends values to bytes.
#[derive(Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty one with room.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }
    /// One byte.
    pub fn u8(&mut self, v: u8) {
        self.bytes.push(v);
    }
    /// Two bytes.
    pub fn u16(&mut self, v: u16) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }
    /// Four bytes.
    pub fn u32(&mut self, v: u32) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }
    /// Eight bytes.
    pub fn u64(&mut self, v: u64) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }
    /// Sixteen bytes.
    pub fn u128(&mut self, v: u128) {
        self.bytes.extend_from_slice(&v.to_le_bytes());
    }
    /// As they are, without a length.
    pub fn raw(&mut self, v: &[u8]) {
        self.bytes.extend_from_slice(v);
    }
    /// How many so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
    /// Whether nothing was written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes values off the front of bytes.
pub struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }
    /// The next `len` bytes.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        if len > self.left.len() {
            return Err(Malformed { what: "value: its bytes end too early" });
        }
        let (head, tail) = self.left.split_at(len);
        self.left = tail;
        Ok(head)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.raw(N)?.try_into().expect("raw returned N bytes"))
    }
    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// Sixteen bytes.
    pub fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }
    /// How many are left.
    pub fn left(&self) -> usize {
        self.left.len()
    }
    /// That all was read: bytes left over mean that sender and reader disagree about the shape.
    pub fn end(self, what: &'static str) -> Result<(), Malformed> {
        if self.left.is_empty() { Ok(()) } else { Err(Malformed { what }) }
    }
}

/// A value that can stand in a message or in a record on disk.
pub trait Field: Sized {
    /// Appends its bytes.
    fn put(&self, w: &mut Writer);
    /// Takes them off again.
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed>;

    /// Its bytes alone.
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.put(&mut w);
        w.finish()
    }
    /// From its bytes alone; anything left over is refused.
    fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut r = Reader::new(bytes);
        let value = Self::take(&mut r)?;
        r.end("value: bytes are left over")?;
        Ok(value)
    }
}

macro_rules! plain {
    ($($t:ident),*) => { $(impl Field for $t {
        fn put(&self, w: &mut Writer) { w.$t(*self); }
        fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> { r.$t() }
    })* };
}
plain!(u8, u16, u32, u64, u128);

impl Field for bool {
    fn put(&self, w: &mut Writer) {
        w.u8(u8::from(*self));
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        match r.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed { what: "truth value: neither 0 nor 1" }),
        }
    }
}

/// Exactly two, without a length.
impl<T: Field> Field for [T; 2] {
    fn put(&self, w: &mut Writer) {
        self.iter().for_each(|item| item.put(w));
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok([T::take(r)?, T::take(r)?])
    }
}

impl<T: Field> Field for Option<T> {
    fn put(&self, w: &mut Writer) {
        self.is_some().put(w);
        if let Some(value) = self {
            value.put(w);
        }
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(if bool::take(r)? { Some(T::take(r)?) } else { None })
    }
}

impl<T: Field> Field for Vec<T> {
    fn put(&self, w: &mut Writer) {
        w.u32(u32::try_from(self.len()).expect("a list longer than 2^32"));
        self.iter().for_each(|item| item.put(w));
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = r.u32()? as usize;
        // Every item takes a byte at least, so a length beyond what is left is a lie, not a reason to allocate.
        if len > r.left() {
            return Err(Malformed { what: "list: longer than its bytes" });
        }
        (0..len).map(|_| T::take(r)).collect()
    }
}

impl Field for String {
    fn put(&self, w: &mut Writer) {
        w.u32(u32::try_from(self.len()).expect("a text longer than 2^32"));
        w.raw(self.as_bytes());
    }
    fn take(r: &mut Reader<'_>) -> Result<Self, Malformed> {
        let len = r.u32()? as usize;
        let text = core::str::from_utf8(r.raw(len)?).map_err(|_| Malformed { what: "text: not UTF-8" })?;
        Ok(text.into())
    }
}

/// Declares a struct whose bytes are its fields in order.
#[macro_export]
macro_rules! record {
    ($(#[$doc:meta])* $vis:vis struct $name:ident { $($(#[$fdoc:meta])* $fvis:vis $field:ident : $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $vis struct $name { $($(#[$fdoc])* $fvis $field: $type,)* }
        impl $crate::codec::Field for $name {
            fn put(&self, w: &mut $crate::codec::Writer) { let _ = &w; $($crate::codec::Field::put(&self.$field, w);)* }
            fn take(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::Malformed> {
                let _ = &r;
                Ok(Self { $($field: <$type as $crate::codec::Field>::take(r)?,)* })
            }
        }
    };
}

/// Declares an enum whose bytes are a tag and then the fields of the variant in order. Tags are never reused.
#[macro_export]
macro_rules! choice {
    ($(#[$doc:meta])* pub enum $name:ident : $what:literal {
        $($(#[$vdoc:meta])* $tag:literal = $variant:ident $({ $($(#[$fdoc:meta])* $field:ident : $type:ty),* $(,)? })?,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant $({ $($(#[$fdoc])* $field: $type),* })?,)* }
        impl $crate::codec::Field for $name {
            fn put(&self, w: &mut $crate::codec::Writer) {
                match self {
                    $(Self::$variant $({ $($field),* })? => { w.u8($tag); $($($crate::codec::Field::put($field, w);)*)? })*
                }
            }
            fn take(r: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::Malformed> {
                Ok(match r.u8()? {
                    $($tag => Self::$variant $({ $($field: <$type as $crate::codec::Field>::take(r)?),* })?,)*
                    _ => return Err($crate::codec::Malformed { what: concat!($what, ": a tag that nobody gave") }),
                })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    record! {
        /// For the test.
        pub struct Sample { pub a: u32, pub b: Option<u64>, pub c: Vec<u16>, pub d: String, }
    }
    choice! {
        /// For the test.
        pub enum Pick: "pick" { 1 = Nothing, 2 = Number { n: u64 }, }
    }

    #[test]
    fn what_is_put_is_taken() {
        let sample = Sample { a: 1, b: Some(2), c: vec![3, 4], d: "five".into() };
        assert_eq!(Sample::from_bytes(&sample.to_bytes()), Ok(sample));
        assert_eq!(Pick::from_bytes(&Pick::Number { n: 9 }.to_bytes()), Ok(Pick::Number { n: 9 }));
        assert_eq!(Pick::from_bytes(&Pick::Nothing.to_bytes()), Ok(Pick::Nothing));
    }

    #[test]
    fn every_truncation_and_every_excess_is_refused() {
        let bytes = Sample { a: 1, b: Some(2), c: vec![3, 4], d: "five".into() }.to_bytes();
        for cut in 0..bytes.len() {
            assert!(Sample::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut more = bytes;
        more.push(0);
        assert!(Sample::from_bytes(&more).is_err());
        assert!(Pick::from_bytes(&[3]).is_err());
        assert!(bool::from_bytes(&[2]).is_err());
    }

    #[test]
    fn a_list_that_claims_more_than_it_has_allocates_nothing() {
        assert_eq!(
            Vec::<u64>::from_bytes(&[255, 255, 255, 255, 1]),
            Err(Malformed { what: "list: longer than its bytes" })
        );
    }
}
