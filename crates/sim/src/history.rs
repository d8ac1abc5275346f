//! What clients did and saw, and the stamps by which a read tells which write it saw.
//!
//! A volume is an array of independent registers, one per grain (512 bytes or a block, as the volume's client writes). A stamp fills its
//! grain with one repeated word that names the write and the place, so a grain that is torn, stale or misplaced shows.
//! The word 0 is "never written, or trimmed".

use crate::check::linear::{Access, What};
use crate::clock::Moment;
use base::{Generation, VolumeId};
use std::collections::BTreeMap;
use std::fmt;

/// The content of one grain; 0 reads as zeroes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

/// Grains of a volume at most, so that a place fits into a stamp.
pub const GRAINS_MAX: u64 = 1 << 20;

impl Stamp {
    /// Nothing is known of what is there.
    const UNTOLD: Self = Self(u64::MAX);

    /// Names a write to a place.
    pub fn new(op: u64, volume: u8, grain: u64) -> Self {
        assert!(grain < GRAINS_MAX && volume < 16 && op < 1 << 39, "a stamp has no room for this");
        Self((op + 1) << 24 | u64::from(volume) << 20 | grain)
    }

    /// Fills grains with their stamps.
    pub fn fill(bytes: &mut Vec<u8>, op: u64, volume: u8, grains: std::ops::Range<u64>, grain_bytes: usize) {
        for grain in grains {
            let word = Self::new(op, volume, grain).0.to_le_bytes();
            bytes.resize(bytes.len() + grain_bytes, 0);
            let at = bytes.len() - grain_bytes;
            bytes[at..].chunks_exact_mut(8).for_each(|slot| slot.copy_from_slice(&word));
        }
    }

    /// Reads a grain back; what no single write to this place could have left is an error.
    pub fn read(bytes: &[u8], volume: u8, grain: u64) -> Result<Self, Garbage> {
        let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        let first = word(&bytes[..8]);
        let torn = bytes.chunks_exact(8).any(|chunk| word(chunk) != first);
        let misplaced = first != 0 && first & 0xff_ffff != u64::from(volume) << 20 | grain;
        let other = word(&bytes[bytes.len() - 8..]);
        if torn || misplaced { Err(Garbage { first: Self(first), last: Self(other) }) } else { Ok(Self(first)) }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("zeroes"),
            word => write!(f, "op {} (volume {} grain {})", (word >> 24) - 1, word >> 20 & 15, word & 0xf_ffff),
        }
    }
}

/// A grain that holds what nobody wrote there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbage {
    /// Its first word.
    pub first: Stamp,
    /// Its last.
    pub last: Stamp,
}

/// What a client asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read.
    Read,
    /// Write stamps.
    Write,
    /// Make them zeroes.
    Trim,
    /// Ask where nothing is written.
    Map,
}

impl Kind {
    /// Whether it changes what is there.
    pub fn changes(self) -> bool {
        matches!(self, Self::Write | Self::Trim)
    }
}

/// One operation of a client.
#[derive(Debug, Clone)]
pub struct Operation {
    /// On which volume, by its place in the world's row of volumes.
    pub volume: u8,
    /// What.
    pub kind: Kind,
    /// From which grain.
    pub grain: u64,
    /// How many.
    pub count: u64,
    /// Through which attachment.
    pub generation: Generation,
    /// When it was asked.
    pub invoked: Moment,
    /// When it was answered well; never, if it was answered otherwise or not at all.
    pub returned: Option<Moment>,
    /// What a read saw, grain by grain; zeroes are all that a map sees.
    pub saw: Vec<Stamp>,
}

/// All operations of all clients, numbered in the order in which they were asked.
#[derive(Debug, Default)]
pub struct History {
    ops: Vec<Operation>,
    grain_bytes: BTreeMap<u8, usize>,
}

impl History {
    /// Says in which grains a volume is written.
    pub fn add_volume(&mut self, volume: u8, grain_bytes: usize) {
        self.grain_bytes.insert(volume, grain_bytes);
    }

    /// Bytes of a grain of a volume.
    pub fn grain_bytes(&self, volume: u8) -> usize {
        self.grain_bytes[&volume]
    }

    /// The number that the next operation will have: its stamp needs it.
    pub fn next(&self) -> u64 {
        self.ops.len() as u64
    }

    /// An operation is asked; its number.
    pub fn invoke(&mut self, op: Operation) -> u64 {
        self.ops.push(op);
        self.ops.len() as u64 - 1
    }

