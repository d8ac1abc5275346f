//! `seawall inspect store`: reads a disk that no process has, changes nothing on it, shows what is there, and writes a shard's blocks to a file. What
//! that means is in `store`; here are the file, the words and the exit status.

mod show;

use crate::args::{self, InspectStore};
use crate::refusal::{Code, Refusal};
use crate::say;
use base::io::disk::{Done, Fault, Op};
use base::{BLOCK_BYTES, Payload, PointId, ShardId};
use std::fs::{File, TryLockError};
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use store::{Extracted, Geometry, Inspection, Report};

/// A disk, opened to be read and no more.
struct Disk {
    file: File,
    bytes: u64,
}

impl Disk {
    fn open(path: &Path) -> Result<Self, Refusal> {
        let failed = |doing: &str, error: io::Error| Refusal::file(doing, path, &error);
        let mut file = File::open(path).map_err(|e| failed("open", e))?;
        // The lock that a node holds: what is being written cannot be told from what is broken.
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            let text = format!("{} is in use by a node; stop it first, or inspect a copy", path.display());
            return Err(Refusal::new(Code::Disk, text));
        }
        if file.metadata().is_ok_and(|about| about.is_dir()) {
            return Err(failed("read", io::ErrorKind::IsADirectory.into()));
        }
        // Of a device too this is the size (lseek(2)).
        let bytes = file.seek(SeekFrom::End(0)).map_err(|e| failed("measure", e))?;
        Ok(Self { file, bytes })
    }

    fn read(&self, op: &Op) -> Done {
        let Op::Read { id, at, len } = *op else { unreachable!("an inspection asks for reads only") };
        let mut bytes = vec![0; len as usize];
        let fault = |error: io::Error| error.raw_os_error().map_or(Fault::Short, Fault::Os);
        let result = self.file.read_exact_at(&mut bytes, at).map(|()| Payload::from(bytes)).map_err(fault);
        Done { id, result }
    }
}

/// An inspection and its disk.
struct Inspector {
    inspection: Inspection,
    disk: Disk,
    ops: Vec<Op>,
}

impl Inspector {
    /// Looks at everything but the blocks of shards.
    fn new(disk: Disk) -> Self {
        let inspection = Inspection::new(Geometry::standard(disk.bytes));
        let mut inspector = Self { inspection, disk, ops: Vec::new() };
        while inspector.inspection.report().is_none() {
            inspector.step();
        }
        inspector
    }

    fn step(&mut self) {
        self.inspection.step(&mut self.ops);
        for op in self.ops.drain(..) {
            self.inspection.done(self.disk.read(&op));
        }
    }

    fn report(&self) -> &Report {
        self.inspection.report().expect("it was waited for")
    }
}

/// `seawall inspect store`.
pub fn run(args: &InspectStore) -> Result<(), Refusal> {
    // Understood before anything is read, so that a slip of the pen costs no hour.
    let extract = match &args.extract[..] {
        [shard, file] => {
            let shard = shard.to_string_lossy().parse::<ShardId>();
            Some((shard.unwrap_or_else(|e| args::wrong_usage(e)), Path::new(file)))
        }
        _ => None,
    };
    let mut inspector = Inspector::new(Disk::open(&args.path)?);
    for shard in args.shard.into_iter().chain(extract.map(|(shard, _)| shard)) {
        known(shard, inspector.report(), &args.path)?;
    }
    if let (Some((shard, _)), Some(point)) = (extract, args.point) {
        known_point(shard, point, inspector.report(), &args.path)?;
    }
    let versions = args.shard.map(|shard| (shard, inspector.inspection.chunk_versions(shard)));
    say(&if args.json {
        format!("{}\n", show::json(inspector.report(), versions.as_ref()))
    } else {
        show::text(inspector.report(), versions.as_ref())
    });
    let bad = match extract {
        Some((shard, file)) => write_shard(&mut inspector, (shard, args.point), file)?,
        None => 0,
    };
    let path = args.path.display();
    if bad > 0 {
        let text = format!("{bad} blocks of {path} could not be had; they are named above and all others are written");
        return Err(Refusal::new(Code::Disk, text));
    }
    let report = inspector.report();
    match (&report.refusal, &report.damage) {
        (None, None) => Ok(()),
        (Some(why), _) => Err(Refusal::new(Code::Disk, format!("{path} would not be opened: {why}"))),
        (None, Some(store::Damage { batch, segment, at })) => {
            let text = format!(
                "batch {batch} of the log of {path} (segment {segment}, byte {at}) is damaged and had been durable; a node would open it, and \
                 have the shards that are marked suspect filled anew from the others"
            );
            Err(Refusal::new(Code::Disk, text))
        }
    }
}

fn known(shard: ShardId, report: &Report, path: &Path) -> Result<(), Refusal> {
    if report.shards.iter().any(|s| s.shard == shard) {
        return Ok(());
    }
    let why = report.refusal.as_ref().map_or(String::new(), |why| format!(" ({why})"));
    let text = format!(
        "there is no {shard} on {}{why}; `seawall inspect store` without a shard shows those there are",
        path.display()
    );
    Err(Refusal::new(Code::Disk, text))
}

fn known_point(shard: ShardId, point: PointId, report: &Report, path: &Path) -> Result<(), Refusal> {
    let mut seen = report.shards.iter().filter(|s| s.shard == shard).flat_map(|s| &s.points);
    if seen.any(|seen| seen.id == point) {
        return Ok(());
    }
    let text = format!(
        "{shard} on {} has no frozen {point}; `seawall inspect store` without `--extract` shows those there are",
        path.display()
    );
    Err(Refusal::new(Code::Disk, text))
}

/// Writes what can be had of a shard, now or at a point, to a new file, with holes where nothing is written. Says how many blocks could not be had.
fn write_shard(
    inspector: &mut Inspector,
    (shard, point): (ShardId, Option<PointId>),
    path: &Path,
) -> Result<u64, Refusal> {
    let failed = |doing: &str, error: io::Error| Refusal::file(doing, path, &error);
    // Never over something that is there: it may be the very disk.
    let file = File::create_new(path).map_err(|e| failed("make", e))?;
    let seen = inspector.report().shards.iter().find(|s| s.shard == shard);
    let blocks = seen.and_then(|s| s.register.as_ref()).map_or(0, |register| u64::from(register.config.blocks));
    file.set_len(blocks * BLOCK_BYTES as u64).map_err(|e| failed("size", e))?;
    assert!(inspector.inspection.extract(shard, point), "a shard and a point that are shown can be extracted");
    let mut bad = 0;
    loop {
        inspector.step();
        let Some(found) = inspector.inspection.extracted() else { break };
        for one in found {
            match one {
                Extracted::Data { block, data } => {
                    let at = u64::from(block) * BLOCK_BYTES as u64;
                    file.write_all_at(&data, at).map_err(|e| failed("write", e))?;
                }
                Extracted::Bad { block, at, fault } => {
                    bad += 1;
                    let why = fault.map_or("is rotten".to_owned(), |fault| format!("cannot be read ({fault:?})"));
                    eprintln!("{shard} block {block} {why} at byte {at} of the disk");
                }
            }
        }
    }
    file.sync_all().map_err(|e| failed("write", e))?;
    Ok(bad)
}
