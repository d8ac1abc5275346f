//! What a loss of power may leave of writes that were not flushed: any subset of their pages, whatever the order in which they were written, one of them
//! torn at any boundary of 512 bytes.
//!
//! Where there are few pages all of that is gone through. Where there are many, what matters to a log is, and a sample of the rest:
//! - each write lost, whole, without its first page (its header), with nothing but it, or without its last, in all combinations: what decides where a chain
//!   of headers ends, and whether what hangs on the chain is there;
//! - one page missing, whichever; one page there, whichever; the pages up to one, and from one on: a header that is believed though something
//!   before or behind it is not there;
//! - each of these with that one page torn.

use crate::bench::disk::{Disk, SECTOR, written};
use base::{BLOCK_BYTES, Rng};
use std::collections::BTreeSet;

const SECTORS: u8 = (BLOCK_BYTES / SECTOR) as u8;
/// Places of superblocks.
const SUPERBLOCKS: u32 = 2;

/// How thoroughly to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// So many pages are gone through in full.
    pub full_pages: usize,
    /// Sectors from the start, and from the end, that are written of a torn page.
    pub torn_sectors: &'static [u8],
    /// States beside those that matter.
    pub sampled: u32,
    /// At most so many at one crash point; a sample of them if there are more.
    pub most: usize,
}

/// One write that was not flushed, page by page.
pub struct Page {
    pub place: u32,
    pub bytes: Vec<u8>,
    /// Which of the writes it belongs to.
    pub write: usize,
}

/// How much of a page is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Torn {
    /// So many sectors from the start.
    First(u8),
    /// So many sectors up to the end.
    Last(u8),
    /// A part of the first sector. No disk should do that; it stands for a sector that cannot be read, and superblocks are two so that either may be lost.
    WithinASector,
}

/// What is left of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// A bit for each page that is there.
    pub pages: u128,
    /// The one that is torn.
    pub torn: Option<(usize, Torn)>,
}

/// The pages that are not durable.
pub struct Unflushed {
    pub pages: Vec<Page>,
    writes: usize,
    /// The ways in which each page can be torn so that it is neither the old nor the new one.
    tears: Vec<Vec<Torn>>,
}

fn torn(mut old: Vec<u8>, new: &[u8], how: Torn) -> Vec<u8> {
    let range = match how {
        Torn::First(sectors) => 0..usize::from(sectors) * SECTOR,
        Torn::Last(sectors) => BLOCK_BYTES - usize::from(sectors) * SECTOR..BLOCK_BYTES,
        Torn::WithinASector => 0..100,
    };
    old[range.clone()].copy_from_slice(&new[range]);
    old
}

impl Unflushed {
    /// Whether there are not too many.
    pub fn fits(disk: &Disk) -> bool {
        disk.cache.len() + disk.flying.iter().map(|op| written(op).len()).sum::<usize>() <= 128
    }

    /// Of a disk, at this moment.
    pub fn of(disk: &Disk, effort: &Effort) -> Self {
        let mut pages: Vec<Page> =
            disk.cache.iter().map(|(&place, bytes)| Page { place, bytes: bytes.clone(), write: 0 }).collect();
        let mut writes = usize::from(!pages.is_empty());
        for op in &disk.flying {
            let blocks = written(op);
            let write = writes;
            writes += usize::from(!blocks.is_empty());
            pages.extend(blocks.into_iter().map(|(place, bytes)| Page { place, bytes, write }));
        }
        assert!(pages.len() <= 128, "{} pages in flight", pages.len());
        let tears = pages.iter().map(|page| tears(disk, page, effort)).collect();
        Self { pages, writes, tears }
    }

    /// Whether all subsets, with all tears, are few enough to go through.
    pub fn is_small(&self, effort: &Effort) -> bool {
        self.pages.len() <= effort.full_pages
    }

    /// What may be left, each once.
    pub fn all_left(&self, effort: &Effort, rng: &mut Rng) -> Vec<Left> {
        let mut all = BTreeSet::new();
        if self.is_small(effort) {
            for pages in 0..1 << self.pages.len() {
                self.with_tears(pages, 0..self.pages.len(), &mut all);
            }
        } else {
            self.those_that_matter(&mut all);
            for _ in 0..effort.sampled {
                let pages = rng.u128() & self.whole();
                let i = rng.below(self.pages.len() as u64) as usize;
                self.with_tears(pages, i..i + 1, &mut all);
            }
        }
        let mut all: Vec<Left> = all.into_iter().collect();
        if all.len() > effort.most {
            // Nothing and all of it come first.
            let at = all.iter().position(|left| left.pages == self.whole() && left.torn.is_none());
            all.swap(1, at.unwrap_or(1));
            rng.shuffle(&mut all[2..]);
            all.truncate(effort.most);
        }
        all
    }

