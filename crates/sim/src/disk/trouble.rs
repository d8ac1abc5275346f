//! What can be wrong with a disk: rot of several kinds, operations that fail, a disk that is stuck, and one that lied and does so no more.
//!
//! Rot strikes what is durable, and remembers what was there, so that a judge who looks at one disk alone can put it back. All else is what an honest operating system
//! says of a drive: an error, or nothing.

use super::{Disk, PAGE, pages};
use base::io::disk::{Done, Fault, Op};
use base::{Payload, Rng};

/// An input/output error, as Linux numbers it.
const EIO: Fault = Fault::Os(5);

/// How much of what a disk is asked fails, in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failing {
    /// Of reads.
    pub reads: u64,
    /// Of writes, and of zeroing.
    pub writes: u64,
    /// Of flushes.
    pub flushes: u64,
}

impl Disk {
    /// From now on so much fails; nothing by default.
    pub fn set_failing(&mut self, failing: Failing) {
        self.failing = failing;
    }

    /// Whether reads of it fail now.
    pub fn fails_reads(&self) -> bool {
        self.failing.reads > 0
    }

    /// A process begins to use it: what failed before concerns others.
    pub fn is_opened(&mut self) {
        self.failed = 0;
    }

    /// Whether it failed the process that uses it, or lies.
    pub fn is_to_blame(&self) -> bool {
        self.failed > 0 || self.is_liar()
    }

    /// Whether it lies or did.
    pub fn is_liar(&self) -> bool {
        self.lies || self.has_lied
    }

    pub(super) fn fails(&mut self, op: &Op) -> bool {
        let per_mille = match op {
            Op::Read { .. } => self.failing.reads,
            Op::Write { .. } | Op::Zero { .. } => self.failing.writes,
            Op::Flush { .. } => self.failing.flushes,
        };
        per_mille > 0 && self.rng.chance(per_mille, 1000)
    }

    /// Ends an operation badly. A write has left any part of itself; after a flush the cache may have forgotten what it held, as a kernel that marks pages clean that it
    /// could not write (the PostgreSQL project's "fsyncgate", 2018).
    pub(super) fn fail(&mut self, op: Op) -> Done {
        self.failed += 1;
        let id = op.id();
        match op {
            Op::Read { .. } => {}
            Op::Write { at, parts, .. } => {
                pages(at, &parts).for_each(|(page, new)| self.perhaps(page, Some(new), false))
            }
            Op::Zero { at, len, .. } => (at / PAGE..(at + len) / PAGE).for_each(|page| self.perhaps(page, None, false)),
            Op::Flush { .. } => {
                for (page, versions) in std::mem::take(&mut self.cached) {
                    if self.rng.chance(1, 4) {
                        self.lose_cache(page, versions);
                    } else {
                        self.cached.insert(page, versions);
                    }
                }
            }
        }
        Done { id, result: Err(EIO) }
    }

    /// From now on nothing ends.
    pub fn stick(&mut self) {
        self.is_stuck = true;
    }

    /// Whether an operation that would end now does not; it is kept until [`Self::go_on`].
    pub(crate) fn keeps(&mut self, run: u32, serial: u64) -> bool {
        if self.is_stuck {
            self.held.push((run, serial));
        }
        self.is_stuck
    }

    /// It is stuck no more: what would have ended meanwhile, in which run of its process.
    pub(crate) fn go_on(&mut self) -> Vec<(u32, u64)> {
        self.is_stuck = false;
        std::mem::take(&mut self.held)
    }

    /// It lies no more, and what it holds is durable.
    pub fn reform(&mut self) {
        self.has_lied |= std::mem::take(&mut self.lies);
        self.settle(u64::MAX);
    }

    /// Lets the page at this byte rot, if it is durable and sound: some bits flip, no read of it succeeds, it is as it was before it was ever written (a write was lost), or
    /// another page's content is there (a write was misdirected, or the address of a read).
    pub fn rot(&mut self, at: u64, rng: &mut Rng) -> bool {
        self.rot_as(at, rng, true)
    }

