//! The metadata store for one process: a redb file and one thread that reads and writes it.
//!
//! What comes while a commit is under way is done by the next one: all operations of a batch run in order in one
//! transaction with one flush. An answer is given when that flush is done, and not before. If a commit fails, what it held
//! has an unknown outcome, and so has everything after it: nothing is tried again into a file in an unknown state.
//!
//! A file that is there is never made anew: a damaged one is an error, not an empty store.

use super::OpenError;
use crate::os::Waker;
use base::Revision;
use base::io::meta::{Done, Op, Outcome, Pair};
use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The version of the tables in the file.
pub const FORMAT: u64 = 1;
/// Key to (revision of its last change, value).
const MAIN: TableDefinition<&str, (u64, &[u8])> = TableDefinition::new("main");
/// `revision`: of the last change of all; `format`: of the tables.
const ABOUT: TableDefinition<&str, u64> = TableDefinition::new("about");
const CACHE_BYTES: usize = 8 << 20;
/// Operations that wait at most. A machine has few outstanding; what goes beyond is answered with Unknown.
const WAITING_MAX: usize = 65_536;

/// The store. Its thread ends when this is dropped, after what was asked before.
pub struct Embedded {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    asked: Condvar,
    answered: Waker,
}

#[derive(Default)]
struct State {
    ops: VecDeque<Op>,
    done: Vec<Done>,
    closing: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Embedded {
    /// Opens the file, or makes it when there is none. `answered` is woken when there are answers to take.
    pub fn open(path: &Path, answered: Waker) -> Result<Self, OpenError> {
        let mut store = Self::idle(answered);
        let (database, theirs) = (open(path)?, store.shared.clone());
        let thread = std::thread::Builder::new().name("meta".into()).spawn(move || work(&database, &theirs));
        let failed = |why| OpenError::Os { what: "start a thread for", path: path.into(), why };
        store.thread = Some(thread.map_err(failed)?);
        Ok(store)
    }

    /// One that nobody works for yet.
    fn idle(answered: Waker) -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::default(), asked: Condvar::new(), answered }), thread: None }
    }

    /// Asks. Operations are done in the order they are asked.
    pub fn ask(&self, op: Op) {
        let mut state = self.shared.state();
        if state.ops.len() < WAITING_MAX {
            state.ops.push_back(op);
            self.shared.asked.notify_one();
        } else {
            state.done.push(Done { id: id_of(&op), outcome: Outcome::Unknown });
            self.shared.answered.wake();
        }
    }

    /// Takes the answers there are.
    pub fn answers(&self) -> Vec<Done> {
        std::mem::take(&mut self.shared.state().done)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.shared.asked.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported where it happened.
            let _ = thread.join();
        }
    }
}

fn id_of(op: &Op) -> base::io::meta::OpId {
    match op {
        Op::Range { id, .. } | Op::Write { id, .. } => *id,
    }
}

/// Makes a store with these keys, all of this revision, in a file that is not there yet.
pub fn write_new(path: &Path, revision: Revision, pairs: &[(String, Bytes)]) -> Result<(), OpenError> {
    if path.exists() {
        let why = io::ErrorKind::AlreadyExists.into();
        return Err(OpenError::Os { what: "make", path: path.into(), why });
    }
    make(path, revision, pairs)
}

/// Puts a database into a new file: under another name first, so that a crash leaves either none or a whole one.
fn make(path: &Path, revision: Revision, pairs: &[(String, Bytes)]) -> Result<(), OpenError> {
    let os = |what: &'static str, why: io::Error| OpenError::Os { what, path: path.into(), why };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    match std::fs::remove_file(&new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(os("make", why)),
        _ => {}
    }
    let build = || -> Result<(), redb::Error> {
        let database = Builder::new().set_cache_size(CACHE_BYTES).create(&new)?;
        fill(&database, revision, pairs)
    };
    build().map_err(|why| os("make", io::Error::other(why)))?;
    std::fs::rename(&new, path).map_err(|why| os("name", why))?;
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(parent).and_then(|dir| dir.sync_all()).map_err(|why| os("name", why))
}

