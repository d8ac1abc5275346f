//! The file that turns faults of a disk on and off while its process runs.
//!
//! It lies beside the disk, at the disk's path with `.faults` behind it, and is looked at by the next operation, at most every ten
//! milliseconds. One fault a line; a fault holds as long as its line is there, but for `gone`. No file is no fault. A line that
//! makes no sense is an error in the log, and the others hold.
//!
//! | line | what happens |
//! |---|---|
//! | `fail read` | every read ends in EIO |
//! | `fail write` | every write does |
//! | `fail flush` | every flush does, and every write that is to be durable |
//! | `fail read after 100` | likewise, once a hundred have been let through since the file changed; also of `write` and `flush` |
//! | `fail read of 8192 to 16384` | every read does that touches one of the bytes from 8192 on and before 16384; there may be many such lines |
//! | `slow 20` | what takes a time takes twenty times that |
//! | `lost-flush` | flushes and durable writes say that they did, and did nothing that outlives the process |
//! | `gone` | everything ends in ENODEV from now on, what is under way too; nothing brings the disk back |
//! | `# anything` | nothing |

use crate::log::Log;
use base::Time;
use base::io::disk::{Fault, Op};
use base::time::Duration;
use std::fmt;
use std::path::{Path, PathBuf};

/// Between looks at the file.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A disk is not made slower than so many times.
const SLOW_MAX: u32 = 10_000;

/// Operations of one kind that are still let through, where the others fail.
type Fail = Option<u64>;

/// The faults that hold.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Faults {
    read: Fail,
    /// Bytes that no read may touch: the first, and the one behind the last.
    unreadable: Vec<(u64, u64)>,
    write: Fail,
    flush: Fail,
    slow: u32,
    lost_flush: bool,
    gone: bool,
}

impl Default for Faults {
    fn default() -> Self {
        let unreadable = Vec::new();
        Self { read: None, unreadable, write: None, flush: None, slow: 1, lost_flush: false, gone: false }
    }
}

impl fmt::Display for Faults {
    /// Of ranges, of which there may be hundreds, only how many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, unreadable, write, flush, slow, lost_flush, gone } = self;
        let ranges = unreadable.len();
        write!(f, "read {read:?}, {ranges} ranges of reads, write {write:?}, flush {flush:?}, slow {slow}, ")?;
        write!(f, "lost-flush {lost_flush}, gone {gone}")
    }
}

impl Faults {
    /// Adds what a line says.
    fn line(&mut self, line: &str) -> Result<(), &'static str> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().map_err(|_| "a number was expected");
        match words[..] {
            [] => {}
            [word, ..] if word.starts_with('#') => {}
            ["fail", kind] => *self.kind(kind)? = Some(0),
            ["fail", kind, "after", count] => *self.kind(kind)? = Some(number(count)?),
            ["fail", "read", "of", from, "to", end] => self.unreadable.push((number(from)?, number(end)?)),
            ["slow", times] => {
                let times = number(times)?;
                let fits = u32::try_from(times).ok().filter(|times| (1..=SLOW_MAX).contains(times));
                self.slow = fits.ok_or("a disk can be 1 to 10000 times slower")?;
            }
            ["lost-flush"] => self.lost_flush = true,
            ["gone"] => self.gone = true,
            _ => return Err("there is no such fault; there are fail, slow, lost-flush and gone"),
        }
        Ok(())
    }

    fn kind(&mut self, kind: &str) -> Result<&mut Fail, &'static str> {
        match kind {
            "read" => Ok(&mut self.read),
            "write" => Ok(&mut self.write),
            "flush" => Ok(&mut self.flush),
            _ => Err("read, write or flush can fail"),
        }
    }
}

/// Whether an operation of this kind fails now; counts it when it does not.
fn fails(fail: &mut Fail) -> bool {
    match fail {
        None => false,
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
    }
}

/// The file, and what it said last.
#[derive(Debug)]
pub struct Switch {
    path: PathBuf,
    text: String,
    next_look: Time,
    faults: Faults,
}

impl Switch {
    /// Of the disk at this path.
    pub fn new(disk: &Path) -> Self {
        let mut path = disk.as_os_str().to_owned();
        path.push(".faults");
        Self { path: path.into(), text: String::new(), next_look: Time::ZERO, faults: Faults::default() }
    }

    /// Looks at the file, when it is time to.
    pub fn look(&mut self, now: Time, log: &mut Log) {
        if now < self.next_look {
            return;
        }
        self.next_look = now + LOOK_EVERY;
        self.look_now(now, log);
    }

