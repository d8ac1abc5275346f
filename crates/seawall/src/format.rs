//! `seawall node format`: a new, empty store on a node's disk. What lies on the disk is given up only by its name, so that a wrong path or a slip of
//! the hand costs nothing.
//!
//! A node with a new store is another member: whatever its old one held is counted as lost and is made anew from the other copies.

use crate::args::{Erase, Format};
use crate::config::{FromFile, Node as Config};
use crate::refusal::{Code, Refusal};
use crate::say;
use base::io::disk::{Done, Fault, Op};
use base::size::Size;
use base::{BLOCK_BYTES, Payload, StoreUuid, Time};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use store::{Blank, Geometry, Identity, LABEL_BYTES, Label, OpenRefusal, Phase, Store};

/// A disk that nobody else has.
struct Disk<'a> {
    file: File,
    path: &'a Path,
}

impl<'a> Disk<'a> {
    /// Opens it; a file that is not there is made, and a device never.
    fn open(path: &'a Path) -> Result<Self, Refusal> {
        let failed = |doing: &str, error: io::Error| Refusal::file(doing, path, &error);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = file.map_err(|e| failed("open", e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("{} is in use by another process; stop that one first", path.display());
                return Err(Refusal::new(Code::Disk, text));
            }
            Err(TryLockError::Error(e)) => return Err(failed("lock", e)),
        }
        let about = file.metadata().map_err(|e| failed("look at", e))?;
        if !about.is_file() && !about.file_type().is_block_device() {
            return Err(Refusal::new(Code::Disk, format!("{} is neither a file nor a block device", path.display())));
        }
        Ok(Self { file, path })
    }

    fn label(&self) -> Result<Label, Refusal> {
        let mut bytes = Vec::new();
        let read = (&self.file).take(LABEL_BYTES as u64).read_to_end(&mut bytes);
        read.and_then(|_| (&self.file).rewind()).map_err(|e| Refusal::file("read", self.path, &e))?;
        // What a file lacks at its end reads as zeroes once it is as large as it should be.
        bytes.resize(LABEL_BYTES, 0);
        Ok(store::label(&bytes))
    }

    /// From here on the disk is blank, durably.
    fn erase(&self) -> Result<(), Refusal> {
        let zeroed = self.file.write_all_at(&[0; LABEL_BYTES], 0).and_then(|()| self.file.sync_all());
        zeroed.map_err(|e| Refusal::file("write", self.path, &e))
    }

    fn carry_out(&self, op: Op) -> Done {
        let fault = |error: io::Error| error.raw_os_error().map_or(Fault::Short, Fault::Os);
        let nothing = |result: io::Result<()>| result.map(|()| Payload::empty()).map_err(fault);
        match op {
            Op::Read { id, at, len } => {
                let mut bytes = vec![0; len as usize];
                let result = self.file.read_exact_at(&mut bytes, at).map(|()| Payload::from(bytes)).map_err(fault);
                Done { id, result }
            }
            // All that is written here is made durable at once; there is little of it.
            Op::Write { id, at, parts, .. } => {
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
                let written = self.file.write_all_at(&bytes, at).and_then(|()| self.file.sync_all());
                Done { id, result: nothing(written) }
            }
            Op::Zero { id, at, len } => {
                let blocks = len / BLOCK_BYTES as u64;
                let zero = |n| self.file.write_all_at(&[0; BLOCK_BYTES], at + n * BLOCK_BYTES as u64);
                Done { id, result: nothing((0..blocks).try_for_each(zero)) }
            }
            Op::Flush { id } => Done { id, result: nothing(self.file.sync_all()) },
        }
    }

    /// Puts a new store on a disk that is blank. A file is made as large as it must be, sparse.
    fn format(&self, identity: Identity, bytes: u64) -> Result<StoreUuid, Refusal> {
        let about = self.file.metadata().map_err(|e| Refusal::file("look at", self.path, &e))?;
        if about.is_file() && about.len() < bytes {
            self.file.set_len(bytes).map_err(|e| Refusal::file("size", self.path, &e))?;
        }
        let uuid = StoreUuid(runtime::entropy_u128());
        let policy = store::Policy::default();
        let mut store = Store::new(identity, Geometry::standard(bytes), Blank::Format { uuid }, policy);
        let (mut ops, mut events) = (Vec::new(), Vec::new());
        loop {
            store.step(Time::ZERO, &mut ops, &mut events);
            let path = self.path.display();
            match store.phase() {
                Phase::Ready => return Ok(uuid),
                Phase::Opening => ops.drain(..).for_each(|op| store.done(self.carry_out(op))),
                Phase::Refused(why) => return Err(refused(self.path, why)),
                failed => {
                    let text =
                        format!("{path} could not be formatted: a write failed ({failed:?}); look at the kernel's log");
                    return Err(Refusal::new(Code::Disk, text));
                }
            }
        }
    }
}

fn refused(path: &Path, why: &OpenRefusal) -> Refusal {
    Refusal::new(Code::Disk, format!("{} cannot be formatted: {why}", path.display()))
}

