//! Sizes as people write them: `8GiB`.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

/// A number of bytes that prints and parses as `8GiB`, `512KiB`, `4096`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Size(pub u64);

/// A size was written in a form that is not one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSize(pub String);

impl fmt::Display for BadSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is not a size; write a whole number and a unit, such as 512MiB or 8GiB", self.0)
    }
}

const UNITS: [(&str, u32); 5] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, shift)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift));
        let (unit, shift) = exact.unwrap_or(&("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl FromStr for Size {
    type Err = BadSize;
    fn from_str(s: &str) -> Result<Self, BadSize> {
        let bad = || BadSize(s.into());
        let split = s.find(|c: char| !c.is_ascii_digit()).unwrap_or(s.len());
        let (digits, unit) = s.split_at(split);
        let number: u64 = digits.parse().map_err(|_| bad())?;
        let shift = if unit.is_empty() { 0 } else { UNITS.iter().find(|(u, _)| *u == unit).ok_or_else(bad)?.1 };
        number.checked_mul(1 << shift).map(Self).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn sizes_print_as_they_parse() {
        for (text, bytes) in [("8GiB", 8 << 30), ("512KiB", 512 << 10), ("1TiB", 1 << 40), ("4097B", 4097), ("0B", 0)] {
            assert_eq!(text.parse(), Ok(Size(bytes)));
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!("1024".parse(), Ok(Size(1024)));
        for bad in ["", "GiB", "8GB", "8 GiB", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