/// Puts the tables into a new database.
fn fill(database: &Database, revision: Revision, pairs: &[(String, Bytes)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    let mut main = transaction.open_table(MAIN)?;
    for (key, value) in pairs {
        main.insert(&key[..], (revision.0, &value[..]))?;
    }
    drop(main);
    let mut about = transaction.open_table(ABOUT)?;
    about.insert("format", FORMAT)?;
    about.insert("revision", revision.0)?;
    drop(about);
    transaction.commit()?;
    Ok(())
}

fn open(path: &Path) -> Result<Database, OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.into(), what };
    match std::fs::metadata(path) {
        Ok(_) => {}
        Err(why) if why.kind() == io::ErrorKind::NotFound => make(path, Revision(0), &[])?,
        Err(why) => return Err(OpenError::Os { what: "look at", path: path.into(), why }),
    }
    // Every page's checksum is verified: a store of configurations is small, and must not be trusted by halves. The library
    // may panic on a file that is damaged in a way it did not think of; that is an answer too.
    let opened = std::panic::catch_unwind(|| {
        Builder::new().set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true).open(path)
    });
    let database = match opened {
        Ok(Ok(database)) => database,
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => return Err(OpenError::InUse { path: path.into() }),
        Ok(Err(DatabaseError::Storage(StorageError::Io(why)))) if why.kind() == io::ErrorKind::PermissionDenied => {
            return Err(OpenError::Os { what: "open", path: path.into(), why });
        }
        Ok(Err(why)) => return Err(damaged(why.to_string())),
        Err(_) => return Err(damaged("its pages contradict each other".into())),
    };
    let format = || -> Result<Option<u64>, redb::Error> {
        let transaction = database.begin_read()?;
        transaction.open_table(MAIN)?;
        let about = transaction.open_table(ABOUT)?;
        let whole = about.get("revision")?.is_some();
        Ok(about.get("format")?.map(|v| v.value()).filter(|_| whole))
    };
    match format() {
        Ok(Some(FORMAT)) => Ok(database),
        Ok(Some(found)) => Err(OpenError::Version { path: path.into(), found }),
        Ok(None) => Err(damaged("it does not say what it is".into())),
        Err(why) => Err(damaged(why.to_string())),
    }
}

