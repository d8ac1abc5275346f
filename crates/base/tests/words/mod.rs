//! Any text, taken for what people write: sizes and names. Shared by the seeded run of the tests and by fuzz/fuzz_targets/words.rs.

use base::size::Size;
use base::{ClusterId, HostId, NodeId, PointId, RequestId, ShardId, StoreUuid, VolumeId};
use std::fmt::{Debug, Display};
use std::str::FromStr;

/// What is understood can be said, is understood again, and means the same.
fn read<T: FromStr<Err: Display> + Display + Debug + PartialEq>(text: &str) -> bool {
    match text.parse::<T>() {
        Ok(value) => {
            let again = value.to_string();
            assert_eq!(
                again.parse::<T>().ok().as_ref(),
                Some(&value),
                "{text:?} is {value:?}, which is written {again:?}"
            );
            true
        }
        // Whoever wrote it is told what was meant.
        Err(why) => {
            assert!(!why.to_string().is_empty());
            false
        }
    }
}

/// Reads a text as each of them. As how many it can be read.
pub fn read_anything(bytes: &[u8]) -> u32 {
    let Ok(text) = std::str::from_utf8(bytes) else { return 0 };
    let all = [
        read::<Size>(text),
        read::<NodeId>(text),
        read::<HostId>(text),
        read::<VolumeId>(text),
        read::<PointId>(text),
        read::<ShardId>(text),
        read::<ClusterId>(text),
        read::<StoreUuid>(text),
        read::<RequestId>(text),
    ];
    all.into_iter().map(u32::from).sum()
}