    /// Looks at the file.
    pub fn look_now(&mut self, now: Time, log: &mut Log) {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(why) => {
                return log.say(&"faults", now, format_args!("error: cannot read {}: {why}", self.path.display()));
            }
        };
        if text == self.text {
            return;
        }
        let mut faults = Faults { gone: self.faults.gone, ..Faults::default() };
        for (line, n) in text.lines().zip(1..) {
            if let Err(why) = faults.line(line) {
                let text = format_args!("error: {}, line {n}: {line:?}: {why}", self.path.display());
                log.say(&(n, line), now, text);
            }
        }
        log.say(&"faults on purpose", now, format_args!("faults on purpose: {faults}"));
        (self.faults, self.text) = (faults, text);
    }

    /// Whether this operation is to fail, and how. It is counted.
    pub fn fault(&mut self, op: &Op) -> Option<Fault> {
        let faults = &mut self.faults;
        if faults.gone {
            return Some(Fault::Os(libc::ENODEV));
        }
        let failed = match op {
            Op::Read { at, len, .. } => {
                let touches = |&(from, end): &(u64, u64)| *at < end && from < at + u64::from(*len);
                faults.unreadable.iter().any(touches) || fails(&mut faults.read)
            }
            Op::Write { durable: true, .. } => fails(&mut faults.write) | fails(&mut faults.flush),
            Op::Write { .. } | Op::Zero { .. } => fails(&mut faults.write),
            Op::Flush { .. } => fails(&mut faults.flush),
        };
        failed.then_some(Fault::Os(libc::EIO))
    }

    /// Whether the disk is gone.
    pub fn gone(&self) -> bool {
        self.faults.gone
    }

    /// Whether what makes durable only says so.
    pub fn lost_flush(&self) -> bool {
        self.faults.lost_flush
    }

    /// How many times longer everything takes.
    pub fn slow(&self) -> u32 {
        self.faults.slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::io::disk::OpId;

    fn read_all(text: &str) -> Result<Faults, &'static str> {
        let mut faults = Faults::default();
        text.lines().try_for_each(|line| faults.line(line)).map(|()| faults)
    }

    #[test]
    fn every_line_of_the_table_is_a_fault_and_no_other_is() {
        let none = Faults::default;
        let table = [
            ("fail read", Faults { read: Some(0), ..none() }),
            ("fail write\nfail flush", Faults { write: Some(0), flush: Some(0), ..none() }),
            ("  fail   read after 100 ", Faults { read: Some(100), ..none() }),
            (
                "fail read of 4096 to 8192\nfail read of 0 to 1",
                Faults { unreadable: vec![(4096, 8192), (0, 1)], ..none() },
            ),
            ("slow 20", Faults { slow: 20, ..none() }),
            ("lost-flush\n\n# gone", Faults { lost_flush: true, ..none() }),
            ("gone", Faults { gone: true, ..none() }),
        ];
        for (text, faults) in table {
            assert_eq!(read_all(text), Ok(faults), "{text}");
        }
        let lines = [
            "fail",
            "fail all",
            "fail read after",
            "fail read after x",
            "fail read of 1 to",
            "fail write of 1 to 2",
            "fail read of x to 2",
            "slow",
            "slow 0",
            "slow 10001",
            "fast 2",
        ];
        for line in lines {
            assert!(read_all(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_read_fails_that_touches_one_of_the_bytes() {
        let mut switch = Switch::new(Path::new("disk"));
        switch.faults = read_all("fail read of 8192 to 12288\nfail read of 100 to 101").unwrap();
        let reads = [(0, 4096), (4096, 4096), (4096, 4097), (4096, 65536), (12287, 1), (12288, 4096)];
        let failed = reads.map(|(at, len)| switch.fault(&Op::Read { id: OpId(1), at, len }).is_some());
        assert_eq!(failed, [true, false, true, true, true, false]);
        assert!(switch.fault(&Op::Zero { id: OpId(1), at: 8192, len: 4096 }).is_none());
    }

    #[test]
    fn a_file_that_changes_is_heard_within_ten_milliseconds_and_a_disk_that_is_gone_stays_gone() {
        let disk = std::env::temp_dir().join(format!("seawall-switch-{:x}", crate::entropy_u64()));
        let (mut switch, mut log) = (Switch::new(&disk), Log::new(&"test"));
        let file = PathBuf::from(format!("{}.faults", disk.display()));
        let at = |ms| Time::ZERO + Duration::from_millis(ms);
        let flush = Op::Flush { id: OpId(1) };
        switch.look(at(0), &mut log);
        assert!(switch.fault(&flush).is_none());
        std::fs::write(&file, "fail flush after 1\nnonsense\nslow 3\n").unwrap();
        switch.look(at(9), &mut log);
        assert_eq!(switch.slow(), 1);
        switch.look(at(10), &mut log);
        assert_eq!(switch.slow(), 3);
        assert!(switch.fault(&flush).is_none());
        assert!(matches!(switch.fault(&flush), Some(Fault::Os(libc::EIO))));
        let write = |durable| Op::Write { id: OpId(1), at: 0, parts: vec![], durable };
        assert!(switch.fault(&write(true)).is_some() && switch.fault(&write(false)).is_none());
        std::fs::remove_file(&file).unwrap();
        switch.look(at(20), &mut log);
        assert!(switch.fault(&flush).is_none() && switch.slow() == 1);
        std::fs::write(&file, "gone").unwrap();
        switch.look(at(30), &mut log);
        std::fs::remove_file(&file).unwrap();
        // What cannot be read changes nothing.
        std::fs::create_dir(&file).unwrap();
        switch.look(at(40), &mut log);
        std::fs::remove_dir(&file).unwrap();
        switch.look(at(50), &mut log);
        assert!(switch.gone() && matches!(switch.fault(&flush), Some(Fault::Os(libc::ENODEV))));
    }
}