    /// It was answered well; `bytes` are a read's.
    pub fn finish(&mut self, op: u64, at: Moment, bytes: &[u8]) -> Result<(), String> {
        let record = &mut self.ops[op as usize];
        assert!(record.returned.is_none(), "operation {op} was answered twice");
        record.returned = Some(at);
        if record.kind == Kind::Read {
            let size = self.grain_bytes[&record.volume];
            if bytes.len() != record.count as usize * size {
                return Err(format!("operation {op} read {} bytes instead of {} grains", bytes.len(), record.count));
            }
            for (grain, bytes) in (record.grain..).zip(bytes.chunks_exact(size)) {
                match Stamp::read(bytes, record.volume, grain) {
                    Ok(stamp) => record.saw.push(stamp),
                    Err(garbage) => {
                        return Err(format!(
                            "operation {op}: grain {grain} of volume {} holds {garbage:?}",
                            record.volume
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// It was told of stretches from its first byte on: their lengths, and whether they read as zeroes because nothing is written there.
    pub fn finish_map(&mut self, op: u64, at: Moment, stretches: &[(u64, bool)]) {
        let record = &mut self.ops[op as usize];
        assert!(record.returned.is_none() && record.kind == Kind::Map, "operation {op} was answered twice");
        record.returned = Some(at);
        record.saw = vec![Stamp::UNTOLD; record.count as usize];
        let size = self.grain_bytes[&record.volume] as u64;
        let mut end = 0;
        for (len, is_hole) in stretches {
            let start = end;
            end += len;
            if *is_hole {
                record.saw[start.div_ceil(size) as usize..(end / size) as usize].fill(Stamp(0));
            }
        }
    }

    /// One operation.
    pub fn op(&self, op: u64) -> &Operation {
        &self.ops[op as usize]
    }

    /// How many were asked.
    pub fn len(&self) -> u64 {
        self.ops.len() as u64
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// What was last read of each grain of a volume.
    pub fn last_seen(&self, volume: u8) -> BTreeMap<u64, u64> {
        let mut seen = BTreeMap::new();
        for op in self.ops.iter().filter(|op| op.volume == volume && op.kind == Kind::Read) {
            seen.extend((op.grain..).zip(op.saw.iter().map(|stamp| stamp.0)));
        }
        seen
    }

    /// How many were answered well.
    pub fn answered(&self) -> u64 {
        self.ops.iter().filter(|op| op.returned.is_some()).count() as u64
    }

    /// Each register with what was done to it, in order of asking.
    ///
    /// A write without an answer may take effect at any time until its attachment is fenced: after the first answer through a later
    /// generation it is done or it never will be (I9).
    pub fn registers(&self) -> BTreeMap<(u8, u64), Vec<Access>> {
        let mut registers: BTreeMap<(u8, u64), Vec<Access>> = BTreeMap::new();
        for (number, op) in (0..).zip(&self.ops) {
            for i in 0..op.count {
                let grain = op.grain + i;
                let what = match op.kind {
                    Kind::Write => What::Write(Stamp::new(number, op.volume, grain).0),
                    Kind::Trim => What::Write(0),
                    Kind::Read | Kind::Map if op.returned.is_none() => continue,
                    Kind::Map if op.saw[i as usize] == Stamp::UNTOLD => continue,
                    Kind::Read | Kind::Map => What::Read(op.saw[i as usize].0),
                };
                let access = Access { op: number, what, invoked: op.invoked, returned: op.returned, fenced: None };
                registers.entry((op.volume, grain)).or_default().push(access);
            }
        }
        for accesses in registers.values_mut() {
            self.fence(accesses);
        }
        registers
    }

    fn fence(&self, accesses: &mut [Access]) {
        let mut firsts: BTreeMap<Generation, Moment> = BTreeMap::new();
        for access in accesses.iter() {
            if let Some(returned) = access.returned {
                let first = firsts.entry(self.ops[access.op as usize].generation).or_insert(returned);
                *first = (*first).min(returned);
            }
        }
        for access in accesses.iter_mut().filter(|access| access.returned.is_none()) {
            let later = firsts.range(self.ops[access.op as usize].generation.next()..);
            access.fenced = later.map(|(_, first)| *first).min();
        }
    }

    /// Bytes and blocks are named by ids in the world; here by their place.
    pub fn place_of(volumes: &[VolumeId], volume: VolumeId) -> Option<u8> {
        volumes.iter().position(|v| *v == volume).map(|i| i as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_at_its_place_and_nowhere_else() {
        let mut bytes = Vec::new();
        Stamp::fill(&mut bytes, 7, 2, 10..12, 512);
        assert_eq!(Stamp::read(&bytes[..512], 2, 10), Ok(Stamp::new(7, 2, 10)));
        assert_eq!(Stamp::read(&bytes[512..], 2, 11), Ok(Stamp::new(7, 2, 11)));
        assert!(Stamp::read(&bytes[..512], 2, 11).is_err(), "misplaced");
        assert!(Stamp::read(&bytes[..512], 3, 10).is_err(), "of another volume");
        assert!(Stamp::read(&bytes[256..768], 2, 10).is_err(), "torn");
        assert_eq!(Stamp::read(&[0; 512], 2, 10), Ok(Stamp(0)));
    }

    #[test]
    fn a_map_is_a_read_of_zeroes_where_a_whole_grain_is_a_hole() {
        let mut history = History::default();
        history.add_volume(0, 512);
        let (generation, invoked, returned, saw) = (Generation(1), Moment(10), None, vec![]);
        let map = Operation { volume: 0, kind: Kind::Map, grain: 5, count: 4, generation, invoked, returned, saw };
        let number = history.invoke(map.clone());
        history.invoke(map);
        // It is told of less than it asked about.
        history.finish_map(number, Moment(20), &[(100, false), (1400, true)]);
        let registers = history.registers();
        let seen: Vec<_> = registers.iter().map(|((_, grain), row)| (*grain, row.len(), row[0].what)).collect();
        assert_eq!(seen, [(6, 1, What::Read(0))], "of the first a part is written, of the third not all was told");
        assert_eq!(history.last_seen(0).len(), 0);
    }

    #[test]
    fn a_write_of_an_old_attachment_is_fenced_by_the_first_answer_of_a_newer_one() {
        let mut history = History::default();
        history.add_volume(0, 512);
        let op = |kind, generation, at| Operation {
            volume: 0,
            kind,
            grain: 5,
            count: 1,
            generation: Generation(generation),
            invoked: Moment(at),
            returned: None,
            saw: vec![],
        };
        history.invoke(op(Kind::Write, 1, 10));
        let trim = history.invoke(op(Kind::Trim, 2, 20));
        history.finish(trim, Moment(30), &[]).unwrap();
        history.invoke(op(Kind::Write, 2, 40));
        let registers = history.registers();
        let fences: Vec<_> = registers[&(0, 5)].iter().map(|access| access.fenced).collect();
        assert_eq!(fences, [Some(Moment(30)), None, None]);
        assert_eq!((history.len(), history.answered()), (3, 1));
    }
}