    /// Whether it has pages of which no read succeeds.
    pub fn has_unreadable(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// The same, with reads that fail for it or without.
    pub fn rot_as(&mut self, at: u64, rng: &mut Rng, reads_may_fail: bool) -> bool {
        let page = at / PAGE;
        if self.cached.contains_key(&page) || self.rotten.contains_key(&page) {
            return false;
        }
        let Some(Some(good)) = self.durable.get(&page).cloned() else { return false };
        let bad = match rng.below(6) {
            0 | 1 if reads_may_fail => {
                self.rotten.insert(page, good);
                return self.unreadable.insert(page);
            }
            2 => None,
            3 => self.durable.get(&(page + rng.within(1, 8))).cloned().flatten(),
            _ => Some(flipped(&good, rng)),
        };
        if bad.as_ref().map_or_else(|| good.iter().all(|byte| *byte == 0), |bad| bad[..] == good[..]) {
            return false;
        }
        self.durable.insert(page, bad);
        self.rotten.insert(page, good);
        true
    }

    /// What rotted and was never met is as it was.
    pub fn heal(&mut self) {
        self.unreadable.clear();
        for (page, good) in std::mem::take(&mut self.rotten) {
            self.durable.insert(page, Some(good));
        }
    }
}

fn flipped(good: &Payload, rng: &mut Rng) -> Payload {
    let mut bytes = good.to_vec();
    for _ in 0..rng.within(1, 8) {
        bytes[rng.below(PAGE) as usize] ^= 1 << rng.below(8);
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{disk, page_of, read, write};
    use super::*;
    use base::BLOCK_BYTES;
    use base::io::disk::OpId;
    use std::collections::BTreeSet;

    #[test]
    fn a_page_rots_only_when_it_is_durable_and_heals_only_if_nothing_was_written_over_it() {
        let mut unreadable = BTreeSet::new();
        for seed in 0..20 {
            let (mut rng, mut disk) = (Rng::new(seed), disk(1));
            for (page, durable) in [(0, true), (1, false), (2, true), (4, true)] {
                let serial = write(&mut disk, page, 20 + page as u8, durable);
                disk.end(serial);
            }
            assert_eq!([0, 1, 2, 3].map(|page| disk.rot(page * PAGE, &mut rng)), [true, false, true, false]);
            assert!(!disk.rot(0, &mut rng), "once is enough");
            for page in [0, 2] {
                // Wrong, or not to be had, whoever reads beyond it too.
                let (serial, _) = disk.submit(Op::Read { id: OpId(2), at: page * PAGE, len: 2 * PAGE as u32 });
                let result = disk.end(serial).unwrap().result;
                unreadable.insert(result.is_err());
                assert!(
                    result.is_ok_and(|bytes| bytes[..PAGE as usize] != page_of(20 + page as u8)[..])
                        != disk.unreadable.contains(&page)
                );
            }
            assert_eq!(read(&mut disk, 4), page_of(24), "the others are as they were");
            let serial = write(&mut disk, 2, 9, true);
            disk.end(serial);
            assert_eq!(read(&mut disk, 2), page_of(9));
            disk.heal();
            assert_eq!((read(&mut disk, 0), read(&mut disk, 2)), (page_of(20), page_of(9)));
        }
        assert_eq!(unreadable.len(), 2, "some are wrong, and some cannot be read");
    }

    #[test]
    fn rot_is_wrong_bits_lost_and_misdirected_writes_and_errors() {
        let mut kinds = BTreeSet::new();
        for seed in 0..60 {
            let (mut rng, mut disk) = (Rng::new(seed), disk(1));
            for page in 0..10 {
                let serial = write(&mut disk, page, 10 + page as u8, true);
                disk.end(serial);
            }
            if !disk.rot(PAGE, &mut rng) {
                continue;
            }
            let (serial, _) = disk.submit(Op::Read { id: OpId(2), at: PAGE, len: BLOCK_BYTES as u32 });
            kinds.insert(match disk.end(serial).unwrap().result {
                Err(_) => "unreadable",
                Ok(bytes) if bytes == page_of(0) => "lost",
                Ok(bytes) if (12..=19).any(|byte| bytes == page_of(byte)) => "misdirected",
                Ok(_) => "flipped",
            });
            disk.heal();
            assert_eq!(read(&mut disk, 1), page_of(11));
        }
        assert_eq!(kinds.len(), 4, "{kinds:?}");
    }

    #[test]
    fn what_fails_says_so_and_a_failed_write_leaves_any_part_of_itself() {
        let mut left = BTreeSet::new();
        for seed in 0..100 {
            let mut disk = disk(seed);
            let first = write(&mut disk, 0, 1, true);
            disk.end(first);
            disk.set_failing(Failing { writes: 1000, ..Failing::default() });
            let second = write(&mut disk, 0, 2, true);
            assert!(disk.end(second).is_some_and(|done| matches!(done.result, Err(EIO))));
            assert!(disk.is_to_blame() && !disk.fails_reads());
            disk.set_failing(Failing::default());
            let found = read(&mut disk, 0);
            left.insert((found == page_of(1), found == page_of(2)));
            disk.is_opened();
            assert!(!disk.is_to_blame());
        }
        assert_eq!(left.len(), 3, "old, new and torn: {left:?}");
    }

    #[test]
    fn after_a_failed_flush_the_cache_may_have_forgotten_and_what_was_durable_has_not() {
        let mut forgot = 0;
        for seed in 0..100 {
            let mut disk = disk(seed);
            for (page, durable) in [(0, true), (1, false)] {
                let serial = write(&mut disk, page, 1, durable);
                disk.end(serial);
            }
            disk.set_failing(Failing { flushes: 1000, ..Failing::default() });
            let (flush, _) = disk.submit(Op::Flush { id: OpId(3) });
            assert!(disk.end(flush).is_some_and(|done| done.result.is_err()));
            assert_eq!(read(&mut disk, 0), page_of(1));
            forgot += u32::from(read(&mut disk, 1) != page_of(1));
        }
        assert!((3..60).contains(&forgot), "{forgot}");
    }

    #[test]
    fn a_stuck_disk_keeps_what_would_end_until_it_goes_on_and_a_crash_forgets_it() {
        let mut disk = disk(1);
        let serial = write(&mut disk, 0, 1, true);
        assert!(!disk.keeps(1, serial));
        disk.stick();
        assert!(disk.keeps(1, serial));
        assert_eq!((disk.go_on(), disk.keeps(1, serial)), (vec![(1, serial)], false));
        disk.stick();
        assert!(disk.keeps(1, serial));
        disk.crash(false);
        assert_eq!(disk.go_on(), []);
    }

    #[test]
    fn a_disk_that_lies_no_more_keeps_what_it_has() {
        let mut disk = disk(1);
        disk.lies = true;
        let serial = write(&mut disk, 0, 1, true);
        disk.end(serial);
        disk.reform();
        disk.crash(true);
        assert_eq!(read(&mut disk, 0), page_of(1));
        assert!(disk.is_liar() && disk.is_to_blame(), "what it had lost before is lost");
    }
}
