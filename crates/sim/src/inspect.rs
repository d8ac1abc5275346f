//! Opens the disk of a dead node and reads what each of its replicas holds: the index, and over it the window. It uses a store of its own
//! and nothing else of the node, so it sees what a restart would see.

use crate::disk::Disk;
use base::io::disk::Op;
use base::log::{Event, Register, Request};
use base::{BLOCK_BYTES, IO_BLOCKS_MAX, Payload, ShardId, Time};
use std::collections::BTreeMap;
use store::{Blank, Geometry, Identity, Phase, Policy, Store};

/// One replica as its disk has it.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Its own metadata.
    pub register: Register,
    /// Its blocks, from the first to the last.
    pub blocks: Vec<Payload>,
}

/// A store over a disk that answers at once.
struct Bench<'a> {
    store: Store,
    disk: &'a mut Disk,
    now: Time,
}

/// Steps after which a store that asks for nothing new is held to be stuck.
const STEPS_MAX: usize = 1_000_000;

impl Bench<'_> {
    /// Lets the store work until it asks the disk for nothing more.
    fn work(&mut self) -> Result<Vec<Event>, String> {
        let (mut events, mut ops): (Vec<Event>, Vec<Op>) = Default::default();
        for _ in 0..STEPS_MAX {
            self.store.step(self.now, &mut ops, &mut events);
            if ops.is_empty() {
                return Ok(events);
            }
            for op in ops.drain(..) {
                let (serial, _) = self.disk.submit(op);
                let done = self.disk.end(serial).expect("it was just submitted");
                self.store.done(done);
            }
        }
        Err("the store never comes to rest".to_owned())
    }

    fn blocks(&mut self, shard: ShardId, count: u32) -> Result<Vec<Payload>, String> {
        let mut blocks = Vec::new();
        while (blocks.len() as u32) < count {
            let block = blocks.len() as u32;
            let count = (count - block).min(IO_BLOCKS_MAX);
            self.store.request(Request::Read { shard, ticket: u64::from(block), block, count });
            for event in self.work()? {
                let Event::Blocks { parts, .. } = event else { continue };
                let parts = parts.map_err(|fault| format!("{shard} cannot be read: {fault:?}"))?;
                for part in &parts {
                    blocks.extend((0..part.len() / BLOCK_BYTES).map(|i| part.slice(i * BLOCK_BYTES, BLOCK_BYTES)));
                }
            }
            if blocks.len() as u32 != block + count {
                return Err(format!("{shard}: a read of {count} blocks brought {}", blocks.len() as u32 - block));
            }
        }
        Ok(blocks)
    }

    fn overlay(&mut self, shard: ShardId, above: base::Sequence, blocks: &mut [Payload]) -> Result<(), String> {
        self.store.request(Request::ReadWindow { shard, ticket: u64::MAX, above });
        for event in self.work()? {
            let Event::Window { entries, .. } = event else { continue };
            for entry in entries.map_err(|fault| format!("the window of {shard} cannot be read: {fault:?}"))? {
                for i in 0..entry.count {
                    let bytes = entry.data.as_ref().map(|data| data.slice(i as usize * BLOCK_BYTES, BLOCK_BYTES));
                    blocks[(entry.block + i) as usize] = bytes.unwrap_or(Payload::zero_block());
                }
            }
        }
        Ok(())
    }
}

/// Everything that a disk holds.
pub fn inspect(disk: &mut Disk, identity: Identity, geometry: Geometry) -> Result<BTreeMap<ShardId, Replica>, String> {
    let store = Store::new(identity, geometry, Blank::Refuse, Policy::default());
    let mut bench = Bench { store, disk, now: Time(1) };
    bench.work()?;
    if *bench.store.phase() != Phase::Ready {
        return Err(format!("it does not open: {:?}", bench.store.phase()));
    }
    // What recovery counts must be what it found.
    bench.store.audit().map_err(|miscount| format!("space: the store leaks: {miscount}"))?;
    let mut found = BTreeMap::new();
    for recovered in bench.store.recovered() {
        // What the node itself remembers is no replica.
        if recovered.shard == base::ShardId::NODE {
            continue;
        }
        let mut blocks = bench.blocks(recovered.shard, recovered.register.config.blocks)?;
        bench.overlay(recovered.shard, recovered.committed, &mut blocks)?;
        found.insert(recovered.shard, Replica { register: recovered.register, blocks });
    }
    Ok(found)
}
