//! What moves a world's bytes, by the words of a configuration.

use std::fmt;
use std::str::FromStr;

/// Which driver moves a world's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Driver {
    /// io_uring, or epoll where the kernel or a container forbids it.
    #[default]
    Auto,
    /// io_uring and nothing else.
    IoUring,
    /// epoll for sockets, threads with positioned reads and writes for the disk.
    Epoll,
}

impl Driver {
    /// As people write them.
    const NAMES: [(&'static str, Self); 3] =
        [("auto", Self::Auto), ("io_uring", Self::IoUring), ("epoll", Self::Epoll)];
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::NAMES.iter().find(|(_, driver)| driver == self);
        f.write_str(named.expect("every driver has a name").0)
    }
}

/// A word that names no driver. Says which there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoSuchDriver(String);

impl fmt::Display for NoSuchDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Driver::NAMES.map(|(name, _)| format!("{name:?}")).join(", ");
        write!(f, "{:?} is no driver; there are {names}", self.0)
    }
}

impl std::error::Error for NoSuchDriver {}

impl FromStr for Driver {
    type Err = NoSuchDriver;
    fn from_str(text: &str) -> Result<Self, NoSuchDriver> {
        let named = Self::NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, driver)| *driver).ok_or_else(|| NoSuchDriver(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drivers_are_known_by_name_and_another_name_is_told_which_there_are() {
        for (name, driver) in Driver::NAMES {
            assert_eq!((name.parse(), driver.to_string()), (Ok(driver), name.to_string()));
        }
        let error = "aio".parse::<Driver>().unwrap_err().to_string();
        assert_eq!(error, "\"aio\" is no driver; there are \"auto\", \"io_uring\", \"epoll\"");
    }
}
