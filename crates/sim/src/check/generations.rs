//! I9: one generation can write, and none reads stale. From the first answer of a shard through a generation on, nothing that is asked of it through an older one is
//! done any more. Shards change generations each by itself.
//!
//! It judges what clients were answered, each by itself; [`super::linear`] judges what follows from it, where two happened to touch the same block.

use crate::clock::Moment;
use base::Generation;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// When each generation first answered, of each shard of each volume.
#[derive(Debug, Default)]
pub struct Generations {
    first: BTreeMap<(u8, u32, Generation), Moment>,
}

impl Generations {
    /// Something that was asked of some shards at `invoked` was done.
    pub fn answered(
        &mut self,
        volume: u8,
        shards: RangeInclusive<u32>,
        through: Generation,
        invoked: Moment,
        now: Moment,
    ) -> Result<(), String> {
        for shard in shards {
            self.first.entry((volume, shard, through)).or_insert(now);
            let later = (volume, shard, through.next())..=(volume, shard, Generation(u64::MAX));
            if let Some(((.., later), first)) = self.first.range(later).find(|(_, first)| **first < invoked) {
                return Err(format!(
                    "I9: generation {through} of volume {volume} did what was asked of its shard {shard} after generation {later} had answered, at {first:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_of_an_older_generation_after_a_newer_one_has_answered_is_not_done() {
        let mut generations = Generations::default();
        let mut at = |volume, shards, generation, invoked, now| {
            generations.answered(volume, shards, Generation(generation), Moment(invoked), Moment(now))
        };
        assert_eq!(at(0, 3..=3, 2, 1, 2), Ok(()));
        assert_eq!(at(0, 1..=2, 1, 9, 10), Ok(()), "shard 3 is not there yet");
        assert!(at(0, 2..=3, 1, 9, 10).unwrap_err().starts_with("I9"));
        let mut done = |volume, generation, invoked, now| at(volume, 0..=0, generation, invoked, now);
        assert_eq!((done(0, 1, 10, 20), done(0, 2, 30, 40)), (Ok(()), Ok(())));
        assert_eq!(done(0, 1, 35, 50), Ok(()), "asked before");
        assert_eq!(done(1, 1, 45, 50), Ok(()), "another volume");
        assert!(done(0, 1, 45, 50).unwrap_err().starts_with("I9"));
        assert_eq!(done(0, 3, 60, 70), Ok(()));
        assert!(done(0, 2, 71, 80).is_err());
    }
}
