//! The zone's key: what every process of a zone proves that it has before a frame of it is believed.

use std::fmt;
use std::io::Read;
use std::path::Path;

/// Thirty-two secret bytes shared by all processes of a zone. Never printed.
#[derive(Clone)]
pub struct ZoneKey([u8; 32]);

/// A key file that cannot be used.
#[derive(Debug)]
pub enum BadKey {
    /// It could not be read.
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        why: std::io::Error,
    },
    /// It does not hold 64 hexadecimal digits.
    NotHex {
        /// Which file, or where the text came from.
        path: String,
    },
}

impl fmt::Display for BadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, why } => write!(f, "the zone key file {path} cannot be read: {why}"),
            Self::NotHex { path } => write!(
                f,
                "the zone key in {path} is not 64 hexadecimal digits; copy the file from a working member of the zone"
            ),
        }
    }
}

impl std::error::Error for BadKey {}

impl ZoneKey {
    /// From raw bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A new one, from the operating system's entropy.
    pub fn generate() -> Self {
        Self(crate::clock::entropy())
    }

    /// From a file of 64 hexadecimal digits; white space around them is allowed.
    pub fn read(path: &Path) -> Result<Self, BadKey> {
        let name = path.display().to_string();
        let mut text = String::new();
        // A few bytes more than a key: whatever else somebody pointed us to is not read into memory.
        let file = std::fs::File::open(path).and_then(|file| file.take(256).read_to_string(&mut text));
        file.map_err(|why| BadKey::Unreadable { path: name.clone(), why })?;
        Self::from_hex(text.trim()).ok_or(BadKey::NotHex { path: name })
    }

    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect::<Option<_>>()?;
        let pairs: Vec<u8> = digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, d| byte << 4 | d)).collect();
        (digits.len() == 64).then(|| Self(pairs.try_into().expect("64 digits are 32 bytes")))
    }

    /// As it stands in a key file. For whoever writes that file, and nobody else.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A key for one purpose only, so that a proof made for one can never stand for another.
    pub(crate) fn derive(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, &self.0)
    }
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZoneKey(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_file_and_is_not_printed() {
        let key = ZoneKey::generate();
        let path = std::env::temp_dir().join(format!("seawall-key-{:x}", crate::entropy_u64()));
        std::fs::write(&path, format!("{}\n", key.to_hex())).unwrap();
        let back = ZoneKey::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(back.to_hex(), key.to_hex());
        assert!(!format!("{key:?}").contains(&key.to_hex()[..8]));
        assert!(matches!(ZoneKey::read(&path), Err(BadKey::Unreadable { .. })));
    }

    #[test]
    fn what_is_not_a_key_is_refused() {
        let good = "ab".repeat(32);
        assert!(ZoneKey::from_hex(&good).is_some());
        for bad in ["", "ab", &"ab".repeat(33), &"xy".repeat(32), &good[..63]] {
            assert!(ZoneKey::from_hex(bad).is_none(), "{bad}");
        }
        let path = std::env::temp_dir().join(format!("seawall-key-{:x}", crate::entropy_u64()));
        std::fs::write(&path, "not a key").unwrap();
        let error = ZoneKey::read(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.to_string().contains("64 hexadecimal digits"), "{error}");
    }
}
