//! The disk and the metadata of a real world: the suites of their seams, and what only a real file can do wrong.

mod conformance;
mod rig;

use base::io::disk::{self, Fault};
use base::io::{Input, Output, meta};
use base::time::Duration;
use base::{Payload, Revision};
use bytes::Bytes;
use rig::{Order, Rig, Scratch, Seen, setup};
use runtime::{Driver, Setup, StartError, World};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const CAPACITY: u64 = 64 << 20;

fn with_disk(path: &Path) -> Setup {
    let config = runtime::disk::Config { path: path.into(), capacity_bytes: CAPACITY, create: true };
    Setup { disk: Some(config), ..setup(1) }
}

fn with_meta(path: &Path) -> Setup {
    Setup { meta: Some(path.into()), ..setup(1) }
}

/// The error of a world that cannot be made.
fn refused(setup: Setup) -> StartError {
    std::thread::spawn(|| World::new(setup).err().expect("it was to be refused")).join().unwrap()
}

struct Disk {
    // Before its file.
    rig: Option<Rig>,
    file: Scratch,
}

impl Disk {
    fn new(file: Scratch) -> Self {
        Self { rig: Some(Rig::new(with_disk(&file.0))), file }
    }
    fn rig(&self) -> &Rig {
        self.rig.as_ref().unwrap()
    }
}

impl conformance::disk::Subject for Disk {
    fn capacity(&self) -> u64 {
        CAPACITY
    }
    fn ask(&mut self, ops: Vec<disk::Op>) -> Vec<disk::Done> {
        let count = ops.len();
        self.rig().order(ops.into_iter().map(|op| Order::Out(Output::Disk(op))));
        let next = || {
            self.rig().until("the end of a disk operation", |seen| match seen {
                Seen::Input(Input::Disk(done)) => Some(done.clone()),
                _ => None,
            })
        };
        (0..count).map(|_| next()).collect()
    }
    fn restart(&mut self) {
        self.rig = None;
        self.rig = Some(Rig::new(with_disk(&self.file.0)));
    }
}

#[test]
fn a_metadata_store_can_be_made_with_what_it_is_to_hold_and_never_over_one_that_is_there() {
    let path = Scratch::new("meta-made");
    let pairs = [("a/1".to_string(), bytes::Bytes::from_static(b"one")), ("a/2".to_string(), bytes::Bytes::new())];
    runtime::meta::embedded::write_new(&path.0, base::Revision(77), &pairs).unwrap();
    let again = runtime::meta::embedded::write_new(&path.0, base::Revision(78), &[]);
    assert!(matches!(again, Err(runtime::meta::OpenError::Os { .. })), "{again:?}");
    let rig = Rig::new(Setup { meta: Some(path.0.clone()), ..setup(1) });
    let id = base::io::meta::OpId(1);
    rig.order([rig::Order::Out(base::io::Output::Meta(base::io::meta::Op::Range { id, prefix: "a/".into() }))]);
    let found = rig.until("what it holds", |seen| match seen {
        rig::Seen::Input(base::io::Input::Meta(done)) => Some(done.outcome.clone()),
        _ => None,
    });
    let base::io::meta::Outcome::Pairs { pairs: found, at } = found else { panic!("{found:?}") };
    assert_eq!(at, base::Revision(77));
    assert!(found.iter().all(|pair| pair.revision == base::Revision(77)));
    assert_eq!(found.into_iter().map(|pair| (pair.key, pair.value)).collect::<Vec<_>>(), pairs);
}

#[test]
fn the_disk_does_what_every_disk_must() {
    conformance::disk::all(|| Disk::new(Scratch::new("disk")));
}

#[test]
fn a_disk_on_a_file_system_in_memory_does_the_same() {
    let folder = Path::new("/dev/shm");
    if !folder.is_dir() {
        // No such file system here; the suite ran on another.
        return;
    }
    conformance::disk::all(|| {
        let name = format!("seawall-disk-{:x}", runtime::entropy_u64());
        Disk::new(Scratch(folder.join(name)))
    });
}

#[test]
fn a_new_disk_is_sparse_and_says_that_it_is_new() {
    use std::os::unix::fs::MetadataExt;
    let file = Scratch::new("disk");
    let first = Rig::new(with_disk(&file.0));
    assert!(first.disk.unwrap().created && !first.disk.unwrap().device);
    drop(first);
    let about = std::fs::metadata(&file.0).unwrap();
    assert_eq!(about.len(), CAPACITY);
    assert!(about.blocks() * 512 < 1 << 20, "{} bytes are taken by nothing", about.blocks() * 512);
    assert!(!Rig::new(with_disk(&file.0)).disk.unwrap().created);
}