/// What is given up, if that may be; none when there is nothing.
fn given_up(label: Label, erase: Option<Erase>, path: &Path) -> Result<Option<String>, Refusal> {
    let path = path.display();
    let no = |text: String| Err(Refusal::new(Code::NotBlank, text));
    match (label, erase) {
        (Label::Blank, None) => Ok(None),
        (Label::Blank, Some(_)) => {
            no(format!("{path} is blank, so it is not the disk that was meant; leave --erase out to format it"))
        }
        (Label::Store { uuid, .. }, Some(Erase::Store(named))) if uuid == named => Ok(Some(uuid.to_string())),
        (Label::Damaged, Some(Erase::Damaged)) => Ok(Some("damaged".into())),
        (Label::Store { uuid, node, cluster }, _) => no(format!(
            "{path} holds the store {uuid} of {node} in cluster {cluster}; nothing was changed. To give up all that is in it, once its volumes have \
             their copies elsewhere, say --erase {uuid}"
        )),
        (Label::Newer(version), _) => no(format!(
            "{path} holds a store of format {version}, which this build does not know; use the build that wrote it"
        )),
        (Label::Damaged, _) => no(format!(
            "{path} is not blank, and does not say what it is; `seawall inspect store` shows what can be read of it. To give it up, say --erase damaged"
        )),
    }
}

/// `seawall node format`.
pub fn run(args: &Format) -> Result<(), Refusal> {
    let config = Config::load(&args.config)?;
    let disk = Disk::open(&config.store)?;
    let erased = given_up(disk.label()?, args.erase, &config.store)?;
    if erased.is_some() {
        disk.erase()?;
    }
    let identity = Identity { node: config.node, cluster: config.cluster };
    let uuid = disk.format(identity, config.store_size.0)?;
    let path = config.store.display();
    if args.json {
        let value = serde_json::json!({
            "node": config.node.to_string(),
            "disk": path.to_string(),
            "store": uuid.to_string(),
            "size": config.store_size.0,
            "erased": erased,
        });
        say(&format!("{value}\n"));
    } else {
        let before = erased.map_or(String::new(), |what| format!(", in place of {what}"));
        say(&format!("{}: a new store {uuid} of {} on {path}{before}\n", config.node, Size(config.store_size.0)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::{ClusterId, NodeId};

    fn place(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("seawall-format-{name}-{}", std::process::id()))
    }

    const IDENTITY: Identity = Identity { node: NodeId(3), cluster: ClusterId(9) };
    const BYTES: u64 = 1 << 30;

    #[test]
    fn a_disk_that_is_not_there_is_made_and_formatted_and_says_whose_it_is() {
        let path = place("new");
        let disk = Disk::open(&path).unwrap();
        assert_eq!(disk.label().unwrap(), Label::Blank);
        let uuid = disk.format(IDENTITY, BYTES).unwrap();
        assert_eq!(disk.label().unwrap(), Label::Store { uuid, node: NodeId(3), cluster: ClusterId(9) });
        assert_eq!(Disk::open(&path).err().unwrap().code, Code::Disk, "two have it");
        disk.erase().unwrap();
        assert_eq!(disk.label().unwrap(), Label::Blank);
        let refusal = disk.format(IDENTITY, 4096).unwrap_err();
        assert!(refusal.code == Code::Disk && refusal.text.contains("cannot be formatted"), "{refusal}");
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn what_is_neither_a_file_nor_a_device_is_not_formatted() {
        assert_eq!(Disk::open(&std::env::temp_dir()).err().unwrap().code, Code::File);
        assert_eq!(Disk::open(Path::new("/dev/null")).err().unwrap().code, Code::Disk);
    }

    #[test]
    fn what_is_on_a_disk_is_given_up_only_by_its_name() {
        let path = Path::new("disk");
        let ours = Label::Store { uuid: StoreUuid(7), node: NodeId(3), cluster: ClusterId(9) };
        let asked = |label, erase| given_up(label, erase, path);
        assert_eq!(asked(Label::Blank, None), Ok(None));
        assert_eq!(asked(ours, Some(Erase::Store(StoreUuid(7)))), Ok(Some(StoreUuid(7).to_string())));
        assert_eq!(asked(Label::Damaged, Some(Erase::Damaged)), Ok(Some("damaged".into())));
        for (label, erase, word) in [
            (Label::Blank, Some(Erase::Damaged), "is blank"),
            (ours, None, "--erase 00000000-0000-0000-0000-000000000007"),
            (ours, Some(Erase::Store(StoreUuid(8))), "of node-3"),
            (ours, Some(Erase::Damaged), "of node-3"),
            (Label::Damaged, None, "--erase damaged"),
            (Label::Damaged, Some(Erase::Store(StoreUuid(7))), "--erase damaged"),
            (Label::Newer(9), Some(Erase::Damaged), "format 9"),
        ] {
            let refusal = asked(label, erase).unwrap_err();
            assert!(refusal.code == Code::NotBlank && refusal.text.contains(word), "{refusal}");
        }
    }
}
