//! Any text, taken for a configuration file: shared by the seeded run of the tests and by fuzz/fuzz_targets/config.rs.

use crate::config::{FromFile, Host, Node, Zone};
use crate::refusal::Refusal;
use std::path::Path;

fn read<T: FromFile>(text: &str) -> bool {
    match T::read(text, Path::new("c.toml")) {
        Ok(mut config) => {
            config.settle(Path::new("/f"));
            true
        }
        Err(Refusal { text: why, .. }) => {
            let (file, rest) = why.split_once(", line ").expect("it is said where it is wrong");
            let line = rest.split_once(':').and_then(|(line, _)| line.parse::<usize>().ok());
            assert_eq!(file, "c.toml");
            assert!(line.is_some_and(|line| (1..=1 + text.matches('\n').count()).contains(&line)), "{why:?}");
            false
        }
    }
}

/// Reads a text as the file of each daemon. For how many it is one.
pub(crate) fn read_anything(bytes: &[u8]) -> u32 {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    [read::<Zone>(text), read::<Node>(text), read::<Host>(text)].into_iter().map(u32::from).sum()
}