#[test]
fn two_processes_never_have_one_disk() {
    let file = Scratch::new("disk");
    let first = Rig::new(with_disk(&file.0));
    let error = refused(with_disk(&file.0));
    assert!(matches!(&error, StartError::Disk(runtime::disk::OpenError::InUse { .. })), "{error:?}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    drop(Rig::new(with_disk(&file.0)));
}

#[test]
fn a_disk_that_cannot_be_is_refused_with_its_path_and_what_to_do() {
    let missing = Scratch::new("disk");
    let config = |path: &Path, capacity_bytes: u64, create: bool| {
        let path = path.into();
        Setup { disk: Some(runtime::disk::Config { path, capacity_bytes, create }), ..setup(1) }
    };
    let cases = [
        (config(&missing.0, CAPACITY, false), "there is no disk at"),
        (config(&missing.0, CAPACITY + 1, true), "multiple of 4096"),
        (config(&missing.0, 0, true), "multiple of 4096"),
        (config(&std::env::temp_dir(), CAPACITY, true), "neither a file nor a block device"),
        (config(Path::new("/dev/null"), CAPACITY, true), "neither a file nor a block device"),
        (config(&missing.0.join("below"), CAPACITY, true), "cannot open the disk"),
        (config(Path::new("/proc/version"), CAPACITY, true), "the disk /proc/version"),
    ];
    for (setup, said) in cases {
        let error = refused(setup).to_string();
        assert!(error.contains(said) && error.contains(';'), "{error}");
    }
    assert!(!missing.0.exists());
}

#[test]
fn a_disk_file_that_was_cut_short_is_made_whole_and_what_was_cut_reads_as_zeroes() {
    use conformance::disk::Subject;
    let mut disk = Disk::new(Scratch::new("disk"));
    disk.rig = None;
    std::fs::File::options().write(true).open(&disk.file.0).unwrap().set_len(8192).unwrap();
    std::fs::File::options().write(true).open(&disk.file.0).unwrap().write_all_at(&[7; 8192], 0).unwrap();
    disk.restart();
    let done = disk.ask(vec![disk::Op::Read { id: disk::OpId(1), at: 4096, len: 8192 }]);
    let bytes = done[0].result.clone().unwrap();
    assert!(bytes[..4096] == [7; 4096] && bytes[4096..] == [0; 4096]);
    // Cut while it is open: the end of the file is where nothing was ever written.
    std::fs::File::options().write(true).open(&disk.file.0).unwrap().set_len(8192).unwrap();
    let done = disk.ask(vec![disk::Op::Read { id: disk::OpId(1), at: 4096, len: 1 << 20 }]);
    let bytes = done[0].result.clone().unwrap();
    assert!(bytes[..4096] == [7; 4096] && bytes[4096..].iter().all(|&b| b == 0) && bytes.len() == 1 << 20);
}

#[test]
fn a_machine_without_a_disk_or_metadata_is_told_so() {
    let rig = Rig::new(setup(1));
    let parts = vec![Payload::zero_block()];
    let id = disk::OpId(3);
    rig.order([
        Order::Out(Output::Disk(disk::Op::Write { id, at: 0, parts, durable: true })),
        Order::Out(Output::Meta(meta::Op::Range { id: meta::OpId(4), prefix: String::new() })),
    ]);
    rig.until("the disk's answer", |seen| match seen {
        Seen::Input(Input::Disk(done)) => {
            assert!(done.id == id && matches!(done.result, Err(Fault::Os(_))));
            Some(())
        }
        _ => None,
    });
    let outcome = rig.until("the answer of the metadata", |seen| match seen {
        Seen::Input(Input::Meta(done)) => Some(done.outcome.clone()),
        _ => None,
    });
    assert_eq!(outcome, meta::Outcome::Unknown);
}

#[test]
fn what_a_turn_asks_of_the_disk_is_handed_in_together() {
    use conformance::disk::Subject;
    let mut disk = Disk::new(Scratch::new("disk"));
    let ops = (0..200).map(|n| disk::Op::Read { id: disk::OpId(n), at: n * 4096, len: 4096 }).collect();
    assert_eq!(disk.ask(ops).len(), 200);
    let (_, counters, _) = disk.rig.take().unwrap().stop();
    assert_eq!(counters.reads, 200);
    // One entry into the kernel for all of them; over epoll each read that ends can be a turn of its own.
    let turns_max = if rig::DRIVER == Driver::IoUring { 60 } else { 240 };
    assert!(counters.sqes >= 200 && counters.turns < turns_max, "{counters:?}");
}

struct Meta {
    rig: Option<Rig>,
    file: Scratch,
}

impl Meta {
    fn new() -> Self {
        let file = Scratch::new("meta");
        Self { rig: Some(Rig::new(with_meta(&file.0))), file }
    }
}

impl conformance::meta::Subject for Meta {
    fn ask(&mut self, ops: Vec<meta::Op>) -> Vec<meta::Done> {
        let (count, rig) = (ops.len(), self.rig.as_ref().unwrap());
        rig.order(ops.into_iter().map(|op| Order::Out(Output::Meta(op))));
        let next = || {
            rig.until("an answer of the metadata", |seen| match seen {
                Seen::Input(Input::Meta(done)) => Some(done.clone()),
                _ => None,
            })
        };
        (0..count).map(|_| next()).collect()
    }
    fn restart(&mut self) {
        self.rig = None;
        self.rig = Some(Rig::new(with_meta(&self.file.0)));
    }
}

#[test]
fn the_metadata_does_what_every_store_must() {
    conformance::meta::all(Meta::new);
}

fn put(id: u64, key: &str) -> meta::Op {
    meta::Op::Write { id: meta::OpId(id), guards: vec![], puts: vec![(key.into(), Some(Bytes::from_static(b"v")))] }
}

#[test]
fn metadata_in_use_and_metadata_that_is_none_are_refused_by_name() {
    let first = Meta::new();
    let error = refused(with_meta(&first.file.0));
    assert!(matches!(&error, StartError::Meta(runtime::meta::OpenError::InUse { .. })), "{error:?}");
    assert!(error.to_string().contains("stop that one first"), "{error}");

    let other = Scratch::new("meta");
    for content in [&b""[..], b"x", &[0; 8192], &[0xff; 100_000]] {
        std::fs::write(&other.0, content).unwrap();
        let error = refused(with_meta(&other.0));
        assert!(matches!(&error, StartError::Meta(runtime::meta::OpenError::Damaged { .. })), "{error:?}");
        assert!(error.to_string().contains("seawall zone rebuild"), "{error}");
        assert_eq!(std::fs::read(&other.0).unwrap(), content, "it was changed");
    }
    let error = refused(with_meta(&other.0.join("below"))).to_string();
    assert!(error.contains("cannot look at the metadata"), "{error}");
    let error = refused(with_meta(Path::new("/seawall-no-such-folder/meta"))).to_string();
    assert!(error.contains("cannot make the metadata"), "{error}");
}

#[test]
fn damaged_metadata_is_an_error_and_never_an_empty_store() {
    use conformance::meta::Subject;
    let mut meta = Meta::new();
    meta.ask((0..200).map(|n| put(n, &format!("key-{n:04}"))).collect());
    meta.rig = None;
    let whole = std::fs::read(&meta.file.0).unwrap();
    let opens = |path: &Path| {
        let setup = with_meta(path);
        std::thread::spawn(|| World::new(setup).map(drop)).join().unwrap()
    };
    let copy = Scratch::new("meta");
    let (mut refused, mut intact) = (0, 0);
    for page in 0..whole.len() / 4096 {
        let mut bytes = whole.clone();
        bytes[page * 4096..][..4096].iter_mut().step_by(7).for_each(|b| *b ^= 0x5a);
        std::fs::write(&copy.0, &bytes).unwrap();
        match opens(&copy.0) {
            Err(StartError::Meta(runtime::meta::OpenError::Damaged { .. })) => refused += 1,
            Err(why) => panic!("page {page}: {why}"),
            // A page that holds nothing: then everything must be there.
            Ok(()) => {
                let rig = Rig::new(with_meta(&copy.0));
                rig.order([Order::Out(Output::Meta(meta::Op::Range { id: meta::OpId(1), prefix: "key-".into() }))]);
                let count = rig.until("the range", |seen| match seen {
                    Seen::Input(Input::Meta(meta::Done { outcome: meta::Outcome::Pairs { pairs, at }, .. })) => {
                        assert!(*at >= Revision(200));
                        Some(pairs.len())
                    }
                    _ => None,
                });
                assert_eq!(count, 200, "page {page}");
                intact += 1;
            }
        }
    }
    assert!(refused >= 3, "{refused} refused, {intact} intact");
}

#[test]
fn metadata_that_waits_together_is_written_with_one_flush() {
    use conformance::meta::Subject;
    // A commit costs a flush or two; five hundred of them one by one would take far longer than the few batches they become.
    let mut meta = Meta::new();
    let alone = {
        let began = Instant::now();
        (0..20).for_each(|n| assert_eq!(meta.ask(vec![put(n, "alone")]).len(), 1));
        began.elapsed() / 20
    };
    let began = Instant::now();
    assert_eq!(meta.ask((0..2000).map(|n| put(n, &format!("k{n}"))).collect()).len(), 2000);
    let together = began.elapsed();
    assert!(together < alone * 1000 + Duration::from_secs(1), "{together:?} for 2000, {alone:?} for one");
}

#[test]
fn a_make_that_was_broken_off_is_begun_again() {
    let file = Scratch::new("meta");
    let left: PathBuf = format!("{}.new", file.0.display()).into();
    std::fs::write(&left, b"half of a file").unwrap();
    drop(Rig::new(with_meta(&file.0)));
    assert!(!left.exists() && file.0.exists());
}