fn work(database: &Database, shared: &Shared) {
    let mut failed = false;
    loop {
        let batch = {
            let mut state = shared.state();
            while state.ops.is_empty() && !state.closing {
                state = shared.asked.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.ops.is_empty() {
                return;
            }
            std::mem::take(&mut state.ops)
        };
        let ids: Vec<_> = batch.iter().map(id_of).collect();
        let outcomes = if failed { None } else { run(database, batch) };
        failed |= outcomes.is_none();
        let outcomes = outcomes.unwrap_or_else(|| vec![Outcome::Unknown; ids.len()]);
        let done = ids.into_iter().zip(outcomes).map(|(id, outcome)| Done { id, outcome });
        shared.state().done.extend(done);
        shared.answered.wake();
    }
}

/// Does a batch in one transaction. None when the file failed.
fn run(database: &Database, batch: VecDeque<Op>) -> Option<Vec<Outcome>> {
    let reads_only = batch.iter().all(|op| matches!(op, Op::Range { .. }));
    let result = if reads_only { run_reads(database, batch) } else { run_writes(database, batch) };
    result
        .inspect_err(|why| {
            let text = format_args!("the metadata store failed: {why}; nothing more is written to it");
            crate::log::line(&"meta", text);
        })
        .ok()
}

fn run_reads(database: &Database, batch: VecDeque<Op>) -> Result<Vec<Outcome>, redb::Error> {
    let transaction = database.begin_read()?;
    let main = transaction.open_table(MAIN)?;
    let at = revision(&transaction.open_table(ABOUT)?)?;
    let ranges = batch.into_iter().map(|op| match op {
        Op::Range { prefix, .. } => range(&main, &prefix, at),
        Op::Write { .. } => unreachable!("a batch with a write is not of reads only"),
    });
    ranges.collect()
}

fn run_writes(database: &Database, batch: VecDeque<Op>) -> Result<Vec<Outcome>, redb::Error> {
    let mut transaction = database.begin_write()?;
    // The default, said because everything above rests on it.
    transaction.set_durability(redb::Durability::Immediate)?;
    let mut outcomes = Vec::with_capacity(batch.len());
    let mut changed = false;
    {
        let mut main = transaction.open_table(MAIN)?;
        let mut about = transaction.open_table(ABOUT)?;
        let mut at = revision(&about)?;
        for op in batch {
            outcomes.push(match op {
                Op::Range { prefix, .. } => range(&main, &prefix, at)?,
                Op::Write { guards, puts, .. } => {
                    if let Some(key) = broken(&main, &guards)? {
                        Outcome::Conflict { key }
                    } else {
                        if !puts.is_empty() {
                            at = at.next();
                            changed = true;
                        }
                        for (key, value) in puts {
                            match value {
                                Some(value) => drop(main.insert(&key[..], (at.0, &value[..]))?),
                                None => drop(main.remove(&key[..])?),
                            }
                        }
                        Outcome::Written(at)
                    }
                }
            });
        }
        if changed {
            about.insert("revision", at.0)?;
        }
    }
    if changed {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(outcomes)
}

fn revision(about: &impl ReadableTable<&'static str, u64>) -> Result<Revision, redb::Error> {
    let stored = about.get("revision")?.map(|v| v.value());
    // It was there when the file was opened, and nothing removes it.
    Ok(Revision(stored.expect("the metadata store lost its revision")))
}

/// The first guard that does not hold.
fn broken(
    main: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    guards: &[base::io::meta::Guard],
) -> Result<Option<String>, redb::Error> {
    for guard in guards {
        let found = main.get(&guard.key[..])?.map_or(0, |v| v.value().0);
        if found != guard.revision.0 {
            return Ok(Some(guard.key.clone()));
        }
    }
    Ok(None)
}

fn range(
    main: &impl ReadableTable<&'static str, (u64, &'static [u8])>,
    prefix: &str,
    at: Revision,
) -> Result<Outcome, redb::Error> {
    let mut pairs = Vec::new();
    for item in main.range(prefix..)? {
        let (key, value) = item?;
        if !key.value().starts_with(prefix) {
            break;
        }
        let (revision, value) = value.value();
        let (key, value) = (key.value().to_string(), Bytes::copy_from_slice(value));
        pairs.push(Pair { key, value, revision: Revision(revision) });
    }
    Ok(Outcome::Pairs { pairs, at })
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::io::meta::OpId;
    use redb::StorageBackend;
    use redb::backends::InMemoryBackend;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Memory that fails like a disk, when told to.
    #[derive(Debug)]
    struct Failing {
        inside: InMemoryBackend,
        failing: Arc<AtomicBool>,
    }

    impl Failing {
        fn check(&self) -> io::Result<()> {
            if self.failing.load(Ordering::SeqCst) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        }
    }

    impl StorageBackend for Failing {
        fn len(&self) -> io::Result<u64> {
            self.inside.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.inside.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            self.inside.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.check()?;
            self.inside.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.check()?;
            self.inside.write(offset, data)
        }
    }

    fn put(id: u64) -> Op {
        Op::Write { id: OpId(id), guards: vec![], puts: vec![(format!("k{id}"), Some(Bytes::from_static(b"v")))] }
    }

    fn range(id: u64) -> Op {
        Op::Range { id: OpId(id), prefix: String::new() }
    }

    /// Asks all at once, lets the worker work until nothing is left, and takes the answers.
    fn ask(store: &Embedded, database: &Database, ops: impl IntoIterator<Item = Op>) -> Vec<(u64, Outcome)> {
        ops.into_iter().for_each(|op| store.ask(op));
        store.shared.state().closing = true;
        work(database, &store.shared);
        store.answers().into_iter().map(|d| (d.id.0, d.outcome)).collect()
    }

    #[test]
    fn a_commit_that_fails_leaves_all_of_its_batch_and_all_after_it_unknown() {
        let failing = Arc::new(AtomicBool::new(false));
        let backend = Failing { inside: InMemoryBackend::new(), failing: failing.clone() };
        let database = Builder::new().create_with_backend(backend).unwrap();
        fill(&database, Revision(0), &[]).unwrap();
        let store = Embedded::idle(Waker::new().unwrap().0);
        assert_eq!(ask(&store, &database, [put(1)]), [(1, Outcome::Written(Revision(1)))]);
        failing.store(true, Ordering::SeqCst);
        let unknown = |ids: &[u64]| ids.iter().map(|id| (*id, Outcome::Unknown)).collect::<Vec<_>>();
        // What was read inside the failed transaction is as unknown as what was written.
        assert_eq!(ask(&store, &database, [put(2), range(3), put(4)]), unknown(&[2, 3, 4]));
        // A worker that saw a failure does not come back to it, even if the disk does.
        failing.store(false, Ordering::SeqCst);
        let theirs = Embedded::idle(Waker::new().unwrap().0);
        failing.store(true, Ordering::SeqCst);
        let shared = theirs.shared.clone();
        let worker = std::thread::spawn(move || work(&database, &shared));
        for (op, id) in [(put(5), 5), (range(6), 6)] {
            theirs.ask(op);
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
            let answer = loop {
                assert!(std::time::Instant::now() < deadline, "no answer");
                match theirs.answers().pop() {
                    Some(answer) => break answer,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!((answer.id.0, answer.outcome), (id, Outcome::Unknown));
            failing.store(false, Ordering::SeqCst);
        }
        theirs.shared.state().closing = true;
        theirs.shared.asked.notify_one();
        worker.join().unwrap();
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_is_answered_with_unknown() {
        let store = Embedded::idle(Waker::new().unwrap().0);
        (0..WAITING_MAX as u64 + 2).for_each(|id| store.ask(range(id)));
        let answers: Vec<_> = store.answers().into_iter().map(|d| (d.id.0, d.outcome)).collect();
        let first = WAITING_MAX as u64;
        assert_eq!(answers, [(first, Outcome::Unknown), (first + 1, Outcome::Unknown)]);
    }

    #[test]
    fn a_file_of_another_format_is_refused_by_its_number_and_one_without_any_as_damaged() {
        let path = std::env::temp_dir().join(format!("seawall-meta-{:x}", crate::entropy_u64()));
        drop(open(&path).unwrap());
        let set = |format: Option<u64>| {
            let database = Builder::new().open(&path).unwrap();
            let transaction = database.begin_write().unwrap();
            let mut about = transaction.open_table(ABOUT).unwrap();
            match format {
                Some(format) => drop(about.insert("format", format).unwrap()),
                None => drop(about.remove("format").unwrap()),
            }
            drop(about);
            transaction.commit().unwrap();
        };
        set(Some(9));
        let error = open(&path).err().unwrap();
        assert!(matches!(error, OpenError::Version { found: 9, .. }), "{error}");
        assert!(error.to_string().contains("has format 9 and this build reads format 1"), "{error}");
        set(None);
        assert!(matches!(open(&path).err().unwrap(), OpenError::Damaged { .. }));
        std::fs::remove_file(path).unwrap();
    }
}