    /// One of all that may be left.
    pub fn any_left(&self, rng: &mut Rng) -> Left {
        let pages = rng.u128() & self.whole();
        let i = rng.below(self.pages.len().max(1) as u64) as usize;
        let ways = self.tears.get(i).map_or(&[][..], Vec::as_slice);
        match rng.pick(ways) {
            Some(&how) if rng.chance(1, 2) => Left { pages: pages & !(1 << i), torn: Some((i, how)) },
            _ => Left { pages, torn: None },
        }
    }

    fn whole(&self) -> u128 {
        1_u128.checked_shl(self.pages.len() as u32).unwrap_or(0).wrapping_sub(1)
    }

    /// These pages, and these with each of some others torn beside them.
    fn with_tears(&self, pages: u128, torn: impl Iterator<Item = usize>, all: &mut BTreeSet<Left>) {
        all.insert(Left { pages, torn: None });
        for i in torn {
            let pages = pages & !(1 << i);
            all.extend(self.tears[i].iter().map(|&how| Left { pages, torn: Some((i, how)) }));
        }
    }

    fn those_that_matter(&self, all: &mut BTreeSet<Left>) {
        let (whole, count) = (self.whole(), self.pages.len());
        let of_write = |write| {
            let bits = self.pages.iter().enumerate().filter(move |(_, page)| page.write == write);
            let bits: Vec<u128> = bits.map(|(i, _)| 1 << i).collect();
            let (pages, first, last) = (bits.iter().sum::<u128>(), bits[0], bits[bits.len() - 1]);
            BTreeSet::from([0, pages, pages & !first, first, pages & !last])
        };
        // More than three writes at once are gone through in their order: all before one, this of it, and nothing or all behind.
        let mut combined = vec![0];
        for write in 0..self.writes {
            let ways = of_write(write);
            combined = if self.writes <= 3 {
                combined.iter().flat_map(|&before| ways.iter().map(move |&pages| before | pages)).collect()
            } else {
                let before = (0..write).map(|w| of_write(w).into_iter().max().unwrap_or(0)).sum::<u128>();
                let own = ways.iter().max().copied().unwrap_or(0);
                let behind = whole & !before & !own;
                let here = ways.iter().flat_map(|&pages| [before | pages, before | pages | behind, behind | pages]);
                combined.into_iter().chain(here).collect()
            };
        }
        all.extend(combined.into_iter().map(|pages| Left { pages, torn: None }));
        for i in 0..count {
            let one = 1 << i;
            for pages in [whole & !one, one, one - 1, whole & !(one - 1), 0] {
                self.with_tears(pages, i..i + 1, all);
            }
        }
    }

    /// The disk with what is left; nothing else of what was not durable.
    pub fn lay(&self, durable: &Disk, left: &Left) -> Disk {
        let mut disk = durable.clone();
        self.lay_on(&mut disk, left);
        disk
    }

    /// Lays what is left on the disk that it was taken from.
    pub fn lay_on(&self, disk: &mut Disk, left: &Left) {
        disk.cache.clear();
        disk.flying.clear();
        for (i, page) in self.pages.iter().enumerate() {
            if left.pages & (1 << i) != 0 {
                disk.media.insert(page.place, page.bytes.clone());
            } else if let Some((_, how)) = left.torn.filter(|(torn, _)| *torn == i) {
                disk.media.insert(page.place, torn(disk.durable(page.place), &page.bytes, how));
            }
        }
    }

    /// Whether something of a page, but not all of it, is left.
    pub fn is_torn(&self, left: &Left, is: impl Fn(&Page) -> bool) -> bool {
        left.torn.is_some_and(|(i, _)| is(&self.pages[i]))
    }

    /// Whether some of the pages that are such are left, and some are not.
    pub fn is_half(&self, left: &Left, is: impl Fn(&Page) -> bool) -> bool {
        let such = || self.pages.iter().enumerate().filter(|(_, page)| is(page));
        let there = such().filter(|(i, _)| left.pages & (1 << i) != 0).count();
        (there > 0 || self.is_torn(left, &is)) && there < such().count()
    }
}

fn tears(disk: &Disk, page: &Page, effort: &Effort) -> Vec<Torn> {
    let old = disk.durable(page.place);
    let ways = effort.torn_sectors.iter().flat_map(|&sectors| [Torn::First(sectors), Torn::Last(SECTORS - sectors)]);
    let ways = ways.chain((page.place < SUPERBLOCKS).then_some(Torn::WithinASector));
    let mut seen = vec![old.clone(), page.bytes.clone()];
    let mut tears = vec![];
    for how in ways {
        let bytes = torn(old.clone(), &page.bytes, how);
        if !seen.contains(&bytes) {
            seen.push(bytes);
            tears.push(how);
        }
    }
    tears
}
